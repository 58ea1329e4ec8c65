/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes what is free inside the disk read as zeros.
 *
 * Each block is classified; one that nobody needs gives its slot back, in the others the free
 * sectors are zeroed where they lie. Both are what a guest may do at any time, so at every instant
 * a free sector reads as before or as zeros, and nothing else changes; entries are published by the
 * ordinary commit. What is zeros already is read and not written: a second run writes nothing.
 *
 * To scrub, a block's contents are overwritten before it is dropped: then the commit's first
 * barrier puts the zeros on the disk, and only after its second one is the room punched. Nothing
 * is written to a slot that somebody else may have, and no order of its own is needed.
 */
#include <string.h>

#include "vhd/commit.h"
#include "vhd/reclaim.h"
#include "vhd/store.h"

#define HOLE_MIN (64u << 10)	/* bytes of zeros between two others that are left as they are */

struct zero {
	struct reclaim r;
	uint64_t undone;	/* bytes of blocks since the last commit */
	bool is_counted;	/* what is written now is part of zeroed_bytes */
};

static int write_zeros(struct zero *z, uint64_t len, uint64_t file_off)
{
	const struct vhd_reclaim_opts *opts = z->r.opts;
	int rc = 0;

	if (z->is_counted)
		z->r.result->zeroed_bytes += len;
	if (!opts->dry_run)
		rc = opts->write_zeros || opts->scrub ?
		     store_write_zeros(z->r.img, len, file_off) :
		     store_zero(z->r.img, len, file_off);
	z->r.result->bytes_written += opts->dry_run ? 0 : len;
	return rc;
}

/* Zeroes what is not zero of len bytes (at most CLASSIFY_BUF) that were read into buf. */
static int zero_what_is_not(struct zero *z, const uint8_t *buf, size_t len, uint64_t file_off)
{
	size_t start = 0, end = 0;	/* what is to be zeroed, and was not yet */
	int rc = 0;

	for (size_t at = 0, n; !rc && at < len; at += n) {
		bool is_zero = false;

		n = reclaim_page_run(buf + at, len - at, file_off + at, &is_zero);
		if (is_zero)
			continue;
		if (end && at - end >= HOLE_MIN) {
			rc = write_zeros(z, end - start, file_off + start);
			end = 0;
		}
		if (!end)
			start = at;
		end = at + n;
	}
	return !rc && end ? write_zeros(z, end - start, file_off + start) : rc;
}

static int zero_runs(struct zero *z, const struct classify_block *b, const uint8_t *bits)
{
	uint8_t *buf = z->r.scan.buf;
	uint32_t in = 0, len;

	while (classify_run(bits, b->len, &in, &len)) {
		for (uint32_t end = in + len; in < end;) {
			size_t n = end - in < CLASSIFY_BUF ? end - in : CLASSIFY_BUF;
			int rc = image_read_file(z->r.img, buf, n, b->data_off + in);

			z->r.result->bytes_read += n;
			if (!rc)
				rc = zero_what_is_not(z, buf, n, b->data_off + in);
			if (rc)
				return rc;
			in += (uint32_t)n;
		}
	}
	return 0;
}

/* All of the block is nobody's, and so is what lies under its clear bits. */
static int scrub_block(struct zero *z, const struct classify_block *b)
{
	struct classify_block whole = { .len = z->r.scan.block_size, .data_off = b->data_off };

	z->is_counted = false;
	memset(z->r.scan.free, 0xff, fmt_bitmap_size(z->r.scan.block_size));
	return zero_runs(z, &whole, z->r.scan.free);
}

/* The block stays: its free sectors become zeros. */
static int zero_inside(struct zero *z, const struct classify_block *b)
{
	int rc;

	z->is_counted = true;
	rc = zero_runs(z, b, z->r.scan.idle);
	z->is_counted = false;
	if (!rc && z->r.opts->scrub)	/* and those that the image does not even own */
		rc = zero_runs(z, b, z->r.scan.free);
	return rc;
}

static int zero_block(struct zero *z, uint32_t blk, struct vhd_err *err)
{
	struct reclaim *r = &z->r;
	struct classify_block b;
	int rc = reclaim_classify(r, blk, &b, err);

	if (rc)
		return rc;
	if (!b.free) {
		r->result->blocks_zero += b.is_droppable;
		return 0;
	}
	if (!b.is_droppable)
		rc = zero_inside(z, &b);
	else if (r->opts->scrub)
		rc = scrub_block(z, &b);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot zero block %u", r->img->name, blk);
	if (!b.is_droppable)
		return 0;
	r->result->zeroed_bytes += b.idle;
	return reclaim_drop(r, blk, err);
}

static bool is_there(const struct vhd_image *img, uint32_t blk)
{
	return image_is_fixed(img) || img->map.entry[blk] != FMT_UNUSED;
}

/* Publishes now and then, so that what is done is not lost and the room comes back. */
static int commit_batch(struct zero *z, uint64_t len, struct vhd_err *err)
{
	z->undone += len;
	if (z->undone < z->r.batch || z->r.opts->dry_run)
		return 0;
	z->undone = 0;
	return commit_run(z->r.img, err);
}

static int zero_all(struct zero *z, struct vhd_err *err)
{
	struct reclaim *r = &z->r;
	uint32_t blocks = classify_blocks(&r->scan), size = r->scan.block_size;
	int rc = 0;

	reclaim_phase(r, "zero", image_is_fixed(r->img) ? r->img->size :
		      (uint64_t)r->img->map.allocated * size);
	for (uint32_t blk = 0; !rc && !r->stop && blk < blocks; blk++) {
		if (!is_there(r->img, blk))
			continue;
		rc = zero_block(z, blk, err);
		if (!rc)
			rc = commit_batch(z, size, err);
		reclaim_step(r, size);
	}
	/* Stopped or not: what was begun becomes durable. */
	if (!rc && !r->opts->dry_run)
		rc = commit_run(r->img, err);
	if (!rc)
		rc = reclaim_predict(r, err);
	if (!rc && !r->stop)
		reclaim_phase_done(r);
	return rc;
}

int vhd_zero_free(vhd_image *img, const struct vhd_reclaim_opts *opts,
		  struct vhd_reclaim_result *result, struct vhd_err *err)
{
	struct zero z = { .undone = 0 };
	int rc = reclaim_begin(&z.r, img, opts, result, err);

	if (!rc)
		rc = zero_all(&z, err);
	rc = reclaim_result(&z.r, rc, err);
	reclaim_end(&z.r);
	return rc;
}
