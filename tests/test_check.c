/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each kind of damage, found and mended, or found and left alone. Suite: vhd/check.c, recover.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/io_mem.h"
#include "tests/support/runner.h"
#include "vhd/format.h"
#include "vhd/vhd.h"

#define BLOCK 4096u
#define BLOCKS 6u
#define TABLE_OFF 1536u

struct found {
	char kinds[1024];	/* ",kind" or ",+kind" when repaired, in order */
	struct vhd_check_result result;
	int rc;
};

static void note(void *arg, const struct vhd_problem *problem)
{
	struct found *found = arg;
	size_t len = strlen(found->kinds);

	snprintf(found->kinds + len, sizeof(found->kinds) - len, ",%s%s",
		 problem->is_repaired ? "+" : "", problem->kind);
	CU_ASSERT(problem->message[0]);
}

static struct found check(struct mem_file *file, bool repair, bool lossy)
{
	struct found found = { .kinds = "" };
	struct vhd_check_opts opts = {
		.repair = repair, .lossy = lossy, .report = note, .report_arg = &found,
	};
	struct vhd_err err = { 0 };

	found.rc = vhd_check_io(mem_open(file), "check.vhd", &opts, &found.result, &err);
	CU_ASSERT_EQUAL(found.rc, err.code);
	return found;
}

static void expect(struct mem_file *file, const char *kinds)
{
	struct found found = check(file, false, false);

	CU_ASSERT_EQUAL(found.rc, 0);
	if (strcmp(found.kinds, kinds))
		printf("\n    found %s, expected %s\n", found.kinds, kinds);
	CU_ASSERT_STRING_EQUAL(found.kinds, kinds);
}

static void expect_repaired(struct mem_file *file, bool lossy, const char *kinds)
{
	struct found found = check(file, true, lossy);

	CU_ASSERT_EQUAL(found.rc, 0);
	if (strcmp(found.kinds, kinds))
		printf("\n    found %s, expected %s\n", found.kinds, kinds);
	CU_ASSERT_STRING_EQUAL(found.kinds, kinds);
}

static vhd_image *open_image(struct mem_file *file)
{
	vhd_image *img = NULL;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "check.vhd", NULL, NULL), 0);
	return img;
}

/* An image whose every block b holds bytes b + 1, laid down in the order of their numbers. */
static struct mem_file *filled(void)
{
	struct mem_file *file = mem_new();
	struct vhd_io *io = mem_open(file);
	struct vhd_create_opts opts = { .size = BLOCK * BLOCKS, .block_size = BLOCK };
	vhd_image *img;

	CU_ASSERT_EQUAL_FATAL(vhd_create_io(io, "check.vhd", &opts, NULL), 0);
	io->ops->close(io);
	img = open_image(file);
	for (unsigned blk = 0; blk < BLOCKS; blk++) {
		uint8_t data[BLOCK];

		memset(data, (int)blk + 1, sizeof(data));
		CU_ASSERT_EQUAL_FATAL(vhd_pwrite(img, data, BLOCK, blk * BLOCK, NULL), 0);
	}
	CU_ASSERT_EQUAL_FATAL(vhd_close(img, NULL), 0);
	expect(file, "");
	return file;
}

static uint32_t entry_of(const struct mem_file *file, unsigned blk)
{
	uint8_t raw[4];

	mem_read(file, raw, 4, TABLE_OFF + blk * 4);
	return fmt_entry_get(raw);
}

static void set_entry(struct mem_file *file, unsigned blk, uint32_t entry)
{
	uint8_t raw[4];

	fmt_entry_put(raw, entry);
	mem_write(file, raw, 4, TABLE_OFF + blk * 4);
}

