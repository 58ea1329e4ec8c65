/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stretch of the guest's disk that looks like a device of its own. */
#include "vhd/guest/window.h"

#include <errno.h>

int window_read(const struct window *window, void *buf, size_t len, uint64_t off)
{
	if (off > window->size || len > window->size - off)
		return -ERANGE;
	return len ? window->read(window, buf, len, off) : 0;
}

static int read_part(const struct window *part, void *buf, size_t len, uint64_t off)
{
	return window_read(part->outer, buf, len, part->start + off);
}

int window_part(struct window *part, const struct window *outer, uint64_t start, uint64_t size)
{
	if (start > outer->size || size > outer->size - start)
		return -ERANGE;
	*part = (struct window){
		.read = read_part, .size = size, .outer = outer, .start = start,
	};
	return 0;
}
