/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhd/resize.c, and rule 12: whatever a power cut or a failing call leaves, the image is sound, has
 * the old size or the new one, and all of the data that is in both; what a disk grew by is zeros.
 */
#include "vhd/vhd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cuts.h"
#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/format.h"
#include "vhd/image.h"

#define BLOCK 4096u
#define SIZE (16 * BLOCK)		/* bytes of the disk as it is */
#define BEHIND (3 * 512u)		/* bytes of the last block that a disk may lack */
#define LARGEST (700 * BLOCK)	/* its table is longer than a page of the file */

static char folder[64], child_path[128], parent_path[128];

struct trial {
	struct cuts cuts;
	bool has_parent;
	uint64_t from, to;
	uint8_t before[SIZE];		/* what the disk has */
	unsigned had_from, had_to;
};

static int open_image(vhd_image **img, struct vhd_io *io, bool has_parent, bool is_readonly,
		      struct vhd_err *err)
{
	const struct vhd_open_opts opts = {
		.is_readonly = is_readonly, .parent = has_parent ? parent_path : NULL,
	};

	return vhd_open_io(img, io, child_path, &opts, err);
}

static int resize_over(struct vhd_io *io, bool has_parent, uint64_t size, struct vhd_err *err)
{
	vhd_image *img;
	int rc = open_image(&img, io, has_parent, false, err), closed;

	if (rc)
		return rc;
	rc = vhd_resize(img, size, NULL, err);
	if (!rc)
		CU_ASSERT_EQUAL(vhd_size(img), size);
	closed = vhd_close(img, rc ? NULL : err);
	return rc ? rc : closed;
}

/* Whether buf, from off on, is what was there, or (if it may be) zeros. */
static bool is_old(const struct trial *t, const uint8_t *buf, size_t len, uint64_t off,
		   bool or_zeros)
{
	static const uint8_t zeros[512];

	for (size_t at = 0; at < len; at += 512)
		if (memcmp(buf + at, t->before + off + at, 512) &&
		    !(or_zeros && !memcmp(buf + at, zeros, 512)))
			return false;
	return true;
}

/* A fixed disk that grew has the old footer in it until that is overwritten, in the last step. */
static bool is_zero_but_footer(const uint8_t *buf, size_t len, bool is_fixed)
{
	size_t at = is_fixed && fmt_is_footer_cookie(buf) ? 512 : 0;

	return at == len || (!buf[at] && !memcmp(buf + at, buf + at + 1, len - at - 1));
}

static void judge_contents(struct trial *t, vhd_image *img, bool is_fixed)
{
	static uint8_t disk[LARGEST];
	uint64_t size = vhd_size(img), kept = t->to < t->from ? t->to : t->from;

	if (size != t->from && size != t->to) {
		cuts_complain(&t->cuts, "the disk has neither size");
		return;
	}
	t->had_from += size == t->from;
	t->had_to += size == t->to;
	if (vhd_pread(img, disk, size, 0, NULL))
		cuts_complain(&t->cuts, "it cannot be read");
	if (!is_old(t, disk, kept, 0, false))
		cuts_complain(&t->cuts, "data was lost");
	/* What is to be cut off may be gone, or have the footer that is to end the file. */
	if (size == t->from && t->to < t->from && !is_fixed &&
	    !is_old(t, disk + kept, size - kept, kept, true))
		cuts_complain(&t->cuts, "what is to be cut off reads as nothing it ever was");
	if (size > t->from && !is_zero_but_footer(disk + t->from, size - t->from, is_fixed))
		cuts_complain(&t->cuts, "what the disk grew by is not zeros");
}

static void judge_structure(struct trial *t, struct mem_file *file, bool is_fixed)
{
	struct oracle_result result = { 0 };
	const char *why = NULL;
	struct oracle *o = oracle_open_mem(file, &why);

	if (!o && !is_fixed)	/* of a fixed one the last sector may be lost for a while */
		cuts_complain(&t->cuts, why);
	if (!o)
		return;
	oracle_check(o, &result);
	if (result.errors)
		cuts_complain(&t->cuts, result.first);
	oracle_close(o);
}

