/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes new images. One with a parent has its size and its blocks from it, and nothing of its data.
 *
 * Nobody names the file before it is whole, so that one barrier before the leading footer copy and
 * one after it are enough: a file that has both copies is complete.
 *
 *   0       leading footer copy
 *   512     dynamic header
 *   1536    BAT, padded with 0xff to 4096 bytes, as Windows does
 *   ...     of a child: where its parent is, with room for longer paths (naming.c)
 *   ...     trailing footer, the last sector of a page: the first block's bitmap takes its place
 *
 * Creator, system and geometry are those that qemu 7.2, libvhdi and blktap read at the exact size.
 * The child of a raw disk is blktap's invention, and bears its name: from any other creator, a
 * parent without id is damage. The version is one that need not have a batmap.
 */
#include "vhd/create.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <uuid.h>

#include "vhd/chain.h"
#include "vhd/naming.h"

#define HOST_PAGE 4096u
#define HEADER_OFF FMT_SECTOR
#define TABLE_OFF CREATE_TABLE_OFF
#define TABLE_CHUNK (16u << 10)	/* bytes of the table written at once */

struct layout {
	uint32_t block_size;	/* bytes */
	uint32_t entries;
	uint64_t table_end;	/* bytes; its padding counted */
	uint64_t end;		/* of all that is before the first block */
	uint64_t trailer;	/* byte offset of the trailing footer */
	const struct vhd_image *parent;	/* or NULL */
	const struct naming *naming;	/* where there is a parent */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

bool create_is_fillable(uint64_t end, uint32_t block_size, uint64_t entries)
{
	uint64_t bitmap = fmt_bitmap_size(block_size);
	uint64_t first = round_up(end + bitmap, HOST_PAGE) - bitmap;
	uint64_t stride = round_up(bitmap + block_size, HOST_PAGE);

	return (first + (entries - 1) * stride) / FMT_SECTOR < FMT_UNUSED;
}

static int check_size(const char *name, uint64_t size, struct vhd_err *err)
{
	if (!size)
		return vhd_err_set(err, -EINVAL, "%s: a disk of 0 bytes cannot be made", name);
	if (size % FMT_SECTOR)
		return vhd_err_set(err, -EINVAL, "%s: the size of a disk is a multiple of 512 "
				   "bytes, and %llu is not", name, (unsigned long long)size);
	return 0;
}

/* Bytes to which the writer that the image names as its creator pads the table. */
static uint64_t table_unit(const struct layout *l)
{
	return l->parent && l->parent->is_raw ? FMT_SECTOR : HOST_PAGE;
}

static int layout_dynamic(struct layout *l, const char *name, const struct vhd_create_opts *opts,
			  struct vhd_err *err)
{
	uint64_t entries;

	l->block_size = opts->block_size ? opts->block_size : FMT_DEFAULT_BLOCK;
	if (l->block_size < FMT_MIN_BLOCK || l->block_size > FMT_MAX_BLOCK ||
	    l->block_size & (l->block_size - 1))
		return vhd_err_set(err, -EINVAL, "%s: a block size is a power of two from 4 KiB to "
				   "256 MiB, and %u is not", name, l->block_size);
	if (opts->size > FMT_MAX_DYNAMIC)
		return vhd_err_set(err, -EINVAL, "%s: a dynamic disk has 2040 GiB at most, and "
				   "%llu bytes are more", name, (unsigned long long)opts->size);
	entries = (opts->size + l->block_size - 1) / l->block_size;
	l->entries = (uint32_t)entries;
	l->end = l->table_end = round_up(TABLE_OFF + entries * 4, table_unit(l));
	for (unsigned i = 0; l->naming && i < l->naming->len; i++)
		l->end += naming_room(l->naming, i);
	l->trailer = round_up(l->end + FMT_SECTOR, HOST_PAGE) - FMT_SECTOR;
	if (!create_is_fillable(l->end, l->block_size, l->entries))
		return vhd_err_set(err, -EINVAL, "%s: in blocks of %u bytes a disk of %llu bytes "
				   "would not fit its file when full; larger blocks do", name,
				   l->block_size, (unsigned long long)opts->size);
	return 0;
}

static int fill_uuid(uint8_t uuid[16], const char *name, const struct vhd_create_opts *opts,
		     struct vhd_err *err)
{
	if (!opts->uuid) {
		uuid_generate_random(uuid);
		return 0;
	}
	memcpy(uuid, opts->uuid, 16);
	if (uuid_is_null(uuid))
		return vhd_err_set(err, -EINVAL, "%s: a unique id cannot be all zeros", name);
	return 0;
}

/* By the clock that other programs read: time() may be a tick behind it, in the second before. */
static uint32_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint32_t)(ts.tv_sec - FMT_EPOCH);
}