/* The blocks that are not in the mask of lost ones still read what they held. */
static void expect_contents(struct mem_file *file, unsigned lost)
{
	vhd_image *img = open_image(file);

	for (unsigned blk = 0; blk < BLOCKS; blk++) {
		uint8_t data[BLOCK];
		uint8_t want = lost & 1u << blk ? 0 : (uint8_t)(blk + 1);

		CU_ASSERT_EQUAL_FATAL(vhd_pread(img, data, BLOCK, blk * BLOCK, NULL), 0);
		CU_ASSERT(data[0] == want && data[BLOCK - 1] == want);
	}
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

static void test_missing_trailing_footer_is_waste_and_written_back(void)
{
	struct mem_file *file = filled();

	mem_truncate(file, mem_size(file) - 512);
	expect(file, ",trailing-footer-missing");
	expect_repaired(file, false, ",+trailing-footer-missing");
	expect(file, "");
	expect_contents(file, 0);
	mem_free(file);
}

static void test_missing_leading_copy_is_waste_and_written_back(void)
{
	struct mem_file *file = filled();

	mem_write(file, "junkjunk", 8, 0);
	expect(file, ",leading-footer-missing");
	expect_repaired(file, false, ",+leading-footer-missing");
	expect(file, "");
	expect_contents(file, 0);
	mem_free(file);
}

static void test_differing_copies_are_made_equal_to_the_trailing_one(void)
{
	struct mem_file *file = filled();
	struct fmt_footer footer;
	uint8_t raw[FMT_SECTOR], back[FMT_SECTOR];

	mem_read(file, raw, sizeof(raw), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_footer_decode(&footer, raw));
	footer.current_size -= BLOCK;
	fmt_footer_encode(back, &footer);
	mem_write(file, back, sizeof(back), 0);
	expect(file, ",footers-differ");
	expect_repaired(file, false, ",+footers-differ");
	mem_read(file, back, sizeof(back), 0);
	CU_ASSERT(!memcmp(raw, back, sizeof(raw)));
	expect_contents(file, 0);
	mem_free(file);
}

static void test_entry_past_the_end_is_given_up_only_when_told(void)
{
	struct mem_file *file = filled();
	vhd_image *img;
	struct vhd_err err = { 0 };

	set_entry(file, 2, 0x7fff0000);
	CU_ASSERT_EQUAL(vhd_open_io(&img, mem_open(file), "check.vhd", NULL, &err), -EILSEQ);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "BAT entry 2"));
	expect(file, ",leak,bat-entry-past-end");
	expect_repaired(file, false, ",leak,bat-entry-past-end");
	CU_ASSERT_EQUAL(entry_of(file, 2), 0x7fff0000);
	expect_repaired(file, true, ",leak,+bat-entry-past-end");
	CU_ASSERT_EQUAL(entry_of(file, 2), FMT_UNUSED);
	expect(file, ",leak");
	expect_contents(file, 1u << 2);
	mem_free(file);
}

static void test_entry_in_the_metadata_is_given_up_without_harming_it(void)
{
	struct mem_file *file = filled();
	uint8_t before[4096], after[4096];

	set_entry(file, 5, 0);
	expect(file, ",bat-entry-in-metadata,leak");
	mem_read(file, before, sizeof(before), 0);
	expect_repaired(file, true, ",+bat-entry-in-metadata,+leak");
	mem_read(file, after, sizeof(after), 0);
	fmt_entry_put(before + TABLE_OFF + 5 * 4, FMT_UNUSED);
	CU_ASSERT(!memcmp(before, after, sizeof(before)));
	expect(file, "");
	expect_contents(file, 1u << 5);
	mem_free(file);
}

static void test_overlapping_blocks_are_found_and_never_touched(void)
{
	struct mem_file *file = filled();

	set_entry(file, 1, entry_of(file, 0));
	expect(file, ",blocks-overlap,leak");
	set_entry(file, 1, entry_of(file, 0) + 1);
	expect(file, ",blocks-overlap,leak");
	expect_repaired(file, true, ",blocks-overlap,leak");
	CU_ASSERT_EQUAL(entry_of(file, 1), entry_of(file, 0) + 1);
	mem_free(file);
}

