/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moving blocks to other slots. */
#ifndef VHD_MOVE_H
#define VHD_MOVE_H

#include "vhd/reclaim.h"

struct move {
	struct reclaim *r;
	uint8_t *bitmap;	/* of the block that is moved */
	uint64_t most;		/* bytes to be moved between two commits */
	uint64_t undone;	/* bytes moved since the last commit */
	bool can_trim;		/* the file may be cut behind its last block at any time */
	int full;		/* -ENOSPC: the host has no room for the next move; or 0 */
};

/* 0 or -ENOMEM; ended by move_end in any case. */
int move_begin(struct move *m, struct reclaim *r);
void move_end(struct move *m);

/*
 * Copies blk to the slot at target, which nobody may name, and names it in memory. When the host is
 * full, also after all that was moved before is published: 0, with m->full set and nothing moved.
 * err->code must be 0.
 */
int move_block(struct move *m, uint32_t blk, uint32_t target, struct vhd_err *err);
/* The host is full, and size bytes more would let the job go on. */
void move_is_full(struct move *m, uint64_t size);
/* Publishes the moves so far. */
int move_commit(struct move *m, struct vhd_err *err);

#endif
