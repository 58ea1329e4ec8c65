/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The on-disk structures: decode, encode, checksum, validate.
 *
 * Byte offsets are written out once each for reading and writing; everything is big-endian.
 */
#include "vhd/format.h"

#include <string.h>

#define COOKIE_SIZE 8
#define FOOTER_COOKIE "conectix"
#define HEADER_COOKIE "cxsparse"
#define FOOTER_CHECKSUM 64
#define HEADER_CHECKSUM 36
#define FOOTER_HIDDEN 85
#define HEADER_LOCATORS 576
#define LOCATOR_SIZE 24
#define VERSION_MAJOR(v) ((v) >> 16)

/* Without their final NUL, which the format has not. */
static const uint8_t footer_cookie[COOKIE_SIZE] = FOOTER_COOKIE;
static const uint8_t header_cookie[COOKIE_SIZE] = HEADER_COOKIE;
static const uint8_t poison_cookie[COOKIE_SIZE] = "v_poison";

enum {
	TYPE_FIXED = 2,
	TYPE_DYNAMIC = 3,
	TYPE_DIFFERENCING = 4,
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

uint32_t fmt_checksum(const uint8_t *raw, size_t len, size_t skip)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i - skip >= 4)	/* wraps to a huge number below skip */
			sum += raw[i];
	return ~sum;
}

bool fmt_is_footer_cookie(const uint8_t raw[8])
{
	return memcmp(raw, footer_cookie, COOKIE_SIZE) == 0;
}

bool fmt_is_header_cookie(const uint8_t raw[8])
{
	return memcmp(raw, header_cookie, COOKIE_SIZE) == 0;
}

bool fmt_is_poison_cookie(const uint8_t raw[8])
{
	return memcmp(raw, poison_cookie, COOKIE_SIZE) == 0;
}

/* blktap 0.1 and 1.1 set "hidden" without a new checksum: it then fits a byte of 0. */
static bool footer_checksum_fits(const uint8_t *raw)
{
	uint32_t stored = get32(raw + FOOTER_CHECKSUM);
	uint32_t sum = fmt_checksum(raw, FMT_SECTOR, FOOTER_CHECKSUM);

	return stored == sum || stored == sum + raw[FOOTER_HIDDEN];
}

static void footer_fields(struct fmt_footer *out, const uint8_t *raw)
{
	out->features = get32(raw + 8);
	out->version = get32(raw + 12);
	out->data_offset = get64(raw + 16);
	out->timestamp = get32(raw + 24);
	memcpy(out->creator, raw + 28, 4);
	out->creator_version = get32(raw + 32);
	memcpy(out->creator_os, raw + 36, 4);
	out->original_size = get64(raw + 40);
	out->current_size = get64(raw + 48);
	out->geometry.cylinders = get16(raw + 56);
	out->geometry.heads = raw[58];
	out->geometry.sectors = raw[59];
	out->type = get32(raw + 60);
	memcpy(out->uuid, raw + 68, 16);
	out->saved_state = raw[84];
	out->hidden = raw[FOOTER_HIDDEN];
}

const char *fmt_footer_decode(struct fmt_footer *out, const uint8_t raw[FMT_SECTOR])
{
	if (fmt_is_poison_cookie(raw))
		return "is marked by blktap: a resize was begun and its journal is pending";
	if (!fmt_is_footer_cookie(raw))
		return "has no cookie \"" FOOTER_COOKIE "\"";
	if (!footer_checksum_fits(raw))
		return "has a wrong checksum";
	footer_fields(out, raw);
	if (VERSION_MAJOR(out->version) != 1)
		return "has a format version other than 1";
	if (out->type < TYPE_FIXED || out->type > TYPE_DIFFERENCING)
		return "has a disk type other than fixed, dynamic and differencing";
	if (!out->current_size)
		return "has a current size of 0";
	if (out->current_size % FMT_SECTOR)
		return "has a current size that is no multiple of 512";
	if (out->type != TYPE_FIXED && out->current_size > FMT_MAX_DYNAMIC)
		return "has a current size over 2040 GiB";
	return NULL;
}

static void put_geometry(uint8_t raw[FMT_SECTOR], struct fmt_geometry geometry)
{
	put16(raw + 56, geometry.cylinders);
	raw[58] = geometry.heads;
	raw[59] = geometry.sectors;
}

