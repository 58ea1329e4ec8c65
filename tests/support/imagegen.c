/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of any layout, made by hand without the engine, and ways to damage them. */
#include "tests/support/imagegen.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define UNUSED 0xffffffffu

static void put(uint8_t *p, unsigned len, uint64_t value)
{
	for (unsigned i = 0; i < len; i++)
		p[i] = (uint8_t)(value >> 8 * (len - 1 - i));
}

static uint64_t get(const uint8_t *p, unsigned len)
{
	uint64_t value = 0;

	while (len--)
		value = value << 8 | *p++;
	return value;
}

static uint64_t up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static void sum(uint8_t *raw, size_t len, size_t at)
{
	uint32_t s = 0;

	put(raw + at, 4, 0);
	for (size_t i = 0; i < len; i++)
		s += raw[i];
	put(raw + at, 4, (uint32_t)~s);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

void gen_sector(uint8_t buf[512], uint64_t sector, uint32_t version)
{
	uint64_t state = mix(sector * 0x9e3779b97f4a7c15 + version);

	for (unsigned i = 0; i < 512; i += 8)
		put(buf + i, 8, state + i * 0x0101010101010101u);
	memcpy(buf, "guestsec", 8);
	put(buf + 8, 8, sector);
	put(buf + 16, 4, version);
}

void gen_junk(uint8_t *buf, size_t len, uint64_t off)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(0xa5 ^ mix((off + i) / 8) >> (off + i) % 8 * 8);
}

uint32_t gen_bitmap_size(uint32_t block_size)
{
	return (uint32_t)up((block_size / 512 + 7) / 8, 512);
}

void gen_uuid(uint8_t uuid[16], uint32_t marker)
{
	memcpy(uuid, "handmadeimage", 12);
	put(uuid + 12, 4, marker);
}

static void make_footer(uint8_t raw[512], const struct gen_opts *o)
{
	uint32_t type = o->type ? o->type : 3;
	uint64_t cylinders = o->size / 512 / (4 * 17);

	memset(raw, 0, 512);
	memcpy(raw, "conectix", 8);
	put(raw + 8, 4, 2);
	put(raw + 12, 4, 0x10000);
	put(raw + 16, 8, type == 2 ? UINT64_MAX : o->header ? o->header : 512);
	put(raw + 24, 4, 0x12345678);
	memcpy(raw + 28, o->creator ? o->creator : "tst ", 4);
	put(raw + 32, 4, 0x10003);
	memcpy(raw + 36, "Wi2k", 4);
	put(raw + 40, 8, o->size);
	put(raw + 48, 8, o->size);
	put(raw + 56, 2, cylinders < 65535 ? cylinders : 65535);
	raw[58] = 4;
	raw[59] = 17;
	put(raw + 60, 4, type);
	gen_uuid(raw + 68, o->marker);
	sum(raw, 512, 64);
}

static uint32_t blocks_of(const struct gen_opts *o)
{
	return (uint32_t)((o->size + o->block_size - 1) / o->block_size);
}

/* The locator of a child's parent lies behind the table, in a sector of its own. */
static void put_parent(struct mem_file *file, uint8_t *raw, const struct gen_opts *o, uint64_t at)
{
	uint8_t name[512] = { 0 };
	size_t len = strlen(o->parent_name);

	gen_uuid(raw + 40, o->parent_marker);
	memcpy(name, ".\0\\\0", 4);
	for (size_t i = 0; i < len; i++) {
		raw[64 + 2 * i + 1] = (uint8_t)o->parent_name[i];
		name[4 + 2 * i] = (uint8_t)o->parent_name[i];
	}
	memcpy(raw + 576, "W2ru", 4);
	put(raw + 580, 4, 512);
	put(raw + 584, 4, 4 + 2 * len);
	put(raw + 592, 8, at);
	mem_write(file, name, 512, at);
}

