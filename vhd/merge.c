/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Merges a differencing image into its parent: what the child owns is written to the parent, and
 * the child's blocks are given back.
 *
 * The order is rule 11: a batch is written to the parent, the parent's commit makes it durable, and
 * only then does the child drop the blocks, in a commit of its own. While a block is in both, or
 * half written to the parent, the child still owns it, so at every instant the child reads as
 * before; whoever comes next merges what the child still has. A sector that the child owns and that
 * is zeros becomes zeros in the parent, whatever is below: nothing old shows through.
 *
 * The parent reads otherwise from the first write on, and so do other children of it. At the end it
 * gets a new unique id and the child is made to name that one, so that another child, which nobody
 * thought of, is refused and not read wrong. Between those two the child, empty by then, does not
 * name its parent; the new id is one that can be known for it (chain_next_id), so it opens, and
 * merging it once more does the rest. Other software refuses it until then.
 *
 * Locking: the child's still_lock is held exclusive (reclaim.c); the parent is written by its own
 * calls, as by a guest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/chain.h"
#include "vhd/commit.h"
#include "vhd/create.h"
#include "vhd/reclaim.h"
#include "vhd/relink.h"
#include "vhd/rewrite.h"
#include "vhd/store.h"

struct merge {
	struct reclaim r;
	struct vhd_image *parent;
	uint8_t *bits;		/* of the block at hand */
	uint64_t undone;	/* bytes of blocks since the parent's last commit */
	uint64_t zero_off, zero_len;	/* read as zeros, and not written yet */
};

static int check_pair(const struct vhd_image *img, const struct vhd_reclaim_opts *opts,
		      struct vhd_err *err)
{
	const struct vhd_image *parent = img->parent;

	if (!parent)
		return vhd_err_set(err, -ENOTSUP, "%s: has no parent to be merged into", img->name);
	if (parent->size < img->size)
		return vhd_err_set(err, -EFBIG, "%s: the disk has %llu bytes, and that of its "
				   "parent %s only %llu", img->name, (unsigned long long)img->size,
				   parent->name, (unsigned long long)parent->size);
	if (parent->is_readonly && !opts->dry_run)
		return vhd_err_set(err, -EROFS, "%s: opened read-only", parent->name);
	return 0;
}

/* A long run of zeros is one call, so that whole blocks of the parent are given back. */
static int write_zeros(struct merge *m, struct vhd_err *err)
{
	uint64_t len = m->zero_len;

	m->zero_len = 0;
	if (!len || m->r.opts->dry_run)
		return 0;
	return vhd_zero(m->parent, len, m->zero_off, VHD_ZERO_RELEASE, err);
}

static int put_zeros(struct merge *m, uint64_t len, uint64_t off, struct vhd_err *err)
{
	int rc = 0;

	m->r.result->zeroed_bytes += len;
	if (m->zero_len && m->zero_off + m->zero_len != off)
		rc = write_zeros(m, err);
	if (!m->zero_len)
		m->zero_off = off;
	m->zero_len += len;
	return rc;
}

static int put_data(struct merge *m, const uint8_t *buf, size_t len, uint64_t off,
		    struct vhd_err *err)
{
	int rc = write_zeros(m, err);

	m->r.result->bytes_written += len;
	if (!rc && !m->r.opts->dry_run)
		rc = vhd_pwrite(m->parent, buf, len, off, err);
	return rc;
}

/* len bytes of the disk at off, which are in buf. */
static int put(struct merge *m, const uint8_t *buf, size_t len, uint64_t off, struct vhd_err *err)
{
	int rc = 0;

	for (size_t at = 0, n; !rc && at < len; at += n) {
		bool is_zero = false;

		n = reclaim_page_run(buf + at, len - at, off + at, &is_zero);
		rc = is_zero ? put_zeros(m, n, off + at, err) :
		     put_data(m, buf + at, n, off + at, err);
	}
	return rc;
}

