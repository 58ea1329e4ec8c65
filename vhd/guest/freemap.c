/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which units of a window are free: one bit each, set for free; sought a word at a time. */
#include "vhd/guest/freemap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD 64u

int freemap_init(struct freemap *map, uint64_t base, uint32_t unit, uint64_t units)
{
	uint64_t end;

	*map = (struct freemap){ 0 };
	if (!unit || units > FREEMAP_MAX_UNITS || __builtin_mul_overflow(units, unit, &end) ||
	    __builtin_add_overflow(end, base, &end))
		return -EFBIG;
	/* One word more than is needed, so that an empty map has one, too. */
	map->bits = calloc(units / WORD + 1, sizeof(*map->bits));
	if (!map->bits)
		return -ENOMEM;
	map->base = base;
	map->unit = unit;
	map->units = units;
	return 0;
}

void freemap_destroy(struct freemap *map)
{
	free(map->bits);
	*map = (struct freemap){ 0 };
}

/* The bits of word `word` that lie in [first, end). */
static uint64_t mask_of(uint64_t word, uint64_t first, uint64_t end)
{
	uint64_t low = word * WORD, mask = UINT64_MAX;

	if (first > low)
		mask &= UINT64_MAX << (first - low);
	if (end < low + WORD)
		mask &= ~(UINT64_MAX << (end - low));
	return mask;
}

/* Where a run of count units from first on ends, no further than the map. */
static uint64_t end_of(const struct freemap *map, uint64_t first, uint64_t count)
{
	if (first >= map->units)
		return first;
	return count < map->units - first ? first + count : map->units;
}

void freemap_give(struct freemap *map, uint64_t first, uint64_t count)
{
	uint64_t end = end_of(map, first, count);

	for (uint64_t w = first / WORD; first < end && w <= (end - 1) / WORD; w++)
		map->bits[w] |= mask_of(w, first, end);
}

void freemap_take(struct freemap *map, uint64_t first, uint64_t count)
{
	uint64_t end = end_of(map, first, count);

	for (uint64_t w = first / WORD; first < end && w <= (end - 1) / WORD; w++)
		map->bits[w] &= ~mask_of(w, first, end);
}

void freemap_take_bytes(struct freemap *map, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (!map->unit || __builtin_add_overflow(off, len, &end))
		end = UINT64_MAX;
	if (!map->unit || end <= map->base || !len)
		return;
	off = off > map->base ? (off - map->base) / map->unit : 0;
	end = (end - map->base - 1) / map->unit + 1;
	freemap_take(map, off, end - off);
}

bool freemap_is_free(const struct freemap *map, uint64_t unit)
{
	return unit < map->units && map->bits[unit / WORD] >> unit % WORD & 1;
}

uint64_t freemap_count(const struct freemap *map, uint64_t first, uint64_t count)
{
	uint64_t end = end_of(map, first, count), sum = 0;

	for (uint64_t w = first / WORD; first < end && w <= (end - 1) / WORD; w++)
		sum += (uint64_t)__builtin_popcountll(map->bits[w] & mask_of(w, first, end));
	return sum;
}

/* The first unit in [unit, end) that is free (or is not), or end. */
static uint64_t seek(const struct freemap *map, uint64_t unit, uint64_t end, bool is_free)
{
	for (uint64_t w = unit / WORD; unit < end; unit = ++w * WORD) {
		uint64_t bits = is_free ? map->bits[w] : ~map->bits[w];

		bits &= UINT64_MAX << unit % WORD;
		if (bits) {
			unit = w * WORD + (unsigned)__builtin_ctzll(bits);
			return unit < end ? unit : end;
		}
	}
	return end;
}

bool freemap_next_below(const struct freemap *map, uint64_t off, uint64_t end, uint64_t *start,
			uint64_t *len)
{
	uint64_t first = 0, last, limit;

	if (!map->bits || end <= map->base)
		return false;
	if (off > map->base)
		first = (off - map->base) / map->unit;
	limit = (end - map->base - 1) / map->unit + 1;
	if (limit > map->units)
		limit = map->units;
	first = seek(map, first, limit, true);
	if (first >= limit)
		return false;
	last = map->base + seek(map, first, limit, false) * map->unit;
	*start = map->base + first * map->unit;
	if (*start < off)
		*start = off;
	if (last > end)
		last = end;
	*len = last - *start;
	return true;
}

bool freemap_next(const struct freemap *map, uint64_t off, uint64_t *start, uint64_t *len)
{
	return freemap_next_below(map, off, UINT64_MAX, start, len);
}
