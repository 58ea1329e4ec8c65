/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Zeroing what is free, over random images, contents and free maps: what is free reads as zeros,
 * nothing else changes, the dry run tells the truth, and a second run finds nothing to do.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/lineage.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/image.h"

#define SECTOR 512u
#define MAX_BLOCKS 40
#define MAX_EXTENTS 64

struct extent {
	uint64_t start, len;
};

/* One image, what is free in it, and what it must read as. */
struct trial {
	uint64_t random;
	struct mem_file *file;
	uint32_t block_size;
	uint64_t size;		/* of the disk */
	struct extent extents[MAX_EXTENTS];
	unsigned extents_len;
	struct vhd_free_map map;
	uint64_t asked;		/* the last off of this pass */
	uint8_t *before, *after;
	bool *is_free;		/* [sectors] */
	unsigned steps_left;	/* until the progress callback cancels; 0: never */
	uint64_t done, total;	/* as the progress callback saw them */
	struct mem_file *parent;	/* or NULL */
	bool *is_kept;		/* [sectors] free, and yet not to become zeros; or NULL */
	bool is_flat;		/* no VHD's structure: the file is the disk */
	uint32_t marker;	/* not 0: a differencing image is to be made, of the given size */
	bool may_be_full;	/* -ENOSPC is no failure */
	bool then_writes;	/* after the verb, before close */
	bool only_reads;	/* the verb has the image read-only */
	struct mem_file *copied;	/* what the verb wrote, beside the image; or NULL */
	bool has_odd_end;	/* opening for writing mends the end of the file */
	char why[512];
};

static uint64_t below(struct trial *t, uint64_t n)
{
	return runner_below(&t->random, n);
}

static bool fail(struct trial *t, const char *what, const struct vhd_err *err)
{
	if (!t->why[0])
		snprintf(t->why, sizeof(t->why), "%.200s: %.300s", what, err ? err->msg : "");
	return false;
}

static int next_extent(void *arg, uint64_t off, uint64_t *start, uint64_t *len,
		       struct vhd_err *err)
{
	struct trial *t = arg;

	(void)err;
	if (off < t->asked)
		fail(t, "the map is asked backwards", NULL);
	t->asked = off;
	for (unsigned i = 0; i < t->extents_len; i++) {
		const struct extent *e = &t->extents[i];

		if (e->start + e->len <= off)
			continue;
		*start = e->start > off ? e->start : off;
		*len = e->start + e->len - *start;
		return 1;
	}
	return 0;
}

static int on_progress(void *arg, const struct vhd_progress *p)
{
	struct trial *t = arg;

	if (p->done > p->total)
		fail(t, "progress past the end", NULL);
	t->done = p->done;
	t->total = p->total;
	return t->steps_left && !--t->steps_left;
}

/* Free extents by chance: nothing, all, blocks, clusters, and such as no filesystem has. */
static void make_extents(struct trial *t)
{
	static const uint32_t units[] = { 1, SECTOR, 1024, 4096, 4096 };
	uint64_t unit = below(t, 6) < 5 ? units[below(t, 5)] : t->block_size, at = 0;
	uint64_t most = below(t, 2) ? 4 * unit : 2ull * t->block_size;

	t->extents_len = 0;
	if (!below(t, 8))
		return;
	while (t->extents_len < MAX_EXTENTS && below(t, 20)) {
		struct extent *e = &t->extents[t->extents_len];

		e->start = at + below(t, most / unit + 1) * unit;
		e->len = (1 + below(t, most / unit + 1)) * unit;
		if (!below(t, 20))
			e->len = t->size;
		at = e->start + e->len;
		if (e->start >= t->size)
			break;
		if (at > t->size + (below(t, 2) ? 0 : 4096))	/* a little past the end is said */
			e->len = t->size - e->start;
		t->extents_len++;
	}
}

static void mark_free(struct trial *t)
{
	memset(t->is_free, 0, (size_t)(t->size / SECTOR) * sizeof(*t->is_free));
	for (unsigned i = 0; i < t->extents_len; i++) {
		uint64_t first = (t->extents[i].start + SECTOR - 1) / SECTOR;
		uint64_t end = (t->extents[i].start + t->extents[i].len) / SECTOR;

		for (uint64_t s = first; s < end && s < t->size / SECTOR; s++)
			t->is_free[s] = true;
	}
}

/* Some blocks become zeros, wholly or in part, in the file itself. */
static void zero_some(struct trial *t)
{
	static const uint8_t zeros[SECTOR];
	struct oracle *o = oracle_open_mem(t->file, NULL);
	uint32_t in_block = t->block_size / SECTOR;

	for (uint64_t s = 0, first = 0, end = 0; o && s < t->size / SECTOR; s++) {
		uint32_t entry = oracle_entry(o, (uint32_t)(s / in_block));

		if (s % in_block == 0) {
			first = below(t, 3) ? s + in_block : s + below(t, in_block);
			end = below(t, 2) ? s + in_block : s + below(t, in_block);
			first = below(t, 3) ? first : s;
		}
		if (entry != UINT32_MAX && s >= first && s < end)
			mem_write(t->file, zeros, SECTOR, (uint64_t)entry * SECTOR +
				  gen_bitmap_size(t->block_size) + s % in_block * SECTOR);
	}
	oracle_close(o);
}

