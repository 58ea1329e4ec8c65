/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile images: refused by one sentence, or opened in the memory that their file justifies.
 *
 * Memory is what the kernel says a process of its own has used at most, before and after.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/io_mem.h"
#include "tests/support/runner.h"
#include "vhd/format.h"
#include "vhd/vhd.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define BLK (2u << 20)

static char dir[256];

static void path_of(char *path, size_t len, const char *name)
{
	snprintf(path, len, "%s/%s", dir, name);
}

/* --- images whose numbers are lies ----------------------------------------------------------- */

static void put_be(uint8_t *p, uint64_t n, int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)n;
		n >>= 8;
	}
}

/* Writes n into a field of a structure at off, and makes its checksum right. */
static void lie(struct mem_file *file, uint64_t off, size_t len, size_t sum_at, size_t field,
		int bytes, uint64_t n)
{
	uint8_t raw[1024];
	uint32_t sum = 0;

	mem_read(file, raw, len, off);
	put_be(raw + field, n, bytes);
	put_be(raw + sum_at, 0, 4);
	for (size_t i = 0; i < len; i++)
		sum += raw[i];
	put_be(raw + sum_at, ~sum, 4);
	mem_write(file, raw, len, off);
}

static void lie_in_header(struct mem_file *file, size_t field, int bytes, uint64_t n)
{
	lie(file, 512, 1024, 36, field, bytes, n);
}

static void lie_in_footers(struct mem_file *file, size_t field, int bytes, uint64_t n)
{
	lie(file, 0, 512, 64, field, bytes, n);
	lie(file, mem_size(file) - 512, 512, 64, field, bytes, n);
}

enum { H_TABLE = 16, H_ENTRIES = 28, H_BLOCK = 32, F_OFFSET = 16, F_SIZE = 48, F_TYPE = 60 };

/* One field of an otherwise sound image of two blocks. */
static const struct {
	bool is_footer;
	size_t field;
	int bytes;
	uint64_t value;
	int code;
} lies[] = {
	{ false, H_TABLE, 8, UINT64_MAX, -EILSEQ },
	{ false, H_TABLE, 8, UINT64_MAX - 3, -EILSEQ },
	{ false, H_TABLE, 8, INT64_MAX - 3, -EILSEQ },
	{ false, H_TABLE, 8, 1ull << 40, -EILSEQ },
	{ false, H_ENTRIES, 4, UINT32_MAX, -EILSEQ },
	{ false, H_ENTRIES, 4, 0x40000000, -EILSEQ },	/* four times it is 0 in 32 bits */
	{ false, H_ENTRIES, 4, 0, -EILSEQ },
	{ false, H_ENTRIES, 4, 1, -EILSEQ },
	{ false, H_BLOCK, 4, 0, -EILSEQ },
	{ false, H_BLOCK, 4, 1, -EILSEQ },
	{ false, H_BLOCK, 4, 512, -EILSEQ },
	{ false, H_BLOCK, 4, 0x80000000, -EILSEQ },
	{ false, H_BLOCK, 4, 3 << 20, -EILSEQ },
	{ false, H_BLOCK, 4, UINT32_MAX, -EILSEQ },
	{ true, F_OFFSET, 8, UINT64_MAX, -EILSEQ },
	{ true, F_OFFSET, 8, UINT64_MAX - 511, -EILSEQ },
	{ true, F_OFFSET, 8, 0, -EILSEQ },
	{ true, F_OFFSET, 8, 1ull << 50, -EILSEQ },
	{ true, F_SIZE, 8, UINT64_MAX, -EILSEQ },
	{ true, F_SIZE, 8, UINT64_MAX - 511, -EILSEQ },
	{ true, F_SIZE, 8, 1ull << 62, -EILSEQ },
	{ true, F_SIZE, 8, 0, -EILSEQ },
	{ true, F_SIZE, 8, 513, -EILSEQ },
	{ true, F_TYPE, 4, 0, 0 },	/* code 0: any refusal */
	{ true, F_TYPE, 4, 1, 0 },
	{ true, F_TYPE, 4, 5, 0 },
	{ true, F_TYPE, 4, UINT32_MAX, 0 },
};

static struct mem_file *sound_image(void)
{
	static const struct gen_block blocks[] = { { .blk = 0 }, { .blk = 1 } };
	static const struct gen_opts opts = {
		.size = 2 * 65536, .block_size = 65536, .blocks = blocks, .blocks_len = 2,
	};

	return gen_make(&opts);
}

static int try_open(struct mem_file *file, bool is_readonly, struct vhd_err *err)
{
	struct vhd_open_opts opts = { .is_readonly = is_readonly };
	vhd_image *img;
	int rc;

	memset(err, 0, sizeof(*err));
	rc = vhd_open_io(&img, mem_open(file), "hostile.vhd", &opts, err);
	if (!rc)
		vhd_close(img, NULL);
	return rc;
}

