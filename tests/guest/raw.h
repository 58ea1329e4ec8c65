/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A window over a raw file, and over one of which some bytes are taken to be others. */
#ifndef TESTS_GUEST_RAW_H
#define TESTS_GUEST_RAW_H

#include "vhd/guest/window.h"

#define RAW_MAX_CHANGES 4096

struct raw {
	int fd;
	unsigned reads;
	size_t len;
	struct raw_change {
		uint64_t off;
		uint8_t byte;
	} changes[RAW_MAX_CHANGES];	/* the last one of an offset counts */
};

/* Opens file (flags are open(2)'s), and makes window read it through raw. 0 or -errno. */
int raw_open(struct raw *raw, struct window *window, const char *file, int flags);

/* From now on the len bytes at off read as buf. What is too much is passed over. */
void raw_change(struct raw *raw, uint64_t off, const void *buf, size_t len);

/* The next number, of all 64 bits, from *seed. */
uint64_t raw_random(uint64_t *seed);

#endif
