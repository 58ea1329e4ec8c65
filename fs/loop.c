/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads that take requests from the kernel. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "fs/loop.h"
#include "fs/ops.h"

/* Interrupts the read(2) of a thread that has to end. */
#define KICK_SIGNAL SIGUSR2
#define KICK_NSEC (20 * 1000 * 1000)

#define HUGE_PAGE (2u << 20)

static _Thread_local void *own_buffer;

void *loop_buffer(void)
{
	return own_buffer;
}

static void note(struct loop *loop, bool is_end)
{
	pthread_mutex_lock(&loop->lock);
	loop->is_open = loop->is_open || !is_end;
	loop->ended += is_end;
	pthread_cond_broadcast(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
}

/*
 * libfuse allocates a thread's receive buffer at its first request, and a little for each request.
 * Memory that was touched and freed, and that malloc may not give back to the system (see
 * keep_memory), is what it gets then.
 */
static void warm_heap(void)
{
	const size_t len = OPS_MAX_IO + (256 << 10);
	char *room = malloc(len);

	if (room) {
		memset(room, 1, len);
		__asm__ volatile("" : : "r"(room) : "memory");
	}
	free(room);
}

static void keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

static void *work(void *arg)
{
	struct loop *loop = arg;
	struct fuse_session *session = loop->session;
	struct fuse_buf buf = { .mem = NULL };
	bool is_first = true;
	int ret;

	own_buffer = loop->buffers + (size_t)atomic_fetch_add(&loop->started, 1) * OPS_MAX_IO;
	warm_heap();
	while (!fuse_session_exited(session)) {
		ret = fuse_session_receive_buf(session, &buf);
		if (ret == -EINTR || ret == -EAGAIN)
			continue;
		if (ret <= 0)
			break;
		fuse_session_process_buf(session, &buf);
		if (is_first && !fuse_session_exited(session))
			note(loop, false);
		is_first = false;
	}
	free(buf.mem);
	note(loop, true);
	return NULL;
}

static void ignore_kick(int signal)
{
	(void)signal;
}

/* In huge pages where there are some: touching each small one is a third of the time of a mount. */
static int allocate_buffers(struct loop *loop, unsigned threads)
{
	size_t len = ((size_t)threads * OPS_MAX_IO + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;

	loop->buffers = aligned_alloc(HUGE_PAGE, len);
	if (!loop->buffers)
		return -ENOMEM;
	madvise(loop->buffers, len, MADV_HUGEPAGE);
	memset(loop->buffers, 0, len);
	return 0;
}

int loop_start(struct loop *loop, struct fuse_session *session, unsigned threads)
{
	const struct sigaction kick = { .sa_handler = ignore_kick };	/* no SA_RESTART */
	int ret;

	*loop = (struct loop) { .session = session };
	ret = allocate_buffers(loop, threads);
	if (ret < 0)
		return ret;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->changed, NULL);
	sigaction(KICK_SIGNAL, &kick, NULL);
	keep_memory();
	for (; loop->threads < threads; loop->threads++) {
		ret = pthread_create(&loop->thread[loop->threads], NULL, work, loop);
		if (ret)
			break;
	}
	if (loop->threads)
		return 0;	/* fewer are slower, not wrong */
	free(loop->buffers);
	return -ret;
}

bool loop_wait_open(struct loop *loop)
{
	bool is_open;

	pthread_mutex_lock(&loop->lock);
	while (!loop->is_open && !loop->ended && !loop->is_stopping)
		pthread_cond_wait(&loop->changed, &loop->lock);
	is_open = loop->is_open;
	pthread_mutex_unlock(&loop->lock);
	return is_open;
}

void loop_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->is_stopping = true;
	pthread_cond_broadcast(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
}

/* A kick that comes just before the read(2) is lost, so they are repeated. lock is held. */
static void kick_until_ended(struct loop *loop)
{
	struct timespec until;
	unsigned i;

	fuse_session_exit(loop->session);
	while (loop->ended < loop->threads) {
		for (i = 0; i < loop->threads; i++)
			pthread_kill(loop->thread[i], KICK_SIGNAL);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += KICK_NSEC;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&loop->changed, &loop->lock, &until);
	}
}

void loop_join(struct loop *loop)
{
	unsigned i;

	pthread_mutex_lock(&loop->lock);
	while (!loop->ended && !loop->is_stopping)
		pthread_cond_wait(&loop->changed, &loop->lock);
	kick_until_ended(loop);
	pthread_mutex_unlock(&loop->lock);
	for (i = 0; i < loop->threads; i++)
		pthread_join(loop->thread[i], NULL);
	free(loop->buffers);
	pthread_cond_destroy(&loop->changed);
	pthread_mutex_destroy(&loop->lock);
}
