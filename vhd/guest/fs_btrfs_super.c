/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The superblock of a btrfs: what it forbids by flags, whether a log waits, whether its copies
 * agree.
 *
 * It lies at 64 KiB, its copies at 64 MiB and 256 GiB where the device is that long. A commit
 * writes all of them; fsync writes only the first, and leaves a log tree that the next mount
 * replays.
 */
#include "vhd/guest/fs_btrfs.h"

#include <inttypes.h>
#include <string.h>

/* Where in the superblock. */
enum {
	AT_CSUM_END = 0x20,
	AT_FSID = 0x20,
	AT_BYTENR = 0x30,
	AT_FLAGS = 0x38,
	AT_MAGIC = 0x40,
	AT_GENERATION = 0x48,
	AT_ROOT = 0x50,
	AT_CHUNK_ROOT = 0x58,
	AT_LOG_ROOT = 0x60,
	AT_TOTAL_BYTES = 0x70,
	AT_BYTES_USED = 0x78,
	AT_NUM_DEVICES = 0x88,
	AT_SECTOR_SIZE = 0x90,
	AT_NODE_SIZE = 0x94,
	AT_CHUNK_ROOT_GENERATION = 0xa4,
	AT_COMPAT_RO = 0xb4,
	AT_INCOMPAT = 0xbc,
	AT_CSUM_TYPE = 0xc4,
	AT_ROOT_LEVEL = 0xc6,
	AT_CHUNK_ROOT_LEVEL = 0xc7,
	AT_DEV_TOTAL_BYTES = BTRFS_SUPER_DEV_ITEM + 8,
	AT_DEV_FSID = BTRFS_SUPER_DEV_ITEM + 82,
	AT_METADATA_UUID = 0x23b,
};

static const uint64_t copies[] = { 64ull << 20, 256ull << 30 };

struct flag {
	unsigned bit;
	const char *name;	/* NULL: it changes nothing for us */
};

#define SUPER_ERROR (1ull << 2)
#define INCOMPAT_METADATA_UUID (1ull << 10)

static const struct flag incompat_flags[] = {
	{ 0, NULL },	/* mixed-backref */
	{ 1, NULL },	/* default-subvol */
	{ 2, NULL },	/* mixed-groups */
	{ 3, NULL },	/* compress-lzo */
	{ 4, NULL },	/* compress-zstd */
	{ 5, NULL },	/* big-metadata */
	{ 6, NULL },	/* extended-iref */
	{ 7, "raid56" },
	{ 8, NULL },	/* skinny-metadata */
	{ 9, NULL },	/* no-holes */
	{ 10, NULL },	/* metadata-uuid */
	{ 11, "raid1c34" },
	{ 12, "zoned" },
	{ 13, "extent-tree-v2" },
	{ 14, "raid-stripe-tree" },
	{ 16, "simple-quota" },
};

static const struct flag compat_ro_flags[] = {
	{ 0, NULL },	/* free-space-tree */
	{ 1, NULL },	/* free-space-tree-valid */
	{ 2, NULL },	/* verity */
	{ 3, "block-group-tree" },
};

/* Of the superblock itself. The first two are of no account. */
static const struct flag super_flags[] = {
	{ 0, NULL },
	{ 1, NULL },
	{ 32, "seeding" },
	{ 33, "metadump" },
	{ 34, "metadump-v2" },
	{ 35, "changing-fsid" },
	{ 36, "changing-fsid-v2" },
	{ 38, "changing-bg-tree" },
	{ 39, "changing-data-csum" },
	{ 40, "changing-meta-csum" },
};

#define CHECK_FLAGS(fs, flags, what, value) \
	check_flags(fs, flags, sizeof(flags) / sizeof((flags)[0]), what, value)

static int check_flags(struct btrfs *fs, const struct flag *flags, size_t count, const char *what,
		       uint64_t value)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t mask = 1ull << flags[i].bit;

		if (value & mask && flags[i].name)
			return btrfs_refuse(fs, GUEST_UNSUPPORTED, "the %s %s is not served",
					    what, flags[i].name);
		value &= ~mask;
	}
	if (value)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "%ss %#" PRIx64 " are not known", what,
				    value);
	return 0;
}

static int check_csum(struct btrfs *fs)
{
	fs->csum = le16(fs->super + AT_CSUM_TYPE);
	if (!btrfs_csum_name(fs->csum))
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "checksums of kind %u are not known",
				    fs->csum);
	if (!btrfs_csum_is_served(fs->csum))
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "this build has no %s, its checksum",
				    btrfs_csum_name(fs->csum));
	if (!btrfs_csum_is_right(fs->csum, fs->super, BTRFS_SUPER_LEN))
		return btrfs_damaged(fs, "the superblock has a wrong checksum: run btrfs rescue "
				     "super-recover");
	if (le64(fs->super + AT_BYTENR) != BTRFS_SUPER_OFF)
		return btrfs_damaged(fs, "the superblock was written for another place");
	return 0;
}