static void put_header(struct mem_file *file, const struct gen_opts *o, uint64_t table,
		       uint64_t locator)
{
	uint8_t raw[1024] = { 0 };

	memcpy(raw, "cxsparse", 8);
	put(raw + 8, 8, UINT64_MAX);
	put(raw + 16, 8, table);
	put(raw + 24, 4, 0x10000);
	put(raw + 28, 4, blocks_of(o) + o->extra_entries);
	put(raw + 32, 4, o->block_size);
	if (o->type == 4)
		put_parent(file, raw, o, locator);
	sum(raw, 1024, 36);
	mem_write(file, raw, 1024, o->header ? o->header : 512);
}

static const struct gen_block *find_block(const struct gen_opts *o, uint32_t blk)
{
	for (unsigned i = 0; i < o->blocks_len; i++)
		if (o->blocks[i].blk == blk)
			return &o->blocks[i];
	return NULL;
}

static bool is_set(const struct gen_block *b, uint32_t sector)
{
	return b->bits == GEN_BITS_ALL || !(sector & 1);
}

bool gen_has_data(const struct gen_opts *o, uint64_t sector)
{
	uint32_t in_block = (uint32_t)(sector % (o->block_size / 512));
	const struct gen_block *b = find_block(o, (uint32_t)(sector / (o->block_size / 512)));

	if (o->type == 2)
		return sector < o->size / 512;
	if (!b || !is_set(b, in_block) || sector * 512 >= o->size)
		return false;
	if (o->short_last && b == &o->blocks[o->blocks_len - 1] &&
	    in_block * 512 >= o->block_size - o->short_last)
		return false;
	return true;
}

static void put_junk(struct mem_file *file, uint64_t len, uint64_t off)
{
	uint8_t buf[512];

	for (size_t n; len; len -= n, off += n) {
		n = len < 512 ? (size_t)len : 512;
		gen_junk(buf, n, off);
		mem_write(file, buf, n, off);
	}
}

/* Writes block b with its bitmap at off. */
static void put_block(struct mem_file *file, const struct gen_opts *o, const struct gen_block *b,
		      uint64_t off)
{
	uint32_t sectors = o->block_size / 512, bitmap = gen_bitmap_size(o->block_size);
	uint8_t *bits = calloc(1, bitmap), raw[512];

	assert(bits);
	for (uint32_t s = 0; s < sectors; s++) {
		uint64_t at = off + bitmap + (uint64_t)s * 512;

		memset(raw, 0, sizeof(raw));
		if (is_set(b, s)) {
			bits[s / 8] |= (uint8_t)(0x80 >> s % 8);
			if ((uint64_t)b->blk * sectors + s < o->size / 512)
				gen_sector(raw, (uint64_t)b->blk * sectors + s,
					   GEN_VERSION(o->marker));
		} else if (b->bits == GEN_BITS_JUNK) {
			gen_junk(raw, sizeof(raw), at);
		}
		mem_write(file, raw, sizeof(raw), at);
	}
	mem_write(file, bits, bitmap, off);
	free(bits);
}

static void put_table(struct mem_file *file, const struct gen_opts *o, uint64_t table,
		      const uint32_t *entries)
{
	uint32_t n = blocks_of(o) + o->extra_entries;
	size_t len = (size_t)up((uint64_t)n * 4, 512);
	uint8_t *raw = malloc(len);

	assert(raw);
	memset(raw, 0xff, (size_t)n * 4);
	memset(raw + (size_t)n * 4, o->padding, len - (size_t)n * 4);
	for (unsigned i = 0; i < o->blocks_len; i++)
		put(raw + (size_t)o->blocks[i].blk * 4, 4, entries[i]);
	mem_write(file, raw, len, table);
	free(raw);
}

/* Header and map right behind the padded table; our blocks are marked full if they are. */
static uint64_t put_batmap(struct mem_file *file, const struct gen_opts *o, uint64_t at)
{
	size_t sectors = (size_t)up(((o->size >> 21) + 7) / 8 + 1, 512) / 512;
	uint8_t head[512] = { 0 }, *map = calloc(sectors, 512);
	uint32_t total = 0;

	assert(map);
	for (unsigned i = 0; i < o->blocks_len; i++)
		if (o->blocks[i].bits == GEN_BITS_ALL)
			map[o->blocks[i].blk / 8] |= (uint8_t)(0x80 >> o->blocks[i].blk % 8);
	for (size_t i = 0; i < sectors * 512; i++)
		total += map[i];
	memcpy(head, "tdbatmap", 8);
	put(head + 8, 8, at + 512);
	put(head + 16, 4, sectors);
	put(head + 20, 4, 0x10002);
	put(head + 24, 4, (uint32_t)~total);
	mem_write(file, head, 512, at);
	mem_write(file, map, sectors * 512, at + 512);
	free(map);
	return at + 512 + sectors * 512;
}

