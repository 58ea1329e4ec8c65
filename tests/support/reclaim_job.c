/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small images of many layouts, with every set of blocks that read as zeros or are free, and the
 * verbs that give their room back. */
#include "tests/support/reclaim_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/oracle.h"

#define BLOCK 4096u
#define SECTOR 512u
#define IN_BLOCK (BLOCK / SECTOR)
#define DISK (5 * BLOCK + 3 * SECTOR)	/* the last block is a part of one */

static const struct gen_block in_order[] = { { .blk = 0 }, { .blk = 1 }, { .blk = 2 }, { .blk = 3 },
					     { .blk = 4 }, { .blk = 5 } };
static const struct gen_block mixed[] = { { .blk = 4 }, { .blk = 0 }, { .blk = 5 }, { .blk = 2 },
					  { .blk = 1 } };
static const struct gen_block gaps[] = { { .blk = 3, .gap = 1536 }, { .blk = 0, .gap = 5120 },
					 { .blk = 1 }, { .blk = 5, .gap = 9728 },
					 { .blk = 2, .gap = 512 } };
static const struct gen_block junk[] = { { .blk = 1, .bits = GEN_BITS_JUNK }, { .blk = 0 },
					 { .blk = 3, .bits = GEN_BITS_JUNK },
					 { .blk = 5, .bits = GEN_BITS_JUNK },
					 { .blk = 4, .bits = GEN_BITS_EXACT } };
static const struct gen_block exact[] = { { .blk = 2, .bits = GEN_BITS_EXACT },
					  { .blk = 0, .gap = 4608 },
					  { .blk = 1, .bits = GEN_BITS_EXACT },
					  { .blk = 4, .bits = GEN_BITS_EXACT } };
static const struct gen_block far[] = { { .blk = 127 }, { .blk = 1 }, { .blk = 130 },
					{ .blk = 128 }, { .blk = 0 } };

#define BLOCKS(array) .blocks = array, .blocks_len = sizeof(array) / sizeof(*(array))

const struct job_layout job_layouts[] = {
	{ .name = "aligned", .gen = { .align = 4096, .footer_align = 4096, BLOCKS(in_order) } },
	{ .name = "packed", .gen = { BLOCKS(in_order) } },
	{ .name = "packed, mixed, no punch", .cannot_punch = true, .gen = { BLOCKS(mixed) } },
	{ .name = "aligned, mixed", .gen = { .align = 4096, .footer_align = 4096, .creator = "win ",
					     BLOCKS(mixed) } },
	{ .name = "gaps", .gen = { BLOCKS(gaps), .leak = 5120 } },
	{ .name = "clear bits over junk", .image = { .has_clear_bits = true },
	  .gen = { BLOCKS(junk) } },
	{ .name = "clear bits over junk, no punch", .image = { .has_clear_bits = true },
	  .cannot_punch = true, .gen = { BLOCKS(junk), .align = 4096 } },
	{ .name = "exact bits", .gen = { BLOCKS(exact), .padding = 0xff } },
	{ .name = "two sectors of BAT",
	  .gen = { .size = 131 * BLOCK, .align = 4096, .footer_align = 4096, BLOCKS(far) } },
	{ .name = "BAT behind the blocks", .gen = { BLOCKS(mixed), .is_table_behind = true } },
	{ .name = "no trailing footer", .image = { .has_no_trailer = true },
	  .gen = { BLOCKS(in_order), .has_no_trailer = true } },
	{ .name = "511-byte footer", .gen = { BLOCKS(mixed), .is_short_footer = true } },
	{ .name = "short last block", .image = { .has_short_block = true },
	  .gen = { BLOCKS(mixed), .short_last = 2 * SECTOR } },
};

const size_t job_layouts_len = sizeof(job_layouts) / sizeof(job_layouts[0]);

static uint64_t disk_size(const struct job *job)
{
	uint64_t size = job_layouts[job->layout].gen.size;

	return size ? size : DISK;
}

static struct mem_file *make_image(const struct job *job)
{
	static const uint8_t zeros[SECTOR];
	struct gen_opts gen = job_layouts[job->layout].gen;
	struct mem_file *file;
	struct oracle *o;

	gen.block_size = BLOCK;
	gen.size = disk_size(job);
	file = gen_make(&gen);
	mem_set_punch(file, !job_layouts[job->layout].cannot_punch);
	o = oracle_open_mem(file, NULL);
	for (unsigned i = 0; o && i < gen.blocks_len; i++) {
		uint64_t off = (uint64_t)oracle_entry(o, gen.blocks[i].blk) * SECTOR + SECTOR;

		/* Both ends of every other block are zeros: a part of a page, wherever it is. */
		for (uint32_t s = 0; s < IN_BLOCK; s++)
			if ((job->zeros & 1u << i || (i % 2 && (s < 2 || s > 5))) &&
			    gen_has_data(&gen, (uint64_t)gen.blocks[i].blk * IN_BLOCK + s))
				mem_write(file, zeros, SECTOR, off + s * SECTOR);
	}
	oracle_close(o);
	return file;
}

