/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clusters and chains of them, as FAT and exFAT have them in common; see fs_fat.h.
 *
 * The table may be a gigabyte: it is looked up through a cache of pieces, each with one slot that
 * it can be in. Chains mostly go upwards, so that a piece serves many look-ups.
 */
#include "vhd/guest/fs_fat.h"

#include <errno.h>
#include <stdlib.h>

#define PIECE (16u << 10)	/* all of a FAT12's table, whose entries cross bytes' ends */
#define SLOTS 64u
#define FIRST_READ (4u << 10)	/* of a directory: most end within it */
#define MAX_WAITING (1u << 20)
/*
 * Reads that a walk may take, one of 4 KiB more counting as one more: about a minute. A million
 * directories are within it. Beyond, the volume is not looked into rather than half trusted: who
 * would put in what is too much to follow is not one to believe about what is free.
 */
#define MAX_WORK (1u << 22)

int fat_open(struct fat_volume *vol)
{
	vol->pieces = malloc(SLOTS * PIECE);
	vol->piece_of = calloc(SLOTS, sizeof(*vol->piece_of));
	vol->buf = malloc(FAT_BUFFER);
	return vol->pieces && vol->piece_of && vol->buf ? 0 : -ENOMEM;
}

void fat_close(struct fat_volume *vol)
{
	free(vol->pieces);
	free(vol->piece_of);
	free(vol->buf);
	free(vol->waiting);
}

static int refuse_work(struct fat_volume *vol)
{
	return fat_refuse(vol->verdict, GUEST_UNSUPPORTED,
			  "its files are too many, or too scattered, to be followed");
}

static int spend(struct fat_volume *vol, uint64_t len)
{
	vol->work += 1 + (uint32_t)(len / 4096);
	if (vol->work <= MAX_WORK)
		return 0;
	return refuse_work(vol);
}

static int load(struct fat_volume *vol, uint64_t piece, unsigned slot)
{
	uint64_t off = piece * PIECE, len = vol->table_len - off;
	int rc;

	if (len > PIECE)
		len = PIECE;
	rc = spend(vol, len);
	if (rc)
		return rc;
	vol->piece_of[slot] = 0;
	rc = window_read(vol->window, vol->pieces + slot * PIECE, (size_t)len, vol->table + off);
	if (!rc)
		vol->piece_of[slot] = piece + 1;
	return rc;
}

int fat_entry(struct fat_volume *vol, uint32_t cluster, uint32_t *value)
{
	uint64_t at = (uint64_t)cluster * vol->width / 8, piece = at / PIECE;
	unsigned slot = piece % SLOTS;
	int rc = 0;

	if (vol->piece_of[slot] != piece + 1)
		rc = load(vol, piece, slot);
	if (!rc)
		*value = fat_decode(vol, vol->pieces + slot * PIECE + at % PIECE, cluster);
	return rc;
}

int fat_next(struct fat_volume *vol, uint32_t cluster, uint32_t *next)
{
	int rc = fat_entry(vol, cluster, next);

	if (rc)
		return rc;
	if (fat_is_end(vol, *next))
		*next = 0;
	else if (!fat_has(vol, *next))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "the chain of clusters through %u leads nowhere", cluster);
	return 0;
}

int fat_claim(struct fat_volume *vol, uint32_t first, uint64_t count)
{
	if (!fat_has(vol, first) || count > vol->clusters - (first - 2))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "a file has clusters that the volume has not, from %u on", first);
	if (freemap_count(vol->unclaimed, first - 2, count) != count)
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "a cluster belongs to two files, at or behind cluster %u", first);
	freemap_take(vol->unclaimed, first - 2, count);
	return 0;
}

int fat_push(struct fat_volume *vol, const struct fat_dir *dir)
{
	if (vol->count == vol->room) {
		size_t room = vol->room ? vol->room * 2 : 64;
		struct fat_dir *waiting;

		if (room > MAX_WAITING)
			return refuse_work(vol);
		waiting = realloc(vol->waiting, room * sizeof(*waiting));
		if (!waiting)
			return -ENOMEM;
		vol->waiting = waiting;
		vol->room = room;
	}
	vol->waiting[vol->count++] = *dir;
	return 0;
}

bool fat_pop(struct fat_volume *vol, struct fat_dir *dir)
{
	if (!vol->count)
		return false;
	*dir = vol->waiting[--vol->count];
	return true;
}

void fat_begin_at(struct fat_volume *vol, uint64_t off, uint64_t len)
{
	vol->dir = (struct fat_dir){ 0 };
	vol->off = off;
	vol->end = off + len;
	vol->ask = FIRST_READ;
	vol->pos = vol->len = 0;
}

void fat_begin(struct fat_volume *vol, const struct fat_dir *dir)
{
	fat_begin_at(vol, 0, 0);
	vol->dir = *dir;
}

/* Makes the clusters that come next, as far as they lie together, what is read next. */
static int next_run(struct fat_volume *vol)
{
	struct fat_dir *dir = &vol->dir;
	uint32_t at = dir->first;
	int rc = 0;

	vol->off = vol->end = vol->base + (uint64_t)(at - 2) * vol->unit;
	while (dir->clusters && dir->first == at && vol->end - vol->off < FAT_BUFFER) {
		vol->end += vol->unit;
		dir->clusters--;
		at++;
		if (dir->is_contiguous)
			dir->first = at;
		else if (dir->clusters)
			rc = fat_next(vol, at - 1, &dir->first);
		if (rc)
			return rc;
		if (!dir->first)
			dir->clusters = 0;
	}
	return 0;
}

int fat_fill(struct fat_volume *vol)
{
	int rc = 0;

	vol->pos = vol->len = 0;
	if (vol->off == vol->end && vol->dir.clusters)
		rc = next_run(vol);
	if (rc || vol->off == vol->end)
		return rc;
	vol->len = vol->end - vol->off < vol->ask ? (size_t)(vol->end - vol->off) : vol->ask;
	if (vol->ask < FAT_BUFFER)
		vol->ask *= 2;
	rc = spend(vol, vol->len);
	if (!rc)
		rc = window_read(vol->window, vol->buf, vol->len, vol->off);
	vol->off += vol->len;
	return rc;
}

int fat_dir_entry(struct fat_volume *vol, const uint8_t **entry)
{
	int rc = 0;

	*entry = NULL;
	if (vol->pos == vol->len)
		rc = fat_fill(vol);
	if (rc || vol->pos == vol->len)
		return rc;
	*entry = vol->buf + vol->pos;
	vol->pos += FAT_ENTRY;
	return 0;
}
