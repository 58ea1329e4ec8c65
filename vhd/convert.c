/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes all that an image and its parents have to a new file: a dynamic or fixed image, which
 * needs no parent, or a raw disk. The images are only read.
 *
 * Nobody names the new file before it is whole, so the order of its writes is free. A dynamic one
 * is made empty (create.c) and then filled, as create lays it out: the blocks one behind the other
 * in the order of the disk, so that where each is follows from how many are before it.
 *
 * Locking: still_lock is held exclusive (reclaim.c).
 */
#include <errno.h>
#include <string.h>

#include "vhd/create.h"
#include "vhd/reclaim.h"

#define PLAIN_PIECE CLASSIFY_FIXED_BLOCK

struct convert {
	struct reclaim r;
	struct vhd_reclaim_opts opts;
	bool is_dry;		/* nothing is written */
	enum vhd_target to;
	struct vhd_io *out;	/* or NULL */
	const char *name;	/* of out */
	uint64_t size;		/* of the new disk */
	struct map shape;	/* sizes alone: of the new file's blocks, or of pieces */
	uint64_t end;		/* dynamic: of the metadata and blocks so far */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* How many blocks, or pieces, the old disk has. Of a dynamic file's blocks, r.drop says which are
 * zeros. */
static uint32_t pieces(const struct convert *c)
{
	return (uint32_t)(round_up(c->r.img->size, c->shape.block_size) / c->shape.block_size);
}

static int fail_write(const struct convert *c, int rc, struct vhd_err *err)
{
	return vhd_err_errno(err, rc, "%s: cannot be written", c->name);
}

static int choose_shape(struct convert *c, struct vhd_err *err)
{
	const struct vhd_image *img = c->r.img;
	uint64_t unit = c->opts.size_unit ? c->opts.size_unit : FMT_SECTOR, blocks;

	if (unit % FMT_SECTOR || __builtin_add_overflow(img->size, unit - 1, &c->size))
		return vhd_err_set(err, -EINVAL, "%s: a disk cannot be a multiple of %llu bytes",
				   img->name, (unsigned long long)unit);
	c->size = round_up(img->size, unit);
	if (c->to == VHD_TO_DYNAMIC && c->size > FMT_MAX_DYNAMIC)
		return vhd_err_set(err, -EINVAL, "%s: a dynamic disk has 2040 GiB at most, and "
				   "%llu bytes are more", img->name, (unsigned long long)c->size);
	c->shape.block_size = c->to == VHD_TO_DYNAMIC && img->map.block_size ?
			      img->map.block_size : PLAIN_PIECE;
	c->shape.bitmap_size = fmt_bitmap_size(c->shape.block_size);
	blocks = round_up(c->size, c->shape.block_size) / c->shape.block_size;
	c->shape.blocks = (uint32_t)blocks;
	c->end = create_table_end(c->shape.blocks);
	return 0;
}

/* The new file with nothing on its disk. A raw one gets its length last. */
static int make_empty(struct convert *c, struct vhd_err *err)
{
	const struct vhd_create_opts opts = {
		.type = c->to == VHD_TO_FIXED ? VHD_FIXED : VHD_DYNAMIC,
		.size = c->size, .block_size = c->to == VHD_TO_FIXED ? 0 : c->shape.block_size,
	};

	return c->to == VHD_TO_RAW || c->is_dry ? 0 :
	       vhd_create_io(c->out, c->name, &opts, err);
}

/* Whether any image of the chain has something there, by what they say of themselves. */
static int has_data(struct convert *c, uint64_t off, uint64_t len, bool *has, struct vhd_err *err)
{
	struct vhd_extent ext;
	int rc = 1;

	for (*has = false; rc > 0 && len && !*has; off += ext.len, len -= ext.len) {
		rc = vhd_next_extent(c->r.img, off, len, &ext, err);
		*has = rc > 0 && ext.is_data;
	}
	return rc < 0 ? rc : 0;
}

/* A slot and its bitmap of ones. */
static int begin_block(struct convert *c, uint32_t *entry)
{
	static const uint8_t ones[FMT_SECTOR] = { [0 ... FMT_SECTOR - 1] = 0xff };
	int rc = map_place_next(&c->shape, &c->end, entry);

	if (rc || c->is_dry)
		return rc;
	for (uint32_t at = 0; !rc && at < c->shape.bitmap_size; at += FMT_SECTOR)
		rc = io_pwrite(c->out, ones, sizeof(ones), map_entry_off(*entry) + at);
	return rc;
}

/* len bytes of the chain, at `in` of blk, are in the buffer, and are not all zeros. */
static int put(struct convert *c, uint32_t blk, uint32_t in, size_t len, uint32_t *entry)
{
	uint64_t off = (uint64_t)blk * c->shape.block_size + in;
	int rc = 0;

	if (c->to != VHD_TO_DYNAMIC)
		return c->is_dry ? 0 : reclaim_put_pages(&c->r, c->out, len, off);
	if (*entry == FMT_UNUSED)
		rc = begin_block(c, entry);
	if (!rc && !c->is_dry)
		rc = reclaim_put_pages(&c->r, c->out, len, map_data_off(&c->shape, *entry) + in);
	return rc;
}

/* The barrier at the end then finds little left to wait for: reading and writing overlap. */
static void start_writing(struct convert *c, uint32_t blk, uint32_t entry)
{
	uint64_t off = c->to == VHD_TO_DYNAMIC ? map_entry_off(entry) :
		       (uint64_t)blk * c->shape.block_size;
	uint64_t len = c->to == VHD_TO_DYNAMIC ? map_slot_size(&c->shape) : c->shape.block_size;

	if (!c->is_dry && c->out->ops->start_writing)
		c->out->ops->start_writing(c->out, len, off);
}

/* What the file has of blk; what lies past the old disk's end is zeros. */
static int convert_block(struct convert *c, uint32_t blk, struct vhd_err *err)
{
	struct vhd_image *img = c->r.img;
	uint64_t off = (uint64_t)blk * c->shape.block_size;
	uint32_t size = c->shape.block_size, entry = FMT_UNUSED;
	uint64_t own = img->size - off < size ? img->size - off : size;
	bool is_dynamic = c->to == VHD_TO_DYNAMIC, has;
	int rc = has_data(c, off, own, &has, err);

	/* A fixed file ends with its footer: nothing is written past the disk's end. */
	if (!is_dynamic && c->size - off < size)
		size = (uint32_t)(c->size - off);
	for (uint32_t in = 0; !rc && has && in < size; in += CLASSIFY_BUF) {
		size_t len = size - in < CLASSIFY_BUF ? size - in : CLASSIFY_BUF;
		size_t n = in >= own ? 0 : own - in < len ? (size_t)(own - in) : len;

		rc = n ? vhd_pread(img, c->r.scan.buf, n, off + in, err) : 0;
		if (rc)
			return rc;
		c->r.result->bytes_read += n;
		memset(c->r.scan.buf + n, 0, len - n);
		if (io_is_zero(c->r.scan.buf, len))
			continue;
		rc = put(c, blk, in, len, &entry);
		if (rc)
			return fail_write(c, rc, err);
	}
	if (!rc && has && (!is_dynamic || entry != FMT_UNUSED))
		start_writing(c, blk, entry);
	if (is_dynamic)
		c->r.drop[blk] = entry == FMT_UNUSED;
	c->r.result->blocks_after += entry != FMT_UNUSED;
	return rc;
}

static int convert_blocks(struct convert *c, struct vhd_err *err)
{
	uint64_t size = c->r.img->size;
	int rc = 0;

	c->r.result->blocks_after = 0;
	reclaim_phase(&c->r, "copy", size);
	for (uint32_t blk = 0; !rc && !c->r.stop && blk < pieces(c); blk++) {
		uint64_t off = (uint64_t)blk * c->shape.block_size;

		rc = convert_block(c, blk, err);
		reclaim_step(&c->r, size - off < c->shape.block_size ? size - off :
				    c->shape.block_size);
	}
	return rc;
}

/* The places are given out once more, in the same order. */
static int write_table(struct convert *c)
{
	uint32_t blocks = pieces(c);
	uint8_t *buf = c->r.scan.buf;
	uint32_t blk = 0;
	int rc = 0;

	c->end = create_table_end(c->shape.blocks);
	while (!rc && blk < blocks) {
		uint32_t first = blk, n = blocks - blk < CLASSIFY_BUF / 4 ? blocks - blk :
					  CLASSIFY_BUF / 4;

		memset(buf, 0xff, n * 4ull);
		for (; !rc && blk < first + n; blk++) {
			uint32_t entry;

			if (c->r.drop[blk])
				continue;
			rc = map_place_next(&c->shape, &c->end, &entry);
			if (!rc)
				fmt_entry_put(buf + (blk - first) * 4ull, entry);
		}
		if (!rc)
			rc = io_pwrite(c->out, buf, n * 4ull, CREATE_TABLE_OFF + first * 4ull);
	}
	return rc;
}

/* The empty image's footer, behind the blocks. */
static int move_footer(struct convert *c)
{
	uint8_t footer[FMT_SECTOR];
	int rc = io_pread(c->out, footer, sizeof(footer), 0);

	return rc ? rc : io_pwrite(c->out, footer, sizeof(footer), map_place_footer(c->end));
}

/* A raw disk that ends with a hole is as long as it should be. */
static int set_length(struct convert *c)
{
	struct vhd_io_stat st;
	int rc = io_stat(c->out, &st);

	return rc || st.size >= c->size ? rc : io_write_zeros(c->out, 1, c->size - 1);
}

static int finish(struct convert *c)
{
	int rc;

	if (c->to == VHD_TO_DYNAMIC)
		rc = write_table(c);
	else
		rc = c->to == VHD_TO_RAW ? set_length(c) : 0;
	if (!rc && c->to == VHD_TO_DYNAMIC)
		rc = move_footer(c);
	if (!rc && c->opts.no_holes)
		rc = io_fill_holes(c->out, c->r.result->file_size_after, 0, c->r.scan.buf,
				   CLASSIFY_BUF);
	return rc ? rc : io_barrier(c->out);
}

static uint64_t file_size(const struct convert *c)
{
	if (c->to == VHD_TO_DYNAMIC)
		return map_place_footer(c->end) + FMT_SECTOR;
	return c->size + (c->to == VHD_TO_FIXED ? FMT_SECTOR : 0);
}

static int convert(struct convert *c, struct vhd_err *err)
{
	int rc = choose_shape(c, err);

	if (!rc)
		rc = make_empty(c, err);
	if (!rc)
		rc = convert_blocks(c, err);
	if (rc || c->r.stop)
		return rc;
	c->r.result->file_size_after = file_size(c);
	rc = c->is_dry ? 0 : finish(c);
	if (rc)
		return fail_write(c, rc, err);
	reclaim_phase_done(&c->r);
	return 0;
}

int vhd_convert_io(vhd_image *img, struct vhd_io *out, const char *name, enum vhd_target to,
		   const struct vhd_reclaim_opts *opts, struct vhd_reclaim_result *result,
		   struct vhd_err *err)
{
	struct convert c = { .out = out, .name = name, .to = to, .is_dry = opts && opts->dry_run };
	int rc = reclaim_begin_reading(&c.r, img, opts, &c.opts, result, err);

	if (!rc)
		rc = convert(&c, err);
	rc = reclaim_result(&c.r, rc, err);
	reclaim_end(&c.r);
	return rc;
}

int vhd_convert(vhd_image *img, const char *path, enum vhd_target to,
		const struct vhd_reclaim_opts *opts, struct vhd_reclaim_result *result,
		struct vhd_err *err)
{
	struct vhd_io *out = NULL;
	int rc = opts && opts->dry_run ? 0 : io_file_create(&out, path, err);

	if (!rc)
		rc = vhd_convert_io(img, out, path, to, opts, result, err);
	return out ? io_file_finish(out, rc, err) : rc;
}
