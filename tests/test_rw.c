/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reads, writes, discards and flushes do and what they cost. Suite: vhd/rw.c, commit.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/io_mem.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define BLOCK 4096u
#define BLOCKS 64u
#define SLOT (BLOCK + 512u)

struct fixture {
	struct mem_file *file;
	struct fault calls;	/* never fires: counts barriers */
	vhd_image *img;
};

static void open_fixture(struct fixture *f, const struct vhd_open_opts *opts)
{
	fault_init(&f->calls);
	f->calls.mask = FAULT_BARRIER;
	f->calls.nth = UINT64_MAX;
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&f->img, fault_open(mem_open(f->file), &f->calls),
					  "rw.vhd", opts, NULL), 0);
	fault_arm(&f->calls);
}

static void new_fixture_of(struct fixture *f, unsigned blocks, const struct vhd_open_opts *opts)
{
	struct vhd_create_opts create = { .size = (uint64_t)BLOCK * blocks, .block_size = BLOCK };
	struct vhd_io *io;

	f->file = mem_new();
	io = mem_open(f->file);
	CU_ASSERT_EQUAL_FATAL(vhd_create_io(io, "rw.vhd", &create, NULL), 0);
	io->ops->close(io);
	open_fixture(f, opts);
}

static void new_fixture(struct fixture *f, const struct vhd_open_opts *opts)
{
	new_fixture_of(f, BLOCKS, opts);
}

static void end_fixture(struct fixture *f)
{
	CU_ASSERT_EQUAL(vhd_close(f->img, NULL), 0);
	mem_free(f->file);
}

static void write_blk(struct fixture *f, unsigned blk, uint8_t value)
{
	uint8_t data[BLOCK];

	memset(data, value, sizeof(data));
	CU_ASSERT_EQUAL_FATAL(vhd_pwrite(f->img, data, BLOCK, (uint64_t)blk * BLOCK, NULL), 0);
}

static void drop_blk(struct fixture *f, unsigned blk)
{
	CU_ASSERT_EQUAL_FATAL(vhd_zero(f->img, BLOCK, (uint64_t)blk * BLOCK, VHD_ZERO_RELEASE,
				       NULL), 0);
}

static bool reads(struct fixture *f, uint64_t off, size_t len, uint8_t value)
{
	uint8_t data[BLOCK];

	CU_ASSERT_EQUAL_FATAL(vhd_pread(f->img, data, len, off, NULL), 0);
	for (size_t i = 0; i < len; i++)
		if (data[i] != value)
			return false;
	return true;
}

static uint32_t allocated(struct fixture *f)
{
	struct vhd_info info;

	CU_ASSERT_EQUAL_FATAL(vhd_get_info(f->img, &info, NULL), 0);
	return info.blocks_allocated;
}

static void flush(struct fixture *f)
{
	CU_ASSERT_EQUAL_FATAL(vhd_flush(f->img, NULL), 0);
}

static void test_zeros_written_to_an_unallocated_block_allocate_nothing(void)
{
	struct fixture f;

	new_fixture(&f, NULL);
	write_blk(&f, 3, 0);
	CU_ASSERT_EQUAL(allocated(&f), 0);
	write_blk(&f, 3, 1);
	write_blk(&f, 3, 0);	/* allocated: it is written, and stays */
	CU_ASSERT_EQUAL(allocated(&f), 1);
	CU_ASSERT(reads(&f, 3 * BLOCK, BLOCK, 0));
	end_fixture(&f);
}

static void test_zeros_allocate_when_they_are_not_looked_for(void)
{
	struct vhd_open_opts opts = { .no_detect_zeroes = true };
	struct fixture f;

	new_fixture(&f, &opts);
	write_blk(&f, 3, 0);
	CU_ASSERT_EQUAL(allocated(&f), 1);
	end_fixture(&f);
}

static void test_part_of_a_new_block_leaves_zeros_around_it(void)
{
	struct fixture f;

	new_fixture(&f, NULL);
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, "abc", 3, BLOCK + 700, NULL), 0);
	CU_ASSERT(reads(&f, BLOCK, 700, 0));
	CU_ASSERT(reads(&f, BLOCK + 701, 1, 'b'));
	CU_ASSERT(reads(&f, BLOCK + 703, BLOCK - 703, 0));
	end_fixture(&f);
}

