/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the long jobs that give room back have in common.
 *
 * Locking: still_lock is held exclusive from reclaim_begin to reclaim_end, so that neither the
 * map's entries nor the disk's contents change but by the job itself; the job's own changes of the
 * map take map_lock, for the readers' sake.
 */
#include "vhd/reclaim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vhd/store.h"

#define BATCH (1ull << 30)	/* bytes of blocks between two commits */
#define STEP (64ull << 20)	/* bytes between two looks at the clock */
#define SPARSE_PERCENT 5
#define PAGE 4096u

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int check_image(const struct vhd_image *img, const struct vhd_reclaim_opts *opts,
		       struct vhd_err *err)
{
	if (img->is_readonly && !opts->dry_run)
		return vhd_err_set(err, -EROFS, "%s: opened read-only", img->name);
	return store_check_poison(img, err);
}

int reclaim_refuse_fixed(const struct vhd_image *img, struct vhd_err *err)
{
	return vhd_err_set(err, -ENOTSUP, "%s: %s, in which there are no blocks to give back",
			   img->name, img->is_raw ? "no VHD but a raw disk" : "a fixed VHD");
}

static int count_before(struct reclaim *r, struct vhd_err *err)
{
	struct vhd_io_stat st;
	int rc = io_stat(r->img->io, &st);

	if (rc)
		return vhd_err_errno(err, rc, "%s", r->img->name);
	r->result->file_size_before = r->result->file_size_after = st.size;
	r->result->blocks_before = r->result->blocks_after = r->img->map.allocated;
	return 0;
}

int reclaim_begin(struct reclaim *r, struct vhd_image *img, const struct vhd_reclaim_opts *opts,
		  struct vhd_reclaim_result *result, struct vhd_err *err)
{
	static const struct vhd_reclaim_opts defaults;
	int rc;

	if (err)
		err->code = 0;
	opts = opts ? opts : &defaults;
	*r = (struct reclaim){ .img = img, .opts = opts, .result = result };
	*result = (struct vhd_reclaim_result){ 0 };
	r->batch = opts->batch ? opts->batch : BATCH;
	if (opts->max_seconds)
		r->deadline = now() + opts->max_seconds * 1000000000ull;
	pthread_rwlock_wrlock(&img->still_lock);
	rc = check_image(img, opts, err);
	if (!rc)
		rc = count_before(r, err);
	if (rc)
		return rc;
	rc = classify_begin(&r->scan, img, opts->free);
	r->drop = calloc(classify_blocks(&r->scan) + 1ull, 1);
	if (rc || !r->drop)
		return vhd_err_errno(err, -ENOMEM, "%s", img->name);
	return 0;
}

void reclaim_end(struct reclaim *r)
{
	pthread_rwlock_unlock(&r->img->still_lock);
	classify_end(&r->scan);
	free(r->drop);
}

static void tell(struct reclaim *r)
{
	if (r->opts->progress && r->opts->progress(r->opts->progress_arg, &r->progress) && !r->stop)
		r->stop = -ECANCELED;
}

void reclaim_phase(struct reclaim *r, const char *phase, uint64_t total)
{
	r->progress = (struct vhd_progress){ .phase = phase, .total = total };
	r->last_step = 0;
	tell(r);
}

bool reclaim_step(struct reclaim *r, uint64_t len)
{
	uint64_t step = r->batch < STEP ? r->batch : STEP;

	r->progress.done += len;
	if (r->progress.done - r->last_step < step)
		return !r->stop;
	r->last_step = r->progress.done;
	if (r->progress.done < r->progress.total)	/* the last is reclaim_phase_done's */
		tell(r);
	if (!r->stop && r->deadline && now() >= r->deadline)
		r->stop = 1;
	return !r->stop;
}

void reclaim_phase_done(struct reclaim *r)
{
	r->progress.done = r->progress.total;
	if (r->opts->progress)
		r->opts->progress(r->opts->progress_arg, &r->progress);	/* too late to stop */
}

