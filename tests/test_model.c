/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long random runs of every operation against a shadow copy, over images of many layouts and block
 * sizes and over chains of them, with a reopen now and then; after each close a second reader looks
 * the image over. No parent ever changes but by a merge.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/lineage.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/image.h"

#define SECTOR 512u
#define MAX_BLOCKS 64
#define MAX_DEPTH 10

struct model {
	uint64_t random;
	struct mem_file *file;	/* or */
	const char *path;	/* a real one */
	struct mem_file *parents[LINEAGE_MAX + 1];	/* of file; the model's own, as file is */
	uint64_t sums[LINEAGE_MAX];	/* of their bytes */
	unsigned depth;		/* how many there are */
	bool is_chain;		/* more may come, and the long jobs are done, too */
	vhd_image *img;
	uint8_t *shadow, *buf;
	uint64_t size;
	uint32_t block_size;
	unsigned op;
	char why[512];
};

static uint64_t below(struct model *m, uint64_t n)
{
	return runner_below(&m->random, n);
}

static bool fail(struct model *m, const char *what, const struct vhd_err *err)
{
	if (!m->why[0])
		snprintf(m->why, sizeof(m->why), "operation %u: %s: %.300s", m->op, what,
			 err ? err->msg : "");
	return false;
}

/* A range: anything, or cut at sectors or blocks, short or long. */
static void choose_range(struct model *m, uint64_t *off, size_t *len)
{
	static const uint32_t units[] = { 1, SECTOR, SECTOR, 4096 };
	uint64_t unit = below(m, 5) < 4 ? units[below(m, 4)] : m->block_size, max;

	*off = below(m, m->size) / unit * unit;
	max = below(m, 3) ? 4 * SECTOR : 3ull * m->block_size;
	*len = (size_t)(below(m, max) / unit * unit + unit);
	if (*len > m->size - *off)
		*len = (size_t)(m->size - *off);
}

static void fill(struct model *m, size_t len)
{
	uint8_t byte = (uint8_t)below(m, 256);

	if (!below(m, 8)) {
		memset(m->buf, 0, len);
		return;
	}
	for (size_t i = 0; i < len; i++)
		m->buf[i] = (uint8_t)(byte + i / 7 + i / 512 * 13);
}

static bool do_write(struct model *m)
{
	struct vhd_err err = { 0 };
	uint64_t off;
	size_t len;

	choose_range(m, &off, &len);
	fill(m, len);
	if (vhd_pwrite(m->img, m->buf, len, off, &err))
		return fail(m, "write", &err);
	memcpy(m->shadow + off, m->buf, len);
	return true;
}

static bool do_zero(struct model *m)
{
	enum vhd_zero_how how = below(m, 2) ? VHD_ZERO_RELEASE : VHD_ZERO_KEEP;
	struct vhd_err err = { 0 };
	uint64_t off;
	size_t len;

	choose_range(m, &off, &len);
	if (below(m, 2)) {	/* a whole block or more */
		off = off / m->block_size * m->block_size;
		len = below(m, 2) ? m->block_size : 2 * m->block_size;
		if (len > m->size - off)
			len = (size_t)(m->size - off);
	}
	if (vhd_zero(m->img, len, off, how, &err))
		return fail(m, "zero", &err);
	memset(m->shadow + off, 0, len);
	return true;
}

static bool do_read(struct model *m)
{
	struct vhd_err err = { 0 };
	uint64_t off;
	size_t len;

	choose_range(m, &off, &len);
	if (vhd_pread(m->img, m->buf, len, off, &err))
		return fail(m, "read", &err);
	return memcmp(m->buf, m->shadow + off, len) == 0 || fail(m, "reads wrong", NULL);
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	return !len || (!buf[0] && memcmp(buf, buf + 1, len - 1) == 0);
}

/* The extents follow each other over the whole disk, and what is no data is zeros. */
static bool do_extents(struct model *m)
{
	struct vhd_err err = { 0 };
	struct vhd_extent ext;
	uint64_t off = 0;
	int rc;

	while ((rc = vhd_next_extent(m->img, off, UINT64_MAX, &ext, &err)) == 1) {
		if (ext.off != off || !ext.len || ext.len > m->size - off)
			return fail(m, "extents do not follow each other", NULL);
		if (!ext.is_data && !is_zero(m->shadow + off, (size_t)ext.len))
			return fail(m, "data in an extent of zeros", NULL);
		off += ext.len;
	}
	if (rc)
		return fail(m, "extents", &err);
	return off == m->size || fail(m, "extents end early", NULL);
}

