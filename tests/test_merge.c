/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Merging a child into its parent: the chain reads the same at every instant, in every state that a
 * power cut can leave of the two files, and afterwards the parent alone does. Suite: vhd/merge.c.
 *
 * Two files have barriers of their own, and nothing is ordered between them but by those. For each
 * file it is kept what is durable for certain and what is pending; after every single change of
 * either, states are made of them, the worst ones and some by chance, and the second reader must
 * find in the chain what it found before the merge.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/io_record.h"
#include "tests/support/lineage.h"
#include "tests/support/runner.h"
#include "vhd/image.h"

#define SECTOR 512u
#define BLOCKS 12u
#define PENDING_MAX 512

struct change {
	enum record_kind kind;
	uint64_t off, len;
	uint8_t *data;
};

struct trial;

/* A file under the engine, and what of it is certain. */
struct watched {
	struct trial *trial;
	struct mem_file *now, *durable;
	struct recorder recorder;
	struct change pending[PENDING_MAX];
	unsigned pending_len;
};

enum { CHILD, PARENT, FILES };

struct trial {
	uint64_t random;
	uint32_t block_size;
	uint64_t size;
	struct watched files[FILES];
	struct mem_file *base;		/* the parent's parent, or NULL: it has none */
	struct fault fault;		/* of both files' calls */
	uint8_t *before, *after;
	uint8_t parent_uuid[16];	/* before */
	unsigned states;		/* made at each change; 0: none */
	vhd_image *merging;		/* the child, during a merge, or NULL */
	unsigned steps_left;		/* until the progress callback cancels; 0: never */
	char when[64];
	char why[512];
};

static uint64_t below(struct trial *t, uint64_t n)
{
	return runner_below(&t->random, n);
}

static bool fail(struct trial *t, const char *what, const char *more)
{
	if (!t->why[0])
		snprintf(t->why, sizeof(t->why), "%s: %.300s", what, more ? more : "");
	return false;
}

static void apply(struct mem_file *file, const struct change *c, uint64_t off, uint64_t len)
{
	if (c->kind == RECORD_WRITE)
		mem_write(file, c->data + (off - c->off), len, off);
	else if (c->kind == RECORD_PUNCH)
		mem_punch(file, len, off);
	else
		mem_truncate(file, c->off);
}

/* What a power cut may leave: of each change all, nothing, or sectors by chance. */
static struct mem_file *make_state(struct trial *t, const struct watched *w, unsigned kind)
{
	struct mem_file *state = mem_clone(w->durable);

	for (unsigned i = 0; kind && i < w->pending_len; i++) {
		const struct change *c = &w->pending[i];

		if (kind == 1 || c->kind == RECORD_TRUNCATE) {
			if (kind == 1 || below(t, 2))
				apply(state, c, c->off, c->len);
			continue;
		}
		for (uint64_t at = 0, n; at < c->len; at += n) {
			n = SECTOR - (c->off + at) % SECTOR;
			n = n < c->len - at ? n : c->len - at;
			if (below(t, 2))
				apply(state, c, c->off + at, n);
		}
	}
	return state;
}

/* The child names the parent, or has nothing and can be told to have been merged into it. */
static bool is_linked(const struct oracle *child, const struct oracle *parent, uint64_t size)
{
	uint8_t next[16];

	if (memcmp(oracle_parent_uuid(child), oracle_uuid(parent), 16) == 0)
		return true;
	for (uint32_t blk = 0; (uint64_t)blk * oracle_block_size(child) < size; blk++)
		if (oracle_entry(child, blk) != UINT32_MAX)
			return false;
	uuid_generate_sha1(next, oracle_parent_uuid(child), (const char *)oracle_uuid(child), 16);
	return memcmp(next, oracle_uuid(parent), 16) == 0;
}

/* Where the parent is, is said by texts that are old or new, never a mixture. */
static bool has_whole_locators(struct mem_file *file)
{
	static const char name[] = "parent.vhd";
	const struct vhd_open_opts opts = { .is_readonly = true };
	uint8_t text[8192];
	vhd_image *img;
	bool is_whole = true;

	if (image_load(&img, mem_open(file), "child.vhd", &opts, NULL))
		return false;
	for (unsigned i = 0; i < FMT_LOCATORS; i++) {
		const struct fmt_locator *l = &img->header.locators[i];
		bool is_wide = l->platform == 0x57327275 || l->platform == 0x57326b75;
		unsigned step = is_wide ? 2 : 1, n = sizeof(name) - 1;

		if (!l->platform)
			continue;
		if (l->length < n * step || l->length > sizeof(text)) {
			is_whole = false;
			break;
		}
		mem_read(file, text, l->length, l->offset);
		for (unsigned k = 0; k < n; k++)
			is_whole &= text[l->length - (n - k) * step] == (uint8_t)name[k];
	}
	image_free(img);
	return is_whole;
}

