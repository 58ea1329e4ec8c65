/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes the one sentence that goes with an error code.
 *
 * A sentence may hold names that come from an image or from the user's command line, and ends on a
 * terminal or in a log: control characters are replaced, so that it stays one line and harmless.
 */
#include "vhd/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void msg_clean(char *msg)
{
	for (; *msg; msg++)
		if ((unsigned char)*msg < 0x20 || *msg == 0x7f)
			*msg = '?';
}

int vhd_err_set(struct vhd_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	msg_clean(err->msg);
	return code;
}

int vhd_err_errno(struct vhd_err *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerror(-code));
	msg_clean(err->msg);
	return code;
}