static bool is_one_sentence(const struct vhd_err *err, int rc)
{
	return err->code == rc && strlen(err->msg) > 20 && strstr(err->msg, "hostile.vhd") &&
	       !strchr(err->msg, '\n');
}

static void each_lie_in_a_field_is_refused_by_one_sentence(void)
{
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		for (int is_readonly = 0; is_readonly < 2; is_readonly++) {
			struct mem_file *file = sound_image();
			struct vhd_err err;
			bool is_right;
			int rc;

			CU_ASSERT_EQUAL(try_open(file, true, &err), 0);
			if (lies[i].is_footer)
				lie_in_footers(file, lies[i].field, lies[i].bytes, lies[i].value);
			else
				lie_in_header(file, lies[i].field, lies[i].bytes, lies[i].value);
			rc = try_open(file, is_readonly, &err);
			is_right = rc && (!lies[i].code || rc == lies[i].code) &&
				   is_one_sentence(&err, rc);
			if (!is_right)
				printf("\n  lie %zu (0x%" PRIx64 " in %s + %zu): %d, %s\n", i,
				       lies[i].value, lies[i].is_footer ? "footer" : "header",
				       lies[i].field, rc, err.msg);
			CU_ASSERT(is_right);
			mem_free(file);
		}
	}
}

/* Entries that overflow when multiplied, lie in the metadata, on each other or past the end. */
static void each_lie_in_the_table_is_refused_by_one_sentence(void)
{
	static const uint32_t entries[] = { 0, 1, 2, 3, 0x7fffffff, 0x80000000, 0xfffffffe };

	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct mem_file *file = sound_image();
		struct vhd_err err;
		int rc;

		gen_damage_entry(file, 1, entries[i]);
		rc = try_open(file, i % 2, &err);
		CU_ASSERT_EQUAL(rc, -EILSEQ);
		CU_ASSERT(is_one_sentence(&err, rc));
		mem_free(file);
	}
}

static void an_empty_or_a_short_file_is_refused(void)
{
	for (uint64_t size = 0; size < 2048; size = size * 2 + 1) {
		struct mem_file *file = sound_image();
		struct vhd_err err;
		int rc;

		mem_truncate(file, size);
		rc = try_open(file, true, &err);
		CU_ASSERT_EQUAL(rc, -EILSEQ);
		CU_ASSERT(is_one_sentence(&err, rc));
		mem_free(file);
	}
}

/* --- parents --------------------------------------------------------------------------------- */

static void make_child(const char *name, uint32_t marker, uint32_t parent_marker,
		       const char *parent)
{
	struct gen_opts opts = {
		.size = 2 * 65536, .block_size = 65536, .type = 4, .marker = marker,
		.parent_marker = parent_marker, .parent_name = parent,
	};
	struct mem_file *file = gen_make(&opts);
	char path[512];

	path_of(path, sizeof(path), name);
	CU_ASSERT_EQUAL_FATAL(mem_save(file, path), 0);
	mem_free(file);
}

static int open_file(const char *name, struct vhd_err *err)
{
	struct vhd_open_opts opts = { .is_readonly = true };
	vhd_image *img;
	char path[512];
	int rc;

	path_of(path, sizeof(path), name);
	memset(err, 0, sizeof(*err));
	rc = vhd_open(&img, path, &opts, err);
	if (!rc)
		vhd_close(img, NULL);
	return rc;
}

static void a_cycle_of_parents_is_refused(void)
{
	struct vhd_err err;

	make_child("self.vhd", 1, 1, "self.vhd");
	CU_ASSERT_EQUAL(open_file("self.vhd", &err), -ELOOP);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "self.vhd"));
	make_child("a.vhd", 2, 3, "b.vhd");
	make_child("b.vhd", 3, 4, "c.vhd");
	make_child("c.vhd", 4, 2, "a.vhd");
	CU_ASSERT_EQUAL(open_file("a.vhd", &err), -ELOOP);
	CU_ASSERT(err.msg[0] && !strchr(err.msg, '\n'));
}

static void a_chain_too_deep_is_refused(void)
{
	struct vhd_err err;
	char name[32], parent[32];
	int rc;

	for (uint32_t i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "deep%u.vhd", i);
		snprintf(parent, sizeof(parent), "deep%u.vhd", i + 1);
		make_child(name, 1000 + i, 1001 + i, parent);
	}
	rc = open_file("deep0.vhd", &err);
	CU_ASSERT_EQUAL(rc, -ELOOP);
	CU_ASSERT(err.msg[0] && !strchr(err.msg, '\n'));
}

