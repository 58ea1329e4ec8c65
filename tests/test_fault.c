/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every single I/O call of a workload failing, once and for ever: an error with a sentence, no
 * damage at any instant, poison only after a failed barrier (rule 10), and all that was
 * acknowledged there once the fault is gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/crash.h"
#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"

#define BLOCK 4096u
#define SECTOR 512u
#define DISK (4 * BLOCK + 3 * SECTOR)

static const struct gen_block two_blocks[] = { { .blk = 0 }, { .blk = 1 } };
static const struct gen_block junk_blocks[] = { { .blk = 0, .bits = GEN_BITS_JUNK },
						{ .blk = 4, .bits = GEN_BITS_JUNK } };

static const struct gen_block parent_blocks[] = { { .blk = 3 }, { .blk = 0 },
						  { .blk = 2, .bits = GEN_BITS_EXACT } };

static const struct layout {
	const char *name;
	struct gen_opts gen;
	struct crash_image image;
	bool cannot_punch;
	struct gen_opts parent;		/* of a child; its size is not 0 then */
} layouts[] = {
	{ .name = "empty", .gen = { .footer_align = 4096 } },
	{ .name = "aligned", .gen = { .align = 4096, .footer_align = 4096, .blocks = two_blocks,
				      .blocks_len = 2 } },
	{ .name = "packed, no punch", .gen = { .blocks = two_blocks, .blocks_len = 2 },
	  .cannot_punch = true },
	{ .name = "clear bits over junk", .gen = { .blocks = junk_blocks, .blocks_len = 2 },
	  .image = { .has_clear_bits = true } },
	{ .name = "no trailing footer", .image = { .has_no_trailer = true },
	  .gen = { .blocks = two_blocks, .blocks_len = 2, .has_no_trailer = true } },
	{ .name = "short last block", .image = { .has_short_block = true },
	  .gen = { .blocks = two_blocks, .blocks_len = 2, .short_last = 4 * SECTOR } },
	{ .name = "batmap", .gen = { .blocks = two_blocks, .blocks_len = 2, .creator = "tap",
				     .has_batmap = true } },
	{ .name = "child", .gen = { .blocks = junk_blocks, .blocks_len = 2, .type = 4,
				    .marker = 1, .parent_marker = 2, .parent_name = "parent.vhd" },
	  .parent = { .size = DISK, .block_size = BLOCK, .marker = 2, .blocks = parent_blocks,
		      .blocks_len = 3 } },
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

static const struct {
	unsigned mask;
	int error;
	enum fault_how how;
} faults[] = {
	{ FAULT_ALL, EIO, FAULT_ERROR },
	{ FAULT_WRITE | FAULT_TRUNCATE, ENOSPC, FAULT_ERROR },
	{ FAULT_WRITE, ENOSPC, FAULT_TORN },
	{ FAULT_WRITE | FAULT_TRUNCATE, EIO, FAULT_TORN },
	{ FAULT_PUNCH, EOPNOTSUPP, FAULT_ERROR },
	{ FAULT_PUNCH, ENOSPC, FAULT_ERROR },
	{ FAULT_READ | FAULT_WRITE, EIO, FAULT_SHORT },
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

struct run {
	struct crash *crash;
	struct fault fault;
	struct mem_file *file;
	vhd_image *img;
	uint32_t version;
	bool has_failed;
};

static struct crash *crash;

static int write_at(struct run *run, uint64_t off, size_t len)
{
	uint8_t buf[2 * BLOCK + SECTOR];

	run->version++;
	for (size_t i = 0; i < len; i += SECTOR) {
		uint8_t raw[SECTOR];

		gen_sector(raw, (off + i) / SECTOR, run->version);
		memcpy(buf + i, raw, len - i < SECTOR ? len - i : SECTOR);
	}
	return crash_pwrite(run->crash, run->img, buf, len, off);
}

enum step_kind { WRITE, RELEASE, KEEP, FLUSH };

/* What the workload does between open and close: growth, reuse, parts, bits, all of it. */
static const struct step {
	enum step_kind kind;
	uint64_t off;
	size_t len;
} steps[] = {
	{ WRITE, 0, BLOCK },
	{ WRITE, 2 * BLOCK + SECTOR, SECTOR },
	{ FLUSH, 0, 0 },
	{ WRITE, BLOCK + 3 * SECTOR, 2 * BLOCK },
	{ RELEASE, 0, BLOCK },
	{ WRITE, 4 * BLOCK + SECTOR, SECTOR / 2 },
	{ FLUSH, 0, 0 },
	{ KEEP, BLOCK + SECTOR, 3 * SECTOR },
	{ WRITE, 3 * SECTOR, 2 * SECTOR },
	{ RELEASE, 2 * BLOCK, 2 * BLOCK },
	{ WRITE, 3 * BLOCK, BLOCK },
	{ WRITE, 0, BLOCK + SECTOR },
	{ FLUSH, 0, 0 },
	{ RELEASE, 3 * BLOCK, BLOCK },
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

static int do_step(struct run *run, const struct step *step)
{
	static const char *const names[] = {
		[WRITE] = "write", [RELEASE] = "release", [KEEP] = "zero", [FLUSH] = "flush",
	};

	crash_note(run->crash, names[step->kind]);
	switch (step->kind) {
	case WRITE:
		return write_at(run, step->off, step->len);
	case RELEASE:
		return crash_zero(run->crash, run->img, step->len, step->off, VHD_ZERO_RELEASE);
	case KEEP:
		return crash_zero(run->crash, run->img, step->len, step->off, VHD_ZERO_KEEP);
	case FLUSH:
		break;
	}
	return crash_flush(run->crash, run->img);
}

static bool expect(struct run *run, bool is_right, const char *what)
{
	if (!is_right)
		crash_violate(run->crash, "%s (%s)", what, crash_error(run->crash)->msg);
	return is_right;
}

/* Only the error that was made comes out, and only when one was. */
static void judge(struct run *run, int rc)
{
	if (!rc)
		return;
	run->has_failed = true;
	expect(run, run->fault.fired, "a call fails without a fault");
	expect(run, rc == -run->fault.error, "a call fails with another error than the host's");
	expect(run, run->fault.how != FAULT_SHORT, "a short count is taken for an error");
}

/* The engine, the fault gone: goes on, if no barrier had failed; else says so until reopened. */
static void go_on(struct run *run, bool is_poisoned)
{
	uint8_t buf[SECTOR] = { 1 };

	crash_note(run->crash, "the fault is gone");
	if (!is_poisoned) {
		crash_adopt(run->crash, run->img);
		expect(run, !write_at(run, 2 * BLOCK, SECTOR), "a write after the fault fails");
		expect(run, !crash_flush(run->crash, run->img), "a flush after the fault fails");
		crash_reads_right(run->crash, run->img);
		return;
	}
	expect(run, vhd_flush(run->img, NULL) == -run->fault.error, "a poisoned image is flushed");
	expect(run, vhd_pwrite(run->img, buf, SECTOR, 0, NULL) == -run->fault.error,
	       "a poisoned image is written");
	expect(run, vhd_zero(run->img, SECTOR, 0, VHD_ZERO_KEEP, NULL) == -run->fault.error,
	       "a poisoned image is zeroed");
	expect(run, !vhd_pread(run->img, buf, SECTOR, 0, NULL), "a poisoned image is not read");
}

/* A close that says all is well leaves both footers. */
static void look_at_trailer(struct run *run)
{
	struct oracle *o = oracle_open_mem(run->file, NULL);

	expect(run, o && oracle_has_trailer(o), "no trailing footer after a close without error");
	oracle_close(o);
}

static void workload(struct run *run)
{
	bool is_poisoned = false;
	int rc;

	crash_note(run->crash, "open");
	rc = crash_open(run->crash, &run->img);
	judge(run, rc);
	if (rc)
		return;
	for (size_t i = 0; i < STEPS; i++) {
		uint64_t fired = run->fault.fired;

		judge(run, do_step(run, &steps[i]));
		if (run->fault.how == FAULT_ERROR && run->fault.fired > fired &&
		    run->fault.last == FAULT_BARRIER)
			is_poisoned = true;
	}
	/* Half of the runs leave the fault on for close. */
	if (run->fault.nth % 2 || is_poisoned) {
		fault_disarm(&run->fault);
		go_on(run, is_poisoned);
	}
	crash_note(run->crash, "close");
	rc = crash_close(run->crash, run->img);
	judge(run, rc);
	expect(run, !is_poisoned || rc, "a poisoned image closes as if all were well");
	if (!rc)
		look_at_trailer(run);
	run->img = NULL;
}

static void note_problem(void *arg, const struct vhd_problem *problem)
{
	if (problem->severity == VHD_ERROR)
		crash_violate(arg, "vhd_check: %s", problem->message);
}

/* A new process, without faults: all that was acknowledged is there, and the image is sound. */
static void look_after(struct run *run)
{
	struct vhd_check_opts opts = { .report = note_problem, .report_arg = run->crash };
	struct vhd_check_result result;
	struct oracle_result damage;
	struct oracle *o;

	fault_disarm(&run->fault);
	run->fault.fired = 0;
	crash_note(run->crash, "open without faults");
	if (crash_open(run->crash, &run->img))
		return;
	crash_adopt(run->crash, run->img);
	expect(run, !write_at(run, 0, BLOCK), "a write in the end fails");
	expect(run, !crash_close(run->crash, run->img), "close in the end fails");
	o = oracle_open_mem(run->file, NULL);
	if (!expect(run, o, "the image does not open in the end"))
		return;
	oracle_check(o, &damage);
	expect(run, !damage.errors && oracle_has_trailer(o), damage.first);
	oracle_close(o);
	expect(run, !vhd_check_io(mem_open(run->file), "fault.vhd", &opts, &result, NULL),
	       "vhd_check fails");
}

/* False when the fault never came, or at a violation. */
static bool run_fault(const struct layout *layout, struct mem_file *original, size_t f,
		      bool is_forever, uint64_t nth, bool *is_ok)
{
	struct crash_image image = layout->image;
	struct mem_file *parent = layout->parent.size ? gen_make(&layout->parent) : NULL;
	struct run run = { .crash = crash, .file = mem_clone(original) };
	bool has_fired;
	char label[128];

	snprintf(label, sizeof(label), "%s, fault %zu%s, call %llu", layout->name, f,
		 is_forever ? " for ever" : "", (unsigned long long)nth);
	fault_init(&run.fault);
	run.fault.mask = faults[f].mask;
	run.fault.error = faults[f].error;
	run.fault.how = faults[f].how;
	run.fault.is_forever = is_forever;
	run.fault.nth = nth;
	image.file = run.file;
	image.parent = parent;
	crash_start(crash, &image, label);
	/* A short count inside a sector is no power cut: only that the loops go on is tested. */
	crash_set_checking(crash, faults[f].how != FAULT_SHORT);
	crash_set_fault(crash, &run.fault);
	fault_arm(&run.fault);
	workload(&run);
	has_fired = run.fault.fired;
	look_after(&run);
	pthread_mutex_destroy(&run.fault.lock);
	mem_free(run.file);
	mem_free(parent);
	*is_ok = !crash_violation(crash);
	if (!*is_ok)
		printf("\n%s", crash_violation(crash));
	return has_fired && *is_ok;
}

static bool run_layout(const struct layout *layout, bool is_forever, uint64_t *runs)
{
	struct gen_opts gen = layout->gen;
	struct mem_file *original;
	bool is_ok = true;

	gen.size = DISK;
	gen.block_size = BLOCK;
	original = gen_make(&gen);
	mem_set_punch(original, !layout->cannot_punch);
	for (size_t f = 0; is_ok && f < FAULTS; f++)
		for (uint64_t n = 1; run_fault(layout, original, f, is_forever, n, &is_ok); n++)
			++*runs;
	mem_free(original);
	return is_ok;
}

static void run_all(bool is_forever)
{
	uint64_t runs = 0;

	for (size_t i = 0; i < LAYOUTS; i++)
		CU_ASSERT(run_layout(&layouts[i], is_forever, &runs));
	printf("\n    %llu faults ... ", (unsigned long long)runs);
	CU_ASSERT(runs > 100);
}

static void test_every_call_failing_once(void)
{
	run_all(false);
}

static void test_every_call_failing_for_ever(void)
{
	run_all(true);
}

/* A region of the file that cannot be read or written: its neighbours are unaffected. */
static void test_bad_region_hurts_nothing_else(void)
{
	struct gen_opts gen = { .size = DISK, .block_size = BLOCK, .blocks = two_blocks,
				.blocks_len = 2 };
	struct fault fault;
	struct mem_file *file = gen_make(&gen);
	struct vhd_err err = { 0 };
	uint8_t buf[BLOCK], raw[SECTOR];
	vhd_image *img;

	fault_init(&fault);
	fault.mask = FAULT_READ | FAULT_WRITE;
	fault.error = EIO;
	fault.is_forever = true;
	fault.off = 7 * SECTOR;		/* sector 2 of block 0: metadata ends at 4, bitmap 4 */
	fault.len = SECTOR;
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, fault_open(mem_open(file), &fault), "bad.vhd", NULL,
					  &err), 0);
	fault_arm(&fault);
	CU_ASSERT_EQUAL(vhd_pread(img, buf, SECTOR, 2 * SECTOR, &err), -EIO);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "bad.vhd"));
	CU_ASSERT_EQUAL(vhd_pread(img, buf, SECTOR, 3 * SECTOR, &err), 0);
	gen_sector(raw, 3, GEN_VERSION(0));
	CU_ASSERT_EQUAL(memcmp(buf, raw, SECTOR), 0);
	memset(buf, 7, sizeof(buf));
	CU_ASSERT_EQUAL(vhd_pwrite(img, buf, BLOCK, 0, &err), -EIO);
	CU_ASSERT_EQUAL(vhd_pwrite(img, buf, BLOCK, BLOCK, &err), 0);
	CU_ASSERT_EQUAL(vhd_flush(img, &err), 0);
	CU_ASSERT_EQUAL(vhd_pread(img, buf, BLOCK, BLOCK, &err), 0);
	CU_ASSERT(buf[0] == 7 && buf[BLOCK - 1] == 7);
	CU_ASSERT_EQUAL(vhd_close(img, &err), 0);
	mem_free(file);
	pthread_mutex_destroy(&fault.lock);
}

