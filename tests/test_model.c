/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Long random runs of every operation against a shadow copy, over images of many layouts and block
 * sizes, with a reopen now and then; after each close a second reader looks the image over.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define SECTOR 512u
#define MAX_BLOCKS 24

struct model {
	uint64_t random;
	struct mem_file *file;	/* or */
	const char *path;	/* a real one */
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
		 vhd_open_io(&m->img, mem_open(m->file), "model.vhd", &opts, &err);

	if (rc)
		m->img = NULL;
	return !rc || fail(m, "open", &err);
}

/* The second reader's opinion of the closed, or the flushed, image. */
static bool look_over(struct model *m, bool is_closed)
{
	const char *why;
	struct oracle *o = m->path ? oracle_open_path(m->path, &why) :
			   oracle_open_mem(m->file, &why);
	struct oracle_result result;
	bool is_ok;

	if (!o)
		return fail(m, why, NULL);
	oracle_check(o, &result);
	oracle_read(o, m->buf, (size_t)m->size, 0);
	is_ok = !result.errors || fail(m, result.first, NULL);
	if (is_ok && memcmp(m->buf, m->shadow, (size_t)m->size) != 0)
		is_ok = fail(m, "the second reader reads otherwise", NULL);
	if (is_ok && is_closed && !oracle_has_trailer(o))
		is_ok = fail(m, "no trailing footer after close", NULL);
	oracle_close(o);
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

static bool do_one(struct model *m)
{
	uint64_t dice = below(m, 100);

	m->op++;
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
	const char *why;
	struct oracle *o = m->path ? oracle_open_path(m->path, &why) :
			   oracle_open_mem(m->file, &why);
	bool is_ok;

	if (!o)
		return fail(m, why, NULL);
	m->size = oracle_size(o);
	m->shadow = malloc((size_t)m->size);
	m->buf = malloc((size_t)m->size);
	if (!m->shadow || !m->buf)
		abort();
	oracle_read(o, m->shadow, (size_t)m->size, 0);
	oracle_close(o);
	is_ok = open_image(m);
	for (unsigned i = 0; is_ok && i < count; i++)
		is_ok = do_one(m);
	is_ok = is_ok && close_image(m);
	if (m->img)
		vhd_close(m->img, NULL);
	free(m->shadow);
	free(m->buf);
	return is_ok;
}

/* A layout by chance: order, gaps, leaks, bits, padding, everything that gen_make knows. */
static struct mem_file *make_image(uint64_t *random, uint32_t block_size, bool can_punch)
{
	struct gen_block blocks[MAX_BLOCKS];
	uint32_t total = 4 + (uint32_t)runner_below(random, MAX_BLOCKS - 4), used = 0;
	struct gen_opts gen = {
		.size = (uint64_t)total * block_size - runner_below(random, 7) * SECTOR,
		.block_size = block_size,
		.align = runner_below(random, 2) ? 4096 : 0,
		.padding = runner_below(random, 2) ? 0xff : 0,
		.footer_align = runner_below(random, 2) ? 4096 : 512,
		.extra_entries = runner_below(random, 4) ? 0 : 300,
		.is_table_behind = !runner_below(random, 6),
		.leak = runner_below(random, 3) ? 0 : runner_below(random, 3ull * block_size),
		.has_no_trailer = !runner_below(random, 6),
		.is_short_footer = !runner_below(random, 8),
		.garbage = runner_below(random, 8) ? 0 : 600,
		.blocks = blocks,
	};
	struct mem_file *file;

	for (uint32_t blk = 0; blk < total; blk++) {
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
	gen.blocks_len = used;
	gen.leak = gen.leak / SECTOR * SECTOR;
	if (used && !gen.leak && !gen.has_no_trailer && !gen.is_table_behind &&
	    !runner_below(random, 6))
		gen.short_last = 2 * SECTOR;
	file = gen_make(&gen);
	mem_set_punch(file, can_punch);
	return file;
}

static void run_many(uint32_t block_size, unsigned images, unsigned count)
{
	uint64_t random = runner_seed() + block_size;

	for (unsigned i = 0; i < images; i++) {
		struct mem_file *file = make_image(&random, block_size, i % 3);
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
		struct mem_file *file = make_image(&random, i % 2 ? 65536 : 4096, true);
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
	{ "real_file", test_real_file },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "model", tests);
}
