/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Watching every change that the engine makes to a file: an io stacked over another.
 *
 * A change happens below while the recorder's lock is held, so that the order seen is the order in
 * which the file changed. Hooks run without it: another thread's changes may come in there.
 */
#include "tests/support/io_record.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct record_io {
	struct vhd_io io;
	struct vhd_io *below;
	struct recorder *recorder;
};

void record_init(struct recorder *recorder)
{
	memset(recorder, 0, sizeof(*recorder));
	pthread_mutex_init(&recorder->lock, NULL);
}

uint64_t record_clock(struct recorder *recorder)
{
	uint64_t now;

	pthread_mutex_lock(&recorder->lock);
	now = ++recorder->clock;
	pthread_mutex_unlock(&recorder->lock);
	return now;
}

static struct recorder *recorder_of(struct vhd_io *io)
{
	return ((struct record_io *)io)->recorder;
}

static struct vhd_io *below(struct vhd_io *io)
{
	return ((struct record_io *)io)->below;
}

static void tell(struct recorder *r, struct record_event *ev, enum record_phase phase)
{
	ev->phase = phase;
	++r->clock;
	if (phase == RECORD_BEGUN)
		ev->begun = r->clock;
	if (r->observe)
		r->observe(r->arg, ev);
}

static void call_hook(struct recorder *r, const struct record_event *ev)
{
	if (r->hook && pthread_equal(pthread_self(), r->hook_thread))
		r->hook(r->hook_arg, ev);
}

/* False if the process that plays here was killed. */
static bool begin(struct recorder *r, struct record_event *ev)
{
	bool is_dead;

	pthread_mutex_lock(&r->lock);
	if (r->die_at && r->calls + 1 >= r->die_at)
		r->is_dead = true;
	is_dead = r->is_dead;
	if (!is_dead) {
		ev->number = ++r->calls;
		tell(r, ev, RECORD_BEGUN);
	}
	pthread_mutex_unlock(&r->lock);
	if (!is_dead)
		call_hook(r, ev);
	return !is_dead;
}

static int act(struct vhd_io *io, const struct record_event *ev)
{
	struct vhd_io *to = below(io);

	switch (ev->kind) {
	case RECORD_WRITE:
		return io_pwrite(to, ev->data, ev->len, ev->off);
	case RECORD_TRUNCATE:
		return to->ops->truncate(to, ev->off);
	case RECORD_PUNCH:
		return to->ops->punch(to, ev->len, ev->off);
	case RECORD_BARRIER:
		return ev->number == recorder_of(io)->fail_barrier ? -EIO : to->ops->barrier(to);
	case RECORD_DROP_CACHE:
		to->ops->drop_cache(to);
	}
	return 0;
}

static int change(struct vhd_io *io, struct record_event *ev)
{
	struct recorder *r = recorder_of(io);

	if (!begin(r, ev))
		return -EIO;
	pthread_mutex_lock(&r->lock);
	ev->rc = r->is_dead ? -EIO : act(io, ev);
	if (!r->is_dead)
		tell(r, ev, RECORD_DONE);
	pthread_mutex_unlock(&r->lock);
	call_hook(r, ev);
	pthread_mutex_lock(&r->lock);
	if (!r->is_dead)
		tell(r, ev, RECORD_RETURNED);
	pthread_mutex_unlock(&r->lock);
	return ev->rc;
}

static ssize_t op_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	struct record_event ev = { .kind = RECORD_WRITE, .off = off, .len = len, .data = buf };
	int rc = change(io, &ev);

	return rc ? rc : (ssize_t)len;
}

static int op_barrier(struct vhd_io *io)
{
	return change(io, &(struct record_event){ .kind = RECORD_BARRIER });
}

static void op_drop_cache(struct vhd_io *io)
{
	change(io, &(struct record_event){ .kind = RECORD_DROP_CACHE });
}

static int op_truncate(struct vhd_io *io, uint64_t size)
{
	return change(io, &(struct record_event){ .kind = RECORD_TRUNCATE, .off = size });
}

