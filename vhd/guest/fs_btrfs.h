/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PRIVATE to fs_btrfs*.c: what they know of one btrfs, and how they divide the work.
 *
 * A function that judges returns 0 to go on, BTRFS_REFUSED when the verdict is made (its sentence
 * is in fs->verdict), or -errno when the window could not be read or memory ran out. Addresses are
 * "logical" in the one space that chunks lay over the device, "physical" on the device.
 */
#ifndef VHD_GUEST_FS_BTRFS_H
#define VHD_GUEST_FS_BTRFS_H

#include "vhd/guest/fs.h"

#define BTRFS_REFUSED 1
#define BTRFS_SUPER_OFF 65536u
#define BTRFS_SUPER_LEN 4096u
#define BTRFS_SUPER_DEV_ITEM 0xc9u	/* where in it the device is described, */
#define BTRFS_SUPER_SYS_CHUNKS 0x32bu	/* and the chunks that the chunk tree itself lies in */
#define BTRFS_SUPER_SYS_CHUNKS_MAX 2048u
#define BTRFS_MAX_LEVEL 8u	/* levels 0 to 7 */
#define BTRFS_MAX_COPIES 2u

/* Kinds of chunk: what is in it, and how it lies on the devices. */
#define BTRFS_DATA 1u
#define BTRFS_SYSTEM 2u
#define BTRFS_METADATA 4u
#define BTRFS_KINDS 7u
#define BTRFS_DUP 32u

enum btrfs_key_type {
	BTRFS_ROOT_ITEM = 132,
	BTRFS_EXTENT_ITEM = 168,
	BTRFS_METADATA_ITEM = 169,
	BTRFS_TREE_BLOCK_REF = 176,
	BTRFS_EXTENT_DATA_REF = 178,
	BTRFS_SHARED_BLOCK_REF = 182,
	BTRFS_SHARED_DATA_REF = 184,
	BTRFS_BLOCK_GROUP_ITEM = 192,
	BTRFS_FREE_SPACE_INFO = 198,
	BTRFS_FREE_SPACE_EXTENT = 199,
	BTRFS_FREE_SPACE_BITMAP = 200,
	BTRFS_DEV_EXTENT = 204,
	BTRFS_DEV_ITEM = 216,
	BTRFS_CHUNK_ITEM = 228,
	BTRFS_PERSISTENT_ITEM = 249,
	BTRFS_DEV_REPLACE = 250,
};

enum btrfs_tree_id {
	BTRFS_ROOT_TREE = 1,
	BTRFS_EXTENT_TREE = 2,
	BTRFS_CHUNK_TREE = 3,
	BTRFS_DEV_TREE = 4,
	BTRFS_FREE_SPACE_TREE = 10,
};

struct btrfs_key {
	uint64_t objectid;
	uint8_t type;
	uint64_t offset;
};

struct btrfs_item {
	struct btrfs_key key;
	const uint8_t *data;	/* in a block that lives as long as the call */
	uint32_t size;
};

struct btrfs_tree {
	uint64_t id;
	const char *name;
	bool is_found;
	uint64_t logical, generation;	/* of its root block */
	unsigned level;
};

struct btrfs_chunk {
	uint64_t logical, length, flags;
	unsigned copies;
	uint64_t physical[BTRFS_MAX_COPIES];
	bool has_extent[BTRFS_MAX_COPIES];	/* the device tree has this copy, too */
	uint64_t used;				/* bytes of the extents in it */
	uint64_t group_used;			/* what its block group says of them */
	bool has_group;
};

struct btrfs_chunks {
	struct btrfs_chunk *chunk;	/* by logical address, without overlap */
	size_t count, room;
};

struct btrfs {
	const struct window *window;
	struct freemap *map;		/* in sectors */
	struct verdict *verdict;
	uint8_t super[BTRFS_SUPER_LEN];
	const uint8_t *fsid;		/* that tree blocks bear; in super */
	uint64_t generation, device_size, bytes_used;
	uint32_t sector_size, node_size;
	uint64_t incompat, compat_ro;
	unsigned csum;
	struct btrfs_chunks chunks;
	struct btrfs_tree root_tree, chunk_tree, extent_tree, dev_tree, free_space_tree;
	uint64_t blocks_left;		/* to read, before giving up */
	uint8_t chunk_uuid[16];		/* of the first block seen: all have it */
	bool has_chunk_uuid;
	uint8_t *blocks;		/* one buffer a level, and one for second copies */
};

/* Makes the verdict; always BTRFS_REFUSED, to be returned. */
#define btrfs_refuse(fs, state, ...) \
	(verdict_set((fs)->verdict, (state), __VA_ARGS__) + BTRFS_REFUSED)
#define btrfs_damaged(fs, ...) btrfs_refuse(fs, GUEST_DAMAGED, __VA_ARGS__)

/* --- fs_btrfs_csum.c --- */

/* The name of a kind of checksum, or NULL for one that is not known. */
const char *btrfs_csum_name(unsigned type);
/* Whether this build can compute it. */
bool btrfs_csum_is_served(unsigned type);
/* Whether a block of len bytes, the checksum in its first 32, is as it was written. */
bool btrfs_csum_is_right(unsigned type, const uint8_t *block, size_t len);

/* --- fs_btrfs_super.c --- */

/* Reads and judges the superblock and its copies; fills what fs has of it. */
int btrfs_read_super(struct btrfs *fs);

/* --- fs_btrfs_chunk.c --- */

/* Reads the chunk tree, and takes the chunks' room from the map, where no two may overlap. */
int btrfs_read_chunks(struct btrfs *fs);
/* Whether the device tree tells the same of the device as the chunk tree. */
int btrfs_check_device(struct btrfs *fs);
/* The chunk that has all of the len bytes at logical, or NULL. */
struct btrfs_chunk *btrfs_chunk_of(const struct btrfs *fs, uint64_t logical, uint64_t len);
/* Makes len bytes at logical, which chunk has, free in every copy. */
void btrfs_give(struct btrfs *fs, const struct btrfs_chunk *chunk, uint64_t logical, uint64_t len);
/* How many of len bytes at logical, which chunk has, are free: in each copy, as they are alike. */
uint64_t btrfs_count_free(const struct btrfs *fs, const struct btrfs_chunk *chunk,
			  uint64_t logical, uint64_t len);

/* --- fs_btrfs_tree.c --- */

/* What is called for each item of a tree, in the order of the keys. */
typedef int (*btrfs_item_fn)(struct btrfs *fs, const struct btrfs_item *item, void *arg);

/* Calls fn for each item; stops at its first result that is not 0, and returns that. */
int btrfs_walk(struct btrfs *fs, const struct btrfs_tree *tree, btrfs_item_fn fn, void *arg);
/* Whether the map has every block of the tree as used. */
int btrfs_check_used(struct btrfs *fs, const struct btrfs_tree *tree);
/* Whether the map has one block as used; "tree" names whose it is. */
int btrfs_check_block_used(struct btrfs *fs, uint64_t logical, const char *tree);
/* <0, 0, >0 as a sorts before, with, or behind b. */
int btrfs_key_compare(const struct btrfs_key *a, const struct btrfs_key *b);
struct btrfs_key btrfs_key_at(const uint8_t *p);

/* --- fs_btrfs_extent.c --- */

/* Gives the map what no extent has of the chunks, and counts it all against the block groups. */
int btrfs_read_extents(struct btrfs *fs);

/* --- fs_btrfs_free.c --- */

/* Whether the free space tree, where there is one, tells the same as the map. */
int btrfs_check_free_space(struct btrfs *fs);

#endif