/* Fills the disk block by block until the host is full; how many blocks it took. */
static uint32_t fill_host(vhd_image *img, uint32_t blocks, const uint8_t *buf)
{
	struct vhd_err err = { 0 };

	for (uint32_t blk = 0; blk < blocks; blk++) {
		int rc = vhd_pwrite(img, buf, BLOCK, (uint64_t)blk * BLOCK, &err);

		if (rc) {
			CU_ASSERT_EQUAL(rc, -ENOSPC);
			CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "No space left"));
			return blk;
		}
	}
	return blocks;
}

/* ENOSPC reaches the writer, discarding makes room at once, and nothing is lost (rules 3, 10). */
static void full_host(bool with_flush)
{
	struct gen_opts gen = { .size = 200 * BLOCK, .block_size = BLOCK, .footer_align = 4096 };
	struct mem_file *file = gen_make(&gen);
	struct vhd_err err = { 0 };
	uint8_t buf[BLOCK], is[BLOCK];
	struct oracle_result result;
	struct oracle *o;
	uint32_t full;
	vhd_image *img;

	memset(buf, 'x', sizeof(buf));
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "full.vhd", NULL, &err), 0);
	mem_set_limit(file, 100 * 4096);
	full = fill_host(img, 200, buf);
	CU_ASSERT(full > 20 && full < 100);
	CU_ASSERT_EQUAL(vhd_flush(img, &err), 0);
	CU_ASSERT_EQUAL(vhd_pwrite(img, buf, BLOCK, 150 * BLOCK, &err), -ENOSPC);
	CU_ASSERT_EQUAL(vhd_zero(img, 4 * BLOCK, 3 * BLOCK, VHD_ZERO_RELEASE, &err), 0);
	if (with_flush)
		CU_ASSERT_EQUAL(vhd_flush(img, &err), 0);
	CU_ASSERT_EQUAL(vhd_pwrite(img, buf, BLOCK, 150 * BLOCK, &err), 0);
	mem_set_limit(file, 0);
	CU_ASSERT_EQUAL(vhd_pwrite(img, buf, BLOCK, 199 * BLOCK, &err), 0);
	CU_ASSERT_EQUAL(vhd_close(img, &err), 0);
	o = oracle_open_mem(file, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	oracle_check(o, &result);
	CU_ASSERT_EQUAL(result.errors, 0);
	for (uint32_t blk = 0; blk < 200; blk++) {
		bool has = (blk < full && (blk < 3 || blk > 6)) || blk == 150 || blk == 199;

		oracle_read(o, is, BLOCK, (uint64_t)blk * BLOCK);
		CU_ASSERT(is[0] == (has ? 'x' : 0) && memcmp(is, is + 1, BLOCK - 1) == 0);
	}
	oracle_close(o);
	mem_free(file);
}