/* --- memory ---------------------------------------------------------------------------------- */

static uint64_t peak_memory(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)usage.ru_maxrss * 1024;
}

/* Bytes of memory that opening path took, in a process of its own, or UINT64_MAX. */
static uint64_t memory_to_open(const char *path, bool is_readonly, int *result)
{
	struct { uint64_t bytes; int rc; double seconds; } answer = { UINT64_MAX, 0, 0 };
	int pipe_fds[2], status;
	pid_t child;

	CU_ASSERT_EQUAL_FATAL(pipe2(pipe_fds, O_CLOEXEC), 0);
	fflush(stdout);
	child = fork();
	CU_ASSERT_FATAL(child >= 0);
	if (!child) {
		struct vhd_open_opts opts = { .is_readonly = is_readonly };
		uint64_t before = peak_memory();
		double start = runner_clock();
		vhd_image *img = NULL;
		uint8_t sector[512];

		answer.rc = vhd_open(&img, path, &opts, NULL);
		if (!answer.rc)
			answer.rc = vhd_pread(img, sector, sizeof(sector), vhd_size(img) / 2, NULL);
		answer.seconds = runner_clock() - start;
		answer.bytes = peak_memory() - before;
		_exit(write(pipe_fds[1], &answer, sizeof(answer)) != sizeof(answer));
	}
	waitpid(child, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(read(pipe_fds[0], &answer, sizeof(answer)), sizeof(answer));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	printf("%s: %.1f MiB, %.3f s ", is_readonly ? "ro" : "rw",
	       (double)answer.bytes / (double)MIB, answer.seconds);
	*result = answer.rc;
	return answer.bytes;
}

static bool is_sanitized(void)
{
	const char *sanitizers = getenv("VHD_SANITIZERS");

	return sanitizers && *sanitizers && strcmp(sanitizers, "no") != 0;
}

static void the_largest_empty_disk_opens_in_32_mib(void)
{
	struct vhd_create_opts opts = { .size = 2040 * GIB };
	char path[512];
	int rc;

	if (is_sanitized()) {	/* their shadow memory is not ours */
		printf("left out: sanitizers ");
		return;
	}
	path_of(path, sizeof(path), "large.vhd");
	CU_ASSERT_EQUAL_FATAL(vhd_create(path, &opts, NULL), 0);
	for (int is_readonly = 0; is_readonly < 2; is_readonly++) {
		CU_ASSERT(memory_to_open(path, is_readonly, &rc) < 32 * MIB);
		CU_ASSERT_EQUAL(rc, 0);
	}
	unlink(path);
}

/* A table as large as the format can name, in a file that is far too short. */
static void a_huge_table_in_a_short_file_takes_no_memory(void)
{
	struct mem_file *file = sound_image();
	char path[512];
	int rc;

	if (is_sanitized()) {
		printf("left out: sanitizers ");
		mem_free(file);
		return;
	}
	lie_in_header(file, H_ENTRIES, 4, UINT32_MAX);
	lie_in_header(file, H_BLOCK, 4, 4096);
	lie_in_footers(file, F_SIZE, 8, 0xfffffffull * 4096);
	path_of(path, sizeof(path), "short.vhd");
	CU_ASSERT_EQUAL_FATAL(mem_save(file, path), 0);
	mem_free(file);
	CU_ASSERT(memory_to_open(path, true, &rc) < 4 * MIB);
	CU_ASSERT_EQUAL(rc, -EILSEQ);
}

static void clean_up(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command))
		perror(command);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "each_lie_in_a_field_is_refused_by_one_sentence",
		  each_lie_in_a_field_is_refused_by_one_sentence },
		{ "each_lie_in_the_table_is_refused_by_one_sentence",
		  each_lie_in_the_table_is_refused_by_one_sentence },
		{ "an_empty_or_a_short_file_is_refused", an_empty_or_a_short_file_is_refused },
		{ "a_cycle_of_parents_is_refused", a_cycle_of_parents_is_refused },
		{ "a_chain_too_deep_is_refused", a_chain_too_deep_is_refused },
		{ "the_largest_empty_disk_opens_in_32_mib",
		  the_largest_empty_disk_opens_in_32_mib },
		{ "a_huge_table_in_a_short_file_takes_no_memory",
		  a_huge_table_in_a_short_file_takes_no_memory },
		{ NULL, NULL },
	};
	const char *temp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/vhd-hostile.XXXXXX", temp ? temp : "/tmp");
	if (!mkdtemp(dir))
		runner_skip("no folder for temporary files");
	atexit(clean_up);
	return run_suite(argc, argv, "hostile", tests);
}
