/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each byte of a file is for, over layouts made by hand. Suite: vhd/pieces.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define BLOCK 8192u
#define SECTOR 512u
#define SIZE (6u * BLOCK - 5u * SECTOR)	/* the last block is not whole */

static const struct gen_block mixed[] = {
	{ 4, 0, GEN_BITS_ALL },
	{ 0, 1536, GEN_BITS_EXACT },
	{ 5, 0, GEN_BITS_ALL },
	{ 2, 512, GEN_BITS_JUNK },
};

static const struct {
	const char *name;
	struct gen_opts gen;
} layouts[] = {
	{ "empty", { .size = SIZE, .block_size = BLOCK } },
	{ "packed", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4 } },
	{ "aligned", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
		       .align = 4096, .creator = "win " } },
	{ "table behind", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
			    .is_table_behind = true } },
	{ "leaked", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
		      .metadata_gap = 4096, .leak = 5120 } },
	{ "no trailer", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
			  .has_no_trailer = true } },
	{ "short footer", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
			    .is_short_footer = true } },
	{ "short last", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
			  .short_last = 1024 } },
	{ "batmap", { .size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
		      .creator = "tap", .has_batmap = true } },
	{ "fixed", { .size = SIZE, .block_size = BLOCK, .type = 2 } },
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))
#define KINDS (VHD_PIECE_FREE + 1)

#define PIECES_MAX 512

struct told {
	struct vhd_piece piece[PIECES_MAX];
	unsigned count;
	uint64_t bytes[KINDS], holes;
};

static void note(void *arg, const struct vhd_piece *piece)
{
	struct told *told = arg;

	CU_ASSERT_FATAL(told->count < PIECES_MAX && piece->kind < KINDS);
	told->piece[told->count++] = *piece;
	told->bytes[piece->kind] += piece->len;
	told->holes += piece->is_hole ? piece->len : 0;
}

static vhd_image *open_over(struct vhd_io *io)
{
	const struct vhd_open_opts opts = { .is_readonly = true };
	vhd_image *img = NULL;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, io, "pieces.vhd", &opts, NULL), 0);
	return img;
}

/* Each byte of the file once, and in order. */
static bool is_whole(const struct told *told, uint64_t size)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < told->count; i++) {
		if (told->piece[i].off != end || !told->piece[i].len)
			return false;
		end += told->piece[i].len;
	}
	return end == size;
}

/* Data in the file is what the disk reads there, and no sector of it is in the file twice. */
static bool is_data_right(const struct told *told, const struct mem_file *file, vhd_image *img)
{
	uint8_t in_file[SECTOR], on_disk[SECTOR], seen[SIZE / SECTOR] = { 0 };

	for (unsigned i = 0; i < told->count; i++) {
		const struct vhd_piece *piece = &told->piece[i];

		for (uint64_t at = 0; piece->kind == VHD_PIECE_DATA && at < piece->len;
		     at += SECTOR) {
			uint64_t off = piece->disk_off + at;

			mem_read(file, in_file, SECTOR, piece->off + at);
			if (vhd_pread(img, on_disk, SECTOR, off, NULL) || seen[off / SECTOR]++ ||
			    memcmp(in_file, on_disk, SECTOR))
				return false;
		}
	}
	return true;
}

static uint64_t data_of(const struct gen_opts *gen)
{
	uint64_t bytes = 0;

	for (uint64_t sector = 0; sector < SIZE / SECTOR; sector++)
		bytes += gen_has_data(gen, sector) ? SECTOR : 0;
	return bytes;
}

static bool has_hole_at(const struct told *told, uint64_t off)
{
	for (unsigned i = 0; i < told->count; i++)
		if (off >= told->piece[i].off && off - told->piece[i].off < told->piece[i].len)
			return told->piece[i].is_hole;
	return false;
}

static void test_every_byte_is_told_once_and_data_is_where_it_is_said_to_be(void)
{
	for (unsigned i = 0; i < LAYOUTS; i++) {
		struct mem_file *file = gen_make(&layouts[i].gen);
		vhd_image *img = open_over(mem_open(file));
		struct told told = { 0 };
		bool is_right;

		CU_ASSERT_EQUAL(vhd_each_piece(img, note, &told, NULL), 0);
		is_right = is_whole(&told, mem_size(file)) && is_data_right(&told, file, img) &&
			   told.bytes[VHD_PIECE_DATA] == data_of(&layouts[i].gen) &&
			   told.bytes[VHD_PIECE_BITMAP] == layouts[i].gen.blocks_len * SECTOR;
		if (!is_right)
			printf("\n    layout: %s", layouts[i].name);
		CU_ASSERT(is_right);
		vhd_close(img, NULL);
		mem_free(file);
	}
}

static uint64_t free_of(const struct gen_opts *gen)
{
	struct mem_file *file = gen_make(gen);
	vhd_image *img = open_over(mem_open(file));
	struct told told = { 0 };

	CU_ASSERT_EQUAL(vhd_each_piece(img, note, &told, NULL), 0);
	vhd_close(img, NULL);
	mem_free(file);
	return told.bytes[VHD_PIECE_FREE];
}

