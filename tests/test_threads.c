/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many threads at once on one image: reads, writes, zeroes, discards, flushes, extents, against a
 * shadow copy of which each thread owns a part. Also meant to run under ThreadSanitizer.
 *
 * CUnit is not thread safe: the workers return a verdict, the main thread asserts.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/lineage.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define SECTOR 512u
#define WORKERS 4u
#define GRAIN (2 * SECTOR)	/* of a shared block: what one thread owns */

struct shared {
	vhd_image *img;
	uint8_t *shadow;	/* each byte is its owner's */
	uint64_t size;
	uint32_t block_size;
	unsigned rounds;
	atomic_bool is_over;
	struct mem_file *parents[2];	/* of a child in memory */
};

struct worker {
	pthread_t thread;
	struct shared *shared;
	unsigned number;
	uint64_t random;
	char why[256];
};

static void *fail(struct worker *w, const char *what, const struct vhd_err *err)
{
	snprintf(w->why, sizeof(w->why), "thread %u: %s %.200s", w->number, what,
		 err ? err->msg : "");
	return w->why;
}

/* Even blocks have one owner each, who may discard them; odd ones are everybody's, in grains. */
static void choose(struct worker *w, uint64_t *off, size_t *len)
{
	const struct shared *s = w->shared;
	uint64_t blocks = s->size / s->block_size, blk = runner_below(&w->random, blocks);

	if (blk % 2) {
		uint64_t grains = s->block_size / GRAIN / WORKERS;

		*off = blk * s->block_size +
		       (runner_below(&w->random, grains) * WORKERS + w->number) * GRAIN;
		*len = GRAIN;
		return;
	}
	blk = (blk / 2 / WORKERS * WORKERS + w->number) * 2;
	if (blk >= blocks)
		blk = w->number * 2;
	*off = blk * s->block_size;
	*len = s->block_size;
	if (runner_below(&w->random, 3)) {
		uint64_t skip = runner_below(&w->random, s->block_size);

		*off += skip;
		*len = (size_t)(1 + runner_below(&w->random, s->block_size - skip));
	}
}

static void *do_read(struct worker *w, uint8_t *buf)
{
	struct vhd_err err = { 0 };
	uint64_t off;
	size_t len;

	choose(w, &off, &len);
	if (vhd_pread(w->shared->img, buf, len, off, &err))
		return fail(w, "read", &err);
	if (memcmp(buf, w->shared->shadow + off, len) != 0)
		return fail(w, "reads what it did not write", NULL);
	return NULL;
}

static void *do_write(struct worker *w, uint8_t *buf)
{
	struct vhd_err err = { 0 };
	uint64_t off;
	size_t len;

	choose(w, &off, &len);
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = runner_random(&w->random);

		memcpy(buf + i, &word, len - i < 8 ? len - i : 8);
	}
	if (vhd_pwrite(w->shared->img, buf, len, off, &err))
		return fail(w, "write", &err);
	memcpy(w->shared->shadow + off, buf, len);
	vhd_grow_ahead(w->shared->img);
	return NULL;
}

static void *do_zero(struct worker *w)
{
	struct vhd_err err = { 0 };
	uint64_t off;
	size_t len;

	choose(w, &off, &len);
	if (vhd_zero(w->shared->img, len, off,
		     runner_below(&w->random, 3) ? VHD_ZERO_RELEASE : VHD_ZERO_KEEP, &err))
		return fail(w, "zero", &err);
	memset(w->shared->shadow + off, 0, len);
	return NULL;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t *buf = malloc(w->shared->block_size + 8);
	void *bad = buf ? NULL : fail(w, "no memory", NULL);

	for (unsigned i = 0; !bad && i < w->shared->rounds; i++) {
		uint64_t dice = runner_below(&w->random, 100);
		struct vhd_err err = { 0 };

		if (dice < 40)
			bad = do_read(w, buf);
		else if (dice < 75)
			bad = do_write(w, buf);
		else if (dice < 95)
			bad = do_zero(w);
		else if (vhd_flush(w->shared->img, &err))
			bad = fail(w, "flush", &err);
	}
	free(buf);
	return bad;
}

/* What a driver's commit timer and a tool that looks in do meanwhile. */
static void *look_on(void *arg)
{
	struct worker *w = arg;
	struct vhd_err err = { 0 };

	while (!atomic_load(&w->shared->is_over)) {
		struct vhd_extent ext;
		struct vhd_info info;
		uint64_t off = 0;
		int rc;

		if (vhd_has_unpublished(w->shared->img) && vhd_flush(w->shared->img, &err))
			return fail(w, "timer", &err);
		while ((rc = vhd_next_extent(w->shared->img, off, UINT64_MAX, &ext, &err)) == 1)
			off = ext.off + ext.len;
		if (rc || off != w->shared->size)
			return fail(w, "extents", &err);
		if (vhd_get_info(w->shared->img, &info, &err))
			return fail(w, "info", &err);
		usleep(500);
	}
	return NULL;
}

/* Runs the threads to their end; whether all are content. */
static bool run_threads(struct shared *s)
{
	struct worker workers[WORKERS + 1] = { 0 };
	bool is_ok = true;

	for (unsigned i = 0; i <= WORKERS; i++) {
		workers[i].shared = s;
		workers[i].number = i;
		workers[i].random = runner_seed() + i * 1000;
		if (pthread_create(&workers[i].thread, NULL, i < WORKERS ? work : look_on,
				   &workers[i]))
			abort();
	}
	for (unsigned i = 0; i <= WORKERS; i++) {
		void *bad;

		if (i == WORKERS)
			atomic_store(&s->is_over, true);
		pthread_join(workers[i].thread, &bad);
		if (bad)
			printf("%s\n", workers[i].why);
		is_ok = is_ok && !bad;
	}
	return is_ok;
}

