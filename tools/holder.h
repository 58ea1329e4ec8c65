/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who keeps a mount busy. */
#ifndef TOOLS_HOLDER_H
#define TOOLS_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

/* Names one thing that keeps the mount on point (an absolute path) busy: a loop device, a mount
 * below it, a process. False if none is seen, as when it is another user's. */
bool holder_name(const char *point, char *buf, size_t len);

#endif