static void judge(void *arg, struct mem_file *file)
{
	struct trial *t = arg;
	struct vhd_info info;
	struct vhd_err err = { 0 };
	vhd_image *img;
	bool is_fixed;

	if (open_image(&img, mem_open(file), t->has_parent, true, &err))
		return cuts_complain(&t->cuts, err.msg);
	CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
	is_fixed = info.type == VHD_FIXED;
	judge_contents(t, img, is_fixed);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	judge_structure(t, file, is_fixed);
	if (resize_over(mem_open(file), t->has_parent, t->to, &err))
		cuts_complain(&t->cuts, "it cannot be done again from there");
	if (open_image(&img, mem_open(file), t->has_parent, true, &err))
		return cuts_complain(&t->cuts, "done, it does not open");
	if (vhd_size(img) != t->to)
		cuts_complain(&t->cuts, "done again, it has not the new size");
	judge_contents(t, img, is_fixed);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	judge_structure(t, file, false);
}

/* The layouts. */

static const struct gen_block blocks[] = {
	{ .blk = 3 }, { .blk = 15 }, { .blk = 0, .bits = GEN_BITS_EXACT }, { .blk = 9 },
};

static struct mem_file *make(const char *creator, uint32_t type, uint64_t header, uint32_t align,
			     bool has_no_trailer)
{
	const struct gen_opts opts = {
		.size = SIZE, .block_size = BLOCK, .type = type, .creator = creator,
		.blocks = blocks, .blocks_len = type == 2 ? 0 : 4, .marker = 1, .align = align,
		.header = header, .table = header ? 4096 : 0, .has_no_trailer = has_no_trailer,
		.has_batmap = creator && !strcmp(creator, "tap"),
	};

	return gen_make(&opts);
}

/* The last block has something behind the disk's end, with set bits. */
static struct mem_file *make_with_junk_behind(void)
{
	const struct gen_opts opts = {
		.size = SIZE - BEHIND, .block_size = BLOCK, .blocks = blocks, .blocks_len = 4,
		.marker = 1,
	};
	struct mem_file *file = gen_make(&opts);
	struct oracle *o = oracle_open_mem(file, NULL);
	uint8_t junk[BEHIND];

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	memset(junk, 'J', sizeof(junk));
	mem_write(file, junk, BEHIND, (oracle_entry(o, 15) + 1) * 512ull + BLOCK - BEHIND);
	oracle_close(o);
	return file;
}
static struct mem_file *make_packed(void)
{
	return make(NULL, 0, 0, 0, false);
}
static struct mem_file *make_aligned(void)
{
	return make("win ", 0, 0, 4096, false);
}
static struct mem_file *make_with_batmap(void)
{
	return make("tap", 0, 0, 0, false);
}
static struct mem_file *make_without_trailer(void)
{
	return make(NULL, 0, 0, 0, true);
}
static struct mem_file *make_header_away(void)
{
	return make("win ", 0, 2048, 0, false);
}
static struct mem_file *make_fixed(void)
{
	struct mem_file *file = make(NULL, 2, 0, 0, false);
	uint8_t sector[512];

	for (uint64_t s = 0; s < SIZE / 512; s += 3) {
		gen_sector(sector, s, 1);
		mem_write(file, sector, 512, s * 512);
	}
	return file;
}
/* Its parent locators lie behind the table, where a longer one goes. */
static struct mem_file *make_child(void)
{
	const struct vhd_create_opts opts = {
		.type = VHD_DIFFERENCING, .parent = parent_path, .block_size = BLOCK,
	};
	struct mem_file *file = mem_new();
	struct vhd_io *io = mem_open(file);
	uint8_t sector[512];
	vhd_image *img;

	CU_ASSERT_EQUAL_FATAL(vhd_create_io(io, child_path, &opts, NULL), 0);
	io->ops->close(io);
	CU_ASSERT_EQUAL_FATAL(open_image(&img, mem_open(file), true, false, NULL), 0);
	for (uint64_t s = 0; s < SIZE / 512; s += 5) {
		gen_sector(sector, s, 1);
		CU_ASSERT_EQUAL(vhd_pwrite(img, sector, 512, s * 512, NULL), 0);
	}
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	return file;
}

