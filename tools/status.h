/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vhdimg tells the shell: the numbers, and how errors become them. */
#ifndef TOOLS_STATUS_H
#define TOOLS_STATUS_H

#include <stdbool.h>

enum status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_DAMAGED = 2,		/* check only */
	STATUS_WASTE = 3,		/* check only */
	STATUS_SKIPPED = 4,		/* done, but what is unclean was left alone */
	STATUS_HOST_FULL = 6,
	STATUS_USAGE = 64,
	STATUS_NOT_VHD = 65,
	STATUS_NO_IMAGE = 66,
	STATUS_WRONG_TYPE = 69,
	STATUS_CANNOT_CREATE = 73,
	STATUS_IO = 74,
	STATUS_IN_USE = 75,
	STATUS_NO_PERMISSION = 77,
};

/* The status for a negative errno; is_creation: of a command that makes a new file. */
enum status status_of(int code, bool is_creation);

/* The one to return when several images were served: an image that could not be served counts more
 * than damage, damage more than waste; among equals the first stands. */
enum status status_worst(enum status first, enum status second);

/* A few words for a status that another process ended with; never NULL. */
const char *status_text(int status);

#endif