void fmt_footer_encode(uint8_t raw[FMT_SECTOR], const struct fmt_footer *footer)
{
	memset(raw, 0, FMT_SECTOR);
	memcpy(raw, footer_cookie, COOKIE_SIZE);
	put32(raw + 8, footer->features);
	put32(raw + 12, footer->version);
	put64(raw + 16, footer->data_offset);
	put32(raw + 24, footer->timestamp);
	memcpy(raw + 28, footer->creator, 4);
	put32(raw + 32, footer->creator_version);
	memcpy(raw + 36, footer->creator_os, 4);
	put64(raw + 40, footer->original_size);
	put64(raw + 48, footer->current_size);
	put_geometry(raw, footer->geometry);
	put32(raw + 60, footer->type);
	memcpy(raw + 68, footer->uuid, 16);
	raw[84] = footer->saved_state;
	raw[FOOTER_HIDDEN] = footer->hidden;
	put32(raw + FOOTER_CHECKSUM, fmt_checksum(raw, FMT_SECTOR, FOOTER_CHECKSUM));
}

/* The specification has sectors, Windows and most others store bytes: small numbers are sectors. */
static uint32_t locator_space(uint32_t stored)
{
	if (stored < FMT_SECTOR)
		return stored * FMT_SECTOR;
	return stored % FMT_SECTOR ? 0 : stored;
}

static void locator_decode(struct fmt_locator *out, const uint8_t *raw)
{
	out->platform = get32(raw);
	out->space = locator_space(get32(raw + 4));
	out->length = get32(raw + 8);
	out->offset = get64(raw + 16);
}

static void header_fields(struct fmt_header *out, const uint8_t *raw)
{
	out->next = get64(raw + 8);
	out->table_offset = get64(raw + 16);
	out->version = get32(raw + 24);
	out->entries = get32(raw + 28);
	out->block_size = get32(raw + 32);
	memcpy(out->parent_uuid, raw + 40, 16);
	out->parent_timestamp = get32(raw + 56);
	memcpy(out->parent_name, raw + 64, sizeof(out->parent_name));
	for (size_t i = 0; i < FMT_LOCATORS; i++)
		locator_decode(&out->locators[i], raw + HEADER_LOCATORS + i * LOCATOR_SIZE);
}

const char *fmt_header_decode(struct fmt_header *out, const uint8_t raw[FMT_HEADER_SIZE])
{
	if (memcmp(raw, header_cookie, COOKIE_SIZE) != 0)
		return "has no cookie \"" HEADER_COOKIE "\"";
	if (get32(raw + HEADER_CHECKSUM) != fmt_checksum(raw, FMT_HEADER_SIZE, HEADER_CHECKSUM))
		return "has a wrong checksum";
	header_fields(out, raw);
	if (VERSION_MAJOR(out->version) != 1)
		return "has a header version other than 1";
	if (out->block_size & (out->block_size - 1))
		return "has a block size that is no power of two";
	if (out->block_size < FMT_MIN_BLOCK || out->block_size > FMT_MAX_BLOCK)
		return "has a block size that is not between 4 KiB and 256 MiB";
	return NULL;
}

void fmt_footer_set_data_offset(uint8_t raw[FMT_SECTOR], uint64_t off)
{
	put64(raw + 16, off);
	put32(raw + 64, fmt_checksum(raw, FMT_SECTOR, 64));
}

void fmt_footer_set_uuid(uint8_t raw[FMT_SECTOR], const uint8_t uuid[16])
{
	memcpy(raw + 68, uuid, 16);
	put32(raw + 64, fmt_checksum(raw, FMT_SECTOR, 64));
}

void fmt_footer_set_size(uint8_t raw[FMT_SECTOR], uint64_t size)
{
	put64(raw + 48, size);
	put_geometry(raw, fmt_geometry_of(size));
	put32(raw + 64, fmt_checksum(raw, FMT_SECTOR, 64));
}

void fmt_batmap_place(uint8_t raw[FMT_SECTOR], uint64_t map_off, uint32_t sectors)
{
	put64(raw + 8, map_off);
	put32(raw + 16, sectors);
	put32(raw + 24, UINT32_MAX);	/* the sum of a map that is all clear */
}

void fmt_header_set_parent(uint8_t raw[FMT_HEADER_SIZE], const struct fmt_header *header)
{
	memcpy(raw + 40, header->parent_uuid, 16);
	put32(raw + 56, header->parent_timestamp);
	memcpy(raw + 64, header->parent_name, sizeof(header->parent_name));
	for (size_t i = 0; i < FMT_LOCATORS; i++) {
		const struct fmt_locator *locator = &header->locators[i];
		uint8_t *entry = raw + HEADER_LOCATORS + i * LOCATOR_SIZE;

		put32(entry, locator->platform);
		put32(entry + 4, locator->space);
		put32(entry + 8, locator->length);
		put32(entry + 12, 0);
		put64(entry + 16, locator->offset);
	}
	put32(raw + HEADER_CHECKSUM, fmt_checksum(raw, FMT_HEADER_SIZE, HEADER_CHECKSUM));
}

