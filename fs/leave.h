/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What SIGTERM, SIGINT and SIGHUP do: the first commits, detaches the mount and lets those who
 * still hold the file go on; the second, or the time limit, commits and ends.
 */
#ifndef FS_LEAVE_H
#define FS_LEAVE_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fs/disk.h"
#include "fs/loop.h"
#include "fs/session.h"

struct leave {
	struct disk *disk;
	struct loop *loop;
	struct session *session;
	unsigned seconds;	/* from the first signal to the end */
	pthread_t thread;
	atomic_bool is_over;
	bool is_forced;		/* it ended those who still held the file; after leave_stop */
};

/* Blocks the signals in the caller and in the threads it starts from now on. */
void leave_block_signals(void);

/* Starts the thread that waits for them; the rest of *leave is set by the caller. 0 or -errno. */
int leave_start(struct leave *leave);
/* When the loop has ended, however. */
void leave_stop(struct leave *leave);

/* Once the thread is stopped: the signal to leave that has come since, or 0. Does not block. */
int leave_poll(void);

#endif