static void test_part_of_a_block_in_a_used_slot_leaves_zeros_around_it(void)
{
	for (int can_punch = 0; can_punch < 2; can_punch++) {
		struct fixture f;

		new_fixture(&f, NULL);
		mem_set_punch(f.file, can_punch);
		write_blk(&f, 0, 7);
		drop_blk(&f, 0);	/* never published: its slot is free and full of sevens */
		CU_ASSERT_EQUAL(vhd_pwrite(f.img, "x", 1, BLOCK + 2000, NULL), 0);
		CU_ASSERT(reads(&f, BLOCK, 2000, 0));
		CU_ASSERT(reads(&f, BLOCK + 2001, BLOCK - 2001, 0));
		CU_ASSERT(reads(&f, 0, BLOCK, 0));
		end_fixture(&f);
	}
}

static void test_requests_past_the_end_are_refused(void)
{
	uint64_t size = (uint64_t)BLOCK * BLOCKS;
	struct vhd_err err;
	struct fixture f;
	char c = 0;

	new_fixture(&f, NULL);
	CU_ASSERT_EQUAL(vhd_pread(f.img, &c, 1, size, &err), -EINVAL);
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, &c, 1, size, &err), -EINVAL);
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, &c, 1, UINT64_MAX, &err), -EINVAL);
	CU_ASSERT_EQUAL(vhd_zero(f.img, UINT64_MAX, 1, VHD_ZERO_RELEASE, &err), -EINVAL);
	CU_ASSERT_EQUAL(vhd_pread(f.img, &c, 0, size, &err), 0);
	end_fixture(&f);
}

static void test_read_only_image_refuses_writes(void)
{
	struct vhd_open_opts ro = { .is_readonly = true };
	struct fixture f;

	new_fixture(&f, NULL);
	CU_ASSERT_EQUAL(vhd_close(f.img, NULL), 0);
	open_fixture(&f, &ro);
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, "x", 1, 0, NULL), -EROFS);
	CU_ASSERT_EQUAL(vhd_zero(f.img, 1, 0, VHD_ZERO_RELEASE, NULL), -EROFS);
	end_fixture(&f);
}

static void test_discarded_blocks_are_used_again_before_the_file_grows(void)
{
	struct fixture f;
	uint64_t size;

	new_fixture(&f, NULL);
	for (unsigned blk = 0; blk < 30; blk++)
		write_blk(&f, blk, 1);
	flush(&f);
	write_blk(&f, 30, 1);
	flush(&f);
	size = mem_size(f.file);
	for (unsigned round = 0; round < 10; round++)	/* no flush: within one interval */
		for (unsigned blk = 0; blk < 30; blk++) {
			drop_blk(&f, blk + 30 * (round % 2));
			write_blk(&f, blk + 30 * ((round + 1) % 2), 2);
		}
	CU_ASSERT_EQUAL(mem_size(f.file), size);
	end_fixture(&f);
}

static void test_discard_gives_room_back_to_the_host(void)
{
	struct fixture f;
	uint64_t before;

	new_fixture(&f, NULL);
	for (unsigned blk = 0; blk < 20; blk++)
		write_blk(&f, blk, 1);
	flush(&f);
	before = mem_allocated(f.file);
	CU_ASSERT_EQUAL(vhd_zero(f.img, 18 * BLOCK, BLOCK, VHD_ZERO_RELEASE, NULL), 0);
	CU_ASSERT_EQUAL(allocated(&f), 2);
	flush(&f);
	CU_ASSERT(mem_allocated(f.file) + 16 * BLOCK <= before);
	end_fixture(&f);
}

