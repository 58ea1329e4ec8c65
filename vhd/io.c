/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The loops that make a backend's short counts whole: the only ones.
 */
#include "vhd/io.h"

#include <errno.h>
#include <string.h>

#define HOST_PAGE 4096u

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

/* Zeros over zeros: whatever is cut off on the way, the contents stay. */
static int write_over_zeros(struct vhd_io *io, const uint8_t *buf, size_t len, uint64_t off)
{
	for (size_t at = 0, n; at < len; at += n) {
		int rc = 0;

		n = len - at < HOST_PAGE ? len - at : HOST_PAGE;
		if (io_is_zero(buf + at, n))
			rc = io_write_zeros(io, n, off + at);
		if (rc)
			return rc;
	}
	return 0;
}

int io_fill_holes(struct vhd_io *io, uint64_t len, uint64_t off, void *buf, size_t len_buf)
{
	int rc = io->ops->allocate ? io->ops->allocate(io, len, off) : -EOPNOTSUPP;

	if (rc != -EOPNOTSUPP)
		return rc;
	for (rc = 0; !rc && len;) {
		size_t n = len < len_buf ? (size_t)len : len_buf;

		rc = io_pread(io, buf, n, off);
		if (!rc)
			rc = write_over_zeros(io, buf, n, off);
		off += n;
		len -= n;
	}
	return rc;
}