/* A layout by chance. */
static void make_image(struct trial *t)
{
	static const char *const creators[] = { "tst ", "win ", "qemu", "vbox", "tap" };
	struct gen_block blocks[MAX_BLOCKS];
	uint32_t total = t->marker ? (uint32_t)((t->size + t->block_size - 1) / t->block_size) :
			 2 + (uint32_t)below(t, MAX_BLOCKS - 2), used = 0;
	struct gen_opts gen = {
		.size = t->marker ? t->size :
			(uint64_t)total * t->block_size - below(t, 7) * SECTOR,
		.type = t->marker ? 4 : 3, .marker = t->marker, .parent_name = "parent.vhd",
		.block_size = t->block_size,
		.creator = creators[below(t, 5)],
		.align = below(t, 2) ? 4096 : 0,
		.padding = below(t, 2) ? 0xff : 0,
		.footer_align = below(t, 2) ? 4096 : 512,
		.extra_entries = below(t, 4) ? 0 : 300,
		.is_table_behind = !below(t, 6),
		.metadata_gap = below(t, 4) ? 0 :
				(uint32_t)below(t, 3 * t->block_size / SECTOR) * SECTOR,
		.leak = below(t, 3) ? 0 : below(t, 3ull * t->block_size) / SECTOR * SECTOR,
		.has_no_trailer = !below(t, 8),
		.is_short_footer = !below(t, 8),
		.blocks = blocks,
	};
	bool is_sparse = !below(t, 3), has_gaps = !below(t, 3);

	gen.has_batmap = strcmp(gen.creator, "tap") == 0;
	if (gen.has_batmap)	/* behind the table, which is then before the blocks */
		gen.is_table_behind = false;
	for (uint32_t blk = 0; blk < total; blk++) {
		uint32_t at = used ? (uint32_t)below(t, used + 1) : 0;

		if (below(t, is_sparse ? 2 : 8) == 0)
			continue;
		memmove(blocks + at + 1, blocks + at, (used - at) * sizeof(*blocks));
		blocks[at] = (struct gen_block){
			.blk = blk,
			.gap = !has_gaps || below(t, 4) ? 0 :
			       (uint32_t)below(t, 2 * t->block_size / SECTOR) * SECTOR,
			.bits = (enum gen_bits)(below(t, 2) ? 0 : below(t, 3)),
		};
		used++;
	}
	gen.blocks_len = used;
	if (used && !t->marker && !gen.leak && !gen.has_no_trailer && !gen.is_table_behind &&
	    !below(t, 6))
		gen.short_last = 2 * SECTOR;
	t->file = gen_make(&gen);
	t->size = gen.size;
	t->has_odd_end = gen.short_last || gen.has_no_trailer || gen.is_short_footer;
	mem_set_punch(t->file, below(t, 4));
}

/* False when the image cannot be read by the other reader. */
static bool read_all(struct trial *t, uint8_t *buf, struct oracle_result *result)
{
	const char *why;
	struct oracle *o, *parent = NULL;

	*result = (struct oracle_result){ 0 };
	if (t->is_flat) {
		mem_read(t->file, buf, (size_t)t->size, 0);
		return true;
	}
	o = oracle_open_mem(t->file, &why);
	if (!o)
		return fail(t, why, NULL);
	if (t->parent) {
		parent = oracle_open_mem(t->parent, &why);
		oracle_set_parent(o, parent);
	}
	oracle_check(o, result);
	oracle_read(o, buf, (size_t)t->size, 0);
	oracle_close(o);
	oracle_close(parent);
	return true;
}

typedef int (*verb_fn)(vhd_image *img, const struct vhd_reclaim_opts *opts,
		       struct vhd_reclaim_result *result, struct vhd_err *err);

static int open_trial(struct trial *t, vhd_image **img, bool is_readonly, struct vhd_err *err)
{
	const struct vhd_open_opts opts = { .is_readonly = is_readonly, .allow_raw = true };
	struct mem_file *parents[] = { t->parent, NULL };

	return lineage_open(img, mem_open(t->file), parents, &opts, err);
}

/* The image is as good as any other afterwards. */
static bool write_some(struct trial *t, vhd_image *img)
{
	struct vhd_err err = { 0 };

	for (int i = 0; i < 12; i++) {
		uint64_t off = below(t, t->size / SECTOR) * SECTOR;
		uint64_t len = (1 + below(t, 3 * t->block_size / SECTOR)) * SECTOR;

		if (len > t->size - off)
			len = t->size - off;
		for (uint64_t s = off; s < off + len; s += SECTOR)
			gen_sector(t->before + s, s / SECTOR, 1000 + (uint32_t)i);
		if (t->is_kept)	/* its own from now on */
			memset(t->is_kept + off / SECTOR, 0, (size_t)(len / SECTOR));
		if (vhd_pwrite(img, t->before + off, (size_t)len, off, &err))
			return fail(t, "a write afterwards", &err);
		if (i == 6 && vhd_flush(img, &err))
			return fail(t, "a flush afterwards", &err);
	}
	return true;
}

/* Opens, does the verb, closes. Returns what the verb did; a close that fails is a failure. */
static int run_verb(struct trial *t, verb_fn verb, const struct vhd_reclaim_opts *opts,
		    struct vhd_reclaim_result *result)
{
	struct vhd_err err = { 0 };
	vhd_image *img;
	int rc = open_trial(t, &img, opts->dry_run || t->only_reads, &err);

	t->asked = 0;
	memset(result, 0, sizeof(*result));
	if (rc) {
		fail(t, "open", &err);
		return rc;
	}
	rc = verb(img, opts, result, &err);
	if (rc && rc != -ECANCELED && !(t->may_be_full && rc == -ENOSPC))
		fail(t, "the verb fails", &err);
	if (!rc && !result->is_partial && t->done != t->total)
		fail(t, "the progress ends early", NULL);
	if (t->then_writes)
		write_some(t, img);
	if (vhd_close(img, &err))
		fail(t, "close", &err);
	return rc;
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	return !len || (!buf[0] && memcmp(buf, buf + 1, len - 1) == 0);
}

/* Free sectors are zeros (is_done), or as before, or zeros; the others as before. */
static bool check_contents(struct trial *t, bool is_done)
{
	struct oracle_result result;

	if (!read_all(t, t->after, &result))
		return false;
	if (result.errors)
		return fail(t, result.first, NULL);
	for (uint64_t s = 0; s < t->size / SECTOR; s++) {
		const uint8_t *is = t->after + s * SECTOR, *was = t->before + s * SECTOR;

		bool is_wanted = t->is_free[s] && !(t->is_kept && t->is_kept[s]);

		if (is_wanted && is_zero(is, SECTOR))
			continue;
		if (is_wanted && is_done)
			return fail(t, "a free sector is not zeros", NULL);
		if (memcmp(is, was, SECTOR) != 0)
			return fail(t, "a sector that is in use reads otherwise", NULL);
	}
	return true;
}

