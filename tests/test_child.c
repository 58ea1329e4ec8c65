/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing, zeroing and discarding in a differencing image: what its sectors read then, to the
 * engine and to the second reader, which bits they have, and what it costs. Suite: vhd/own.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/lineage.h"
#include "tests/support/runner.h"
#include "vhd/image.h"

#define SECTOR 512u
#define BLOCK 4096u
#define BLOCKS 16u
#define SIZE (BLOCKS * BLOCK - 3 * SECTOR)	/* the last block is a part of one */

struct fixture {
	struct mem_file *file;
	struct mem_file *parents[LINEAGE_MAX + 1], *untouched[LINEAGE_MAX];
	struct fault calls;	/* never fires: counts barriers */
	vhd_image *img;
	uint8_t shadow[SIZE];
	uint32_t version;
};

/* The grandparent has blocks 0, 1, 2, 6; the parent, whose disk ends earlier, every other sector of
 * 1 and all of 3; the child every other one of 2 and all of 4. */
static const struct gen_block base_blocks[] = { { .blk = 0 }, { .blk = 1 }, { .blk = 2 },
						{ .blk = 6 }, { .blk = 15 } };
static const struct gen_block middle_blocks[] = { { .blk = 1, .bits = GEN_BITS_JUNK },
						  { .blk = 3 } };
static const struct gen_block top_blocks[] = { { .blk = 2, .bits = GEN_BITS_JUNK },
					       { .blk = 4 } };
static const struct gen_opts base = {
	.size = SIZE, .block_size = BLOCK, .blocks = base_blocks, .blocks_len = 5, .marker = 1,
};
static const struct gen_opts middle = {
	.size = 8 * BLOCK + SECTOR, .block_size = BLOCK, .blocks = middle_blocks, .blocks_len = 2,
	.type = 4, .marker = 2, .parent_marker = 1, .parent_name = "base.vhd",
};
static const struct gen_opts top = {
	.size = SIZE, .block_size = BLOCK, .blocks = top_blocks, .blocks_len = 2,
	.type = 4, .marker = 3, .parent_marker = 2, .parent_name = "middle.vhd",
};

static void open_fixture(struct fixture *f, const struct vhd_open_opts *opts)
{
	struct vhd_err err = { 0 };

	fault_init(&f->calls);
	f->calls.mask = FAULT_BARRIER;
	f->calls.nth = UINT64_MAX;
	CU_ASSERT_EQUAL_FATAL(lineage_open(&f->img, fault_open(mem_open(f->file), &f->calls),
					   f->parents, opts, &err), 0);
	fault_arm(&f->calls);
}

static void read_oracle(struct fixture *f, uint8_t *buf)
{
	struct lineage l;
	struct oracle_result result;

	lineage_read(&l, f->file, f->parents);
	oracle_check(l.top, &result);
	CU_ASSERT_EQUAL(result.errors, 0);
	oracle_read(l.top, buf, SIZE, 0);
	lineage_close(&l);
}

static struct fixture *new_fixture_of(const struct gen_opts *child, const struct gen_opts *parent,
				      const struct vhd_open_opts *opts)
{
	struct fixture *f = calloc(1, sizeof(*f));

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	f->file = gen_make(child);
	f->parents[0] = gen_make(parent);
	if (parent->type == 4)
		f->parents[1] = gen_make(&base);
	for (unsigned i = 0; f->parents[i]; i++)
		f->untouched[i] = mem_clone(f->parents[i]);
	read_oracle(f, f->shadow);
	open_fixture(f, opts);
	return f;
}

static struct fixture *new_fixture(void)
{
	return new_fixture_of(&top, &middle, NULL);
}

static bool is_same_file(const struct mem_file *a, const struct mem_file *b)
{
	uint8_t x[SECTOR], y[SECTOR];

	for (uint64_t off = 0; off < mem_size(a); off += SECTOR) {
		mem_read(a, x, SECTOR, off);
		mem_read(b, y, SECTOR, off);
		if (memcmp(x, y, SECTOR) != 0)
			return false;
	}
	return mem_size(a) == mem_size(b);
}

