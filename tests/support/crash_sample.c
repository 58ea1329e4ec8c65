/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One state that a cut can leave, made into a file, opened with the engine, which recovers it, and
 * used; what a second cut can leave of the recovery is checked in turn. */
#include <stdio.h>
#include <string.h>

#include "tests/support/crash_private.h"
#include "tests/support/imagegen.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"

static struct mem_file *materialise(struct crash *c)
{
	const struct length *size = &c->sizes[runner_below(&c->random, c->sizes_len)];
	struct mem_file *file = mem_clone(c->file);

	mem_truncate(file, size->size);
	for (uint32_t i = 0; i < c->dirty_len; i++) {
		uint32_t ids[MAX_OPTIONS], sector = c->dirty[i];
		unsigned n = model_options(c, sector, size->epoch, ids);
		uint64_t off = (uint64_t)sector * SECTOR;
		size_t len = SECTOR;

		if (off >= size->size)
			continue;
		if (size->size - off < len)
			len = (size_t)(size->size - off);
		mem_write(file, content_get(ids[runner_below(&c->random, n)])->raw, len, off);
	}
	return file;
}

/* Every sector of the state is one that it may have, to the other reader. */
static bool check_with_oracle(struct crash *c, struct mem_file *file)
{
	struct oracle_result result;
	const char *why;
	struct oracle *o = oracle_open_mem(file, &why), *parent = NULL;
	uint8_t raw[SECTOR];

	if (!o) {
		report(c, "a state does not open: %s", why);
		return false;
	}
	if (c->image.parent) {
		parent = must(oracle_open_mem(c->image.parent, &why));
		oracle_set_parent(o, parent);
	}
	oracle_check(o, &result);
	if (result.errors && !c->image.has_short_block)
		report(c, "a state is damaged: %s", result.first);
	for (uint64_t s = 0; s < c->sectors; s++) {
		oracle_read(o, raw, SECTOR, s * SECTOR);
		state_check_value(c, s, (uint32_t)(s / c->block_sectors), content_intern(raw, s),
				  "in a state");
	}
	oracle_close(o);
	oracle_close(parent);
	return !c->violation;
}

static void note_problem(void *arg, const struct vhd_problem *problem)
{
	char *text = arg;

	if (problem->severity == VHD_ERROR && !*text)
		snprintf(text, 512, "%s", problem->message);
}

static bool check_with_engine(struct crash *c, struct mem_file *file, const char *when)
{
	char text[512] = "";
	struct vhd_check_opts opts = { .report = note_problem, .report_arg = text };
	struct vhd_check_result result = { 0 };
	struct vhd_err err = { 0 };

	if (vhd_check_io(mem_open(file), "state.vhd", &opts, &result, &err))
		report(c, "%s: vhd_check fails: %s", when, err.msg);
	else if (result.errors)
		report(c, "%s: vhd_check finds damage: %s", when, text);
	return !c->violation;
}

/* Opens the state for writing, which recovers it, with every instant of that checked in turn;
 * writes, flushes, closes and opens it again. */
static void use_state(struct crash *c, struct crash *inner)
{
	uint64_t blk = runner_below(&c->random, (c->sectors + c->block_sectors - 1) /
				    c->block_sectors);
	uint8_t raw[SECTOR];
	vhd_image *img;

	crash_note(inner, "open the state");
	if (crash_open(inner, &img))
		return;
	crash_reads_right(inner, img);
	if (c->use) {
		crash_note(inner, "use it");
		c->use(inner, img, c->use_arg);
		crash_note(inner, "close");
		crash_close(inner, img);
		return;
	}
	crash_note(inner, "write a sector");
	gen_sector(raw, blk * c->block_sectors, 0x777);
	if (crash_pwrite(inner, img, raw, SECTOR, blk * c->block_sectors * SECTOR) ||
	    crash_flush(inner, img))
		crash_violate(inner, "write and flush fail");
	crash_reads_right(inner, img);
	crash_note(inner, "close");
	if (crash_close(inner, img)) {
		crash_violate(inner, "close fails");
		return;
	}
	crash_note(inner, "open again");
	if (!crash_open(inner, &img)) {
		crash_reads_right(inner, img);
		crash_close(inner, img);
	}
}

void sample_one(struct crash *c)
{
	struct mem_file *file = materialise(c);
	struct crash_image image = c->image;
	struct crash *inner = NULL;

	c->stats.samples++;
	if (check_with_oracle(c, file) &&
	    (c->image.has_short_block || check_with_engine(c, file, "a state"))) {
		image.file = file;
		inner = crash_new();
		inner->depth = c->depth + 1;
		crash_start(inner, &image, NULL);
		inner->was_killed = true;	/* unpublished bits over data, as after kill -9 */
		use_state(c, inner);
		if (crash_violation(inner))
			report(c, "in a state of this point: %s\n  which came from",
				inner->violation);
		else
			check_with_engine(c, file, "a recovered state");
	}
	crash_free(inner);
	mem_free(file);
}
