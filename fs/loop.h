/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads that take requests from the kernel.
 *
 * Ours and not libfuse's, because all of them and all their memory must be there before the first
 * request: the driver stands in the way of write-out, and a page or a thread that it has to ask
 * for while memory is short may wait for the very writing that it should do.
 */
#ifndef FS_LOOP_H
#define FS_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fs/fuse_api.h"

#define LOOP_MAX_THREADS 8

struct loop {
	struct fuse_session *session;
	unsigned threads;		/* started */
	pthread_t thread[LOOP_MAX_THREADS];
	char *buffers;			/* OPS_MAX_IO for each */
	atomic_uint started;		/* numbers handed to the threads */

	pthread_mutex_t lock;
	pthread_cond_t changed;		/* any of the following */
	bool is_open;			/* lock; the first request has been answered */
	bool is_stopping;		/* lock */
	unsigned ended;			/* lock; threads */
};

/* Starts the threads, with the caller's signal mask. 0 or -errno, and then none runs. */
int loop_start(struct loop *loop, struct fuse_session *session, unsigned threads);

/* Waits until the first request has been answered: true, or false if it came to nothing. */
bool loop_wait_open(struct loop *loop);

/* Makes loop_join return though the kernel may have more requests. Any thread, at any time. */
void loop_stop(struct loop *loop);

/* Waits until the mount is gone or loop_stop was called, and for the threads to end. */
void loop_join(struct loop *loop);

/* In one of the threads: its own buffer of OPS_MAX_IO bytes, on a page boundary. */
void *loop_buffer(void);

#endif
