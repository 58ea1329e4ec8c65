/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts in a job of few writes, tried exhaustively.
 *
 * Between two barriers any subset of the sectors in flight may be on disk, and the file's new
 * length with or without what made it so. At each barrier all subsets are tried, which holds those
 * of every instant before it. A long write, whose sectors nothing distinguishes, goes in two
 * halves.
 */
#ifndef TESTS_SUPPORT_CUTS_H
#define TESTS_SUPPORT_CUTS_H

#include <stdbool.h>

#include "tests/support/io_mem.h"
#include "tests/support/io_record.h"

#define CUTS_UNITS 16

/* A part of a change that may be on disk alone. */
struct cuts_unit {
	uint64_t off, len;
	uint8_t *data;		/* NULL: the file's length becomes off */
};

struct cuts {
	const char *name;		/* of the trial, for complaints */
	struct mem_file *live;		/* the file of the job */
	/* Looks at what a cut left, and may change it. */
	void (*judge)(void *arg, struct mem_file *file);
	void *arg;
	unsigned states;
	unsigned call;			/* the one begun last */
	bool is_failed;
	/* private */
	struct mem_file *durable;	/* as after the last barrier */
	struct cuts_unit units[CUTS_UNITS];
	unsigned units_len;
	uint64_t length;		/* of the file, with all units */
};

/* The file as it is now is durable. The caller has set name, live, judge and arg. */
void cuts_begin(struct cuts *cuts);
/* A recorder's observer. */
void cuts_observe(void *cuts, const struct record_event *ev);
/* Judges all that a cut now may leave. */
void cuts_try(struct cuts *cuts);
/* Says once what is wrong with the state at hand. */
void cuts_complain(struct cuts *cuts, const char *what);
/* Frees its own; live is the caller's. */
void cuts_end(struct cuts *cuts);

#endif
