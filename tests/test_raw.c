/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that is no VHD, opened as one fixed extent where the caller allows it. */
#include <errno.h>
#include <string.h>

#include "tests/support/imagegen.h"
#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define SECTOR 512u
#define BLOCK 4096u

static const struct vhd_open_opts raw = { .allow_raw = true };

/* Guest data alone, of len bytes. */
static struct mem_file *make_raw(uint64_t len)
{
	struct mem_file *file = mem_new();
	uint8_t buf[SECTOR];

	for (uint64_t off = 0; off < len; off += SECTOR) {
		gen_sector(buf, off / SECTOR, 1);
		mem_write(file, buf, len - off < SECTOR ? (size_t)(len - off) : SECTOR, off);
	}
	return file;
}

static int try_open(struct mem_file *file, const struct vhd_open_opts *opts)
{
	struct vhd_err err = { 0 };
	vhd_image *img;
	int rc = vhd_open_io(&img, mem_open(file), "disk.raw", opts, &err);

	if (!rc)
		CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	CU_ASSERT_EQUAL(err.code, rc);
	return rc;
}

static void test_raw_is_read_and_written_as_it_is(void)
{
	const uint64_t sizes[] = { 1, SECTOR, 511, 1536, 300 * SECTOR, 300 * SECTOR + 7 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct mem_file *file = make_raw(sizes[i]);
		struct vhd_info info;
		uint8_t byte = 0x5a, is;
		vhd_image *img;

		CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "disk.raw", &raw, NULL), 0);
		CU_ASSERT_EQUAL(vhd_size(img), sizes[i]);
		CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
		CU_ASSERT(info.is_raw && info.type == VHD_FIXED && info.virtual_size == sizes[i]);
		CU_ASSERT_EQUAL(vhd_pwrite(img, &byte, 1, sizes[i] - 1, NULL), 0);
		CU_ASSERT_EQUAL(vhd_pwrite(img, &byte, 1, sizes[i], NULL), -EINVAL);
		CU_ASSERT_EQUAL(vhd_pread(img, &is, 1, sizes[i] - 1, NULL), 0);
		CU_ASSERT_EQUAL(is, 0x5a);
		CU_ASSERT_EQUAL(vhd_flush(img, NULL), 0);
		CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
		CU_ASSERT_EQUAL(mem_size(file), sizes[i]);
		mem_free(file);
	}
}

static void test_raw_has_to_be_allowed(void)
{
	struct mem_file *file = make_raw(300 * SECTOR), *empty = mem_new();

	CU_ASSERT_EQUAL(try_open(file, NULL), -EILSEQ);
	CU_ASSERT_EQUAL(try_open(file, &raw), 0);
	CU_ASSERT_EQUAL(try_open(empty, &raw), -EILSEQ);
	mem_free(file);
	mem_free(empty);
}

/* Opened as raw, a write would go over what is left of the VHD. */
static void test_damaged_vhd_is_not_taken_for_raw(void)
{
	static const struct gen_block blocks[] = { { .blk = 0 }, { .blk = 1 } };
	static void (*const damages[])(struct mem_file *file) = {
		gen_damage_both_footers, gen_damage_header_checksum, gen_damage_header_past_end,
		gen_damage_table_past_end, gen_damage_poison,
	};
	const struct gen_opts gen = { .size = 3 * BLOCK, .block_size = BLOCK, .blocks = blocks,
				      .blocks_len = 2 };
	const struct gen_opts fixed = { .size = 3 * BLOCK, .block_size = BLOCK, .type = 2,
					.garbage = 600 };

	for (size_t i = 0; i < sizeof(damages) / sizeof(*damages); i++) {
		struct mem_file *file = gen_make(&gen);

		damages[i](file);
		CU_ASSERT_EQUAL(try_open(file, &raw), -EILSEQ);
		mem_free(file);
	}
	for (int is_damaged = 0; is_damaged < 2; is_damaged++) {
		struct mem_file *file = gen_make(&fixed);
		vhd_image *img;
		struct vhd_info info;

		if (is_damaged)		/* its checksum fits no more, and bytes follow it */
			mem_write(file, "x", 1, 3 * BLOCK + 100);
		if (is_damaged) {
			CU_ASSERT_EQUAL(try_open(file, &raw), -EILSEQ);
		} else {
			CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "f.vhd", &raw,
							  NULL), 0);
			CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
			CU_ASSERT(!info.is_raw);
			CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
		}
		mem_free(file);
	}
}

/* A head alone is left, without either footer: the header's cookie tells. */
static void test_header_cookie_alone_is_a_damaged_vhd(void)
{
	struct mem_file *file = make_raw(300 * SECTOR);

	mem_write(file, "cxsparse", 8, SECTOR);
	CU_ASSERT_EQUAL(try_open(file, &raw), -EILSEQ);
	mem_free(file);
}

static void test_other_formats_are_not_taken_for_raw(void)
{
	struct mem_file *file = make_raw(300 * SECTOR);
	struct vhd_err err;
	vhd_image *img;

	mem_write(file, "vhdxfile", 8, 0);
	CU_ASSERT_EQUAL(vhd_open_io(&img, mem_open(file), "x.vhdx", &raw, &err), -EILSEQ);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "VHDX"));
	mem_free(file);
}

static const struct test tests[] = {
	{ "raw_is_read_and_written_as_it_is", test_raw_is_read_and_written_as_it_is },
	{ "raw_has_to_be_allowed", test_raw_has_to_be_allowed },
	{ "damaged_vhd_is_not_taken_for_raw", test_damaged_vhd_is_not_taken_for_raw },
	{ "header_cookie_alone_is_a_damaged_vhd", test_header_cookie_alone_is_a_damaged_vhd },
	{ "other_formats_are_not_taken_for_raw", test_other_formats_are_not_taken_for_raw },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "raw", tests);
}
