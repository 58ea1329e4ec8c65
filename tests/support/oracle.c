/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A second reader of VHD images, written from the format reference alone. */
#include "tests/support/oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED 0xffffffffu

struct oracle {
	oracle_read_fn read;
	void *arg;
	int fd;				/* -1 unless opened by path */
	uint64_t file_size, trailer;	/* trailer: where T is, or the file's length without one */
	bool has_trailer;
	struct oracle_footer footer;
	struct oracle_header header;
	uint32_t bitmap_size;
	uint8_t *table;
	struct oracle *parent;
};

static uint64_t big_endian(const uint8_t *p, unsigned len)
{
	uint64_t value = 0;

	while (len--)
		value = value << 8 | *p++;
	return value;
}

static bool has_checksum(const uint8_t *raw, size_t len, size_t at)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < at || i >= at + 4)
			sum += raw[i];
	return (uint32_t)~sum == big_endian(raw + at, 4);
}

bool oracle_parse_footer(struct oracle_footer *out, const uint8_t raw[512])
{
	if (memcmp(raw, "conectix", 8) || big_endian(raw + 12, 2) != 1 ||
	    !has_checksum(raw, 512, 64))
		return false;
	out->type = (uint32_t)big_endian(raw + 60, 4);
	out->data_offset = big_endian(raw + 16, 8);
	out->size = big_endian(raw + 48, 8);
	memcpy(out->uuid, raw + 68, 16);
	return out->type >= 2 && out->type <= 4;
}

bool oracle_parse_header(struct oracle_header *out, const uint8_t raw[1024])
{
	if (memcmp(raw, "cxsparse", 8) || !has_checksum(raw, 1024, 36))
		return false;
	out->table = big_endian(raw + 16, 8);
	out->entries = (uint32_t)big_endian(raw + 28, 4);
	out->block_size = (uint32_t)big_endian(raw + 32, 4);
	memcpy(out->parent_uuid, raw + 40, 16);
	return true;
}

static uint64_t blocks_of(const struct oracle_footer *f, const struct oracle_header *h)
{
	return (f->size + h->block_size - 1) / h->block_size;
}

/* A footer at off with its header, if it has one. */
static bool load_footer(struct oracle *o, uint64_t off, struct oracle_footer *f,
			struct oracle_header *h)
{
	uint8_t raw[1024] = { 0 };
	size_t len = o->file_size - off < 512 ? (size_t)(o->file_size - off) : 512;

	o->read(o->arg, raw, len, off);
	if (!oracle_parse_footer(f, raw))
		return false;
	if (f->type == 2)
		return f->size <= off && f->size > 0;
	if (f->data_offset > o->file_size || o->file_size - f->data_offset < 1024)
		return false;
	o->read(o->arg, raw, 1024, f->data_offset);
	return oracle_parse_header(h, raw) && h->block_size >= 512 &&
	       !(h->block_size & (h->block_size - 1));
}

static const char *choose_footer(struct oracle *o)
{
	struct oracle_footer l;
	struct oracle_header lh;
	bool has_l;

	if (o->file_size >= 512)
		o->has_trailer = load_footer(o, o->file_size - 512, &o->footer, &o->header);
	o->trailer = o->file_size - 512;
	if (!o->has_trailer && o->file_size >= 511 && o->file_size % 512 == 511) {
		o->has_trailer = load_footer(o, o->file_size - 511, &o->footer, &o->header);
		o->trailer = o->file_size - 511;
	}
	if (o->has_trailer && o->footer.type == 2)
		return NULL;
	has_l = o->file_size >= 512 && load_footer(o, 0, &l, &lh) && l.type != 2;
	if (has_l && (!o->has_trailer || (blocks_of(&o->footer, &o->header) > o->header.entries &&
					  blocks_of(&l, &lh) <= lh.entries))) {
		o->footer = l;
		o->header = lh;
	}
	if (!o->has_trailer)
		o->trailer = o->file_size;
	return o->has_trailer || has_l ? NULL : "neither footer is valid";
}

