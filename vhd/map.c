/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block -> slot, and what becomes of the slots.
 *
 * Invariants: an entry in memory names a slot that no other entry names and that is neither in the
 * free heap nor in quarantine. A fresh block's slot was never listed by a commit, so the disk
 * cannot name it. Only map_reserve, map_give and map_init allocate.
 */
#include "vhd/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HOST_PAGE 4096u
#define HUGE_PAGE (2u << 20)

struct map_bits map_bits_full;

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* In huge pages where it is large: the faults of small ones are half of what opening costs. */
static void *table_new(size_t len)
{
	void *table;

	if (len < HUGE_PAGE)
		return malloc(len);
	len = round_up(len, HUGE_PAGE);
	table = aligned_alloc(HUGE_PAGE, len);
	if (table)
		madvise(table, len, MADV_HUGEPAGE);
	return table;
}

int map_init(struct map *map, uint32_t block_size, uint32_t blocks, bool is_writable)
{
	memset(map, 0, sizeof(*map));
	map->block_size = block_size;
	map->bitmap_size = fmt_bitmap_size(block_size);
	map->blocks = blocks;
	map->low = 1;
	map->entry = table_new((size_t)blocks * sizeof(*map->entry));
	map->bits = calloc(blocks, sizeof(*map->bits));
	if (is_writable)
		map->flags = calloc(blocks, 1);
	if (!map->entry || !map->bits || (is_writable && !map->flags))
		return -ENOMEM;
	memset(map->entry, 0xff, (size_t)blocks * sizeof(*map->entry));
	return 0;
}

void map_forget_bits(struct map *map, uint32_t blk)
{
	struct map_bits *bits = atomic_load(&map->bits[blk]);

	if (bits != MAP_BITS_FULL)
		free(bits);
	atomic_store(&map->bits[blk], NULL);
}

void map_destroy(struct map *map)
{
	uint32_t left = map->bits ? map->allocated : 0;

	for (uint32_t blk = 0; left; blk++) {
		if (map->entry[blk] == FMT_UNUSED)
			continue;
		left--;
		map_forget_bits(map, blk);
	}
	free(map->entry);
	free(map->flags);
	free(map->bits);
	free(map->dirty);
	free(map->dirty_bits);
	free(map->free);
	free(map->quarantine);
	memset(map, 0, sizeof(*map));
}

int map_resize(struct map *map, uint32_t blocks)
{
	uint32_t more = blocks > map->blocks ? blocks - map->blocks : 0;
	uint32_t had = map->blocks;

	if (more) {
		uint32_t *entry = realloc(map->entry, blocks * sizeof(*entry));
		_Atomic(struct map_bits *) *bits;
		uint8_t *flags;

		if (entry)
			map->entry = entry;
		bits = realloc(map->bits, blocks * sizeof(*bits));
		if (bits)
			map->bits = bits;
		flags = realloc(map->flags, blocks);
		if (flags)
			map->flags = flags;
		if (!entry || !bits || !flags)
			return -ENOMEM;
		memset(entry + had, 0xff, more * sizeof(*entry));
		memset(bits + had, 0, more * sizeof(*bits));
		memset(flags + had, 0, more);
	}
	map->blocks = blocks;
	return 0;
}

uint64_t map_place_slot(const struct map *map, uint64_t end)
{
	return round_up(end + map->bitmap_size, HOST_PAGE) - map->bitmap_size;
}

uint64_t map_place_footer(uint64_t end)
{
	return round_up(end + FMT_SECTOR, HOST_PAGE) - FMT_SECTOR;
}

int map_place_next(const struct map *map, uint64_t *end, uint32_t *entry)
{
	uint64_t slot = map_place_slot(map, *end);

	if (slot / FMT_SECTOR >= FMT_UNUSED)
		return -EFBIG;
	*entry = (uint32_t)(slot / FMT_SECTOR);
	*end = slot + map_slot_size(map);
	return 0;
}

uint64_t map_end(const struct map *map, uint64_t floor)
{
	uint32_t left = map->allocated;

	for (uint32_t blk = 0; left; blk++) {
		uint32_t entry = map->entry[blk];

		if (entry == FMT_UNUSED)
			continue;
		left--;
		if (map_entry_off(entry) + map_slot_size(map) > floor)
			floor = map_entry_off(entry) + map_slot_size(map);
	}
	return floor;
}

/* The free heap: the parent of i is (i - 1) / 2, and never has a higher entry. */

static void heap_swap(struct map_slot *heap, size_t a, size_t b)
{
	struct map_slot slot = heap[a];

	heap[a] = heap[b];
	heap[b] = slot;
}

static void heap_sink(struct map_slot *heap, size_t len, size_t i)
{
	for (;;) {
		size_t low = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < len; child++)
			if (heap[child].entry < heap[low].entry)
				low = child;
		if (low == i)
			return;
		heap_swap(heap, i, low);
		i = low;
	}
}

bool map_take(struct map *map, struct map_slot *slot)
{
	if (!map->free_len)
		return false;
	*slot = map->free[0];
	map->free[0] = map->free[--map->free_len];
	heap_sink(map->free, map->free_len, 0);
	map->taken++;
	return true;
}

