/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The contents of sectors, each kept once: equal ones have equal numbers, and 0 is zeros. */
#ifndef TESTS_SUPPORT_CONTENT_H
#define TESTS_SUPPORT_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#include "tests/support/oracle.h"

#define SECTOR 512u

/* What is known of a content: a guest wrote it, nobody did (gen_junk), it is a valid footer. */
enum { IS_GUEST = 1, IS_JUNK = 2, IS_FOOTER = 4 };

struct content {
	uint8_t raw[SECTOR];
	struct oracle_footer footer;	/* if IS_FOOTER */
	uint32_t next;			/* in its bucket */
	unsigned flags;
};

/* The number of raw's content; off is where in the file it was seen, which tells junk. */
uint32_t content_intern(const uint8_t raw[SECTOR], uint64_t off);
/* The same for what a guest gives. */
uint32_t content_intern_guest(const uint8_t raw[SECTOR]);
const struct content *content_get(uint32_t id);
/* In words, for a report. Returns buf or a constant. */
const char *content_describe(uint32_t id, char *buf, size_t len);

/* A big-endian number. */
static inline uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
