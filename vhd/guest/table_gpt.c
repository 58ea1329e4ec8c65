/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GPT: a header and an array of entries, twice, at both ends of the disk, each with checksums. What
 * sectors it counts in is nowhere written: those in which a header is where it says that it is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/guest/crc32.h"
#include "vhd/guest/table_private.h"

#define ENTRY 128u
#define MAX_ENTRIES 16384u
#define HEADER_MIN 92u

struct gpt {
	uint32_t sector;
	uint64_t at, other, first, last;	/* sectors: of both headers, and usable */
	uint64_t array;		/* sector */
	uint32_t count, array_crc;
	uint8_t guid[16];	/* the disk's */
	uint8_t *entries;	/* count * ENTRY bytes */
	const char *why;	/* when it is none */
};

static uint32_t crc(const void *buf, size_t len)
{
	return ~crc32_update(~0u, buf, len);
}

static int bad(struct gpt *gpt, const char *why)
{
	gpt->why = why;
	return 0;
}

/* Reads len bytes at a sector: 1, 0 if the disk has not got them, or its error. */
static int read_sectors(const struct window *disk, const struct gpt *gpt, uint64_t at, void *buf,
			size_t len)
{
	uint64_t off;
	int rc;

	if (__builtin_mul_overflow(at, gpt->sector, &off))
		return 0;
	rc = window_read(disk, buf, len, off);
	return rc == -ERANGE ? 0 : rc ? rc : 1;
}

static int check_header(struct gpt *gpt, uint8_t *sector, uint64_t at)
{
	uint32_t len = le32(sector + 12), sum = le32(sector + 16);

	if (memcmp(sector, "EFI PART", 8) != 0)
		return bad(gpt, "is missing");
	if (len < HEADER_MIN || len > gpt->sector)
		return bad(gpt, "has a header of impossible size");
	memset(sector + 16, 0, 4);
	if (crc(sector, len) != sum)
		return bad(gpt, "has a header whose checksum is wrong");
	if (le64(sector + 24) != at)
		return bad(gpt, "is for another place");
	if (le32(sector + 84) != ENTRY || le32(sector + 80) > MAX_ENTRIES)
		return bad(gpt, "has entries of unknown size or number");
	*gpt = (struct gpt){
		.sector = gpt->sector, .at = at, .other = le64(sector + 32),
		.first = le64(sector + 40), .last = le64(sector + 48), .array = le64(sector + 72),
		.count = le32(sector + 80), .array_crc = le32(sector + 88),
	};
	memcpy(gpt->guid, sector + 56, sizeof(gpt->guid));
	return 1;
}

/* The copy whose header is at sector `at`: 1, 0 with why it is none, or -errno. */
static int read_copy(struct gpt *gpt, const struct window *disk, uint32_t sector_size, uint64_t at)
{
	uint64_t sectors = disk->size / sector_size;
	uint8_t sector[4096];
	int rc;

	*gpt = (struct gpt){ .sector = sector_size };
	rc = read_sectors(disk, gpt, at, sector, sector_size);
	if (rc <= 0)
		return rc ? rc : bad(gpt, "would lie past the end of the disk");
	rc = check_header(gpt, sector, at);
	if (rc <= 0)
		return rc;
	if (gpt->first > gpt->last || gpt->last >= sectors)
		return bad(gpt, "is for a larger disk");
	gpt->entries = malloc((size_t)gpt->count * ENTRY + 1);
	if (!gpt->entries)
		return -ENOMEM;
	rc = read_sectors(disk, gpt, gpt->array, gpt->entries, (size_t)gpt->count * ENTRY);
	if (rc > 0 && crc(gpt->entries, (size_t)gpt->count * ENTRY) == gpt->array_crc)
		return 1;
	free(gpt->entries);
	gpt->entries = NULL;
	return rc < 0 ? rc : bad(gpt, rc ? "has entries whose checksum is wrong" :
				 "has its entries past the end of the disk");
}

static uint64_t round_up(uint64_t n, uint32_t to)
{
	return (n + to - 1) / to * to;
}

static void own_copy(struct table *table, const struct gpt *gpt)
{
	/* Fewer than TABLE_MAX_OWN in any GPT. */
	table_own(table, gpt->at * gpt->sector, gpt->sector);
	if (gpt->count)
		table_own(table, gpt->array * gpt->sector,
			  round_up((uint64_t)gpt->count * ENTRY, gpt->sector));
}

/* In the order of its text, of which the first three groups are little-endian numbers. */
static void guid_text(char *text, size_t size, const uint8_t *p)
{
	snprintf(text, size, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", le32(p),
		 le16(p + 4), le16(p + 6), p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]);
}

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* What cannot be shown becomes U+FFFD: halves of pairs, and controls, which terminals obey. */
static void name_text(char *text, size_t size, const uint8_t *p)
{
	size_t len = 0;

	for (unsigned i = 0; i < 36 && le16(p + 2 * i); i++) {
		uint32_t c = le16(p + 2 * i), low = i < 35 ? le16(p + 2 * i + 2) : 0;
		char out[4];
		size_t n;

		if (c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			i++;
		} else if ((c >= 0xd800 && c < 0xe000) || c < 0x20 || (c >= 0x7f && c < 0xa0)) {
			c = 0xfffd;
		}
		n = put_utf8(out, c);
		if (len + n >= size)
			break;
		memcpy(text + len, out, n);
		len += n;
	}
	text[len] = '\0';
}

static bool is_one_of(const char *type, const char *const *list)
{
	while (*list && strcmp(*list, type) != 0)
		list++;
	return *list;
}

