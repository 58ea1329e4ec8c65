/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes new images.
 *
 * Nobody names the file before it is whole, so that one barrier before the leading footer copy and
 * one after it are enough: a file that has both copies is complete.
 *
 *   0       leading footer copy
 *   512     dynamic header
 *   1536    BAT, padded with 0xff to 4096 bytes, as Windows does
 *   ...     trailing footer, the last sector of a page: the first block's bitmap takes its place
 *
 * Creator, system and geometry are those that qemu 7.2, libvhdi and blktap read at the exact size.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <uuid.h>

#include "vhd/err.h"
#include "vhd/format.h"
#include "vhd/io.h"
#include "vhd/vhd.h"

#define HOST_PAGE 4096u
#define HEADER_OFF FMT_SECTOR
#define TABLE_OFF (HEADER_OFF + FMT_HEADER_SIZE)
#define TABLE_CHUNK (16u << 10)	/* bytes of the table written at once */

struct layout {
	uint32_t block_size;	/* bytes */
	uint32_t entries;
	uint64_t table_end;	/* bytes; its padding counted */
	uint64_t trailer;	/* byte offset of the trailing footer */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* Whether each block, on a 4 KiB boundary, would have a place that 32 bits can name. */
static bool is_table_fillable(const struct layout *l)
{
	uint64_t bitmap = fmt_bitmap_size(l->block_size);
	uint64_t first = round_up(l->table_end + bitmap, HOST_PAGE) - bitmap;
	uint64_t stride = round_up(bitmap + l->block_size, HOST_PAGE);

	return (first + (l->entries - 1) * stride) / FMT_SECTOR < FMT_UNUSED;
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
	l->table_end = round_up(TABLE_OFF + entries * 4, HOST_PAGE);
	l->trailer = round_up(l->table_end + FMT_SECTOR, HOST_PAGE) - FMT_SECTOR;
	if (!is_table_fillable(l))
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

static void fill_footer(struct fmt_footer *footer, const struct vhd_create_opts *opts)
{
	bool is_fixed = opts->type == VHD_FIXED;

	footer->features = 2;
	footer->version = 0x00010000;
	footer->data_offset = is_fixed ? FMT_NO_OFFSET : HEADER_OFF;
	footer->timestamp = opts->timestamp ? opts->timestamp : now();
	memcpy(footer->creator, "win ", 4);
	footer->creator_version = 0x00060003;
	memcpy(footer->creator_os, "Wi2k", 4);
	footer->original_size = footer->current_size = opts->size;
	footer->geometry = fmt_geometry_of(opts->size);
	footer->type = is_fixed ? VHD_FIXED : VHD_DYNAMIC;
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

	fmt_header_encode(raw, &header);
	return io_pwrite(io, raw, sizeof(raw), HEADER_OFF);
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

int vhd_create_io(struct vhd_io *io, const char *name, const struct vhd_create_opts *opts,
		  struct vhd_err *err)
{
	struct layout l = { 0 };
	struct fmt_footer footer = { 0 };
	uint8_t raw[FMT_SECTOR];
	int rc;

	if (opts->type == VHD_DIFFERENCING)
		return vhd_err_set(err, -ENOTSUP, "%s: differencing images cannot be made yet",
				   name);
	if (opts->type && opts->type != VHD_FIXED && opts->type != VHD_DYNAMIC)
		return vhd_err_set(err, -EINVAL, "%s: there is no disk type %d", name, opts->type);
	rc = check_size(name, opts->size, err);
	if (!rc && opts->type != VHD_FIXED)
		rc = layout_dynamic(&l, name, opts, err);
	if (!rc)
		rc = fill_uuid(footer.uuid, name, opts, err);
	if (!rc)
		rc = check_empty(io, name, err);
	if (rc)
		return rc;
	fill_footer(&footer, opts);
	fmt_footer_encode(raw, &footer);
	rc = opts->type == VHD_FIXED ? write_fixed(io, opts->size, raw) :
	     write_dynamic(io, &l, raw);
	return rc ? vhd_err_errno(err, rc, "%s: cannot be written", name) : 0;
}

int vhd_create(const char *path, const struct vhd_create_opts *opts, struct vhd_err *err)
{
	struct vhd_io *io;
	int rc = io_file_create(&io, path, err);

	if (rc)
		return rc;
	rc = vhd_create_io(io, path, opts, err);
	if (!rc)
		rc = io_file_publish(io, err);
	io->ops->close(io);
	return rc;
}
