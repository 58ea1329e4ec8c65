/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several images at once, each served by a process of its own: locks, signals and what is said are
 * then as for one.
 *
 * A job's stdout is a file in memory, which is passed on when the job and all before it have ended.
 * Jobs are a process group of their own, so that a terminal's ^C reaches each of them once: from
 * here.
 */
#include "tools/jobs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/say.h"
#include "tools/totals.h"

#define MOST_AT_ONCE 64

struct job {
	pid_t pid;	/* 0: not running */
	int out;	/* what it wrote to stdout; -1 before it is begun */
	int status;
	bool has_ended;
};

struct jobs {
	struct cli *cli;
	jobs_fn serve;
	struct job *list;	/* [cli->argc] */
	int begun, running, printed;
	int stopped_by;		/* a signal, or 0 */
	sigset_t signals, before;
};

int jobs_parse(const struct cli *cli, unsigned *at_once)
{
	int rc;

	*at_once = 1;
	rc = cli_parse_number(cli, CLI_JOBS, MOST_AT_ONCE, at_once);
	if (rc)
		return rc;
	if (cli_has(cli, CLI_PROGRESS) && *at_once > 1)
		return cli_usage(cli->command, "-p shows one image at a time: not with -j");
	/* A picture is of all its images. */
	if (cli_is_svg(cli) || cli_is_drawing(cli))
		*at_once = 1;
	return -1;
}

/* In the job's process. */
static void run(struct jobs *jobs, int i)
{
	int status;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	setpgid(0, 0);
	sigprocmask(SIG_SETMASK, &jobs->before, NULL);
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);	/* lines of several processes do not mix */
	jobs->cli->is_parallel = true;
	status = dup2(jobs->list[i].out, STDOUT_FILENO) < 0 ? STATUS_FAILED :
		 jobs->serve(jobs->cli, jobs->cli->argv[i]);
	if (fflush(stdout))
		status = STATUS_IO;
	_exit(status);
}

static void begin(struct jobs *jobs)
{
	struct job *job = &jobs->list[jobs->begun];

	fflush(NULL);
	job->out = memfd_create("vhdimg-job", MFD_CLOEXEC);
	job->pid = job->out < 0 ? -1 : fork();
	if (job->pid == 0)
		run(jobs, jobs->begun);
	if (job->pid < 0) {
		say("%s: cannot be served: %s", jobs->cli->argv[jobs->begun], strerror(errno));
		*job = (struct job){ .out = job->out, .status = STATUS_FAILED, .has_ended = true };
	} else {
		jobs->running++;
	}
	jobs->begun++;
}

/* What the job wrote, behind that of those before it. */
static void pass_on(struct jobs *jobs, const struct job *job)
{
	char buf[65536];
	ssize_t len;
	off_t at = 0;

	while (job->out >= 0 && (len = pread(job->out, buf, sizeof(buf), at)) > 0) {
		if (!at && cli_is_json(jobs->cli) && jobs->cli->items++)
			puts(",");
		fwrite(buf, 1, (size_t)len, stdout);
		at += len;
	}
	fflush(stdout);
	if (job->out >= 0)
		close(job->out);
}

static void note_end(struct jobs *jobs, pid_t pid, int status)
{
	int i = 0;

	while (i < jobs->begun && jobs->list[i].pid != pid)
		i++;
	if (i == jobs->begun)
		return;
	jobs->list[i].pid = 0;
	jobs->list[i].has_ended = true;
	jobs->list[i].status = WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_FAILED;
	if (WIFSIGNALED(status) && WTERMSIG(status) != jobs->stopped_by)
		say("%s: the process that served it was ended by signal %d", jobs->cli->argv[i],
		    WTERMSIG(status));
	totals_count(jobs->cli, jobs->list[i].status);
	jobs->running--;
}

static void hand_on(const struct jobs *jobs, int number)
{
	for (int i = 0; i < jobs->begun; i++)
		if (jobs->list[i].pid > 0)
			kill(jobs->list[i].pid, number);
}

static void wait_for_something(struct jobs *jobs)
{
	int number = sigwaitinfo(&jobs->signals, NULL), status;
	pid_t pid;

	if (number == SIGINT || number == SIGTERM)
		jobs->stopped_by = number;
	if (number > 0 && number != SIGCHLD)
		hand_on(jobs, number);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		note_end(jobs, pid, status);
	while (jobs->printed < jobs->begun && jobs->list[jobs->printed].has_ended)
		pass_on(jobs, &jobs->list[jobs->printed++]);
}

static void take_signals(struct jobs *jobs)
{
	sigemptyset(&jobs->signals);
	sigaddset(&jobs->signals, SIGINT);
	sigaddset(&jobs->signals, SIGTERM);
	sigaddset(&jobs->signals, SIGUSR1);
	sigaddset(&jobs->signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &jobs->signals, &jobs->before);
}

static int conclude(const struct jobs *jobs)
{
	enum status status = STATUS_DONE;

	if (jobs->stopped_by)
		return 128 + jobs->stopped_by;
	for (int i = 0; i < jobs->begun; i++)
		status = status_worst(status, jobs->list[i].status);
	return status;
}

int jobs_serve(struct cli *cli, unsigned at_once, jobs_fn serve)
{
	struct jobs jobs = { .cli = cli, .serve = serve };
	int status;

	jobs.list = calloc((size_t)cli->argc, sizeof(*jobs.list));
	if (!jobs.list) {
		say("%s", strerror(ENOMEM));
		return STATUS_FAILED;
	}
	take_signals(&jobs);
	while (jobs.running || (jobs.begun < cli->argc && !jobs.stopped_by)) {
		while (jobs.begun < cli->argc && (unsigned)jobs.running < at_once &&
		       !jobs.stopped_by)
			begin(&jobs);
		if (jobs.running)
			wait_for_something(&jobs);
	}
	while (jobs.printed < jobs.begun)
		pass_on(&jobs, &jobs.list[jobs.printed++]);
	status = conclude(&jobs);
	free(jobs.list);
	sigprocmask(SIG_SETMASK, &jobs.before, NULL);
	return status;
}
