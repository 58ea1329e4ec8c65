/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chunks of a btrfs: which stretch of the device, or which two, each stretch of logical
 * addresses is kept in.
 *
 * The superblock has a list of those that the chunk tree lies in. With them the tree is read, which
 * must have them unchanged. What the chunk tree says of the device the device tree says again.
 */
#include "vhd/guest/fs_btrfs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHUNKS 65536u	/* of a disk of 2 TiB a few thousand are usual */
#define STRIPE_LEN 65536u
#define KEY_LEN 17u
#define CHUNK_HEAD_LEN 48u
#define STRIPE_ITEM_LEN 32u
#define DEV_ITEM_LEN 98u
#define DEV_EXTENT_LEN 48u
#define DEV_ITEMS_OBJECTID 1u
#define FIRST_CHUNK_OBJECTID 256u

static const char *profile_of(uint64_t flags)
{
	static const struct {
		uint64_t flag;
		const char *name;
	} profiles[] = {
		{ 8, "RAID0" }, { 16, "RAID1" }, { 64, "RAID10" }, { 128, "RAID5" },
		{ 256, "RAID6" }, { 512, "RAID1C3" }, { 1024, "RAID1C4" },
	};

	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++)
		if (flags & profiles[i].flag)
			return profiles[i].name;
	return "not known";
}

static int bad_chunk(struct btrfs *fs, uint64_t logical, const char *what)
{
	return btrfs_damaged(fs, "chunk %" PRIu64 " %s: run btrfs check", logical, what);
}

/* Whether len bytes at off are whole sectors, at least one, that do not run over the end of all. */
static bool is_range(const struct btrfs *fs, uint64_t off, uint64_t len)
{
	uint64_t end;

	return len && off % fs->sector_size == 0 && len % fs->sector_size == 0 &&
	       !__builtin_add_overflow(off, len, &end);
}

/* One copy of a chunk: on this device, and within it. */
static int decode_stripe(struct btrfs *fs, struct btrfs_chunk *chunk, unsigned copy,
			 const uint8_t *p)
{
	const uint8_t *device = fs->super + BTRFS_SUPER_DEV_ITEM;
	uint64_t off = le64(p + 8);

	if (le64(p) != le64(device) || memcmp(p + 16, device + 66, 16) != 0)
		return bad_chunk(fs, chunk->logical, "is on another device");
	if (!is_range(fs, off, chunk->length) || off + chunk->length > fs->device_size)
		return bad_chunk(fs, chunk->logical, "lies outside the device");
	chunk->physical[copy] = off;
	return 0;
}

static int decode_chunk(struct btrfs *fs, struct btrfs_chunk *chunk, const struct btrfs_item *item)
{
	const uint8_t *p = item->data;
	uint64_t logical = item->key.offset;
	int rc = 0;

	if (item->key.objectid != FIRST_CHUNK_OBJECTID || item->key.type != BTRFS_CHUNK_ITEM ||
	    item->size < CHUNK_HEAD_LEN)
		return bad_chunk(fs, logical, "is no chunk");
	*chunk = (struct btrfs_chunk){
		.logical = logical, .length = le64(p), .flags = le64(p + 24),
	};
	if (!is_range(fs, logical, chunk->length) || le64(p + 8) != BTRFS_EXTENT_TREE ||
	    le64(p + 16) != STRIPE_LEN || !(chunk->flags & BTRFS_KINDS))
		return bad_chunk(fs, logical, "cannot be");
	if (chunk->flags & ~(uint64_t)(BTRFS_KINDS | BTRFS_DUP))
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "the profile of chunk %" PRIu64
				    " is %s", logical, profile_of(chunk->flags));
	chunk->copies = chunk->flags & BTRFS_DUP ? 2 : 1;
	if (le16(p + 44) != chunk->copies ||
	    item->size != CHUNK_HEAD_LEN + chunk->copies * STRIPE_ITEM_LEN)
		return bad_chunk(fs, logical, "has not as many copies as its profile");
	for (unsigned i = 0; !rc && i < chunk->copies; i++)
		rc = decode_stripe(fs, chunk, i, p + CHUNK_HEAD_LEN + i * STRIPE_ITEM_LEN);
	return rc;
}

static int add_chunk(struct btrfs *fs, struct btrfs_chunks *chunks, const struct btrfs_item *item)
{
	size_t room = chunks->room ? chunks->room * 2 : 64;
	struct btrfs_chunk *more;

	if (chunks->count == MAX_CHUNKS)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "it has more than %u chunks",
				    MAX_CHUNKS);
	if (chunks->count == chunks->room) {
		more = realloc(chunks->chunk, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		chunks->chunk = more;
		chunks->room = room;
	}
	return decode_chunk(fs, &chunks->chunk[chunks->count++], item);
}

static int compare_chunks(const void *a, const void *b)
{
	const struct btrfs_chunk *first = a, *second = b;

	return first->logical < second->logical ? -1 : first->logical > second->logical;
}

