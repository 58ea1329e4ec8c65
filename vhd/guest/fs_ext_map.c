/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is free in an ext2, ext3 or ext4: its bitmaps, checked against everything else that it keeps
 * about them.
 *
 * A group is either read (its bitmap is on the disk) or fresh (BLOCK_UNINIT: nothing was ever
 * allocated in it, and what its bitmap's block holds means nothing). In a fresh group all is free
 * but what the filesystem keeps for itself: superblock and descriptors, of which a fresh group may
 * have copies, and the tables of any group. In a group that was read the same must be used.
 *
 * The map's unit is the cluster, which is a block unless the filesystem has bigalloc.
 */
#include "config.h"
#include "vhd/guest/fs_ext.h"

#ifdef HAVE_EXT2FS

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define MAX_RUN (1u << 20)
#define WRONG_COUNT "not as many blocks are free as the descriptor has"

/* A run of blocks that the filesystem keeps for itself. */
struct place {
	uint64_t first, count;
};

/* A group has at most that many: two bitmaps, a table, a superblock, descriptors of two kinds. */
#define PLACES_OF_GROUP 6

struct chart {
	struct ext *ext;
	ext2_filsys fs;
	struct freemap *map;
	uint64_t first;			/* block of the first group */
	uint64_t blocks;
	uint32_t group_clusters;	/* of a group that is whole */
	unsigned log_ratio;		/* of blocks to a cluster */
	struct place *places;
	size_t nr_places;
};

static bool is_fresh(const struct chart *chart, dgrp_t group)
{
	return ext2fs_has_group_desc_csum(chart->fs) &&
	       ext2fs_bg_flags_test(chart->fs, group, EXT2_BG_BLOCK_UNINIT);
}

/* The last group may be a short one. */
static uint32_t clusters_of(const struct chart *chart, dgrp_t group)
{
	uint64_t before = (uint64_t)group * chart->group_clusters;
	uint64_t left = ((chart->blocks - chart->first - 1) >> chart->log_ratio) + 1 - before;

	return left < chart->group_clusters ? (uint32_t)left : chart->group_clusters;
}

static int damaged_group(struct chart *chart, dgrp_t group, const char *what)
{
	return ext_refuse(chart->ext, GUEST_DAMAGED, "in group %" PRIu32 " %s", group, what);
}

/* --- what the filesystem keeps ---------------------------------------------------------------- */

static int add_place(struct chart *chart, uint64_t first, uint64_t count, dgrp_t group)
{
	if (first < chart->first || count > chart->blocks || first > chart->blocks - count)
		return damaged_group(chart, group, "a table lies outside the filesystem");
	if (count)
		chart->places[chart->nr_places++] = (struct place){ first, count };
	return 0;
}

/* A bitmap or a table. Without flex_bg it is in its own group. */
static int add_table(struct chart *chart, uint64_t first, uint64_t count, dgrp_t group)
{
	uint64_t start = ext2fs_group_first_block2(chart->fs, group);
	uint64_t last = ext2fs_group_last_block2(chart->fs, group);

	if (!ext2fs_has_feature_flex_bg(chart->fs->super) &&
	    (first < start || first > last || count > last - first + 1))
		return damaged_group(chart, group, "a table lies outside of it");
	return add_place(chart, first, count, group);
}

static int add_super(struct chart *chart, dgrp_t group)
{
	struct ext2_super_block *super = chart->fs->super;
	blk64_t place, old_place, new_place;
	uint64_t count = chart->fs->desc_blocks + (uint64_t)super->s_reserved_gdt_blocks;

	if (ext2fs_has_feature_meta_bg(super))
		count = super->s_first_meta_bg;
	ext2fs_super_and_bgd_loc2(chart->fs, group, &place, &old_place, &new_place, NULL);
	/* Block 0 is both a superblock's place and the sign for none. */
	if ((place || group == 0) && add_place(chart, place, 1, group))
		return 1;
	if (old_place) {
		if (old_place < chart->blocks && count > chart->blocks - old_place)
			count = chart->blocks - old_place;
		if (add_place(chart, old_place, count, group))
			return 1;
	}
	return new_place ? add_place(chart, new_place, 1, group) : 0;
}

static int add_group(struct chart *chart, dgrp_t group)
{
	ext2_filsys fs = chart->fs;

	if (!ext2fs_group_desc_csum_verify(fs, group))
		return damaged_group(chart, group, "the checksum of the descriptor is wrong");
	if (add_table(chart, ext2fs_block_bitmap_loc(fs, group), 1, group) ||
	    add_table(chart, ext2fs_inode_bitmap_loc(fs, group), 1, group) ||
	    add_table(chart, ext2fs_inode_table_loc(fs, group), fs->inode_blocks_per_group, group))
		return 1;
	return add_super(chart, group);
}

/* Lets the place at root sink in the heap of n. */
static void sink(struct place *heap, size_t root, size_t n)
{
	struct place place = heap[root];

	for (size_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
		if (child + 1 < n && heap[child + 1].first > heap[child].first)
			child++;
		if (heap[child].first <= place.first)
			break;
		heap[root] = heap[child];
		root = child;
	}
	heap[root] = place;
}

/* A heapsort: glibc's qsort (2.36) asks how much memory there is, which a sandbox denies it. */
static void sort_places(struct place *places, size_t n)
{
	for (size_t root = n / 2; root > 0; root--)
		sink(places, root - 1, n);
	for (size_t last = n; last > 1; last--) {
		struct place largest = places[0];

		places[0] = places[last - 1];
		places[last - 1] = largest;
		sink(places, 0, last - 1);
	}
}

/* All of them, by where they lie; none may have what another has. */
static int list_places(struct chart *chart)
{
	dgrp_t groups = chart->fs->group_desc_count;

	chart->places = calloc((size_t)groups * PLACES_OF_GROUP + 1, sizeof(*chart->places));
	if (!chart->places)
		return -ENOMEM;
	for (dgrp_t group = 0; group < groups; group++)
		if (add_group(chart, group))
			return 1;
	if (ext2fs_has_feature_mmp(chart->fs->super) &&
	    add_place(chart, chart->fs->super->s_mmp_block, 1, 0))
		return 1;
	sort_places(chart->places, chart->nr_places);
	for (size_t i = 1; i < chart->nr_places; i++) {
		const struct place *place = &chart->places[i];

		if (place[-1].first + place[-1].count > place->first)
			return ext_refuse(chart->ext, GUEST_DAMAGED,
					  "block %" PRIu64 " belongs to two tables", place->first);
	}
	return 0;
}

/* --- bitmaps ---------------------------------------------------------------------------------- */

/* The first bit from `bit` on that is as is_set says, or count. */
static uint32_t seek(const uint8_t *bits, uint32_t bit, uint32_t count, bool is_set)
{
	while (bit < count) {
		uint64_t word = le64(bits + bit / 64 * 8);

		word = (is_set ? word : ~word) & UINT64_MAX << bit % 64;
		if (word) {
			bit = bit / 64 * 64 + (unsigned)__builtin_ctzll(word);
			break;
		}
		bit = bit / 64 * 64 + 64;
	}
	return bit < count ? bit : count;
}

/* Gives the map the clear bits, and says how many. */
static uint32_t give_clear(struct chart *chart, const uint8_t *bits, dgrp_t group, uint32_t count)
{
	uint64_t start = (uint64_t)group * chart->group_clusters;
	uint32_t given = 0, end;

	for (uint32_t bit = seek(bits, 0, count, false); bit < count;
	     bit = seek(bits, end, count, false)) {
		end = seek(bits, bit, count, true);
		freemap_give(chart->map, start + bit, end - bit);
		given += end - bit;
	}
	return given;
}

static int take_bitmap(struct chart *chart, uint8_t *bits, dgrp_t group)
{
	uint32_t count = clusters_of(chart, group), room = chart->fs->blocksize * 8;

	if (!ext2fs_block_bitmap_csum_verify(chart->fs, group, (char *)bits,
					     (int)chart->group_clusters / 8))
		return damaged_group(chart, group, "the checksum of the block bitmap is wrong");
	if (seek(bits, count, room, false) < room)
		return damaged_group(chart, group, "the block bitmap goes on behind its end");
	if (give_clear(chart, bits, group, count) != ext2fs_bg_free_blocks_count(chart->fs, group))
		return damaged_group(chart, group, WRONG_COUNT);
	return 0;
}

/* How many bitmaps from group's on lie in a row, and can be read at once. */
static uint32_t count_run(const struct chart *chart, dgrp_t group)
{
	uint64_t block = ext2fs_block_bitmap_loc(chart->fs, group);
	uint32_t max = MAX_RUN / chart->fs->blocksize, n = 1;

	if (max > chart->fs->group_desc_count - group)
		max = chart->fs->group_desc_count - group;
	while (n < max && !is_fresh(chart, group + n) &&
	       ext2fs_block_bitmap_loc(chart->fs, group + n) == block + n)
		n++;
	return n;
}

static int read_run(struct chart *chart, uint8_t *buf, dgrp_t group, uint32_t count)
{
	uint32_t block_size = chart->fs->blocksize;
	uint64_t off = ext2fs_block_bitmap_loc(chart->fs, group) * block_size;
	int rc = ext_read(chart->ext, buf, (size_t)count * block_size, off, "a block bitmap");

	for (uint32_t i = 0; !rc && i < count; i++)
		rc = take_bitmap(chart, buf + (size_t)i * block_size, group + i);
	return rc;
}

static int read_bitmaps(struct chart *chart)
{
	dgrp_t groups = chart->fs->group_desc_count;
	uint8_t *buf = malloc(MAX_RUN);
	uint32_t n;
	int rc = buf ? 0 : -ENOMEM;

	for (dgrp_t group = 0; !rc && group < groups; group += n) {
		n = 1;
		if (is_fresh(chart, group)) {
			freemap_give(chart->map, (uint64_t)group * chart->group_clusters,
				     clusters_of(chart, group));
			continue;
		}
		n = count_run(chart, group);
		rc = read_run(chart, buf, group, n);
	}
	free(buf);
	return rc;
}

/* --- against each other ----------------------------------------------------------------------- */

/* A place is used where a bitmap says what is; in a fresh group it becomes so. */
static int take_place(struct chart *chart, const struct place *place)
{
	uint64_t unit = (place->first - chart->first) >> chart->log_ratio;
	uint64_t end = ((place->first + place->count - 1 - chart->first) >> chart->log_ratio) + 1;
	uint64_t n;

	for (; unit < end; unit += n) {
		dgrp_t group = (dgrp_t)(unit / chart->group_clusters);

		n = chart->group_clusters - unit % chart->group_clusters;
		if (n > end - unit)
			n = end - unit;
		if (is_fresh(chart, group))
			freemap_take(chart->map, unit, n);
		else if (freemap_count(chart->map, unit, n))
			return damaged_group(chart, group, "a table lies in free blocks");
	}
	return 0;
}

static int check_counts(struct chart *chart)
{
	struct ext2_super_block *super = chart->fs->super;
	uint64_t inodes = 0;

	for (dgrp_t group = 0; group < chart->fs->group_desc_count; group++) {
		inodes += ext2fs_bg_free_inodes_count(chart->fs, group);
		if (is_fresh(chart, group) &&
		    freemap_count(chart->map, (uint64_t)group * chart->group_clusters,
				  clusters_of(chart, group)) !=
		    ext2fs_bg_free_blocks_count(chart->fs, group))
			return damaged_group(chart, group, WRONG_COUNT);
	}
	if (freemap_count(chart->map, 0, chart->map->units) << chart->log_ratio !=
	    ext2fs_free_blocks_count(super))
		return ext_refuse(chart->ext, GUEST_DAMAGED,
				  "not as many blocks are free as its superblock has");
	if (inodes != super->s_free_inodes_count)
		return ext_refuse(chart->ext, GUEST_DAMAGED,
				  "not as many inodes are free as its superblock has");
	return 0;
}

static int draw(struct chart *chart)
{
	int rc = list_places(chart);

	if (!rc)
		rc = freemap_init(chart->map, chart->first * chart->fs->blocksize,
				  chart->fs->blocksize << chart->log_ratio,
				  (chart->blocks - chart->first) >> chart->log_ratio);
	if (!rc)
		rc = read_bitmaps(chart);
	for (size_t i = 0; !rc && i < chart->nr_places; i++)
		rc = take_place(chart, &chart->places[i]);
	return rc ? rc : check_counts(chart);
}

int ext_read_map(struct ext *ext, struct freemap *map)
{
	struct ext2_super_block *super = ext->fs->super;
	struct chart chart = {
		.ext = ext, .fs = ext->fs, .map = map,
		.first = super->s_first_data_block,
		.blocks = ext2fs_blocks_count(super),
		.group_clusters = super->s_blocks_per_group >> ext->fs->cluster_ratio_bits,
		.log_ratio = (unsigned)ext->fs->cluster_ratio_bits,
	};
	int rc;

	if (!chart.group_clusters || chart.group_clusters % 8 ||
	    chart.group_clusters > ext->fs->blocksize * 8 ||
	    chart.group_clusters << chart.log_ratio != super->s_blocks_per_group ||
	    (ext2fs_has_feature_meta_bg(super) && super->s_first_meta_bg > ext->fs->desc_blocks))
		return ext_refuse(ext, GUEST_DAMAGED, "its superblock is not in order");
	rc = draw(&chart);
	free(chart.places);
	return rc;
}

#endif
