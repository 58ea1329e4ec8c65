/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts and kill -9 at every instant of zeroing and compacting, over images of many layouts
 * and with every set of blocks that go: the disk reads the same in every state (what is free, as
 * before or as zeros), nothing is damaged, and whoever comes next ends at the size that was
 * predicted at first. What a cut can leave is in tests/support/crash.c.
 *
 * VHD_CRASH_STOP=1 ends the program at the first violation (the plants of tests/test-plants.sh).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/crash.h"
#include "tests/support/reclaim_job.h"
#include "tests/support/runner.h"

static struct crash *crash;

static bool is_slow(void)
{
	const char *sanitizers = getenv("VHD_SANITIZERS");

	return sanitizers && *sanitizers && strcmp(sanitizers, "no") != 0;
}

/* Begins anew with the job's image. */
static bool start(struct job *job)
{
	job_start(crash, job, "");
	crash_note(crash, "open");
	if (crash_open(crash, &job->img))
		job->img = NULL;
	return job->img;
}

/* Ends it. False, with the report printed, if it was violated. */
static bool end(struct job *job)
{
	const char *report;

	crash_note(crash, "close");
	if (job->img && !crash_close(crash, job->img) && !crash_violation(crash) &&
	    mem_size(job->file) != job->size)
		crash_violate(crash, "after close the file has %llu bytes, %llu were predicted",
			      (unsigned long long)mem_size(job->file),
			      (unsigned long long)job->size);
	mem_free(job->file);
	report = crash_violation(crash);
	if (!report)
		return true;
	printf("\n%s", report);
	if (getenv("VHD_CRASH_STOP"))
		exit(1);
	return false;
}

/* Whole, or cancelled, closed or not, and gone on with. False at a violation; *is_over when there
 * is no such progress call any more. */
static bool run_job(struct job *job, bool *is_over)
{
	struct vhd_reclaim_result result = { 0 };
	int rc = 0;

	if (start(job)) {
		rc = job_reclaim(crash, job, job->img, &result);
		job_expect(crash, !rc || rc == -ECANCELED, "the verbs fail");
		crash_reads_right(crash, job->img);
		if (rc && job->cancel % 2) {
			crash_note(crash, "close and open");
			crash_close(crash, job->img);
			if (crash_open(crash, &job->img))
				job->img = NULL;
		}
		if (job->img)
			job_finish(crash, job, job->img);
	}
	*is_over = rc != -ECANCELED;
	return end(job);
}

/* Killed at the k-th change; whoever comes next finishes. */
static bool run_killed(struct job *job, unsigned k, bool *is_over)
{
	struct recorder *r = crash_recorder(crash);
	struct vhd_reclaim_result result = { 0 };

	*is_over = true;
	if (start(job)) {
		r->die_at = r->calls + k;
		job_reclaim(crash, job, job->img, &result);
		*is_over = !r->is_dead;
		crash_kill(crash, job->img);
		r->die_at = 0;
		crash_note(crash, "killed; open");
		if (crash_open(crash, &job->img))
			job->img = NULL;
		else
			job_finish(crash, job, job->img);
	}
	return end(job);
}

static void tell(const struct crash_stats *before)
{
	const struct crash_stats *now = crash_stats(crash);

	printf("\n    %llu runs, %llu crash points, %llu views, %.3g images, %llu opened ... ",
	       (unsigned long long)(now->runs - before->runs),
	       (unsigned long long)(now->points - before->points),
	       (unsigned long long)(now->views - before->views), now->images - before->images,
	       (unsigned long long)(now->samples - before->samples));
}

static const uint64_t batches[] = { JOB_BLOCK, 2 * JOB_BLOCK, 0 };

#define BATCHES (sizeof(batches) / sizeof(*batches))

/* One image, with every batch size, whole and stopped at every progress call. */
static bool run_all(struct job *job)
{
	bool is_ok = true;

	crash_set_use(crash, job_finish_state, job);
	for (size_t b = 0; is_ok && b < BATCHES; b++) {
		bool is_over = false;

		job->batch = batches[b];
		job->cancel = 0;
		is_ok = run_job(job, &is_over);
		is_over = false;
		for (job->cancel = 1; is_ok && b < 2 && !is_over; job->cancel++)
			is_ok = run_job(job, &is_over);
	}
	crash_set_use(crash, NULL, NULL);
	return is_ok;
}

static bool kill_all(struct job *job)
{
	bool is_ok = true;

	for (size_t b = 0; is_ok && b < BATCHES; b++) {
		bool is_over = false;

		job->batch = batches[b];
		for (unsigned k = 1; is_ok && !is_over; k++)
			is_ok = run_killed(job, k, &is_over);
	}
	return is_ok;
}

enum what { COMPACTING, ZEROING, ALIGNING };