void fmt_header_set_table(uint8_t raw[FMT_HEADER_SIZE], uint64_t off, uint32_t entries)
{
	put64(raw + 16, off);
	put32(raw + 28, entries);
	put32(raw + HEADER_CHECKSUM, fmt_checksum(raw, FMT_HEADER_SIZE, HEADER_CHECKSUM));
}

void fmt_header_encode(uint8_t raw[FMT_HEADER_SIZE], const struct fmt_header *header)
{
	memset(raw, 0, FMT_HEADER_SIZE);
	memcpy(raw, header_cookie, COOKIE_SIZE);
	put64(raw + 8, header->next);
	put64(raw + 16, header->table_offset);
	put32(raw + 24, header->version);
	put32(raw + 28, header->entries);
	put32(raw + 32, header->block_size);
	fmt_header_set_parent(raw, header);
}

const char *fmt_foreign(const uint8_t *head, size_t len)
{
	static const struct {
		size_t off, len;
		const char *magic, *what;
	} known[] = {
		{ 0, 8, "vhdxfile", "a VHDX image" },
		{ 0, 8, "QFI\xfb\0\0\0\1", "a qcow image" },
		{ 0, 4, "QFI\xfb", "a qcow2 image" },
		{ 0, 4, "QED", "a QED image" },
		{ 0, 4, "KDMV", "a VMDK image" },
		{ 0, 4, "COWD", "a VMDK image" },
		{ 0, 21, "# Disk DescriptorFile", "a VMDK descriptor" },
		{ 64, 4, "\x7f\x10\xda\xbe", "a VDI image" },
		{ 0, 16, "WithoutFreeSpace", "a Parallels image" },
		{ 0, 16, "WithouFreSpacExt", "a Parallels image" },
		{ 0, 8, "EVF\x09\x0d\x0a\xff", "an EWF image" },
		{ 0, 3, "\x1f\x8b\x08", "a gzip file" },
		{ 0, 6, "\xfd" "7zXZ", "an xz file" },
		{ 0, 4, "\x28\xb5\x2f\xfd", "a zstd file" },
		{ 0, 4, "\x04\x22\x4d\x18", "an lz4 file" },
		{ 0, 3, "BZh", "a bzip2 file" },
		{ 0, 4, "PK\3\4", "a zip file" },
		{ 0, 6, "7z\xbc\xaf\x27\x1c", "a 7z file" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].off + known[i].len <= len &&
		    memcmp(head + known[i].off, known[i].magic, known[i].len) == 0)
			return known[i].what;
	return NULL;
}

static struct fmt_geometry geometry(uint64_t tracks, unsigned heads, unsigned per_track)
{
	return (struct fmt_geometry) {
		.cylinders = (uint16_t)(tracks / heads),
		.heads = (uint8_t)heads,
		.sectors = (uint8_t)per_track,
	};
}

struct fmt_geometry fmt_geometry_of(uint64_t size)
{
	const uint64_t max_sectors = 65535ull * 16 * 255, lba_sectors = 65535ull * 16 * 63;
	uint64_t sectors = size / FMT_SECTOR, tracks;
	unsigned heads;

	if (sectors > max_sectors)
		sectors = max_sectors;
	if (sectors >= lba_sectors)
		return geometry(sectors / 255, 16, 255);
	tracks = sectors / 17;
	heads = (unsigned)((tracks + 1023) / 1024);
	if (heads < 4)
		heads = 4;
	if (heads <= 16 && tracks < heads * 1024ull)
		return geometry(tracks, heads, 17);
	tracks = sectors / 31;
	if (tracks < 16 * 1024ull)
		return geometry(tracks, 16, 31);
	return geometry(sectors / 63, 16, 63);
}

uint32_t fmt_bitmap_size(uint32_t block_size)
{
	uint32_t bytes = (block_size / FMT_SECTOR + 7) / 8;

	return (bytes + FMT_SECTOR - 1) / FMT_SECTOR * FMT_SECTOR;
}

void fmt_entry_put(uint8_t raw[4], uint32_t entry)
{
	put32(raw, entry);
}