static int op_punch(struct vhd_io *io, uint64_t len, uint64_t off)
{
	return change(io, &(struct record_event){ .kind = RECORD_PUNCH, .off = off, .len = len });
}

static ssize_t op_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	struct recorder *r = recorder_of(io);
	bool is_dead;

	pthread_mutex_lock(&r->lock);
	is_dead = r->is_dead;
	pthread_mutex_unlock(&r->lock);
	return is_dead ? -EIO : below(io)->ops->pread(below(io), buf, len, off);
}

static int op_next_stored(struct vhd_io *io, uint64_t off, uint64_t *start, uint64_t *end)
{
	return below(io)->ops->next_stored(below(io), off, start, end);
}

static int op_stat(struct vhd_io *io, struct vhd_io_stat *st)
{
	return below(io)->ops->stat(below(io), st);
}

static int op_lock(struct vhd_io *io, enum vhd_io_lock what)
{
	return below(io)->ops->lock(below(io), what);
}

static void op_close(struct vhd_io *io)
{
	below(io)->ops->close(below(io));
	free(io);
}

static const struct vhd_io_ops record_ops = {
	.pread = op_pread,
	.pwrite = op_pwrite,
	.barrier = op_barrier,
	.drop_cache = op_drop_cache,
	.truncate = op_truncate,
	.punch = op_punch,
	.next_stored = op_next_stored,
	.stat = op_stat,
	.lock = op_lock,
	.close = op_close,
};

struct vhd_io *record_open(struct vhd_io *under, struct recorder *recorder)
{
	struct record_io *io = calloc(1, sizeof(*io));

	if (!io)
		abort();
	io->io.ops = &record_ops;
	io->below = under;
	io->recorder = recorder;
	return &io->io;
}

/* The second thread. */

struct aside {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	void (*fn)(void *arg);	/* lock */
	void *arg;		/* lock */
	bool is_leaving;	/* lock */
	atomic_bool is_busy;
	atomic_int tid;
};

static void *aside_main(void *arg)
{
	struct aside *a = arg;

	atomic_store(&a->tid, (int)syscall(SYS_gettid));
	pthread_mutex_lock(&a->lock);
	while (!a->is_leaving) {
		if (a->fn) {
			void (*fn)(void *) = a->fn;

			a->fn = NULL;
			pthread_mutex_unlock(&a->lock);
			fn(a->arg);
			atomic_store(&a->is_busy, false);
			pthread_mutex_lock(&a->lock);
		} else {
			pthread_cond_wait(&a->wake, &a->lock);
		}
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

struct aside *aside_new(void)
{
	struct aside *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wake, NULL);
	if (pthread_create(&a->thread, NULL, aside_main, a))
		abort();
	while (!atomic_load(&a->tid))
		sched_yield();
	return a;
}

/* Whether the thread sleeps in the kernel, as one does that waits for a lock. */
static bool sleeps(const struct aside *a)
{
	char path[64], line[256], *state;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&a->tid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (len <= 0)
		return false;
	line[len] = 0;
	state = strrchr(line, ')');
	return state && state[2] == 'S';
}

bool aside_run(struct aside *a, void (*fn)(void *arg), void *arg)
{
	unsigned asleep = 0;

	pthread_mutex_lock(&a->lock);
	a->fn = fn;
	a->arg = arg;
	atomic_store(&a->is_busy, true);
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
	for (unsigned i = 0; asleep < 3; i++) {
		bool is_taken;

		if (!atomic_load(&a->is_busy))
			return true;
		sched_yield();
		pthread_mutex_lock(&a->lock);
		is_taken = !a->fn;
		pthread_mutex_unlock(&a->lock);
		if (is_taken && i % 8 == 7)
			asleep = sleeps(a) ? asleep + 1 : 0;
	}
	return !atomic_load(&a->is_busy);
}

void aside_join(struct aside *a)
{
	while (atomic_load(&a->is_busy))
		sched_yield();
}

void aside_free(struct aside *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->is_leaving = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	free(a);
}
