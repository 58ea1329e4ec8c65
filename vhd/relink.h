/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another parent, or another place of it, for a differencing image that is there. */
#ifndef VHD_RELINK_H
#define VHD_RELINK_H

#include "vhd/image.h"

struct relink_to {
	uint8_t uuid[16];	/* the parent's unique id; all zeros for a raw one */
	uint32_t timestamp;	/* its time, as create_timestamp tells it */
	const char *path;	/* where it is, or will be: its folder must exist */
};

/*
 * Makes img, which is open for writing, say that this is its parent; durable when it returns. What
 * is open as img->parent stays. Rule 13: at every instant the image on disk names the old parent or
 * the new one, with all that belongs to it. Publishes what is pending and trims the file first and
 * last. still_lock is held exclusive, or nobody else has img. -ENOSPC and the like before anything
 * was changed leave the image as it was; later failures poison it (rule 10). Blocks.
 */
int relink(struct vhd_image *img, const struct relink_to *to, struct vhd_err *err);

#endif
