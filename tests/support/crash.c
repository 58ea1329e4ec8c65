/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a power cut can leave of a file, and whether that is sound.
 *
 * Model. A barrier that ended makes durable every change that had returned before it began. Each
 * sector then holds its durable value or any one that was issued later; sectors are independent.
 * The length is the durable one, that of any later truncate, or the end of any sector written
 * beyond the durable length, and independent of the contents; only the zeros that a truncate leaves
 * behind it need that truncate (the epochs below). After a barrier that failed, what it covered is
 * "lost": clean in the cache, on the disk or not, and no later barrier makes it durable.
 *
 * What is checked of each state. Trailing footer, leading footer, header and BAT sectors are taken
 * in every combination (a "view"), with every length. Bitmap and data sectors meet in no other
 * check than that of their own guest sector, so there each value is combined with each: exact, and
 * linear in the data. A view has to open, name nothing twice and nothing outside the file, and let
 * every guest sector read what it had at the last flush that was acknowledged, or was given since.
 *
 * Sector contents are interned: equal contents have equal numbers, 0 is zeros.
 *
 * Locking: the recorder's lock guards all of it while the engine runs; the guest's marks take it.
 */
#include "tests/support/crash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/crash_private.h"
#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/lineage.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"

static void check(struct crash *c)
{
	if (!c->is_checking || c->violation)
		return;
	c->stats.points++;
	state_check_all(c);
	if (c->sample_every && !c->violation && !runner_below(&c->random, c->sample_every))
		sample_one(c);
}

static void observe(void *arg, const struct record_event *ev)
{
	struct crash *c = arg;

	if (ev->phase == RECORD_BEGUN)
		return;
	model_apply(c, ev);
	if (ev->phase == RECORD_RETURNED)
		return;
	report_log(c, (struct log_entry){ .kind = ev->kind, .off = ev->off, .len = ev->len,
					  .rc = ev->rc, .number = ev->number });
	check(c);
}

struct crash *crash_new(void)
{
	struct crash *c = must(calloc(1, sizeof(*c)));

	record_init(&c->recorder);
	c->recorder.observe = observe;
	c->recorder.arg = c;
	c->random = 1;
	return c;
}

void crash_free(struct crash *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->recorder.lock);
	free(c->cells);
	free(c->dirty);
	free(c->guests);
	free(c->below);
	free(c->label);
	free(c->violation);
	free(c);
}

static void make_guests(struct crash *c, uint64_t sectors)
{
	if (sectors == c->sectors)
		return;
	c->sectors = sectors;
	c->guests = must(realloc(c->guests, sectors * sizeof(*c->guests)));
	c->below = must(realloc(c->below, sectors * sizeof(*c->below)));
}

/* What the guest has: what another reader than the engine finds in the image. */
static void start_guests(struct crash *c)
{
	struct mem_file *parents[] = { c->image.parent, NULL };
	struct lineage l;
	struct oracle *o;
	uint32_t highest = 0;

	lineage_read(&l, c->file, parents);
	o = l.top;
	c->block_sectors = oracle_block_size(o) / SECTOR;
	c->bitmap_sectors = gen_bitmap_size(oracle_block_size(o)) / SECTOR;
	make_guests(c, oracle_size(o) / SECTOR);
	for (uint64_t s = 0; s < c->sectors; s++) {
		uint8_t raw[SECTOR], below[SECTOR] = { 0 };

		oracle_read(o, raw, SECTOR, s * SECTOR);
		if (l.parents[0])
			oracle_read(l.parents[0], below, SECTOR, s * SECTOR);
		c->guests[s].n = 1;
		c->guests[s].v[0] = (struct given){ .id = content_intern_guest(raw) };
		c->below[s] = content_intern_guest(below);
	}
	for (uint32_t blk = 0; blk * (uint64_t)c->block_sectors < c->sectors; blk++)
		if (oracle_entry(o, blk) != UNUSED && oracle_entry(o, blk) > highest)
			highest = oracle_entry(o, blk);
	c->short_entry = c->image.has_short_block ? highest : UNUSED;
	lineage_close(&l);
}

void crash_start(struct crash *c, const struct crash_image *image, const char *label)
{
	c->image = *image;
	c->file = image->file;
	free(c->label);
	c->label = label ? must(strdup(label)) : NULL;
	free(c->violation);
	c->violation = NULL;
	c->is_checking = true;
	c->was_killed = c->must_adopt = false;
	c->fault = NULL;
	c->log_len = 0;
	c->recorder.hook = NULL;
	c->recorder.die_at = c->recorder.fail_barrier = c->recorder.calls = 0;
	c->recorder.clock = 1;
	c->recorder.is_dead = false;
	c->stats.runs++;
	model_start(c);
	start_guests(c);
}

void crash_set_checking(struct crash *c, bool is_checking)
{
	crash_lock(c);
	c->is_checking = is_checking;
	crash_unlock(c);
}

void crash_set_sampling(struct crash *c, unsigned every, uint64_t seed)
{
	c->sample_every = every;
	c->random = seed;
}

