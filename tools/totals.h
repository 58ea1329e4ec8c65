/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command came to over several images, in one line at the end.
 *
 * The sums are in memory that jobs share (jobs.c): any of them may add to them.
 */
#ifndef TOOLS_TOTALS_H
#define TOOLS_TOTALS_H

#include "tools/cli.h"

/* Nothing is summed where there is but one image. */
void totals_begin(struct cli *cli);
/* An image went from so many bytes to so many. */
void totals_add(const struct cli *cli, uint64_t from, uint64_t to);
/* An image was served, and this came of it. */
void totals_count(const struct cli *cli, enum status status);
/* Prints the line, unless no image had sizes to be summed, or it is not wanted. */
void totals_end(struct cli *cli);

#endif