/* What the child owns of blk. */
static int merge_block(struct merge *m, uint32_t blk, struct vhd_err *err)
{
	struct vhd_image *img = m->r.img;
	uint64_t disk_off = (uint64_t)blk * img->map.block_size;
	uint64_t data = map_data_off(&img->map, img->map.entry[blk]);
	uint32_t in = 0, len;
	int rc = store_copy_bits(img, blk, m->bits);

	while (!rc && classify_run(m->bits, image_blk_len(img, blk), &in, &len)) {
		uint32_t n = len < CLASSIFY_BUF ? len : CLASSIFY_BUF;

		rc = image_read_file(img, m->r.scan.buf, n, data + in);
		if (rc)
			break;
		m->r.result->bytes_read += n;
		rc = put(m, m->r.scan.buf, n, disk_off + in, err);
		if (rc)
			return rc;	/* with the parent's sentence */
		in += n;
	}
	m->r.drop[blk] = 1;
	return rc ? vhd_err_errno(err, rc, "%s: cannot read block %u", img->name, blk) : 0;
}

/* rule 11: what was merged is durable in the parent, and only then no longer the child's. */
static int settle(struct merge *m, uint32_t end, struct vhd_err *err)
{
	struct reclaim *r = &m->r;
	int rc = write_zeros(m, err);

	m->undone = 0;
	if (!rc && !r->opts->dry_run)
		rc = vhd_flush(m->parent, err);
	for (uint32_t blk = 0; !rc && blk < end; blk++) {
		if (!r->drop[blk] || r->img->map.entry[blk] == FMT_UNUSED)
			continue;
		rc = reclaim_drop(r, blk, err);
	}
	return rc || r->opts->dry_run ? rc : commit_run(r->img, err);
}

static int merge_all(struct merge *m, struct vhd_err *err)
{
	struct reclaim *r = &m->r;
	const struct map *map = &r->img->map;
	uint32_t blk;
	int rc = 0, settled;

	reclaim_phase(r, "merge", (uint64_t)map->allocated * map->block_size);
	for (blk = 0; !rc && !r->stop && blk < map->blocks; blk++) {
		if (map->entry[blk] == FMT_UNUSED)
			continue;
		rc = merge_block(m, blk, err);
		m->undone += map->block_size;
		if (!rc && m->undone >= r->batch && !r->opts->dry_run)
			rc = settle(m, blk + 1, err);
		reclaim_step(r, map->block_size);
	}
	if (rc)
		return rc;
	settled = settle(m, blk, err);
	if (!settled && !r->stop)
		reclaim_phase_done(r);
	return settled;
}

static int merge(struct merge *m, struct vhd_err *err)
{
	struct reclaim *r = &m->r;
	int rc;

	m->parent = r->img->parent;
	m->bits = malloc(r->img->map.bitmap_size);
	if (!m->bits)
		return vhd_err_errno(err, -ENOMEM, "%s", r->img->name);
	rc = merge_all(m, err);
	free(m->bits);
	return rc ? rc : reclaim_predict(r, err);
}

/* The parent is another disk from now on, and the child's for certain. */
static int rename_parent(struct vhd_image *img, bool keep_id, struct vhd_err *err)
{
	struct vhd_image *parent = img->parent;
	struct relink_to to = { .path = parent->name };
	bool is_named = !memcmp(img->header.parent_uuid, parent->footer.uuid, sizeof(to.uuid));
	struct vhd_io_stat st;
	int rc = 0;

	if (!keep_id && is_named && !parent->is_raw) {
		chain_next_id(img, to.uuid);
		rc = rewrite_id(parent, to.uuid, err);
	}
	if (rc)
		return rc;
	memcpy(to.uuid, parent->footer.uuid, sizeof(to.uuid));
	if (!image_is_fixed(parent))	/* what closing it would do, and change its time */
		rc = commit_trim(parent, 0, err);
	if (rc)
		return rc;
	rc = io_stat(parent->io, &st);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be looked at", parent->name);
	to.timestamp = create_timestamp(&st);
	return relink(img, &to, err);
}

int vhd_merge(vhd_image *img, const struct vhd_reclaim_opts *opts,
	      struct vhd_reclaim_result *result, struct vhd_err *err)
{
	static const struct vhd_reclaim_opts defaults;
	struct merge m = { .undone = 0 };
	int rc;

	opts = opts ? opts : &defaults;
	*result = (struct vhd_reclaim_result){ 0 };
	rc = check_pair(img, opts, err);
	if (rc)
		return rc;
	rc = reclaim_begin(&m.r, img, opts, result, err);
	if (!rc)
		rc = merge(&m, err);
	rc = reclaim_result(&m.r, rc, err);
	if (!rc && !opts->dry_run && !result->is_partial)
		rc = rename_parent(img, opts->keep_id, err);
	reclaim_end(&m.r);
	return rc;
}