static int check_order(struct btrfs *fs, const struct btrfs_chunks *chunks)
{
	const struct btrfs_chunk *chunk = chunks->chunk;

	for (size_t i = 1; i < chunks->count; i++)
		if (chunk[i - 1].logical + chunk[i - 1].length > chunk[i].logical)
			return bad_chunk(fs, chunk[i].logical, "overlaps the one before it");
	return 0;
}

/* The list in the superblock: keys, each with its chunk behind it, in the order of their making. */
static int read_first_chunks(struct btrfs *fs)
{
	const uint8_t *p = fs->super + BTRFS_SUPER_SYS_CHUNKS;
	uint32_t left = le32(fs->super + 0xa0);
	struct btrfs_item item;

	if (left > BTRFS_SUPER_SYS_CHUNKS_MAX)
		return btrfs_damaged(fs, "the superblock's list of chunks is too long");
	while (left) {
		int rc;

		if (left < KEY_LEN + CHUNK_HEAD_LEN)
			return btrfs_damaged(fs, "the superblock's list of chunks is cut off");
		item.key = btrfs_key_at(p);
		item.data = p + KEY_LEN;
		item.size = CHUNK_HEAD_LEN + le16(p + KEY_LEN + 44) * STRIPE_ITEM_LEN;
		if (item.size > left - KEY_LEN)
			return btrfs_damaged(fs, "the superblock's list of chunks is cut off");
		rc = add_chunk(fs, &fs->chunks, &item);
		if (rc)
			return rc;
		p += KEY_LEN + item.size;
		left -= KEY_LEN + item.size;
	}
	if (fs->chunks.count)
		qsort(fs->chunks.chunk, fs->chunks.count, sizeof(*fs->chunks.chunk),
		      compare_chunks);
	return check_order(fs, &fs->chunks);
}

struct chunk_walk {
	struct btrfs_chunks chunks;
	bool has_device;
};

/* The device: there is one, and the superblock has a copy of what is said of it. */
static int check_dev_item(struct btrfs *fs, struct chunk_walk *walk, const struct btrfs_item *item)
{
	const uint8_t *device = fs->super + BTRFS_SUPER_DEV_ITEM;

	if (walk->has_device)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "it spans several devices");
	if (item->size != DEV_ITEM_LEN || item->key.objectid != DEV_ITEMS_OBJECTID ||
	    item->key.offset != le64(device) || memcmp(item->data, device, DEV_ITEM_LEN) != 0)
		return btrfs_damaged(fs, "the chunk tree has another device than the superblock");
	walk->has_device = true;
	return 0;
}

static int on_chunk_item(struct btrfs *fs, const struct btrfs_item *item, void *arg)
{
	struct chunk_walk *walk = arg;

	switch (item->key.type) {
	case BTRFS_DEV_ITEM:
		return check_dev_item(fs, walk, item);
	case BTRFS_CHUNK_ITEM:
		return add_chunk(fs, &walk->chunks, item);
	default:
		return btrfs_refuse(fs, GUEST_UNSUPPORTED,
				    "an item of the chunk tree, of type %u, is not known",
				    item->key.type);
	}
}

static bool is_same_chunk(const struct btrfs_chunk *a, const struct btrfs_chunk *b)
{
	if (a->logical != b->logical || a->length != b->length || a->flags != b->flags)
		return false;
	for (unsigned i = 0; i < a->copies; i++)
		if (a->physical[i] != b->physical[i])
			return false;
	return true;
}

static struct btrfs_chunk *find(const struct btrfs_chunks *chunks, uint64_t logical)
{
	size_t low = 0, high = chunks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (chunks->chunk[middle].logical <= logical)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &chunks->chunk[low - 1] : NULL;
}

/* The chunks that the superblock lists are those of the system in the tree: all, and unchanged. */
static int check_first_chunks(struct btrfs *fs, const struct btrfs_chunks *all)
{
	size_t system = 0;

	for (size_t i = 0; i < all->count; i++)
		system += all->chunk[i].flags & BTRFS_SYSTEM ? 1 : 0;
	if (system != fs->chunks.count)
		return btrfs_damaged(fs, "the superblock lists %zu system chunks of %zu",
				     fs->chunks.count, system);
	for (size_t i = 0; i < fs->chunks.count; i++) {
		const struct btrfs_chunk *chunk = &fs->chunks.chunk[i];
		const struct btrfs_chunk *other = find(all, chunk->logical);

		if (!(chunk->flags & BTRFS_SYSTEM) || !other || !is_same_chunk(chunk, other))
			return bad_chunk(fs, chunk->logical, "is another in the superblock");
	}
	return 0;
}

