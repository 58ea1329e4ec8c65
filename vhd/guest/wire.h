/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the process that looks into a disk and the one that asks it say to each other.
 *
 * The parent asks: first of all for what there is, then for a selection, and for free ranges.
 * Before it answers, the child may ask for any number of bytes of the disk. Both speak in
 * messages: a head, and len bytes behind it.
 */
#ifndef VHD_GUEST_WIRE_H
#define VHD_GUEST_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "vhd/guest/scan.h"

#define WIRE_MAX (1u << 20)	/* bytes of the disk that one message carries at most */
#define WIRE_EXTENTS 4096u	/* free ranges that one message carries at most */

enum wire_kind {
	/* the parent's */
	WIRE_LOOK = 1,		/* what is there? */
	WIRE_SELECT,		/* len bytes: 1 for each volume that is wanted */
	WIRE_FREE,		/* free ranges from off on */
	WIRE_PLACES,		/* where the logical volume of number off lies */
	WIRE_BYTES,		/* what was asked for: code 0 and len bytes, or -errno and none */
	/* the child's */
	WIRE_READ,		/* wants want bytes at off */
	WIRE_FOUND,		/* struct guest_disk, and len / sizeof of struct guest_volume */
	WIRE_SELECTED,
	WIRE_RANGES,		/* struct guest_range: the next free ones, and fewer than fit are
				 * the last; or all places */
	WIRE_FAILED,		/* code: it could not be looked at */
};

struct wire_head {
	uint32_t kind, len;
	int32_t code;
	uint32_t want;
	uint64_t off;
};

/* guest.c: starts a child that looks at the disk in this way. As guest_open. */
int guest_start(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
		scan_look_fn look, struct vhd_err *err);

/* serve.c: the child's side, over fd until it is closed; arg is a struct wire_job. */
struct wire_job {
	scan_look_fn look;
	uint64_t size;		/* bytes of the disk */
	bool has_gaps;
};
void wire_serve(int fd, int memfd, void *arg);

#endif