static void fill_creator(struct fmt_footer *footer, bool has_raw_parent)
{
	if (has_raw_parent) {
		memcpy(footer->creator, "tap", 4);
		footer->creator_version = 0x00010000;
		return;
	}
	memcpy(footer->creator, "win ", 4);
	footer->creator_version = 0x00060003;
	memcpy(footer->creator_os, "Wi2k", 4);
}

static void fill_footer(struct fmt_footer *footer, const struct vhd_create_opts *opts,
			const struct vhd_image *parent)
{
	bool is_fixed = opts->type == VHD_FIXED;

	fill_creator(footer, parent && parent->is_raw);
	footer->features = 2;
	footer->version = 0x00010000;
	footer->data_offset = is_fixed ? FMT_NO_OFFSET : HEADER_OFF;
	footer->timestamp = opts->timestamp ? opts->timestamp : now();
	footer->original_size = footer->current_size = opts->size;
	footer->geometry = fmt_geometry_of(opts->size);
	footer->type = parent ? VHD_DIFFERENCING : is_fixed ? VHD_FIXED : VHD_DYNAMIC;
}

static int write_table(struct vhd_io *io, const struct layout *l)
{
	uint8_t unused[TABLE_CHUNK];
	uint64_t off = TABLE_OFF;

	memset(unused, 0xff, sizeof(unused));
	while (off < l->table_end) {
		uint64_t left = l->table_end - off;
		size_t len = left < sizeof(unused) ? (size_t)left : sizeof(unused);
		int rc = io_pwrite(io, unused, len, off);

		if (rc)
			return rc;
		off += len;
	}
	return 0;
}

uint32_t create_timestamp(const struct vhd_io_stat *st)
{
	int64_t since = st->mtime - FMT_EPOCH;

	/* A device's node has no time that says anything. 0 is "not known". */
	return st->ino && since > 0 && since <= UINT32_MAX ? (uint32_t)since : 0;
}

static int fill_parent(struct fmt_header *header, const struct layout *l)
{
	uint64_t off = l->table_end;
	struct vhd_io_stat st;
	int rc = io_stat(l->parent->io, &st);

	if (rc)
		return rc;
	header->parent_timestamp = create_timestamp(&st);
	memcpy(header->parent_uuid, l->parent->footer.uuid, sizeof(header->parent_uuid));
	memcpy(header->parent_name, l->naming->name, sizeof(header->parent_name));
	for (unsigned i = 0; i < l->naming->len; i++) {
		const struct naming_text *text = &l->naming->texts[i];

		header->locators[i] = (struct fmt_locator) {
			.platform = text->platform, .length = text->len, .offset = off,
			.space = naming_room(l->naming, i),
		};
		off += header->locators[i].space;
	}
	return 0;
}

/* The room behind each text stays a hole. */
static int write_texts(struct vhd_io *io, const struct layout *l, const struct fmt_header *header)
{
	int rc = 0;

	for (unsigned i = 0; !rc && l->naming && i < l->naming->len; i++)
		rc = io_pwrite(io, l->naming->texts[i].text, header->locators[i].length,
			       header->locators[i].offset);
	return rc;
}

static int write_header(struct vhd_io *io, const struct layout *l)
{
	struct fmt_header header = {
		.next = FMT_NO_OFFSET,
		.table_offset = TABLE_OFF,
		.version = 0x00010000,
		.entries = l->entries,
		.block_size = l->block_size,
	};
	uint8_t raw[FMT_HEADER_SIZE];
	int rc = l->parent ? fill_parent(&header, l) : 0;

	if (rc)
		return rc;
	fmt_header_encode(raw, &header);
	rc = io_pwrite(io, raw, sizeof(raw), HEADER_OFF);
	return rc ? rc : write_texts(io, l, &header);
}

static int write_dynamic(struct vhd_io *io, const struct layout *l,
			 const uint8_t raw_footer[FMT_SECTOR])
{
	int rc = write_header(io, l);

	if (!rc)
		rc = write_table(io, l);
	if (!rc)
		rc = io_pwrite(io, raw_footer, FMT_SECTOR, l->trailer);
	if (!rc)
		rc = io_barrier(io);
	if (!rc)
		rc = io_pwrite(io, raw_footer, FMT_SECTOR, 0);
	return rc ? rc : io_barrier(io);
}

/* The disk is one hole: its footer alone makes the file as long as it is. */
static int write_fixed(struct vhd_io *io, uint64_t size, const uint8_t raw_footer[FMT_SECTOR])
{
	int rc = io_pwrite(io, raw_footer, FMT_SECTOR, size);

	return rc ? rc : io_barrier(io);
}

