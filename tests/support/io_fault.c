/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making chosen I/O calls fail: an io stacked over another. */
#include "tests/support/io_fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fault_io {
	struct vhd_io io;
	struct vhd_io *below;
	struct fault *fault;
};

void fault_init(struct fault *fault)
{
	memset(fault, 0, sizeof(*fault));
	pthread_mutex_init(&fault->lock, NULL);
}

void fault_arm(struct fault *fault)
{
	pthread_mutex_lock(&fault->lock);
	fault->calls = fault->fired = fault->failed = 0;
	fault->is_armed = true;
	pthread_mutex_unlock(&fault->lock);
}

void fault_disarm(struct fault *fault)
{
	pthread_mutex_lock(&fault->lock);
	fault->is_armed = false;
	pthread_mutex_unlock(&fault->lock);
}

static struct fault *fault_of(struct vhd_io *io)
{
	return ((struct fault_io *)io)->fault;
}

static struct vhd_io *below(struct vhd_io *io)
{
	return ((struct fault_io *)io)->below;
}

static bool fires(struct fault *fault, enum fault_op op, uint64_t len, uint64_t off)
{
	bool does = false;

	pthread_mutex_lock(&fault->lock);
	if (fault->is_armed && (fault->mask & op) &&
	    (!fault->len || (off < fault->off + fault->len && fault->off < off + len))) {
		uint64_t nth = fault->nth ? fault->nth : 1;

		fault->calls++;
		does = fault->calls == nth || (fault->is_forever && fault->calls > nth);
		if (does) {
			fault->fired++;
			fault->last = op;
			fault->failed |= op;
		}
	}
	pthread_mutex_unlock(&fault->lock);
	return does;
}

static size_t half(size_t len)
{
	return len > 1 ? len / 2 : len;
}

static ssize_t op_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	const struct fault *fault = fault_of(io);

	if (!fires(fault_of(io), FAULT_READ, len, off))
		return below(io)->ops->pread(below(io), buf, len, off);
	if (fault->how == FAULT_SHORT)
		return below(io)->ops->pread(below(io), buf, half(len), off);
	return -fault->error;
}

/* What a write that fails half way leaves: whole sectors, but where it lengthens the file. */
static size_t torn(struct vhd_io *io, size_t len, uint64_t off)
{
	struct vhd_io_stat st;

	if (!below(io)->ops->stat(below(io), &st) && off >= st.size)
		return half(len);
	return half(len) / 512 * 512;
}

static ssize_t op_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	const struct fault *fault = fault_of(io);

	if (!fires(fault_of(io), FAULT_WRITE, len, off))
		return below(io)->ops->pwrite(below(io), buf, len, off);
	if (fault->how == FAULT_SHORT)
		return below(io)->ops->pwrite(below(io), buf, half(len), off);
	if (fault->how == FAULT_TORN)
		below(io)->ops->pwrite(below(io), buf, torn(io, len, off), off);
	return -fault->error;
}

static int op_barrier(struct vhd_io *io)
{
	if (fires(fault_of(io), FAULT_BARRIER, UINT64_MAX / 2, 0))
		return fault_of(io)->how == FAULT_SHORT ? below(io)->ops->barrier(below(io)) :
		       -fault_of(io)->error;
	return below(io)->ops->barrier(below(io));
}

static void op_drop_cache(struct vhd_io *io)
{
	below(io)->ops->drop_cache(below(io));
}

static int op_truncate(struct vhd_io *io, uint64_t size)
{
	if (fires(fault_of(io), FAULT_TRUNCATE, UINT64_MAX / 2 - size, size))
		return -fault_of(io)->error;
	return below(io)->ops->truncate(below(io), size);
}

static int op_punch(struct vhd_io *io, uint64_t len, uint64_t off)
{
	if (fires(fault_of(io), FAULT_PUNCH, len, off))
		return -fault_of(io)->error;
	return below(io)->ops->punch(below(io), len, off);
}

/* The host is asked where its holes are: fails as its other questions do. */
static int op_next_stored(struct vhd_io *io, uint64_t off, uint64_t *start, uint64_t *end)
{
	if (fires(fault_of(io), FAULT_STAT, UINT64_MAX / 2 - off, off))
		return -fault_of(io)->error;
	return below(io)->ops->next_stored(below(io), off, start, end);
}

static int op_stat(struct vhd_io *io, struct vhd_io_stat *st)
{
	if (fires(fault_of(io), FAULT_STAT, UINT64_MAX / 2, 0))
		return -fault_of(io)->error;
	return below(io)->ops->stat(below(io), st);
}

static int op_lock(struct vhd_io *io, enum vhd_io_lock what)
{
	if (fires(fault_of(io), FAULT_LOCK, UINT64_MAX / 2, 0))
		return -fault_of(io)->error;
	return below(io)->ops->lock(below(io), what);
}

static void op_close(struct vhd_io *io)
{
	below(io)->ops->close(below(io));
	free(io);
}

static const struct vhd_io_ops fault_ops = {
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

struct vhd_io *fault_open(struct vhd_io *under, struct fault *fault)
{
	struct fault_io *io = calloc(1, sizeof(*io));

	if (!io)
		abort();
	io->io.ops = &fault_ops;
	io->below = under;
	io->fault = fault;
	return &io->io;
}
