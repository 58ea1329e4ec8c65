/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A physical volume of LVM2: which of its extents no logical volume has, and which extents make the
 * plain (linear) ones, so that these can be looked into.
 *
 * Only a volume group that is all on this one physical volume is served: of a larger one, another
 * physical volume may know better. What is not plain stays used: snapshots and their origins, thin
 * volumes and pools, caches, RAID, mirrors, and whatever comes after them.
 */
#ifndef VHD_GUEST_LVM_H
#define VHD_GUEST_LVM_H

#include "vhd/guest/fs.h"

#define LVM_NAME "lvm2"		/* verdict.filesystem */

struct lvm_lv {
	char name[GUEST_NAME_MAX];	/* "group/volume", cut to fit */
	uint64_t size;
	bool is_linear;		/* and used by no other: as the guest has it, so it lies here */
	struct lvm_segment {
		uint64_t lv_off, pv_off, len;
	} *segments;		/* linear: without gaps, by lv_off */
	size_t segments_len;
};

struct lvm {
	struct freemap free;	/* of the physical volume; a unit is an extent */
	struct lvm_lv *lvs;	/* also those for the group's own purposes, which are not linear */
	size_t lvs_len;
};

bool lvm_probe(const struct window *window, struct verdict *verdict);

/*
 * Fills verdict and, if clean, lvm. 0 when there is a verdict; -errno when pv could not be read or
 * memory ran out. In either case lvm_destroy is the caller's to call.
 */
int lvm_read(struct lvm *lvm, const struct window *pv, struct verdict *verdict);
void lvm_destroy(struct lvm *lvm);

/* A window over a linear lv; both it and pv must outlive it. 0, or -EINVAL if lv is not linear. */
int lvm_window(struct window *window, const struct lvm_lv *lv, const struct window *pv);

#endif
