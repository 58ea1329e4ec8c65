/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making the verdict's one sentence. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "vhd/guest/fs.h"

int verdict_set(struct verdict *verdict, enum guest_state state, const char *fmt, ...)
{
	va_list ap;

	verdict->state = state;
	va_start(ap, fmt);
	vsnprintf(verdict->why, sizeof(verdict->why), fmt, ap);
	va_end(ap);
	return 0;
}

int verdict_of_read(struct verdict *verdict, int rc, const char *what)
{
	if (rc != -ERANGE)
		return rc;
	return verdict_set(verdict, GUEST_DAMAGED, "%s lies outside the volume", what);
}
