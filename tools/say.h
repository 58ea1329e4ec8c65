/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sentences for people. */
#ifndef TOOLS_SAY_H
#define TOOLS_SAY_H

#include <stdio.h>

/* "vhdimg: " and the sentence, one line on stderr. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes text, in which control characters become '?': names come from images and from strangers,
 * and must not drive the terminal. */
void say_clean(FILE *file, const char *text);

#endif