/* The whole disk, by the engine and, after close, by the other reader. */
static void compare(struct shared *s, struct oracle *o)
{
	uint8_t *buf = malloc((size_t)s->size);
	struct oracle_result result;

	CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
	if (o) {
		oracle_read(o, buf, (size_t)s->size, 0);
		oracle_check(o, &result);
		CU_ASSERT_EQUAL(result.errors, 0);
	} else {
		CU_ASSERT_EQUAL(vhd_pread(s->img, buf, (size_t)s->size, 0, NULL), 0);
	}
	CU_ASSERT_EQUAL(memcmp(buf, s->shadow, (size_t)s->size), 0);
	free(buf);
}

static struct oracle *open_oracle(const struct shared *s, const char *path, struct mem_file *file)
{
	struct oracle *o = path ? oracle_open_path(path, NULL) : oracle_open_mem(file, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	if (s->parents[0])
		oracle_set_parent(o, open_oracle(&(struct shared){ 0 }, NULL, s->parents[0]));
	return o;
}

static void close_oracle(struct oracle *o)
{
	oracle_close(oracle_parent(o));
	oracle_close(o);
}

static void run_on(struct shared *s, const char *path, struct mem_file *file)
{
	struct oracle *o = open_oracle(s, path, file);
	struct vhd_err err = { 0 };

	s->size = oracle_size(o);
	s->block_size = oracle_block_size(o);
	s->shadow = malloc((size_t)s->size);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->shadow);
	oracle_read(o, s->shadow, (size_t)s->size, 0);
	close_oracle(o);
	CU_ASSERT_EQUAL_FATAL(path ? vhd_open(&s->img, path, NULL, &err) :
			      lineage_open(&s->img, mem_open(file), s->parents, NULL, &err), 0);
	CU_ASSERT(run_threads(s));
	compare(s, NULL);
	CU_ASSERT_EQUAL(vhd_close(s->img, &err), 0);
	o = open_oracle(s, path, file);
	compare(s, o);
	close_oracle(o);
	free(s->shadow);
}

static const struct gen_block blocks[] = {
	{ .blk = 1, .bits = GEN_BITS_JUNK }, { .blk = 0 }, { .blk = 5, .bits = GEN_BITS_EXACT },
	{ .blk = 12, .gap = 1024 }, { .blk = 7, .bits = GEN_BITS_JUNK },
};

static void run_in_memory(uint32_t block_size, bool can_punch, unsigned rounds)
{
	struct gen_opts gen = { .size = 48ull * block_size, .block_size = block_size,
				.blocks = blocks, .blocks_len = 5 };
	struct mem_file *file = gen_make(&gen);
	struct shared shared = { .rounds = rounds * (is_long() ? 20 : 1) };

	mem_set_punch(file, can_punch);
	run_on(&shared, NULL, file);
	mem_free(file);
}

static void test_threads_in_memory(void)
{
	run_in_memory(8192, true, 15000);
	run_in_memory(4096 * 8, false, 6000);
}

/* Other blocks than the child's, some of the same, and an end that comes earlier. */
static void test_threads_in_a_child(void)
{
	static const struct gen_block below[] = {
		{ .blk = 0 }, { .blk = 5 }, { .blk = 3 }, { .blk = 16, .bits = GEN_BITS_EXACT },
		{ .blk = 20 }, { .blk = 21, .bits = GEN_BITS_JUNK },
	};
	struct gen_opts gen = { .size = 48 * 8192, .block_size = 8192, .blocks = blocks,
				.blocks_len = 5, .type = 4, .marker = 1, .parent_marker = 2,
				.parent_name = "parent.vhd" };
	struct gen_opts parent = { .size = 40 * 8192, .block_size = 8192, .blocks = below,
				   .blocks_len = 6, .marker = 2 };
	struct shared shared = { .rounds = 8000 * (is_long() ? 20 : 1) };
	struct mem_file *file = gen_make(&gen);

	shared.parents[0] = gen_make(&parent);
	run_on(&shared, NULL, file);
	mem_free(file);
	mem_free(shared.parents[0]);
}

/* No lock of ours between the calls: ThreadSanitizer sees the engine's own. */
static void test_threads_on_a_file(void)
{
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	struct gen_opts gen = { .size = 48 * 65536, .block_size = 65536, .blocks = blocks,
				.blocks_len = 5, .align = 4096, .footer_align = 4096 };
	struct mem_file *file = gen_make(&gen);
	struct shared shared = { .rounds = is_long() ? 20000 : 2000 };
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/vhd-threads-XXXXXX", dir);
	fd = mkstemp(path);
	CU_ASSERT_FATAL(fd >= 0);
	close(fd);
	CU_ASSERT_EQUAL(mem_save(file, path), 0);
	mem_free(file);
	run_on(&shared, path, NULL);
	unlink(path);
}

static const struct test tests[] = {
	{ "threads_in_memory", test_threads_in_memory },
	{ "threads_in_a_child", test_threads_in_a_child },
	{ "threads_on_a_file", test_threads_on_a_file },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "threads", tests);
}