/* The disk reads as the shadow, now, to another reader after a flush, and after a reopen. */
static void verify(struct fixture *f)
{
	uint8_t *buf = malloc(SIZE);

	CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
	CU_ASSERT_EQUAL_FATAL(vhd_pread(f->img, buf, SIZE, 0, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(buf, f->shadow, SIZE), 0);
	CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
	CU_ASSERT(!vhd_has_unpublished(f->img));
	read_oracle(f, buf);
	CU_ASSERT_EQUAL(memcmp(buf, f->shadow, SIZE), 0);
	CU_ASSERT_EQUAL(vhd_close(f->img, NULL), 0);
	read_oracle(f, buf);
	CU_ASSERT_EQUAL(memcmp(buf, f->shadow, SIZE), 0);
	open_fixture(f, NULL);
	CU_ASSERT_EQUAL_FATAL(vhd_pread(f->img, buf, SIZE, 0, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(buf, f->shadow, SIZE), 0);
	free(buf);
}

static void end_fixture(struct fixture *f)
{
	verify(f);
	CU_ASSERT_EQUAL(vhd_close(f->img, NULL), 0);
	for (unsigned i = 0; f->parents[i]; i++) {
		CU_ASSERT(is_same_file(f->parents[i], f->untouched[i]));
		mem_free(f->parents[i]);
		mem_free(f->untouched[i]);
	}
	mem_free(f->file);
	free(f);
}

static void write_at(struct fixture *f, uint64_t off, size_t len)
{
	f->version++;
	for (size_t i = 0; i < len; i++)
		f->shadow[off + i] = (uint8_t)(0x40 + f->version * 7 + i / 5);
	CU_ASSERT_EQUAL_FATAL(vhd_pwrite(f->img, f->shadow + off, len, off, NULL), 0);
}

static void write_zeros(struct fixture *f, uint64_t off, size_t len)
{
	memset(f->shadow + off, 0, len);
	CU_ASSERT_EQUAL_FATAL(vhd_pwrite(f->img, f->shadow + off, len, off, NULL), 0);
}

static void zero_at(struct fixture *f, uint64_t off, size_t len, enum vhd_zero_how how)
{
	memset(f->shadow + off, 0, len);
	CU_ASSERT_EQUAL_FATAL(vhd_zero(f->img, len, off, how, NULL), 0);
}

static uint32_t allocated(struct fixture *f)
{
	struct vhd_info info;

	CU_ASSERT_EQUAL_FATAL(vhd_get_info(f->img, &info, NULL), 0);
	return info.blocks_allocated;
}

/* The bits of blk in the file, the first sector's highest; -1: unallocated. */
static int bits_of(struct fixture *f, uint32_t blk)
{
	struct oracle *o;
	uint32_t entry;
	uint8_t bits;

	CU_ASSERT_EQUAL_FATAL(vhd_flush(f->img, NULL), 0);
	o = oracle_open_mem(f->file, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	entry = oracle_entry(o, blk);
	oracle_close(o);
	if (entry == UINT32_MAX)
		return -1;
	mem_read(f->file, &bits, 1, entry * 512ull);
	return bits;
}

static void test_a_new_block_has_the_bits_of_what_was_written(void)
{
	struct fixture *f = new_fixture();

	write_at(f, 2 * SECTOR, SECTOR);
	CU_ASSERT_EQUAL(bits_of(f, 0), 0x20);
	write_at(f, 4 * SECTOR, 3 * SECTOR);	/* bits that become 1 */
	CU_ASSERT_EQUAL(bits_of(f, 0), 0x2e);
	write_at(f, BLOCK + SECTOR + 5, SECTOR);	/* a part of two */
	CU_ASSERT_EQUAL(bits_of(f, 1), 0x60);
	CU_ASSERT_EQUAL(allocated(f), 4);
	end_fixture(f);
}

static void test_bits_set_before_the_commit_are_in_it(void)
{
	struct fixture *f = new_fixture();

	write_at(f, 0, SECTOR);
	write_at(f, 7 * SECTOR, SECTOR);	/* its slot is pending still */
	write_at(f, BLOCK - 100, 300);	/* and one that lies across */
	CU_ASSERT_EQUAL(bits_of(f, 0), 0x81);
	CU_ASSERT_EQUAL(bits_of(f, 1), 0x80);
	for (unsigned s = 1; s < 7; s++)
		write_at(f, s * SECTOR, SECTOR);
	CU_ASSERT_EQUAL(bits_of(f, 0), 0xff);
	end_fixture(f);
}

static bool is_bitmap_kept(struct fixture *f, uint32_t blk)
{
	return atomic_load(&f->img->map.bits[blk]) != MAP_BITS_FULL;
}

/* A child that is written all over must not take memory for each of its blocks. */
static void test_bits_that_are_all_ones_are_not_kept_once_published(void)
{
	static const uint32_t blks[] = { 0, 15 };	/* the last one has fewer sectors */
	struct fixture *f = new_fixture();

	for (unsigned i = 0; i < 2; i++) {
		uint64_t off = blks[i] * BLOCK, end = off + BLOCK < SIZE ? off + BLOCK : SIZE;

		write_at(f, off, SECTOR);
		write_at(f, off + SECTOR, end - off - 2 * SECTOR);
		CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
		CU_ASSERT(is_bitmap_kept(f, blks[i]));
		write_at(f, end - SECTOR, SECTOR);
		CU_ASSERT(is_bitmap_kept(f, blks[i]));
		CU_ASSERT_EQUAL(bits_of(f, blks[i]), i ? 0xf8 : 0xff);
		CU_ASSERT(!is_bitmap_kept(f, blks[i]));
	}
	write_at(f, 3 * SECTOR, SECTOR);
	end_fixture(f);
}

static void test_part_of_a_sector_is_filled_from_the_chain(void)
{
	struct fixture *f = new_fixture();

	write_at(f, 100, 7);				/* the grandparent's */
	write_at(f, BLOCK + 2 * SECTOR + 3, 9);		/* the parent's */
	write_at(f, BLOCK + 3 * SECTOR + 3, 9);		/* the grandparent's, in a block of both */
	write_at(f, 2 * BLOCK + SECTOR + 3, 9);		/* a clear bit of its own */
	write_at(f, 5 * BLOCK + 1, 1);			/* nobody's */
	write_at(f, 15 * BLOCK + 3, 1);			/* past the parent's end */
	write_at(f, 3 * BLOCK + 200, 2 * SECTOR);	/* three sectors, two of them in part */
	CU_ASSERT_EQUAL(bits_of(f, 3), 0xe0);
	CU_ASSERT_EQUAL(bits_of(f, 2), 0xea);
	end_fixture(f);
}

static void test_a_whole_block_gets_all_bits(void)
{
	struct fixture *f = new_fixture();

	write_at(f, 0, 3 * BLOCK);
	CU_ASSERT_EQUAL(bits_of(f, 0), 0xff);
	CU_ASSERT_EQUAL(bits_of(f, 2), 0xff);
	write_at(f, 15 * BLOCK, BLOCK - 3 * SECTOR);
	CU_ASSERT_EQUAL(bits_of(f, 15), 0xf8);	/* what lies past the disk's end is nobody's */
	end_fixture(f);
}

static void test_zeros_written_are_kept_where_the_chain_has_data(void)
{
	struct fixture *f = new_fixture();

	write_zeros(f, 0, BLOCK);
	CU_ASSERT_EQUAL(bits_of(f, 0), 0xff);
	write_zeros(f, 3 * BLOCK + SECTOR, SECTOR);
	CU_ASSERT_EQUAL(bits_of(f, 3), 0x40);
	write_zeros(f, 2 * BLOCK + SECTOR, SECTOR);	/* a clear bit */
	CU_ASSERT_EQUAL(bits_of(f, 2), 0xea);
	end_fixture(f);
}

static void test_zeros_written_where_the_chain_has_nothing_allocate_nothing(void)
{
	struct vhd_open_opts opts = { .no_detect_zeroes = true };
	struct fixture *f = new_fixture();

	write_zeros(f, 5 * BLOCK, BLOCK);
	write_zeros(f, 9 * BLOCK + 10, 3 * BLOCK);	/* past the parent's end */
	write_zeros(f, 15 * BLOCK, SECTOR);
	CU_ASSERT_EQUAL(allocated(f), 2);
	end_fixture(f);
	f = new_fixture_of(&top, &middle, &opts);
	write_zeros(f, 5 * BLOCK, SECTOR);
	CU_ASSERT_EQUAL(bits_of(f, 5), 0x80);
	end_fixture(f);
}

static void test_a_discard_never_lets_the_parent_show(void)
{
	struct fixture *f = new_fixture();

	zero_at(f, 2 * BLOCK, BLOCK, VHD_ZERO_RELEASE);		/* it has a part of it */
	zero_at(f, 0, BLOCK, VHD_ZERO_RELEASE);			/* and nothing of these */
	zero_at(f, 3 * BLOCK, BLOCK, VHD_ZERO_RELEASE);
	CU_ASSERT_EQUAL(bits_of(f, 2), 0xff);
	CU_ASSERT_EQUAL(bits_of(f, 0), 0xff);
	CU_ASSERT_EQUAL(allocated(f), 4);
	verify(f);
	write_at(f, SECTOR, SECTOR);
	zero_at(f, 0, SIZE, VHD_ZERO_RELEASE);
	CU_ASSERT_EQUAL(allocated(f), 5);	/* 0, 1, 2, 3, 6: where a parent has something */
	end_fixture(f);
}

static void test_a_block_that_no_parent_has_is_given_back(void)
{
	struct fixture *f = new_fixture();

	zero_at(f, 4 * BLOCK, BLOCK, VHD_ZERO_RELEASE);
	CU_ASSERT_EQUAL(bits_of(f, 4), -1);
	write_at(f, 15 * BLOCK, SECTOR);
	zero_at(f, 15 * BLOCK, BLOCK - 3 * SECTOR, VHD_ZERO_RELEASE);
	CU_ASSERT_EQUAL(bits_of(f, 15), -1);	/* what the grandparent has there is hidden */
	CU_ASSERT_EQUAL(allocated(f), 1);
	end_fixture(f);
}

static void test_zeroes_take_bits_where_the_chain_has_data_alone(void)
{
	/* A parent of every other sector. */
	static const struct gen_block half[] = { { .blk = 1, .bits = GEN_BITS_JUNK } };
	struct gen_opts parent = base, child = top;
	struct fixture *f;

	parent.blocks = half;
	parent.blocks_len = 1;
	child.blocks_len = 0;
	f = new_fixture_of(&child, &parent, NULL);
	zero_at(f, BLOCK, BLOCK, VHD_ZERO_RELEASE);
	CU_ASSERT_EQUAL(bits_of(f, 1), 0xaa);
	end_fixture(f);
	f = new_fixture_of(&child, &parent, NULL);
	zero_at(f, BLOCK + 2 * SECTOR + 7, 3 * SECTOR, VHD_ZERO_KEEP);
	CU_ASSERT_EQUAL(bits_of(f, 1), 0x28);
	zero_at(f, BLOCK + SECTOR, SECTOR, VHD_ZERO_KEEP);
	zero_at(f, 5 * BLOCK, 3 * BLOCK, VHD_ZERO_KEEP);
	CU_ASSERT_EQUAL(bits_of(f, 1), 0x28);
	CU_ASSERT_EQUAL(allocated(f), 1);
	end_fixture(f);
}

static void test_part_of_a_block_is_zeroed_exactly(void)
{
	for (int how = VHD_ZERO_RELEASE; how <= VHD_ZERO_KEEP; how++) {
		struct fixture *f = new_fixture();

		zero_at(f, 100, 1000, (enum vhd_zero_how)how);
		zero_at(f, 2 * BLOCK + 700, 1500, (enum vhd_zero_how)how);
		zero_at(f, 4 * BLOCK + 1, BLOCK - 1, (enum vhd_zero_how)how);
		zero_at(f, 6 * BLOCK + 3 * SECTOR, 2, (enum vhd_zero_how)how);
		CU_ASSERT_EQUAL(allocated(f), 4);
		CU_ASSERT_EQUAL(bits_of(f, 0), 0xe0);
		zero_at(f, BLOCK + 5, 5 * BLOCK, (enum vhd_zero_how)how);
		end_fixture(f);
	}
}

static void test_a_used_slot_shows_nothing_of_its_former_owner(void)
{
	for (int can_punch = 0; can_punch < 2; can_punch++) {
		struct fixture *f = new_fixture();

		mem_set_punch(f->file, can_punch);
		write_at(f, 5 * BLOCK, BLOCK);
		zero_at(f, 5 * BLOCK, BLOCK, VHD_ZERO_RELEASE);	/* never published: free at once */
		write_at(f, SECTOR, SECTOR);
		CU_ASSERT_EQUAL(bits_of(f, 0), 0x40);
		verify(f);
		mem_set_punch(f->file, can_punch);
		zero_at(f, 4 * BLOCK, BLOCK, VHD_ZERO_RELEASE);	/* published: through quarantine */
		CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
		zero_at(f, 3 * BLOCK + 100, 2 * SECTOR, VHD_ZERO_KEEP);
		CU_ASSERT_EQUAL(bits_of(f, 3), 0xe0);
		end_fixture(f);
	}
}

static uint64_t barriers(struct fixture *f)
{
	uint64_t calls = f->calls.calls;

	fault_arm(&f->calls);
	return calls;
}

static void test_flush_costs_no_more_barriers_than_it_must(void)
{
	struct fixture *f = new_fixture();

	write_at(f, 0, SECTOR);
	CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
	barriers(f);
	write_at(f, SECTOR, SECTOR);		/* a bit */
	CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
	CU_ASSERT_EQUAL(barriers(f), 2);
	write_at(f, SECTOR, SECTOR);		/* data alone */
	CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
	CU_ASSERT_EQUAL(barriers(f), 1);
	write_at(f, 3 * BLOCK, SECTOR);		/* an entry, a bitmap that was whole before */
	write_at(f, 2 * SECTOR, SECTOR);
	CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
	CU_ASSERT_EQUAL(barriers(f), 2);
	CU_ASSERT_EQUAL(vhd_flush(f->img, NULL), 0);
	CU_ASSERT_EQUAL(barriers(f), 0);
	end_fixture(f);
}

static void test_a_full_host_refuses_zeros_that_need_room(void)
{
	struct fixture *f = new_fixture();
	struct vhd_err err = { 0 };
	uint8_t sector[SECTOR];

	mem_set_limit(f->file, mem_allocated(f->file));
	CU_ASSERT_EQUAL(vhd_zero(f->img, BLOCK, 3 * BLOCK, VHD_ZERO_RELEASE, &err), -ENOSPC);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "lineage.vhd"));
	CU_ASSERT_EQUAL(vhd_pread(f->img, sector, SECTOR, 3 * BLOCK, NULL), 0);
	CU_ASSERT_EQUAL(memcmp(sector, f->shadow + 3 * BLOCK, SECTOR), 0);
	mem_set_limit(f->file, 0);
	zero_at(f, 3 * BLOCK, BLOCK, VHD_ZERO_RELEASE);
	end_fixture(f);
}

static void test_a_parent_that_is_fixed_has_data_everywhere(void)
{
	struct gen_opts fixed = { .size = SIZE - 4 * BLOCK, .block_size = BLOCK, .type = 2,
				  .marker = 2 };
	struct fixture *f = new_fixture_of(&top, &fixed, NULL);

	zero_at(f, 0, SIZE, VHD_ZERO_RELEASE);
	CU_ASSERT_EQUAL(allocated(f), 12);
	CU_ASSERT_EQUAL(bits_of(f, 11), 0xf8);	/* as far as the parent goes */
	write_at(f, 11 * BLOCK + 4 * SECTOR, 2 * SECTOR);
	end_fixture(f);
}

/* Blocks of another size than the parent's, and more than one sector of bits. */
static void test_blocks_of_other_sizes(void)
{
	struct gen_opts child = top;
	struct fixture *f;

	child.blocks_len = 0;
	for (child.block_size = 8192; child.block_size <= 4 << 20; child.block_size *= 8) {
		f = new_fixture_of(&child, &middle, NULL);
		write_at(f, 3 * SECTOR + 9, 2000);
		zero_at(f, 700, 1000, VHD_ZERO_KEEP);
		zero_at(f, BLOCK, 3 * BLOCK, VHD_ZERO_RELEASE);
		write_at(f, 4 * BLOCK + 1, 1);
		write_zeros(f, 6 * BLOCK, SIZE - 6 * BLOCK);
		end_fixture(f);
	}
}

/* What a parent that cannot be read says is what the write says, and nothing has changed. */
static void test_a_parent_that_cannot_be_read_fails_what_needs_it(void)
{
	struct fixture *f = new_fixture();
	struct vhd_image *grandparent = f->img->parent->parent;
	struct fault fault;
	struct vhd_err err = { 0 };
	uint8_t byte = 1;

	fault_init(&fault);
	fault.mask = FAULT_READ;
	fault.error = EIO;
	fault.is_forever = true;
	grandparent->io = fault_open(grandparent->io, &fault);
	fault_arm(&fault);
	CU_ASSERT_EQUAL(vhd_pwrite(f->img, &byte, 1, 700, &err), -EIO);
	CU_ASSERT(err.code == -EIO && strlen(err.msg) > 10);
	CU_ASSERT_EQUAL(vhd_zero(f->img, BLOCK - 9, 0, VHD_ZERO_RELEASE, &err), -EIO);
	CU_ASSERT_EQUAL(allocated(f), 2);
	write_at(f, SECTOR, SECTOR);	/* whole sectors need nobody */
	CU_ASSERT_EQUAL(vhd_pwrite(f->img, &byte, 1, 5 * SECTOR, &err), -EIO);
	CU_ASSERT_EQUAL(bits_of(f, 0), 0x40);
	fault_disarm(&fault);
	end_fixture(f);
}

/* On the host's filesystem, found by its name: the parent is held against writers, and neither its
 * bytes nor its times change. */
static void test_the_parent_on_disk_is_locked_and_left_alone(void)
{
	char dir[] = "/tmp/vhd-child-XXXXXX", paths[3][64];
	const struct gen_opts *gens[3] = { &base, &middle, &top };
	static const char *const names[3] = { "base.vhd", "middle.vhd", "top.vhd" };
	struct stat before[3], after;
	struct vhd_err err = { 0 };
	vhd_image *img, *other;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	for (int i = 0; i < 3; i++) {
		struct mem_file *file = gen_make(gens[i]);

		snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, names[i]);
		CU_ASSERT_EQUAL(mem_save(file, paths[i]), 0);
		CU_ASSERT_EQUAL(stat(paths[i], &before[i]), 0);
		mem_free(file);
	}
	CU_ASSERT_EQUAL_FATAL(vhd_open(&img, paths[2], NULL, &err), 0);
	CU_ASSERT_EQUAL(vhd_pwrite(img, "abc", 3, 700, &err), 0);
	CU_ASSERT_EQUAL(vhd_zero(img, SIZE, 0, VHD_ZERO_RELEASE, &err), 0);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(vhd_open(&other, paths[i], NULL, &err), -EBUSY);
	CU_ASSERT_EQUAL(vhd_close(img, &err), 0);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(stat(paths[i], &after), 0);
		if (i < 2) {
			CU_ASSERT_EQUAL(after.st_mtim.tv_sec, before[i].st_mtim.tv_sec);
			CU_ASSERT_EQUAL(after.st_mtim.tv_nsec, before[i].st_mtim.tv_nsec);
			CU_ASSERT_EQUAL(after.st_size, before[i].st_size);
		}
		unlink(paths[i]);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(test_a_new_block_has_the_bits_of_what_was_written),
		TEST(test_bits_set_before_the_commit_are_in_it),
		TEST(test_part_of_a_sector_is_filled_from_the_chain),
		TEST(test_bits_that_are_all_ones_are_not_kept_once_published),
		TEST(test_a_whole_block_gets_all_bits),
		TEST(test_zeros_written_are_kept_where_the_chain_has_data),
		TEST(test_zeros_written_where_the_chain_has_nothing_allocate_nothing),
		TEST(test_a_discard_never_lets_the_parent_show),
		TEST(test_a_block_that_no_parent_has_is_given_back),
		TEST(test_zeroes_take_bits_where_the_chain_has_data_alone),
		TEST(test_part_of_a_block_is_zeroed_exactly),
		TEST(test_a_used_slot_shows_nothing_of_its_former_owner),
		TEST(test_flush_costs_no_more_barriers_than_it_must),
		TEST(test_a_full_host_refuses_zeros_that_need_room),
		TEST(test_a_parent_that_is_fixed_has_data_everywhere),
		TEST(test_blocks_of_other_sizes),
		TEST(test_a_parent_that_cannot_be_read_fails_what_needs_it),
		TEST(test_the_parent_on_disk_is_locked_and_left_alone),
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "child", tests);
}