static const char *load_table(struct oracle *o)
{
	uint32_t bits = o->header.block_size / 512;
	size_t len = (size_t)o->header.entries * 4;

	o->bitmap_size = ((bits + 7) / 8 + 511) / 512 * 512;
	if (o->header.table > o->file_size || o->file_size - o->header.table < len)
		return "the table lies past the end of the file";
	if (blocks_of(&o->footer, &o->header) > o->header.entries)
		return "the table has too few entries";
	if (!o->footer.size || o->footer.size % 512)
		return "the size of the disk is no number of sectors";
	o->table = malloc(len + 1);
	if (!o->table)
		abort();
	o->read(o->arg, o->table, len, o->header.table);
	return NULL;
}

struct oracle *oracle_open(oracle_read_fn read, void *arg, uint64_t file_size, const char **why)
{
	struct oracle *o = calloc(1, sizeof(*o));
	const char *reason;

	if (!o)
		abort();
	*o = (struct oracle){ .read = read, .arg = arg, .fd = -1, .file_size = file_size };
	reason = choose_footer(o);
	if (!reason && o->footer.type != 2)
		reason = load_table(o);
	if (why)
		*why = reason;
	if (!reason)
		return o;
	oracle_close(o);
	return NULL;
}

static void read_mem(void *arg, void *buf, size_t len, uint64_t off)
{
	mem_read(arg, buf, len, off);
}

struct oracle *oracle_open_mem(struct mem_file *file, const char **why)
{
	return oracle_open(read_mem, file, mem_size(file), why);
}

static void read_fd(void *arg, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;
	ssize_t n;

	for (; len; len -= (size_t)n, to += n, off += (uint64_t)n) {
		n = pread(*(const int *)arg, to, len, (off_t)off);
		if (n <= 0) {
			memset(to, 0, len);
			return;
		}
	}
}

struct oracle *oracle_open_path(const char *path, const char **why)
{
	int *fd = malloc(sizeof(*fd));
	struct oracle *o;
	struct stat st;

	if (!fd)
		abort();
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st)) {
		*why = strerror(errno);
		free(fd);
		return NULL;
	}
	o = oracle_open(read_fd, fd, (uint64_t)st.st_size, why);
	if (o) {
		o->fd = *fd;
	} else {
		close(*fd);
		free(fd);
	}
	return o;
}

void oracle_close(struct oracle *o)
{
	if (!o)
		return;
	if (o->fd >= 0) {
		close(o->fd);
		free(o->arg);
	}
	free(o->table);
	free(o);
}

void oracle_set_parent(struct oracle *child, struct oracle *parent)
{
	child->parent = parent;
}

struct oracle *oracle_parent(const struct oracle *o)
{
	return o->parent;
}

uint64_t oracle_size(const struct oracle *o)
{
	return o->footer.size;
}

uint32_t oracle_type(const struct oracle *o)
{
	return o->footer.type;
}

uint32_t oracle_block_size(const struct oracle *o)
{
	return o->header.block_size;
}

uint32_t oracle_entry(const struct oracle *o, uint32_t blk)
{
	return (uint32_t)big_endian(o->table + (size_t)blk * 4, 4);
}

bool oracle_has_trailer(const struct oracle *o)
{
	return o->has_trailer;
}

const uint8_t *oracle_uuid(const struct oracle *o)
{
	return o->footer.uuid;
}

const uint8_t *oracle_parent_uuid(const struct oracle *o)
{
	return o->header.parent_uuid;
}

static void read_sector(const struct oracle *o, uint8_t buf[512], uint64_t sector)
{
	uint32_t in_block, entry;
	uint64_t slot, at;
	uint8_t bits;

	memset(buf, 0, 512);
	if (sector * 512 >= o->footer.size)
		return;
	if (o->footer.type == 2) {
		o->read(o->arg, buf, 512, sector * 512);
		return;
	}
	in_block = (uint32_t)(sector % (o->header.block_size / 512));
	entry = oracle_entry(o, (uint32_t)(sector / (o->header.block_size / 512)));
	slot = (uint64_t)entry * 512;
	if (entry != UNUSED) {
		o->read(o->arg, &bits, 1, slot + in_block / 8);
		at = slot + o->bitmap_size + (uint64_t)in_block * 512;
		if (bits >> (7 - in_block % 8) & 1) {
			if (at < o->trailer)	/* a short last block reads as zeros there */
				o->read(o->arg, buf, 512, at);
			return;
		}
	}
	if (o->parent)
		read_sector(o->parent, buf, sector);
}

