/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the blocks that are needed go when an image is compacted, and how long the file is then. */
#ifndef VHD_PLAN_H
#define VHD_PLAN_H

#include "vhd/image.h"
#include "vhd/layout.h"

struct plan {
	struct layout_block *blocks;	/* that stay, in the order of the file */
	size_t len;
	uint32_t *targets;	/* of moves: target i is for the i-th block from the end. Aligned:
				 * places for all blocks, the lowest first, whichever has which */
	size_t moves;		/* aligned: blocks that are in none of them */
	bool is_aligned;
	uint64_t end;		/* where the highest block, or the metadata, ends after them */
	uint64_t file_size;	/* of the file then */
};

/*
 * Plans for the mapped blocks for which drop (NULL: none) has 0. still_lock is held exclusive, and
 * commit_lock. 0 or -ENOMEM; ended by plan_end in any case.
 */
int plan_make(struct plan *plan, struct vhd_image *img, const uint8_t *drop);
/* The same with all data on 4 KiB, as densely as that goes. Also -EFBIG. */
int plan_make_aligned(struct plan *plan, struct vhd_image *img, const uint8_t *drop);
void plan_end(struct plan *plan);

/* The plan with no block moved: the end of the file alone. */
void plan_stay(struct plan *plan, struct vhd_image *img);

#endif
