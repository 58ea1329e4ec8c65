/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A long random run on a disk that is a file or a block device, against a shadow copy in memory:
 * reads, writes, zeroed and punched ranges and fsyncs by several threads at once.
 *
 *	diskstress [OPTION...] DISK SHADOW
 *
 * SHADOW is a file that holds what DISK should: it is read at the start if it is there, else DISK
 * is taken for zeros; it is written at the end, so that runs can follow each other over remounts.
 *
 * The disk is divided into strips, dealt to the threads in turn, so that all of them are at work in
 * every block of the image but no two in one strip; each thread's operations stay within a strip.
 * Odd and even threads differ in what they like: small and aligned, or large and crooked.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUF_MAX (1u << 20)
#define ALIGN 4096u

struct run {
	const char *path;
	int fd;
	uint8_t *shadow;
	uint64_t size;
	uint64_t strip;		/* bytes */
	unsigned threads;
	unsigned count;		/* operations of each thread */
	uint64_t seed;
	bool is_direct;
	bool no_falloc;
	_Atomic bool is_stopped;
};

struct worker {
	struct run *run;
	unsigned number;
	uint64_t state;
	uint8_t *buf;
	uint64_t done[5];
	bool is_wrong;
};

enum op { OP_READ, OP_WRITE, OP_ZERO, OP_PUNCH, OP_SYNC };
static const char *const names[] = { "reads", "writes", "zeroed", "punched", "synced" };

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t *state, uint64_t n)
{
	return next(state) % n;
}

static bool wrong(struct worker *w, const char *what, uint64_t off, uint64_t len)
{
	fprintf(stderr, "diskstress: seed %" PRIu64 ", thread %u: %s of %" PRIu64 " at %" PRIu64
		": %s\n", w->run->seed, w->number, what, len, off, strerror(errno));
	w->is_wrong = true;
	return false;
}

static bool differs(struct worker *w, uint64_t off, uint64_t len)
{
	const uint8_t *shadow = w->run->shadow + off;
	uint64_t i = 0, bad = 0;

	for (uint64_t j = 0; j < len; j++)
		if (w->buf[j] != shadow[j]) {
			i = bad ? i : j;
			bad++;
		}
	fprintf(stderr, "diskstress: seed %" PRIu64 ", thread %u: read %" PRIu64 " at %" PRIu64
		": %" PRIu64 " bytes differ, the first at %" PRIu64 " (0x%02x instead of 0x%02x)\n",
		w->run->seed, w->number, len, off, bad, off + i, w->buf[i], shadow[i]);
	w->is_wrong = true;
	return false;
}

static bool do_read(struct worker *w, uint64_t off, uint64_t len)
{
	ssize_t n = pread(w->run->fd, w->buf, len, (off_t)off);

	if (n != (ssize_t)len)
		return wrong(w, "read", off, len);
	return !memcmp(w->buf, w->run->shadow + off, len) || differs(w, off, len);
}

/* Noise, one byte all over, or zeros. */
static void choose_content(struct worker *w, uint64_t len)
{
	uint64_t how = below(&w->state, 8);

	if (how < 2) {
		memset(w->buf, how ? (int)below(&w->state, 256) : 0, len);
		return;
	}
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t noise = next(&w->state);

		memcpy(w->buf + i, &noise, len - i < 8 ? len - i : 8);
	}
}

static bool do_write(struct worker *w, uint64_t off, uint64_t len)
{
	choose_content(w, len);
	if (pwrite(w->run->fd, w->buf, len, (off_t)off) != (ssize_t)len)
		return wrong(w, "write", off, len);
	memcpy(w->run->shadow + off, w->buf, len);
	return true;
}

static bool do_falloc(struct worker *w, enum op op, uint64_t off, uint64_t len)
{
	int mode = op == OP_PUNCH ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE :
		   FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	if (fallocate(w->run->fd, mode, (off_t)off, (off_t)len))
		return wrong(w, op == OP_PUNCH ? "punch" : "zero", off, len);
	memset(w->run->shadow + off, 0, len);
	return true;
}

static bool do_sync(struct worker *w)
{
	return !fdatasync(w->run->fd) || wrong(w, "fdatasync", 0, 0);
}

static enum op choose_op(struct worker *w)
{
	uint64_t n = below(&w->state, 100);

	if (w->run->no_falloc)
		return n < 45 ? OP_READ : n < 97 ? OP_WRITE : OP_SYNC;
	return n < 40 ? OP_READ : n < 82 ? OP_WRITE : n < 88 ? OP_ZERO :
	       n < 97 ? OP_PUNCH : OP_SYNC;
}