static void put_trailer(struct mem_file *file, const struct gen_opts *o, const uint8_t *footer,
			uint64_t end)
{
	uint32_t align = o->footer_align ? o->footer_align : 512;
	uint64_t at = o->footer_at ? o->footer_at : up(end + 512, align) - 512;

	if (o->has_no_trailer) {
		mem_truncate(file, end);
		return;
	}
	mem_write(file, footer, o->is_short_footer ? 511 : 512, at);
	if (o->garbage)
		put_junk(file, o->garbage, mem_size(file));
}

static struct mem_file *make_fixed(const struct gen_opts *o)
{
	struct mem_file *file = mem_new();
	uint8_t raw[512];

	for (uint64_t s = 0; s < o->size / 512; s++) {
		gen_sector(raw, s, GEN_VERSION(o->marker));
		mem_write(file, raw, 512, s * 512);
	}
	make_footer(raw, o);
	put_trailer(file, o, raw, o->size);
	return file;
}

/* Lays the blocks from off on; their entries, and where the last ends. */
static uint64_t put_blocks(struct mem_file *file, const struct gen_opts *o, uint32_t *entries,
			   uint64_t off)
{
	uint32_t bitmap = gen_bitmap_size(o->block_size);

	for (unsigned i = 0; i < o->blocks_len; i++) {
		const struct gen_block *b = &o->blocks[i];

		put_junk(file, b->gap, off);
		off += b->gap;
		if (o->align)
			off = up(off + bitmap, o->align) - bitmap;
		put_block(file, o, b, off);
		entries[i] = (uint32_t)(off / 512);
		off += bitmap + o->block_size;
	}
	return off;
}

struct mem_file *gen_make(const struct gen_opts *o)
{
	uint32_t n = blocks_of(o) + o->extra_entries;
	uint64_t header = o->header ? o->header : 512, table = o->table, end, blocks;
	uint32_t *entries = calloc(o->blocks_len + 1, sizeof(*entries));
	struct mem_file *file;
	uint8_t footer[512];

	assert(entries);
	if (o->type == 2) {
		free(entries);
		return make_fixed(o);
	}
	file = mem_new();
	if (!table && !o->is_table_behind)
		table = 1536;
	blocks = header + 1024;
	if (!o->is_table_behind && up(table + (uint64_t)n * 4, 512) > blocks)
		blocks = up(table + (uint64_t)n * 4, 512);
	if (o->has_batmap)
		blocks = put_batmap(file, o, up(table + (uint64_t)n * 4, 512));
	if (o->type == 4)
		blocks += 512;
	put_junk(file, o->metadata_gap, blocks);
	end = put_blocks(file, o, entries, blocks + o->metadata_gap);
	if (o->is_table_behind && !table) {
		table = end;
		end = up(table + (uint64_t)n * 4, 512);
	}
	put_header(file, o, table, blocks - 512);
	put_table(file, o, table, entries);
	put_junk(file, o->leak, end);
	end += o->leak;
	make_footer(footer, o);
	mem_write(file, footer, 512, 0);
	if (o->short_last) {
		end -= o->short_last;
		mem_truncate(file, end);
	}
	put_trailer(file, o, footer, end);
	free(entries);
	return file;
}

/* Damage. */

static uint64_t trailer_of(const struct mem_file *file)
{
	return mem_size(file) - 512;
}

static uint64_t header_of(const struct mem_file *file)
{
	uint8_t raw[512];

	mem_read(file, raw, 512, 0);
	return get(raw + 16, 8);
}

static uint64_t table_of(const struct mem_file *file)
{
	uint8_t raw[8];

	mem_read(file, raw, 8, header_of(file) + 16);
	return get(raw, 8);
}