static bool do_flush(struct model *m)
{
	struct vhd_err err = { 0 };

	if (vhd_flush(m->img, &err))
		return fail(m, "flush", &err);
	return !vhd_has_unpublished(m->img) || fail(m, "unpublished after a flush", NULL);
}

static bool open_image(struct model *m)
{
	struct vhd_open_opts opts = { .no_detect_zeroes = below(m, 2) };
	struct vhd_err err = { 0 };
	int rc = m->path ? vhd_open(&m->img, m->path, &opts, &err) :
		 lineage_open(&m->img, mem_open(m->file), m->parents, &opts, &err);

	if (rc)
		m->img = NULL;
	return !rc || fail(m, "open", &err);
}

/* The image, and its parents, to the second reader. */
static void ask(struct model *m, struct lineage *l)
{
	const char *why;

	if (!m->path) {
		lineage_read(l, m->file, m->parents);
		return;
	}
	*l = (struct lineage){ .top = oracle_open_path(m->path, &why) };
	if (!l->top)
		abort();
}

/* The second reader's opinion of the closed, or the flushed, image. */
static bool look_over(struct model *m, bool is_closed)
{
	struct oracle_result result;
	struct lineage l;
	bool is_ok;

	ask(m, &l);
	oracle_check(l.top, &result);
	oracle_read(l.top, m->buf, (size_t)m->size, 0);
	is_ok = !result.errors || fail(m, result.first, NULL);
	if (is_ok && memcmp(m->buf, m->shadow, (size_t)m->size) != 0)
		is_ok = fail(m, "the second reader reads otherwise", NULL);
	if (is_ok && is_closed && !oracle_has_trailer(l.top))
		is_ok = fail(m, "no trailing footer after close", NULL);
	lineage_close(&l);
	return is_ok;
}

static bool check_closed(struct model *m)
{
	struct vhd_check_opts opts = { 0 };
	struct vhd_check_result result = { 0 };
	struct vhd_err err = { 0 };
	int rc = m->path ? vhd_check(m->path, &opts, &result, &err) :
		 vhd_check_io(mem_open(m->file), "model.vhd", &opts, &result, &err);

	if (rc)
		return fail(m, "check", &err);
	return !result.errors || fail(m, "check finds damage", NULL);
}

static bool close_image(struct model *m)
{
	struct vhd_err err = { 0 };
	int rc = vhd_close(m->img, &err);

	m->img = NULL;
	if (rc)
		return fail(m, "close", &err);
	return look_over(m, true) && check_closed(m);
}

static bool do_reopen(struct model *m)
{
	return close_image(m) && open_image(m);
}

static uint64_t sum_of(const struct mem_file *file)
{
	uint64_t sum = mem_size(file), word;

	for (uint64_t off = 0; off < mem_size(file); off += sizeof(word)) {
		mem_read(file, &word, sizeof(word), off);
		sum = (sum ^ word) * 0x100000001b3;
	}
	return sum;
}

/* The image that was the last of the chain becomes the next one's parent. */
static void add_parent(struct model *m)
{
	memmove(m->parents + 1, m->parents, m->depth * sizeof(*m->parents));
	memmove(m->sums + 1, m->sums, m->depth * sizeof(*m->sums));
	m->parents[0] = m->file;
	m->sums[0] = sum_of(m->file);
	m->depth++;
}

static uint32_t some_block_size(uint64_t *random)
{
	return 4096u << 2 * runner_below(random, 3);
}

/* A child that has nothing yet takes the image's place. */
static bool do_snapshot(struct model *m)
{
	struct gen_opts gen = {
		.size = m->size, .block_size = some_block_size(&m->random), .type = 4,
		.marker = m->depth + 1, .parent_marker = m->depth, .parent_name = "parent.vhd",
		.align = below(m, 2) ? 4096 : 0,
	};

	if (m->depth == MAX_DEPTH)
		return true;
	if (!close_image(m))
		return false;
	add_parent(m);
	m->file = gen_make(&gen);
	m->block_size = gen.block_size;
	return open_image(m);
}

