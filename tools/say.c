/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sentences for people. */
#include "tools/say.h"

#include <stdarg.h>
#include <stdbool.h>

/* C0, DEL, and C1 as UTF-8 has it (C2 80 to C2 9F). */
static bool is_control(const unsigned char *c)
{
	return *c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
}

void say_clean(FILE *file, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (!is_control(c)) {
			putc(*c, file);
			continue;
		}
		putc('?', file);
		if (*c == 0xc2)
			c++;
	}
}

void say(const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What stdout has so far belongs before it where both go to one place. */
	fflush(stdout);
	fputs("vhdimg: ", stderr);
	say_clean(stderr, text);
	putc('\n', stderr);
}
