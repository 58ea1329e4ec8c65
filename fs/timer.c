/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread that publishes what nobody flushes (commit=SECONDS). */
#include <errno.h>
#include <time.h>

#include "fs/say.h"
#include "fs/timer.h"

/* true after the time, false when it is to end. */
static bool sleep_well(struct timer *timer)
{
	struct timespec until;
	int ret = 0;
	bool is_stopping;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timer->seconds;
	pthread_mutex_lock(&timer->lock);
	while (!timer->is_stopping && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&timer->wake, &timer->lock, &until);
	is_stopping = timer->is_stopping;
	pthread_mutex_unlock(&timer->lock);
	return !is_stopping;
}

static void *run(void *arg)
{
	struct timer *timer = arg;
	bool has_failed = false;
	struct vhd_err err;
	int ret;

	while (sleep_well(timer)) {
		if (!vhd_has_unpublished(timer->disk->img))
			continue;
		ret = disk_commit(timer->disk, &err);
		if (ret < 0 && !has_failed)
			say("%s", err.msg);
		has_failed = ret < 0;
	}
	return NULL;
}

int timer_start(struct timer *timer, struct disk *disk, unsigned seconds)
{
	pthread_condattr_t attr;

	*timer = (struct timer) { .disk = disk, .seconds = seconds };
	pthread_mutex_init(&timer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&timer->wake, &attr);
	pthread_condattr_destroy(&attr);
	return -pthread_create(&timer->thread, NULL, run, timer);
}

void timer_stop(struct timer *timer)
{
	pthread_mutex_lock(&timer->lock);
	timer->is_stopping = true;
	pthread_cond_signal(&timer->wake);
	pthread_mutex_unlock(&timer->lock);
	pthread_join(timer->thread, NULL);
	pthread_cond_destroy(&timer->wake);
	pthread_mutex_destroy(&timer->lock);
}