static bool do_compact(struct model *m)
{
	struct vhd_reclaim_opts opts = {
		.align = !below(m, 3), .batch = 1 + below(m, 4) * m->block_size,
	};
	struct vhd_reclaim_result result;
	struct vhd_err err = { 0 };

	if (vhd_compact(m->img, &opts, &result, &err))
		return fail(m, "compact", &err);
	return look_over(m, false);
}

/* Free is every so many sectors, from one on. */
struct free_map {
	uint64_t first, every, len, size;	/* bytes */
};

static int next_free(void *arg, uint64_t off, uint64_t *start, uint64_t *len, struct vhd_err *err)
{
	const struct free_map *map = arg;
	uint64_t at = map->first;

	(void)err;
	if (off >= at + map->len)
		at += (off - at - map->len) / map->every * map->every + map->every;
	*start = at > off ? at : off;
	*len = at + map->len - *start;
	return *start < map->size;
}

/* What is free reads as before, where it is a parent's, or as zeros; all else stays. */
static bool do_zero_free(struct model *m)
{
	struct free_map map = { .first = below(m, m->size / SECTOR) * SECTOR, .size = m->size };
	struct vhd_free_map free_map = { .next = next_free, .arg = &map };
	struct vhd_reclaim_opts opts = { .free = &free_map, .scrub = !below(m, 3) };
	struct vhd_reclaim_result result;
	struct vhd_err err = { 0 };

	map.len = (1 + below(m, 2ull * m->block_size / SECTOR)) * SECTOR;
	map.every = map.len + (1 + below(m, 2ull * m->block_size / SECTOR)) * SECTOR;
	if (vhd_zero_free(m->img, &opts, &result, &err))
		return fail(m, "zero", &err);
	if (vhd_pread(m->img, m->buf, (size_t)m->size, 0, &err))
		return fail(m, "read", &err);
	for (uint64_t s = 0; s < m->size; s += SECTOR) {
		bool is_free = s >= map.first && (s - map.first) % map.every < map.len;

		if (is_free && is_zero(m->buf + s, SECTOR))
			memset(m->shadow + s, 0, SECTOR);
	}
	return memcmp(m->buf, m->shadow, (size_t)m->size) == 0 ||
	       fail(m, "zeroing changed what is not free", NULL);
}

/* The chain with its first parent for writing, too. */
static int open_for_merge(struct model *m, vhd_image **img, struct vhd_err *err)
{
	const struct vhd_open_opts opts = { 0 };
	vhd_image *parent;
	int rc = lineage_open(&parent, mem_open(m->parents[0]), m->parents + 1, &opts, err);

	if (!rc)
		rc = image_load(img, mem_open(m->file), "model.vhd", &opts, err);
	if (rc)
		return rc;
	(*img)->parent = parent;
	return image_start_writing(*img, err);
}

/* Into the parent, where the parent's disk is long enough: the chain
 * reads as before, and the parent is another one from then on. */
static bool do_merge(struct model *m)
{
	struct vhd_reclaim_opts opts = { .batch = 1 + below(m, 3) * m->block_size };
	struct vhd_reclaim_result result;
	struct vhd_err err = { 0 };
	vhd_image *img;
	int rc;

	if (!m->depth || !close_image(m))
		return !m->depth;
	rc = open_for_merge(m, &img, &err);
	if (rc)
		return fail(m, "open for a merge", &err);
	rc = vhd_merge(img, &opts, &result, &err);
	if (rc && !(rc == -EFBIG && vhd_size(vhd_parent(img)) < m->size))
		fail(m, "merge", &err);
	if (vhd_close(img, &err))
		fail(m, "close after a merge", &err);
	m->sums[0] = sum_of(m->parents[0]);
	return !m->why[0] && look_over(m, true) && open_image(m);
}

static bool do_chain(struct model *m)
{
	switch (below(m, 5)) {
	case 0:
		return do_snapshot(m);
	case 1:
		return do_zero_free(m);
	case 2:
		return do_merge(m);
	default:
		return do_compact(m);
	}
}