static void test_close_cuts_what_growth_took_in_advance(void)
{
	struct fixture f;
	uint64_t empty;

	new_fixture(&f, NULL);
	empty = mem_size(f.file);
	for (unsigned blk = 0; blk < 40; blk++)
		write_blk(&f, blk, 1);
	CU_ASSERT_EQUAL(vhd_close(f.img, NULL), 0);
	CU_ASSERT_EQUAL(mem_size(f.file), empty + 40 * 8192ull);
	open_fixture(&f, NULL);
	CU_ASSERT_EQUAL(vhd_zero(f.img, BLOCK * BLOCKS, 0, VHD_ZERO_RELEASE, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(f.img, NULL), 0);
	CU_ASSERT_EQUAL(mem_size(f.file), empty);
	mem_free(f.file);
}

static void test_kept_blocks_stay_allocated_when_zeroed(void)
{
	struct fixture f;

	new_fixture(&f, NULL);
	write_blk(&f, 1, 9);
	CU_ASSERT_EQUAL(vhd_zero(f.img, 3 * BLOCK, 0, VHD_ZERO_KEEP, NULL), 0);
	CU_ASSERT_EQUAL(allocated(&f), 1);
	CU_ASSERT(reads(&f, BLOCK, BLOCK, 0));
	end_fixture(&f);
}

static void test_part_of_a_block_is_zeroed_exactly(void)
{
	struct fixture f;

	new_fixture(&f, NULL);
	write_blk(&f, 1, 9);
	CU_ASSERT_EQUAL(vhd_zero(f.img, 1000, BLOCK + 100, VHD_ZERO_RELEASE, NULL), 0);
	CU_ASSERT(reads(&f, BLOCK, 100, 9));
	CU_ASSERT(reads(&f, BLOCK + 100, 1000, 0));
	CU_ASSERT(reads(&f, BLOCK + 1100, BLOCK - 1100, 9));
	CU_ASSERT_EQUAL(allocated(&f), 1);
	end_fixture(&f);
}

static uint64_t barriers(struct fixture *f)
{
	uint64_t calls = f->calls.calls;

	fault_arm(&f->calls);
	return calls;
}

static void test_flush_costs_no_more_barriers_than_it_must(void)
{
	struct fixture f;

	new_fixture(&f, NULL);
	write_blk(&f, 0, 1);
	flush(&f);
	barriers(&f);
	flush(&f);
	CU_ASSERT_EQUAL(barriers(&f), 0);	/* nothing was written */
	write_blk(&f, 0, 2);
	flush(&f);
	CU_ASSERT_EQUAL(barriers(&f), 1);	/* data, nothing to publish */
	for (unsigned blk = 1; blk < BLOCKS; blk++) {
		write_blk(&f, blk, 2);
		flush(&f);
		CU_ASSERT_EQUAL(barriers(&f), 2);	/* an entry; growth costs none of its own */
	}
	end_fixture(&f);
}

static void test_no_write_waits_for_room_that_is_made_ahead(void)
{
	uint64_t ahead = 0;
	struct fixture f;

	new_fixture_of(&f, 1000, NULL);
	vhd_grow_ahead(f.img);
	CU_ASSERT_EQUAL(barriers(&f), 0);	/* nobody has asked for a slot */
	write_blk(&f, 0, 1);
	CU_ASSERT_EQUAL(barriers(&f), 1);
	for (unsigned blk = 1; blk < 1000; blk++) {
		vhd_grow_ahead(f.img);
		ahead += barriers(&f);
		write_blk(&f, blk, 1);
		CU_ASSERT_EQUAL(barriers(&f), 0);
	}
	CU_ASSERT_EQUAL(ahead, 4);	/* chunks of 128, 256, 512 and 1024 after the first of 64 */
	end_fixture(&f);
}

/* A full host is not asked again and again for what nobody needs yet. */
static void test_room_that_cannot_be_had_ahead_is_asked_for_once(void)
{
	unsigned blk = 0;
	uint64_t asked;
	struct fixture f;

	new_fixture_of(&f, 200, NULL);
	write_blk(&f, blk++, 1);
	f.calls.mask = FAULT_WRITE;
	f.calls.off = mem_size(f.file);
	f.calls.len = UINT64_MAX - f.calls.off;
	f.calls.nth = 1;
	f.calls.is_forever = true;
	f.calls.error = ENOSPC;
	fault_arm(&f.calls);
	for (; blk < 32; blk++) {
		write_blk(&f, blk, 1);
		vhd_grow_ahead(f.img);
		CU_ASSERT_EQUAL(f.calls.fired, 0);
	}
	write_blk(&f, blk++, 1);
	vhd_grow_ahead(f.img);
	asked = f.calls.fired;
	CU_ASSERT(asked > 0);
	for (; blk < 64; blk++) {
		write_blk(&f, blk, 1);
		vhd_grow_ahead(f.img);
		CU_ASSERT_EQUAL(f.calls.fired, asked);
	}
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, "x", 1, (uint64_t)blk * BLOCK, NULL), -ENOSPC);
	CU_ASSERT(f.calls.fired > asked);
	fault_disarm(&f.calls);
	for (; blk < 200; blk++)
		write_blk(&f, blk, 1);
	end_fixture(&f);
}

