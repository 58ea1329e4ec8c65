/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Watching every change that the engine makes to a file, and stepping in between. */
#ifndef TESTS_SUPPORT_IO_RECORD_H
#define TESTS_SUPPORT_IO_RECORD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/support/io_mem.h"
#include "vhd/io.h"

enum record_kind {
	RECORD_WRITE, RECORD_TRUNCATE, RECORD_PUNCH, RECORD_BARRIER, RECORD_DROP_CACHE,
};

enum record_phase {
	RECORD_BEGUN,		/* nothing has happened yet */
	RECORD_DONE,		/* it has, and the engine does not know: a barrier that begins now
				 * does not cover it */
	RECORD_RETURNED,	/* the engine knows; a barrier: as RECORD_DONE, and it is over */
};

struct record_event {
	enum record_kind kind;
	enum record_phase phase;
	unsigned number;	/* of the call, from 1 */
	uint64_t off, len;	/* truncate: off is the new size */
	const void *data;	/* write */
	int rc;			/* from RECORD_DONE on */
	uint64_t begun;		/* the clock's value at RECORD_BEGUN */
};

/*
 * What watches. Every change is numbered and told to observe three times, under the recorder's
 * lock, so in one order; then hook is called without it, if the thread is the one that armed it.
 * The clock goes up with each phase; the test may take it for its own marks (record_clock).
 */
struct recorder {
	void (*observe)(void *arg, const struct record_event *event);
	void (*hook)(void *arg, const struct record_event *event);
	void *arg, *hook_arg;
	pthread_t hook_thread;
	unsigned die_at;	/* kill -9: call with this number, and later ones, never happen */
	unsigned fail_barrier;	/* call with this number, if it is a barrier, fails with EIO */

	pthread_mutex_t lock;
	unsigned calls;		/* lock */
	uint64_t clock;		/* lock */
	bool is_dead;		/* lock; nothing reaches the file any more, reads fail too */
};

void record_init(struct recorder *recorder);
/* The next value of the clock. */
uint64_t record_clock(struct recorder *recorder);
/* An io over below, which goes with it. */
struct vhd_io *record_open(struct vhd_io *below, struct recorder *recorder);

/*
 * A second thread in which a hook runs guest operations, since the first stands in the engine with
 * its locks held. aside_run gives it fn and waits until fn is done, true, or until the thread
 * sleeps on a lock, false: then aside_join waits for the rest once the locks are free.
 */
struct aside;
struct aside *aside_new(void);
bool aside_run(struct aside *aside, void (*fn)(void *arg), void *arg);
void aside_join(struct aside *aside);
void aside_free(struct aside *aside);

#endif