/* What would be read otherwise by one who knows more than we do. */
static int check_features(struct btrfs *fs)
{
	uint64_t flags = le64(fs->super + AT_FLAGS);
	int rc;

	if (flags & SUPER_ERROR)
		return btrfs_damaged(fs, "an error was found in it: run btrfs check");
	fs->incompat = le64(fs->super + AT_INCOMPAT);
	fs->compat_ro = le64(fs->super + AT_COMPAT_RO);
	rc = CHECK_FLAGS(fs, super_flags, "superblock flag", flags);
	if (!rc)
		rc = CHECK_FLAGS(fs, incompat_flags, "feature", fs->incompat);
	if (!rc)
		rc = CHECK_FLAGS(fs, compat_ro_flags, "feature", fs->compat_ro);
	if (!rc && le64(fs->super + AT_NUM_DEVICES) != 1)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "it spans %" PRIu64 " devices",
				    le64(fs->super + AT_NUM_DEVICES));
	return rc;
}

static bool is_block_size(uint32_t size)
{
	return size >= 4096 && size <= 65536 && !(size & (size - 1));
}

static int check_geometry(struct btrfs *fs)
{
	fs->sector_size = le32(fs->super + AT_SECTOR_SIZE);
	fs->node_size = le32(fs->super + AT_NODE_SIZE);
	fs->device_size = le64(fs->super + AT_DEV_TOTAL_BYTES);
	if (!is_block_size(fs->sector_size) || !is_block_size(fs->node_size) ||
	    fs->node_size < fs->sector_size)
		return btrfs_damaged(fs, "it cannot have sectors of %u and nodes of %u bytes",
				     fs->sector_size, fs->node_size);
	if (fs->device_size > fs->window->size)
		return btrfs_damaged(fs, "it is %" PRIu64 " bytes long, and its volume only %"
				     PRIu64, fs->device_size, fs->window->size);
	if (le64(fs->super + AT_TOTAL_BYTES) != fs->device_size)
		return btrfs_damaged(fs, "it is %" PRIu64 " bytes long, and its device %" PRIu64
				     ": run btrfs rescue fix-device-size",
				     le64(fs->super + AT_TOTAL_BYTES), fs->device_size);
	return 0;
}

static int check_ids(struct btrfs *fs)
{
	bool has_own = fs->incompat & INCOMPAT_METADATA_UUID;

	fs->fsid = fs->super + (has_own ? AT_METADATA_UUID : AT_FSID);
	if (memcmp(fs->super + AT_DEV_FSID, fs->fsid, 16) != 0)
		return btrfs_damaged(fs, "the superblock's device is another filesystem's");
	return 0;
}

static void load_roots(struct btrfs *fs)
{
	const uint8_t *p = fs->super;

	fs->generation = le64(p + AT_GENERATION);
	fs->bytes_used = le64(p + AT_BYTES_USED);
	fs->root_tree = (struct btrfs_tree){
		.id = BTRFS_ROOT_TREE, .name = "root", .is_found = true,
		.logical = le64(p + AT_ROOT), .generation = fs->generation,
		.level = p[AT_ROOT_LEVEL],
	};
	fs->chunk_tree = (struct btrfs_tree){
		.id = BTRFS_CHUNK_TREE, .name = "chunk", .is_found = true,
		.logical = le64(p + AT_CHUNK_ROOT),
		.generation = le64(p + AT_CHUNK_ROOT_GENERATION),
		.level = p[AT_CHUNK_ROOT_LEVEL],
	};
}

/*
 * A copy that is of another time than the first was left so by a crash between the two; to mount it
 * for writing mends that. One that is not as it was written is damage.
 */
static int check_copy(struct btrfs *fs, uint64_t off)
{
	uint8_t copy[BTRFS_SUPER_LEN];
	int rc = window_read(fs->window, copy, sizeof(copy), off);

	if (rc)
		return rc;
	if (!btrfs_csum_is_right(fs->csum, copy, sizeof(copy)) || le64(copy + AT_BYTENR) != off)
		return btrfs_damaged(fs, "the superblock's copy at %" PRIu64
				     " is damaged: run btrfs rescue super-recover", off);
	if (le64(copy + AT_GENERATION) != fs->generation)
		return btrfs_refuse(fs, GUEST_UNCLEAN, "the superblock's copy at %" PRIu64
				    " is not of the same time: mount it for writing and unmount it",
				    off);
	if (memcmp(copy + AT_FSID, fs->super + AT_FSID, AT_BYTENR - AT_FSID) != 0 ||
	    memcmp(copy + AT_FLAGS, fs->super + AT_FLAGS, BTRFS_SUPER_LEN - AT_FLAGS) != 0)
		return btrfs_damaged(fs, "the superblock's copy at %" PRIu64 " differs", off);
	return 0;
}

static int check_copies(struct btrfs *fs)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof(copies) / sizeof(copies[0]); i++)
		if (copies[i] + BTRFS_SUPER_LEN < fs->device_size)
			rc = check_copy(fs, copies[i]);
	return rc;
}

int btrfs_read_super(struct btrfs *fs)
{
	int rc = window_read(fs->window, fs->super, BTRFS_SUPER_LEN, BTRFS_SUPER_OFF);

	if (!rc)
		rc = check_csum(fs);
	if (!rc)
		rc = check_features(fs);
	if (rc)
		return rc;
	if (le64(fs->super + AT_LOG_ROOT))
		return btrfs_refuse(fs, GUEST_UNCLEAN, "its log has to be replayed: mount and "
				    "unmount it, or start the guest and shut it down cleanly");
	rc = check_geometry(fs);
	if (!rc)
		rc = check_ids(fs);
	if (rc)
		return rc;
	load_roots(fs);
	return check_copies(fs);
}