int reclaim_classify(struct reclaim *r, uint32_t blk, struct classify_block *out,
		     struct vhd_err *err)
{
	uint64_t before = r->scan.bytes_read;
	int rc = classify_block(&r->scan, blk, out, err);

	r->result->bytes_read += r->scan.bytes_read - before;
	if (rc)
		return rc;
	r->drop[blk] = out->is_droppable;
	if (out->is_droppable)
		return 0;
	if (r->opts->free && out->used * 100 < out->len * SPARSE_PERCENT)
		r->result->blocks_sparse++;
	if (r->opts->live)
		r->opts->live(r->opts->live_arg, out->off, out->len, out->used);
	return 0;
}

int reclaim_drop(struct reclaim *r, uint32_t blk, struct vhd_err *err)
{
	struct vhd_image *img = r->img;
	int rc;

	r->result->blocks_after--;
	r->result->blocks_released++;
	if (r->opts->dry_run)
		return 0;
	pthread_rwlock_wrlock(&img->map_lock);
	rc = map_reserve(&img->map);
	if (!rc)
		map_drop(&img->map, blk);
	pthread_rwlock_unlock(&img->map_lock);
	return rc ? vhd_err_errno(err, rc, "%s", img->name) : 0;
}

int reclaim_predict(struct reclaim *r, struct vhd_err *err)
{
	struct plan plan;
	int rc;

	if (image_is_fixed(r->img))
		return 0;
	pthread_mutex_lock(&r->img->commit_lock);
	rc = plan_make(&plan, r->img, r->drop);
	pthread_mutex_unlock(&r->img->commit_lock);
	if (!rc)
		r->result->file_size_after = plan.file_size;
	plan_end(&plan);
	return rc ? vhd_err_errno(err, rc, "%s", r->img->name) : 0;
}

int reclaim_result(struct reclaim *r, int rc, struct vhd_err *err)
{
	r->result->is_partial = r->stop || rc;
	if (rc || r->stop >= 0)
		return rc;
	return vhd_err_set(err, r->stop, "%s: stopped before all was done; what was reached is "
			   "kept", r->img->name);
}

size_t reclaim_page_run(const uint8_t *buf, size_t len, uint64_t file_off, bool *is_zero)
{
	size_t n = 0;

	while (n < len) {
		size_t page = PAGE - (file_off + n) % PAGE;
		bool is_page_zero;

		page = page < len - n ? page : len - n;
		is_page_zero = io_is_zero(buf + n, page);
		if (n && is_page_zero != *is_zero)
			break;
		*is_zero = is_page_zero;
		n += page;
	}
	return n;
}

int reclaim_begin_reading(struct reclaim *r, struct vhd_image *img,
			  const struct vhd_reclaim_opts *opts, struct vhd_reclaim_opts *own,
			  struct vhd_reclaim_result *result, struct vhd_err *err)
{
	*own = opts ? *opts : (struct vhd_reclaim_opts){ 0 };
	own->dry_run = true;
	own->max_seconds = 0;
	return reclaim_begin(r, img, own, result, err);
}

int reclaim_read_runs(struct reclaim *r, const uint8_t *bits, uint64_t data_off, uint32_t in,
		      size_t len)
{
	uint8_t *buf = r->scan.buf;
	uint32_t run = in, run_len, end = in + (uint32_t)len;
	int rc = 0;

	memset(buf, 0, len);
	while (!rc && classify_run(bits, end, &run, &run_len)) {
		rc = image_read_file(r->img, buf + (run - in), run_len, data_off + run);
		r->result->bytes_read += run_len;
		run += run_len;
	}
	return rc;
}

int reclaim_put_pages(struct reclaim *r, struct vhd_io *out, size_t len, uint64_t file_off)
{
	const uint8_t *buf = r->scan.buf;
	int rc = 0;

	for (size_t at = 0, n; !rc && at < len; at += n) {
		bool is_zero = false;

		n = reclaim_page_run(buf + at, len - at, file_off + at, &is_zero);
		if (is_zero)
			continue;
		rc = io_pwrite(out, buf + at, n, file_off + at);
		r->result->bytes_written += n;
	}
	return rc;
}
