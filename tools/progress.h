/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long jobs: how far they are, and their end by a signal.
 *
 * While one runs, SIGINT and SIGTERM only ask it to stop at its next consistent point, and SIGUSR1
 * asks for one line. There is one long job at a time.
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "tools/cli.h"
#include "vhd/vhd.h"

struct progress {
	const char *image;
	bool is_shown;		/* without being asked */
	bool is_line;		/* stderr is a terminal: one line, rewritten */
	bool is_dirty;		/* such a line stands there */
	unsigned percent;	/* shown last: it never goes back */
	const char *phase;
	struct timespec begun;	/* the job */
	struct timespec shown;
	struct timespec phase_begun;
};

void progress_begin(struct progress *progress, const struct cli *cli, const char *image);
/* A vhd_progress_fn; arg is a struct progress. Non-zero once a signal has come. */
int progress_report(void *arg, const struct vhd_progress *now);
/* A guest_stop_fn. */
bool progress_is_stopped(void *arg);
/* Clears the line, gives the signals back. Returns the seconds that it took. */
uint64_t progress_end(struct progress *progress);

/* The exit status for the signal that stopped the job; 0 if none has. */
int progress_status(void);

#endif