static void test_slots_made_by_growth_are_aligned_in_a_packed_image(void)
{
	struct gen_block blocks[] = { { .blk = 0 }, { .blk = 2 } };
	struct gen_opts opts = {
		.size = BLOCK * BLOCKS, .block_size = BLOCK, .blocks = blocks, .blocks_len = 2,
	};
	struct fixture f = { .file = gen_make(&opts) };
	struct vhd_extent ext;

	open_fixture(&f, NULL);
	for (unsigned blk = 3; blk < 9; blk++) {
		write_blk(&f, blk, 1);
		CU_ASSERT_EQUAL(vhd_next_extent(f.img, blk * BLOCK, BLOCK, &ext, NULL), 1);
		CU_ASSERT(ext.is_data && ext.has_file_off && ext.file_off % 4096 == 0);
	}
	CU_ASSERT_EQUAL(vhd_next_extent(f.img, 0, BLOCK, &ext, NULL), 1);
	CU_ASSERT(ext.file_off % 4096 != 0);	/* as it lay */
	end_fixture(&f);
}

static void test_sectors_with_clear_bits_read_zeros_and_are_written_whole(void)
{
	struct gen_block blocks[] = { { .blk = 1, .bits = GEN_BITS_JUNK } };
	struct gen_opts opts = {
		.size = BLOCK * BLOCKS, .block_size = BLOCK, .blocks = blocks, .blocks_len = 1,
	};
	struct fixture f = { .file = gen_make(&opts) };
	uint64_t clear = BLOCK / 512;
	const char *why;
	struct oracle *oracle;
	uint8_t sector[512];

	open_fixture(&f, NULL);
	while (gen_has_data(&opts, clear))
		clear++;
	CU_ASSERT(reads(&f, clear * 512, 512, 0));
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, "yy", 2, clear * 512 + 255, NULL), 0);
	CU_ASSERT(reads(&f, clear * 512, 255, 0));
	CU_ASSERT(reads(&f, clear * 512 + 255, 2, 'y'));
	CU_ASSERT(reads(&f, clear * 512 + 257, 255, 0));
	flush(&f);
	oracle = oracle_open_mem(f.file, &why);
	CU_ASSERT_PTR_NOT_NULL_FATAL(oracle);
	oracle_read(oracle, sector, sizeof(sector), clear * 512);
	CU_ASSERT(sector[254] == 0 && sector[255] == 'y' && sector[257] == 0);
	oracle_read(oracle, sector, sizeof(sector), (clear + 2) * 512);
	CU_ASSERT(sector[0] == 0);
	oracle_close(oracle);
	end_fixture(&f);
}

static void test_extents_tell_data_from_zeros(void)
{
	struct vhd_extent ext;
	struct fixture f;

	new_fixture(&f, NULL);
	write_blk(&f, 2, 1);
	CU_ASSERT_EQUAL(vhd_next_extent(f.img, 0, UINT64_MAX, &ext, NULL), 1);
	CU_ASSERT(!ext.is_data && ext.len == 2 * BLOCK);
	CU_ASSERT_EQUAL(vhd_next_extent(f.img, 2 * BLOCK + 100, UINT64_MAX, &ext, NULL), 1);
	CU_ASSERT(ext.is_data && ext.len == BLOCK - 100);
	CU_ASSERT_EQUAL(vhd_next_extent(f.img, 3 * BLOCK, UINT64_MAX, &ext, NULL), 1);
	CU_ASSERT(!ext.is_data && ext.len == (BLOCKS - 3) * BLOCK);
	CU_ASSERT_EQUAL(vhd_next_extent(f.img, BLOCKS * BLOCK, UINT64_MAX, &ext, NULL), 0);
	end_fixture(&f);
}

static void test_saved_state_waits_unless_read_only(void)
{
	struct gen_opts opts = { .size = BLOCK * BLOCKS, .block_size = BLOCK };
	struct vhd_open_opts ro = { .is_readonly = true };
	struct fixture f = { .file = gen_make(&opts) };
	struct vhd_err err = { 0 };

	gen_damage_saved_state(f.file);
	CU_ASSERT_EQUAL(vhd_open_io(&f.img, mem_open(f.file), "rw.vhd", NULL, &err), -EBUSY);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "saved state"));
	open_fixture(&f, &ro);
	end_fixture(&f);
}

static void test_batmap_is_cleared_once_when_opened_for_writing(void)
{
	struct gen_block blocks[] = { { .blk = 0 } };
	struct gen_opts opts = {
		.size = BLOCK * BLOCKS, .block_size = BLOCK, .blocks = blocks, .blocks_len = 1,
		.creator = "tap", .has_batmap = true,
	};
	struct fixture f = { .file = gen_make(&opts) };
	uint8_t head[512], map[512];
	uint64_t at = 1536 + 512;

	mem_read(f.file, head, sizeof(head), at);
	mem_read(f.file, map, sizeof(map), at + 512);
	CU_ASSERT_FATAL(!memcmp(head, "tdbatmap", 8));
	CU_ASSERT_FATAL(map[0]);
	open_fixture(&f, NULL);
	mem_read(f.file, head, sizeof(head), at);
	mem_read(f.file, map, sizeof(map), at + 512);
	CU_ASSERT(!memcmp(head + 24, "\xff\xff\xff\xff", 4));
	CU_ASSERT(!map[0] && !memcmp(map, map + 1, sizeof(map) - 1));
	end_fixture(&f);
}

