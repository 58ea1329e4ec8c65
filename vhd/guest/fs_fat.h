/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the readers of FAT and exFAT share: clusters, the table that chains them, directories.
 *
 * Their functions return 0 to go on, 1 once the verdict has been given, or -errno.
 *
 * No cluster is claimed twice, so no walk goes in circles or takes longer than the volume is large;
 * what it may read is limited beside. Directories wait on a stack of their own: a path may be as
 * deep as it likes.
 */
#ifndef VHD_GUEST_FS_FAT_H
#define VHD_GUEST_FS_FAT_H

#include "vhd/guest/fs.h"

#define FAT_ENTRY 32u		/* bytes of one in a directory, in both kinds */
#define FAT_BUFFER (1u << 20)	/* the largest read */

struct fat_dir {
	uint32_t first, clusters;
	bool is_contiguous;	/* the table says nothing of it (exFAT) */
};

struct fat_volume {
	const struct window *window;
	struct verdict *verdict;

	uint64_t base;		/* bytes before cluster 2 */
	uint32_t unit;		/* bytes of a cluster */
	uint32_t clusters;	/* numbered from 2 on */
	struct freemap *unclaimed;	/* set: nothing has said yet that it is its own */

	uint64_t table;		/* bytes before entry 0 */
	uint64_t table_len;	/* bytes of the entries that count */
	unsigned width;		/* bits of an entry: 12, 16 or 32 */
	uint32_t mask;		/* of them, those that count */

	/* fs_fat_volume.c's own */
	uint8_t *pieces;	/* of the table */
	uint64_t *piece_of;	/* which one each slot has, plus 1 */
	struct fat_dir *waiting;
	size_t count, room;
	uint32_t work;
	struct fat_dir dir;	/* what is being read, from its first cluster that was not */
	uint64_t off, end;	/* of the window: what is to be read next */
	size_t ask, pos, len;	/* of the next read; of buf */
	uint8_t *buf;
};

/* Gives the verdict; its value is 1. */
#define fat_refuse(...) (verdict_set(__VA_ARGS__), 1)

static inline uint64_t fat_round_up(uint64_t n, uint32_t unit)
{
	return n / unit + (n % unit != 0);
}

/* An entry of the table that begins at p. */
static inline uint32_t fat_decode(const struct fat_volume *vol, const uint8_t *p, uint32_t number)
{
	if (vol->width == 32)
		return le32(p) & vol->mask;
	return le16(p) >> (vol->width == 12 && number & 1 ? 4 : 0) & vol->mask;
}

static inline bool fat_is_bad(const struct fat_volume *vol, uint32_t value)
{
	return value == vol->mask - 8;
}

static inline bool fat_is_end(const struct fat_volume *vol, uint32_t value)
{
	return value > vol->mask - 8;
}

static inline bool fat_has(const struct fat_volume *vol, uint32_t cluster)
{
	return cluster >= 2 && cluster - 2 < vol->clusters;
}

/* Once what is above "own" is known. fat_close is due whatever it returns. */
int fat_open(struct fat_volume *vol);
void fat_close(struct fat_volume *vol);

/* What the table says of a cluster that the volume has; and what follows it in its chain, or 0. */
int fat_entry(struct fat_volume *vol, uint32_t cluster, uint32_t *value);
int fat_next(struct fat_volume *vol, uint32_t cluster, uint32_t *next);

/* Clusters of which none may be claimed yet. */
int fat_claim(struct fat_volume *vol, uint32_t first, uint64_t count);

/* Directories to be read later; false when there is none left. */
int fat_push(struct fat_volume *vol, const struct fat_dir *dir);
bool fat_pop(struct fat_volume *vol, struct fat_dir *dir);

/*
 * One thing is read at a time: a chain whose clusters are known to be the volume's, or a stretch of
 * the window. fat_fill puts what comes next at buf (len bytes, a multiple of 512; 0 at the end);
 * fat_dir_entry goes through it by entries, to NULL at the end.
 */
void fat_begin(struct fat_volume *vol, const struct fat_dir *dir);
void fat_begin_at(struct fat_volume *vol, uint64_t off, uint64_t len);
int fat_fill(struct fat_volume *vol);
int fat_dir_entry(struct fat_volume *vol, const uint8_t **entry);

#endif