/* Whether the chain of the two files reads as before the merge. */
static bool check_chain(struct trial *t, struct mem_file *child, struct mem_file *parent,
			const char *when)
{
	struct mem_file *const parents[] = { parent, t->base, NULL };
	struct oracle_result of_child, of_parent;
	struct lineage l;
	bool is_right;

	lineage_read(&l, child, parents);
	oracle_check(l.top, &of_child);
	oracle_check(l.parents[0], &of_parent);
	oracle_read(l.top, t->after, (size_t)t->size, 0);
	is_right = is_linked(l.top, l.parents[0], t->size);
	lineage_close(&l);
	if (!is_right || !has_whole_locators(child))
		return fail(t, when, "the child does not name its parent");
	if (of_child.errors || of_parent.errors)
		return fail(t, when, of_child.errors ? of_child.first : of_parent.first);
	if (memcmp(t->before, t->after, (size_t)t->size) != 0)
		return fail(t, when, "the chain reads otherwise");
	return true;
}

static void check_states(struct trial *t, unsigned file, unsigned number)
{
	snprintf(t->when, sizeof(t->when), "crash after call %u of the %s", number,
		 file == CHILD ? "child" : "parent");
	for (unsigned i = 0; i < t->states && !t->why[0]; i++) {
		/* The worst first: all of the one file, and nothing of the other. */
		unsigned of_child = i < 4 ? i & 1 : 2, of_parent = i < 4 ? i >> 1 : 2;
		struct mem_file *child = make_state(t, &t->files[CHILD], of_child);
		struct mem_file *parent = make_state(t, &t->files[PARENT], of_parent);

		check_chain(t, child, parent, t->when);
		mem_free(child);
		mem_free(parent);
	}
}

static void settle(struct watched *w)
{
	for (unsigned i = 0; i < w->pending_len; i++) {
		apply(w->durable, &w->pending[i], w->pending[i].off, w->pending[i].len);
		free(w->pending[i].data);
	}
	w->pending_len = 0;
}

/* What is in the child when its parent gets its new id would be in a child without parent. */
static void try_to_write(struct trial *t)
{
	static const uint8_t ones[SECTOR] = { 1 };

	if (t->merging && !vhd_pwrite(t->merging, ones, SECTOR, 0, NULL))
		fail(t, t->when, "a write gets in between");
}

static void on_event(void *arg, const struct record_event *event)
{
	struct watched *w = arg;
	struct change *c = &w->pending[w->pending_len];

	if (event->phase != RECORD_DONE || event->rc || event->kind == RECORD_DROP_CACHE)
		return;
	if (event->kind == RECORD_BARRIER) {
		settle(w);
	} else {
		if (w->pending_len == PENDING_MAX)
			abort();
		*c = (struct change){ .kind = event->kind, .off = event->off, .len = event->len };
		if (event->kind == RECORD_WRITE) {
			c->data = malloc(event->len);
			if (!c->data)
				abort();
			memcpy(c->data, event->data, event->len);
		}
		w->pending_len++;
	}
	check_states(w->trial, (unsigned)(w - w->trial->files), event->number);
	if (w == &w->trial->files[PARENT])	/* the child may be in a call of its own */
		try_to_write(w->trial);
}

static struct mem_file *make_file(struct trial *t, uint32_t type, uint32_t marker)
{
	struct gen_block blocks[BLOCKS];
	struct gen_opts gen = {
		.size = t->size, .block_size = type == 2 ? 4096 : t->block_size << below(t, 2),
		.type = type, .marker = marker, .parent_marker = marker + 1,
		.parent_name = "parent.vhd", .blocks = blocks,
		.align = below(t, 2) ? 4096 : 0, .footer_align = below(t, 2) ? 4096 : 512,
	};

	for (uint32_t blk = 0; type != 2 && (uint64_t)blk * gen.block_size < t->size; blk++)
		if (below(t, 3))
			blocks[gen.blocks_len++] = (struct gen_block){
				.blk = blk, .bits = (enum gen_bits)below(t, 3),
			};
	return gen_make(&gen);
}

