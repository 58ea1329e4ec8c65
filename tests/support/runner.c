/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running one CUnit suite as one program.
 *
 * CU_basic_run_tests() and CU_get_error() return 0 though assertions failed: the status comes from
 * CU_get_number_of_failures(), and from the count of tests that ran (tests/test_runner.c holds it).
 */
#include "tests/support/runner.h"

#include <CUnit/Basic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t seed;
static bool has_seed;

void runner_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fputs("SKIP: ", stdout);
	vprintf(fmt, args);
	putchar('\n');
	va_end(args);
	fflush(stdout);
	_exit(RUNNER_SKIP);
}

double runner_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool is_long(void)
{
	const char *value = getenv("VHD_LONG");

	return value && *value && strcmp(value, "0") != 0;
}

const char *corpus_dir(void)
{
	const char *dir = getenv("VHD_CORPUS");

	return dir && *dir && access(dir, R_OK | X_OK) == 0 ? dir : NULL;
}

uint64_t runner_seed(void)
{
	static bool is_printed;

	if (!has_seed) {
		const char *value = getenv("VHD_SEED");
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		seed = value && *value ? strtoull(value, NULL, 0) :
			((uint64_t)now.tv_sec << 20 ^ (uint64_t)now.tv_nsec) % 1000000000;
		has_seed = true;
	}
	if (!is_printed)
		printf("seed=%llu\n", (unsigned long long)seed);
	is_printed = true;
	return seed;
}

uint64_t runner_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t runner_below(uint64_t *state, uint64_t n)
{
	return runner_random(state) % n;
}

static bool has_prefix(const char *arg, const char *prefix, const char **rest)
{
	size_t len = strlen(prefix);

	if (strncmp(arg, prefix, len) != 0)
		return false;
	*rest = arg + len;
	return true;
}

/* The text of --only, or "". Ends the program on what it does not know, and after --list. */
static const char *parse_args(int argc, char **argv, const struct test *tests)
{
	const char *only = "", *value;

	for (int i = 1; i < argc; i++) {
		if (has_prefix(argv[i], "--seed=", &value)) {
			seed = strtoull(value, NULL, 0);
			has_seed = true;
		} else if (has_prefix(argv[i], "--only=", &value)) {
			only = value;
		} else if (strcmp(argv[i], "--list") == 0) {
			for (; tests->name; tests++)
				puts(tests->name);
			exit(0);
		} else {
			fprintf(stderr, "usage: %s [--seed=N] [--only=TEXT] [--list]\n", argv[0]);
			exit(64);
		}
	}
	return only;
}

int run_suite(int argc, char **argv, const char *suite, const struct test *tests)
{
	const char *only = parse_args(argc, argv, tests);
	unsigned failures, ran;
	CU_pSuite s;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	for (const struct test *t = tests; s && t->name; t++) {
		if (strstr(t->name, only) && !CU_add_test(s, t->name, t->fn)) {
			fprintf(stderr, "%s: %s\n", t->name, CU_get_error_msg());
			return 1;
		}
	}
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_tests_failed() +
		CU_get_number_of_suites_failed();
	ran = CU_get_number_of_tests_run();
	CU_cleanup_registry();
	if (!ran)
		fprintf(stderr, "%s: no test ran\n", suite);
	return failures || !ran;
}
