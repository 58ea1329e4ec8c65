/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The free room of a btrfs on one device.
 *
 * Free is what no chunk has of the device, and what no extent has of a chunk, in each of its
 * copies. A commit leaves a filesystem that is whole by itself, so one that lost power is clean
 * unless a log waits. What is lost by nature is the way back to a time before the last commit
 * (mount's usebackuproot): the tree blocks of then are free now, and a discard would take them as
 * well.
 */
#include "vhd/guest/fs_btrfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BLOCKS (1u << 20)	/* tree blocks read: some 200 million extents in blocks of 16 KiB */
#define ROOT_ITEM_LEN 239u	/* at the least */

/* Not in the extent tree: where boot loaders are, and room for the superblock's copies. */
static const struct {
	uint64_t off, len;
} reserved[] = {
	{ 0, 1u << 20 },
	{ 64ull << 20, 64u << 10 },
	{ 256ull << 30, 64u << 10 },
};

static bool probe(const struct window *window, struct verdict *verdict)
{
	uint8_t magic[8];

	if (window_read(window, magic, sizeof(magic), BTRFS_SUPER_OFF + 0x40) != 0 ||
	    memcmp(magic, "_BHRfS_M", sizeof(magic)) != 0)
		return false;
	snprintf(verdict->filesystem, sizeof(verdict->filesystem), "btrfs");
	return true;
}

static struct btrfs_tree *tree_of(struct btrfs *fs, uint64_t id)
{
	switch (id) {
	case BTRFS_EXTENT_TREE:
		return &fs->extent_tree;
	case BTRFS_DEV_TREE:
		return &fs->dev_tree;
	case BTRFS_FREE_SPACE_TREE:
		return &fs->free_space_tree;
	default:
		return NULL;
	}
}

static int check_root(struct btrfs *fs, const struct btrfs_item *item)
{
	if (item->size < ROOT_ITEM_LEN || item->data[238] >= BTRFS_MAX_LEVEL ||
	    le64(item->data + 160) > fs->generation)
		return btrfs_damaged(fs, "the root of tree %" PRIu64 " cannot be: run btrfs check",
				     item->key.objectid);
	return 0;
}

static int find_root(struct btrfs *fs, const struct btrfs_item *item, void *arg)
{
	struct btrfs_tree *tree = tree_of(fs, item->key.objectid);
	int rc;

	(void)arg;
	if (item->key.type != BTRFS_ROOT_ITEM)
		return 0;
	rc = check_root(fs, item);
	if (rc || !tree)
		return rc;
	tree->is_found = true;
	tree->logical = le64(item->data + 176);
	tree->generation = le64(item->data + 160);
	tree->level = item->data[238];
	return 0;
}

static int check_root_used(struct btrfs *fs, const struct btrfs_item *item, void *arg)
{
	(void)arg;
	if (item->key.type != BTRFS_ROOT_ITEM)
		return 0;
	return btrfs_check_block_used(fs, le64(item->data + 176), "listed");
}

static int find_roots(struct btrfs *fs)
{
	fs->extent_tree = (struct btrfs_tree){ .id = BTRFS_EXTENT_TREE, .name = "extent" };
	fs->dev_tree = (struct btrfs_tree){ .id = BTRFS_DEV_TREE, .name = "device" };
	fs->free_space_tree = (struct btrfs_tree){
		.id = BTRFS_FREE_SPACE_TREE, .name = "free space",
	};
	return btrfs_walk(fs, &fs->root_tree, find_root, NULL);
}

/* What has just been read must itself be in use by the map, and so the root of every other tree. */
static int check_trees_used(struct btrfs *fs)
{
	const struct btrfs_tree *const trees[] = {
		&fs->chunk_tree, &fs->root_tree, &fs->extent_tree, &fs->dev_tree,
	};
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(trees) / sizeof(trees[0]); i++)
		rc = btrfs_check_used(fs, trees[i]);
	if (!rc)
		rc = btrfs_walk(fs, &fs->root_tree, check_root_used, NULL);
	return rc;
}

/* Everything free to begin with; the chunks take theirs, and give back what no extent has. */
static int init_map(struct btrfs *fs)
{
	int rc = freemap_init(fs->map, 0, fs->sector_size, fs->device_size / fs->sector_size);

	if (rc == -EFBIG)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "it is too large to be mapped");
	if (rc)
		return rc;
	freemap_give(fs->map, 0, fs->map->units);
	fs->blocks = malloc((size_t)(BTRFS_MAX_LEVEL + 1) * fs->node_size);
	return fs->blocks ? 0 : -ENOMEM;
}

static int look(struct btrfs *fs)
{
	int rc = btrfs_read_super(fs);

	if (!rc)
		rc = init_map(fs);
	if (!rc)
		rc = btrfs_read_chunks(fs);
	if (!rc)
		rc = find_roots(fs);
	if (!rc)
		rc = btrfs_check_device(fs);
	if (!rc)
		rc = btrfs_read_extents(fs);
	if (!rc)
		rc = check_trees_used(fs);
	if (!rc)
		rc = btrfs_check_free_space(fs);
	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		freemap_take_bytes(fs->map, reserved[i].off, reserved[i].len);
	fs->verdict->state = GUEST_CLEAN;
	return 0;
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct btrfs fs = {
		.window = window, .map = map, .verdict = verdict, .blocks_left = MAX_BLOCKS,
	};
	int rc = look(&fs);

	free(fs.chunks.chunk);
	free(fs.blocks);
	if (rc < 0)
		return verdict_of_read(verdict, rc, "its superblock");
	return 0;
}

const struct fs_reader fs_btrfs = { "btrfs", probe, scan };
