/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a power cut can leave of a file that the engine writes, and whether that is sound.
 *
 * A struct crash stands under the engine as its storage. It knows for every 512-byte sector what is
 * durable for certain and what may be there instead, and for every sector of the guest what it may
 * read; after every single change it checks all that a crash at that moment can leave.
 */
#ifndef TESTS_SUPPORT_CRASH_H
#define TESTS_SUPPORT_CRASH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/support/io_mem.h"
#include "tests/support/io_record.h"
#include "vhd/vhd.h"

struct crash;
struct fault;

/* What is known of the image before the first change. */
struct crash_image {
	struct mem_file *file;		/* the caller's; changed */
	bool has_clear_bits;		/* junk under bits that are 0: only readers that honour the
					 * bitmap are promised anything there */
	bool has_no_trailer;		/* T is missing, and the last sector may be a guest's */
	bool has_short_block;		/* the block highest in the file is cut by T */
	struct mem_file *parent;	/* of a differencing image, the caller's; else NULL. Nobody
					 * is to change it, and what ignores bitmaps is promised
					 * nothing */
};

/* What the disk has of pages that a failed barrier left clean in the cache. */
enum crash_lost {
	CRASH_LOST_OLD, CRASH_LOST_NEW, CRASH_LOST_MIXED,
};

struct crash *crash_new(void);
void crash_free(struct crash *c);

/* Begins anew with an image, all of it durable. label is part of every report; may be NULL. */
void crash_start(struct crash *c, const struct crash_image *image, const char *label);
/* Whether states are checked at each change; they are, unless told otherwise. */
void crash_set_checking(struct crash *c, bool is_checking);
/* One state in `every` is made into a file, opened with the engine, which recovers it, and used;
 * the recovery is cut in turn. 0: none. */
void crash_set_sampling(struct crash *c, unsigned every, uint64_t seed);
/* What is done with a sampled state instead of writing a sector and flushing: open is the engine
 * over it, and what fn finds wrong it gives to crash_violate of c. NULL: the usual. */
typedef void (*crash_use_fn)(struct crash *c, vhd_image *img, void *arg);
void crash_set_use(struct crash *c, crash_use_fn fn, void *arg);
void crash_set_lost(struct crash *c, enum crash_lost lost);
/* Every io that crash_open makes from now on fails as *fault says; NULL, and after crash_start:
 * none does. */
void crash_set_fault(struct crash *c, struct fault *fault);
struct recorder *crash_recorder(struct crash *c);
/* A word for the log that a report prints. text is kept by reference. */
void crash_note(struct crash *c, const char *text);

/* The guest's doings: the engine's calls, with what may be read from then on kept in mind. All
 * return what the engine returned, and are safe in two threads for different sectors. A failure
 * without a sentence is a violation. */
int crash_open(struct crash *c, vhd_image **img);
int crash_close(struct crash *c, vhd_image *img);
/* kill -9: img's memory goes (NULL: is gone already), nothing more reaches the file. The next
 * crash_open sees what it left. */
void crash_kill(struct crash *c, vhd_image *img);
int crash_pwrite(struct crash *c, vhd_image *img, const void *buf, size_t len, uint64_t off);
int crash_zero(struct crash *c, vhd_image *img, uint64_t len, uint64_t off, enum vhd_zero_how how);
int crash_flush(struct crash *c, vhd_image *img);
/* vhd_zero_free or vhd_compact. is_free, for each sector of the disk, tells what may read as zeros
 * from now on, and must when all of it was zeroed (NULL: nothing may). What is in doubt after it
 * was stopped is adopted; after a failure that is the caller's. Also acknowledges all that was
 * written before. */
typedef int (*crash_verb)(vhd_image *img, const struct vhd_reclaim_opts *opts,
			  struct vhd_reclaim_result *result, struct vhd_err *err);
int crash_reclaim(struct crash *c, vhd_image *img, crash_verb verb,
		  const struct vhd_reclaim_opts *opts, const bool *is_free,
		  struct vhd_reclaim_result *result);
/* What the last call that failed said. */
const struct vhd_err *crash_error(const struct crash *c);
/* After a write that failed: what each sector reads now is its latest value, if it may have it. */
void crash_adopt(struct crash *c, vhd_image *img);
/* Whether every sector reads what was written last; only while nothing is under way. */
bool crash_reads_right(struct crash *c, vhd_image *img);
/* What the sector at off was given last. */
void crash_latest(struct crash *c, uint64_t off, uint8_t buf[512]);

/* The report of the first violation since crash_start, or NULL. */
const char *crash_violation(const struct crash *c);
/* Makes one: a test's own finding, with the log. */
void crash_violate(struct crash *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct crash_stats {
	uint64_t runs, points, views, samples;
	double images;		/* crash states that the views stand for, if taken one by one */
};

/* Sums since crash_new. */
const struct crash_stats *crash_stats(const struct crash *c);

#endif
