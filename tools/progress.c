/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Long jobs: how far they are, and their end by a signal. */
#include "tools/progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/say.h"
#include "vhd/units.h"

#define LINE_SECONDS 0.2	/* between two states of the line on a terminal */
#define LOG_SECONDS 5.0		/* between two lines elsewhere */

static volatile sig_atomic_t stopped_by, is_asked;

static void on_signal(int number)
{
	if (number == SIGUSR1)
		is_asked = 1;
	else
		stopped_by = number;
}

/* No SA_RESTART: whoever waits for a child has to look up. */
static void catch_signals(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

void progress_begin(struct progress *progress, const struct cli *cli, const char *image)
{
	bool is_terminal = isatty(STDERR_FILENO) && !cli->is_parallel;

	*progress = (struct progress){
		.image = image,
		.is_line = is_terminal,
		.is_shown = cli_has(cli, CLI_PROGRESS) || (is_terminal && !cli_has(cli, CLI_QUIET)),
		.phase = "",
	};
	clock_gettime(CLOCK_MONOTONIC, &progress->begun);
	progress->shown = progress->begun;
	catch_signals(on_signal);
}

/* All is done when the job is over and not before: its last barrier may be what takes long. */
static unsigned percent_of(const struct vhd_progress *now)
{
	double part = now->total ? 100.0 * (double)now->done / (double)now->total : 0;

	return part > 99 ? 99 : (unsigned)part;
}

static void format_rest(const struct progress *progress, const struct vhd_progress *now, char *text,
			size_t size)
{
	double spent = seconds_since(&progress->phase_begun), rate, left;
	char amount[32];

	*text = '\0';
	if (spent < 0.5 || !now->done || now->done > now->total)
		return;
	rate = (double)now->done / spent;
	left = (double)(now->total - now->done) / rate;
	units_format((uint64_t)rate, amount, sizeof(amount));
	snprintf(text, size, ", %s/s, %u:%02u left", amount, (unsigned)left / 60,
		 (unsigned)left % 60);
}

static void show(struct progress *progress, const struct vhd_progress *now, bool is_line)
{
	char text[512], rest[80];

	format_rest(progress, now, rest, sizeof(rest));
	snprintf(text, sizeof(text), "%.300s: %s: %u %%%s", progress->image, now->phase,
		 progress->percent, rest);
	if (is_line) {
		fputs("\r", stderr);
		say_clean(stderr, text);
		fputs("\033[K", stderr);
	} else {
		say_clean(stderr, text);
		putc('\n', stderr);
	}
	fflush(stderr);
	progress->is_dirty = is_line;
	clock_gettime(CLOCK_MONOTONIC, &progress->shown);
}

int progress_report(void *arg, const struct vhd_progress *now)
{
	struct progress *progress = arg;
	unsigned percent = percent_of(now);
	double waited = progress->is_line ? LINE_SECONDS : LOG_SECONDS;

	if (strcmp(progress->phase, now->phase)) {
		progress->phase = now->phase;
		progress->percent = 0;
		clock_gettime(CLOCK_MONOTONIC, &progress->phase_begun);
	}
	if (percent > progress->percent)
		progress->percent = percent;
	if (is_asked) {
		is_asked = 0;
		show(progress, now, false);
	} else if (progress->is_shown && seconds_since(&progress->shown) >= waited) {
		show(progress, now, progress->is_line);
	}
	return stopped_by != 0;
}

bool progress_is_stopped(void *arg)
{
	(void)arg;
	return stopped_by != 0;
}

uint64_t progress_end(struct progress *progress)
{
	if (progress->is_dirty)
		fputs("\r\033[K", stderr);
	if (!stopped_by)	/* else the end is near, and timeout(1) sends its signal twice */
		catch_signals(SIG_DFL);
	return (uint64_t)seconds_since(&progress->begun);
}

int progress_status(void)
{
	return stopped_by ? 128 + stopped_by : 0;
}
