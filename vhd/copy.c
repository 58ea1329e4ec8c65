/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a compacted copy of an image to a new file; the image itself is only read.
 *
 * Nobody names the new file before it is whole, so the order of its writes is free. All that says
 * what the image is goes along: footer, parent, locators, creator, unique id. What lies where is
 * chosen anew, as for an image that is made here:
 *
 *   0       leading footer copy
 *   512     dynamic header
 *   1536    BAT, blktap's batmap, parent locators
 *   ...     the blocks that are needed, in the order of the disk, their data on 4 KiB
 *   ...     trailing footer
 *
 * The blocks that are needed lie one behind the other, so where each is follows from how many are
 * before it, and the table is written without being kept.
 *
 * Locking: still_lock is held exclusive (reclaim.c).
 */
#include <errno.h>
#include <string.h>

#include "vhd/layout.h"
#include "vhd/reclaim.h"
#include "vhd/store.h"

#define HEADER_OFF FMT_SECTOR
#define TABLE_OFF (HEADER_OFF + FMT_HEADER_SIZE)

struct copy {
	struct reclaim r;
	struct vhd_reclaim_opts opts;
	bool is_dry;		/* nothing is written */
	struct vhd_io *out;	/* or NULL */
	const char *name;	/* of out */
	struct fmt_header header;	/* of the new file */
	uint64_t batmap;	/* where it is in the new file; 0: none */
	uint64_t blocks_start;	/* no slot of the new file lies below */
	uint64_t end;		/* of what was placed so far */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* A locator that points past the image's end says nothing, and is not taken along. */
static void place_locators(struct copy *c)
{
	uint64_t file_size = c->r.img->file_size;

	for (unsigned i = 0; i < FMT_LOCATORS; i++) {
		struct fmt_locator *l = &c->header.locators[i];

		if (!l->platform || !l->length || l->offset > file_size ||
		    l->length > file_size - l->offset) {
			*l = (struct fmt_locator){ 0 };
			continue;
		}
		l->offset = c->end;
		l->space = (uint32_t)round_up(l->length, FMT_SECTOR);
		c->end += l->space;
	}
}

static void place_metadata(struct copy *c)
{
	const struct vhd_image *img = c->r.img;

	c->header = img->header;
	c->header.table_offset = TABLE_OFF;
	c->end = layout_pad_table(img, TABLE_OFF + (uint64_t)img->header.entries * 4);
	if (layout_may_have_batmap(img)) {
		c->batmap = c->end;
		c->end += FMT_SECTOR + layout_batmap_size(img->header.entries);
	}
	place_locators(c);
	c->blocks_start = c->end;
}

static int write_out(struct copy *c, const void *buf, size_t len, uint64_t off)
{
	c->r.result->bytes_written += len;
	return io_pwrite(c->out, buf, len, off);
}

/* In a differencing image what is owned stays so: it hides what the parent has. */
static int write_bitmap(struct copy *c, uint64_t off)
{
	const struct vhd_image *img = c->r.img;
	bool is_child = img->footer.type == VHD_DIFFERENCING;
	uint8_t *bits = c->r.scan.idle;

	for (uint32_t i = 0; i < img->map.bitmap_size; i++)
		bits[i] = is_child ? bits[i] | c->r.scan.used[i] : 0xff;
	return write_out(c, bits, img->map.bitmap_size, off);
}

static int fail_read(const struct copy *c, int rc, uint32_t blk, struct vhd_err *err)
{
	return vhd_err_errno(err, rc, "%s: cannot read block %u", c->r.img->name, blk);
}

static int fail_write(const struct copy *c, int rc, struct vhd_err *err)
{
	return vhd_err_errno(err, rc, "%s: cannot be written", c->name);
}

/* The block that was classified last. */
static int copy_block(struct copy *c, uint32_t blk, const struct classify_block *b,
		      struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	uint64_t data;
	uint32_t entry;
	int rc = map_place_next(&c->r.img->map, &c->end, &entry);

	if (rc || c->is_dry)
		return rc ? fail_write(c, rc, err) : 0;
	data = map_data_off(map, entry);
	for (uint32_t in = 0; in < map->block_size; in += CLASSIFY_BUF) {
		size_t left = map->block_size - in, len = left < CLASSIFY_BUF ? left : CLASSIFY_BUF;
		size_t own = b->len > in ? (size_t)(b->len - in) : 0;

		own = own < len ? own : len;
		rc = reclaim_read_runs(&c->r, c->r.scan.used, b->data_off, in, own);
		if (rc)
			return fail_read(c, rc, blk, err);
		memset(c->r.scan.buf + own, 0, len - own);
		rc = reclaim_put_pages(&c->r, c->out, len, data + in);
		if (rc)
			return fail_write(c, rc, err);
	}
	rc = write_bitmap(c, map_entry_off(entry));
	if (!rc && c->out->ops->start_writing)
		c->out->ops->start_writing(c->out, map_slot_size(map), map_entry_off(entry));
	return rc ? fail_write(c, rc, err) : 0;
}

static int copy_blocks(struct copy *c, struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	struct classify_block b;
	int rc = 0;

	reclaim_phase(&c->r, "copy", (uint64_t)map->allocated * map->block_size);
	for (uint32_t blk = 0; !rc && !c->r.stop && blk < map->blocks; blk++) {
		if (map->entry[blk] == FMT_UNUSED)
			continue;
		rc = reclaim_classify(&c->r, blk, &b, err);
		if (!rc && b.is_droppable)
			rc = reclaim_drop(&c->r, blk, err);
		else if (!rc)
			rc = copy_block(c, blk, &b, err);
		reclaim_step(&c->r, map->block_size);
	}
	return rc;
}

/* The places are given out once more, in the same order. */
static int write_table(struct copy *c)
{
	const struct map *map = &c->r.img->map;
	uint64_t end = c->end, table_end = TABLE_OFF + (uint64_t)c->header.entries * 4;
	uint64_t padded_end = layout_pad_table(c->r.img, table_end);
	uint8_t *buf = c->r.scan.buf;
	uint32_t blk = 0;
	int rc = 0;

	c->end = c->blocks_start;
	for (uint64_t off = TABLE_OFF, len; !rc && off < padded_end; off += len) {
		len = padded_end - off < CLASSIFY_BUF ? padded_end - off : CLASSIFY_BUF;
		memset(buf, 0xff, len);
		for (uint64_t at = 0; !rc && at < len && blk < map->blocks; at += 4, blk++) {
			uint32_t entry;

			if (map->entry[blk] == FMT_UNUSED || c->r.drop[blk])
				continue;
			rc = map_place_next(&c->r.img->map, &c->end, &entry);
			if (!rc)
				fmt_entry_put(buf + at, entry);
		}
		if (!rc)
			rc = write_out(c, buf, len, off);
	}
	c->end = end;
	return rc;
}

/* All clear, which is always valid. What else its header says goes along. */
static int write_batmap(struct copy *c)
{
	uint64_t len = layout_batmap_size(c->header.entries);
	uint64_t map = c->batmap + FMT_SECTOR;
	uint8_t head[FMT_SECTOR];
	int rc;

	if (!c->batmap)
		return 0;
	rc = io_pread(c->r.img->io, head, sizeof(head), layout_batmap_off(c->r.img));
	if (rc || memcmp(head, "tdbatmap", 8))
		return rc;
	fmt_batmap_place(head, map, (uint32_t)(len / FMT_SECTOR));
	rc = write_out(c, head, sizeof(head), c->batmap);
	return rc ? rc : io_write_zeros(c->out, len, map);
}

static int copy_locator(struct copy *c, unsigned i)
{
	const struct fmt_locator *to = &c->header.locators[i];
	uint64_t from = c->r.img->header.locators[i].offset;
	int rc = 0;

	for (uint32_t at = 0, n; !rc && at < to->length; at += n) {
		n = to->length - at < CLASSIFY_BUF ? to->length - at : CLASSIFY_BUF;
		rc = io_pread(c->r.img->io, c->r.scan.buf, n, from + at);
		if (!rc)
			rc = write_out(c, c->r.scan.buf, n, to->offset + at);
	}
	return rc;
}

static int write_metadata(struct copy *c)
{
	uint8_t header[FMT_HEADER_SIZE], footer[FMT_SECTOR];
	int rc = write_table(c);

	if (!rc)
		rc = write_batmap(c);
	for (unsigned i = 0; !rc && i < FMT_LOCATORS; i++)
		rc = copy_locator(c, i);
	fmt_header_encode(header, &c->header);
	if (!rc)
		rc = write_out(c, header, sizeof(header), HEADER_OFF);
	memcpy(footer, c->r.img->raw_footer, sizeof(footer));
	fmt_footer_set_data_offset(footer, HEADER_OFF);
	if (!rc)
		rc = write_out(c, footer, sizeof(footer), map_place_footer(c->end));
	return rc ? rc : write_out(c, footer, sizeof(footer), 0);
}

static int copy_all(struct copy *c, struct vhd_err *err)
{
	int rc;

	place_metadata(c);
	rc = copy_blocks(c, err);
	if (rc || c->r.stop)
		return rc;
	c->r.result->file_size_after = map_place_footer(c->end) + FMT_SECTOR;
	if (!c->is_dry)
		rc = write_metadata(c);
	if (!rc && !c->is_dry && c->opts.no_holes)
		rc = io_fill_holes(c->out, c->r.result->file_size_after, 0, c->r.scan.buf,
				   CLASSIFY_BUF);
	if (!rc && !c->is_dry)
		rc = io_barrier(c->out);
	if (!rc)
		reclaim_phase_done(&c->r);
	return rc ? fail_write(c, rc, err) : 0;
}

int vhd_copy_io(vhd_image *img, struct vhd_io *out, const char *name,
		const struct vhd_reclaim_opts *opts, struct vhd_reclaim_result *result,
		struct vhd_err *err)
{
	struct copy c = { .out = out, .name = name };
	int rc;

	*result = (struct vhd_reclaim_result){ 0 };
	if (image_is_fixed(img))
		return reclaim_refuse_fixed(img, err);
	c.is_dry = opts && opts->dry_run;
	rc = reclaim_begin_reading(&c.r, img, opts, &c.opts, result, err);
	if (!rc)
		rc = copy_all(&c, err);
	rc = reclaim_result(&c.r, rc, err);
	reclaim_end(&c.r);
	return rc;
}

int vhd_copy(vhd_image *img, const char *path, const struct vhd_reclaim_opts *opts,
	     struct vhd_reclaim_result *result, struct vhd_err *err)
{
	struct vhd_io *out = NULL;
	int rc = opts && opts->dry_run ? 0 : io_file_create(&out, path, err);

	if (!rc)
		rc = vhd_copy_io(img, out, path, opts, result, err);
	return out ? io_file_finish(out, rc, err) : rc;
}