/* Zeros of the child's own, which must hide what is below. */
static void zero_some(struct trial *t, struct mem_file *file)
{
	static const uint8_t zeros[SECTOR];
	struct oracle *o = oracle_open_mem(file, NULL);
	uint64_t from = below(t, t->size), to = from + below(t, t->size);
	uint32_t size = oracle_block_size(o);

	for (uint64_t off = from / SECTOR * SECTOR; off < to && off < t->size; off += SECTOR) {
		uint32_t entry = oracle_entry(o, (uint32_t)(off / size));

		if (entry != UINT32_MAX)
			mem_write(file, zeros, SECTOR, (uint64_t)entry * SECTOR +
				  gen_bitmap_size(size) + off % size);
	}
	oracle_close(o);
}

static void start_trial(struct trial *t, uint64_t random, uint32_t block_size)
{
	uint32_t type;

	*t = (struct trial){ .random = random, .block_size = block_size };
	t->size = (uint64_t)BLOCKS * block_size - below(t, 5) * SECTOR;
	t->before = malloc((size_t)t->size);
	t->after = malloc((size_t)t->size);
	if (!t->before || !t->after)
		abort();
	t->files[CHILD].now = make_file(t, 4, 1);
	zero_some(t, t->files[CHILD].now);
	type = 2 + (uint32_t)below(t, 3);
	t->files[PARENT].now = make_file(t, type, 2);
	t->base = type == 4 ? make_file(t, 3, 3) : NULL;
	fault_init(&t->fault);
	for (unsigned i = 0; i < FILES; i++) {
		struct watched *w = &t->files[i];

		w->trial = t;
		w->durable = mem_clone(w->now);
		record_init(&w->recorder);
		w->recorder.observe = on_event;
		w->recorder.arg = w;
	}
	gen_uuid(t->parent_uuid, 2);
	memset(t->before, 0, (size_t)t->size);
	check_chain(t, t->files[CHILD].now, t->files[PARENT].now, "");
	t->why[0] = '\0';
	memcpy(t->before, t->after, (size_t)t->size);
}

static void end_trial(struct trial *t)
{
	for (unsigned i = 0; i < FILES; i++) {
		settle(&t->files[i]);
		mem_free(t->files[i].now);
		mem_free(t->files[i].durable);
	}
	if (t->base)
		mem_free(t->base);
	free(t->before);
	free(t->after);
}

static int on_progress(void *arg, const struct vhd_progress *p)
{
	struct trial *t = arg;

	if (p->done > p->total)
		fail(t, "progress past the end", NULL);
	return t->steps_left && !--t->steps_left;
}

static struct vhd_io *open_file(struct trial *t, unsigned file)
{
	struct watched *w = &t->files[file];

	return fault_open(record_open(mem_open(w->now), &w->recorder), &t->fault);
}

/* The chain, opened as for a merge: linked by hand, since no name leads from file to file. */
static int open_chain(struct trial *t, vhd_image **img, struct vhd_err *err)
{
	const struct vhd_open_opts readonly = { .is_readonly = true }, writing = { 0 };
	struct vhd_image *parent;
	int rc = image_load(&parent, open_file(t, PARENT), "parent.vhd", &writing, err);

	if (rc)
		return rc;
	if (parent->footer.type == VHD_DIFFERENCING)
		rc = vhd_open_io(&parent->parent, mem_open(t->base), "base.vhd", &readonly, err);
	if (!rc)
		rc = image_start_writing(parent, err);
	if (!rc)
		rc = image_load(img, open_file(t, CHILD), "child.vhd", &writing, err);
	if (rc) {
		image_free(parent);
		return rc;
	}
	(*img)->parent = parent;
	rc = image_start_writing(*img, err);
	if (rc)
		image_free(*img);
	return rc;
}

static int run_merge(struct trial *t, struct vhd_err *err)
{
	const struct vhd_reclaim_opts opts = {
		.batch = 1 + below(t, 4) * t->block_size, .progress = on_progress,
		.progress_arg = t,
	};
	struct vhd_reclaim_result result;
	struct vhd_err late = { 0 };
	vhd_image *img;
	int rc = open_chain(t, &img, err), closing;

	if (rc)
		return rc;
	t->merging = img;
	rc = vhd_merge(img, &opts, &result, err);
	t->merging = NULL;
	closing = vhd_close(img, &late);
	if (closing && !rc)
		*err = late;
	return rc ? rc : closing;
}