static bool do_one(struct model *m)
{
	uint64_t dice = below(m, 100);

	m->op++;
	if (m->is_chain && !below(m, 25))
		return do_chain(m);
	if (dice < 40)
		return do_write(m);
	if (dice < 65)
		return do_read(m);
	if (dice < 85)
		return do_zero(m);
	if (dice < 93)
		return do_flush(m) && (below(m, 4) || look_over(m, false));
	return dice < 97 ? do_extents(m) : do_reopen(m);
}

static bool run(struct model *m, unsigned count)
{
	struct lineage l;
	bool is_ok;

	ask(m, &l);
	m->size = oracle_size(l.top);
	m->shadow = malloc((size_t)m->size);
	m->buf = malloc((size_t)m->size);
	if (!m->shadow || !m->buf)
		abort();
	oracle_read(l.top, m->shadow, (size_t)m->size, 0);
	lineage_close(&l);
	is_ok = open_image(m);
	for (unsigned i = 0; is_ok && i < count; i++)
		is_ok = do_one(m);
	is_ok = is_ok && close_image(m);
	if (m->img)
		vhd_close(m->img, NULL);
	for (unsigned i = 0; i < m->depth; i++)
		if (sum_of(m->parents[i]) != m->sums[i])
			is_ok = fail(m, "a parent was changed", NULL);
	free(m->shadow);
	free(m->buf);
	return is_ok;
}

static unsigned choose_blocks(uint64_t *random, uint32_t total, struct gen_block *blocks)
{
	unsigned used = 0;

	for (uint32_t blk = 0; blk < total && used < MAX_BLOCKS; blk++) {
		uint32_t at = used ? (uint32_t)runner_below(random, used + 1) : 0;

		if (runner_below(random, 2))
			continue;
		memmove(blocks + at + 1, blocks + at, (used - at) * sizeof(*blocks));
		blocks[at] = (struct gen_block){
			.blk = blk,
			.gap = runner_below(random, 4) ? 0 :
			       (uint32_t)runner_below(random, 20) * SECTOR,
			.bits = (enum gen_bits)runner_below(random, 3),
		};
		used++;
	}
	return used;
}

/* A layout by chance: order, gaps, leaks, bits, padding, everything that gen_make knows; gen says
 * what is not left to it: block size, type, relations, the size if not 0. */
static struct mem_file *make_image(uint64_t *random, struct gen_opts gen, bool can_punch)
{
	struct gen_block blocks[MAX_BLOCKS + 1];
	uint32_t total = 4 + (uint32_t)runner_below(random, 20);
	struct mem_file *file;

	if (gen.size)
		total = (uint32_t)((gen.size + gen.block_size - 1) / gen.block_size);
	else
		gen.size = (uint64_t)total * gen.block_size - runner_below(random, 7) * SECTOR;
	gen.align = runner_below(random, 2) ? 4096 : 0;
	gen.padding = runner_below(random, 2) ? 0xff : 0;
	gen.footer_align = runner_below(random, 2) ? 4096 : 512;
	gen.extra_entries = runner_below(random, 4) ? 0 : 300;
	gen.is_table_behind = !runner_below(random, 6);
	gen.leak = runner_below(random, 3) ? 0 : runner_below(random, 3ull * gen.block_size);
	gen.has_no_trailer = !runner_below(random, 6) && gen.type != 2;
	gen.is_short_footer = !runner_below(random, 8);
	gen.garbage = runner_below(random, 8) || gen.type == 2 ? 0 : 600;
	gen.blocks = blocks;
	gen.blocks_len = choose_blocks(random, total, blocks);
	gen.leak = gen.leak / SECTOR * SECTOR;
	if (gen.blocks_len && !gen.leak && !gen.has_no_trailer && !gen.is_table_behind &&
	    !gen.marker && !runner_below(random, 6))
		gen.short_last = 2 * SECTOR;
	file = gen_make(&gen);
	mem_set_punch(file, can_punch);
	return file;
}

