/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread that publishes what nobody flushes (commit=SECONDS). */
#ifndef FS_TIMER_H
#define FS_TIMER_H

#include <pthread.h>
#include <stdbool.h>

#include "fs/disk.h"

struct timer {
	struct disk *disk;
	unsigned seconds;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool is_stopping;	/* lock */
};

/* 0 or -errno. */
int timer_start(struct timer *timer, struct disk *disk, unsigned seconds);
/* Waits for a commit under way. */
void timer_stop(struct timer *timer);

#endif