static bool is_same_file(const struct mem_file *a, const struct mem_file *b)
{
	uint64_t size = mem_size(a);
	uint8_t x[4096], y[4096];

	if (size != mem_size(b))
		return false;
	for (uint64_t off = 0; off < size; off += sizeof(x)) {
		mem_read(a, x, sizeof(x), off);
		mem_read(b, y, sizeof(y), off);
		if (memcmp(x, y, sizeof(x)) != 0)
			return false;
	}
	return true;
}

/* A bit that is clear, and what lies under it, are nobody's business. */
static bool check_clear_sectors(struct trial *t, struct mem_file *was)
{
	uint32_t in_block = t->block_size / SECTOR, bitmap = gen_bitmap_size(t->block_size);
	struct oracle *a = oracle_open_mem(was, NULL), *b = oracle_open_mem(t->file, NULL);
	bool is_ok = a && b;

	for (uint64_t s = 0; is_ok && s < t->size / SECTOR; s++) {
		uint32_t entry = oracle_entry(a, (uint32_t)(s / in_block)), in = s % in_block;
		uint64_t off = (uint64_t)entry * SECTOR;
		uint8_t bits, x[SECTOR], y[SECTOR];

		if (entry == UINT32_MAX || oracle_entry(b, (uint32_t)(s / in_block)) != entry)
			continue;
		mem_read(was, &bits, 1, off + in / 8);
		mem_read(was, x, SECTOR, off + bitmap + (uint64_t)in * SECTOR);
		mem_read(t->file, y, SECTOR, off + bitmap + (uint64_t)in * SECTOR);
		if (!(bits & 0x80 >> in % 8) && memcmp(x, y, SECTOR) != 0)
			is_ok = fail(t, "what lies under a clear bit was written", NULL);
	}
	oracle_close(a);
	oracle_close(b);
	return is_ok;
}

static bool fail_size(struct trial *t, const struct vhd_reclaim_result *a,
		      const struct vhd_reclaim_result *b)
{
	if (!t->why[0])
		snprintf(t->why, sizeof(t->why), "the dry run said size %llu, it was %llu (was "
			 "%llu)%s", (unsigned long long)a->file_size_after,
			 (unsigned long long)b->file_size_after,
			 (unsigned long long)a->file_size_before,
			 t->has_odd_end ? ", odd end" : "");
	return false;
}

static bool check_same(struct trial *t, const struct vhd_reclaim_result *a,
		       const struct vhd_reclaim_result *b)
{
	if (a->file_size_after == b->file_size_after && a->blocks_after == b->blocks_after &&
	    a->blocks_released == b->blocks_released && a->zeroed_bytes == b->zeroed_bytes &&
	    a->blocks_zero == b->blocks_zero && a->blocks_sparse == b->blocks_sparse)
		return true;
	if (a->file_size_after != b->file_size_after)
		return fail_size(t, a, b);
	snprintf(t->why, sizeof(t->why), "the dry run said %u blocks, %llu zeroed; it was %u, %llu",
		 a->blocks_after, (unsigned long long)a->zeroed_bytes, b->blocks_after,
		 (unsigned long long)b->zeroed_bytes);
	return false;
}

static bool run_dry(struct trial *t, verb_fn verb, const struct vhd_reclaim_opts *opts,
		    struct vhd_reclaim_result *result)
{
	struct vhd_reclaim_opts dry = *opts;
	struct mem_file *copy = mem_clone(t->file);
	bool is_ok;

	dry.dry_run = true;
	is_ok = !run_verb(t, verb, &dry, result) && !t->why[0];
	if (is_ok && !is_same_file(copy, t->file))
		is_ok = fail(t, "the dry run writes", NULL);
	mem_free(copy);
	return is_ok;
}

static bool run_again(struct trial *t, verb_fn verb, const struct vhd_reclaim_opts *opts,
		      const struct vhd_reclaim_result *first)
{
	struct vhd_reclaim_result again;
	struct mem_file *copy = mem_clone(t->file);
	bool is_ok = !run_verb(t, verb, opts, &again) && !t->why[0];

	if (is_ok && (again.zeroed_bytes || again.blocks_released || again.bytes_written ||
		      again.blocks_moved || again.file_size_after != first->file_size_after))
		is_ok = fail(t, "a second run finds something to do", NULL);
	if (is_ok && !is_same_file(copy, t->file))
		is_ok = fail(t, "a second run writes", NULL);
	mem_free(copy);
	return is_ok;
}

/* Cancelled now and then, gone on with, done. */
static bool run_in_parts(struct trial *t, verb_fn verb, const struct vhd_reclaim_opts *opts,
			 struct vhd_reclaim_result *result)
{
	for (unsigned parts = 0; parts < 4 && below(t, 2); parts++) {
		t->steps_left = 1 + (unsigned)below(t, 6);
		run_verb(t, verb, opts, result);
		t->steps_left = 0;
		if (t->why[0] || !check_contents(t, false))
			return false;
	}
	return !run_verb(t, verb, opts, result) && !t->why[0];
}

static void start_trial(struct trial *t, uint64_t random, uint32_t block_size)
{
	*t = (struct trial){ .random = random, .block_size = block_size };
	make_image(t);
	t->before = malloc((size_t)t->size);
	t->after = malloc((size_t)t->size);
	t->is_free = malloc((size_t)t->size / SECTOR * sizeof(*t->is_free));
	if (!t->before || !t->after || !t->is_free)
		abort();
	zero_some(t);
	make_extents(t);
	mark_free(t);
	t->map = (struct vhd_free_map){ .next = next_extent, .arg = t };
}