static void run_many(uint32_t block_size, unsigned images, unsigned count)
{
	const struct gen_opts gen = { .block_size = block_size };
	uint64_t random = runner_seed() + block_size;

	for (unsigned i = 0; i < images; i++) {
		struct mem_file *file = make_image(&random, gen, i % 3);
		struct model m = { .random = random, .file = file, .block_size = block_size };

		if (!run(&m, count)) {
			printf("block size %u, image %u: %s\n", block_size, i, m.why);
			CU_FAIL("the engine and the shadow differ");
		}
		random = m.random;
		mem_free(file);
	}
}

static void test_small_blocks(void)
{
	run_many(4096, is_long() ? 600 : 60, 1500);
}

static void test_middle_blocks(void)
{
	run_many(16384, is_long() ? 200 : 20, 800);
	run_many(65536, is_long() ? 60 : 6, 500);
}

static void test_usual_blocks(void)
{
	run_many(512 << 10, is_long() ? 16 : 2, 200);
	run_many(2 << 20, is_long() ? 8 : 1, 100);
}

/* More than one sector of bitmap a block. */
static void test_large_blocks(void)
{
	run_many(4 << 20, is_long() ? 4 : 1, 60);
}

/* A chain to begin with: a fixed or dynamic image, then children, not all of them as long. */
static void make_chain(struct model *m, unsigned depth)
{
	uint64_t size = (40 + below(m, 360)) * SECTOR;
	struct gen_opts gen = { .marker = 1, .parent_name = "parent.vhd" };

	for (unsigned level = 0; level <= depth; level++) {
		gen.type = level ? 4 : below(m, 3) ? 3 : 2;
		gen.block_size = some_block_size(&m->random);
		gen.size = below(m, 3) ? size : (40 + below(m, 360)) * SECTOR;
		gen.marker = level + 1;
		gen.parent_marker = level;
		if (level)
			add_parent(m);
		m->file = make_image(&m->random, gen, below(m, 4));
		m->block_size = gen.block_size;
	}
}

static void test_chains(void)
{
	unsigned chains = is_long() ? 1500 : 60;
	uint64_t random = runner_seed();

	for (unsigned i = 0; i < chains; i++) {
		struct model m = { .random = random, .is_chain = true };

		make_chain(&m, 1 + i % MAX_DEPTH);
		if (!run(&m, 200)) {
			printf("chain %u: %s\n", i, m.why);
			CU_FAIL("the engine and the shadow differ");
		}
		random = m.random;
		mem_free(m.file);
		for (unsigned k = 0; k < m.depth; k++)
			mem_free(m.parents[k]);
	}
}

static void test_fixed_image(void)
{
	const struct gen_opts gen = { .size = 300 * SECTOR, .block_size = 4096, .type = 2 };

	for (int i = 0; i < 4; i++) {
		struct mem_file *file = gen_make(&gen);
		struct model m = { .random = runner_seed() + (uint64_t)i, .file = file,
				   .block_size = 4096 };

		if (!run(&m, 1000)) {
			printf("%s\n", m.why);
			CU_FAIL("the engine and the shadow differ");
		}
		mem_free(file);
	}
}

/* The same on the host's filesystem, through io_file.c. */
static void test_real_file(void)
{
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	uint64_t random = runner_seed();
	char path[4096];

	for (int i = 0; i < (is_long() ? 20 : 3); i++) {
		const struct gen_opts gen = { .block_size = i % 2 ? 65536 : 4096 };
		struct mem_file *file = make_image(&random, gen, true);
		struct model m = { .random = random, .path = path,
				   .block_size = i % 2 ? 65536 : 4096 };
		int fd;

		snprintf(path, sizeof(path), "%s/vhd-model-XXXXXX", dir);
		fd = mkstemp(path);
		CU_ASSERT_FATAL(fd >= 0);
		close(fd);
		CU_ASSERT_EQUAL(mem_save(file, path), 0);
		mem_free(file);
		if (!run(&m, 200)) {
			printf("%s\n", m.why);
			CU_FAIL("the engine and the shadow differ");
		}
		random = m.random;
		unlink(path);
	}
}

static const struct test tests[] = {
	{ "small_blocks", test_small_blocks },
	{ "middle_blocks", test_middle_blocks },
	{ "usual_blocks", test_usual_blocks },
	{ "large_blocks", test_large_blocks },
	{ "fixed_image", test_fixed_image },
	{ "chains", test_chains },
	{ "real_file", test_real_file },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "model", tests);
}
