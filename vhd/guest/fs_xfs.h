/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PRIVATE to fs_xfs*.c: what the parts of the XFS reader tell one another.
 *
 * Their functions return 0 to go on, 1 when the verdict has been given, and -errno when the window
 * could not be read or memory ran out. Blocks are numbered within their allocation group, unless
 * the name says that they are the volume's.
 */
#ifndef VHD_GUEST_FS_XFS_H
#define VHD_GUEST_FS_XFS_H

#include <string.h>

#include "vhd/guest/fs.h"

#define XFS_NO_BLOCK UINT32_MAX

struct xfs {
	const struct window *window;
	struct freemap *map;
	struct verdict *verdict;
	uint32_t block_size, sector_size;
	uint64_t blocks;		/* of the volume */
	uint32_t ag_blocks, ags;	/* blocks of a group (the last may have less), groups */
	unsigned ag_shift;		/* a volume's block number is group << ag_shift | block */
	unsigned inode_shift;		/* inodes in a block, as a power of two */
	uint32_t log_ag, log_block, log_blocks;
	uint64_t free_count;		/* the superblock's */
	bool has_crc, has_lazy_count, has_rmap, has_reflink, has_finobt;
	uint8_t uuid[16];		/* what users see, and the log has */
	uint8_t meta_uuid[16];		/* what the metadata has */
	uint64_t last_lsn;		/* where the log ends: nothing can be newer */
};

struct xfs_ag {
	uint32_t number, length;
	uint64_t base;			/* the volume's number of its first block */
	uint32_t first;			/* the first block behind the headers */
	uint32_t free, longest;		/* as found by xfs_trees_check */
	uint64_t tree_blocks;		/* of both trees of free room, but for the roots */
};

/* The verdict GUEST_DAMAGED, with this sentence and what to do about it. Always 1. */
int xfs_damaged(struct xfs *fs, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* window_read in these functions' manner. */
int xfs_read(struct xfs *fs, void *buf, size_t len, uint64_t off, const char *what);

/* Whether the CRC at crc_off of buf is that of buf's len bytes, itself taken as zero. */
bool xfs_has_right_crc(const uint8_t *buf, size_t len, size_t crc_off);

/* Whether metadata may bear this log sequence number. */
static inline bool xfs_is_lsn_past(const struct xfs *fs, uint64_t lsn)
{
	return lsn <= fs->last_lsn || lsn == UINT64_MAX;
}

static inline bool xfs_is_meta_uuid(const struct xfs *fs, const uint8_t *uuid)
{
	return memcmp(fs->meta_uuid, uuid, sizeof(fs->meta_uuid)) == 0;
}

/* Whether the log ends with an unmount: else the verdict is GUEST_UNCLEAN. Sets last_lsn. */
int xfs_log_check(struct xfs *fs);

/*
 * Gives the map what is free in the group, from the tree that is sorted by place, and checks it
 * against the one that is sorted by size. agf is the group's header, itself checked already.
 */
int xfs_trees_check(struct xfs *fs, struct xfs_ag *ag, const uint8_t *agf);

/* Checks a group's headers, its copy of the superblock (sb) too, its trees and its counts. */
int xfs_ag_check(struct xfs *fs, uint32_t number, const uint8_t *sb, uint64_t *free_count);

#endif