static uint32_t entry_of(const struct mem_file *file, uint32_t blk)
{
	uint8_t raw[4];

	mem_read(file, raw, 4, table_of(file) + blk * 4ull);
	return (uint32_t)get(raw, 4);
}

static void flip(struct mem_file *file, uint64_t off)
{
	uint8_t byte;

	mem_read(file, &byte, 1, off);
	byte ^= 0x40;
	mem_write(file, &byte, 1, off);
}

static void blank(struct mem_file *file, uint64_t off)
{
	uint8_t zero[512] = { 0 };

	mem_write(file, zero, sizeof(zero), off);
}

/* Sets a field of a structure and its checksum. */
static void set_field(struct mem_file *file, uint64_t at, size_t size, size_t checksum,
		      unsigned field, unsigned len, uint64_t value)
{
	uint8_t raw[1024];

	mem_read(file, raw, size, at);
	put(raw + field, len, value);
	sum(raw, size, checksum);
	mem_write(file, raw, size, at);
}

static void set_in_footers(struct mem_file *file, unsigned field, unsigned len, uint64_t value)
{
	set_field(file, 0, 512, 64, field, len, value);
	set_field(file, trailer_of(file), 512, 64, field, len, value);
}

void gen_damage_trailer_missing(struct mem_file *file)
{
	blank(file, trailer_of(file));
}

void gen_damage_trailer_checksum(struct mem_file *file)
{
	flip(file, trailer_of(file) + 65);
}

void gen_damage_leading_missing(struct mem_file *file)
{
	blank(file, 0);
}

void gen_damage_leading_differs(struct mem_file *file)
{
	uint8_t raw[512];

	mem_read(file, raw, 512, 0);
	set_field(file, 0, 512, 64, 48, 8, get(raw + 48, 8) / 1024 * 512);
}

void gen_damage_both_footers(struct mem_file *file)
{
	flip(file, 65);
	flip(file, trailer_of(file) + 65);
}

void gen_damage_header_checksum(struct mem_file *file)
{
	flip(file, header_of(file) + 37);
}

void gen_damage_header_past_end(struct mem_file *file)
{
	set_in_footers(file, 16, 8, up(mem_size(file), 512));
}

void gen_damage_table_past_end(struct mem_file *file)
{
	set_field(file, header_of(file), 1024, 36, 16, 8, up(mem_size(file), 512));
}

void gen_damage_table_too_small(struct mem_file *file)
{
	set_field(file, header_of(file), 1024, 36, 28, 4, 1);
}

void gen_damage_block_size(struct mem_file *file, uint32_t block_size)
{
	set_field(file, header_of(file), 1024, 36, 32, 4, block_size);
}

void gen_damage_entry(struct mem_file *file, uint32_t blk, uint32_t entry)
{
	uint8_t raw[4];

	put(raw, 4, entry);
	mem_write(file, raw, 4, table_of(file) + blk * 4ull);
}

void gen_damage_entry_past_end(struct mem_file *file, uint32_t blk)
{
	gen_damage_entry(file, blk, (uint32_t)(mem_size(file) / 512 + 1000));
}

void gen_damage_entry_in_metadata(struct mem_file *file, uint32_t blk)
{
	gen_damage_entry(file, blk, 1);
}

void gen_damage_duplicate_entry(struct mem_file *file, uint32_t blk, uint32_t of)
{
	gen_damage_entry(file, blk, entry_of(file, of));
}

void gen_damage_overlap(struct mem_file *file, uint32_t blk, uint32_t of)
{
	gen_damage_entry(file, blk, entry_of(file, of) + 1);
}

void gen_damage_cut(struct mem_file *file, uint64_t len)
{
	mem_truncate(file, mem_size(file) - len);
}

void gen_damage_trailing_garbage(struct mem_file *file, uint32_t len)
{
	put_junk(file, len, mem_size(file));
}

void gen_damage_poison(struct mem_file *file)
{
	mem_write(file, "v_poison", 8, 0);
	mem_write(file, "v_poison", 8, trailer_of(file));
}

void gen_damage_saved_state(struct mem_file *file)
{
	set_in_footers(file, 84, 1, 1);
}
