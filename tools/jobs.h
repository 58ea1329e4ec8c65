/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several images at once. */
#ifndef TOOLS_JOBS_H
#define TOOLS_JOBS_H

#include "tools/cli.h"

/* Serves one image, and says what there is to say. */
typedef enum status (*jobs_fn)(struct cli *cli, const char *image);

/* -1 and how many are to be served at once, or STATUS_USAGE, said. */
int jobs_parse(const struct cli *cli, unsigned *at_once);

/*
 * Serves all of cli's images, so many at once, each in a process of its own. What they have for
 * stdout comes out whole, in the order of the command line; on stderr lines come as they are said.
 * SIGINT and SIGTERM are handed on to all, and no further image is begun; so is SIGUSR1. The worst
 * status, or that of the signal.
 */
int jobs_serve(struct cli *cli, unsigned at_once, jobs_fn serve);

#endif
