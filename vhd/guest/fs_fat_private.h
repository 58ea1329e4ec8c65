/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FAT12, FAT16 and FAT32: what of a volume its table and its tree have to know. */
#ifndef VHD_GUEST_FS_FAT_PRIVATE_H
#define VHD_GUEST_FS_FAT_PRIVATE_H

#include "vhd/guest/fs_fat.h"

struct fat {
	struct fat_volume vol;
	struct freemap *map;
	uint64_t copies;	/* bytes before the first copy of the table */
	uint64_t copy_len;	/* bytes of one, with what is behind its entries */
	unsigned first, last;	/* of the copies, those that are kept up to date */
	uint64_t root, root_len;	/* bytes; FAT12 and FAT16 */
	uint32_t root_cluster;	/* FAT32; else 0 */
	uint32_t used;		/* clusters, by the table; without the bad ones */
};

/*
 * Every entry of the table, and every copy of it: what is free into map; what another entry leads
 * to is claimed, so that what is left unclaimed and is not free begins a chain.
 */
int fat_read_table(struct fat *fat);

/* All directories: every chain that the table has belongs to one file. After fat_read_table. */
int fat_read_tree(struct fat *fat);

#endif