static const struct layout {
	const char *name;
	struct mem_file *(*make)(void);
	bool has_parent;
	uint64_t size;		/* of the disk, where it is not SIZE */
} layouts[] = {
	{ "packed", .make = make_packed },
	{ "aligned", .make = make_aligned },
	{ "blktap's", .make = make_with_batmap },
	{ "no trailing footer", .make = make_without_trailer },
	{ "header away", .make = make_header_away },
	{ "junk behind the end", .make = make_with_junk_behind, .size = SIZE - BEHIND },
	{ "fixed", .make = make_fixed },
	{ "a child", .make = make_child, .has_parent = true },
};

static const uint64_t sizes[] = {
	SIZE + 512, SIZE + 3 * BLOCK, LARGEST, SIZE - 512, 15 * BLOCK, 10 * BLOCK - 1024, 512,
};

static void begin(struct trial *t, const struct layout *layout, uint64_t to)
{
	static char name[100];
	vhd_image *img;

	snprintf(name, sizeof(name), "%s, to %llu bytes", layout->name, (unsigned long long)to);
	*t = (struct trial){
		.cuts = { .name = name, .live = layout->make(), .judge = judge, .arg = t },
		.has_parent = layout->has_parent, .to = to,
		.from = layout->size ? layout->size : SIZE,
	};
	CU_ASSERT_EQUAL_FATAL(open_image(&img, mem_open(t->cuts.live), t->has_parent, true, NULL),
			      0);
	CU_ASSERT_EQUAL_FATAL(vhd_pread(img, t->before, t->from, 0, NULL), 0);
	vhd_close(img, NULL);
	cuts_begin(&t->cuts);
}

static void end(struct trial *t)
{
	cuts_end(&t->cuts);
	mem_free(t->cuts.live);
	CU_ASSERT_FALSE(t->cuts.is_failed);
}

static unsigned states;

static void cut_everywhere(const struct layout *layout, uint64_t to)
{
	static struct trial t;
	struct recorder recorder;
	struct vhd_err err = { 0 };
	int rc;

	begin(&t, layout, to);
	record_init(&recorder);
	recorder.observe = cuts_observe;
	recorder.arg = &t.cuts;
	rc = resize_over(record_open(mem_open(t.cuts.live), &recorder), t.has_parent, to, &err);
	if (rc)
		printf("\n%s: %s\n", t.cuts.name, err.msg);
	CU_ASSERT_EQUAL(rc, 0);
	cuts_try(&t.cuts);
	CU_ASSERT_TRUE(t.had_from && t.had_to);
	states += t.cuts.states;
	end(&t);
}

static void power_cuts_leave_the_old_size_or_the_new_one(void)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
			cut_everywhere(&layouts[i], sizes[k]);
	printf("(%u states) ", states);
}

/* Whether the call was met; the image is judged as a crash would leave it. */
static bool fail_call(const struct layout *layout, uint64_t to, unsigned mask, enum fault_how how,
		      uint64_t nth)
{
	static struct trial t;
	struct fault fault;
	struct vhd_err err = { 0 };
	int rc;

	begin(&t, layout, to);
	fault_init(&fault);
	fault.mask = mask;
	fault.nth = nth;
	fault.error = EIO;
	fault.how = how;
	fault_arm(&fault);
	rc = resize_over(fault_open(mem_open(t.cuts.live), &fault), t.has_parent, to, &err);
	if (fault.fired) {
		CU_ASSERT_TRUE(rc == 0 || rc == -EIO);	/* a trim at the end may pass over it */
		CU_ASSERT_TRUE(!rc || err.msg[0]);
	} else {
		CU_ASSERT_EQUAL(rc, 0);
	}
	t.cuts.call = (unsigned)nth;
	judge(&t, t.cuts.live);
	end(&t);
	return fault.fired;
}

