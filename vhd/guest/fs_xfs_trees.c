/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two B+trees of free room in a group of XFS: the same extents, sorted by place and by size.
 *
 * The one by place fills the map; then the one by size must hold exactly the runs that are in the
 * map, and no block of either tree may be free. Records ascend strictly over a whole tree and no
 * node is less than half full, so that pointers that go in circles are noticed, and the work is
 * bounded by the size of the group.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/guest/fs_xfs.h"

#define LEVELS_MAX 9u	/* more than a group of 2^31 blocks needs with nodes half full */
#define RECORD 8u	/* and a key: block, count */
#define POINTER 4u

/* Where in a node, in an AGF. */
enum {
	NODE_LEVEL = 4, NODE_RECORDS = 6, NODE_LEFT = 8, NODE_RIGHT = 12, NODE_HEADER_V4 = 16,
	NODE_BLKNO = 16, NODE_LSN = 24, NODE_UUID = 32, NODE_OWNER = 48, NODE_CRC = 52,
	NODE_HEADER_V5 = 56,
	AGF_ROOTS = 16, AGF_LEVELS = 28,
};

struct tree {
	struct xfs *fs;
	const struct xfs_ag *ag;
	bool is_by_size;
	uint32_t root;
	unsigned levels;
	uint32_t header;		/* bytes */
	uint8_t *nodes;			/* one of each level */
	/* Of each level: the node before, and the one that it says is next. */
	uint32_t left[LEVELS_MAX], right[LEVELS_MAX];
	uint64_t node_count, record_count, blocks;
	uint32_t longest;
	uint32_t start, count;		/* the record before */
};

static const char *name_of(const struct tree *tree)
{
	return tree->is_by_size ? "cntbt" : "bnobt";
}

static int damaged(struct tree *tree, uint32_t block, const char *what)
{
	return xfs_damaged(tree->fs, "block %u of group %u (%s) %s", block, tree->ag->number,
			   name_of(tree), what);
}

static uint32_t magic_of(const struct tree *tree)
{
	if (tree->fs->has_crc)
		return tree->is_by_size ? 0x41423343 : 0x41423342;
	return tree->is_by_size ? 0x41425443 : 0x41425442;
}

static uint32_t records_max(const struct tree *tree, unsigned level)
{
	return (tree->fs->block_size - tree->header) / (level ? RECORD + POINTER : RECORD);
}

static const uint8_t *record_of(const struct tree *tree, const uint8_t *node, unsigned i)
{
	return node + tree->header + i * RECORD;
}

static uint32_t pointer_of(const struct tree *tree, unsigned level, const uint8_t *node, unsigned i)
{
	return be32(node + tree->header + records_max(tree, level) * RECORD + i * POINTER);
}

static int check_identity(struct tree *tree, uint32_t block, const uint8_t *node)
{
	const struct xfs *fs = tree->fs;
	uint64_t sector = (tree->ag->base + block) * (fs->block_size / 512);

	if (!xfs_has_right_crc(node, fs->block_size, NODE_CRC))
		return damaged(tree, block, "has a wrong checksum");
	if (!xfs_is_meta_uuid(fs, node + NODE_UUID) || be64(node + NODE_BLKNO) != sector ||
	    be32(node + NODE_OWNER) != tree->ag->number)
		return damaged(tree, block, "belongs elsewhere");
	if (!xfs_is_lsn_past(fs, be64(node + NODE_LSN)))
		return damaged(tree, block, "is newer than the log");
	return 0;
}

static int read_node(struct tree *tree, uint32_t block, unsigned level, uint8_t *node)
{
	struct xfs *fs = tree->fs;
	uint32_t records, max = records_max(tree, level);
	int rc;

	if (block < tree->ag->first || block >= tree->ag->length)
		return damaged(tree, block, "cannot be");
	rc = xfs_read(fs, node, fs->block_size, (tree->ag->base + block) * fs->block_size,
		      "a tree of free room");
	if (rc)
		return rc;
	records = be16(node + NODE_RECORDS);
	if (be32(node) != magic_of(tree) || be16(node + NODE_LEVEL) != level || records > max ||
	    (block == tree->root ? level && !records : records < max / 2))
		return damaged(tree, block, "is no node of it");
	return fs->has_crc ? check_identity(tree, block, node) : 0;
}

/* Nodes of a level are a list, too. */
static int check_neighbours(struct tree *tree, uint32_t block, unsigned level, const uint8_t *node)
{
	if (be32(node + NODE_LEFT) != tree->left[level] ||
	    (tree->left[level] != XFS_NO_BLOCK && tree->right[level] != block))
		return damaged(tree, block, "is not beside its neighbour");
	tree->left[level] = block;
	tree->right[level] = be32(node + NODE_RIGHT);
	return 0;
}

/* By place: behind the record before, and not touching it, or they would be one. */
static bool take_by_place(struct tree *tree, uint32_t start, uint32_t count)
{
	uint32_t end;

	if (start < tree->ag->first || !count || __builtin_add_overflow(start, count, &end) ||
	    end > tree->ag->length || (tree->count && start <= tree->start + tree->count))
		return false;
	freemap_give(tree->fs->map, tree->ag->base + start, count);
	return true;
}

