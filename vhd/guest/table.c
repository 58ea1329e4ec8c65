/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The partition table of a disk: which kind it is, and whether what it says holds together. */
#include "vhd/guest/table_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIB (1ull << 20)

int table_refuse(struct table *table, enum table_kind kind, const char *fmt, ...)
{
	va_list ap;

	table->kind = kind;
	table->len = 0;
	table->has_gaps = false;
	va_start(ap, fmt);
	vsnprintf(table->why, sizeof(table->why), fmt, ap);
	va_end(ap);
	return 0;
}

void table_warn(struct table *table, const char *fmt, ...)
{
	va_list ap;

	table->has_gaps = false;
	if (table->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(table->why, sizeof(table->why), fmt, ap);
	va_end(ap);
}

/* Kept in order of start as they come: a table has few, and mostly in order. */
struct table_part *table_add(struct table *table, unsigned number, uint64_t start, uint64_t length)
{
	size_t i = table->len;

	if (i == TABLE_MAX_PARTS)
		return NULL;
	while (i && table->parts[i - 1].start > start)
		i--;
	memmove(&table->parts[i + 1], &table->parts[i],
		(table->len++ - i) * sizeof(table->parts[0]));
	table->parts[i] = (struct table_part){ .number = number, .start = start, .length = length };
	return &table->parts[i];
}

bool table_own(struct table *table, uint64_t off, uint64_t len)
{
	if (table->own_len == TABLE_MAX_OWN)
		return false;
	table->own[table->own_len++] = (struct table_own){ off, len };
	return true;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static bool is_within(const struct table_part *part, const struct table_part *outer)
{
	return part->start >= outer->start &&
	       part->start + part->length <= outer->start + outer->length;
}

static bool may_share(const struct table_part *a, const struct table_part *b)
{
	if (a->use == TABLE_EXTENDED && b->use != TABLE_EXTENDED)
		return b->number > 4 && is_within(b, a);
	return b->use == TABLE_EXTENDED && a->use != TABLE_EXTENDED && may_share(b, a);
}

static int check_overlap(struct table *table, size_t i)
{
	const struct table_part *part = &table->parts[i];

	for (size_t k = 0; k < i; k++) {
		const struct table_part *other = &table->parts[k];

		if (overlap(part->start, part->length, other->start, other->length) &&
		    !may_share(part, other))
			return table_refuse(table, TABLE_DAMAGED, "partitions %u and %u overlap",
					    other->number, part->number);
	}
	return 0;
}

/* An extended partition holds its EBRs, but no partition sector 0. */
static int check_own(struct table *table, size_t i)
{
	const struct table_part *part = &table->parts[i];

	for (size_t k = 0; k < table->own_len; k++)
		if (overlap(part->start, part->length, table->own[k].off, table->own[k].len) &&
		    (part->use != TABLE_EXTENDED || !table->own[k].off))
			return table_refuse(table, TABLE_DAMAGED,
					    "partition %u lies over the partition table",
					    part->number);
	return 0;
}

static int check_all(struct table *table, const struct window *disk)
{
	/* First this, so that no sum of start and length can overflow in what follows. */
	for (size_t i = 0; i < table->len; i++) {
		const struct table_part *part = &table->parts[i];

		if (part->start > disk->size || part->length > disk->size - part->start)
			return table_refuse(table, TABLE_DAMAGED,
					    "partition %u reaches past the end of the disk",
					    part->number);
	}
	for (size_t i = 0; i < table->len; i++)
		check_overlap(table, i);
	for (size_t i = 0; i < table->len; i++)
		check_own(table, i);
	return 0;
}

static bool is_gpt_header(const uint8_t *p)
{
	return memcmp(p, "EFI PART", 8) == 0;
}

/* Whether head is an MBR, rather than some loader's sector, as the kernel tells them apart. */
static bool is_mbr(const uint8_t *head)
{
	for (unsigned i = 0; i < 4; i++)
		if (mbr_entry(head, i).status & 0x7f)
			return false;
	return true;
}

static int read_by_kind(struct table *table, const struct window *disk, const uint8_t *head)
{
	const char *foreign = table_foreign(head);
	bool has_gpt = is_gpt_header(head + 512) || is_gpt_header(head + 4096);

	if (foreign)
		return table_refuse(table, TABLE_UNSUPPORTED,
				    "partitioned by %s, which is not looked into", foreign);
	if (!mbr_has_magic(head))
		return has_gpt ? table_refuse(table, TABLE_DAMAGED,
					      "there is a GPT without its protective MBR") : 0;
	/* One such entry is enough: no system that knows GPT goes by the others of a hybrid MBR. */
	for (unsigned i = 0; i < 4; i++)
		if (mbr_entry(head, i).type == MBR_GPT)
			return gpt_read(table, disk, head);
	if (!is_mbr(head))
		return 0;
	if (has_gpt)
		table_warn(table, "there is a GPT, which counts for nothing without its MBR");
	return mbr_read(table, disk, head);
}

int table_read(struct table *table, const struct window *disk)
{
	uint8_t head[TABLE_HEAD] = { 0 };
	int rc;

	memset(table, 0, sizeof(*table));
	table->sector = TABLE_SECTOR;
	if (disk->size < TABLE_SECTOR)
		return 0;
	rc = window_read(disk, head, disk->size < sizeof(head) ? disk->size : sizeof(head), 0);
	if (!rc)
		rc = read_by_kind(table, disk, head);
	if (rc) {
		table->len = 0;
		return rc;
	}
	return check_all(table, disk);
}

/* Raises *start, or else lowers *end, off the 1 MiB around each of the table's own stretches. */
static void keep_off_own(const struct table *table, uint64_t *start, uint64_t *end)
{
	bool has_moved = true;

	while (has_moved) {
		has_moved = false;
		for (size_t i = 0; i < table->own_len; i++) {
			const struct table_own *own = &table->own[i];
			uint64_t to = own->off + own->len + MIB;

			if (own->off < *start + MIB && to > *start) {
				*start = to;
				has_moved = true;
			}
		}
	}
	for (size_t i = 0; i < table->own_len; i++)
		if (table->own[i].off >= *start + MIB && table->own[i].off - MIB < *end)
			*end = table->own[i].off - MIB;
}

/* What may be taken of [start, end), from off on; no gap if *start is not below *end. */
static void limit_gap(const struct table *table, const struct window *disk, uint64_t off,
		      uint64_t *start, uint64_t *end)
{
	uint64_t last = disk->size > 2 * MIB ? disk->size - 2 * MIB : 0;

	if (*end > last)
		*end = last;
	if (*start < off)
		*start = off;
	if (*start < *end)
		keep_off_own(table, start, end);
}

bool table_next_gap(const struct table *table, const struct window *disk, uint64_t off,
		    uint64_t *start, uint64_t *len)
{
	const struct table_part *before = NULL;

	for (size_t i = 0; table->has_gaps && i < table->len; i++) {
		const struct table_part *part = &table->parts[i];
		uint64_t end = part->start;

		if (part->use == TABLE_EXTENDED)
			continue;
		if (before) {
			*start = before->start + before->length;
			limit_gap(table, disk, off, start, &end);
			*len = end - *start;
			if (*start < end)
				return true;
		}
		before = part;
	}
	return false;
}
