/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The runner itself: a failed assertion, a suite without tests, a skip have to reach the shell. */
#include "tests/support/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void passes(void)
{
	CU_ASSERT(1);
}

static void fails(void)
{
	CU_ASSERT(runner_clock() < 0);
}

static void fails_at_once(void)
{
	CU_ASSERT_FATAL(runner_clock() < 0);
}

static void skips(void)
{
	runner_skip("nothing %s", "here");
}

static const struct test good[] = { { "passes", passes }, { NULL, NULL } };
static const struct test bad[] = { { "passes", passes }, { "fails", fails }, { NULL, NULL } };
static const struct test fatal[] = { { "fails_at_once", fails_at_once }, { "passes", passes },
				     { NULL, NULL } };
static const struct test skip[] = { { "skips", skips }, { NULL, NULL } };
static const struct test none[] = { { NULL, NULL } };

static const struct {
	const char *name;
	const struct test *tests;
	int status;
} suites[] = {
	{ "good", good, 0 }, { "bad", bad, 1 }, { "fatal", fatal, 1 },
	{ "skip", skip, RUNNER_SKIP }, { "none", none, 1 },
};

static char *self;

/* The exit status of this program run on one of the suites above, or -1. */
static int status_of(const char *suite, const char *option)
{
	char command[4096];
	int status;

	snprintf(command, sizeof(command), "VHD_RUNNER_SUITE=%s '%s' %s >/dev/null 2>&1", suite,
		 self, option);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_exit_status_tells_what_happened(void)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		CU_ASSERT_EQUAL(status_of(suites[i].name, ""), suites[i].status);
}

static void test_only_that_matches_nothing_is_a_failure(void)
{
	CU_ASSERT_EQUAL(status_of("good", "--only=nothing"), 1);
	CU_ASSERT_EQUAL(status_of("bad", "--only=passes"), 0);
	CU_ASSERT_EQUAL(status_of("good", "--bogus"), 64);
}

static void test_same_seed_gives_same_numbers(void)
{
	uint64_t a = 7, b = 7, c = 8;

	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(runner_random(&a), runner_random(&b));
	CU_ASSERT_NOT_EQUAL(runner_random(&a), runner_random(&c));
}

static const struct test tests[] = {
	{ "exit_status_tells_what_happened", test_exit_status_tells_what_happened },
	{ "only_that_matches_nothing_is_a_failure", test_only_that_matches_nothing_is_a_failure },
	{ "same_seed_gives_same_numbers", test_same_seed_gives_same_numbers },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	const char *suite = getenv("VHD_RUNNER_SUITE");
	char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	for (size_t i = 0; suite && i < sizeof(suites) / sizeof(suites[0]); i++)
		if (strcmp(suite, suites[i].name) == 0)
			return run_suite(argc, argv, suite, suites[i].tests);
	if (len < 0)
		return 1;
	path[len] = 0;
	self = path;
	return run_suite(argc, argv, "runner", tests);
}