static void count_sentence(void *arg, const char *sentence)
{
	CU_ASSERT_PTR_NOT_NULL(strstr(sentence, "rw.vhd"));
	CU_ASSERT_PTR_NOT_NULL(strstr(sentence, "punch holes"));
	++*(unsigned *)arg;
}

static void test_host_without_punch_gets_one_sentence_and_zeros(void)
{
	unsigned said = 0;
	struct vhd_open_opts opts = { .warn = count_sentence, .warn_arg = &said };
	struct fixture f;

	new_fixture(&f, &opts);
	mem_set_punch(f.file, false);
	for (unsigned blk = 0; blk < 8; blk++)
		write_blk(&f, blk, 5);
	flush(&f);
	CU_ASSERT_EQUAL(said, 0);
	CU_ASSERT_EQUAL(vhd_zero(f.img, 6 * BLOCK, BLOCK, VHD_ZERO_RELEASE, NULL), 0);
	flush(&f);
	CU_ASSERT_EQUAL(said, 1);
	CU_ASSERT_EQUAL(vhd_pwrite(f.img, "x", 1, BLOCK, NULL), 0);	/* into a used slot */
	CU_ASSERT(reads(&f, BLOCK + 1, BLOCK - 1, 0));
	CU_ASSERT(reads(&f, 2 * BLOCK, BLOCK, 0));
	end_fixture(&f);
	CU_ASSERT_EQUAL(said, 1);
}

static void test_host_without_locks_is_refused_unless_told(void)
{
	struct gen_opts gen = { .size = BLOCK * BLOCKS, .block_size = BLOCK };
	struct mem_file *file = gen_make(&gen);
	struct vhd_open_opts opts = { .no_lock = true };
	struct vhd_err err = { 0 };
	struct fault fault;
	vhd_image *img;

	fault_init(&fault);
	fault.mask = FAULT_LOCK;
	fault.error = ENOLCK;
	fault.is_forever = true;
	fault_arm(&fault);
	CU_ASSERT_EQUAL(vhd_open_io(&img, fault_open(mem_open(file), &fault), "rw.vhd", NULL, &err),
			-ENOLCK);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "no locks"));
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, fault_open(mem_open(file), &fault), "rw.vhd", &opts,
					  &err), 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	fault.error = EBUSY;	/* another's lock refuses all the same */
	CU_ASSERT_EQUAL(vhd_open_io(&img, fault_open(mem_open(file), &fault), "rw.vhd", &opts,
				    &err), -EBUSY);
	mem_free(file);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(test_zeros_written_to_an_unallocated_block_allocate_nothing),
		TEST(test_zeros_allocate_when_they_are_not_looked_for),
		TEST(test_part_of_a_new_block_leaves_zeros_around_it),
		TEST(test_part_of_a_block_in_a_used_slot_leaves_zeros_around_it),
		TEST(test_requests_past_the_end_are_refused),
		TEST(test_read_only_image_refuses_writes),
		TEST(test_discarded_blocks_are_used_again_before_the_file_grows),
		TEST(test_discard_gives_room_back_to_the_host),
		TEST(test_close_cuts_what_growth_took_in_advance),
		TEST(test_kept_blocks_stay_allocated_when_zeroed),
		TEST(test_part_of_a_block_is_zeroed_exactly),
		TEST(test_flush_costs_no_more_barriers_than_it_must),
		TEST(test_no_write_waits_for_room_that_is_made_ahead),
		TEST(test_room_that_cannot_be_had_ahead_is_asked_for_once),
		TEST(test_slots_made_by_growth_are_aligned_in_a_packed_image),
		TEST(test_sectors_with_clear_bits_read_zeros_and_are_written_whole),
		TEST(test_extents_tell_data_from_zeros),
		TEST(test_saved_state_waits_unless_read_only),
		TEST(test_host_without_punch_gets_one_sentence_and_zeros),
		TEST(test_host_without_locks_is_refused_unless_told),
		TEST(test_batmap_is_cleared_once_when_opened_for_writing),
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "rw", tests);
}
