/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the footers and the dynamic header say, said anew (rules 12 and 13). */
#ifndef VHD_REWRITE_H
#define VHD_REWRITE_H

#include "vhd/image.h"

#define REWRITE_TEXTS 3

/* A dynamic header that is to be written, and what its locators name. */
struct rewrite_header {
	uint64_t off;			/* bytes */
	uint8_t raw[FMT_HEADER_SIZE];
	struct fmt_header header;	/* what raw says */
	uint64_t metadata_end;		/* with it: see struct vhd_image */
	struct {
		const uint8_t *text;
		uint32_t len;		/* bytes */
		uint64_t off;
	} texts[REWRITE_TEXTS];
	unsigned texts_len;
};

/*
 * Writes the header `final` in place of the one that there is; `meantime`, which has to say the
 * same, lies behind everything, as do its texts, and end is where that room ends. The image's
 * metadata may be written over at the place of final alone. No lock held, no write under way.
 * Blocks on barriers.
 */
int rewrite_header(struct vhd_image *img, const struct rewrite_header *meantime,
		   const struct rewrite_header *final, uint64_t end, struct vhd_err *err);

/* Gives the image another unique id; durable when it returns. The disk is not a raw one. No lock
 * held. A failure poisons the image: which id the disk has is not known. Blocks. */
int rewrite_id(struct vhd_image *img, const uint8_t uuid[16], struct vhd_err *err);

/*
 * What vhd/resize.c makes of the disk's size and of the table (rule 12). Nothing may be
 * unpublished, nobody else may use the image, no lock is held. They block on barriers; a failure
 * once the disk may have something new poisons the image.
 *
 * rewrite_reserve: what growth makes lies at end (bytes of the file) or behind, and so does T.
 * rewrite_table: the table is at off and has so many entries, of which those of blocks that the
 * disk has not are unused. The room is nobody's, but for what the table has of it already.
 * rewrite_size: the disk has size bytes. A fixed image's file becomes as long as that needs.
 */
int rewrite_reserve(struct vhd_image *img, uint64_t end, struct vhd_err *err);
int rewrite_table(struct vhd_image *img, uint64_t off, uint32_t entries, struct vhd_err *err);
int rewrite_size(struct vhd_image *img, uint64_t size, struct vhd_err *err);

#endif
