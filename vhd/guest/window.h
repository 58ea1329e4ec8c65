/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stretch of the guest's disk that looks like a device of its own: the disk, a partition, a
 * logical volume. Reading is all that can be done to it.
 *
 * What is read was written by a guest, and may lie: a window refuses a range that it does not have
 * with -ERANGE, so that whoever follows a pointer of the guest's need not check it first.
 */
#ifndef VHD_GUEST_WINDOW_H
#define VHD_GUEST_WINDOW_H

#include <stddef.h>
#include <stdint.h>

struct window;

/* Reads exactly len bytes at off, which the window has. 0 or -errno. */
typedef int (*window_read_fn)(const struct window *window, void *buf, size_t len, uint64_t off);

struct window {
	window_read_fn read;
	uint64_t size;			/* bytes */
	const struct window *outer;	/* window_part: that of which this is a part, and */
	uint64_t start;			/* where in it this begins, in bytes */
	void *arg;			/* read's own */
};

/* Reads exactly len bytes at off. 0, -ERANGE past the end, or an error of reading the disk. */
int window_read(const struct window *window, void *buf, size_t len, uint64_t off);

/* Makes part the size bytes at start of outer, which must outlive it. 0 or -ERANGE. */
int window_part(struct window *part, const struct window *outer, uint64_t start, uint64_t size);

/* Integers as filesystems keep them, at any address. */
static inline uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t le32(const uint8_t *p)
{
	return (uint32_t)le16(p + 2) << 16 | le16(p);
}

static inline uint64_t le64(const uint8_t *p)
{
	return (uint64_t)le32(p + 4) << 32 | le32(p);
}

static inline uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

static inline uint64_t be64(const uint8_t *p)
{
	return (uint64_t)be32(p) << 32 | be32(p + 4);
}

#endif