/* Whole blocks as job->free has them; of the others the sectors 2 to 4, and all of block 3. */
static void mark_free(struct job *job)
{
	const struct gen_opts *gen = &job_layouts[job->layout].gen;

	job->sectors = disk_size(job) / SECTOR;
	memset(job->is_free, 0, sizeof(job->is_free));
	for (unsigned i = 0; job->free && i < gen->blocks_len; i++)
		for (uint64_t s = 0; s < IN_BLOCK; s++)
			if (job->free & 1u << i || (s >= 2 && s < 5))
				job->is_free[gen->blocks[i].blk * IN_BLOCK + s] = true;
	for (uint64_t s = 3 * IN_BLOCK; job->free && s < 4 * IN_BLOCK; s++)
		job->is_free[s] = true;
}

static int next_free(void *arg, uint64_t off, uint64_t *start, uint64_t *len, struct vhd_err *err)
{
	const struct job *job = arg;
	uint64_t s = off / SECTOR, end;

	(void)err;
	while (s < job->sectors && !job->is_free[s])
		s++;
	for (end = s; end < job->sectors && job->is_free[end];)
		end++;
	*start = s * SECTOR;
	*len = (end - s) * SECTOR;
	return s < end;
}

static int on_progress(void *arg, const struct vhd_progress *progress)
{
	struct job *job = arg;

	(void)progress;
	return ++job->calls == job->cancel;
}

int job_reclaim(struct crash *c, struct job *job, vhd_image *img,
		   struct vhd_reclaim_result *result)
{
	struct vhd_free_map map = { .next = next_free, .arg = job };
	struct vhd_reclaim_opts opts = { .free = &map, .batch = job->batch, .align = job->align,
					 .progress = on_progress, .progress_arg = job };
	int rc = 0;

	job->calls = 0;
	if (job->free) {
		crash_note(c, "zero");
		rc = crash_reclaim(c, img, vhd_zero_free, &opts, job->is_free, result);
	}
	opts.free = NULL;
	if (!rc) {
		crash_note(c, "compact");
		rc = crash_reclaim(c, img, vhd_compact, &opts, NULL, result);
	}
	return rc;
}

bool job_expect(struct crash *c, bool is_right, const char *what)
{
	if (!is_right)
		crash_violate(c, "%s (%s)", what, crash_error(c)->msg);
	return is_right;
}

void job_finish(struct crash *c, struct job *job, vhd_image *img)
{
	struct vhd_reclaim_result result = { 0 };
	unsigned cancel = job->cancel, calls = job->calls;	/* of who samples a state */
	int rc;

	job->cancel = 0;
	rc = job_reclaim(c, job, img, &result);
	job->cancel = cancel;
	job->calls = calls;
	if (!job_expect(c, !rc, "the verbs fail"))
		return;
	if (job->size && result.file_size_after != job->size)
		crash_violate(c, "ends at %llu bytes, %llu were predicted",
			      (unsigned long long)result.file_size_after,
			      (unsigned long long)job->size);
	crash_reads_right(c, img);
}

void job_finish_state(struct crash *c, vhd_image *img, void *arg)
{
	job_finish(c, arg, img);
}

static void predict(struct job *job)
{
	struct vhd_open_opts open_opts = { .is_readonly = true };
	struct vhd_free_map map = { .next = next_free, .arg = job };
	struct vhd_reclaim_opts opts = { .free = job->free ? &map : NULL, .dry_run = true,
					 .align = job->align };
	struct vhd_reclaim_result result;
	vhd_image *img;

	if (vhd_open_io(&img, mem_open(job->original), "predict.vhd", &open_opts, NULL))
		abort();
	if (vhd_compact(img, &opts, &result, NULL))
		abort();
	job->size = result.file_size_after;
	vhd_close(img, NULL);
}

void job_begin(struct job *job, size_t layout, unsigned zeros, unsigned free, bool align)
{
	*job = (struct job){ .layout = layout, .zeros = zeros, .free = free, .align = align };
	job->original = make_image(job);
	mark_free(job);
	predict(job);
}

void job_end(struct job *job)
{
	mem_free(job->original);
}

void job_start(struct crash *c, struct job *job, const char *more)
{
	struct crash_image image = job_layouts[job->layout].image;
	char label[200];

	job->file = mem_clone(job->original);
	image.file = job->file;
	snprintf(label, sizeof(label), "%s, zeros %x, free %x, batch %llu, cancel %u%s%s",
		 job_layouts[job->layout].name, job->zeros, job->free,
		 (unsigned long long)job->batch, job->cancel, job->align ? ", align" : "", more);
	crash_start(c, &image, label);
}
