/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The free space tree of a btrfs, where it is valid: the same once more, seen from the other side.
 *
 * For each block group it has how many runs are free in it, and then these, one by one or as
 * bitmaps. If each is free in the map, and they are as many bytes as the group has free, they are
 * the map.
 */
#include "vhd/guest/fs_btrfs.h"

#include <inttypes.h>

#define COMPAT_RO_FREE_SPACE_TREE 1u
#define COMPAT_RO_FREE_SPACE_TREE_VALID 2u
#define INFO_LEN 8u
#define BITMAP_BITS 2048u	/* of one item, at the most */

struct free_walk {
	size_t chunks;		/* begun; the last of them is the one at present */
	uint64_t runs;		/* that it has by its own account */
	uint64_t seen, bytes;	/* runs and bytes seen of it */
	uint64_t end;		/* of the last run */
	uint64_t stale_end;	/* of a group without a chunk, whose runs are passed over */
};

static int bad_group(struct btrfs *fs, uint64_t logical, const char *what)
{
	return btrfs_damaged(fs, "the free space tree %s at %" PRIu64 ": run btrfs check "
			     "--clear-space-cache v2", what, logical);
}

/* All of the last chunk's free space has been seen. */
static int leave_chunk(struct btrfs *fs, const struct free_walk *walk)
{
	const struct btrfs_chunk *chunk;

	if (!walk->chunks)
		return 0;
	chunk = &fs->chunks.chunk[walk->chunks - 1];
	if (walk->bytes != chunk->length - chunk->used || walk->seen != walk->runs)
		return bad_group(fs, chunk->logical, "does not have what is free");
	return 0;
}

/*
 * A group that no chunk has: mkfs.btrfs 6.2 leaves those with which it began, and the kernel looks
 * only for what the chunks have (test-guest-btrfs.sh, any layout with this tree and DUP).
 */
static bool is_stale(const struct btrfs *fs, const struct free_walk *walk,
		     const struct btrfs_key *key)
{
	const struct btrfs_chunk *chunk = fs->chunks.chunk;
	uint64_t end;

	if (__builtin_add_overflow(key->objectid, key->offset, &end))
		return false;
	if (walk->chunks && key->objectid < chunk[walk->chunks - 1].logical +
					    chunk[walk->chunks - 1].length)
		return false;
	return walk->chunks == fs->chunks.count || end <= chunk[walk->chunks].logical;
}

static int on_info(struct btrfs *fs, struct free_walk *walk, const struct btrfs_item *item)
{
	const struct btrfs_key *key = &item->key;
	const struct btrfs_chunk *chunk;
	int rc;

	if (item->size != INFO_LEN)
		return bad_group(fs, key->objectid, "has a group that cannot be");
	if (is_stale(fs, walk, key)) {
		walk->stale_end = key->objectid + key->offset;
		return 0;
	}
	rc = leave_chunk(fs, walk);
	if (rc)
		return rc;
	if (walk->chunks == fs->chunks.count)
		return bad_group(fs, key->objectid, "has more than the chunks");
	chunk = &fs->chunks.chunk[walk->chunks++];
	if (chunk->logical != key->objectid || chunk->length != key->offset)
		return bad_group(fs, key->objectid, "is not as the chunks");
	walk->runs = le32(item->data);
	walk->seen = walk->bytes = 0;
	walk->end = chunk->logical;
	return 0;
}

/* Whether off and len, as a key tells them, are sectors of the chunk, behind the last run. */
static bool is_in_chunk(const struct btrfs *fs, const struct free_walk *walk, uint64_t off,
			uint64_t len)
{
	const struct btrfs_chunk *chunk;

	if (!walk->chunks || !len || off % fs->sector_size || len % fs->sector_size)
		return false;
	chunk = &fs->chunks.chunk[walk->chunks - 1];
	return btrfs_chunk_of(fs, off, len) == chunk && off >= walk->end;
}

static int add_run(struct btrfs *fs, struct free_walk *walk, uint64_t off, uint64_t len)
{
	const struct btrfs_chunk *chunk = &fs->chunks.chunk[walk->chunks - 1];

	if (btrfs_count_free(fs, chunk, off, len) != len)
		return bad_group(fs, off, "calls free what is used");
	/* A run may go on from one bitmap to the next; it may begin where the chunk does. */
	if (!walk->bytes || off != walk->end)
		walk->seen++;
	walk->bytes += len;
	walk->end = off + len;
	return 0;
}

static int on_run(struct btrfs *fs, struct free_walk *walk, const struct btrfs_key *key)
{
	if (!is_in_chunk(fs, walk, key->objectid, key->offset))
		return bad_group(fs, key->objectid, "lies outside the chunks");
	return add_run(fs, walk, key->objectid, key->offset);
}

static int on_bitmap(struct btrfs *fs, struct free_walk *walk, const struct btrfs_item *item)
{
	uint64_t off = item->key.objectid, bits = item->key.offset / fs->sector_size;
	int rc = 0;

	if (!is_in_chunk(fs, walk, off, item->key.offset) || bits > BITMAP_BITS ||
	    item->size != (bits + 7) / 8)
		return bad_group(fs, off, "has a bitmap that cannot be");
	for (uint64_t i = 0; !rc && i < bits; i++)
		if (item->data[i / 8] >> i % 8 & 1)
			rc = add_run(fs, walk, off + i * fs->sector_size, fs->sector_size);
	return rc;
}

static int on_item(struct btrfs *fs, const struct btrfs_item *item, void *arg)
{
	const struct free_walk *walk = arg;

	if (item->key.type != BTRFS_FREE_SPACE_INFO && item->key.objectid < walk->stale_end)
		return 0;
	switch (item->key.type) {
	case BTRFS_FREE_SPACE_INFO:
		return on_info(fs, arg, item);
	case BTRFS_FREE_SPACE_EXTENT:
		return on_run(fs, arg, &item->key);
	case BTRFS_FREE_SPACE_BITMAP:
		return on_bitmap(fs, arg, item);
	default:
		return bad_group(fs, item->key.objectid, "has an item that is not known");
	}
}

int btrfs_check_free_space(struct btrfs *fs)
{
	const uint64_t valid = COMPAT_RO_FREE_SPACE_TREE | COMPAT_RO_FREE_SPACE_TREE_VALID;
	struct free_walk walk = { .chunks = 0 };
	int rc;

	if ((fs->compat_ro & valid) != valid)
		return 0;
	rc = btrfs_walk(fs, &fs->free_space_tree, on_item, &walk);
	if (!rc)
		rc = btrfs_check_used(fs, &fs->free_space_tree);
	if (!rc)
		rc = leave_chunk(fs, &walk);
	if (!rc && walk.chunks != fs->chunks.count)
		rc = btrfs_damaged(fs, "the free space tree has %zu of %zu chunks: run btrfs check "
				   "--clear-space-cache v2", walk.chunks, fs->chunks.count);
	return rc;
}
