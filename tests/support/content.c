/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The contents of sectors, each kept once, for the whole life of the program.
 *
 * Locking: the pool's lock to add; a number once given stays valid, its item never moves.
 */
#include "tests/support/content.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/imagegen.h"

static struct {
	struct content **items;
	uint32_t len, max;
	uint32_t bucket[1 << 16];	/* index + 1 */
	pthread_mutex_t lock;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t hash(const uint8_t *raw)
{
	uint64_t h = 0x9e3779b97f4a7c15, word;

	for (unsigned i = 0; i < SECTOR; i += 8) {
		memcpy(&word, raw + i, 8);
		h = (h ^ word) * 0xff51afd7ed558ccd;
		h ^= h >> 29;
	}
	return h;
}

static void add_content(const uint8_t *raw, uint64_t off)
{
	struct content *item = calloc(1, sizeof(*item));
	uint8_t junk[SECTOR];

	if (pool.len == pool.max) {
		pool.max = pool.max ? pool.max * 2 : 1024;
		pool.items = realloc(pool.items, pool.max * sizeof(*pool.items));
	}
	if (!pool.items || !item)
		abort();
	memcpy(item->raw, raw, SECTOR);
	gen_junk(junk, SECTOR, off);
	if (memcmp(raw, junk, SECTOR) == 0)
		item->flags |= IS_JUNK;
	if (oracle_parse_footer(&item->footer, raw))
		item->flags |= IS_FOOTER;
	pool.items[pool.len++] = item;
}

uint32_t content_intern(const uint8_t raw[SECTOR], uint64_t off)
{
	static const uint8_t zeros[SECTOR];
	uint32_t *bucket, id;

	pthread_mutex_lock(&pool.lock);
	if (!pool.len)
		add_content(zeros, 0);
	if (!raw[0] && memcmp(raw, raw + 1, SECTOR - 1) == 0) {
		pthread_mutex_unlock(&pool.lock);
		return 0;
	}
	bucket = &pool.bucket[hash(raw) & 0xffff];
	id = *bucket;
	while (id && memcmp(pool.items[id]->raw, raw, SECTOR) != 0)
		id = pool.items[id]->next;
	if (!id) {
		add_content(raw, off);
		id = pool.len - 1;
		pool.items[id]->next = *bucket;
		*bucket = id;
	}
	pthread_mutex_unlock(&pool.lock);
	return id;
}

const struct content *content_get(uint32_t id)
{
	return pool.items[id];
}

uint32_t content_intern_guest(const uint8_t raw[SECTOR])
{
	uint32_t id = content_intern(raw, 1);

	if (id)
		pool.items[id]->flags |= IS_GUEST;
	return id;
}

const char *content_describe(uint32_t id, char *buf, size_t len)
{
	const struct content *item = content_get(id);
	const uint8_t *raw = item->raw;

	if (!id)
		return "zeros";
	if (item->flags & IS_FOOTER)
		return "a footer";
	if (item->flags & IS_JUNK)
		return "junk";
	if (memcmp(raw, "guestsec", 8) == 0)
		snprintf(buf, len, "guest sector %u, version 0x%x", be32(raw + 12), be32(raw + 16));
	else
		snprintf(buf, len, "%02x%02x%02x%02x...", raw[0], raw[1], raw[2], raw[3]);
	return buf;
}
