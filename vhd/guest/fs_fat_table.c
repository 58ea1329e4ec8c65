/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of FAT12, FAT16 and FAT32, gone through once from its first entry to its last, a
 * stretch of every copy at a time.
 *
 * A table is sound when each entry is free, bad, the end of a chain or leads to a cluster that the
 * volume has, is in use, and to which no other entry leads. Then chains cannot meet, and one that
 * nothing leads to ends.
 */
#include "vhd/guest/fs_fat_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int judge_entry(struct fat *fat, uint32_t number, uint32_t value)
{
	struct fat_volume *vol = &fat->vol;
	uint32_t target = value;

	if (fat_is_bad(vol, value))
		target = number;	/* nothing may lead to it */
	else
		fat->used++;
	if (fat_is_end(vol, value))
		return 0;
	if (!fat_has(vol, target))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "its table has an entry that means nothing, for cluster %u",
				  number);
	if (!freemap_is_free(vol->unclaimed, target - 2))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "two chains of clusters meet at cluster %u", target);
	freemap_take(vol->unclaimed, target - 2, 1);
	return 0;
}

/* Entries from number to end, the first of which is at p. */
static int judge(struct fat *fat, const uint8_t *p, uint32_t number, uint32_t end)
{
	uint32_t first = number, free_from = number, value;
	uint64_t origin = (uint64_t)first * fat->vol.width / 8;
	int rc;

	for (; number < end; number++) {
		if (number < 2) {
			free_from = number + 1;
			continue;
		}
		value = fat_decode(&fat->vol, p + (uint64_t)number * fat->vol.width / 8 - origin,
				   number);
		if (!value)
			continue;
		freemap_give(fat->map, free_from - 2, number - free_from);
		free_from = number + 1;
		rc = judge_entry(fat, number, value);
		if (rc)
			return rc;
	}
	if (free_from < end)
		freemap_give(fat->map, free_from - 2, end - free_from);
	return 0;
}

/* The other copies against what was read of the first one, without the two entries of flags. */
static int compare(struct fat *fat, const uint8_t *got, uint8_t *buf, size_t len, uint64_t off)
{
	size_t skip = off ? 0 : fat->vol.width / 4;
	int rc;

	for (unsigned copy = fat->first + 1; copy <= fat->last; copy++) {
		rc = window_read(fat->vol.window, buf, len,
				 fat->copies + copy * fat->copy_len + off);
		if (rc)
			return rc;
		if (memcmp(got + skip, buf + skip, len - skip) != 0)
			return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
					  "the copies of its table differ");
	}
	return 0;
}

static int read_stretch(struct fat *fat, uint8_t *buf, size_t len, uint64_t off)
{
	uint32_t first = (uint32_t)(off * 8 / fat->vol.width);
	uint64_t end = (off + len) * 8 / fat->vol.width;
	int rc = window_read(fat->vol.window, buf, len, fat->vol.table + off);

	if (!rc)
		rc = compare(fat, buf, buf + FAT_BUFFER, len, off);
	if (end > (uint64_t)fat->vol.clusters + 2)
		end = (uint64_t)fat->vol.clusters + 2;
	return rc ? rc : judge(fat, buf, first, (uint32_t)end);
}

/* Nothing leads to a free cluster. */
static int check_targets(struct fat *fat)
{
	uint64_t off = 0, start, len;

	for (; freemap_next(fat->map, off, &start, &len); off = start + len) {
		uint64_t first = (start - fat->map->base) / fat->map->unit;
		uint64_t count = len / fat->map->unit;

		if (freemap_count(fat->vol.unclaimed, first, count) != count)
			return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
					  "a chain of clusters leads to a free one, "
					  "at or behind cluster %llu",
					  (unsigned long long)first + 2);
	}
	return 0;
}

int fat_read_table(struct fat *fat)
{
	uint64_t table_len = fat->vol.table_len;
	uint8_t *buf = malloc(2 * FAT_BUFFER);
	int rc = 0;

	if (!buf)
		return -ENOMEM;
	for (uint64_t off = 0; !rc && off < table_len; off += FAT_BUFFER)
		rc = read_stretch(fat, buf,
				  table_len - off < FAT_BUFFER ? table_len - off : FAT_BUFFER, off);
	free(buf);
	return rc ? rc : check_targets(fat);
}