static void end_trial(struct trial *t)
{
	free(t->is_kept);
	if (t->copied)
		mem_free(t->copied);
	if (t->parent)
		mem_free(t->parent);
	free(t->before);
	free(t->after);
	free(t->is_free);
	mem_free(t->file);
}

static bool try_zero(struct trial *t)
{
	struct vhd_reclaim_opts opts = {
		.free = &t->map, .write_zeros = !below(t, 3), .scrub = !below(t, 4),
		.batch = 1 + below(t, 4) * t->block_size, .progress = on_progress,
		.progress_arg = t,
	};
	struct mem_file *was = mem_clone(t->file);
	struct vhd_reclaim_result dry, real;
	struct oracle_result result;
	bool is_whole = below(t, 2), is_ok;

	is_ok = read_all(t, t->before, &result) && run_dry(t, vhd_zero_free, &opts, &dry) &&
		(is_whole ? !run_verb(t, vhd_zero_free, &opts, &real) && !t->why[0] :
		 run_in_parts(t, vhd_zero_free, &opts, &real)) &&
		(!is_whole || check_same(t, &dry, &real)) && check_contents(t, true) &&
		(opts.scrub || t->has_odd_end || check_clear_sectors(t, was)) &&
		run_again(t, vhd_zero_free, &opts, &real);
	if (is_ok && !t->has_odd_end && mem_size(t->file) > mem_size(was))
		is_ok = fail(t, "the file grows", NULL);
	if (is_ok && dry.file_size_after != real.file_size_after)
		is_ok = fail_size(t, &dry, &real);
	mem_free(was);
	return is_ok;
}

/* Turns the trial's image into a fixed one, or into no VHD at all. */
static void make_flat(struct trial *t)
{
	const struct gen_opts gen = { .size = t->size, .block_size = 4096, .type = 2 };
	struct mem_file *dynamic = t->file;
	static const uint8_t zeros[3 * SECTOR];

	t->file = gen_make(&gen);
	mem_set_punch(t->file, below(t, 2));
	mem_free(dynamic);
	t->is_flat = true;
	t->has_odd_end = true;
	for (int i = 0; i < 6; i++)
		mem_write(t->file, zeros, sizeof(zeros), below(t, t->size - sizeof(zeros)));
	if (below(t, 2))
		mem_truncate(t->file, t->size);
}

static bool try_flat(struct trial *t)
{
	make_flat(t);
	return try_zero(t);
}

/* A child of another image. What it does not own of the free room shows the parent's for good. */
static void make_child(struct trial *t)
{
	struct trial child = { .random = t->random, .block_size = t->block_size };
	struct oracle *o;

	child.size = t->size;
	child.marker = 7;
	make_image(&child);
	zero_some(&child);
	t->random = child.random;
	t->parent = t->file;
	t->file = child.file;
	t->has_odd_end |= child.has_odd_end;
	t->is_kept = calloc((size_t)t->size / SECTOR, sizeof(*t->is_kept));
	if (!t->is_kept)
		abort();
	o = oracle_open_mem(t->file, NULL);
	for (uint64_t s = 0; o && s < t->size / SECTOR; s++) {
		uint32_t entry = oracle_entry(o, (uint32_t)(s / (t->block_size / SECTOR)));
		uint32_t in = s % (t->block_size / SECTOR);
		uint8_t bits = 0;

		if (entry != UINT32_MAX)
			mem_read(t->file, &bits, 1, (uint64_t)entry * SECTOR + in / 8);
		t->is_kept[s] = !(bits & 0x80 >> in % 8);
	}
	oracle_close(o);
}

/* Goes on with the image at once. */
static bool compact_and_write(struct trial *t, const struct vhd_reclaim_opts *opts)
{
	struct mem_file *file = t->file, *copy = mem_clone(file);
	uint8_t *before = malloc((size_t)t->size);
	bool *kept = calloc((size_t)t->size / SECTOR, sizeof(*kept));
	struct vhd_reclaim_result result;
	bool is_ok;

	if (!before || !kept)
		abort();
	memcpy(before, t->before, (size_t)t->size);
	if (t->is_kept)
		memcpy(kept, t->is_kept, (size_t)t->size / SECTOR * sizeof(*kept));
	t->file = copy;
	t->then_writes = true;
	if (below(t, 2))
		t->steps_left = 1 + (unsigned)below(t, 6);
	run_verb(t, vhd_compact, opts, &result);
	t->steps_left = 0;
	t->then_writes = false;
	is_ok = !t->why[0] && check_contents(t, false) &&
		!run_verb(t, vhd_compact, opts, &result) && check_contents(t, false);
	memcpy(t->before, before, (size_t)t->size);
	free(before);
	if (t->is_kept)
		memcpy(t->is_kept, kept, (size_t)t->size / SECTOR * sizeof(*kept));
	free(kept);
	t->file = file;
	mem_free(copy);
	return is_ok;
}

static bool is_all_aligned(struct trial *t)
{
	struct oracle *o = oracle_open_mem(t->file, NULL);
	bool is_ok = o;

	for (uint64_t blk = 0; is_ok && blk * t->block_size < t->size; blk++) {
		uint32_t entry = oracle_entry(o, (uint32_t)blk);

		is_ok = entry == UINT32_MAX ||
			((uint64_t)entry * SECTOR + gen_bitmap_size(t->block_size)) % 4096 == 0;
	}
	oracle_close(o);
	return is_ok && mem_size(t->file) % 4096 == 0;
}

