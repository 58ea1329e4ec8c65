/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The states of a slot, without any file. Suite: vhd/map.c. */
#include "vhd/map.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/support/runner.h"

#define BLOCK 4096u
#define SLOT (BLOCK + FMT_SECTOR)
#define BLOCKS 8u

static void with_slots(struct map *map, unsigned slots)
{
	uint64_t end = 4096;

	CU_ASSERT_EQUAL_FATAL(map_init(map, BLOCK, BLOCKS, true), 0);
	for (unsigned i = 0; i < slots; i++)
		end = map_place_slot(map, end) + SLOT;
	CU_ASSERT_EQUAL(map_give_range(map, 4096, end, 0), slots ? end : 4096);
	CU_ASSERT_EQUAL(map->free_len, slots);
}

static uint32_t fill(struct map *map, uint32_t blk)
{
	struct map_slot slot;

	CU_ASSERT_FATAL(map_take(map, &slot));
	CU_ASSERT_EQUAL_FATAL(map_reserve(map), 0);
	map_set(map, blk, slot.entry, MAP_BITS_FULL);
	return slot.entry;
}

static void drop(struct map *map, uint32_t blk)
{
	CU_ASSERT_EQUAL_FATAL(map_reserve(map), 0);
	map_drop(map, blk);
}

static void commit(struct map *map)
{
	map_list(map);
	map_listed_done(map);
}

static void test_slots_have_their_data_on_host_pages(void)
{
	struct map map;

	with_slots(&map, 5);
	for (struct map_slot slot; map_take(&map, &slot);)
		CU_ASSERT_EQUAL(map_data_off(&map, slot.entry) % 4096, 0);
	map_destroy(&map);
}

static void test_a_packed_gap_is_reused_as_it_lies(void)
{
	struct map map;
	struct map_slot slot;

	with_slots(&map, 0);
	CU_ASSERT_EQUAL(map_give_range(&map, 2048, 2048 + SLOT, UINT64_MAX), 2048 + SLOT);
	CU_ASSERT_FATAL(map_take(&map, &slot));
	CU_ASSERT_EQUAL(slot.entry, 4);
	CU_ASSERT_FALSE(slot.is_hole);
	CU_ASSERT_FALSE(map_take(&map, &slot));
	map_destroy(&map);
}

static void test_only_data_behind_the_old_footer_is_a_hole(void)
{
	struct map map;
	struct map_slot slot;

	with_slots(&map, 0);
	/* the footer was where the first slot's bitmap goes: its data is a hole all the same */
	map_give_range(&map, 7680, 7680 + 2 * SLOT + 8192, 8192);
	CU_ASSERT_FATAL(map_take(&map, &slot));
	CU_ASSERT(slot.is_hole);
	map_give_range(&map, 3584, 3584 + SLOT, 4096 + 1);
	CU_ASSERT_FATAL(map_take(&map, &slot));
	CU_ASSERT_FALSE(slot.is_hole);
	map_destroy(&map);
}

static void test_the_lowest_slot_is_taken_first(void)
{
	struct map map;
	struct map_slot slot;
	uint32_t last = 0;

	with_slots(&map, 0);
	for (uint32_t i = 0; i < 200; i++)
		map_give(&map, (struct map_slot){ .entry = 1 + i * 7919 % 200 });
	for (uint32_t i = 0; i < 200; i++) {
		CU_ASSERT_FATAL(map_take(&map, &slot));
		CU_ASSERT(slot.entry > last);
		last = slot.entry;
	}
	map_destroy(&map);
}

static void test_discard_of_unpublished_block_frees_its_slot_at_once(void)
{
	struct map map;

	with_slots(&map, 1);
	fill(&map, 3);
	drop(&map, 3);
	CU_ASSERT_EQUAL(map.free_len, 1);
	CU_ASSERT_EQUAL(map.quarantine_len, 0);
	CU_ASSERT_FALSE(map.free[0].is_hole);
	CU_ASSERT_EQUAL(map.allocated, 0);
	map_destroy(&map);
}

