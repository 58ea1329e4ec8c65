/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sectors that become the image's own: new slots, and bits that become 1. Private to the engine. */
#ifndef VHD_OWN_H
#define VHD_OWN_H

#include "vhd/image.h"

/* The part of a request that lies in one block. */
struct own_piece {
	uint32_t blk;
	uint32_t in;		/* bytes from the block's start */
	size_t len;
};

/* How many bytes from `in` on, of len, have the same bit as the first. */
size_t own_run(const struct map_bits *bits, uint32_t in, size_t len, bool *is_set);

/*
 * Writes p and makes its sectors the image's own. buf NULL: zeros, and of the sectors that are not
 * its own only those become so of which the parents have data. map_lock is held exclusive. 0 or
 * -errno, then perhaps with a part of it done; -EAGAIN: no slot is free. Blocks.
 */
int own_write(struct vhd_image *img, const uint8_t *buf, struct own_piece p, struct vhd_err *err);

#endif