static void test_room_between_and_behind_the_blocks_is_free(void)
{
	struct gen_opts gen = { .size = SIZE, .block_size = BLOCK };

	CU_ASSERT_EQUAL(free_of(&gen), 0);
	gen.blocks = mixed;
	gen.blocks_len = 4;
	CU_ASSERT_EQUAL(free_of(&gen), 1536 + 512);
	gen.leak = 5120;
	CU_ASSERT_EQUAL(free_of(&gen), 1536 + 512 + 5120);
	gen.metadata_gap = 4096;
	CU_ASSERT_EQUAL(free_of(&gen), 1536 + 512 + 5120 + 4096);
}

/* Windows keeps its table on 4 KiB, and blktap a map behind it: nobody may put anything there. */
static void test_room_that_a_writer_of_metadata_keeps_is_not_free(void)
{
	struct gen_opts gen = {
		.size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 1,
		.metadata_gap = 4096,
	};
	uint64_t all = free_of(&gen);

	gen.creator = "win ";
	CU_ASSERT(free_of(&gen) < all);
}

static void test_holes_of_the_host_are_told_to_the_page(void)
{
	const struct gen_opts gen = {
		.size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 1, .align = 4096,
	};
	struct mem_file *file = gen_make(&gen);
	vhd_image *img = open_over(mem_open(file));
	struct told before = { 0 }, after = { 0 };

	CU_ASSERT_EQUAL(vhd_each_piece(img, note, &before, NULL), 0);
	CU_ASSERT_EQUAL(before.holes, 0);
	mem_punch(file, 4096, 8192);
	CU_ASSERT_EQUAL(vhd_each_piece(img, note, &after, NULL), 0);
	CU_ASSERT(is_whole(&after, mem_size(file)));
	CU_ASSERT(is_data_right(&after, file, img));
	CU_ASSERT_EQUAL(after.holes, 4096);
	CU_ASSERT(!has_hole_at(&after, 8191) && has_hole_at(&after, 8192));
	CU_ASSERT(has_hole_at(&after, 12287) && !has_hole_at(&after, 12288));
	for (unsigned kind = 0; kind < KINDS; kind++)
		CU_ASSERT_EQUAL(after.bytes[kind], before.bytes[kind]);
	vhd_close(img, NULL);
	mem_free(file);
}

static void test_errors_of_the_host_pass_unchanged(void)
{
	static const unsigned masks[] = { FAULT_READ, FAULT_STAT };
	const struct gen_opts gen = {
		.size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
	};

	for (unsigned i = 0; i < 2; i++) {
		struct mem_file *file = gen_make(&gen);
		struct fault fault;
		struct told told = { 0 };
		struct vhd_err err = { 0 };
		vhd_image *img;

		fault_init(&fault);
		img = open_over(fault_open(mem_open(file), &fault));
		fault.mask = masks[i];
		fault.error = EIO;
		fault.nth = 2;
		fault_arm(&fault);
		CU_ASSERT_EQUAL(vhd_each_piece(img, note, &told, &err), -EIO);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "pieces.vhd"));
		fault_disarm(&fault);
		/* It holds nothing: a second try gets all of it. */
		told = (struct told){ 0 };
		CU_ASSERT_EQUAL(vhd_each_piece(img, note, &told, NULL), 0);
		CU_ASSERT(is_whole(&told, mem_size(file)));
		vhd_close(img, NULL);
		mem_free(file);
	}
}

static void test_writes_go_on_after_a_walk(void)
{
	const struct gen_opts gen = {
		.size = SIZE, .block_size = BLOCK, .blocks = mixed, .blocks_len = 4,
	};
	struct mem_file *file = gen_make(&gen);
	uint8_t sector[SECTOR] = { 1 };
	struct told told = { 0 };
	vhd_image *img = NULL;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "pieces.vhd", NULL, NULL), 0);
	CU_ASSERT_EQUAL(vhd_pwrite(img, sector, SECTOR, BLOCK, NULL), 0);
	CU_ASSERT_EQUAL(vhd_each_piece(img, note, &told, NULL), 0);
	CU_ASSERT(is_whole(&told, mem_size(file)) && is_data_right(&told, file, img));
	CU_ASSERT_EQUAL(vhd_pwrite(img, sector, SECTOR, BLOCK + SECTOR, NULL), 0);
	CU_ASSERT_EQUAL(vhd_flush(img, NULL), 0);
	vhd_close(img, NULL);
	mem_free(file);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(test_every_byte_is_told_once_and_data_is_where_it_is_said_to_be),
		TEST(test_room_between_and_behind_the_blocks_is_free),
		TEST(test_room_that_a_writer_of_metadata_keeps_is_not_free),
		TEST(test_holes_of_the_host_are_told_to_the_page),
		TEST(test_errors_of_the_host_pass_unchanged),
		TEST(test_writes_go_on_after_a_walk),
		{ 0 },
	};

	return run_suite(argc, argv, "vhd/pieces.c", tests);
}
