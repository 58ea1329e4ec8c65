/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What SIGTERM, SIGINT and SIGHUP do. */
#include <errno.h>
#include <time.h>

#include "fs/leave.h"
#include "fs/say.h"

/* From leave_stop to the thread. From anybody else it means nothing. */
#define WAKE_SIGNAL SIGUSR1

static void fill_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, WAKE_SIGNAL);
}

void leave_block_signals(void)
{
	sigset_t set;

	fill_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/*
 * Waits for a signal to leave; until is a time of CLOCK_MONOTONIC, or NULL for ever. false when
 * there is nothing left to leave.
 */
static bool wait_signal(struct leave *leave, const struct timespec *until)
{
	struct timespec left = { 0, 0 };
	struct timespec now;
	sigset_t set;
	int ret;

	fill_set(&set);
	while (!atomic_load(&leave->is_over)) {
		if (until) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			left.tv_sec = until->tv_sec - now.tv_sec;
			if (left.tv_sec <= 0)
				return true;
		}
		ret = sigtimedwait(&set, NULL, until ? &left : NULL);
		if (ret > 0 && ret != WAKE_SIGNAL)
			return true;
	}
	return false;
}

static void commit(struct leave *leave)
{
	struct vhd_err err;

	if (disk_commit(leave->disk, &err) < 0)
		say("%s", err.msg);
}

static void *run(void *arg)
{
	struct leave *leave = arg;
	struct timespec until;

	if (!wait_signal(leave, NULL))
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += leave->seconds;
	commit(leave);
	session_detach(leave->session);
	if (!wait_signal(leave, &until))
		return NULL;
	commit(leave);
	leave->is_forced = true;
	loop_stop(leave->loop);
	return NULL;
}

int leave_start(struct leave *leave)
{
	atomic_init(&leave->is_over, false);
	return -pthread_create(&leave->thread, NULL, run, leave);
}

void leave_stop(struct leave *leave)
{
	atomic_store(&leave->is_over, true);
	pthread_kill(leave->thread, WAKE_SIGNAL);
	pthread_join(leave->thread, NULL);
}

int leave_poll(void)
{
	const struct timespec at_once = { 0, 0 };
	sigset_t set;
	int ret;

	fill_set(&set);
	sigdelset(&set, WAKE_SIGNAL);
	ret = sigtimedwait(&set, NULL, &at_once);
	return ret > 0 ? ret : 0;
}