void crash_set_use(struct crash *c, crash_use_fn fn, void *arg)
{
	c->use = fn;
	c->use_arg = arg;
}

void crash_set_fault(struct crash *c, struct fault *fault)
{
	c->fault = fault;
}

const struct vhd_err *crash_error(const struct crash *c)
{
	return &c->err;
}

/* Every failure has to say why. */
static int keep_error(struct crash *c, int rc, const struct vhd_err *err)
{
	if (!rc)
		return 0;
	crash_lock(c);
	c->err = *err;
	if (rc > 0 || err->code != rc || strlen(err->msg) < 10)
		report(c, "a call fails with %d, and says \"%s\" (%d)", rc, err->msg, err->code);
	crash_unlock(c);
	return rc;
}

void crash_set_lost(struct crash *c, enum crash_lost lost)
{
	c->lost = lost;
}

struct recorder *crash_recorder(struct crash *c)
{
	return &c->recorder;
}

const char *crash_violation(const struct crash *c)
{
	return c->violation;
}

const struct crash_stats *crash_stats(const struct crash *c)
{
	return &c->stats;
}

/* The guest's doings. */

static void give(struct crash *c, uint64_t sector, uint32_t id, uint64_t begun, uint64_t ended)
{
	struct guest *g = &c->guests[sector];

	if (g->n == MAX_GUEST) {	/* a value given twice may go once */
		uint32_t i = 1;

		while (i < g->n - 1 && g->v[i].id != g->v[i - 1].id)
			i++;
		memmove(g->v + i, g->v + i + 1, (--g->n - i) * sizeof(*g->v));
	}
	g->v[g->n++] = (struct given){ .id = id, .begun = begun, .ended = ended };
}

/* buf NULL: zeros. What is written in part keeps the rest of what it had last. */
static uint64_t begin_giving(struct crash *c, const uint8_t *buf, uint64_t len, uint64_t off)
{
	uint64_t begun;

	crash_lock(c);
	begun = ++c->recorder.clock;
	for (uint64_t s = off / SECTOR; s * SECTOR < off + len; s++) {
		const struct guest *g = &c->guests[s];
		uint64_t start = s * SECTOR > off ? s * SECTOR : off;
		uint64_t end = (s + 1) * SECTOR < off + len ? (s + 1) * SECTOR : off + len;
		uint8_t raw[SECTOR];

		memcpy(raw, content_get(g->v[g->n - 1].id)->raw, SECTOR);
		if (buf)
			memcpy(raw + start % SECTOR, buf + (start - off), end - start);
		else
			memset(raw + start % SECTOR, 0, end - start);
		give(c, s, content_intern_guest(raw), begun, NEVER);
	}
	crash_unlock(c);
	return begun;
}

static void end_giving(struct crash *c, uint64_t begun, uint64_t len, uint64_t off, int rc)
{
	crash_lock(c);
	++c->recorder.clock;
	for (uint64_t s = off / SECTOR; !rc && s * SECTOR < off + len; s++)
		for (uint32_t i = 0; i < c->guests[s].n; i++)
			if (c->guests[s].v[i].begun == begun)
				c->guests[s].v[i].ended = c->recorder.clock;
	crash_unlock(c);
}

int crash_pwrite(struct crash *c, vhd_image *img, const void *buf, size_t len, uint64_t off)
{
	uint64_t begun = begin_giving(c, buf, len, off);
	struct vhd_err err = { 0 };
	int rc = vhd_pwrite(img, buf, len, off, &err);

	end_giving(c, begun, len, off, rc);
	return keep_error(c, rc, &err);
}

int crash_zero(struct crash *c, vhd_image *img, uint64_t len, uint64_t off, enum vhd_zero_how how)
{
	uint64_t begun = begin_giving(c, NULL, len, off);
	struct vhd_err err = { 0 };
	int rc = vhd_zero(img, len, off, how, &err);

	end_giving(c, begun, len, off, rc);
	return keep_error(c, rc, &err);
}

/* A value is gone once another came wholly after it and wholly before the flush. */
static void forget_flushed(struct crash *c, uint64_t flushed)
{
	for (uint64_t s = 0; s < c->sectors; s++) {
		struct guest *g = &c->guests[s];
		uint64_t latest = 0;
		uint32_t n = 0;

		for (uint32_t i = 0; i < g->n; i++)
			if (g->v[i].ended < flushed && g->v[i].begun > latest)
				latest = g->v[i].begun;
		for (uint32_t i = 0; i < g->n; i++)
			if (g->v[i].ended >= latest)
				g->v[n++] = g->v[i];
		g->n = n;
	}
}

static void acknowledge(struct crash *c, uint64_t begun)
{
	crash_lock(c);
	++c->recorder.clock;
	report_log(c, (struct log_entry){ .note = "acknowledged" });
	forget_flushed(c, begun);
	check(c);
	crash_unlock(c);
}

int crash_flush(struct crash *c, vhd_image *img)
{
	uint64_t begun = record_clock(&c->recorder);
	struct vhd_err err = { 0 };
	int rc = vhd_flush(img, &err);

	if (!rc)
		acknowledge(c, begun);
	return keep_error(c, rc, &err);
}

