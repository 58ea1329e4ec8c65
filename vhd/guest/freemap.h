/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which units of a window are free: one bit each, set for free.
 *
 * The one form in which every filesystem's reader tells what it found. Its memory does not depend
 * on how fragmented the filesystem is: 64 MiB for 2 TiB in units of 4 KiB.
 */
#ifndef VHD_GUEST_FREEMAP_H
#define VHD_GUEST_FREEMAP_H

#include <stdbool.h>
#include <stdint.h>

/* More units than this are not mapped (512 MiB of bits). */
#define FREEMAP_MAX_UNITS (1ull << 32)

struct freemap {
	uint64_t base;		/* bytes of the window before the first unit */
	uint32_t unit;		/* bytes of one: a cluster, a block, an extent of a group */
	uint64_t units;
	uint64_t *bits;		/* NULL: nothing is free */
};

/* All units used. 0, -ENOMEM, or -EFBIG for more than FREEMAP_MAX_UNITS. */
int freemap_init(struct freemap *map, uint64_t base, uint32_t unit, uint64_t units);
void freemap_destroy(struct freemap *map);

/* Makes count units from first on free, or used. What the map does not have is passed over. */
void freemap_give(struct freemap *map, uint64_t first, uint64_t count);
void freemap_take(struct freemap *map, uint64_t first, uint64_t count);
/* Makes every unit used of which a byte lies in the len bytes at off of the window. */
void freemap_take_bytes(struct freemap *map, uint64_t off, uint64_t len);

/* Whether unit is free. False for one that the map does not have. */
bool freemap_is_free(const struct freemap *map, uint64_t unit);
/* How many of count units from first on are free. */
uint64_t freemap_count(const struct freemap *map, uint64_t first, uint64_t count);

/*
 * The first free run that ends behind off (bytes of the window): true, *start (not below off) and
 * *len in bytes. False when there is none.
 */
bool freemap_next(const struct freemap *map, uint64_t off, uint64_t *start, uint64_t *len);
/* The same for what lies below end (bytes of the window), and with no look at what lies behind. */
bool freemap_next_below(const struct freemap *map, uint64_t off, uint64_t end, uint64_t *start,
			uint64_t *len);

#endif
