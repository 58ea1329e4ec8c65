/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What table_read says of a raw file.
 *
 *	table FILE			"KIND SECTOR[ backup][ gaps]: why", and for each partition
 *					"NUMBER START LENGTH USE TYPE NAME", in bytes
 *	table FILE gaps			"START LENGTH" of each gap
 *	table FILE fuzz SEED ROUNDS	the table's sectors are changed ROUNDS times, in memory, and
 *					what is said of it must hold together
 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/guest/raw.h"
#include "vhd/guest/crc32.h"
#include "vhd/guest/table.h"

static struct raw raw;
static struct window disk;
static struct table table, first;

static const char *const kinds[] = {
	[TABLE_NONE] = "none", [TABLE_MBR] = "mbr", [TABLE_GPT] = "gpt",
	[TABLE_DAMAGED] = "damaged", [TABLE_UNSUPPORTED] = "unsupported",
};

static const char *const uses[] = {
	[TABLE_DATA] = "data", [TABLE_EXTENDED] = "extended", [TABLE_RESERVED] = "reserved",
};

static int show(void)
{
	printf("%s %u%s%s: %s\n", kinds[table.kind], table.sector,
	       table.is_backup ? " backup" : "", table.has_gaps ? " gaps" : "", table.why);
	for (size_t i = 0; i < table.len; i++) {
		const struct table_part *part = &table.parts[i];

		printf("%u %" PRIu64 " %" PRIu64 " %s %s %s\n", part->number, part->start,
		       part->length, uses[part->use], part->type, part->name);
	}
	return 0;
}

static int show_gaps(void)
{
	uint64_t start, len;

	for (uint64_t off = 0; table_next_gap(&table, &disk, off, &start, &len); off = start + len)
		printf("%" PRIu64 " %" PRIu64 "\n", start, len);
	return 0;
}

static bool are_apart(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a + a_len <= b || b + b_len <= a;
}

/* Aborts unless what the table says holds together. */
static void check_parts(void)
{
	bool is_served = table.kind == TABLE_MBR || table.kind == TABLE_GPT;

	assert(is_served || !table.len);
	assert(table.kind == TABLE_NONE || is_served || table.why[0]);
	for (size_t i = 0; i < table.len; i++) {
		const struct table_part *part = &table.parts[i];

		assert(part->length && part->start < disk.size);
		assert(part->length <= disk.size - part->start);
		assert(part->number && part->type[0]);
		assert(!i || table.parts[i - 1].start <= part->start);
		for (size_t k = 0; k < table.own_len && part->use != TABLE_EXTENDED; k++)
			assert(are_apart(part->start, part->length, table.own[k].off,
					 table.own[k].len));
		for (size_t k = 0; k < i && part->use != TABLE_EXTENDED; k++)
			assert(table.parts[k].use == TABLE_EXTENDED ||
			       are_apart(part->start, part->length, table.parts[k].start,
					 table.parts[k].length));
	}
}

static void check_gaps(void)
{
	uint64_t off = 0, start, len;

	for (; table_next_gap(&table, &disk, off, &start, &len); off = start + len) {
		assert(table.has_gaps && !table.why[0]);
		assert(len && start >= off && start + len <= disk.size - (2 << 20));
		assert(start > table.parts[0].start);
		for (size_t i = 0; i < table.len; i++)
			assert(table.parts[i].use == TABLE_EXTENDED ||
			       are_apart(start, len, table.parts[i].start, table.parts[i].length));
		for (size_t i = 0; i < table.own_len; i++)
			assert(are_apart(start, len + (1 << 20), table.own[i].off,
					 table.own[i].len + (1 << 20)));
	}
}

/* Makes the checksums of the GPT at sector at right again, so that what is behind them is seen. */
static void mend_gpt(uint32_t sector, uint64_t at)
{
	static uint8_t array[16384 * 128];
	uint8_t header[4096], sum[4];
	uint32_t crc, len;

	if (window_read(&disk, header, sector, at * sector) || memcmp(header, "EFI PART", 8))
		return;
	len = le32(header + 80) * 128;
	if (le32(header + 80) <= 16384 && le64(header + 72) < disk.size &&
	    !window_read(&disk, array, len, le64(header + 72) * sector)) {
		crc = ~crc32_update(~0u, array, len);
		for (unsigned i = 0; i < 4; i++)
			header[88 + i] = (uint8_t)(crc >> 8 * i);
		raw_change(&raw, at * sector + 88, header + 88, 4);
	}
	memset(header + 16, 0, 4);
	len = le32(header + 12) <= sector ? le32(header + 12) : sector;
	crc = ~crc32_update(~0u, header, len);
	for (unsigned i = 0; i < 4; i++)
		sum[i] = (uint8_t)(crc >> 8 * i);
	raw_change(&raw, at * sector + 16, sum, 4);
}

/* A few bytes, words or entries copied about, in what the table occupies. */
static void mutate(uint64_t *seed)
{
	static const uint32_t odd[] = { 0, 1, 2, 33, 34, 2048, 0x7fffffff, 0x80000000, 0xffffffff };

	raw.len = 0;
	for (unsigned n = 1 + raw_random(seed) % 4; n; n--) {
		const struct table_own *own = &first.own[raw_random(seed) % first.own_len];
		uint64_t off = own->off + raw_random(seed) % own->len, r = raw_random(seed);
		uint8_t copied[16];

		/* Mostly where it matters: the entries of an MBR, the first ones of a GPT. */
		if (r & 1 && own->len == 512)
			off = own->off + 446 + raw_random(seed) % 66;
		else if (r & 1)
			off = own->off + raw_random(seed) % 768;
		if (r & 2)
			raw_change(&raw, off, &r, 1 + (r >> 8) % 8);
		else if (r & 4)
			raw_change(&raw, off & ~3ull, &odd[(r >> 8) % 9], 4);
		else if (!window_read(&disk, copied, 16, off) && own->len > 512)
			raw_change(&raw, own->off + raw_random(seed) % 64 * 16, copied, 16);
	}
	if (raw_random(seed) % 4) {
		mend_gpt(first.sector, 1);
		mend_gpt(first.sector, disk.size / first.sector - 1);
	}
}

static int fuzz(uint64_t seed, unsigned long rounds)
{
	unsigned long counts[5] = { 0 };

	first = table;
	for (unsigned long i = 0; i < rounds; i++) {
		mutate(&seed);
		raw.reads = 0;
		if (table_read(&table, &disk))
			return 1;
		assert(raw.reads <= TABLE_MAX_OWN + 16);
		check_parts();
		check_gaps();
		counts[table.kind]++;
	}
	for (unsigned i = 0; i < 5; i++)
		printf("%s %lu\n", kinds[i], counts[i]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2 || raw_open(&raw, &disk, argv[1], O_RDONLY) || table_read(&table, &disk))
		return 2;
	check_parts();
	check_gaps();
	if (argc > 2 && strcmp(argv[2], "gaps") == 0)
		return show_gaps();
	if (argc > 4 && strcmp(argv[2], "fuzz") == 0)
		return fuzz(strtoull(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
	return show();
}