/* Zeros are one more value of what is free; the only one once that is certain. */
static uint64_t begin_freeing(struct crash *c, const bool *is_free)
{
	uint64_t begun;

	crash_lock(c);
	begun = ++c->recorder.clock;
	for (uint64_t s = 0; is_free && s < c->sectors; s++)
		if (is_free[s])
			give(c, s, 0, begun, NEVER);
	crash_unlock(c);
	return begun;
}

int crash_reclaim(struct crash *c, vhd_image *img, crash_verb verb,
		  const struct vhd_reclaim_opts *opts, const bool *is_free,
		  struct vhd_reclaim_result *result)
{
	uint64_t begun = begin_freeing(c, is_free);
	struct vhd_err err = { 0 };
	int rc = verb(img, opts, result, &err);
	bool is_sure = !rc && !result->is_partial && verb == vhd_zero_free && is_free;

	if (is_sure)
		end_giving(c, begun, c->sectors * SECTOR, 0, 0);
	if (!rc || rc == -ECANCELED) {	/* it ends in a commit */
		acknowledge(c, is_sure ? record_clock(&c->recorder) : begun);
		if (is_free && !is_sure)
			crash_adopt(c, img);
	}
	return keep_error(c, rc, &err);
}

int crash_close(struct crash *c, vhd_image *img)
{
	uint64_t begun = record_clock(&c->recorder);
	struct vhd_err err = { 0 };
	int rc = vhd_close(img, &err);

	if (!rc)
		acknowledge(c, begun);
	return keep_error(c, rc, &err);
}

void crash_kill(struct crash *c, vhd_image *img)
{
	crash_lock(c);
	c->recorder.is_dead = true;
	crash_unlock(c);
	if (img)
		vhd_close(img, NULL);
	c->must_adopt = c->was_killed = true;
}

/* Each sector has one of the values that it may have; from here on that is its latest, though older
 * ones may still come back until a flush. */
void crash_adopt(struct crash *c, vhd_image *img)
{
	uint64_t begun = record_clock(&c->recorder);

	for (uint64_t s = 0; s < c->sectors; s++) {
		uint8_t raw[SECTOR];
		uint32_t id;

		if (vhd_pread(img, raw, SECTOR, s * SECTOR, NULL)) {
			crash_violate(c, "after a reopen sector %llu cannot be read",
				      (unsigned long long)s);
			return;
		}
		crash_lock(c);
		id = content_intern_guest(raw);
		state_check_value(c, s, (uint32_t)(s / c->block_sectors), id, "after a reopen");
		for (uint32_t i = 0; i < c->guests[s].n; i++)	/* whoever was at it is dead */
			if (c->guests[s].v[i].ended == NEVER)
				c->guests[s].v[i].ended = begun - 1;
		give(c, s, id, begun, c->recorder.clock);
		crash_unlock(c);
	}
	c->must_adopt = false;
}

int crash_open(struct crash *c, vhd_image **img)
{
	struct mem_file *parents[] = { c->image.parent, NULL };
	struct vhd_err err = { 0 };
	struct vhd_io *io;
	int rc;

	crash_lock(c);
	c->recorder.is_dead = false;
	if (c->recorder.fail_barrier && c->recorder.calls >= c->recorder.fail_barrier)
		c->must_adopt = c->was_killed = true;
	crash_unlock(c);
	io = record_open(mem_open(c->file), &c->recorder);
	if (c->fault)
		io = fault_open(io, c->fault);
	rc = lineage_open(img, io, parents, NULL, &err);
	if (rc && !(c->fault && c->fault->fired))
		crash_violate(c, "the engine does not open it: %s", err.msg);
	else if (!rc && c->must_adopt)
		crash_adopt(c, *img);
	return keep_error(c, rc, &err);
}

void crash_latest(struct crash *c, uint64_t off, uint8_t buf[512])
{
	const struct guest *g;

	crash_lock(c);
	g = &c->guests[off / SECTOR];
	memcpy(buf, content_get(g->v[g->n - 1].id)->raw, SECTOR);
	crash_unlock(c);
}

bool crash_reads_right(struct crash *c, vhd_image *img)
{
	for (uint64_t s = 0; s < c->sectors; s++) {
		const struct guest *g = &c->guests[s];
		uint8_t raw[SECTOR];
		char text[64], has[64];

		if (g->n == 1 && !g->v[0].id && s % 64)
			continue;	/* the many that nobody ever touched, sparsely */
		if (vhd_pread(img, raw, SECTOR, s * SECTOR, NULL)) {
			crash_violate(c, "sector %llu cannot be read", (unsigned long long)s);
			return false;
		}
		if (memcmp(raw, content_get(g->v[g->n - 1].id)->raw, SECTOR) == 0)
			continue;
		crash_violate(c, "LIVE: sector %llu reads %s, but %s was written",
			      (unsigned long long)s,
			      content_describe(content_intern(raw, s), text, sizeof(text)),
			      content_describe(g->v[g->n - 1].id, has, sizeof(has)));
		return false;
	}
	return true;
}
