/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running one CUnit suite as one program, with an exit status that tells the truth. */
#ifndef TESTS_SUPPORT_RUNNER_H
#define TESTS_SUPPORT_RUNNER_H

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
	const char *name;	/* a sentence: "discard_of_unpublished_block_leaks_nothing" */
	void (*fn)(void);
};

#define TEST(fn) { #fn, fn }	/* the function's name is the sentence */
#define RUNNER_SKIP 77		/* what automake takes for "skipped" */

/*
 * Runs the tests up to the one without a name, prints CUnit's summary and returns the exit status:
 * 0, or 1 when an assertion failed or nothing ran. Options: --seed=N, --only=TEXT (tests whose name
 * has TEXT in it), --list. Called once, as main's last act.
 */
int run_suite(int argc, char **argv, const char *suite, const struct test *tests);

/* Prints the reason and ends the program as skipped. Before or within run_suite. */
_Noreturn void runner_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The seed of --seed=N, or $VHD_SEED, or a fresh one; printed as "seed=N" when first asked for. */
uint64_t runner_seed(void);
/* The next number of the generator whose state is *state (splitmix64), and one below n. */
uint64_t runner_random(uint64_t *state);
uint64_t runner_below(uint64_t *state, uint64_t n);

/* Whether the long counts are wanted: VHD_LONG=1. */
bool is_long(void);

/* The corpus of real images ($VHD_CORPUS), or NULL if this host has none. */
const char *corpus_dir(void);

/* Seconds of the monotonic clock. */
double runner_clock(void);

#endif
