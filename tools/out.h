/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON on stdout: one value for one image, an array of them for several. It is written as it comes,
 * so that an image with a million extents costs no memory.
 */
#ifndef TOOLS_OUT_H
#define TOOLS_OUT_H

#include <jansson.h>

#include "tools/cli.h"

/* Around all items; nothing where there is but one image, or no JSON is wanted. */
void out_begin(const struct cli *cli);
void out_end(const struct cli *cli);

/* Before and after each item. */
void out_item(struct cli *cli);
void out_item_end(const struct cli *cli);

/* text as a JSON value; what is not UTF-8 in it becomes U+FFFD. NULL when out of memory. */
json_t *out_text(const char *text);

/* text as a quoted string on stdout. */
void out_string(const char *text);

#endif
