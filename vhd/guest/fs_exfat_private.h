/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exFAT: what of a volume its tree has to know, and tells of it. */
#ifndef VHD_GUEST_FS_EXFAT_PRIVATE_H
#define VHD_GUEST_FS_EXFAT_PRIVATE_H

#include "vhd/guest/fs_fat.h"

/* A file of the system's, told of by an entry of the root. */
struct exfat_part {
	struct fat_dir chain;	/* clusters 0: not told of yet */
	uint64_t len;
	uint32_t sum;
};

struct exfat {
	struct fat_volume vol;	/* unclaimed becomes the map */
	uint32_t root;
	struct exfat_part bitmap, upcase;
};

/* All directories: every cluster that something has is claimed. */
int exfat_read_tree(struct exfat *x);

#endif
