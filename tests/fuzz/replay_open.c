/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replays inputs of fuzz_open without libFuzzer: the files of tests/fuzz/corpus (or those named as
 * arguments), each as it is and with seeded changes; an abort of the target is the failure.
 *
 * --write-seeds DIR makes the seeds that the corpus began with, one image of each layout that the
 * generator knows.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support/imagegen.h"
#include "tests/support/io_mem.h"
#include "tests/support/runner.h"

#define MAX_FILE (1u << 20)

static unsigned count, changes;
static uint64_t state;

static size_t read_file(const char *path, uint8_t *buf)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, MAX_FILE);

	if (n < 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	close(fd);
	return (size_t)n;
}

/* A few bytes of the metadata or anywhere, a cut, or numbers that are at the edge of something. */
static size_t change(uint8_t *data, size_t size)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xfe, 0xff };
	unsigned how = (unsigned)runner_below(&state, 8);

	if (!size)
		return size;
	if (how == 0)
		return (size_t)runner_below(&state, size);
	for (uint64_t i = runner_below(&state, 4) + 1; i; i--) {
		size_t range = how < 5 && size > 2560 ? 2560 : size;
		size_t at = (size_t)runner_below(&state, range);

		if (how == 7 && size >= 512)	/* the trailing footer */
			at = size - 1 - (size_t)runner_below(&state, 512);
		data[at] = edges[runner_below(&state, sizeof(edges))];
	}
	return size;
}

static void replay(const char *path)
{
	uint8_t *seed = malloc(MAX_FILE), *data = malloc(MAX_FILE);
	size_t size = read_file(path, seed);

	LLVMFuzzerTestOneInput(seed, size);
	for (unsigned i = 0; i < changes; i++) {
		size_t len = size;

		memcpy(data, seed, size);
		for (uint64_t n = runner_below(&state, 3) + 1; n; n--)
			len = change(data, len);
		fuzz_fix_sums(data, len, (uint32_t)runner_random(&state));
		LLVMFuzzerTestOneInput(data, len);
	}
	free(seed);
	free(data);
	count++;
}

static void replay_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[2 * PATH_MAX];

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		replay(path);
	}
	closedir(dir);
}

/* --- the seeds ------------------------------------------------------------------------------- */

static const struct gen_block two[] = { { .blk = 1 }, { .blk = 0, .bits = GEN_BITS_EXACT } };
static const struct gen_block gap[] = { { .blk = 2, .gap = 1024 }, { .blk = 0 } };
static const struct gen_block junk[] = { { .blk = 1, .bits = GEN_BITS_JUNK } };

#define BLK 4096u
static const struct {
	const char *name;
	struct gen_opts opts;
} seeds[] = {
	{ "empty", { .size = 3 * BLK, .block_size = BLK } },
	{ "fixed", { .size = BLK, .block_size = BLK, .type = 2 } },
	{ "fixed-511", { .size = BLK, .block_size = BLK, .type = 2, .is_short_footer = true } },
	{ "fixed-inside", { .size = BLK, .block_size = BLK, .type = 2, .garbage = 512 } },
	{ "packed", { .size = 3 * BLK - 512, .block_size = BLK, .blocks = two, .blocks_len = 2 } },
	{ "aligned", { .size = 2 * BLK, .block_size = BLK, .align = 4096, .footer_align = 4096,
		       .blocks = two, .blocks_len = 2 } },
	{ "gaps", { .size = 3 * BLK, .block_size = BLK, .blocks = gap, .blocks_len = 2,
		    .metadata_gap = 512, .leak = 512, .extra_entries = 3, .padding = 0xff } },
	{ "table-behind", { .size = 2 * BLK, .block_size = BLK, .is_table_behind = true,
			    .blocks = two, .blocks_len = 2 } },
	{ "junk", { .size = 2 * BLK, .block_size = BLK, .blocks = junk, .blocks_len = 1,
		    .creator = "tap", .has_batmap = true } },
	{ "no-trailer", { .size = 2 * BLK, .block_size = BLK, .blocks = two, .blocks_len = 2,
			  .has_no_trailer = true } },
	{ "short-last", { .size = 2 * BLK, .block_size = BLK, .blocks = two, .blocks_len = 2,
			  .short_last = 1024 } },
	{ "garbage", { .size = 2 * BLK, .block_size = BLK, .blocks = junk, .blocks_len = 1,
		       .garbage = 512 } },
	{ "child", { .size = 2 * BLK, .block_size = BLK, .blocks = junk, .blocks_len = 1, .type = 4,
		     .parent_marker = 1, .parent_name = "parent.vhd" } },
	{ "block-512K", { .size = 1 << 20, .block_size = 1 << 19 } },
};

static int write_seeds(const char *folder)
{
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		struct mem_file *file = gen_make(&seeds[i].opts);
		char path[2 * PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s.vhd", folder, seeds[i].name);
		if (mem_save(file, path)) {
			perror(path);
			return EXIT_FAILURE;
		}
		mem_free(file);
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	const char *top = getenv("top_srcdir");
	char folder[2048];

	if (argc == 3 && !strcmp(argv[1], "--write-seeds"))
		return write_seeds(argv[2]);
	if (argc > 1) {		/* a crash of the fuzzer: as it is */
		for (int i = 1; i < argc; i++)
			replay(argv[i]);
		return EXIT_SUCCESS;
	}
	changes = is_long() ? 20000 : 300;
	state = runner_seed();
	snprintf(folder, sizeof(folder), "%s/tests/fuzz/corpus", top ? top : ".");
	replay_folder(folder);
	printf("%u inputs, each as it is and with %u changes\n", count, changes);
	return count ? EXIT_SUCCESS : EXIT_FAILURE;
}
