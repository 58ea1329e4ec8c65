/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "10G" and bytes.
 */
#include "vhd/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MAX_FRACTION 1000000u	/* six digits: times 2^40 it still fits 64 bits */

/* Reads digits into *number; *text is left behind them. Overflow is -ERANGE, no digit -EINVAL. */
static int parse_number(const char **text, uint64_t *number)
{
	const char *start = *text;

	*number = 0;
	for (; isdigit((unsigned char)**text); ++*text)
		if (__builtin_mul_overflow(*number, 10u, number) ||
		    __builtin_add_overflow(*number, (unsigned)(**text - '0'), number))
			return -ERANGE;
	return *text == start ? -EINVAL : 0;
}

/* Digits behind the point, as millionths. */
static int parse_fraction(const char **text, uint64_t *millionths)
{
	uint64_t unit = MAX_FRACTION;

	*millionths = 0;
	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	for (; isdigit((unsigned char)**text); ++*text) {
		unit /= 10;
		if (!unit)
			return -EINVAL;
		*millionths += unit * (unsigned)(**text - '0');
	}
	return 0;
}

/* The unit at text, which must be all that is left; *shift is its power of two. */
static bool parse_unit(const char *text, unsigned *shift)
{
	static const char letters[] = "KMGT";
	const char *letter = *text ? strchr(letters, toupper((unsigned char)*text)) : NULL;

	*shift = 0;
	if (!letter)
		return !*text || strcasecmp(text, "B") == 0;
	*shift = 10 * (unsigned)(letter - letters + 1);
	text++;
	return !*text || strcasecmp(text, "B") == 0 || strcasecmp(text, "iB") == 0;
}

int units_parse(const char *text, uint64_t *bytes)
{
	uint64_t whole, millionths = 0;
	bool has_point = false;
	unsigned shift;
	int rc = parse_number(&text, &whole);

	if (rc)
		return rc;
	if (*text == '.') {
		has_point = true;
		text++;
		rc = parse_fraction(&text, &millionths);
		if (rc)
			return rc;
	}
	if (!parse_unit(text, &shift) || (has_point && !shift))
		return -EINVAL;
	if (__builtin_mul_overflow(whole, (uint64_t)1 << shift, &whole) ||
	    __builtin_add_overflow(whole, (millionths << shift) / MAX_FRACTION, &whole))
		return -ERANGE;
	*bytes = whole;
	return 0;
}

char *units_format(uint64_t bytes, char *buf, size_t len)
{
	static const char letters[] = "KMGTPE";

	if (bytes < 1024) {
		snprintf(buf, len, "%u byte%s", (unsigned)bytes, bytes == 1 ? "" : "s");
		return buf;
	}
	for (unsigned i = 0;; i++) {
		unsigned shift = 10 * (i + 1);
		uint64_t unit = (uint64_t)1 << shift;
		uint64_t tenths = (bytes >> shift) * 10 +
				  ((bytes & (unit - 1)) * 10 + unit / 2) / unit;

		/* Rounded up to 1024.0 it is one of the next unit. */
		if (tenths >= 10240 && letters[i + 1])
			continue;
		snprintf(buf, len, "%u.%u %ciB", (unsigned)(tenths / 10), (unsigned)(tenths % 10),
			 letters[i]);
		return buf;
	}
}