static void test_full_host_has_room_after_a_discard(void)
{
	full_host(false);
	full_host(true);
}

/* A host without holes has no room for a whole chunk, and for less it has. */
static void test_growth_fits_the_room(void)
{
	struct gen_opts gen = { .size = 200 * BLOCK, .block_size = BLOCK, .footer_align = 4096 };
	struct mem_file *file = gen_make(&gen);
	struct vhd_err err = { 0 };
	struct fault fault;
	uint8_t buf[BLOCK];
	vhd_image *img;

	memset(buf, 'x', sizeof(buf));
	fault_init(&fault);
	fault.mask = FAULT_WRITE;
	fault.error = ENOSPC;
	fault.is_forever = true;
	fault.off = 40 * (BLOCK + SECTOR);
	fault.len = UINT64_MAX - fault.off;
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, fault_open(mem_open(file), &fault), "small.vhd",
					  NULL, &err), 0);
	fault_arm(&fault);
	CU_ASSERT(fill_host(img, 200, buf) > 10);
	CU_ASSERT_EQUAL(vhd_close(img, &err), 0);
	mem_free(file);
	pthread_mutex_destroy(&fault.lock);
}

static const struct test tests[] = {
	{ "every_call_failing_once", test_every_call_failing_once },
	{ "every_call_failing_for_ever", test_every_call_failing_for_ever },
	{ "bad_region_hurts_nothing_else", test_bad_region_hurts_nothing_else },
	{ "full_host_has_room_after_a_discard", test_full_host_has_room_after_a_discard },
	{ "growth_fits_the_room", test_growth_fits_the_room },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	int status;

	crash = crash_new();
	status = run_suite(argc, argv, "fault", tests);
	crash_free(crash);
	return status;
}
