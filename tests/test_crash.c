/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts and kill -9 at every instant of every short sequence of operations, over images of
 * many layouts: small scope, but all of it. What a cut can leave is in tests/support/crash.c.
 *
 * VHD_CRASH_STOP=1 ends the program at the first violation (the plants of tests/test-plants.sh).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/crash.h"
#include "tests/support/imagegen.h"
#include "tests/support/runner.h"

#define BLOCK 4096u
#define SECTOR 512u
#define DISK (3 * BLOCK + 3 * SECTOR)	/* the last block is a part of one */

struct layout {
	const char *name;
	struct gen_opts gen;
	bool is_stale_leading, cannot_punch;
	struct crash_image image;
	uint32_t blks[3];		/* the operations' blocks 0, 1, 2; all 0: 0, 1, 3 */
	struct gen_opts parent;		/* of a child; its size is not 0 then */
};

static const struct gen_block two_blocks[] = { { .blk = 0 }, { .blk = 1 } };
static const struct gen_block junk_blocks[] = { { .blk = 0, .bits = GEN_BITS_JUNK },
						{ .blk = 3, .bits = GEN_BITS_JUNK } };
static const struct gen_block exact_blocks[] = { { .blk = 1, .bits = GEN_BITS_EXACT },
						 { .blk = 0, .gap = 1536 } };
static const struct gen_block far_blocks[] = { { .blk = 127 } };
static const struct gen_block all_blocks[] = { { .blk = 3 }, { .blk = 0 }, { .blk = 1 } };

#define CHILD .type = 4, .marker = 1, .parent_marker = 2, .parent_name = "parent.vhd"
#define PARENT .block_size = BLOCK, .marker = 2

