/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directories of FAT12, FAT16 and FAT32: the second word on what is in use.
 *
 * The table alone cannot say that a chain's first entry was lost, nor that it was cut: only who
 * owns the chain can. So each file must begin where a chain begins, each chain have one owner, and
 * all files and directories together be as long as all chains. Files' chains need not be followed
 * for that; once the table is sound, they cannot meet.
 */
#include "vhd/guest/fs_fat_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define ATTR_LABEL 0x08
#define ATTR_DIR 0x10
#define ATTR_LONG 0x0f
#define ATTR_MASK 0x3f

struct tree {
	struct fat *fat;
	uint64_t found;		/* clusters that files and directories have */
};

/* cluster, with which a file begins, begins a chain that was nobody's. */
static int claim_chain(struct fat *fat, uint32_t cluster)
{
	if (fat_has(&fat->vol, cluster) && freemap_is_free(fat->map, cluster - 2))
		return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
				  "a file begins at cluster %u, which is marked free", cluster);
	return fat_claim(&fat->vol, cluster, 1);
}

/* A directory has as many clusters as its chain. */
static int add_dir(struct tree *tree, uint32_t first)
{
	struct fat_volume *vol = &tree->fat->vol;
	struct fat_dir dir = { .first = first };
	int rc = claim_chain(tree->fat, first);

	for (uint32_t at = first; !rc && at; rc = fat_next(vol, at, &at)) {
		/* The table was sound when it was gone through: it would have to have changed. */
		if (dir.clusters++ == vol->clusters)
			return -EIO;
	}
	if (rc)
		return rc;
	tree->found += dir.clusters;
	return fat_push(vol, &dir);
}

/* Windows XP sleeps on FAT32, too. cluster is the first one of the file that it sleeps in. */
static int check_sleep(struct fat *fat, uint32_t cluster)
{
	uint8_t magic[4];
	uint64_t off = fat->vol.base + (uint64_t)(cluster - 2) * fat->vol.unit;
	int rc = window_read(fat->vol.window, magic, sizeof(magic), off);

	if (rc)
		return rc;
	if (memcmp(magic, "hibr", 4) == 0 || memcmp(magic, "HIBR", 4) == 0 ||
	    memcmp(magic, "rstr", 4) == 0 || memcmp(magic, "RSTR", 4) == 0)
		return fat_refuse(fat->vol.verdict, GUEST_HIBERNATED,
				  "Windows is hibernated in it: start it and shut it down");
	return 0;
}

static int add_entry(struct tree *tree, const uint8_t *entry, bool is_root)
{
	struct fat *fat = tree->fat;
	uint32_t first = le16(entry + 26), size = le32(entry + 28);
	int rc;

	if (fat->vol.width == 32)
		first |= (uint32_t)le16(entry + 20) << 16;
	if (entry[11] & ATTR_DIR)
		return add_dir(tree, first);
	if (!first && !size)
		return 0;
	rc = claim_chain(fat, first);
	tree->found += fat_round_up(size, fat->vol.unit);
	if (!rc && is_root && memcmp(entry, "HIBERFILSYS", 11) == 0)
		rc = check_sleep(fat, first);
	return rc;
}

static bool is_skipped(const uint8_t *entry)
{
	return entry[0] == 0xe5 || (entry[11] & ATTR_MASK) == ATTR_LONG || entry[11] & ATTR_LABEL;
}

/* The two entries with which every directory but the root begins: itself, and the one above. */
static int check_dots(struct fat *fat, const uint8_t *entry, unsigned number, uint32_t self)
{
	uint32_t first = le16(entry + 26);

	if (fat->vol.width == 32)
		first |= (uint32_t)le16(entry + 20) << 16;
	if (memcmp(entry, number ? "..         " : ".          ", 11) == 0 &&
	    entry[11] & ATTR_DIR && (number || first == self))
		return 0;
	return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
			  "the directory at cluster %u does not begin as one does", self);
}

/* self is 0 for the root. */
static int read_dir(struct tree *tree, uint32_t self)
{
	const uint8_t *entry;
	int rc = 0;

	for (unsigned i = 0; !rc; i++) {
		rc = fat_dir_entry(&tree->fat->vol, &entry);
		if (rc)
			break;
		if (entry && self && i < 2)
			rc = check_dots(tree->fat, entry, i, self);
		else if (!entry || !entry[0])
			break;
		else if (!is_skipped(entry))
			rc = add_entry(tree, entry, !self);
	}
	return rc;
}

static int read_root(struct tree *tree)
{
	struct fat *fat = tree->fat;
	struct fat_dir dir;
	int rc;

	if (!fat->root_cluster) {
		fat_begin_at(&fat->vol, fat->root, fat->root_len);
		return read_dir(tree, 0);
	}
	rc = add_dir(tree, fat->root_cluster);
	if (rc || !fat_pop(&fat->vol, &dir))
		return rc;
	fat_begin(&fat->vol, &dir);
	return read_dir(tree, 0);
}

/* No chain is left that is nobody's, and none is longer or shorter than what is in it. */
static int check_whole(struct tree *tree)
{
	struct fat *fat = tree->fat;
	uint64_t unclaimed = freemap_count(fat->vol.unclaimed, 0, fat->vol.clusters);
	uint64_t lost = unclaimed - freemap_count(fat->map, 0, fat->vol.clusters);

	if (lost)
		return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
				  "%" PRIu64 " of its chains of clusters belong to no file", lost);
	if (tree->found != fat->used)
		return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
				  "its files have %" PRIu64 " clusters, "
				  "and its table has %u in use", tree->found, fat->used);
	return 0;
}

int fat_read_tree(struct fat *fat)
{
	struct tree tree = { .fat = fat };
	struct fat_dir dir;
	int rc = read_root(&tree);

	while (!rc && fat_pop(&fat->vol, &dir)) {
		fat_begin(&fat->vol, &dir);
		rc = read_dir(&tree, dir.first);
	}
	return rc ? rc : check_whole(&tree);
}