static void failed_calls_leave_the_old_size_or_the_new_one(void)
{
	static const uint64_t some[] = { SIZE + 3 * BLOCK, LARGEST, 10 * BLOCK - 1024 };
	unsigned calls = 0;

	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		for (size_t k = 0; k < sizeof(some) / sizeof(*some); k++) {
			for (uint64_t n = 1; fail_call(&layouts[i], some[k], FAULT_WRITE |
						       FAULT_TRUNCATE, FAULT_ERROR, n); n++)
				calls++;
			for (uint64_t n = 1; fail_call(&layouts[i], some[k], FAULT_WRITE,
						       FAULT_TORN, n); n++)
				calls++;
			for (uint64_t n = 1; fail_call(&layouts[i], some[k], FAULT_BARRIER,
						       FAULT_ERROR, n); n++)
				calls++;
		}
	}
	CU_ASSERT_TRUE(calls > 300);
	printf("(%u calls) ", calls);
}

/* What was cut off does not come back, and the image can be used as any other meanwhile. */
static void what_was_cut_off_is_zeros_when_the_disk_grows_again(void)
{
	static const uint64_t steps[] = { 10 * BLOCK - 1024, SIZE, 9 * BLOCK + 512, LARGEST, SIZE };

	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		struct mem_file *file;
		static uint8_t was[LARGEST], is[LARGEST];
		uint64_t size = layouts[i].size ? layouts[i].size : SIZE;
		vhd_image *img;

		if (layouts[i].has_parent)	/* cannot grow below what the parent has */
			continue;
		file = layouts[i].make();
		CU_ASSERT_EQUAL_FATAL(open_image(&img, mem_open(file), false, false, NULL), 0);
		memset(was, 0, sizeof(was));
		CU_ASSERT_EQUAL(vhd_pread(img, was, size, 0, NULL), 0);
		for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++) {
			CU_ASSERT_EQUAL(vhd_resize(img, steps[k], NULL, NULL), 0);
			if (steps[k] < size)
				memset(was + steps[k], 0, size - steps[k]);
			size = steps[k];
			memset(was + size - 700, 'a' + (int)k, 700);
			CU_ASSERT_EQUAL(vhd_pwrite(img, was + size - 700, 700, size - 700, NULL),
					0);
			CU_ASSERT_EQUAL(vhd_pread(img, is, size, 0, NULL), 0);
			CU_ASSERT_EQUAL(memcmp(was, is, size), 0);
		}
		CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
		CU_ASSERT_EQUAL_FATAL(open_image(&img, mem_open(file), false, true, NULL), 0);
		CU_ASSERT_EQUAL(vhd_pread(img, is, size, 0, NULL), 0);
		CU_ASSERT_EQUAL(memcmp(was, is, size), 0);
		CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
		mem_free(file);
	}
}

static struct fmt_header header_of(struct mem_file *file, uint64_t off)
{
	uint8_t raw[FMT_HEADER_SIZE];
	struct fmt_header header;

	mem_read(file, raw, sizeof(raw), off);
	CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(&header, raw));
	return header;
}