static bool try_compact(struct trial *t)
{
	struct vhd_reclaim_opts opts = {
		.align = !below(t, 3), .no_holes = !below(t, 5),
		.batch = 1 + below(t, 4) * t->block_size, .progress = on_progress,
		.progress_arg = t,
	};
	struct vhd_reclaim_result dry, real;
	struct oracle_result result;

	if (below(t, 2))
		opts.free = &t->map;
	else
		memset(t->is_free, 0, (size_t)t->size / SECTOR * sizeof(*t->is_free));
	if (!read_all(t, t->before, &result) || !run_dry(t, vhd_compact, &opts, &dry) ||
	    !compact_and_write(t, &opts) || !run_in_parts(t, vhd_compact, &opts, &real))
		return false;
	if (dry.file_size_after != real.file_size_after || dry.blocks_after != real.blocks_after)
		return fail_size(t, &dry, &real);
	if (mem_size(t->file) != real.file_size_after)
		return fail(t, "the file is not as long as the result says", NULL);
	if (opts.no_holes && mem_allocated(t->file) < mem_size(t->file))
		return fail(t, "there are holes left", NULL);
	if (opts.align && !is_all_aligned(t))
		return fail(t, "not all is aligned", NULL);
	return check_contents(t, false) && run_again(t, vhd_compact, &opts, &real);
}

/* Blocks were discarded before, and the host has the room: moves into it will want it again. */
static void discard_some(struct trial *t)
{
	struct vhd_err err = { 0 };
	vhd_image *img;

	if (open_trial(t, &img, false, &err)) {
		fail(t, "open", &err);
		return;
	}
	for (uint64_t off = 0; off < t->size; off += t->block_size)
		if (!below(t, 3) && vhd_zero(img, t->size - off < t->block_size ? t->size - off :
					     t->block_size, off, VHD_ZERO_RELEASE, &err))
			fail(t, "discard", &err);
	if (vhd_close(img, &err))
		fail(t, "close", &err);
}

/* t->copied is made anew; NULL for a dry run. */
static struct vhd_io *open_copy(const struct vhd_reclaim_opts *opts)
{
	struct trial *t = opts->progress_arg;

	if (opts->dry_run)
		return NULL;
	if (t->copied)
		mem_free(t->copied);
	t->copied = mem_new();
	mem_set_punch(t->copied, below(t, 2));	/* without, holes cannot be filled afterwards */
	return mem_open(t->copied);
}

static int copy(vhd_image *img, const struct vhd_reclaim_opts *opts,
		struct vhd_reclaim_result *result, struct vhd_err *err)
{
	struct vhd_io *out = open_copy(opts);
	int rc = vhd_copy_io(img, out, "copy.vhd", opts, result, err);

	if (out)
		out->ops->close(out);
	return rc;
}

static enum vhd_target target;

static int convert(vhd_image *img, const struct vhd_reclaim_opts *opts,
		   struct vhd_reclaim_result *result, struct vhd_err *err)
{
	struct vhd_io *out = open_copy(opts);
	int rc = vhd_convert_io(img, out, "copy.vhd", target, opts, result, err);

	if (out)
		out->ops->close(out);
	return rc;
}

static void note_problem(void *arg, const struct vhd_problem *problem)
{
	fail(arg, problem->message, NULL);
}

static bool is_sound(struct trial *t)
{
	const struct vhd_check_opts opts = {
		.force_share = true, .report = note_problem, .report_arg = t,
	};
	struct vhd_check_result result;
	struct vhd_err err = { 0 };

	if (vhd_check_io(mem_open(t->file), "copy.vhd", &opts, &result, &err))
		return fail(t, "check", &err);
	return (!result.errors && !result.leaks) || fail(t, "the copy is not sound", NULL);
}

/* After a verb that makes a file: the image is as it was, and the trial goes on with the file. */
static bool go_on_with_copied(struct trial *t, struct mem_file *was, bool is_ok)
{
	t->only_reads = false;
	if (is_ok && !is_same_file(was, t->file))
		is_ok = fail(t, "the image was written", NULL);
	mem_free(was);
	if (!is_ok)
		return false;
	mem_free(t->file);
	t->file = t->copied;
	t->copied = NULL;
	return true;
}

/* The copy is what compacting would have left, and the image is as it was. */
static bool try_copy(struct trial *t)
{
	struct vhd_reclaim_opts opts = {
		.free = below(t, 2) ? &t->map : NULL, .no_holes = !below(t, 4), .align = true,
		.progress = on_progress, .progress_arg = t,
	};
	struct mem_file *was = mem_clone(t->file);
	struct vhd_reclaim_result dry, real;
	struct oracle_result result;
	bool is_ok;

	if (!opts.free)
		memset(t->is_free, 0, (size_t)t->size / SECTOR * sizeof(*t->is_free));
	t->only_reads = true;
	is_ok = read_all(t, t->before, &result) && run_dry(t, copy, &opts, &dry);
	t->steps_left = 1;
	if (is_ok && run_verb(t, copy, &opts, &real) != -ECANCELED)
		is_ok = fail(t, "it is not to be stopped", NULL);
	t->steps_left = 0;
	is_ok = is_ok && !run_verb(t, copy, &opts, &real) && !t->why[0];
	if (!go_on_with_copied(t, was, is_ok))
		return false;
	if (!check_same(t, &dry, &real) || !check_contents(t, true) || !is_sound(t))
		return false;
	if (mem_size(t->file) != real.file_size_after || !is_all_aligned(t))
		return fail(t, "the copy is not laid out as it should be", NULL);
	if (opts.no_holes && mem_allocated(t->file) < mem_size(t->file))
		return fail(t, "there are holes left", NULL);
	return run_again(t, vhd_compact, &opts, &real);
}

