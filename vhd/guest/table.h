/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The partition table of a disk: MBR with logical partitions, or GPT.
 *
 * A table is served whole or not at all: where anything in it contradicts anything else, nobody
 * knows what lies where, and it has no partitions. Filesystems are to be sought at the disk's start
 * before this is asked, for the boot sector of one looks like an empty MBR.
 */
#ifndef VHD_GUEST_TABLE_H
#define VHD_GUEST_TABLE_H

#include "vhd/guest.h"
#include "vhd/guest/window.h"

#define TABLE_MAX_PARTS 256
#define TABLE_MAX_OWN (TABLE_MAX_PARTS + 8)

enum table_kind {
	TABLE_NONE,		/* no table, or an MBR without partitions: not partitioned */
	TABLE_MBR,
	TABLE_GPT,
	TABLE_DAMAGED,
	TABLE_UNSUPPORTED,	/* another kind of table, or one whose partitions are not all */
};

enum table_use {
	TABLE_DATA,
	TABLE_EXTENDED,		/* holds the logical partitions of an MBR, which are listed, too */
	TABLE_RESERVED,		/* a boot loader's or system's own: no filesystem to look for */
};

struct table_part {
	unsigned number;	/* as the kernel counts */
	uint64_t start, length;	/* bytes of the disk */
	enum table_use use;
	char type[GUEST_NAME_MAX];	/* "0x83", or the GUID in lower case */
	char name[GUEST_NAME_MAX];	/* GPT's, as UTF-8 without control characters, cut to fit */
};

struct table {
	enum table_kind kind;
	char why[GUEST_WHY_MAX];	/* what is wrong; of one that is served, a warning */
	uint32_t sector;	/* bytes of the table's sectors: 512, or 4096 for some GPTs */
	bool is_backup;		/* GPT: the copy at the disk's end is what was read */
	bool has_gaps;		/* what lies between partitions is nobody's, as far as is known */
	struct table_part parts[TABLE_MAX_PARTS];	/* by start; apart, but for extended ones */
	size_t len;
	struct table_own {
		uint64_t off, len;
	} own[TABLE_MAX_OWN];	/* where the table itself is; in none but extended partitions */
	size_t own_len;
};

/* Reads the table of disk. 0, or -EIO, -ENOMEM, ...: the disk's own error. */
int table_read(struct table *table, const struct window *disk);

/*
 * The first stretch that ends behind off and belongs to no partition: true, *start (not below off)
 * and *len in bytes. Only between two partitions, never within 1 MiB of the table's own sectors,
 * never in the disk's last 2 MiB, where RAIDs and volume managers have what no table shows, and
 * none at all unless has_gaps.
 */
bool table_next_gap(const struct table *table, const struct window *disk, uint64_t off,
		    uint64_t *start, uint64_t *len);

#endif
