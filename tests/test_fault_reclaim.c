/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every single I/O call of zeroing and compacting failing, once and for ever: the error comes out
 * with a sentence, nothing is damaged at any instant, and once the fault is gone the same image, or
 * whoever opens it next, ends at the size that was predicted. And what a full host leaves possible.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/io_fault.h"
#include "tests/support/oracle.h"
#include "tests/support/reclaim_job.h"
#include "tests/support/runner.h"

#define SECTOR 512u

static const struct kind {
	unsigned mask;
	int error;
	enum fault_how how;
} kinds[] = {
	{ FAULT_ALL, EIO, FAULT_ERROR },
	{ FAULT_WRITE | FAULT_TRUNCATE, ENOSPC, FAULT_ERROR },
	{ FAULT_WRITE, ENOSPC, FAULT_TORN },
	{ FAULT_WRITE | FAULT_TRUNCATE, EIO, FAULT_TORN },
	{ FAULT_PUNCH, EOPNOTSUPP, FAULT_ERROR },
	{ FAULT_PUNCH, ENOSPC, FAULT_ERROR },
	{ FAULT_READ | FAULT_WRITE, EIO, FAULT_SHORT },
};

#define KINDS (sizeof(kinds) / sizeof(*kinds))

/* Blocks that are zeros, and that are free. */
static const struct {
	unsigned zeros, free;
	bool align;
} sets[] = { { 0x5, 0, false }, { 0x2, 0x9, false }, { 0x2, 0, true } };

#define SETS (sizeof(sets) / sizeof(*sets))

static struct crash *crash;

/* Only the error that was made comes out, and only when one was. */
static void judge(const struct fault *fault, int rc)
{
	if (!rc)
		return;
	job_expect(crash, fault->fired, "a call fails without a fault");
	job_expect(crash, rc == -fault->error, "a call fails with another error than the host's");
	job_expect(crash, fault->how != FAULT_SHORT, "a short count is taken for an error");
}

static void check_poisoned(struct job *job, int error)
{
	struct vhd_reclaim_result result;
	uint8_t buf[SECTOR];

	job_expect(crash, vhd_zero_free(job->img, NULL, &result, NULL) == -error,
		   "a poisoned image is zeroed");
	job_expect(crash, vhd_compact(job->img, NULL, &result, NULL) == -error,
		   "a poisoned image is compacted");
	job_expect(crash, !vhd_pread(job->img, buf, SECTOR, 0, NULL),
		   "a poisoned image is not read");
}

/* The guest comes in between, with blocks that need slots: none may be one that the disk names. */
static void write_between(struct job *job)
{
	uint8_t buf[JOB_BLOCK];

	crash_note(crash, "write");
	for (uint64_t blk = 2; blk < 4; blk++) {
		for (uint64_t s = 0; s < JOB_BLOCK / SECTOR; s++)
			gen_sector(buf + s * SECTOR, blk * (JOB_BLOCK / SECTOR) + s, 2);
		job_expect(crash, !crash_pwrite(crash, job->img, buf, JOB_BLOCK, blk * JOB_BLOCK),
			   "a write after the fault fails");
	}
	job_expect(crash, !crash_flush(crash, job->img), "a flush after the fault fails");
	job->size = 0;
}

/* The verbs with the fault, and what the same image is good for when it is gone. */
static void with_fault(struct job *job, struct fault *fault)
{
	struct vhd_reclaim_result result;
	int rc = job_reclaim(crash, job, job->img, &result);
	bool is_poisoned = fault->how == FAULT_ERROR && fault->failed & FAULT_BARRIER;

	judge(fault, rc);
	if (!rc && !fault->fired)
		job_expect(crash, result.file_size_after == job->size, "another size");
	fault_disarm(fault);
	crash_note(crash, "the fault is gone");
	if (is_poisoned) {
		check_poisoned(job, fault->error);
	} else {
		if (rc)
			crash_adopt(crash, job->img);
		if (fault->nth % 3 == 0)
			write_between(job);
		job_finish(crash, job, job->img);
	}
	crash_note(crash, "close");
	rc = crash_close(crash, job->img);
	job_expect(crash, is_poisoned ? rc == -fault->error : !rc, "close");
	job->img = NULL;
}

/* A new process, without faults. */
static void look_after(struct job *job)
{
	struct oracle_result damage = { 0 };
	struct oracle *o;

	crash_note(crash, "open without faults");
	if (crash_open(crash, &job->img))
		return;
	crash_adopt(crash, job->img);
	job_finish(crash, job, job->img);
	job_expect(crash, !crash_close(crash, job->img), "close in the end");
	o = oracle_open_mem(job->file, NULL);
	if (o)
		oracle_check(o, &damage);
	job_expect(crash, o && !damage.errors && oracle_has_trailer(o), damage.first);
	oracle_close(o);
	job_expect(crash, !job->size || mem_size(job->file) == job->size,
		   "another size in the end");
}

/* False when the fault never came, or at a violation. */
static bool run_fault(struct job *job, size_t k, bool is_forever, uint64_t nth, bool *is_ok)
{
	struct fault fault;
	uint64_t size = job->size;
	char more[64];
	bool has_fired;

	snprintf(more, sizeof(more), ", fault %zu%s, call %llu", k, is_forever ? " for ever" : "",
		 (unsigned long long)nth);
	fault_init(&fault);
	fault.mask = kinds[k].mask;
	fault.error = kinds[k].error;
	fault.how = kinds[k].how;
	fault.is_forever = is_forever;
	fault.nth = nth;
	job_start(crash, job, more);
	/* A short count inside a sector is no power cut: only that the loops go on is tested. */
	crash_set_checking(crash, kinds[k].how != FAULT_SHORT);
	crash_set_fault(crash, &fault);
	crash_note(crash, "open");
	if (!crash_open(crash, &job->img)) {
		fault_arm(&fault);
		with_fault(job, &fault);
	}
	has_fired = fault.fired;
	fault.fired = 0;
	look_after(job);
	pthread_mutex_destroy(&fault.lock);
	mem_free(job->file);
	job->size = size;
	*is_ok = !crash_violation(crash);
	if (!*is_ok)
		printf("\n%s", crash_violation(crash));
	return has_fired && *is_ok;
}

static void run_all(bool is_forever)
{
	uint64_t runs = 0;

	for (size_t i = 0; i < job_layouts_len; i++) {
		for (size_t s = 0; s < SETS; s++) {
			struct job job;
			bool is_ok = true;

			job_begin(&job, i, sets[s].zeros, sets[s].free, sets[s].align);
			job.batch = i % 2 ? JOB_BLOCK : 0;
			for (size_t k = 0; is_ok && k < KINDS; k++)
				for (uint64_t n = 1; run_fault(&job, k, is_forever, n, &is_ok); n++)
					runs++;
			CU_ASSERT(is_ok);
			job_end(&job);
		}
	}
	printf("\n    %llu faults ... ", (unsigned long long)runs);
	CU_ASSERT(runs > 1000);
}

static void test_every_call_failing_once(void)
{
	run_all(false);
}

static void test_every_call_failing_for_ever(void)
{
	run_all(true);
}

static const struct test tests[] = {
	{ "every_call_failing_once", test_every_call_failing_once },
	{ "every_call_failing_for_ever", test_every_call_failing_for_ever },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	int status;

	crash = crash_new();
	status = run_suite(argc, argv, "fault_reclaim", tests);
	crash_free(crash);
	return status;
}
