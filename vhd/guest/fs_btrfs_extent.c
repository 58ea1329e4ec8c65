/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The extent tree of a btrfs: every extent that anything refers to, in the order of addresses.
 *
 * What lies between them in the chunks is free. A block group, one for each chunk, says how many
 * bytes of it are used, and the superblock how many of all.
 */
#include "vhd/guest/fs_btrfs.h"

#include <inttypes.h>

#define EXTENT_HEAD_LEN 24u
#define EXTENT_IS_DATA 1u
#define EXTENT_IS_TREE_BLOCK 2u
#define BLOCK_GROUP_LEN 24u
#define CHUNK_OBJECTID 256u
#define INCOMPAT_SKINNY (1u << 8)

struct extent_walk {
	size_t chunk;		/* the one that extents lie in at present */
	uint64_t end;		/* of what is accounted for in it */
	bool has_extent;
	uint64_t extent;	/* where the last one begins */
};

static int bad_extent(struct btrfs *fs, uint64_t logical, const char *what)
{
	return btrfs_damaged(fs, "extent %" PRIu64 " %s: run btrfs check", logical, what);
}

static int bad_group(struct btrfs *fs, uint64_t logical, const char *what)
{
	return btrfs_damaged(fs, "block group %" PRIu64 " %s: run btrfs check", logical, what);
}

/* What is left of the chunk is free, and the next one begins. */
static void leave_chunk(struct btrfs *fs, struct extent_walk *walk)
{
	const struct btrfs_chunk *chunk = &fs->chunks.chunk[walk->chunk++];

	btrfs_give(fs, chunk, walk->end, chunk->logical + chunk->length - walk->end);
	if (walk->chunk < fs->chunks.count)
		walk->end = fs->chunks.chunk[walk->chunk].logical;
}

/* len bytes at logical are used, and what lies between them and the last extent is free. */
static int add_extent(struct btrfs *fs, struct extent_walk *walk, uint64_t logical, uint64_t len,
		      uint64_t flags)
{
	struct btrfs_chunk *chunk = btrfs_chunk_of(fs, logical, len);
	uint64_t kinds = BTRFS_METADATA | BTRFS_SYSTEM;

	if (!chunk)
		return bad_extent(fs, logical, "lies outside the chunks");
	if (flags & EXTENT_IS_DATA)
		kinds = BTRFS_DATA;
	if (!(chunk->flags & kinds))
		return bad_extent(fs, logical, "is in a chunk of another kind");
	while (&fs->chunks.chunk[walk->chunk] < chunk)
		leave_chunk(fs, walk);
	if (&fs->chunks.chunk[walk->chunk] != chunk || logical < walk->end)
		return bad_extent(fs, logical, "overlaps the one before it");
	btrfs_give(fs, chunk, walk->end, logical - walk->end);
	walk->end = logical + len;
	walk->extent = logical;
	walk->has_extent = true;
	chunk->used += len;
	return 0;
}

static int on_extent(struct btrfs *fs, struct extent_walk *walk, const struct btrfs_item *item)
{
	const struct btrfs_key *key = &item->key;
	bool is_skinny = key->type == BTRFS_METADATA_ITEM;
	uint64_t len = is_skinny ? fs->node_size : key->offset, flags;

	if (item->size < EXTENT_HEAD_LEN)
		return bad_extent(fs, key->objectid, "is in a form no longer in use");
	flags = le64(item->data + 16) & (EXTENT_IS_DATA | EXTENT_IS_TREE_BLOCK);
	if (flags != EXTENT_IS_DATA && flags != EXTENT_IS_TREE_BLOCK)
		return bad_extent(fs, key->objectid, "is neither data nor metadata");
	if (is_skinny && (key->offset >= BTRFS_MAX_LEVEL || flags != EXTENT_IS_TREE_BLOCK ||
			  !(fs->incompat & INCOMPAT_SKINNY)))
		return bad_extent(fs, key->objectid, "is no tree block");
	if (flags == EXTENT_IS_TREE_BLOCK && len != fs->node_size)
		return bad_extent(fs, key->objectid, "is not as long as a tree block");
	if (!len || len % fs->sector_size || key->objectid % fs->sector_size)
		return bad_extent(fs, key->objectid, "is not made of sectors");
	if (!le64(item->data) || le64(item->data + 8) > fs->generation)
		return bad_extent(fs, key->objectid, "has no references, or is of the future");
	return add_extent(fs, walk, key->objectid, len, flags);
}

/* A reference for which the extent's own item had no room follows it. */
static int on_reference(struct btrfs *fs, const struct extent_walk *walk,
			const struct btrfs_item *item)
{
	if (!walk->has_extent || walk->extent != item->key.objectid)
		return bad_extent(fs, item->key.objectid, "is referred to, and is not there");
	return 0;
}

static int on_block_group(struct btrfs *fs, const struct btrfs_item *item)
{
	const struct btrfs_key *key = &item->key;
	struct btrfs_chunk *chunk = btrfs_chunk_of(fs, key->objectid, key->offset);

	if (!chunk || chunk->logical != key->objectid || chunk->length != key->offset ||
	    item->size != BLOCK_GROUP_LEN || le64(item->data + 8) != CHUNK_OBJECTID ||
	    le64(item->data + 16) != chunk->flags)
		return bad_group(fs, key->objectid, "is not as its chunk");
	chunk->has_group = true;
	chunk->group_used = le64(item->data);
	return 0;
}

static int on_item(struct btrfs *fs, const struct btrfs_item *item, void *arg)
{
	switch (item->key.type) {
	case BTRFS_EXTENT_ITEM:
	case BTRFS_METADATA_ITEM:
		return on_extent(fs, arg, item);
	case BTRFS_TREE_BLOCK_REF:
	case BTRFS_EXTENT_DATA_REF:
	case BTRFS_SHARED_BLOCK_REF:
	case BTRFS_SHARED_DATA_REF:
		return on_reference(fs, arg, item);
	case BTRFS_BLOCK_GROUP_ITEM:
		return on_block_group(fs, item);
	default:
		return btrfs_refuse(fs, GUEST_UNSUPPORTED,
				    "an item of the extent tree, of type %u, is not known",
				    item->key.type);
	}
}

static int check_sums(struct btrfs *fs)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < fs->chunks.count; i++) {
		const struct btrfs_chunk *chunk = &fs->chunks.chunk[i];

		if (!chunk->has_group)
			return bad_group(fs, chunk->logical, "is not there");
		if (chunk->group_used != chunk->used)
			return bad_group(fs, chunk->logical, "has other bytes in use than it says");
		sum += chunk->used;	/* no more than the device */
	}
	if (sum != fs->bytes_used)
		return btrfs_damaged(fs, "%" PRIu64 " bytes are in use, and by the superblock %"
				     PRIu64 ": run btrfs check", sum, fs->bytes_used);
	return 0;
}

int btrfs_read_extents(struct btrfs *fs)
{
	struct extent_walk walk = { .end = fs->chunks.count ? fs->chunks.chunk[0].logical : 0 };
	int rc = btrfs_walk(fs, &fs->extent_tree, on_item, &walk);

	if (rc)
		return rc;
	while (walk.chunk < fs->chunks.count)
		leave_chunk(fs, &walk);
	return check_sums(fs);
}