static int add_entry(struct table *table, const struct gpt *gpt, unsigned number, const uint8_t *p)
{
	/* Microsoft's, BIOS boot, PReP boot, Intel's for sleep, Solaris' ones for the loader. */
	static const char *const reserved[] = {
		"e3c9e316-0b5c-4db8-817d-f92df00215ae", "21686148-6449-6e6f-744e-656564454649",
		"9e1a2d38-c612-4316-aa26-8b49521e5a8b", "d3bfe2de-3daf-11df-ba40-e3a556d89593",
		"6a945a3b-1dd2-11b2-99a6-080020736631", NULL,
	};
	static const char *const dynamic[] = {
		"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "af9b60a0-1431-4f62-bc68-3311714a69ad",
		NULL,
	};
	uint64_t first = le64(p + 32), last = le64(p + 40);
	struct table_part *part;

	if (first > last || last > gpt->last || first < gpt->first)
		return table_refuse(table, TABLE_DAMAGED,
				    "partition %u is not within the room that the GPT has for them",
				    number);
	part = table_add(table, number, first * gpt->sector, (last - first + 1) * gpt->sector);
	if (!part)
		return table_refuse(table, TABLE_UNSUPPORTED, "there are more than %d partitions",
				    TABLE_MAX_PARTS);
	guid_text(part->type, sizeof(part->type), p);
	name_text(part->name, sizeof(part->name), p + 56);
	if (is_one_of(part->type, dynamic))
		return table_refuse(table, TABLE_UNSUPPORTED,
				    "a dynamic disk of Windows (LDM): not looked into");
	if (is_one_of(part->type, reserved))
		part->use = TABLE_RESERVED;
	return 0;
}

static void take(struct table *table, const struct gpt *gpt)
{
	static const uint8_t zeros[16];

	table->kind = TABLE_GPT;
	table->has_gaps = !table->why[0];
	table->sector = gpt->sector;
	own_copy(table, gpt);
	for (unsigned i = 0; i < gpt->count && table->kind == TABLE_GPT; i++)
		if (memcmp(gpt->entries + i * ENTRY, zeros, sizeof(zeros)) != 0)
			add_entry(table, gpt, i + 1, gpt->entries + i * ENTRY);
}

/* The backup only says whether it can be trusted that nothing else lies between the partitions. */
static int compare_backup(struct table *table, const struct window *disk, const struct gpt *primary)
{
	struct gpt backup;
	int rc;

	if (primary->other <= primary->last) {
		table_warn(table, "the GPT's backup would lie among the partitions");
		return 0;
	}
	rc = read_copy(&backup, disk, primary->sector, primary->other);
	if (!rc)
		table_warn(table, "the GPT's backup %s", backup.why);
	if (rc <= 0)
		return rc;
	if (backup.array_crc != primary->array_crc || backup.count != primary->count ||
	    memcmp(backup.guid, primary->guid, sizeof(backup.guid)) != 0)
		table_warn(table, "the GPT's backup is not the same; the primary counts");
	own_copy(table, &backup);
	free(backup.entries);
	return 0;
}

/* A hybrid MBR's other entries may repeat the GPT's partitions, or be apart from them. */
static void check_hybrid(struct table *table, const uint8_t *head)
{
	for (unsigned i = 0; i < 4; i++) {
		struct mbr_entry entry = mbr_entry(head, i);

		if (!entry.length || entry.type == MBR_GPT)
			continue;
		table->has_gaps = false;
		for (size_t k = 0; k < table->len; k++) {
			const struct table_part *part = &table->parts[k];

			if (part->start == entry.start && part->length == entry.length)
				continue;
			if (part->start < entry.start + entry.length &&
			    entry.start < part->start + part->length)
				table_refuse(table, TABLE_DAMAGED,
					     "partition %u is another in the GPT than in the MBR",
					     part->number);
		}
	}
}

/* The first copy of which nothing is wrong: 1, 0 for none with the last one's why, or -errno. */
static int find(struct gpt *gpt, const struct window *disk, struct table *table)
{
	static const uint32_t sectors[] = { 512, 4096 };
	const char *primary = NULL;
	int rc = 0;

	for (size_t i = 0; i < 2 && !rc; i++) {
		rc = read_copy(gpt, disk, sectors[i], 1);
		if (!rc && (!primary || strcmp(gpt->why, "is missing") != 0))
			primary = gpt->why;
	}
	if (rc)
		return rc;
	for (size_t i = 0; i < 2 && !rc; i++)
		rc = read_copy(gpt, disk, sectors[i],
			       disk->size / sectors[i] ? disk->size / sectors[i] - 1 : 0);
	table->is_backup = rc > 0;
	if (rc > 0)
		table_warn(table, "the GPT's primary copy %s; its backup was read", primary);
	gpt->why = rc ? NULL : primary;
	return rc;
}

int gpt_read(struct table *table, const struct window *disk, const uint8_t *head)
{
	struct gpt gpt;
	int rc = find(&gpt, disk, table);

	if (!rc)
		return table_refuse(table, TABLE_DAMAGED,
				    "there should be a GPT; it %s, and there is no backup",
				    gpt.why);
	if (rc < 0)
		return rc;
	table_own(table, 0, TABLE_SECTOR);
	take(table, &gpt);
	rc = table->kind == TABLE_GPT && !table->is_backup ? compare_backup(table, disk, &gpt) : 0;
	if (!rc && table->kind == TABLE_GPT)
		check_hybrid(table, head);
	free(gpt.entries);
	return rc;
}
