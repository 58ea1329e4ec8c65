/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publishing what memory knows: with rewrite.c the only writer of an existing image's BAT, bitmaps
 * and footers (but for what recover.c mends before the first write). */
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

/* Writes T at its new place, by which the file becomes longer; a barrier has to follow. What failed
 * leaves the file as it was. commit_lock is held. */
int commit_lengthen(struct vhd_image *img, uint64_t trailer, struct vhd_err *err);

/* Slots at or behind off will be cut off soon: a commit that releases them spares itself the punch,
 * and does not call them free. UINT64_MAX: there are none. */
void commit_cut_from(struct vhd_image *img, uint64_t off);

void commit_destroy(struct vhd_image *img);

#endif
