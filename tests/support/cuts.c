/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Power cuts in a job of few writes. */
#include "tests/support/cuts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cuts_complain(struct cuts *c, const char *what)
{
	if (!c->is_failed)
		printf("\n%s: crash after call %u: %s\n", c->name, c->call, what);
	c->is_failed = true;
}

void cuts_try(struct cuts *c)
{
	for (unsigned set = 0; set < 1u << c->units_len && !c->is_failed; set++) {
		struct mem_file *file = mem_clone(c->durable);

		for (unsigned i = 0; i < c->units_len; i++) {
			const struct cuts_unit *u = &c->units[i];

			if (!(set & 1u << i))
				continue;
			if (u->data)
				mem_write(file, u->data, u->len, u->off);
			else
				mem_truncate(file, u->off);
		}
		c->states++;
		c->judge(c->arg, file);
		mem_free(file);
	}
}

static void add_unit(struct cuts *c, const void *data, uint64_t off, uint64_t len)
{
	struct cuts_unit *u = &c->units[c->units_len];

	if (c->units_len == CUTS_UNITS) {
		cuts_complain(c, "more is in flight than can be tried");
		return;
	}
	*u = (struct cuts_unit){ .off = off, .len = len };
	if (data) {
		u->data = malloc(len);
		memcpy(u->data, data, len);
	}
	c->units_len++;
}

static void add_write(struct cuts *c, const struct record_event *ev)
{
	uint64_t part = ev->len > 1024 ? ev->len / 1024 * 512 : 512;

	if (ev->off + ev->len > c->length) {
		c->length = ev->off + ev->len;
		add_unit(c, NULL, c->length, 0);
	}
	for (uint64_t at = 0, n; at < ev->len; at += n) {
		n = ev->len - at < part || ev->len - at - part < 512 ? ev->len - at : part;
		add_unit(c, (const uint8_t *)ev->data + at, ev->off + at, n);
	}
}

/* A hole is there whole or not at all, as hosts keep it in one record. */
static void add_zeros(struct cuts *c, const struct record_event *ev)
{
	uint8_t *zeros = calloc(1, ev->len);

	add_unit(c, zeros, ev->off, ev->len);
	free(zeros);
}

static void forget_units(struct cuts *c)
{
	while (c->units_len)
		free(c->units[--c->units_len].data);
}

void cuts_observe(void *arg, const struct record_event *ev)
{
	struct cuts *c = arg;

	c->call = ev->number;
	if (ev->kind == RECORD_BARRIER && ev->phase == RECORD_BEGUN)
		cuts_try(c);
	if (ev->phase != RECORD_DONE || ev->rc)
		return;
	if (ev->kind == RECORD_WRITE) {
		add_write(c, ev);
	} else if (ev->kind == RECORD_PUNCH) {
		add_zeros(c, ev);
	} else if (ev->kind == RECORD_TRUNCATE) {
		c->length = ev->off;
		add_unit(c, NULL, ev->off, 0);
	} else if (ev->kind == RECORD_BARRIER) {
		forget_units(c);
		mem_free(c->durable);
		c->durable = mem_clone(c->live);
		c->length = mem_size(c->live);
	}
}

void cuts_begin(struct cuts *c)
{
	c->durable = mem_clone(c->live);
	c->length = mem_size(c->live);
}

void cuts_end(struct cuts *c)
{
	forget_units(c);
	mem_free(c->durable);
}