static void test_discard_of_published_block_waits_for_a_commit(void)
{
	struct map map;

	with_slots(&map, 1);
	fill(&map, 3);
	commit(&map);
	drop(&map, 3);
	CU_ASSERT_EQUAL(map.free_len, 0);
	CU_ASSERT_EQUAL(map.quarantine_len, 1);
	CU_ASSERT_EQUAL(map.dirty_len, 1);
	map_destroy(&map);
}

static void test_slot_that_a_running_commit_lists_is_not_free(void)
{
	struct map map;

	with_slots(&map, 1);
	fill(&map, 3);
	map_list(&map);
	drop(&map, 3);
	CU_ASSERT_EQUAL(map.free_len, 0);
	CU_ASSERT_EQUAL(map.quarantine_len, 1);
	map_listed_done(&map);		/* it came after the list: not this commit's to release */
	CU_ASSERT_EQUAL(map.quarantine_len, 1);
	map_list(&map);
	CU_ASSERT_EQUAL(map.quarantine_listed, 1);
	map_destroy(&map);
}

static void test_failed_commit_leaves_everything_pending(void)
{
	struct map map;
	uint32_t blks[] = { 2, 3 };

	with_slots(&map, 2);
	fill(&map, 2);
	commit(&map);
	drop(&map, 2);
	fill(&map, 3);
	map_list(&map);
	CU_ASSERT_EQUAL(map.dirty_len, 0);
	map_relist(&map, blks, 2, NULL, 0);
	CU_ASSERT_EQUAL(map.dirty_len, 2);
	CU_ASSERT_EQUAL(map.quarantine_len, 1);
	CU_ASSERT_EQUAL(map.quarantine_listed, 0);
	drop(&map, 3);			/* its entry may have reached the disk */
	CU_ASSERT_EQUAL(map.quarantine_len, 2);
	map_destroy(&map);
}

static void test_damaged_entry_is_forgotten_and_nothing_given_back(void)
{
	struct map map;

	with_slots(&map, 0);
	map.entry[5] = 0;
	map.allocated = 1;
	CU_ASSERT_EQUAL_FATAL(map_reserve(&map), 0);
	map_forget(&map, 5);
	CU_ASSERT_EQUAL(map.entry[5], FMT_UNUSED);
	CU_ASSERT_EQUAL(map.quarantine_len, 0);
	CU_ASSERT_EQUAL(map.free_len, 0);
	CU_ASSERT_EQUAL(map.dirty_len, 1);
	map_destroy(&map);
}

static void test_lists_keep_room_for_what_a_commit_may_give_back(void)
{
	struct map map;
	uint32_t blks[BLOCKS];

	with_slots(&map, BLOCKS);
	for (uint32_t blk = 0; blk < BLOCKS; blk++)
		fill(&map, blks[blk] = blk);
	map_list(&map);
	for (uint32_t blk = 0; blk < BLOCKS; blk++)
		drop(&map, blk);
	map_relist(&map, blks, BLOCKS, NULL, 0);
	CU_ASSERT_EQUAL(map.dirty_len, BLOCKS);
	CU_ASSERT_EQUAL(map.quarantine_len, BLOCKS);
	map_destroy(&map);
}

static void test_footer_ends_a_host_page(void)
{
	CU_ASSERT_EQUAL(map_place_footer(4096), 8192 - 512);
	CU_ASSERT_EQUAL(map_place_footer(8192 - 512), 8192 - 512);
	CU_ASSERT_EQUAL(map_place_footer(8192 - 511), 12288 - 512);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(test_slots_have_their_data_on_host_pages),
		TEST(test_a_packed_gap_is_reused_as_it_lies),
		TEST(test_only_data_behind_the_old_footer_is_a_hole),
		TEST(test_the_lowest_slot_is_taken_first),
		TEST(test_discard_of_unpublished_block_frees_its_slot_at_once),
		TEST(test_discard_of_published_block_waits_for_a_commit),
		TEST(test_slot_that_a_running_commit_lists_is_not_free),
		TEST(test_failed_commit_leaves_everything_pending),
		TEST(test_damaged_entry_is_forgotten_and_nothing_given_back),
		TEST(test_lists_keep_room_for_what_a_commit_may_give_back),
		TEST(test_footer_ends_a_host_page),
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "map", tests);
}
