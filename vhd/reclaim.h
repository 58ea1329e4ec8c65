/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the long jobs that give room back have in common: limits, progress, the disk held still. */
#ifndef VHD_RECLAIM_H
#define VHD_RECLAIM_H

#include "vhd/classify.h"
#include "vhd/image.h"
#include "vhd/plan.h"

struct reclaim {
	struct vhd_image *img;
	const struct vhd_reclaim_opts *opts;
	struct vhd_reclaim_result *result;
	struct vhd_progress progress;
	uint64_t deadline;	/* of the monotonic clock in ns; 0: none */
	uint64_t last_step;	/* progress.done then */
	uint64_t batch;		/* bytes between two commits */
	int stop;		/* -ECANCELED, or 1: time is over; 0 */
	struct classify scan;
	uint8_t *drop;		/* [blocks] 1: the block may go */
};

/* Checks that the image can be worked on, and holds the disk still until reclaim_end, which follows
 * in any case. opts may be NULL. */
int reclaim_begin(struct reclaim *r, struct vhd_image *img, const struct vhd_reclaim_opts *opts,
		  struct vhd_reclaim_result *result, struct vhd_err *err);
void reclaim_end(struct reclaim *r);

/* -ENOTSUP, with the sentence for who gives back blocks. */
int reclaim_refuse_fixed(const struct vhd_image *img, struct vhd_err *err);

void reclaim_phase(struct reclaim *r, const char *phase, uint64_t total);
/* len bytes more were done. False once the job has to stop. */
bool reclaim_step(struct reclaim *r, uint64_t len);
/* All of the phase is done and durable. */
void reclaim_phase_done(struct reclaim *r);

/* Classifies blk (mapped, or a piece of a fixed image), counts it, and notes in r->drop whether it
 * may go. */
int reclaim_classify(struct reclaim *r, uint32_t blk, struct classify_block *out,
		     struct vhd_err *err);
/* blk gives its slot back; durable with the next commit. */
int reclaim_drop(struct reclaim *r, uint32_t blk, struct vhd_err *err);
/* Sets file_size_after to what the plan without the blocks in r->drop reaches. */
int reclaim_predict(struct reclaim *r, struct vhd_err *err);
/* How much of buf, which lies or is to lie at file_off, from its start on is of one kind, page by
 * page of the file: all zeros, or not. */
size_t reclaim_page_run(const uint8_t *buf, size_t len, uint64_t file_off, bool *is_zero);
/*
 * For a job that makes a new file: reclaim_begin with opts of its own, by which img is only read
 * and time does not run out, since a part of such a file is nothing.
 */
int reclaim_begin_reading(struct reclaim *r, struct vhd_image *img,
			  const struct vhd_reclaim_opts *opts, struct vhd_reclaim_opts *own,
			  struct vhd_reclaim_result *result, struct vhd_err *err);
/* Reads len bytes of a block, whose data is at data_off in the file, from its byte `in` on into the
 * scan's buffer: sectors whose bit is set; the others are zeros. 0 or -errno. */
int reclaim_read_runs(struct reclaim *r, const uint8_t *bits, uint64_t data_off, uint32_t in,
		      size_t len);
/* len bytes of the scan's buffer to out at file_off, which is a hole; zeros stay one. 0 or
 * -errno. */
int reclaim_put_pages(struct reclaim *r, struct vhd_io *out, size_t len, uint64_t file_off);
/* rc, or what a stop makes of success. */
int reclaim_result(struct reclaim *r, int rc, struct vhd_err *err);

#endif
