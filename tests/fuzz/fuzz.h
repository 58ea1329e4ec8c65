/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a fuzz target is to libFuzzer, and to the program that replays inputs without it. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Tries one input; aborts where a promise is broken. 0, or -1 for an input not worth keeping. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Makes cookies and checksums of an image right, but for one seed in eight. */
void fuzz_fix_sums(uint8_t *data, size_t size, uint32_t seed);

#endif