/* A child's last block owns all that the disk has of it, and then the disk has more. */
static void what_a_child_grows_by_becomes_its_own_when_it_is_written(void)
{
	static const uint64_t size = SIZE - BEHIND;
	struct vhd_create_opts opts = { .size = size };
	char path[160], below[160];
	uint8_t buf[BLOCK];
	vhd_image *img;

	snprintf(below, sizeof(below), "%s/short.vhd", folder);
	CU_ASSERT_EQUAL_FATAL(vhd_create(below, &opts, NULL), 0);
	opts = (struct vhd_create_opts){
		.type = VHD_DIFFERENCING, .parent = below, .block_size = BLOCK,
	};
	snprintf(path, sizeof(path), "%s/of-short.vhd", folder);
	CU_ASSERT_EQUAL_FATAL(vhd_create(path, &opts, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(vhd_open(&img, path, NULL, NULL), 0);
	memset(buf, 'a', sizeof(buf));
	for (uint64_t off = 0; off < size; off += 512)
		CU_ASSERT_EQUAL(vhd_pwrite(img, buf, 512, off, NULL), 0);
	CU_ASSERT_EQUAL(vhd_resize(img, SIZE, NULL, NULL), 0);
	CU_ASSERT_EQUAL(vhd_pwrite(img, buf, 512, SIZE - 512, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(vhd_open(&img, path, NULL, NULL), 0);
	CU_ASSERT_EQUAL(vhd_pread(img, buf, BEHIND, size, NULL), 0);
	CU_ASSERT(!buf[0] && !buf[BEHIND - 513] && buf[BEHIND - 512] == 'a');
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

/* The table stays in front where only blocks are in its way, and has as many entries as the disk
 * needs; blktap's, whose length says where its batmap is, is not cut. */
static void table_is_where_readers_want_it(void)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		struct mem_file *file = layouts[i].make();
		bool is_fixed = layouts[i].make == make_fixed;
		uint64_t off = layouts[i].make == make_header_away ? 2048 : 512;
		uint64_t table = is_fixed ? 0 : header_of(file, off).table_offset;

		CU_ASSERT_EQUAL(resize_over(mem_open(file), layouts[i].has_parent, LARGEST, NULL),
				0);
		if (!is_fixed) {
			CU_ASSERT_EQUAL(header_of(file, off).entries, LARGEST / BLOCK);
			CU_ASSERT_EQUAL(header_of(file, off).table_offset == table,
					!layouts[i].has_parent);
		}
		CU_ASSERT_EQUAL(resize_over(mem_open(file), layouts[i].has_parent, SIZE, NULL), 0);
		if (!is_fixed)
			CU_ASSERT_EQUAL(header_of(file, off).entries,
					(layouts[i].make == make_with_batmap ? LARGEST : SIZE) /
					BLOCK);
		mem_free(file);
	}
}

static int try_size(struct mem_file *file, bool has_parent, uint64_t size, const char *words)
{
	struct mem_file *before = mem_clone(file);
	struct vhd_err err = { 0 };
	int rc = resize_over(mem_open(file), has_parent, size, &err);

	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, words));
	CU_ASSERT_EQUAL(mem_size(file), mem_size(before));
	mem_free(before);
	return rc;
}

static void what_cannot_be_is_refused(void)
{
	struct mem_file *file = make_packed();

	CU_ASSERT_EQUAL(try_size(file, false, 0, "multiple of 512"), -EINVAL);
	CU_ASSERT_EQUAL(try_size(file, false, SIZE + 1, "multiple of 512"), -EINVAL);
	CU_ASSERT_EQUAL(try_size(file, false, (2040ull << 30) + 512, "more than"), -EINVAL);
	mem_free(file);
	file = make_fixed();
	CU_ASSERT_EQUAL(try_size(file, false, UINT64_MAX / 512 * 512, "so large"), -EINVAL);
	mem_free(file);
	file = make_child();
	CU_ASSERT_EQUAL(resize_over(mem_open(file), true, BLOCK, NULL), 0);
	CU_ASSERT_EQUAL(try_size(file, true, SIZE, "come to light"), -ENOTSUP);
	mem_free(file);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(power_cuts_leave_the_old_size_or_the_new_one),
		TEST(failed_calls_leave_the_old_size_or_the_new_one),
		TEST(what_was_cut_off_is_zeros_when_the_disk_grows_again),
		TEST(what_a_child_grows_by_becomes_its_own_when_it_is_written),
		TEST(table_is_where_readers_want_it),
		TEST(what_cannot_be_is_refused),
		{ NULL, NULL },
	};
	struct vhd_create_opts opts = { .size = SIZE };
	char command[128];
	int status;

	snprintf(folder, sizeof(folder), "/tmp/vhd-resize.XXXXXX");
	if (!mkdtemp(folder))
		return 1;
	snprintf(child_path, sizeof(child_path), "%s/child.vhd", folder);
	snprintf(parent_path, sizeof(parent_path), "%s/parent.vhd", folder);
	if (vhd_create(parent_path, &opts, NULL))
		return 1;
	status = run_suite(argc, argv, "vhd/resize.c", tests);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) ? 1 : status;
}
