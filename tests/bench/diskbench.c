/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One job of the benchmark on a disk that is a file: prints bytes a second, the last fsync counted.
 *
 *	diskbench JOB FILE OFFSET LEN COUNT [DEPTH]
 *
 * JOB is one of the table below; offset and length bound where it goes, in bytes, and COUNT is how
 * many operations it does, by DEPTH (1) threads together. The threads share the open file, not
 * their buffers or the places they go to.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct job {
	const char *name;
	size_t unit;		/* bytes of one operation */
	uint64_t stride;	/* bytes from one to the next; 0: anywhere */
	bool is_write;
	bool is_synced;		/* after every operation, not at the end alone */
	bool is_direct;
};

#define MIB ((size_t)1 << 20)
#define MAX_DEPTH 64

static const struct job jobs[] = {
	{ "seqwrite", MIB, MIB, true, false, false },
	{ "seqread", MIB, MIB, false, false, false },
	{ "randread", 4096, 0, false, false, false },
	{ "randread-direct", 4096, 0, false, false, true },
	{ "randwrite", 4096, 0, true, false, false },
	{ "randwrite-direct", 4096, 0, true, false, true },
	{ "stridewrite", 4096, 2 * MIB, true, false, false },	/* a new block each */
	{ "syncwrite", 4096, 0, true, true, false },
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void stop(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static const struct job *find_job(const char *name)
{
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		if (!strcmp(jobs[i].name, name))
			return &jobs[i];
	fprintf(stderr, "diskbench: no job %s\n", name);
	exit(64);
}

/* Noise, so that nothing on the way takes it for zeros. */
static uint8_t *make_buf(size_t len)
{
	uint8_t *buf = aligned_alloc(4096, len);
	uint64_t state = 88172645463325252u;

	if (!buf)
		stop("memory");
	for (size_t i = 0; i < len; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		buf[i] = (uint8_t)state;
	}
	return buf;
}

static uint64_t where(const struct job *job, uint64_t i, uint64_t len, uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	if (job->stride)
		return i * job->stride % len;
	return (*state >> 33) % (len / job->unit) * job->unit;
}

/* What one thread has to do. */
struct part {
	const struct job *job;
	int fd;
	uint64_t off, len;
	uint64_t first, count;	/* operations, of all threads' numbered through */
	pthread_t thread;
};

static void *run_part(void *arg)
{
	const struct part *part = arg;
	const struct job *job = part->job;
	uint8_t *buf = make_buf(job->unit);
	uint64_t state = part->off + part->first + part->count;

	for (uint64_t i = part->first; i < part->first + part->count; i++) {
		off_t at = (off_t)(part->off + where(job, i, part->len, &state));
		ssize_t n = job->is_write ? pwrite(part->fd, buf, job->unit, at) :
			    pread(part->fd, buf, job->unit, at);

		if (n != (ssize_t)job->unit)
			stop(job->name);
		if (job->is_synced && fdatasync(part->fd))
			stop("fdatasync");
	}
	free(buf);
	return NULL;
}

static void run(const struct part *all, unsigned depth)
{
	struct part parts[MAX_DEPTH];
	unsigned i;

	for (i = 0; i < depth; i++) {
		parts[i] = *all;
		parts[i].count = all->count / depth;
		parts[i].first = i * parts[i].count;
		errno = pthread_create(&parts[i].thread, NULL, run_part, &parts[i]);
		if (errno)
			stop("thread");
	}
	for (i = 0; i < depth; i++)
		pthread_join(parts[i].thread, NULL);
	if (all->job->is_write && fdatasync(all->fd))
		stop("fdatasync");
}

static int usage(void)
{
	fputs("usage: diskbench JOB FILE OFFSET LEN COUNT [DEPTH]\n", stderr);
	return 64;
}

int main(int argc, char **argv)
{
	struct part all = { 0 };
	unsigned depth;
	double start;

	if (argc != 6 && argc != 7)
		return usage();
	all.job = find_job(argv[1]);
	all.off = strtoull(argv[3], NULL, 10);
	all.len = strtoull(argv[4], NULL, 10);
	depth = argc == 7 ? (unsigned)strtoul(argv[6], NULL, 10) : 1;
	if (depth < 1 || depth > MAX_DEPTH)
		return usage();
	all.count = strtoull(argv[5], NULL, 10) / depth * depth;
	all.fd = open(argv[2], (all.job->is_write ? O_RDWR : O_RDONLY) | O_CLOEXEC |
		      (all.job->is_direct ? O_DIRECT : 0));
	if (all.fd < 0)
		stop(argv[2]);
	start = now();
	run(&all, depth);
	printf("%.0f\n", (double)(all.count * all.job->unit) / (now() - start));
	close(all.fd);
	return EXIT_SUCCESS;
}