static void test_leak_at_the_end_is_cut_off(void)
{
	struct mem_file *file = filled();
	uint64_t size = mem_size(file);

	set_entry(file, BLOCKS - 1, FMT_UNUSED);
	expect(file, ",leak");
	expect_repaired(file, false, ",+leak");
	expect(file, "");
	CU_ASSERT_EQUAL(mem_size(file), size - 8192);
	expect_contents(file, 1u << (BLOCKS - 1));
	mem_free(file);
}

static void test_leak_in_the_middle_stays_for_compaction(void)
{
	struct mem_file *file = filled();

	set_entry(file, 1, FMT_UNUSED);
	expect_repaired(file, false, ",leak");
	expect(file, ",leak");
	expect_contents(file, 1u << 1);
	mem_free(file);
}

static void test_short_last_block_reads_zeros_and_is_extended(void)
{
	struct mem_file *file = filled();
	uint8_t footer[FMT_SECTOR], data[BLOCK];
	uint64_t cut = entry_of(file, BLOCKS - 1) * 512ull + 512 + 1024;
	struct vhd_open_opts ro = { .is_readonly = true };
	vhd_image *img;

	mem_read(file, footer, sizeof(footer), 0);
	mem_truncate(file, cut);
	mem_write(file, footer, sizeof(footer), cut);
	expect(file, ",last-block-short");
	for (int round = 0; round < 2; round++) {	/* as it is, and extended */
		CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "check.vhd",
						  round ? NULL : &ro, NULL), 0);
		CU_ASSERT_EQUAL(vhd_pread(img, data, BLOCK, (BLOCKS - 1) * BLOCK, NULL), 0);
		CU_ASSERT(data[0] == BLOCKS && data[1023] == BLOCKS);
		for (unsigned i = 1024; i < BLOCK; i++)
			CU_ASSERT_FATAL(!data[i]);
		CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	}
	expect(file, "");
	mem_free(file);
}

static void test_footer_of_511_bytes_is_made_whole(void)
{
	struct mem_file *file = filled();
	uint64_t size = mem_size(file);

	mem_truncate(file, size - 1);
	expect(file, ",trailing-footer-short");
	expect_repaired(file, false, ",+trailing-footer-short");
	CU_ASSERT_EQUAL(mem_size(file), size);
	expect(file, "");
	mem_free(file);
}

static void test_damaged_beyond_opening_is_refused_by_field(void)
{
	static const struct {
		uint64_t off;
		const char *bytes;
		size_t len;
		const char *said;
	} cases[] = {
		{ 512, "nosparse", 8, "cookie" },
		{ 512 + 36, "\1\2\3\4", 4, "checksum" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct mem_file *file = filled();
		struct vhd_check_opts opts = { .repair = true };
		struct vhd_check_result result;
		struct vhd_err err = { 0 };

		mem_write(file, cases[i].bytes, cases[i].len, cases[i].off);
		CU_ASSERT_EQUAL(vhd_check_io(mem_open(file), "check.vhd", &opts, &result, &err),
				-EILSEQ);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "dynamic header"));
		CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, cases[i].said));
		mem_free(file);
	}
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(test_missing_trailing_footer_is_waste_and_written_back),
		TEST(test_missing_leading_copy_is_waste_and_written_back),
		TEST(test_differing_copies_are_made_equal_to_the_trailing_one),
		TEST(test_entry_past_the_end_is_given_up_only_when_told),
		TEST(test_entry_in_the_metadata_is_given_up_without_harming_it),
		TEST(test_overlapping_blocks_are_found_and_never_touched),
		TEST(test_leak_at_the_end_is_cut_off),
		TEST(test_leak_in_the_middle_stays_for_compaction),
		TEST(test_short_last_block_reads_zeros_and_is_extended),
		TEST(test_footer_of_511_bytes_is_made_whole),
		TEST(test_damaged_beyond_opening_is_refused_by_field),
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "check", tests);
}