/* A host that is full: as far as it goes, and to the end with the room that it asks for. */
static bool try_full(struct trial *t)
{
	struct vhd_reclaim_opts opts = { .batch = 1 + below(t, 4) * t->block_size };
	struct vhd_reclaim_result dry, real;
	struct oracle_result result;
	uint64_t size, allocated, pages;
	int rc;

	memset(t->is_free, 0, (size_t)t->size / SECTOR * sizeof(*t->is_free));
	discard_some(t);
	size = mem_size(t->file);
	if (!read_all(t, t->before, &result) || !run_dry(t, vhd_compact, &opts, &dry))
		return false;
	allocated = mem_allocated(t->file);
	mem_set_limit(t->file, allocated + below(t, 3ull * t->block_size));
	t->may_be_full = true;
	rc = run_verb(t, vhd_compact, &opts, &real);
	t->may_be_full = false;
	if (t->why[0] || !check_contents(t, false))
		return false;
	if (mem_size(t->file) > size || mem_size(t->file) != real.file_size_after)
		return fail(t, "a full host makes it longer", NULL);
	/* A page or two more: packed blocks share pages with others than before. Where a block has
	 * many pages, each that moved may have one more at its other end; a copy that was begun and
	 * left would have more. */
	pages = 2 + (t->block_size > 4096 ? real.blocks_moved : 0);
	if (mem_allocated(t->file) > allocated + pages * 4096)
		return fail(t, "what it began takes room of the host", NULL);
	if (rc && !(real.is_partial && real.room_wanted))
		return fail(t, "it does not say what it needs", NULL);
	mem_set_limit(t->file, mem_allocated(t->file) + real.room_wanted);
	if (run_verb(t, vhd_compact, &opts, &real) || t->why[0])
		return fail(t, "the room that it asked for is not enough", NULL);
	mem_set_limit(t->file, 0);
	return check_contents(t, false) &&
	       (mem_size(t->file) == dry.file_size_after || fail_size(t, &dry, &real));
}

/* Zeroed, the size is what the dry run of that has said. */
static bool try_shrink(struct trial *t)
{
	struct vhd_reclaim_opts opts = { .free = &t->map, .progress = on_progress,
					 .progress_arg = t };
	struct vhd_reclaim_result dry, zero, real;
	struct oracle_result result;

	if (!read_all(t, t->before, &result) || !run_dry(t, vhd_zero_free, &opts, &dry) ||
	    run_verb(t, vhd_zero_free, &opts, &zero) || t->why[0])
		return false;
	opts.free = NULL;
	if (run_verb(t, vhd_compact, &opts, &real) || t->why[0])
		return false;
	if (mem_size(t->file) != dry.file_size_after)
		return fail_size(t, &dry, &real);
	return check_contents(t, true) && run_again(t, vhd_compact, &opts, &real);
}

static bool try_zero_child(struct trial *t)
{
	make_child(t);
	return try_zero(t);
}

static bool try_compact_child(struct trial *t)
{
	make_child(t);
	return try_compact(t);
}

/* The new file is what it should be, and as long as was told. */
static bool check_converted(struct trial *t, const struct vhd_reclaim_opts *opts,
			    const struct vhd_reclaim_result *real)
{
	struct vhd_reclaim_result again;

	if (mem_size(t->file) != real->file_size_after)
		return fail(t, "the file is not as long as the result says", NULL);
	if (opts->no_holes && mem_allocated(t->file) < mem_size(t->file))
		return fail(t, "there are holes left", NULL);
	t->is_flat = target == VHD_TO_RAW;
	if (!check_contents(t, true))
		return false;
	if (t->is_flat)
		return mem_size(t->file) == t->size || fail(t, "not the disk's length", NULL);
	if (!is_sound(t))
		return false;
	if (target == VHD_TO_FIXED)
		return true;
	return (is_all_aligned(t) || fail(t, "not all is aligned", NULL)) &&
	       !run_verb(t, vhd_compact, opts, &again) && !t->why[0] &&
	       (!again.blocks_released || fail(t, "blocks of zeros were made", NULL)) &&
	       again.file_size_after == real->file_size_after;
}

/* All that the image, or the chain, has is in one file then. */
static bool try_convert(struct trial *t)
{
	struct vhd_reclaim_opts opts = {
		.no_holes = !below(t, 4), .align = true, .progress = on_progress,
		.progress_arg = t,
	};
	struct mem_file *was = mem_clone(t->file);
	struct vhd_reclaim_result dry, real;
	struct oracle_result result;
	bool is_ok;

	target = (enum vhd_target)below(t, 3);
	memset(t->is_free, 0, (size_t)t->size / SECTOR * sizeof(*t->is_free));
	t->only_reads = true;
	is_ok = read_all(t, t->before, &result) && run_dry(t, convert, &opts, &dry) &&
		!run_verb(t, convert, &opts, &real) && !t->why[0];
	if (!go_on_with_copied(t, was, is_ok))
		return false;
	if (t->parent)
		mem_free(t->parent);
	t->parent = NULL;
	return check_same(t, &dry, &real) && check_converted(t, &opts, &real);
}

static bool try_convert_child(struct trial *t)
{
	make_child(t);
	return try_convert(t);
}

/* From a fixed image, or from no VHD: what is made has blocks of 2 MiB. */
static bool try_convert_flat(struct trial *t)
{
	make_flat(t);
	t->block_size = 2 << 20;
	return try_convert(t);
}

static bool try_copy_child(struct trial *t)
{
	make_child(t);
	return try_copy(t);
}

static void try_many(uint32_t block_size, unsigned count, bool (*try)(struct trial *t))
{
	uint64_t random = runner_seed() + block_size;

	for (unsigned i = 0; i < count; i++) {
		struct trial t;
		bool is_ok;

		start_trial(&t, random, block_size);
		is_ok = try(&t);
		if (!is_ok || t.why[0]) {
			printf("block size %u, image %u: %s\n", block_size, i, t.why);
			CU_FAIL("not as promised");
		}
		random = t.random;
		end_trial(&t);
	}
}

static void test_free_becomes_zeros_in_small_blocks(void)
{
	try_many(4096, is_long() ? 8000 : 1000, try_zero);
	try_many(16384, is_long() ? 5000 : 300, try_zero);
}

static void test_free_becomes_zeros_in_large_blocks(void)
{
	try_many(512 << 10, is_long() ? 60 : 6, try_zero);
	try_many(2 << 20, is_long() ? 25 : 3, try_zero);
	try_many(4 << 20, is_long() ? 10 : 1, try_zero);
}

static void test_free_becomes_zeros_in_fixed_and_raw_images(void)
{
	try_many(4096, is_long() ? 4000 : 200, try_flat);
	try_many(512 << 10, 3, try_flat);
}

