/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publishing what memory knows: the only writer of an existing image's BAT, bitmaps and footers
 * (but for what recover.c mends before the first write). */
#ifndef VHD_COMMIT_H
#define VHD_COMMIT_H

#include "vhd/image.h"

/* Publishes everything that had returned before the call. No lock held. Blocks on barriers. */
int commit_run(struct vhd_image *img, struct vhd_err *err);

/* Gives the free list a slot: by releasing what is quarantined, else by growing the file.
 * No lock held. Blocks on barriers. -EFBIG where the format has no room left. */
int commit_make_room(struct vhd_image *img, struct vhd_err *err);

#define COMMIT_TRIM_ALL 1	/* also where less than a block is gained */
#define COMMIT_TRIM_PAGE 2	/* the footer ends a page, even if the file gets longer by that */

/* Cuts the file behind its last block. No write may be under way, nothing unpublished. Blocks. */
int commit_trim(struct vhd_image *img, unsigned flags, struct vhd_err *err);

#define COMMIT_TEXTS 3

/* A dynamic header that is to be written, and what its locators name. */
struct commit_header {
	uint64_t off;			/* bytes */
	uint8_t raw[FMT_HEADER_SIZE];
	struct fmt_header header;	/* what raw says */
	uint64_t metadata_end;		/* with it: see struct vhd_image */
	struct {
		const uint8_t *text;
		uint32_t len;		/* bytes */
		uint64_t off;
	} texts[COMMIT_TEXTS];
	unsigned texts_len;
};

/*
 * Writes the header `final` in place of the one that there is; `meantime`, which has to say the
 * same, lies behind everything, as do its texts, and end is where that room ends. The image's
 * metadata may be written over at the place of final alone. No lock held, no write under way.
 * Blocks on barriers.
 */
int commit_header(struct vhd_image *img, const struct commit_header *meantime,
		  const struct commit_header *final, uint64_t end, struct vhd_err *err);

/* Gives the image another unique id; durable when it returns. The disk is not a raw one. No lock
 * held. A failure poisons the image: which id the disk has is not known. Blocks. */
int commit_id(struct vhd_image *img, const uint8_t uuid[16], struct vhd_err *err);

/*
 * What vhd/resize.c makes of the disk's size and of the table (rule 12). Nothing may be
 * unpublished, nobody else may use the image, no lock is held. They block on barriers; a failure
 * once the disk may have something new poisons the image.
 *
 * commit_reserve: what growth makes lies at end (bytes of the file) or behind, and so does T.
 * commit_table: the table is at off and has so many entries, of which those of blocks that the disk
 * has not are unused. The room is nobody's, but for what the table has of it already.
 * commit_size: the disk has size bytes. A fixed image's file becomes as long as that needs.
 */
int commit_reserve(struct vhd_image *img, uint64_t end, struct vhd_err *err);
int commit_table(struct vhd_image *img, uint64_t off, uint32_t entries, struct vhd_err *err);
int commit_size(struct vhd_image *img, uint64_t size, struct vhd_err *err);

/* Slots at or behind off will be cut off soon: a commit that releases them spares itself the punch,
 * and does not call them free. UINT64_MAX: there are none. */
void commit_cut_from(struct vhd_image *img, uint64_t off);

void commit_destroy(struct vhd_image *img);

#endif
