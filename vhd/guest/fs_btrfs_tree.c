/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Walking a tree of a btrfs, and not believing it.
 *
 * Each block must be what its parent says: its place, level, generation and first key; the tree's
 * own, by owner and filesystem; right by its checksum, and the same in both copies. Keys ascend
 * strictly through the whole tree. So no block can be met twice in one tree (its first key would
 * come again), and the walk ends; how many blocks it may read is bounded all the same.
 */
#include "vhd/guest/fs_btrfs.h"

#include <inttypes.h>
#include <string.h>

#define HEADER_LEN 101u
#define ITEM_LEN 25u
#define PTR_LEN 33u
#define KEY_LEN 17u
#define FLAG_WRITTEN 1u

/* What a parent, or the superblock, says of a block. */
struct ptr {
	uint64_t logical, generation;
	unsigned level;
	bool has_key;
	struct btrfs_key key;	/* its first */
};

struct walk {
	struct btrfs *fs;
	const struct btrfs_tree *tree;
	btrfs_item_fn item;
	void *arg;
	bool is_shallow;	/* leaves are not read: it is the pointers that are looked at */
	bool has_last;
	struct btrfs_key last;	/* of the last item */
};

int btrfs_key_compare(const struct btrfs_key *a, const struct btrfs_key *b)
{
	if (a->objectid != b->objectid)
		return a->objectid < b->objectid ? -1 : 1;
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return 0;
}

struct btrfs_key btrfs_key_at(const uint8_t *p)
{
	return (struct btrfs_key){ .objectid = le64(p), .type = p[8], .offset = le64(p + 9) };
}

static int bad_block(const struct walk *walk, uint64_t logical, const char *what)
{
	return btrfs_damaged(walk->fs, "block %" PRIu64 " of the %s tree %s: run btrfs check",
			     logical, walk->tree->name, what);
}

/* All blocks name one chunk tree; which, nothing else says. */
static bool is_right_chunk_uuid(struct btrfs *fs, const uint8_t *uuid)
{
	if (!fs->has_chunk_uuid)
		memcpy(fs->chunk_uuid, uuid, sizeof(fs->chunk_uuid));
	fs->has_chunk_uuid = true;
	return memcmp(fs->chunk_uuid, uuid, sizeof(fs->chunk_uuid)) == 0;
}

static const char *fault_of_block(const struct walk *walk, const struct ptr *ptr,
				  const uint8_t *block)
{
	struct btrfs *fs = walk->fs;

	if (!btrfs_csum_is_right(fs->csum, block, fs->node_size))
		return "has a wrong checksum";
	if (memcmp(block + 0x20, fs->fsid, 16) != 0)
		return "is another filesystem's";
	if (le64(block + 0x30) != ptr->logical)
		return "was written for another place";
	if (!(block[0x38] & FLAG_WRITTEN))
		return "was never written";
	if (!is_right_chunk_uuid(fs, block + 0x40))
		return "is another chunk tree's";
	if (le64(block + 0x50) != ptr->generation || ptr->generation > fs->generation)
		return "is of another generation";
	if (le64(block + 0x58) != walk->tree->id)
		return "is another tree's";
	if (block[0x64] != ptr->level)
		return "is at another level";
	return NULL;
}

/* Reads a block and its second copy. */
static int read_block(const struct walk *walk, const struct ptr *ptr, uint8_t *block)
{
	struct btrfs *fs = walk->fs;
	struct btrfs_chunk *chunk = btrfs_chunk_of(fs, ptr->logical, fs->node_size);
	const char *fault;

	if (!chunk || ptr->logical % fs->sector_size ||
	    !(chunk->flags & (BTRFS_METADATA | BTRFS_SYSTEM)))
		return bad_block(walk, ptr->logical, "lies outside the metadata");
	for (unsigned i = 0; i < chunk->copies; i++) {
		uint8_t *buf = i ? fs->blocks + BTRFS_MAX_LEVEL * fs->node_size : block;
		int rc = window_read(fs->window, buf, fs->node_size,
				     chunk->physical[i] + (ptr->logical - chunk->logical));

		if (rc)
			return rc;
		fault = fault_of_block(walk, ptr, buf);
		if (fault)
			return bad_block(walk, ptr->logical, fault);
		if (i && memcmp(buf, block, fs->node_size) != 0)
			return bad_block(walk, ptr->logical, "differs from its copy");
	}
	return 0;
}

static int walk_block(struct walk *walk, const struct ptr *ptr);