static void test_free_becomes_zeros_in_a_child(void)
{
	try_many(4096, is_long() ? 5000 : 600, try_zero_child);
	try_many(16384, is_long() ? 2000 : 100, try_zero_child);
}

static void test_compacted_small_blocks(void)
{
	try_many(4096, is_long() ? 15000 : 1500, try_compact);
	try_many(16384, is_long() ? 5000 : 300, try_compact);
}

static void test_compacted_large_blocks(void)
{
	try_many(512 << 10, is_long() ? 60 : 6, try_compact);
	try_many(2 << 20, is_long() ? 25 : 3, try_compact);
	try_many(4 << 20, is_long() ? 10 : 1, try_compact);
}

static void test_shrunk(void)
{
	try_many(4096, is_long() ? 5000 : 500, try_shrink);
	try_many(65536, is_long() ? 200 : 20, try_shrink);
}

static void test_copied(void)
{
	try_many(4096, is_long() ? 10000 : 1000, try_copy);
	try_many(65536, is_long() ? 200 : 20, try_copy);
	try_many(2 << 20, 2, try_copy);
}

static void test_copied_child(void)
{
	try_many(4096, is_long() ? 5000 : 500, try_copy_child);
}

static void test_converted(void)
{
	try_many(4096, is_long() ? 3000 : 300, try_convert);
	try_many(4096, is_long() ? 3000 : 300, try_convert_child);
	try_many(4096, is_long() ? 3000 : 300, try_convert_flat);
	try_many(2 << 20, 3, try_convert_child);
	try_many(4 << 20, 4, try_convert);
	try_many(2 << 20, 3, try_convert_flat);
}

/* The same on the host's filesystem, through io_file.c: real holes, and a real cut. */
static bool try_real_file(struct trial *t)
{
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	struct vhd_reclaim_opts opts = { .free = &t->map };
	struct vhd_reclaim_result dry, real;
	struct oracle_result result;
	struct vhd_err err = { 0 };
	struct mem_file *was = t->file;
	vhd_image *img = NULL;
	char path[4096];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/vhd-reclaim-XXXXXX", dir);
	fd = mkstemp(path);
	if (fd < 0 || close(fd) || mem_save(was, path))
		return fail(t, "the file cannot be made", NULL);
	if (!read_all(t, t->before, &result) || !run_dry(t, vhd_zero_free, &opts, &dry))
		return false;
	t->asked = 0;
	rc = vhd_open(&img, path, NULL, &err);
	if (!rc)
		rc = vhd_zero_free(img, &opts, &real, &err);
	opts = (struct vhd_reclaim_opts){ .no_holes = below(t, 2) };
	if (!rc)
		rc = vhd_compact(img, &opts, &real, &err);
	if (img && vhd_close(img, rc ? NULL : &err))
		rc = -EIO;
	t->file = mem_load(path);
	unlink(path);
	mem_free(was);
	if (rc)
		return fail(t, "a verb fails", &err);
	return check_contents(t, true) &&
	       (mem_size(t->file) == dry.file_size_after || fail_size(t, &dry, &real));
}

/* The layout that an image had is the one that it keeps: Windows' on 4 KiB, and qemu's packed one,
 * each without a gap from the end of the metadata on. */
static void keep_layout(uint32_t block_size, uint32_t align, uint64_t random)
{
	uint32_t bitmap = gen_bitmap_size(block_size), n = 4 + (uint32_t)runner_below(&random, 36);
	struct gen_block blocks[MAX_BLOCKS];
	struct gen_opts gen = { .size = (uint64_t)n * block_size, .block_size = block_size,
				.align = align, .footer_align = align, .blocks = blocks,
				.blocks_len = n, .creator = align ? "win " : "qemu",
				.metadata_gap = align ? 2048 : 0 };
	uint64_t end = align ? 4096 : 2048, size = bitmap + (uint64_t)block_size;
	struct vhd_reclaim_result result;
	struct mem_file *file;
	vhd_image *img;

	for (uint32_t i = 0; i < n; i++)
		blocks[i] = (struct gen_block){ .blk = n - 1 - i };
	file = gen_make(&gen);
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "l.vhd", NULL, NULL), 0);
	for (uint32_t i = 0; i < n; i++)
		if (runner_below(&random, 3))
			CU_ASSERT_EQUAL(vhd_zero(img, block_size, (uint64_t)i * block_size,
						 VHD_ZERO_KEEP, NULL), 0);
	CU_ASSERT_EQUAL(vhd_compact(img, NULL, &result, NULL), 0);
	for (uint32_t i = 0; i < result.blocks_after; i++)
		end = (align ? (end + bitmap + align - 1) / align * align - bitmap : end) + size;
	end = (end + SECTOR + 4095) / 4096 * 4096;
	CU_ASSERT(mem_size(file) == end || (!align && mem_size(file) == result.file_size_before));
	for (uint32_t blk = 0; align && blk < n; blk++)
		CU_ASSERT(img->map.entry[blk] == FMT_UNUSED ||
			  map_data_off(&img->map, img->map.entry[blk]) % align == 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	mem_free(file);
}

static void test_zeroed_and_compacted_real_files(void)
{
	try_many(4096, is_long() ? 300 : 12, try_real_file);
	try_many(512 << 10, is_long() ? 20 : 3, try_real_file);
}

static void test_compacted_layouts_stay_as_they_were(void)
{
	for (uint64_t i = 0; i < 40; i++) {
		keep_layout(4096, 4096, runner_seed() + i);
		keep_layout(65536, 4096, runner_seed() + i);
		keep_layout(65536, 0, runner_seed() + i);
	}
}

static void test_compacted_on_a_full_host(void)
{
	try_many(4096, is_long() ? 8000 : 1000, try_full);
	try_many(65536, is_long() ? 500 : 30, try_full);
}

static void test_compacted_child(void)
{
	try_many(4096, is_long() ? 5000 : 600, try_compact_child);
}

