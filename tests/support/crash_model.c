/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a file is durable, and what may be there instead: every change moves it. */
#include <stdio.h>
#include <string.h>

#include "tests/support/crash_private.h"

static struct cell *cell_at(struct crash *c, uint64_t sector)
{
	if (sector >= c->cells_len) {
		uint64_t want = sector + 256;

		c->cells = must(realloc(c->cells, want * sizeof(*c->cells)));
		for (uint64_t i = c->cells_len; i < want; i++) {
			c->cells[i].n = 1;
			c->cells[i].is_listed = false;
			c->cells[i].v[0] = (struct option){ .returned = 1 };
		}
		c->cells_len = want;
	}
	return &c->cells[sector];
}

/* Room for one more value: of equal ones that are not yet durable the older goes. */
static void make_option(struct cell *cell)
{
	for (uint32_t i = 1; i < cell->n; i++) {
		for (uint32_t j = i + 1; j < cell->n; j++) {
			if (cell->v[i].id != cell->v[j].id || !cell->v[i].returned)
				continue;
			memmove(cell->v + i, cell->v + i + 1,
				(--cell->n - i) * sizeof(*cell->v));
			return;
		}
	}
	fprintf(stderr, "crash: a sector has more than %d values between two barriers\n",
		MAX_OPTIONS);
	abort();
}

static void put(struct crash *c, uint64_t sector, uint32_t id, unsigned call, uint32_t epoch)
{
	struct cell *cell = cell_at(c, sector);

	if (cell->n == 1 && cell->v[0].id == id && !cell->v[0].epoch)
		return;
	if (cell->n == MAX_OPTIONS)
		make_option(cell);
	cell->v[cell->n++] = (struct option){ .id = id, .epoch = epoch, .call = call };
	if (cell->is_listed)
		return;
	if (c->dirty_len == c->dirty_max) {
		c->dirty_max = c->dirty_max ? c->dirty_max * 2 : 64;
		c->dirty = must(realloc(c->dirty, c->dirty_max * sizeof(*c->dirty)));
	}
	cell->is_listed = true;
	c->dirty[c->dirty_len++] = (uint32_t)sector;
}

static void put_size(struct crash *c, uint64_t size, unsigned call, bool is_live)
{
	if (!is_live && size <= c->sizes[0].size)
		return;
	if (c->sizes_len == MAX_SIZES) {
		fprintf(stderr, "crash: too many lengths between two barriers\n");
		abort();
	}
	c->sizes[c->sizes_len++] = (struct length){ .size = size, .epoch = c->epoch,
						    .call = call, .is_live = is_live };
	if (is_live)
		c->live_size = size;
}

static uint32_t live_id(struct crash *c, uint64_t sector)
{
	uint8_t raw[SECTOR];

	mem_read(c->file, raw, SECTOR, sector * SECTOR);
	return content_intern(raw, sector * SECTOR);
}

/* The file has changed already: what it holds now is what was issued. */
static void on_write(struct crash *c, const struct record_event *ev)
{
	uint64_t end = ev->off + ev->len;

	for (uint64_t s = ev->off / SECTOR; s * SECTOR < end; s++) {
		uint64_t stop = (s + 1) * SECTOR < end ? (s + 1) * SECTOR : end;

		put(c, s, live_id(c, s), ev->number, 0);
		if (stop > c->live_size)
			put_size(c, stop, ev->number, stop == end);
		else if (stop > c->sizes[0].size)
			put_size(c, stop, ev->number, false);
	}
}

static void on_truncate(struct crash *c, const struct record_event *ev)
{
	c->epoch++;
	for (uint64_t s = (ev->off + SECTOR - 1) / SECTOR; s < c->cells_len; s++)
		put(c, s, 0, ev->number, c->epoch);
	if (ev->off % SECTOR)
		put(c, ev->off / SECTOR, live_id(c, ev->off / SECTOR), ev->number, c->epoch);
	put_size(c, ev->off, ev->number, true);
}

static void on_punch(struct crash *c, const struct record_event *ev)
{
	for (uint64_t s = ev->off / SECTOR; s * SECTOR < ev->off + ev->len; s++)
		put(c, s, live_id(c, s), ev->number, 0);
}

static void on_returned(struct crash *c, const struct record_event *ev)
{
	for (uint32_t i = 0; i < c->dirty_len; i++) {
		struct cell *cell = &c->cells[c->dirty[i]];

		for (uint32_t k = 1; k < cell->n; k++)
			if (cell->v[k].call == ev->number)
				cell->v[k].returned = c->recorder.clock;
	}
	for (unsigned i = 1; i < c->sizes_len; i++)
		if (c->sizes[i].call == ev->number)
			c->sizes[i].returned = c->recorder.clock;
}

static bool is_covered(uint64_t returned, bool is_lost, uint64_t begun)
{
	return returned && returned < begun && !is_lost;
}

/* The last value that the barrier covers is durable; earlier ones are gone, unless one of them was
 * still under way. */