static int check_empty(struct vhd_io *io, const char *name, struct vhd_err *err)
{
	struct vhd_io_stat st;
	int rc = io_stat(io, &st);

	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be looked at", name);
	return st.size ? vhd_err_set(err, -EEXIST, "%s: is not empty", name) : 0;
}

/* All but the parent was looked at. */
static int create(struct vhd_io *io, const char *name, const struct vhd_create_opts *opts,
		  struct layout *l, struct vhd_err *err)
{
	struct fmt_footer footer = { 0 };
	uint8_t raw[FMT_SECTOR];
	int rc = check_size(name, opts->size, err);

	if (!rc && opts->type != VHD_FIXED)
		rc = layout_dynamic(l, name, opts, err);
	if (!rc)
		rc = fill_uuid(footer.uuid, name, opts, err);
	if (!rc)
		rc = check_empty(io, name, err);
	if (rc)
		return rc;
	fill_footer(&footer, opts, l->parent);
	fmt_footer_encode(raw, &footer);
	rc = opts->type == VHD_FIXED ? write_fixed(io, opts->size, raw) :
	     write_dynamic(io, l, raw);
	return rc ? vhd_err_errno(err, rc, "%s: cannot be written", name) : 0;
}

/* Whether a child of parent could be opened. */
static int check_parent(const struct vhd_image *parent, const char *name, struct vhd_err *err)
{
	int depth = 0;

	for (const struct vhd_image *img = parent; img; img = img->parent)
		depth += img->footer.type == VHD_DIFFERENCING;
	if (depth > CHAIN_MAX_DEPTH)
		return vhd_err_set(err, -ELOOP, "%s: its chain of parents would be deeper than %d",
				   name, CHAIN_MAX_DEPTH);
	if (!parent->is_raw && uuid_is_null(parent->footer.uuid))
		return vhd_err_set(err, -EILSEQ, "%s: its unique id is all zeros, so that no child "
				   "can name it", parent->name);
	return 0;
}

int create_child(struct vhd_io *io, const char *name, const struct vhd_image *parent,
		 const char *parent_path, const struct vhd_create_opts *asked, struct vhd_err *err)
{
	struct vhd_create_opts opts = *asked;
	struct naming naming;
	struct layout l = { .parent = parent, .naming = &naming };
	uint64_t size;
	int rc = check_parent(parent, name, err);

	if (rc)
		return rc;
	/* A raw disk may end within a sector, whose rest reads as zeros. */
	size = round_up(parent->size, FMT_SECTOR);
	if (!opts.size)
		opts.size = size;
	if (opts.size != size)
		return vhd_err_set(err, -EINVAL, "%s: a child has the size of its parent, which is "
				   "%llu bytes and not %llu", name,
				   (unsigned long long)size,
				   (unsigned long long)opts.size);
	if (!opts.block_size)
		opts.block_size = parent->map.block_size;	/* 0 of a fixed one */
	rc = naming_make(&naming, name, parent_path, err);
	if (!rc)
		rc = create(io, name, &opts, &l, err);
	naming_destroy(&naming);
	return rc;
}

static int create_differencing(struct vhd_io *io, const char *name,
			       const struct vhd_create_opts *opts, struct vhd_err *err)
{
	struct vhd_open_opts open_opts = {
		.is_readonly = true, .allow_raw = true, .no_lock = opts->no_lock,
	};
	vhd_image *parent;
	int rc;

	if (!opts->parent)
		return vhd_err_set(err, -EINVAL, "%s: a differencing image has a parent, and none "
				   "is named", name);
	rc = vhd_open(&parent, opts->parent, &open_opts, err);
	if (rc)
		return rc;
	rc = create_child(io, name, parent, opts->parent, opts, err);
	vhd_close(parent, NULL);
	return rc;
}

uint64_t create_table_end(uint32_t entries)
{
	return round_up(TABLE_OFF + entries * 4ull, HOST_PAGE);
}

int vhd_create_io(struct vhd_io *io, const char *name, const struct vhd_create_opts *opts,
		  struct vhd_err *err)
{
	struct layout l = { 0 };

	if (opts->type == VHD_DIFFERENCING)
		return create_differencing(io, name, opts, err);
	if (opts->type && opts->type != VHD_FIXED && opts->type != VHD_DYNAMIC)
		return vhd_err_set(err, -EINVAL, "%s: there is no disk type %d", name, opts->type);
	return create(io, name, opts, &l, err);
}

int vhd_create(const char *path, const struct vhd_create_opts *opts, struct vhd_err *err)
{
	struct vhd_io *io;
	int rc = io_file_create(&io, path, err);

	if (rc)
		return rc;
	rc = vhd_create_io(io, path, opts, err);
	return io_file_finish(io, rc, err);
}
