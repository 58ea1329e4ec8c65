/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A physical volume of LVM2: which of its extents no logical volume has, and which extents make the
 * plain (linear) ones, so that these can be looked into.
 *
 * What is not plain stays used: snapshots and their origins, thin volumes and pools, caches, RAID,
 * mirrors, and whatever comes after them.
 */
#ifndef VHD_GUEST_LVM_H
#define VHD_GUEST_LVM_H

#include "vhd/guest/fs.h"

#define LVM_NAME "lvm2"		/* verdict.filesystem */
#define LVM_ID_MAX 64

struct lvm_lv {
	char name[GUEST_LONG_NAME_MAX];	/* "group/volume", cut to fit */
	uint64_t size;
	bool is_visible;	/* not for the group's own purposes */
	bool is_readonly;
	bool is_linear;		/* and used by no other: as the guest has it, so it lies here */
	bool is_partial;	/* linear, and some of it on another physical volume */
	struct lvm_segment {
		uint64_t lv_off, pv_off, len;
	} *segments;		/* linear: by lv_off, and without gaps unless partial */
	size_t segments_len;
};

struct lvm {
	struct freemap free;	/* of the physical volume; a unit is an extent */
	struct lvm_lv *lvs;	/* also those for the group's own purposes, which are not linear */
	size_t lvs_len;
	char group[LVM_ID_MAX];	/* the group's id: names may be the same */
	uint32_t text_crc;	/* of the metadata: the same on all of the group's volumes */
};

bool lvm_probe(const struct window *window, struct verdict *verdict);

/*
 * Fills verdict and, if clean, lvm. 0 when there is a verdict; -errno when pv could not be read or
 * memory ran out. In either case lvm_destroy is the caller's to call. Only a volume group that is
 * all on this one physical volume is served: of a larger one, another may know better.
 */
int lvm_read(struct lvm *lvm, const struct window *pv, struct verdict *verdict);
/* The same for one of several physical volumes, whose segments the caller puts together. */
int lvm_read_part(struct lvm *lvm, const struct window *pv, struct verdict *verdict);
void lvm_destroy(struct lvm *lvm);

/* A window over a linear lv; both it and pv must outlive it. 0, or -EINVAL if lv is not linear, or
 * not all on pv. */
int lvm_window(struct window *window, const struct lvm_lv *lv, const struct window *pv);

#endif