static void settle_cell(struct cell *cell, uint64_t begun)
{
	uint32_t last = 0, n = 0;

	for (uint32_t i = 1; i < cell->n; i++)
		if (is_covered(cell->v[i].returned, cell->v[i].is_lost, begun))
			last = i;
	if (!last)
		return;
	cell->v[n++] = cell->v[last];
	for (uint32_t i = 1; i < cell->n; i++)
		if (i != last && (i > last || !cell->v[i].returned))
			cell->v[n++] = cell->v[i];
	cell->n = n;
}

static void settle_sizes(struct crash *c, uint64_t begun)
{
	unsigned last = 0, n = 0;

	for (unsigned i = 1; i < c->sizes_len; i++)
		if (c->sizes[i].is_live &&
		    is_covered(c->sizes[i].returned, c->sizes[i].is_lost, begun))
			last = i;
	c->sizes[n++] = c->sizes[last];
	for (unsigned i = 1; i < c->sizes_len; i++)
		if (i != last && !is_covered(c->sizes[i].returned, false, begun))
			c->sizes[n++] = c->sizes[i];
	c->sizes_len = n;
}

static void unlist_clean(struct crash *c)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->dirty_len; i++) {
		struct cell *cell = &c->cells[c->dirty[i]];

		if (c->sizes_len == 1)
			cell->v[0].epoch = 0;
		if (cell->n > 1 || cell->v[0].epoch)
			c->dirty[n++] = c->dirty[i];
		else
			cell->is_listed = false;
	}
	c->dirty_len = n;
}

static void on_barrier(struct crash *c, const struct record_event *ev)
{
	if (ev->rc) {
		for (uint32_t i = 0; i < c->dirty_len; i++) {
			struct cell *cell = &c->cells[c->dirty[i]];

			for (uint32_t k = 1; k < cell->n; k++)
				cell->v[k].is_lost |= cell->v[k].returned &&
						      cell->v[k].returned < ev->begun;
		}
		return;
	}
	for (uint32_t i = 0; i < c->dirty_len; i++)
		settle_cell(&c->cells[c->dirty[i]], ev->begun);
	settle_sizes(c, ev->begun);
	unlist_clean(c);
}

/* Clean pages go, and what the disk has comes back: for a lost value, perhaps an older one. */
static void on_drop_cache(struct crash *c)
{
	for (uint32_t i = 0; i < c->dirty_len; i++) {
		uint32_t sector = c->dirty[i];
		struct cell *cell = &c->cells[sector];
		uint32_t pick = cell->n - 1;

		if (!cell->v[pick].is_lost)
			continue;
		if (c->lost == CRASH_LOST_OLD || (c->lost == CRASH_LOST_MIXED && sector % 2))
			pick = 0;
		mem_write(c->file, content_get(cell->v[pick].id)->raw, SECTOR,
			  (uint64_t)sector * SECTOR);
		cell->v[0] = cell->v[pick];
		cell->v[0].is_lost = false;
		cell->n = 1;
	}
	unlist_clean(c);
	c->live_size = mem_size(c->file);
}

void model_apply(struct crash *c, const struct record_event *ev)
{
	if (ev->phase == RECORD_RETURNED)
		on_returned(c, ev);
	else if (ev->kind == RECORD_BARRIER)
		on_barrier(c, ev);
	else if (ev->kind == RECORD_DROP_CACHE)
		on_drop_cache(c);
	else if (ev->rc == 0 && ev->kind == RECORD_WRITE)
		on_write(c, ev);
	else if (ev->rc == 0 && ev->kind == RECORD_TRUNCATE)
		on_truncate(c, ev);
	else if (ev->rc == 0 && ev->kind == RECORD_PUNCH)
		on_punch(c, ev);
}

unsigned model_options(struct crash *c, uint64_t sector, uint32_t epoch, uint32_t *out)
{
	const struct cell *cell = cell_at(c, sector);
	unsigned n = 0;

	for (uint32_t i = 0; i < cell->n; i++) {
		unsigned k = 0;

		if (cell->v[i].epoch > epoch)
			continue;
		while (k < n && out[k] != cell->v[i].id)
			k++;
		if (k == n)
			out[n++] = cell->v[i].id;
	}
	return n;
}

void model_start(struct crash *c)
{
	uint64_t n = (mem_size(c->file) + SECTOR - 1) / SECTOR;

	for (uint32_t i = 0; i < c->cells_len; i++) {
		c->cells[i].n = 1;
		c->cells[i].is_listed = false;
		c->cells[i].v[0] = (struct option){ .returned = 1 };
	}
	for (uint64_t s = 0; s < n; s++) {
		uint32_t id = live_id(c, s);

		cell_at(c, s)->v[0].id = id;
	}
	c->dirty_len = 0;
	c->epoch = 0;
	c->live_size = mem_size(c->file);
	c->sizes[0] = (struct length){ .size = c->live_size, .returned = 1, .is_live = true };
	c->sizes_len = 1;
}