/* After a whole merge: the child has nothing, and the parent reads alone as the chain did. */
static bool check_merged(struct trial *t)
{
	struct mem_file *const parents[] = { t->base, NULL };
	struct vhd_info info;
	struct lineage l;
	vhd_image *img;

	if (!check_chain(t, t->files[CHILD].now, t->files[PARENT].now, "after the merge"))
		return false;
	lineage_read(&l, t->files[PARENT].now, parents);
	oracle_read(l.top, t->after, (size_t)t->size, 0);
	lineage_close(&l);
	if (memcmp(t->before, t->after, (size_t)t->size) != 0)
		return fail(t, "the parent alone", "reads otherwise");
	if (open_chain(t, &img, NULL) || vhd_get_info(img, &info, NULL))
		return fail(t, "open", NULL);
	vhd_close(img, NULL);
	if (uuid_compare(info.parent_uuid, t->parent_uuid) == 0)
		return fail(t, "the parent's id", "is as it was");
	return !info.blocks_allocated || fail(t, "the child still has blocks", NULL);
}

static bool try_merge(struct trial *t)
{
	struct vhd_err err = { 0 };

	t->states = t->block_size > 4096 ? 0 : 5;
	for (unsigned parts = 0; parts < 3 && below(t, 2); parts++) {
		int rc;

		t->steps_left = 1 + (unsigned)below(t, 6);
		rc = run_merge(t, &err);
		if (rc && rc != -ECANCELED)
			return fail(t, "the merge fails", err.msg);
		t->steps_left = 0;
		if (!check_chain(t, t->files[CHILD].now, t->files[PARENT].now, "stopped"))
			return false;
	}
	if (run_merge(t, &err))
		return fail(t, "the merge fails", err.msg);
	return !t->why[0] && check_merged(t);
}

/* One call fails: a sentence, the chain as before, and the next merge finishes. */
static bool try_fault(struct trial *t)
{
	struct vhd_err err = { 0 };
	int rc;

	t->fault.mask = FAULT_ALL & ~FAULT_LOCK;
	t->fault.nth = 1 + below(t, 120);
	t->fault.error = below(t, 2) ? EIO : ENOSPC;
	t->fault.how = (enum fault_how)below(t, 2);
	fault_arm(&t->fault);
	rc = run_merge(t, &err);
	fault_disarm(&t->fault);
	if (rc && !err.msg[0])
		return fail(t, "an error without a sentence", NULL);
	if (!check_chain(t, t->files[CHILD].now, t->files[PARENT].now, "after a failed call"))
		return false;
	if (run_merge(t, &err))
		return fail(t, "the second merge fails", err.msg);
	return check_merged(t);
}

static void try_many(uint32_t block_size, unsigned count, bool (*try)(struct trial *t))
{
	uint64_t random = runner_seed() + block_size;

	for (unsigned i = 0; i < count; i++) {
		struct trial *t = malloc(sizeof(*t));

		CU_ASSERT_PTR_NOT_NULL_FATAL(t);
		start_trial(t, random, block_size);
		if (!try(t) || t->why[0]) {
			printf("block size %u, chain %u: %s\n", block_size, i, t->why);
			CU_FAIL("not as promised");
		}
		random = t->random;
		end_trial(t);
		free(t);
	}
}

static void test_merged_under_power_cuts(void)
{
	try_many(4096, is_long() ? 600 : 60, try_merge);
}

static void test_merged_in_larger_blocks(void)
{
	try_many(64 << 10, is_long() ? 300 : 30, try_merge);
}

static void test_merged_after_a_failed_call(void)
{
	try_many(4096, is_long() ? 4000 : 600, try_fault);
}

static void test_refused(void)
{
	struct vhd_reclaim_result result;
	struct vhd_err err = { 0 };
	struct mem_file *file = gen_make(&(struct gen_opts){ .size = 1 << 20, .block_size = 4096 });
	vhd_image *img;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "a.vhd", NULL, &err), 0);
	CU_ASSERT_EQUAL(vhd_merge(img, NULL, &result, &err), -ENOTSUP);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	mem_free(file);
}

static const struct test tests[] = {
	{ "merged_under_power_cuts", test_merged_under_power_cuts },
	{ "merged_in_larger_blocks", test_merged_in_larger_blocks },
	{ "merged_after_a_failed_call", test_merged_after_a_failed_call },
	{ "refused", test_refused },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "merge", tests);
}
