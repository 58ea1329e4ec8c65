/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block -> slot, and what becomes of the slots: no I/O, no locking of its own.
 *
 * A slot is room in the file for one block: sector bitmap and data. It is
 *   mapped       memory's table names it,
 *   pending      only memory's does: the block is in the dirty list, and fresh until a commit
 *                lists it,
 *   quarantined  memory's does not, but the table on disk or a commit that runs may,
 *   free         nobody does.
 *
 *        alloc               commit lists and publishes
 *   free -----> pending,fresh ------> mapped
 *    ^             | drop                | drop (or listed and not yet published)
 *    |<------------+                     v
 *    +---- release, after the barrier quarantined
 *
 * Locking: every field is the image's map_lock's, exclusive to change and shared to read, but for
 * bits[], whose pointers are published atomically (see below).
 */
#ifndef VHD_MAP_H
#define VHD_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhd/format.h"

struct map_slot {
	uint32_t entry;		/* sector of the bitmap, as in the BAT */
	bool is_hole;		/* reads zeros for certain: extended or punched in this session */
};

/* A sector bitmap that is not all ones, or one that is not yet known to be. */
struct map_bits {
	bool is_dirty;		/* map_lock; some bit is 1 here and 0 on disk */
	uint8_t bitmap[];
};

struct map {
	uint32_t block_size;	/* bytes of data */
	uint32_t bitmap_size;	/* bytes before the data */
	uint32_t blocks;	/* that the disk has */
	uint32_t allocated;	/* that memory maps */
	uint32_t *entry;	/* [blocks] memory's table */
	uint8_t *flags;		/* [blocks] MAP_DIRTY, MAP_FRESH; NULL read-only */
	/*
	 * [blocks] NULL: not read yet; MAP_BITS_FULL: all ones; else the bitmap. Set from NULL by
	 * compare-and-swap under the shared lock, changed otherwise only under the exclusive one.
	 */
	_Atomic(struct map_bits *) *bits;

	uint32_t *dirty;	/* blocks whose entry a commit has to list */
	size_t dirty_len, dirty_max;
	uint32_t *dirty_bits;	/* blocks whose bitmap a commit has to list */
	size_t dirty_bits_len, dirty_bits_max;
	struct map_slot *free;	/* heap, lowest entry first */
	size_t free_len, free_max;
	struct map_slot *quarantine;	/* the first quarantine_listed are the running commit's */
	size_t quarantine_len, quarantine_max, quarantine_listed;
	size_t listed, listed_bits;	/* what the running commit may have to give back */
	size_t taken;		/* slots that map_take gave out so far */
	size_t low;		/* with fewer free slots than this the next chunk is wanted */
};

#define MAP_DIRTY 1
#define MAP_FRESH 2
extern struct map_bits map_bits_full;
#define MAP_BITS_FULL (&map_bits_full)

/* Bytes from the first of a slot to the last. */
static inline uint64_t map_slot_size(const struct map *map)
{
	return (uint64_t)map->bitmap_size + map->block_size;
}

static inline uint64_t map_entry_off(uint32_t entry)
{
	return (uint64_t)entry * FMT_SECTOR;
}

/* Byte offset in the file of block data, for a mapped block. */
static inline uint64_t map_data_off(const struct map *map, uint32_t entry)
{
	return map_entry_off(entry) + map->bitmap_size;
}

/* 0 or -ENOMEM; entry[] is unused throughout. Room for lists is made ahead, so that later calls
 * that say so cannot fail. */
int map_init(struct map *map, uint32_t block_size, uint32_t blocks, bool is_writable);
void map_destroy(struct map *map);
/* Makes it one of so many blocks: new ones are unallocated, and so must be those that go. Not while
 * anybody else looks at the map. 0 or -ENOMEM, and then it is as before. */
int map_resize(struct map *map, uint32_t blocks);

/* Where a slot and the footer behind it go when the file ends its use at end: data on 4 KiB. */
uint64_t map_place_slot(const struct map *map, uint64_t end);
uint64_t map_place_footer(uint64_t end);
/* The same slot as an entry; *end goes behind it. 0, or -EFBIG where 32 bits do not name it. */
int map_place_next(const struct map *map, uint64_t *end, uint32_t *entry);

/* The end of the highest slot that memory maps, or floor if that is higher. O(blocks). */
uint64_t map_end(const struct map *map, uint64_t floor);

/* The slot a new block takes: the lowest. False if none is free. */
bool map_take(struct map *map, struct map_slot *slot);
/* Gives a slot to the free list. Without memory for it the slot is leaked, which loses nothing. */
void map_give(struct map *map, struct map_slot slot);
/* Gives the slots that fit between start and end (bytes); data at hole_start and beyond is a hole.
 * The end of the last one, or start. */
uint64_t map_give_range(struct map *map, uint64_t start, uint64_t end, uint64_t hole_start);

/* No slot is free any more. */
void map_forget_free(struct map *map);

/* Makes room for one more change, so that the calls below cannot fail. 0 or -ENOMEM. */
int map_reserve(struct map *map);
/* blk, unallocated, gets the slot at entry after every write to it returned, its bitmap's too: bits
 * are what that has, not dirty, and the map's from here on (or MAP_BITS_FULL). */
void map_set(struct map *map, uint32_t blk, uint32_t entry, struct map_bits *bits);
/* blk, allocated, loses its slot, which becomes free or quarantined. */
void map_drop(struct map *map, uint32_t blk);
/* blk, allocated, goes to the slot at entry, which has all of it, bitmap too (every write there
 * returned); no bit of it may be dirty. Its old slot is given back as map_drop does. */
void map_move(struct map *map, uint32_t blk, uint32_t entry);
/* blk's entry names what is no slot (damage): it becomes unused, and nothing is given back. */
void map_forget(struct map *map, uint32_t blk);
/* blk's bitmap got a bit that the disk has not. */
void map_bits_changed(struct map *map, uint32_t blk);
/* blk's bitmap, which the disk has as it is, is to be read anew. */
void map_forget_bits(struct map *map, uint32_t blk);
/* The same, and it is all ones. */
void map_bits_full_now(struct map *map, uint32_t blk);

/* The running commit takes over what is dirty and quarantined: lists what the caller has room for
 * (dirty_len, dirty_bits_len). The caller copies the values before it lets go of the lock. */
void map_list(struct map *map);
/* What a commit listed and could not publish is dirty and quarantined as before. */
void map_relist(struct map *map, const uint32_t *blks, size_t len, const uint32_t *bits,
		size_t bits_len);
/* The commit's first quarantined slots leave quarantine, and its lists are done with. */
void map_listed_done(struct map *map);

#endif
