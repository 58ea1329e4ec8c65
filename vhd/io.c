/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loops that make a backend's short counts whole: the only ones.
 */
#include "vhd/io.h"

#include <errno.h>
#include <string.h>

/* Not const, so that it costs no room in the program file; nobody writes to it. */
static uint8_t zeros[128 * 1024];

int io_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;

	while (len) {
		ssize_t n = io->ops->pread(io, to, len, off);

		if (n < 0)
			return (int)n;
		if (n == 0) {
			memset(to, 0, len);
			return 0;
		}
		to += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;

	while (len) {
		ssize_t n = io->ops->pwrite(io, from, len, off);

		if (n < 0)
			return (int)n;
		if (n == 0)	/* no progress and no reason: better an error than for ever */
			return -EIO;
		from += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int io_write_zeros(struct vhd_io *io, uint64_t len, uint64_t off)
{
	while (len) {
		size_t part = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
		int rc = io_pwrite(io, zeros, part, off);

		if (rc)
			return rc;
		off += part;
		len -= part;
	}
	return 0;
}

bool io_is_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	/* Equal to itself one byte on, and the first byte is zero: the library's fast compare. */
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

int io_barrier(struct vhd_io *io)
{
	return io->ops->barrier(io);
}

int io_stat(struct vhd_io *io, struct vhd_io_stat *st)
{
	return io->ops->stat(io, st);
}
