/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/guest/freemap.c and scan.c: bits against a plain array, and a disk's ranges in order. */
#include "vhd/guest/freemap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/runner.h"
#include "vhd/guest/scan.h"

#define UNITS 517u	/* no multiple of a word */
#define BASE 1000u
#define UNIT 300u

static bool plain[UNITS];

static uint64_t plain_count(uint64_t first, uint64_t count)
{
	uint64_t sum = 0;

	for (uint64_t i = first; i < UNITS && i - first < count; i++)
		sum += plain[i];
	return sum;
}

/* What freemap_next_below must find. */
static bool plain_next(uint64_t off, uint64_t end, uint64_t *start, uint64_t *len)
{
	for (uint64_t at = off > BASE ? off : BASE; at < end && at < BASE + UNITS * UNIT; at++) {
		if (!plain[(at - BASE) / UNIT])
			continue;
		*start = at;
		while (at < end && at < BASE + UNITS * UNIT && plain[(at - BASE) / UNIT])
			at++;
		*len = at - *start;
		return true;
	}
	return false;
}

static bool is_next_right(const struct freemap *map, uint64_t off, uint64_t end)
{
	uint64_t start = 0, len = 0, want_start = 0, want_len = 0;
	bool has = freemap_next_below(map, off, end, &start, &len);

	if (has != plain_next(off, end, &want_start, &want_len))
		return false;
	return start == want_start && len == want_len;
}

static void change(struct freemap *map, uint64_t *seed)
{
	uint64_t first = runner_below(seed, UNITS + 5);
	uint64_t count = runner_below(seed, runner_below(seed, 4) ? 20 : 300);
	uint64_t kind = runner_below(seed, 3);

	if (kind == 2) {
		uint64_t off = runner_below(seed, BASE + UNITS * UNIT), len = count * 100;

		freemap_take_bytes(map, off, len);
		for (uint64_t i = 0; len && i < UNITS; i++)
			if (BASE + (i + 1) * UNIT > off && BASE + i * UNIT < off + len)
				plain[i] = false;
		return;
	}
	(kind ? freemap_give : freemap_take)(map, first, count);
	for (uint64_t i = first; i < UNITS && i - first < count; i++)
		plain[i] = kind;
}

static void bits_are_as_in_a_plain_array(void)
{
	uint64_t seed = runner_seed();
	struct freemap map;

	CU_ASSERT_EQUAL_FATAL(freemap_init(&map, BASE, UNIT, UNITS), 0);
	memset(plain, 0, sizeof(plain));
	for (int i = 0; i < (is_long() ? 20000 : 2000); i++) {
		uint64_t off = runner_below(&seed, BASE + UNITS * UNIT + 1000);
		uint64_t first = runner_below(&seed, UNITS), count = runner_below(&seed, UNITS);

		change(&map, &seed);
		CU_ASSERT_FATAL(is_next_right(&map, off, off + runner_below(&seed, 99999)));
		CU_ASSERT_FATAL(is_next_right(&map, off, UINT64_MAX));
		CU_ASSERT_EQUAL_FATAL(freemap_count(&map, first, count),
				      plain_count(first, count));
		CU_ASSERT_EQUAL_FATAL(freemap_is_free(&map, first), plain[first]);
	}
	CU_ASSERT_FALSE(freemap_is_free(&map, UNITS));
	freemap_destroy(&map);
}

static void a_map_too_large_is_refused(void)
{
	struct freemap map;

	CU_ASSERT_EQUAL(freemap_init(&map, 0, 512, FREEMAP_MAX_UNITS + 1), -EFBIG);
	CU_ASSERT_EQUAL(freemap_init(&map, 0, 0, 5), -EFBIG);
	CU_ASSERT_EQUAL(freemap_init(&map, UINT64_MAX - 5, 512, 1), -EFBIG);
	CU_ASSERT_EQUAL(freemap_init(&map, 0, 512, 0), 0);
	CU_ASSERT_EQUAL(freemap_count(&map, 0, UINT64_MAX), 0);
	freemap_destroy(&map);
}

/* A volume whose map has two units free, the bytes 100 to 300 of it. */
static void add_volume(struct scan *scan, uint64_t start, uint64_t len, uint64_t in_map)
{
	struct freemap map;
	size_t number;

	CU_ASSERT_PTR_NOT_NULL_FATAL(scan_add_volume(scan));
	CU_ASSERT_EQUAL_FATAL(freemap_init(&map, 0, 100, 50), 0);
	freemap_give(&map, 1, 2);
	CU_ASSERT_EQUAL_FATAL(scan_add_map(scan, map, &number), 0);
	CU_ASSERT_EQUAL_FATAL(scan_add_source(scan, &(struct scan_source){
		.start = start, .len = len, .map = number, .in_map = in_map }), 0);
}

static void expect_next(const struct scan *scan, uint64_t off, bool want, uint64_t want_start,
			uint64_t want_len)
{
	uint64_t start = 0, len = 0;
	bool has = scan_next(scan, off, &start, &len);

	if (has != want || start != want_start || len != want_len)
		printf("\nat %llu: %d %llu %llu\n", (unsigned long long)off, has,
		       (unsigned long long)start, (unsigned long long)len);
	CU_ASSERT_EQUAL(has, want);
	CU_ASSERT_EQUAL(start, want_start);
	CU_ASSERT_EQUAL(len, want_len);
}

static void a_disks_ranges_come_in_order(void)
{
	struct scan scan = { .memfd = -1 };

	add_volume(&scan, 20000, 5000, 0);
	add_volume(&scan, 1000, 5000, 0);
	add_volume(&scan, 10000, 150, 0);	/* ends in the middle of what is free */
	add_volume(&scan, 11000, 500, 250);	/* begins there */
	CU_ASSERT_PTR_NOT_NULL_FATAL(scan_add_volume(&scan));
	CU_ASSERT_EQUAL(scan_add_source(&scan, &(struct scan_source){
		.start = 8000, .len = 10, .map = SCAN_ALL_FREE }), 0);
	scan_settle(&scan);
	expect_next(&scan, 0, true, 1100, 200);
	expect_next(&scan, 1200, true, 1200, 100);
	expect_next(&scan, 1300, true, 8000, 10);
	expect_next(&scan, 8009, true, 8009, 1);
	expect_next(&scan, 8010, true, 10100, 50);
	expect_next(&scan, 10150, true, 11000, 50);
	expect_next(&scan, 11050, true, 20100, 200);
	expect_next(&scan, 20300, false, 0, 0);
	scan.is_selected[1] = false;
	expect_next(&scan, 0, true, 8000, 10);
	scan.info.is_hibernated = true;
	expect_next(&scan, 0, false, 0, 0);
	scan_destroy(&scan);
}

/* Nobody knows whose room it is. */
static void what_overlaps_is_nobodys(void)
{
	struct scan scan = { .memfd = -1 };

	add_volume(&scan, 1000, 5000, 0);
	add_volume(&scan, 5999, 5000, 0);	/* by one byte */
	add_volume(&scan, 20000, 9000, 0);
	add_volume(&scan, 21000, 100, 0);	/* within */
	add_volume(&scan, 28000, 5000, 0);	/* and over its end */
	add_volume(&scan, 33000, 5000, 0);
	scan_settle(&scan);
	expect_next(&scan, 0, true, 33100, 200);
	scan_destroy(&scan);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(bits_are_as_in_a_plain_array),
		TEST(a_map_too_large_is_refused),
		TEST(a_disks_ranges_come_in_order),
		TEST(what_overlaps_is_nobodys),
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "freemap", tests);
}