static int walk_child(struct walk *walk, const struct ptr *child)
{
	int rc = 0;

	if (walk->is_shallow)
		rc = btrfs_check_block_used(walk->fs, child->logical, walk->tree->name);
	if (!rc && (!walk->is_shallow || child->level))
		rc = walk_block(walk, child);
	return rc;
}

static int walk_children(struct walk *walk, const struct ptr *ptr, const uint8_t *block)
{
	uint32_t count = le32(block + 0x60);
	struct btrfs_key last = { 0 };
	int rc = 0;

	if (!count || count > (walk->fs->node_size - HEADER_LEN) / PTR_LEN)
		return bad_block(walk, ptr->logical, "cannot have as many children");
	for (uint32_t i = 0; !rc && i < count; i++) {
		const uint8_t *p = block + HEADER_LEN + i * PTR_LEN;
		struct ptr child = {
			.logical = le64(p + KEY_LEN), .generation = le64(p + KEY_LEN + 8),
			.level = ptr->level - 1, .has_key = true, .key = btrfs_key_at(p),
		};

		if (i && btrfs_key_compare(&last, &child.key) >= 0)
			return bad_block(walk, ptr->logical, "is out of order");
		last = child.key;
		rc = walk_child(walk, &child);
	}
	return rc;
}

/* Items' bytes fill a leaf from its end down, in order and without a gap. */
static int walk_items(struct walk *walk, const struct ptr *ptr, const uint8_t *block)
{
	uint32_t count = le32(block + 0x60), end = walk->fs->node_size - HEADER_LEN;
	int rc = 0;

	if (count > end / ITEM_LEN || (!count && ptr->has_key))
		return bad_block(walk, ptr->logical, "cannot have as many items");
	for (uint32_t i = 0; !rc && i < count; i++) {
		const uint8_t *p = block + HEADER_LEN + i * ITEM_LEN;
		uint32_t off = le32(p + KEY_LEN), size = le32(p + KEY_LEN + 4);
		struct btrfs_item item = { .key = btrfs_key_at(p), .size = size };

		if (walk->has_last && btrfs_key_compare(&walk->last, &item.key) >= 0)
			return bad_block(walk, ptr->logical, "is out of order");
		if (off < count * ITEM_LEN || size > end || off != end - size)
			return bad_block(walk, ptr->logical, "has items that overlap");
		item.data = block + HEADER_LEN + off;
		walk->last = item.key;
		walk->has_last = true;
		end = off;
		rc = walk->item(walk->fs, &item, walk->arg);
	}
	return rc;
}

static int walk_block(struct walk *walk, const struct ptr *ptr)
{
	struct btrfs *fs = walk->fs;
	uint8_t *block = fs->blocks + ptr->level * fs->node_size;
	struct btrfs_key key;
	int rc;

	if (!fs->blocks_left)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "it has too many tree blocks");
	fs->blocks_left--;
	rc = read_block(walk, ptr, block);
	if (rc)
		return rc;
	key = btrfs_key_at(block + HEADER_LEN);
	if (ptr->has_key && btrfs_key_compare(&key, &ptr->key) != 0)
		return bad_block(walk, ptr->logical, "has another first key than its parent says");
	return ptr->level ? walk_children(walk, ptr, block) : walk_items(walk, ptr, block);
}

static int walk_tree(struct walk *walk)
{
	const struct btrfs_tree *tree = walk->tree;
	struct ptr root = {
		.logical = tree->logical, .generation = tree->generation, .level = tree->level,
	};

	if (!tree->is_found)
		return btrfs_damaged(walk->fs, "it has no %s tree", tree->name);
	if (tree->level >= BTRFS_MAX_LEVEL)
		return btrfs_damaged(walk->fs, "the %s tree has %u levels", tree->name,
				     tree->level + 1);
	return walk_child(walk, &root);
}

int btrfs_walk(struct btrfs *fs, const struct btrfs_tree *tree, btrfs_item_fn fn, void *arg)
{
	struct walk walk = { .fs = fs, .tree = tree, .item = fn, .arg = arg };

	return walk_tree(&walk);
}

int btrfs_check_used(struct btrfs *fs, const struct btrfs_tree *tree)
{
	struct walk walk = { .fs = fs, .tree = tree, .is_shallow = true };

	return walk_tree(&walk);
}

int btrfs_check_block_used(struct btrfs *fs, uint64_t logical, const char *tree)
{
	const struct btrfs_chunk *chunk = btrfs_chunk_of(fs, logical, fs->node_size);

	if (!chunk || logical % fs->sector_size ||
	    btrfs_count_free(fs, chunk, logical, fs->node_size))
		return btrfs_damaged(fs, "block %" PRIu64 " of the %s tree is not marked as used",
				     logical, tree);
	return 0;
}
