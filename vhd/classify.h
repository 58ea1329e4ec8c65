/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is in a block: nothing that anybody needs, or something. */
#ifndef VHD_CLASSIFY_H
#define VHD_CLASSIFY_H

#include "vhd/image.h"

#define CLASSIFY_FIXED_BLOCK (2u << 20)	/* a fixed image is looked at in such pieces */
#define CLASSIFY_BUF ((size_t)1 << 20)

/* A pass over the disk, in ascending order. */
struct classify {
	struct vhd_image *img;
	const struct vhd_free_map *free_map;	/* or NULL */
	uint32_t block_size;
	uint64_t free_start, free_end;	/* the extent that the map told last */
	/* Bits of the sectors of the block at hand; what lies past the disk's end is in neither. */
	uint8_t *used;			/* the image owns it, and it is not known to be free */
	uint8_t *idle;			/* the image owns it, and it is free */
	uint8_t *free;			/* it is free */
	uint8_t *buf, *below;		/* CLASSIFY_BUF */
	uint64_t bytes_read;
};

struct classify_block {
	uint64_t off, len;	/* of the disk */
	uint64_t data_off;	/* of its data in the file */
	uint64_t used, idle, free;	/* bytes of the three kinds */
	bool is_droppable;	/* without it what is not free would read the same, and what the
				 * image owns of the free would read as zeros */
};

/* 0 or -ENOMEM; ended by classify_end in any case. */
int classify_begin(struct classify *c, struct vhd_image *img, const struct vhd_free_map *free_map);
void classify_end(struct classify *c);
/* How many blocks the pass has to go over. */
uint32_t classify_blocks(const struct classify *c);

/*
 * Looks at blk, which is mapped, or a piece of a fixed image. Reads nothing of a block that is free
 * all over or owns no sector, of others no more than up to what decides. still_lock is held
 * exclusive. 0 or -errno.
 */
int classify_block(struct classify *c, uint32_t blk, struct classify_block *out,
		   struct vhd_err *err);

/* Whether all that the image owns of blk, which is mapped, is free. Reads no data. still_lock is
 * held exclusive. 0 or -errno. */
int classify_is_idle(struct classify *c, uint32_t blk, bool *is_idle, struct vhd_err *err);

/* The next run of sectors at or after *in whose bits are set: *in and *len in bytes from the
 * block's start. False at the end. */
bool classify_run(const uint8_t *bits, uint64_t block_len, uint32_t *in, uint32_t *len);

#endif
