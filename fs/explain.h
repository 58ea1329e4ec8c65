/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why there is no mount, for somebody who can do something about it. */
#ifndef FS_EXPLAIN_H
#define FS_EXPLAIN_H

#include <stddef.h>

/* The clause for what libfuse or fusermount3 said: a better one where its words are known, else
 * words itself. */
const char *explain_words(const char *words);

/* The same for the errno of looking at the mountpoint; mountpoint goes into buf if it is needed. */
const char *explain_mountpoint(int error, const char *mountpoint, char *buf, size_t size);

#endif
