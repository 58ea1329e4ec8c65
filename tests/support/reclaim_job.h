/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small images of many layouts, with every set of blocks that read as zeros or are free, and the
 * verbs that give their room back. */
#ifndef TESTS_SUPPORT_RECLAIM_JOB_H
#define TESTS_SUPPORT_RECLAIM_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/crash.h"
#include "tests/support/imagegen.h"

#define JOB_BLOCK 4096u
#define JOB_MAX_SECTORS (132u * 8)

struct job_layout {
	const char *name;
	struct gen_opts gen;
	bool cannot_punch;
	struct crash_image image;
};

extern const struct job_layout job_layouts[];
extern const size_t job_layouts_len;

/* One job over one image: the set of its blocks that read as zeros, and the set that are free. */
struct job {
	size_t layout;
	unsigned zeros, free;	/* bit i: the layout's i-th block; some sectors of others are free,
				 * too, unless free is 0 */
	uint64_t batch;
	bool align;
	unsigned cancel;	/* at this progress call; 0: never */
	unsigned calls;
	struct mem_file *original, *file;
	bool is_free[JOB_MAX_SECTORS];
	uint64_t sectors;
	uint64_t size;		/* of the file in the end, as predicted; 0: not known */
	vhd_image *img;
};

/* The image, what is free in it, and the size that it is to have in the end. */
void job_begin(struct job *job, size_t layout, unsigned zeros, unsigned free, bool align);
void job_end(struct job *job);

/* A copy of the image, for crash to watch, as job->file. */
void job_start(struct crash *c, struct job *job, const char *more);

/* The verbs, one after the other, until one is stopped. -ECANCELED, or what failed. */
int job_reclaim(struct crash *c, struct job *job, vhd_image *img,
		struct vhd_reclaim_result *result);
/* All of it, and that it ends where the first prediction said. */
void job_finish(struct crash *c, struct job *job, vhd_image *img);
/* The same for crash_set_use. */
void job_finish_state(struct crash *c, vhd_image *img, void *job);

/* Violates unless is_right. */
bool job_expect(struct crash *c, bool is_right, const char *what);

#endif