/* One strip of the thread's, and a range within it. A punch is likely to be of all of it. */
static void choose_range(struct worker *w, enum op op, uint64_t *off, uint64_t *len)
{
	struct run *run = w->run;
	uint64_t strips = (run->size + run->strip - 1) / run->strip;
	uint64_t mine = (strips - w->number + run->threads - 1) / run->threads;
	uint64_t start = (below(&w->state, mine) * run->threads + w->number) * run->strip;
	uint64_t room = run->size - start < run->strip ? run->size - start : run->strip;
	uint64_t unit = run->is_direct ? ALIGN : w->number % 2 ? 1 : 512;
	uint64_t max = op == OP_READ || op == OP_WRITE ? BUF_MAX : UINT64_MAX;

	*off = start;
	*len = room;
	if (op == OP_READ || op == OP_WRITE || below(&w->state, 3)) {
		*off += below(&w->state, room) / unit * unit;
		*len = below(&w->state, w->number % 2 ? room : 32768) + 1;
	}
	if (*len > max)
		*len = max;
	if (*len > start + room - *off)
		*len = start + room - *off;
	if (*len > unit)
		*len -= *len % unit;
	else if (run->is_direct)
		*len = unit;
}

static bool step(struct worker *w)
{
	enum op op = choose_op(w);
	uint64_t off, len;

	w->done[op]++;
	choose_range(w, op, &off, &len);
	switch (op) {
	case OP_READ:
		return do_read(w, off, len);
	case OP_WRITE:
		return do_write(w, off, len);
	case OP_ZERO:
	case OP_PUNCH:
		return do_falloc(w, op, off, len);
	case OP_SYNC:
		break;
	}
	return do_sync(w);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->run->count && !w->run->is_stopped; i++)
		if (!step(w))
			w->run->is_stopped = true;
	return NULL;
}

/* All of the disk, by one thread, through the descriptor that the others used. */
static bool compare_all(struct worker *w)
{
	for (uint64_t off = 0; off < w->run->size; off += BUF_MAX) {
		uint64_t len = w->run->size - off < BUF_MAX ? w->run->size - off : BUF_MAX;

		if (!do_read(w, off, len))
			return false;
	}
	return true;
}

static int run_threads(struct run *run)
{
	struct worker *workers = calloc(run->threads, sizeof(*workers));
	pthread_t *ids = calloc(run->threads, sizeof(*ids));
	uint64_t done[5] = { 0 };
	bool is_wrong = false;

	for (unsigned i = 0; i < run->threads; i++) {
		workers[i].run = run;
		workers[i].number = i;
		workers[i].state = run->seed * 1000003 + i;
		workers[i].buf = aligned_alloc(ALIGN, BUF_MAX);
		if (!workers[i].buf || pthread_create(&ids[i], NULL, work, &workers[i]))
			abort();
	}
	for (unsigned i = 0; i < run->threads; i++) {
		pthread_join(ids[i], NULL);
		is_wrong |= workers[i].is_wrong;
		for (int op = 0; op < 5; op++)
			done[op] += workers[i].done[op];
	}
	if (!is_wrong)
		is_wrong = !compare_all(&workers[0]);
	for (unsigned i = 0; i < run->threads; i++)
		free(workers[i].buf);
	free(workers);
	free(ids);
	for (int op = 0; op < 5; op++)
		printf("%" PRIu64 " %s%s", done[op], names[op], op < 4 ? ", " : "\n");
	return is_wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}

static uint64_t open_disk(struct run *run)
{
	off_t end;

	run->fd = open(run->path, O_RDWR | O_CLOEXEC | (run->is_direct ? O_DIRECT : 0));
	end = run->fd < 0 ? -1 : lseek(run->fd, 0, SEEK_END);
	if (end <= 0) {
		perror(run->path);
		exit(EXIT_FAILURE);
	}
	return (uint64_t)end;
}

/* The shadow is a shared mapping: it is in its file when we end. */
static uint8_t *map_shadow(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *shadow = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, (off_t)size))
		shadow = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shadow == MAP_FAILED) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	close(fd);
	return shadow;
}

static void usage(void)
{
	fputs("usage: diskstress [--seed=N] [--threads=N] [--count=N] [--strip=BYTES] [--direct] "
	      "[--no-falloc] DISK SHADOW\n", stderr);
	exit(64);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'c' },
		{ "strip", required_argument, NULL, 'b' },
		{ "direct", no_argument, NULL, 'd' },
		{ "no-falloc", no_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	struct run run = { .threads = 4, .count = 1000, .strip = 256 << 10, .seed = 1 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			run.seed = strtoull(optarg, NULL, 10);
			break;
		case 't':
			run.threads = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'c':
			run.count = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'b':
			run.strip = strtoull(optarg, NULL, 10);
			break;
		case 'd':
			run.is_direct = true;
			break;
		case 'n':
			run.no_falloc = true;
			break;
		default:
			usage();
		}
	}
	if (argc - optind != 2 || !run.threads || !run.strip)
		usage();
	run.path = argv[optind];
	run.size = open_disk(&run);
	if (run.is_direct)
		run.size = run.size / ALIGN * ALIGN;
	run.shadow = map_shadow(argv[optind + 1], run.size);
	printf("seed=%" PRIu64 ": ", run.seed);
	return run_threads(&run);
}