/* Room for `more` members behind len. 0 or -ENOMEM. */
static int array_grow(void **array, size_t *max, size_t len, size_t more, size_t size)
{
	size_t want = len + more;
	void *grown;

	if (want <= *max)
		return 0;
	if (want < 2 * *max)
		want = 2 * *max;
	if (want < 64)
		want = 64;
	grown = realloc(*array, want * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*max = want;
	return 0;
}

void map_give(struct map *map, struct map_slot slot)
{
	size_t i = map->free_len;

	if (array_grow((void **)&map->free, &map->free_max, i, 1, sizeof(*map->free)))
		return;
	map->free[map->free_len++] = slot;
	for (; i && map->free[i].entry < map->free[(i - 1) / 2].entry; i = (i - 1) / 2)
		heap_swap(map->free, i, (i - 1) / 2);
}

uint64_t map_give_range(struct map *map, uint64_t start, uint64_t end, uint64_t hole_start)
{
	uint64_t size = map_slot_size(map), aligned = map_place_slot(map, start);
	uint64_t stride = map_place_slot(map, aligned + size) - aligned, off = aligned;

	/* Room that an aligned slot does not fit was a packed one: it is reused as it lies. */
	if (aligned + size > end) {
		off = round_up(start, FMT_SECTOR);
		stride = round_up(size, FMT_SECTOR);
	}
	for (; off + size <= end && off / FMT_SECTOR < FMT_UNUSED; off += stride) {
		struct map_slot slot = {
			.entry = (uint32_t)(off / FMT_SECTOR),
			.is_hole = off + map->bitmap_size >= hole_start,
		};

		map_give(map, slot);
		start = off + size;
	}
	return start;
}

void map_forget_free(struct map *map)
{
	map->free_len = 0;
}

int map_reserve(struct map *map)
{
	if (array_grow((void **)&map->dirty, &map->dirty_max, map->dirty_len, map->listed + 1,
		       sizeof(*map->dirty)) ||
	    array_grow((void **)&map->dirty_bits, &map->dirty_bits_max, map->dirty_bits_len,
		       map->listed_bits + 1, sizeof(*map->dirty_bits)) ||
	    array_grow((void **)&map->quarantine, &map->quarantine_max, map->quarantine_len, 1,
		       sizeof(*map->quarantine)))
		return -ENOMEM;
	return 0;
}

static void mark_dirty(struct map *map, uint32_t blk)
{
	if (map->flags[blk] & MAP_DIRTY)
		return;
	map->flags[blk] |= MAP_DIRTY;
	map->dirty[map->dirty_len++] = blk;
}

void map_set(struct map *map, uint32_t blk, uint32_t entry, struct map_bits *bits)
{
	map->entry[blk] = entry;
	atomic_store(&map->bits[blk], bits);
	map->allocated++;
	mark_dirty(map, blk);
	map->flags[blk] |= MAP_FRESH;
}

void map_forget(struct map *map, uint32_t blk)
{
	map->entry[blk] = FMT_UNUSED;
	map->allocated--;
	map_forget_bits(map, blk);
	mark_dirty(map, blk);
	map->flags[blk] &= (uint8_t)~MAP_FRESH;
}

void map_drop(struct map *map, uint32_t blk)
{
	struct map_slot slot = { .entry = map->entry[blk] };
	bool is_fresh = map->flags[blk] & MAP_FRESH;

	map_forget(map, blk);
	if (is_fresh)
		map_give(map, slot);
	else	/* rule 3: the disk, or the commit that runs, may name it */
		map->quarantine[map->quarantine_len++] = slot;
}

void map_move(struct map *map, uint32_t blk, uint32_t entry)
{
	struct map_slot slot = { .entry = map->entry[blk] };
	bool is_fresh = map->flags[blk] & MAP_FRESH;

	map->entry[blk] = entry;
	mark_dirty(map, blk);
	map->flags[blk] |= MAP_FRESH;
	if (is_fresh)
		map_give(map, slot);
	else	/* rule 3, as for a drop */
		map->quarantine[map->quarantine_len++] = slot;
}

void map_bits_changed(struct map *map, uint32_t blk)
{
	struct map_bits *bits = atomic_load(&map->bits[blk]);

	if (bits->is_dirty)
		return;
	bits->is_dirty = true;
	map->dirty_bits[map->dirty_bits_len++] = blk;
}

void map_bits_full_now(struct map *map, uint32_t blk)
{
	map_forget_bits(map, blk);
	atomic_store(&map->bits[blk], MAP_BITS_FULL);
}

void map_list(struct map *map)
{
	for (size_t i = 0; i < map->dirty_len; i++)
		map->flags[map->dirty[i]] = 0;
	for (size_t i = 0; i < map->dirty_bits_len; i++) {
		struct map_bits *bits = atomic_load(&map->bits[map->dirty_bits[i]]);

		if (bits && bits != MAP_BITS_FULL)
			bits->is_dirty = false;
	}
	map->listed = map->dirty_len;
	map->listed_bits = map->dirty_bits_len;
	map->quarantine_listed = map->quarantine_len;
	map->dirty_len = map->dirty_bits_len = 0;
}

void map_relist(struct map *map, const uint32_t *blks, size_t len, const uint32_t *bits,
		size_t bits_len)
{
	for (size_t i = 0; i < len; i++)
		mark_dirty(map, blks[i]);
	for (size_t i = 0; i < bits_len; i++) {
		struct map_bits *b = atomic_load(&map->bits[bits[i]]);

		if (b && b != MAP_BITS_FULL)
			map_bits_changed(map, bits[i]);
	}
	map->listed = map->listed_bits = map->quarantine_listed = 0;
}

void map_listed_done(struct map *map)
{
	size_t left = map->quarantine_len - map->quarantine_listed;

	if (left)
		memmove(map->quarantine, map->quarantine + map->quarantine_listed,
			left * sizeof(*map->quarantine));
	map->quarantine_len = left;
	map->listed = map->listed_bits = map->quarantine_listed = 0;
}