/* Every set of blocks, or some of them. */
static bool each_set(size_t layout, unsigned step, enum what what, bool (*run)(struct job *job))
{
	bool is_zeroing = what == ZEROING;
	unsigned sets = 1u << job_layouts[layout].gen.blocks_len;
	bool is_ok = true;

	for (unsigned set = is_zeroing; is_ok && set < sets; set += step) {
		struct job job;

		job_begin(&job, layout, is_zeroing ? set / 3 : set, is_zeroing ? set : 0,
			  what == ALIGNING);
		is_ok = run(&job);
		job_end(&job);
	}
	return is_ok;
}

static unsigned step_of(unsigned usual)
{
	return is_long() ? 1 : is_slow() ? usual * 7 : usual;
}

static void run_layouts(unsigned step, enum what what, unsigned sample_every,
			bool (*run)(struct job *job))
{
	struct crash_stats before = *crash_stats(crash);

	crash_set_sampling(crash, is_long() ? sample_every : 5 * sample_every, runner_seed());
	for (size_t i = 0; i < job_layouts_len; i++)
		CU_ASSERT(each_set(i, step_of(step), what, run));
	crash_set_sampling(crash, 0, 0);
	tell(&before);
}

static void test_every_compaction(void)
{
	run_layouts(1, COMPACTING, 20, run_all);
}

static void test_every_zeroing(void)
{
	run_layouts(3, ZEROING, 20, run_all);
}

static void test_compaction_killed_at_every_change(void)
{
	run_layouts(5, COMPACTING, 0, kill_all);
}

static void test_every_laying_anew(void)
{
	run_layouts(3, ALIGNING, 20, run_all);
}

static void test_laying_anew_killed_at_every_change(void)
{
	run_layouts(11, ALIGNING, 0, kill_all);
}

static void test_zeroing_killed_at_every_change(void)
{
	run_layouts(7, ZEROING, 0, kill_all);
}

/* Another thread at the k-th point of a compaction: it reads, is refused a write, and flushes. */
struct nested {
	struct job *job;
	struct aside *aside;
	unsigned at, point;
	bool has_run, is_refused;
	int rc;
};

static void nested_main(void *arg)
{
	struct nested *n = arg;

	n->is_refused = vhd_pwrite(n->job->img, "x", 1, 0, NULL) == -EBUSY;
	crash_reads_right(crash, n->job->img);
	n->rc = crash_flush(crash, n->job->img);
}

static void nested_hook(void *arg, const struct record_event *ev)
{
	struct nested *n = arg;

	(void)ev;
	if (n->point++ != n->at)
		return;
	n->has_run = true;
	crash_note(crash, "meanwhile another thread reads and flushes");
	aside_run(n->aside, nested_main, n);
}

static bool run_nested(struct nested *n)
{
	struct recorder *r = crash_recorder(crash);
	struct job *job = n->job;
	struct vhd_reclaim_result result = { 0 };

	n->point = 0;
	n->has_run = false;
	if (start(job)) {
		r->hook_thread = pthread_self();
		r->hook_arg = n;
		r->hook = nested_hook;
		job_expect(crash, !job_reclaim(crash, job, job->img, &result), "the verbs fail");
		aside_join(n->aside);
		r->hook = NULL;
		job_expect(crash, !n->has_run || (!n->rc && n->is_refused),
			   "a flush fails meanwhile, or a write does not");
		job_finish(crash, job, job->img);
	}
	return end(job);
}

static bool nest_all(struct job *job)
{
	struct nested n = { .job = job, .aside = aside_new() };
	bool is_ok = true;

	for (size_t b = 0; is_ok && b < BATCHES; b++) {
		job->batch = batches[b];
		n.at = 0;
		do
			is_ok = run_nested(&n);
		while (is_ok && n.has_run && ++n.at);
	}
	aside_free(n.aside);
	return is_ok;
}

static void test_flushes_and_reads_inside_compaction(void)
{
	run_layouts(9, COMPACTING, 0, nest_all);
	run_layouts(25, ALIGNING, 0, nest_all);
}

static const struct test tests[] = {
	{ "every_compaction", test_every_compaction },
	{ "every_zeroing", test_every_zeroing },
	{ "compaction_killed_at_every_change", test_compaction_killed_at_every_change },
	{ "zeroing_killed_at_every_change", test_zeroing_killed_at_every_change },
	{ "every_laying_anew", test_every_laying_anew },
	{ "laying_anew_killed_at_every_change", test_laying_anew_killed_at_every_change },
	{ "flushes_and_reads_inside_compaction", test_flushes_and_reads_inside_compaction },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	int status;

	crash = crash_new();
	status = run_suite(argc, argv, "crash_reclaim", tests);
	crash_free(crash);
	return status;
}