void oracle_read(const struct oracle *o, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf, raw[512];

	for (size_t n; len; len -= n, off += n, to += n) {
		n = 512 - (size_t)(off % 512);
		if (n > len)
			n = len;
		read_sector(o, raw, off / 512);
		memcpy(to, raw + off % 512, n);
	}
}

/* One thing in the file: what is 0 for metadata, else the block number + 1. */
struct thing {
	uint64_t start, end;
	uint32_t what;
};

static int by_start(const void *a, const void *b)
{
	const struct thing *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->end > y->end) - (x->end < y->end);
}

static void error(struct oracle_result *result, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void error(struct oracle_result *result, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!result->errors++)
		vsnprintf(result->first, sizeof(result->first), fmt, args);
	va_end(args);
}

static size_t list_metadata(const struct oracle *o, struct thing *things)
{
	uint64_t header = o->footer.data_offset, table = o->header.table;
	uint64_t table_end = table + (uint64_t)o->header.entries * 4;
	uint8_t locators[8 * 24];
	size_t n = 0;

	things[n++] = (struct thing){ .start = 0, .end = 512 };
	things[n++] = (struct thing){ .start = header, .end = header + 1024 };
	things[n++] = (struct thing){ .start = table, .end = table_end };
	o->read(o->arg, locators, sizeof(locators), header + 576);
	for (const uint8_t *l = locators; l < locators + sizeof(locators); l += 24) {
		uint64_t off = big_endian(l + 16, 8), len = big_endian(l + 8, 4);

		if (big_endian(l, 4) && len && off < o->trailer)
			things[n++] = (struct thing){ .start = off, .end = off + len };
	}
	return n;
}

static void check_order(struct thing *things, size_t n, uint64_t limit,
			struct oracle_result *result)
{
	uint64_t end = 0;
	size_t last = 0;

	qsort(things, n, sizeof(*things), by_start);
	for (size_t i = 0; i < n; i++) {
		const struct thing *t = &things[i];

		if (t->start < end && (t->what || things[last].what))
			error(result, "%s %u lies over %s %u at offset %llu",
			      t->what ? "block" : "metadata", t->what ? t->what - 1 : 0,
			      things[last].what ? "block" : "metadata",
			      things[last].what ? things[last].what - 1 : 0,
			      (unsigned long long)t->start);
		if (t->start >= end + 4096) {
			result->leaks++;
			result->leaked += t->start - end;
		}
		if (t->end > end) {
			end = t->end;
			last = i;
		}
	}
	if (limit >= end + 4096) {
		result->leaks++;
		result->leaked += limit - end;
	}
}

void oracle_check(const struct oracle *o, struct oracle_result *result)
{
	uint64_t size = o->bitmap_size + (uint64_t)o->header.block_size;
	struct thing *things;
	size_t n;

	memset(result, 0, sizeof(*result));
	if (!o->has_trailer)
		result->leaks++;
	if (o->footer.type == 2)
		return;
	things = calloc((size_t)o->header.entries + 16, sizeof(*things));
	if (!things)
		abort();
	n = list_metadata(o, things);
	for (uint32_t blk = 0; blk < o->header.entries; blk++) {
		uint64_t start = (uint64_t)oracle_entry(o, blk) * 512;

		if (oracle_entry(o, blk) == UNUSED)
			continue;
		if (start + size > o->trailer)
			error(result, "block %u (entry %u) goes past the end at %llu", blk,
			      oracle_entry(o, blk), (unsigned long long)o->trailer);
		things[n++] = (struct thing){ .start = start, .end = start + size,
					      .what = blk + 1 };
	}
	check_order(things, n, o->trailer, result);
	free(things);
}