/* A guest that goes on meanwhile: its writes are refused, and its reads are not. */
struct guest {
	vhd_image *img;
	int writes, zeros, reads;
	unsigned naps;		/* seconds to sleep in the next call */
};

static int guest_goes_on(void *arg, const struct vhd_progress *p)
{
	struct guest *g = arg;
	uint8_t buf[SECTOR] = { 1 };

	(void)p;
	sleep(g->naps);
	g->naps = 0;
	g->writes = vhd_pwrite(g->img, buf, sizeof(buf), 0, NULL);
	g->zeros = vhd_zero(g->img, sizeof(buf), 0, VHD_ZERO_KEEP, NULL);
	g->reads = vhd_pread(g->img, buf, sizeof(buf), 0, NULL);
	return 0;
}

static void test_writes_are_refused_meanwhile(void)
{
	static const struct gen_block blocks[] = { { .blk = 0 }, { .blk = 1 } };
	const struct gen_opts gen = { .size = 4 * 4096, .block_size = 4096, .blocks = blocks,
				      .blocks_len = 2 };
	struct mem_file *file = gen_make(&gen);
	struct guest guest = { .naps = 0 };
	const struct vhd_reclaim_opts opts = { .progress = guest_goes_on, .progress_arg = &guest };
	struct vhd_reclaim_result result;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&guest.img, mem_open(file), "g.vhd", NULL, NULL), 0);
	CU_ASSERT_EQUAL(vhd_zero_free(guest.img, &opts, &result, NULL), 0);
	CU_ASSERT_EQUAL(guest.writes, -EBUSY);
	CU_ASSERT_EQUAL(guest.zeros, -EBUSY);
	CU_ASSERT_EQUAL(guest.reads, 0);
	CU_ASSERT_EQUAL(vhd_pwrite(guest.img, "x", 1, 0, NULL), 0);
	CU_ASSERT_EQUAL(vhd_zero_free(guest.img, NULL, &result, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(guest.img, NULL), 0);
	mem_free(file);
}

static int all_is_free(void *arg, uint64_t off, uint64_t *start, uint64_t *len,
		       struct vhd_err *err)
{
	(void)arg;
	(void)err;
	*start = off;
	*len = 1ull << 40;
	return 1;
}

static void test_stops_when_time_is_over(void)
{
	static const struct vhd_free_map all = { .next = all_is_free };
	static const struct gen_block blocks[] = { { .blk = 0 }, { .blk = 1 }, { .blk = 2 } };
	const struct gen_opts gen = { .size = 4 * 4096, .block_size = 4096, .blocks = blocks,
				      .blocks_len = 3 };
	struct mem_file *file = gen_make(&gen);
	struct guest guest = { .naps = 2 };
	struct vhd_reclaim_opts opts = { .progress = guest_goes_on, .progress_arg = &guest,
					 .free = &all, .max_seconds = 1, .batch = 4096 };
	struct vhd_reclaim_result result;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&guest.img, mem_open(file), "g.vhd", NULL, NULL), 0);
	CU_ASSERT_EQUAL(vhd_zero_free(guest.img, &opts, &result, NULL), 0);
	CU_ASSERT(result.is_partial && result.blocks_after == 2 && result.blocks_released == 1);
	opts.max_seconds = 0;
	CU_ASSERT_EQUAL(vhd_zero_free(guest.img, &opts, &result, NULL), 0);
	CU_ASSERT(!result.is_partial && result.blocks_after == 0 && result.blocks_released == 2);
	CU_ASSERT_EQUAL(vhd_close(guest.img, NULL), 0);
	mem_free(file);
}

static void test_read_only_images_are_only_told_of(void)
{
	static const struct vhd_free_map all = { .next = all_is_free };
	static const struct gen_block blocks[] = { { .blk = 0 }, { .blk = 1 } };
	const struct gen_opts gen = { .size = 4 * 4096, .block_size = 4096, .blocks = blocks,
				      .blocks_len = 2 };
	const struct vhd_open_opts readonly = { .is_readonly = true };
	struct vhd_reclaim_opts opts = { .free = &all };
	struct mem_file *file = gen_make(&gen);
	struct vhd_reclaim_result result;
	struct vhd_err err = { 0 };
	vhd_image *img;

	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), "r.vhd", &readonly, NULL), 0);
	CU_ASSERT_EQUAL(vhd_zero_free(img, &opts, &result, &err), -EROFS);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "r.vhd"));
	opts.dry_run = true;
	CU_ASSERT_EQUAL(vhd_zero_free(img, &opts, &result, &err), 0);
	CU_ASSERT(result.blocks_released == 2 && result.zeroed_bytes == 2 * 4096);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	mem_free(file);
}

static const struct test tests[] = {
	{ "free_becomes_zeros_in_small_blocks", test_free_becomes_zeros_in_small_blocks },
	{ "free_becomes_zeros_in_large_blocks", test_free_becomes_zeros_in_large_blocks },
	{ "free_becomes_zeros_in_fixed_and_raw_images",
	  test_free_becomes_zeros_in_fixed_and_raw_images },
	{ "free_becomes_zeros_in_a_child", test_free_becomes_zeros_in_a_child },
	{ "compacted_small_blocks", test_compacted_small_blocks },
	{ "compacted_large_blocks", test_compacted_large_blocks },
	{ "shrunk", test_shrunk },
	{ "copied", test_copied },
	{ "copied_child", test_copied_child },
	{ "converted", test_converted },
	{ "zeroed_and_compacted_real_files", test_zeroed_and_compacted_real_files },
	{ "compacted_layouts_stay_as_they_were", test_compacted_layouts_stay_as_they_were },
	{ "compacted_on_a_full_host", test_compacted_on_a_full_host },
	{ "compacted_child", test_compacted_child },
	{ "writes_are_refused_meanwhile", test_writes_are_refused_meanwhile },
	{ "stops_when_time_is_over", test_stops_when_time_is_over },
	{ "read_only_images_are_only_told_of", test_read_only_images_are_only_told_of },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "reclaim", tests);
}