/* Each copy of a chunk has its stretch of the device for itself. */
static int claim(struct btrfs *fs)
{
	uint64_t claimed = 0, told = le64(fs->super + BTRFS_SUPER_DEV_ITEM + 16);

	for (size_t i = 0; i < fs->chunks.count; i++) {
		const struct btrfs_chunk *chunk = &fs->chunks.chunk[i];

		for (unsigned c = 0; c < chunk->copies; c++) {
			uint64_t first = chunk->physical[c] / fs->sector_size;
			uint64_t count = chunk->length / fs->sector_size;

			if (freemap_count(fs->map, first, count) != count)
				return bad_chunk(fs, chunk->logical, "shares its room");
			freemap_take(fs->map, first, count);
			claimed += chunk->length;
		}
	}
	if (claimed != told)
		return btrfs_damaged(fs, "the chunks have %" PRIu64 " bytes of the device, not %"
				     PRIu64, claimed, told);
	return 0;
}

int btrfs_read_chunks(struct btrfs *fs)
{
	struct chunk_walk walk = { .has_device = false };
	int rc = read_first_chunks(fs);

	if (!rc)
		rc = btrfs_walk(fs, &fs->chunk_tree, on_chunk_item, &walk);
	if (!rc && !walk.has_device)
		rc = btrfs_damaged(fs, "the chunk tree has no device");
	if (!rc)
		rc = check_order(fs, &walk.chunks);
	if (!rc)
		rc = check_first_chunks(fs, &walk.chunks);
	if (rc) {
		free(walk.chunks.chunk);
		return rc;
	}
	free(fs->chunks.chunk);
	fs->chunks = walk.chunks;
	return claim(fs);
}

static int bad_dev_extent(struct btrfs *fs, const struct btrfs_item *item, const char *what)
{
	return btrfs_damaged(fs, "device extent %" PRIu64 " %s: run btrfs check",
			     item->key.offset, what);
}

static int on_dev_extent(struct btrfs *fs, const struct btrfs_item *item)
{
	const uint8_t *p = item->data;
	struct btrfs_chunk *chunk;

	if (item->size != DEV_EXTENT_LEN ||
	    item->key.objectid != le64(fs->super + BTRFS_SUPER_DEV_ITEM))
		return bad_dev_extent(fs, item, "is another device's");
	chunk = find(&fs->chunks, le64(p + 16));
	if (!chunk || chunk->logical != le64(p + 16) || chunk->length != le64(p + 24) ||
	    le64(p) != BTRFS_CHUNK_TREE || le64(p + 8) != FIRST_CHUNK_OBJECTID)
		return bad_dev_extent(fs, item, "has no chunk");
	for (unsigned i = 0; i < chunk->copies; i++) {
		if (chunk->physical[i] == item->key.offset) {
			chunk->has_extent[i] = true;
			return 0;
		}
	}
	return bad_dev_extent(fs, item, "is not its chunk's");
}

/* A replacement that goes on (1) or pauses (4) writes to two devices. */
static int on_dev_replace(struct btrfs *fs, const struct btrfs_item *item)
{
	uint64_t state = item->size < 40 ? 1 : le64(item->data + 32);

	if (state == 1 || state == 4)
		return btrfs_refuse(fs, GUEST_UNSUPPORTED, "its device is being replaced");
	return 0;
}

static int on_device_item(struct btrfs *fs, const struct btrfs_item *item, void *arg)
{
	(void)arg;
	switch (item->key.type) {
	case BTRFS_DEV_EXTENT:
		return on_dev_extent(fs, item);
	case BTRFS_DEV_REPLACE:
		return on_dev_replace(fs, item);
	case BTRFS_PERSISTENT_ITEM:	/* counters of errors */
		return 0;
	default:
		return btrfs_refuse(fs, GUEST_UNSUPPORTED,
				    "an item of the device tree, of type %u, is not known",
				    item->key.type);
	}
}

int btrfs_check_device(struct btrfs *fs)
{
	int rc = btrfs_walk(fs, &fs->dev_tree, on_device_item, NULL);

	if (rc)
		return rc;
	for (size_t i = 0; i < fs->chunks.count; i++) {
		const struct btrfs_chunk *chunk = &fs->chunks.chunk[i];

		for (unsigned c = 0; c < chunk->copies; c++)
			if (!chunk->has_extent[c])
				return bad_chunk(fs, chunk->logical, "has no device extent");
	}
	return 0;
}

struct btrfs_chunk *btrfs_chunk_of(const struct btrfs *fs, uint64_t logical, uint64_t len)
{
	struct btrfs_chunk *chunk = find(&fs->chunks, logical);

	if (!chunk || logical - chunk->logical >= chunk->length ||
	    len > chunk->length - (logical - chunk->logical))
		return NULL;
	return chunk;
}

void btrfs_give(struct btrfs *fs, const struct btrfs_chunk *chunk, uint64_t logical, uint64_t len)
{
	for (unsigned i = 0; i < chunk->copies; i++)
		freemap_give(fs->map, (chunk->physical[i] + (logical - chunk->logical)) /
			     fs->sector_size, len / fs->sector_size);
}

uint64_t btrfs_count_free(const struct btrfs *fs, const struct btrfs_chunk *chunk,
			  uint64_t logical, uint64_t len)
{
	uint64_t first = chunk->physical[0] + (logical - chunk->logical);

	return freemap_count(fs->map, first / fs->sector_size, len / fs->sector_size) *
	       fs->sector_size;
}