/* By size: above the record before, and a whole run of the map. */
static bool take_by_size(struct tree *tree, uint32_t start, uint32_t count)
{
	const struct freemap *map = tree->fs->map;
	uint64_t first = tree->ag->base + start;

	if (start < tree->ag->first || start >= tree->ag->length || !count ||
	    count > tree->ag->length - start ||
	    (count == tree->count ? start <= tree->start : count < tree->count))
		return false;
	return !freemap_is_free(map, first - 1) && !freemap_is_free(map, first + count) &&
	       freemap_count(map, first, count) == count;
}

static int take_records(struct tree *tree, uint32_t block, const uint8_t *node)
{
	for (unsigned i = 0; i < be16(node + NODE_RECORDS); i++) {
		const uint8_t *record = record_of(tree, node, i);
		uint32_t start = be32(record), count = be32(record + 4);

		if (!(tree->is_by_size ? take_by_size : take_by_place)(tree, start, count))
			return damaged(tree, block, "lists what cannot be free");
		tree->start = start;
		tree->count = count;
		tree->blocks += count;
		tree->record_count++;
		if (count > tree->longest)
			tree->longest = count;
	}
	return 0;
}

/* key is what the node above says of this one's first record; NULL for the root. */
static int walk(struct tree *tree, uint32_t block, unsigned level, const uint8_t *key)
{
	uint8_t *node = tree->nodes + (size_t)level * tree->fs->block_size;
	int rc = read_node(tree, block, level, node);

	if (!rc)
		rc = check_neighbours(tree, block, level, node);
	if (rc)
		return rc;
	if (key && memcmp(key, record_of(tree, node, 0), tree->is_by_size ? RECORD : 4) != 0)
		return damaged(tree, block, "does not begin as the node above says");
	tree->node_count++;
	if (tree->is_by_size && freemap_is_free(tree->fs->map, tree->ag->base + block))
		return damaged(tree, block, "is marked free");
	if (!level)
		return take_records(tree, block, node);
	for (unsigned i = 0; !rc && i < be16(node + NODE_RECORDS); i++)
		rc = walk(tree, pointer_of(tree, level, node, i), level - 1,
			  record_of(tree, node, i));
	return rc;
}

/* The map is whole only when the tree by place is read: then no node of it may be free. */
static int check_nodes_used(struct tree *tree, uint32_t block, unsigned level)
{
	uint8_t *node = tree->nodes + (size_t)level * tree->fs->block_size;
	int rc;

	if (freemap_is_free(tree->fs->map, tree->ag->base + block))
		return damaged(tree, block, "is marked free");
	if (!level)
		return 0;
	rc = read_node(tree, block, level, node);
	for (unsigned i = 0; !rc && i < be16(node + NODE_RECORDS); i++)
		rc = check_nodes_used(tree, pointer_of(tree, level, node, i), level - 1);
	return rc;
}

static int walk_all(struct tree *tree)
{
	int rc = walk(tree, tree->root, tree->levels - 1, NULL);

	for (unsigned level = 0; !rc && level < tree->levels; level++)
		if (tree->right[level] != XFS_NO_BLOCK)
			rc = damaged(tree, tree->left[level], "has a neighbour too many");
	return rc;
}

static int start_tree(struct tree *tree, struct xfs *fs, const struct xfs_ag *ag,
		      const uint8_t *agf, bool is_by_size)
{
	*tree = (struct tree){ .fs = fs, .ag = ag, .is_by_size = is_by_size };
	tree->root = be32(agf + AGF_ROOTS + 4 * is_by_size);
	tree->levels = be32(agf + AGF_LEVELS + 4 * is_by_size);
	tree->header = fs->has_crc ? NODE_HEADER_V5 : NODE_HEADER_V4;
	for (unsigned level = 0; level < LEVELS_MAX; level++)
		tree->left[level] = tree->right[level] = XFS_NO_BLOCK;
	if (!tree->levels || tree->levels > LEVELS_MAX)
		return xfs_damaged(fs, "the %s of group %u has %u levels", name_of(tree),
				   ag->number, tree->levels);
	tree->nodes = calloc(tree->levels, fs->block_size);
	return tree->nodes ? 0 : -ENOMEM;
}

static int check_both(struct tree *by_place, struct tree *by_size)
{
	int rc = walk_all(by_place);

	if (!rc)
		rc = walk_all(by_size);
	if (!rc)
		rc = check_nodes_used(by_place, by_place->root, by_place->levels - 1);
	if (rc)
		return rc;
	/* All different, and each a run of the map: as many are the same. */
	if (by_place->record_count != by_size->record_count)
		return damaged(by_size, by_size->root, "is not the bnobt in another order");
	return 0;
}

int xfs_trees_check(struct xfs *fs, struct xfs_ag *ag, const uint8_t *agf)
{
	struct tree by_place = { 0 }, by_size = { 0 };
	int rc = start_tree(&by_place, fs, ag, agf, false);

	if (!rc)
		rc = start_tree(&by_size, fs, ag, agf, true);
	if (!rc)
		rc = check_both(&by_place, &by_size);
	ag->free = (uint32_t)by_place.blocks;
	ag->longest = by_place.longest;
	ag->tree_blocks = by_place.node_count + by_size.node_count - 2;
	free(by_place.nodes);
	free(by_size.nodes);
	return rc;
}
