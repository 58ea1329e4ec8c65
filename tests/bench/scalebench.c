/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the engine's steps cost on one image, without FUSE: for scale.sh.
 *
 *	scalebench IMAGE FIRST COUNT
 *
 * FIRST is the first of COUNT blocks of 2 MiB that are not allocated. Prints one line: microseconds
 * to open, for one first write to a block, one lookup in it, one flush with a block to publish, one
 * discard of a block, one flush with a discard to publish, and to close; and, before that last, KiB
 * of memory that the open image holds. Of what is done more than once it is the median. The image
 * is left with the same blocks as before.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vhd/vhd.h"

#define BLOCK ((uint64_t)2 << 20)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void must(int ret, const struct vhd_err *err)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "scalebench: %s\n", err->msg);
	exit(EXIT_FAILURE);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

enum step { WRITE, LOOKUP, WRITE_FLUSH, DISCARD, DISCARD_FLUSH };

static void do_step(vhd_image *img, enum step step, uint64_t off)
{
	static const uint8_t data[4096] = { 1 };	/* no zeros, which allocate nothing */
	struct vhd_extent extent;
	struct vhd_err err;
	int ret = 0;

	switch (step) {
	case WRITE:
	case WRITE_FLUSH:
		ret = vhd_pwrite(img, data, sizeof(data), off, &err);
		break;
	case LOOKUP:
		ret = vhd_next_extent(img, off, sizeof(data), &extent, &err);
		break;
	case DISCARD:
	case DISCARD_FLUSH:
		ret = vhd_zero(img, BLOCK, off, VHD_ZERO_RELEASE, &err);
		break;
	}
	must(ret, &err);
}

/* The median of a step on each of the blocks; of the flush after it, for a step that has one. */
static double measure(vhd_image *img, enum step step, uint64_t first, size_t count)
{
	double *took = calloc(count, sizeof(*took));
	struct vhd_err err;
	double median;

	if (!took)
		exit(EXIT_FAILURE);
	for (size_t i = 0; i < count; i++) {
		double begun = now();

		do_step(img, step, (first + i) * BLOCK);
		if (step == WRITE_FLUSH || step == DISCARD_FLUSH) {
			begun = now();
			must(vhd_flush(img, &err), &err);
		}
		took[i] = now() - begun;
	}
	must(vhd_flush(img, &err), &err);
	qsort(took, count, sizeof(*took), by_size);
	median = took[count / 2];
	free(took);
	return median;
}

static size_t memory_held(void)
{
	struct mallinfo2 info = mallinfo2();

	return (info.uordblks + info.hblkhd) >> 10;
}

int main(int argc, char **argv)
{
	const size_t memory = memory_held();
	vhd_image *img;
	struct vhd_err err;
	uint64_t first;
	size_t count;
	double begun;

	if (argc != 4) {
		fputs("usage: scalebench IMAGE FIRST COUNT\n", stderr);
		return 64;
	}
	first = strtoull(argv[2], NULL, 10);
	count = strtoull(argv[3], NULL, 10) / 2;
	begun = now();
	must(vhd_open(&img, argv[1], NULL, &err), &err);
	printf("%.1f", now() - begun);
	printf(" %.2f", measure(img, WRITE, first, count));
	printf(" %.2f", measure(img, LOOKUP, first, count));
	printf(" %.1f", measure(img, WRITE_FLUSH, first + count, count));
	printf(" %.2f", measure(img, DISCARD, first, count));
	printf(" %.1f", measure(img, DISCARD_FLUSH, first + count, count));
	printf(" %zu", memory_held() - memory);
	begun = now();
	must(vhd_close(img, &err), &err);
	printf(" %.1f\n", now() - begun);
	return EXIT_SUCCESS;
}