static const struct layout layouts[] = {
	{ .name = "footer where a bitmap goes", .gen = { .footer_align = 4096 } },
	{ .name = "packed, footer in padding", .cannot_punch = true },
	{ .name = "footer in a data area", .gen = { .footer_at = 10 * SECTOR } },
	{ .name = "aligned, two blocks",
	  .gen = { .align = 4096, .footer_align = 4096, .blocks = two_blocks, .blocks_len = 2 } },
	{ .name = "packed, two blocks", .gen = { .blocks = two_blocks, .blocks_len = 2 } },
	{ .name = "clear bits over junk", .image = { .has_clear_bits = true },
	  .gen = { .blocks = junk_blocks, .blocks_len = 2 } },
	{ .name = "clear bits over junk, no punch", .cannot_punch = true,
	  .image = { .has_clear_bits = true },
	  .gen = { .blocks = junk_blocks, .blocks_len = 2 } },
	{ .name = "leaked room full of junk", .cannot_punch = true,
	  .gen = { .align = 4096, .footer_align = 4096, .blocks = two_blocks, .blocks_len = 1,
		   .leak = 5 * BLOCK } },
	{ .name = "stale leading footer", .is_stale_leading = true,
	  .gen = { .footer_align = 4096 } },
	{ .name = "two sectors of BAT", .blks = { 127, 128, 129 },
	  .gen = { .size = 130 * BLOCK, .align = 4096, .footer_align = 4096, .blocks = far_blocks,
		   .blocks_len = 1 } },
	{ .name = "BAT behind the blocks", .cannot_punch = true,
	  .gen = { .blocks = two_blocks, .blocks_len = 2, .is_table_behind = true } },
	{ .name = "exact bits and a gap",
	  .gen = { .blocks = exact_blocks, .blocks_len = 2, .padding = 0xff } },
	{ .name = "no trailing footer", .image = { .has_no_trailer = true },
	  .gen = { .blocks = two_blocks, .blocks_len = 2, .has_no_trailer = true } },
	{ .name = "511-byte footer",
	  .gen = { .blocks = two_blocks, .blocks_len = 1, .is_short_footer = true } },
	{ .name = "short last block", .image = { .has_short_block = true },
	  .gen = { .blocks = two_blocks, .blocks_len = 2, .short_last = 4 * SECTOR } },
	{ .name = "empty child", .gen = { CHILD, .footer_align = 4096 },
	  .parent = { PARENT, .size = DISK, .blocks = all_blocks, .blocks_len = 3 } },
	{ .name = "child with clear bits over junk", .cannot_punch = true,
	  .gen = { CHILD, .blocks = junk_blocks, .blocks_len = 2 },
	  .parent = { PARENT, .size = DISK, .blocks = exact_blocks, .blocks_len = 2 } },
	{ .name = "child of a fixed image that is shorter",
	  .gen = { CHILD, .align = 4096, .footer_align = 4096, .blocks = two_blocks,
		   .blocks_len = 1 },
	  .parent = { PARENT, .size = BLOCK + 2 * SECTOR, .type = 2 } },
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

enum verb { WRITE, PART, HALF, DROP, CLEAR, AHEAD, FLUSH, REOPEN, KILL, WRITE_FLUSH };

struct op {
	const char *name;
	enum verb verb;
	unsigned blk;		/* 0, 1, 2: of the layout's */
	uint32_t sector;	/* PART, HALF, CLEAR: the first */
};

enum { OP_AHEAD = 8, OP_FLUSH, OP_REOPEN, OP_KILL };

static const struct op ops[] = {
	{ "write block 0", WRITE, 0, 0 },
	{ "write block 1", WRITE, 1, 0 },
	{ "write sector 1 of block 0", PART, 0, 1 },
	{ "write sector 2 of the last block", PART, 2, 2 },
	{ "write half of sector 1 of block 1", HALF, 1, 1 },
	{ "discard block 0", DROP, 0, 0 },
	{ "discard block 1", DROP, 1, 0 },
	{ "zero sectors 1 and 2 of block 0", CLEAR, 0, 1 },
	[OP_AHEAD] = { "make room ahead", AHEAD, 0, 0 },
	[OP_FLUSH] = { "flush", FLUSH, 0, 0 },
	[OP_REOPEN] = { "close and open", REOPEN, 0, 0 },
	[OP_KILL] = { "kill -9 and open", KILL, 0, 0 },
};

#define OPS ((unsigned)(sizeof(ops) / sizeof(ops[0])))

/* What another thread does meanwhile. */
static const struct op inner_ops[] = {
	{ "discard block 0", DROP, 0, 0 },
	{ "write block 1", WRITE, 1, 0 },
	{ "discard block 1", DROP, 1, 0 },
	{ "flush", FLUSH, 0, 0 },
	{ "write block 0", WRITE, 0, 0 },
	{ "write block 1 and flush", WRITE_FLUSH, 1, 0 },
	{ "write sector 5 of block 0", PART, 0, 5 },
};

#define INNER_OPS ((unsigned)(sizeof(inner_ops) / sizeof(inner_ops[0])))

/* One run: an image of a layout, the engine over it, and what came of it. */
struct run {
	struct crash *crash;
	const struct layout *layout;
	struct mem_file *file;
	vhd_image *img;
	uint32_t version;
};

/* Sanitizers cost a factor of five and more, and are not here for the model's sake: a third of the
 * layouts will do. */
static bool is_slow(void)
{
	const char *sanitizers = getenv("VHD_SANITIZERS");

	return sanitizers && *sanitizers && strcmp(sanitizers, "no") != 0;
}

static struct crash *crash;
static struct mem_file *originals[LAYOUTS], *parents[LAYOUTS], *untouched[LAYOUTS];

static struct mem_file *original(size_t i)
{
	struct gen_opts gen = layouts[i].gen;

	if (originals[i])
		return originals[i];
	gen.block_size = BLOCK;
	gen.size = gen.size ? gen.size : DISK;
	originals[i] = gen_make(&gen);
	if (layouts[i].is_stale_leading)
		gen_damage_leading_differs(originals[i]);
	mem_set_punch(originals[i], !layouts[i].cannot_punch);
	if (layouts[i].parent.size) {
		parents[i] = gen_make(&layouts[i].parent);
		untouched[i] = mem_clone(parents[i]);
	}
	return originals[i];
}

static uint64_t block_off(const struct run *run, unsigned blk)
{
	static const uint32_t usual[3] = { 0, 1, 3 };

	return BLOCK * (uint64_t)(run->layout->blks[2] ? run->layout->blks : usual)[blk];
}

static size_t block_len(const struct run *run, uint64_t off)
{
	uint64_t size = run->layout->gen.size ? run->layout->gen.size : DISK;

	return size - off < BLOCK ? (size_t)(size - off) : BLOCK;
}

static int write_sectors(struct run *run, uint64_t off, size_t len)
{
	uint8_t buf[BLOCK], raw[SECTOR];
	size_t skip = len < SECTOR ? SECTOR - len : 0;	/* a part: the sector's second half */

	run->version++;
	for (size_t i = 0; i < len; i += SECTOR) {
		gen_sector(raw, (off + i) / SECTOR, run->version);
		memcpy(buf + i, raw + skip, len < SECTOR ? len : SECTOR);
	}
	return crash_pwrite(run->crash, run->img, buf, len, off + skip);
}

/* What an operation does beside ending the engine's life. 0 or what the engine returned. */
static int do_guest(struct run *run, const struct op *op)
{
	uint64_t off = block_off(run, op->blk), at = off + op->sector * SECTOR;
	int rc;

	switch (op->verb) {
	case WRITE:
		return write_sectors(run, off, block_len(run, off));
	case PART:
		return write_sectors(run, at, SECTOR);
	case HALF:
		return write_sectors(run, at, SECTOR / 2);
	case DROP:
		return crash_zero(run->crash, run->img, block_len(run, off), off, VHD_ZERO_RELEASE);
	case CLEAR:
		return crash_zero(run->crash, run->img, 2 * SECTOR, at, VHD_ZERO_KEEP);
	case AHEAD:
		vhd_grow_ahead(run->img);
		return 0;
	case FLUSH:
		return crash_flush(run->crash, run->img);
	case WRITE_FLUSH:
		rc = write_sectors(run, off, block_len(run, off));
		return rc ? rc : crash_flush(run->crash, run->img);
	default:
		return 0;
	}
}

/* False if the engine could not be opened again. */
static bool do_op(struct run *run, const struct op *op)
{
	int rc = 0;

	crash_note(run->crash, op->name);
	if (op->verb == REOPEN)
		rc = crash_close(run->crash, run->img);
	else if (op->verb == KILL)
		crash_kill(run->crash, run->img);
	else
		rc = do_guest(run, op);
	if (rc)
		crash_violate(run->crash, "%s fails: %s", op->name, strerror(-rc));
	if (op->verb == REOPEN || op->verb == KILL) {
		run->img = NULL;
		if (crash_open(run->crash, &run->img)) {
			run->img = NULL;
			return false;
		}
	}
	return crash_reads_right(run->crash, run->img);
}

static bool begin(struct run *run, size_t layout)
{
	struct crash_image image = layouts[layout].image;

	*run = (struct run){ .crash = crash, .layout = &layouts[layout],
			     .file = mem_clone(original(layout)) };
	image.file = run->file;
	image.parent = parents[layout];
	crash_start(crash, &image, layouts[layout].name);
	return true;
}

static bool open_first(struct run *run)
{
	crash_note(run->crash, "open");
	if (crash_open(run->crash, &run->img))
		run->img = NULL;
	return run->img;
}

/* Ends the run. False, with the report printed, if it was violated. */
static bool end(struct run *run)
{
	const char *report;

	if (run->img)
		crash_close(run->crash, run->img);
	mem_free(run->file);
	report = crash_violation(run->crash);
	if (!report)
		return true;
	printf("\n%s", report);
	if (getenv("VHD_CRASH_STOP"))
		exit(1);
	return false;
}

static void tell(const struct crash_stats *before)
{
	const struct crash_stats *now = crash_stats(crash);

	printf("\n    %llu runs, %llu crash points, %llu views, %.3g images, %llu opened ... ",
	       (unsigned long long)(now->runs - before->runs),
	       (unsigned long long)(now->points - before->points),
	       (unsigned long long)(now->views - before->views), now->images - before->images,
	       (unsigned long long)(now->samples - before->samples));
}

/*
 * All sequences of len operations. Those that begin as the one before did were checked up to where
 * they part: the engine is deterministic, so the checks are made from there on.
 */
static bool run_sequences(size_t layout, size_t len)
{
	unsigned seq[8] = { 0 }, fresh = 0;

	for (;;) {
		struct run run;
		unsigned i = 0;

		begin(&run, layout);
		crash_set_checking(crash, fresh == 0);
		if (open_first(&run)) {
			for (; i < len; i++) {
				crash_set_checking(crash, i >= fresh);
				if (!do_op(&run, &ops[seq[i]]))
					break;
			}
		}
		crash_note(crash, "close");
		if (!end(&run))
			return false;
		for (i = len; i && ++seq[i - 1] == OPS; i--)
			seq[i - 1] = 0;
		if (!i)
			return true;
		fresh = i - 1;
	}
}

static void test_every_short_sequence(void)
{
	struct crash_stats before = *crash_stats(crash);

	crash_set_sampling(crash, is_long() ? 5000 : 500, runner_seed());
	for (size_t i = 0; i < LAYOUTS; i += is_slow() ? 3 : 1)
		CU_ASSERT(run_sequences(i, is_long() ? 5 - i % 2 : 3));
	for (size_t i = 0; i < 5 && !is_long() && !is_slow(); i += 2)
		CU_ASSERT(run_sequences(i, 4));
	crash_set_sampling(crash, 0, 0);
	tell(&before);
}

/* Operation b is killed at its k-th change; whoever comes next reopens, does c and flushes. False
 * when b has no k-th change, or at a violation. */
static bool run_killed(size_t layout, unsigned a, unsigned b, unsigned k, unsigned c, bool *is_ok)
{
	struct recorder *r = crash_recorder(crash);
	struct run run;
	bool did_die = false;

	begin(&run, layout);
	crash_set_checking(crash, false);
	if (open_first(&run) && do_op(&run, &ops[a])) {
		r->die_at = r->calls + k;
		crash_set_checking(crash, true);
		crash_note(crash, ops[b].name);
		if (ops[b].verb == REOPEN) {
			crash_close(crash, run.img);
			did_die = r->is_dead;
			if (did_die)	/* its memory is gone already */
				crash_kill(crash, NULL);
			run.img = NULL;
		} else {
			do_guest(&run, &ops[b]);
			did_die = r->is_dead;
			crash_kill(crash, run.img);
			run.img = NULL;
		}
		r->die_at = 0;
		crash_note(crash, "killed; open");
		if (!crash_open(crash, &run.img)) {
			if (do_op(&run, &ops[c]) && do_op(&run, &ops[OP_FLUSH]))
				do_op(&run, &ops[b]);
		} else {
			run.img = NULL;
		}
	}
	*is_ok = end(&run);
	return did_die && *is_ok;
}

static bool run_all_killed(size_t layout)
{
	static const unsigned killed[] = { 0, 3, 5, OP_FLUSH, OP_REOPEN }, after[] = { 1, 3, 5 };
	bool is_ok = true;

	for (unsigned a = 0; is_ok && a < OPS; a++)
		for (unsigned b = 0; is_ok && b < sizeof(killed) / sizeof(*killed); b++)
			for (unsigned c = 0; is_ok && c < sizeof(after) / sizeof(*after); c++)
				for (unsigned k = 1; run_killed(layout, a, killed[b], k, after[c],
								&is_ok); k++)
					;
	return is_ok;
}

static void test_kill_at_every_change(void)
{
	struct crash_stats before = *crash_stats(crash);

	for (size_t i = 0; i < LAYOUTS; i += is_slow() ? 3 : 1)
		CU_ASSERT(run_all_killed(i));
	tell(&before);
}

static bool expect(struct run *run, bool is_right, const char *what)
{
	if (!is_right)
		crash_violate(run->crash, "%s", what);
	return is_right;
}

/* Rule 10: the k-th change of a flush, if it is a barrier, fails. */
static bool check_poison(struct run *run)
{
	uint8_t buf[SECTOR] = { 1 };
	bool is_ok = expect(run, vhd_flush(run->img, NULL) == -EIO, "a poisoned image is flushed");

	is_ok = is_ok && expect(run, vhd_pwrite(run->img, buf, SECTOR, 0, NULL) == -EIO,
				"a poisoned image is written");
	return is_ok && expect(run, !vhd_pread(run->img, buf, SECTOR, 0, NULL),
			       "a poisoned image is not read");
}

static bool run_failed(size_t layout, unsigned a, unsigned b, unsigned k, bool *is_ok)
{
	struct recorder *r = crash_recorder(crash);
	struct run run;
	bool did_fail = false, has_ended = true;

	begin(&run, layout);
	crash_set_checking(crash, false);
	if (open_first(&run) && do_op(&run, &ops[a]) && do_op(&run, &ops[b])) {
		unsigned before = r->calls;
		int rc;

		crash_set_checking(crash, true);
		r->fail_barrier = before + k;
		crash_note(crash, "flush");
		rc = crash_flush(crash, run.img);
		did_fail = rc == -EIO;
		has_ended = r->calls < before + k;
		if (did_fail && check_poison(&run)) {
			crash_note(crash, "the flush failed: close");
			expect(&run, crash_close(crash, run.img) == -EIO,
			       "a poisoned image closes as if all were well");
			run.img = NULL;
			crash_note(crash, "open");
			if (!crash_open(crash, &run.img)) {
				if (do_op(&run, &ops[OP_FLUSH]) && do_op(&run, &ops[3]))
					do_op(&run, &ops[OP_FLUSH]);
			} else {
				run.img = NULL;
			}
		}
	}
	*is_ok = end(&run);
	return !has_ended && *is_ok;
}

static bool run_all_failed(size_t layout)
{
	bool is_ok = true;

	for (unsigned lost = 0; is_ok && lost < 3; lost++) {
		crash_set_lost(crash, (enum crash_lost)lost);
		for (unsigned a = 0; is_ok && a < OPS; a++)
			for (unsigned b = 0; is_ok && b < OPS; b++)
				for (unsigned k = 1; run_failed(layout, a, b, k, &is_ok); k++)
					;
	}
	crash_set_lost(crash, CRASH_LOST_OLD);
	return is_ok;
}

static void test_every_failing_barrier(void)
{
	struct crash_stats before = *crash_stats(crash);

	for (size_t i = 0; i < LAYOUTS; i += is_slow() ? 3 : 1)
		CU_ASSERT(run_all_failed(i));
	tell(&before);
}

/* Another thread's operation in the middle of one: at the k-th point that the hook is told of. */
struct nested {
	struct run *run;
	struct aside *aside;
	const struct op *op;
	unsigned at, point;
	int rc;
	bool has_run;
};

static void nested_main(void *arg)
{
	struct nested *n = arg;

	n->rc = do_guest(n->run, n->op);
}

static void nested_hook(void *arg, const struct record_event *ev)
{
	struct nested *n = arg;

	(void)ev;
	if (n->point++ != n->at)
		return;
	n->has_run = true;
	crash_note(n->run->crash, "meanwhile another thread");
	crash_note(n->run->crash, n->op->name);
	aside_run(n->aside, nested_main, n);
}

/* False when the operation has no such point, or at a violation. */
static bool run_nested(size_t layout, const unsigned *before, unsigned len, unsigned outer,
		       struct nested *n, bool *is_ok)
{
	struct recorder *r = crash_recorder(crash);
	struct run run;

	begin(&run, layout);
	n->run = &run;
	n->point = 0;
	n->rc = 0;
	n->has_run = false;
	crash_set_checking(crash, false);
	if (open_first(&run)) {
		bool goes_on = true;

		for (unsigned i = 0; goes_on && i < len; i++)
			goes_on = do_op(&run, &ops[before[i]]);
		crash_set_checking(crash, true);
		crash_note(crash, ops[outer].name);
		r->hook_thread = pthread_self();
		r->hook_arg = n;
		r->hook = nested_hook;
		if (goes_on && do_guest(&run, &ops[outer]))
			crash_violate(crash, "%s fails", ops[outer].name);
		aside_join(n->aside);
		r->hook = NULL;
		if (n->rc)
			crash_violate(crash, "%s fails", n->op->name);
		/* What the two left in memory, published, reused and published again. */
		if (goes_on && crash_reads_right(crash, run.img) && do_op(&run, &ops[3]) &&
		    do_op(&run, &ops[OP_FLUSH]))
			do_op(&run, &ops[OP_KILL]);
	}
	*is_ok = end(&run);
	return n->has_run && *is_ok;
}

static bool has_data(const struct op *op)
{
	return op->verb != FLUSH && op->verb != AHEAD;
}

/* Two at once on the same bytes are the guest's own fault: not our matter. */
static bool do_collide(const struct op *a, const struct op *b)
{
	bool are_sectors = a->verb == PART && b->verb == PART && a->sector != b->sector;

	return has_data(a) && has_data(b) && a->blk == b->blk && !are_sectors;
}

/* Every other thread's operation at every point of every operation, after the given ones. */
static bool run_pairs(size_t layout, const unsigned *before, unsigned len, struct nested *n)
{
	static const unsigned outers[] = { OP_FLUSH, 0, 2, 3, 4, OP_AHEAD };
	bool is_ok = true;

	for (size_t o = 0; is_ok && o < sizeof(outers) / sizeof(*outers); o++) {
		for (size_t i = 0; is_ok && i < INNER_OPS; i++) {
			n->op = &inner_ops[i];
			n->at = 0;
			while (!do_collide(n->op, &ops[outers[o]]) &&
			       run_nested(layout, before, len, outers[o], n, &is_ok))
				n->at++;
		}
	}
	return is_ok;
}

static bool run_all_nested(size_t layout, struct aside *aside, bool is_deep)
{
	struct nested n = { .aside = aside };

	for (unsigned a = 0; a < OPS - 1; a++) {
		for (unsigned b = 0; b < (is_deep ? OPS - 1 : 1); b++) {
			const unsigned before[2] = { a, b };

			if (!run_pairs(layout, before, is_deep ? 2 : 1, &n))
				return false;
		}
	}
	return true;
}

static void test_other_threads_inside_every_operation(void)
{
	struct crash_stats before = *crash_stats(crash);
	struct aside *aside = aside_new();

	for (size_t i = 0; i < LAYOUTS; i += is_slow() ? 3 : 1)
		CU_ASSERT(run_all_nested(i, aside, is_long() && i < 6));
	aside_free(aside);
	tell(&before);
}

/* Behind all the others. */
static void test_no_parent_was_changed(void)
{
	for (size_t i = 0; i < LAYOUTS; i++) {
		uint8_t is[SECTOR], was[SECTOR];

		if (!parents[i])
			continue;
		CU_ASSERT_EQUAL(mem_size(parents[i]), mem_size(untouched[i]));
		for (uint64_t off = 0; off < mem_size(parents[i]); off += SECTOR) {
			mem_read(parents[i], is, SECTOR, off);
			mem_read(untouched[i], was, SECTOR, off);
			CU_ASSERT_EQUAL(memcmp(is, was, SECTOR), 0);
		}
	}
}

static const struct test tests[] = {
	{ "every_short_sequence", test_every_short_sequence },
	{ "kill_at_every_change", test_kill_at_every_change },
	{ "every_failing_barrier", test_every_failing_barrier },
	{ "other_threads_inside_every_operation", test_other_threads_inside_every_operation },
	{ "no_parent_was_changed", test_no_parent_was_changed },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	int status;

	crash = crash_new();
	status = run_suite(argc, argv, "crash", tests);
	crash_free(crash);
	for (size_t i = 0; i < LAYOUTS; i++) {
		mem_free(originals[i]);
		mem_free(parents[i]);
		mem_free(untouched[i]);
	}
	return status;
}
