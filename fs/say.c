/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the driver tells its user: one sentence, to where somebody may read it. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>

#include "fs/say.h"

static bool is_daemon;

/* C0, DEL, and C1 as UTF-8 has it: no name is to drive the terminal or to make two lines of one. */
static void replace_controls(char *text)
{
	char *to = text;

	for (; *text; text++) {
		unsigned char c = *text, next = text[1];
		bool is_c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;

		text += is_c1;
		*to++ = is_c1 || c < 0x20 || c == 0x7f ? '?' : *text;
	}
	*to = '\0';
}

void say(const char *fmt, ...)
{
	char sentence[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	replace_controls(sentence);
	if (is_daemon)
		syslog(LOG_ERR, "%s", sentence);
	else
		fprintf(stderr, "vhdfuse: %s\n", sentence);
}

void say_to_syslog(void)
{
	openlog("vhdfuse", LOG_PID, LOG_DAEMON);
	is_daemon = true;
}
