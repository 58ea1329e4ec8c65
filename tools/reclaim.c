/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * zero, compact and shrink: one job on one image, from opening it to the closing line.
 *
 * All that refuses the image is asked before anything is changed. The image is closed, and so all
 * that was gained durable, before anything is said of it.
 */
#include "tools/reclaim.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/cmd.h"
#include "tools/out.h"
#include "tools/progress.h"
#include "tools/say.h"
#include "tools/totals.h"
#include "tools/volumes.h"
#include "vhd/units.h"

struct sizes {
	uint64_t file;		/* bytes, its length */
	uint64_t host;		/* bytes that the host has allocated for it */
	struct timespec mtime;
};

static bool is_left_alone(const struct reclaim *job)
{
	return job->opts.dry_run || job->out;
}

static int measure(const char *image, struct sizes *sizes, struct vhd_err *err)
{
	struct stat st;

	if (stat(image, &st))
		return cmd_fail(err, -errno, "%s: %s", image, strerror(errno));
	*sizes = (struct sizes){
		.file = (uint64_t)st.st_size, .host = (uint64_t)st.st_blocks * 512,
		.mtime = st.st_mtim,
	};
	return 0;
}

/* Others may have been made from this disk as it is: not to be changed behind their backs.
 * *is_parent says whether there are any. */
static int look_for_children(struct reclaim *job, bool *is_parent, struct vhd_err *err)
{
	char *child;
	int rc = cmd_first_child(job->img, &child, err);

	*is_parent = child;
	if (!rc && child && job->verb->has_guest && !job->out && !cli_has(job->cli, CLI_FORCE))
		rc = cmd_fail(err, -EBUSY, "%s: it is the parent of %s; --force goes on "
			      "all the same", job->image, child);
	free(child);
	return rc;
}

struct sibling {
	struct stat self;
	char *path;
};

static void note_sibling(void *arg, const char *path)
{
	struct sibling *sibling = arg;
	struct stat st;

	if (!sibling->path && stat(path, &st) == 0 &&
	    (st.st_dev != sibling->self.st_dev || st.st_ino != sibling->self.st_ino))
		sibling->path = strdup(path);
}

/* Other children of the parent would read otherwise. */
static int look_for_siblings(struct reclaim *job, struct vhd_err *err)
{
	vhd_image *parent = vhd_parent(job->img);
	struct sibling sibling = { .path = NULL };
	int rc;

	if (!parent || cli_has(job->cli, CLI_FORCE))
		return 0;
	if (stat(job->image, &sibling.self))
		return cmd_fail(err, -errno, "%s: %s", job->image, strerror(errno));
	rc = vhd_find_children(parent, note_sibling, &sibling, err);
	if (!rc && sibling.path)
		rc = cmd_fail(err, -EBUSY, "%s: its parent is the parent of %s, too; --force goes "
			      "on all the same", job->image, sibling.path);
	free(sibling.path);
	return rc;
}

static int refuse(const struct reclaim *job, struct vhd_err *err)
{
	struct vhd_info info;
	int rc = vhd_get_info(job->img, &info, err);

	if (rc)
		return rc;
	if (info.has_saved_state)
		return cmd_fail(err, -EBUSY, "%s: a machine's saved state waits for this disk as "
				"it is; resume or discard it first", job->image);
	if (!job->verb->takes_raw && info.is_raw)
		return cmd_fail(err, -EILSEQ, "%s: not a VHD: no footer at either end of it",
				job->image);
	if (!job->verb->takes_raw && info.type == VHD_FIXED)
		return cmd_fail(err, -ENOTSUP, "%s: a fixed image has no blocks to give back",
				job->image);
	return 0;
}

/* What making the file would be refused for, a dry run is refused for as well. */
static int look_for_out(const struct reclaim *job, struct vhd_err *err)
{
	struct stat st;

	if (!job->out || !job->opts.dry_run || lstat(job->out, &st))
		return 0;
	return cmd_fail(err, -EEXIST, "%s: exists already", job->out);
}

/* 0, -errno, or an exit status that was said already. */
static int look_inside(struct reclaim *job, struct progress *progress, struct vhd_err *err)
{
	int rc = volumes_open(&job->guest, job->cli, job->img, progress_is_stopped, progress, err);

	if (rc)
		return rc;
	job->is_selected = calloc(guest_volumes(job->guest) + 1, sizeof(*job->is_selected));
	if (!job->is_selected)
		return -ENOMEM;
	job->free_map = volumes_free_map(job->guest);
	job->opts.free = &job->free_map;
	if (job->verb->has_stay && job->opts.dry_run) {
		job->opts.live = stay_count;
		job->opts.live_arg = &job->stay;
		if (stay_begin(&job->stay, job->guest, job->is_selected))
			return -ENOMEM;
	}
	return volumes_select(job->guest, job->cli, job->is_selected, err);
}

static int open_image(struct reclaim *job, struct vhd_err *err)
{
	struct vhd_open_opts opts = {
		.is_readonly = is_left_alone(job),
		.no_lock = cli_has(job->cli, CLI_NO_LOCK),
		.allow_raw = job->verb->takes_raw,
		.write_parent = job->verb->has_parent && !is_left_alone(job),
		.warn = cmd_warn,
		.warn_arg = job->cli,
	};

	return vhd_open(&job->img, job->image, &opts, err);
}

/* Finds out what there is to be gained. */
static int is_worth_it(struct reclaim *job, bool *is_worth, struct vhd_err *err)
{
	bool is_dry = job->opts.dry_run;
	uint64_t before, after;
	int rc;

	job->opts.dry_run = true;
	rc = job->verb->run(job, err);
	job->opts.dry_run = is_dry;
	before = job->result.file_size_before;
	after = job->result.file_size_after;
	*is_worth = job->result.is_partial ||
		    (before > after && (before - after) * 100.0 >= (double)before * job->min_gain);
	return rc;
}

/* A dry run is done with when it is known what there is to be gained. */
static int run_verb(struct reclaim *job, struct vhd_err *err)
{
	bool is_worth;
	int rc;

	if (!job->min_gain)
		return job->verb->run(job, err);
	rc = is_worth_it(job, &is_worth, err);
	job->is_spared = !rc && !is_worth;
	return rc || job->is_spared || job->opts.dry_run ? rc : job->verb->run(job, err);
}

/* What was reached counts also when the job was stopped, or met a full host. */
static int run(struct reclaim *job, struct progress *progress, bool *is_parent, struct vhd_err *err)
{
	int rc = refuse(job, err), closing;
	struct vhd_err late = { 0 };

	if (!rc)
		rc = look_for_out(job, err);
	if (!rc)
		rc = look_for_children(job, is_parent, err);
	if (!rc && job->verb->has_parent && !job->out)
		rc = look_for_siblings(job, err);
	if (!rc && job->verb->has_guest)
		rc = look_inside(job, progress, err);
	if (!rc)
		rc = run_verb(job, err);
	closing = vhd_close(job->img, &late);
	if (closing && rc >= 0) {
		rc = closing;
		*err = late;
	}
	return rc;
}

static void print_spared(const struct reclaim *job)
{
	const struct vhd_reclaim_result *result = &job->result;
	uint64_t from = result->file_size_before, to = result->file_size_after;
	char from_text[32], gain_text[32];

	units_format(from, from_text, sizeof(from_text));
	units_format(from > to ? from - to : 0, gain_text, sizeof(gain_text));
	say_clean(stdout, job->image);
	printf(": %s, left alone: %s to be gained are less than %u %%\n", from_text, gain_text,
	       job->min_gain);
	totals_add(job->cli, from, from);
}

static void print_closing(const struct reclaim *job, const struct sizes *before,
			  const struct sizes *after, uint64_t seconds)
{
	const struct vhd_reclaim_result *result = &job->result;
	bool is_dry = job->opts.dry_run, is_in_file = job->verb->is_in_file || is_dry;
	uint64_t from = is_in_file ? before->file : before->host;
	uint64_t to = is_dry ? result->file_size_after : is_in_file ? after->file : after->host;
	uint32_t blocks = result->blocks_before - result->blocks_after;
	char from_text[32], to_text[32], gain_text[32];

	totals_add(job->cli, from, to);
	units_format(from, from_text, sizeof(from_text));
	units_format(to, to_text, sizeof(to_text));
	units_format(from > to ? from - to : 0, gain_text, sizeof(gain_text));
	say_clean(stdout, job->image);
	if (job->verb->is_whole) {
		printf(": %s ", is_dry ? "would make" : "made");
		say_clean(stdout, job->out);
		printf(": %s", to_text);
	} else if (from <= to && !blocks) {
		printf(": %s, nothing %sfreed: %s", from_text, is_dry ? "would be " : "",
		       job->verb->nothing ? job->verb->nothing :
		       job->guest ? "no block is free or zero as a whole" :
				    "no block reads as zeros");
	} else {
		printf(": %s -> %s, %s %sfreed (%" PRIu32 " blocks)", from_text, to_text, gain_text,
		       is_dry ? "would be " : "", blocks);
	}
	printf(", %" PRIu64 ":%02" PRIu64 "%s\n", seconds / 60, seconds % 60,
	       result->is_partial ? ", stopped early" : "");
}

static const char *status_word(const struct reclaim *job, int rc, bool has_unclean)
{
	if (rc == -ECANCELED || rc == -ENOSPC || job->result.is_partial)
		return "partial";
	if (rc < 0)
		return "failed";
	return has_unclean || job->is_spared ? "skipped" : "done";
}

static int print_json(const struct reclaim *job, const struct sizes *before,
		      const struct sizes *after, const char *status)
{
	const struct vhd_reclaim_result *result = &job->result;
	json_t *skipped = job->guest ? volumes_skipped_json(job->guest, job->is_selected) :
				       json_array();
	json_t *value = json_pack(
		"{s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:s}",
		"filename", out_text(job->image),
		"output-file", job->out ? out_text(job->out) : json_null(),
		"dry-run", (int)job->opts.dry_run,
		"file-size-before", (json_int_t)before->file,
		"file-size-after", (json_int_t)(job->opts.dry_run ? result->file_size_after :
								    after->file),
		"actual-size-before", (json_int_t)before->host,
		"actual-size-after", (json_int_t)after->host,
		"compacted-size", (json_int_t)result->file_size_after,
		"blocks-before", (json_int_t)result->blocks_before,
		"blocks-after", (json_int_t)result->blocks_after,
		"zeroed-bytes", (json_int_t)result->zeroed_bytes,
		"skipped", skipped,
		"status", status);

	if (!value)
		return -ENOMEM;
	out_item(job->cli);
	json_dumpf(value, stdout, JSON_INDENT(4));
	out_item_end(job->cli);
	json_decref(value);
	return 0;
}

/* Nothing was written that bears the name. Of what is wrong with the path, only the new file can be
 * meant: the image was open. */
static int fail_copy(const struct reclaim *job, int rc, struct vhd_err *err)
{
	if (rc == -ECANCELED && progress_status()) {
		say("%s: stopped; %s was not written", job->image, job->out);
		return progress_status();
	}
	if (rc != -ENOENT && rc != -ENOTDIR && rc != -ELOOP)
		return rc;
	say("%s", err->msg);
	return STATUS_CANNOT_CREATE;
}

/* Tells what was reached, and judges it. */
static int conclude(struct reclaim *job, int rc, const struct sizes *before, uint64_t seconds,
		    struct vhd_err *err)
{
	bool has_unclean = job->guest && volumes_have_unclean(job->guest, job->is_selected);
	bool is_reached = !rc || (!job->out && (rc == -ECANCELED || rc == -ENOSPC));
	struct sizes after;
	int told = 0;

	if (!is_reached)
		return job->out ? fail_copy(job, rc, err) : rc;
	told = measure(job->out && !job->opts.dry_run && !job->is_spared ? job->out : job->image,
		       &after, err);
	if (told)
		return rc ? rc : told;
	if (cli_is_json(job->cli)) {
		told = print_json(job, before, &after, status_word(job, rc, has_unclean));
	} else if (!cli_has(job->cli, CLI_QUIET)) {
		if (job->guest)
			volumes_print(job->guest, job->is_selected);
		if (job->opts.live)
			stay_print(&job->stay);
		if (job->is_spared)
			print_spared(job);
		else
			print_closing(job, before, &after, seconds);
	}
	if (has_unclean)
		volumes_warn(job->image, job->guest, job->is_selected);
	if (rc == -ECANCELED && progress_status()) {
		say("%s: stopped; running it again goes on from there", job->image);
		return progress_status();
	}
	if (rc || told)
		return rc ? rc : told;
	return has_unclean ? STATUS_SKIPPED : STATUS_DONE;
}

static void keep_mtime(const char *image, const struct sizes *before)
{
	const struct timespec times[] = { { .tv_nsec = UTIME_OMIT }, before->mtime };

	if (utimensat(AT_FDCWD, image, times, 0))
		say("%s: its time could not be kept, and readers that compare it will warn: %s",
		    image, strerror(errno));
}

/* -1 to go on, or STATUS_USAGE. */
static int read_options(struct reclaim *job)
{
	const char *text = job->cli->value[CLI_MAX_TIME];
	int rc;

	job->opts.dry_run = cli_has(job->cli, CLI_DRY_RUN);
	job->out = job->cli->value[cli_has(job->cli, CLI_INTO) ? CLI_INTO : CLI_OUTPUT_FILE];
	if (job->verb->takes_out)
		job->out = job->cli->argv[1];
	else if (job->out && job->cli->argc > 1)
		return cli_usage(job->cli->command, "--output-file is for one image at a time");
	if (job->out && text)
		return cli_usage(job->cli->command, "--max-time makes no whole copy: not with "
				 "--output-file");
	rc = cli_parse_number(job->cli, CLI_MAX_TIME, UINT_MAX, &job->opts.max_seconds);
	if (!rc)
		rc = cli_parse_number(job->cli, CLI_MIN_GAIN, 100, &job->min_gain);
	return rc ? rc : -1;
}

int reclaim(struct cli *cli, const char *image, const struct reclaim_verb *verb,
	    struct vhd_err *err)
{
	struct reclaim job = { .cli = cli, .verb = verb, .image = image };
	struct progress progress;
	struct sizes before;
	bool is_parent = false;
	uint64_t seconds;
	int rc;

	rc = read_options(&job);
	if (rc >= 0)
		return rc;
	job.opts.progress = progress_report;
	job.opts.progress_arg = &progress;
	rc = open_image(&job, err);
	if (rc)
		return rc;
	rc = measure(image, &before, err);
	progress_begin(&progress, cli, image);
	if (rc)
		vhd_close(job.img, NULL);
	else
		rc = run(&job, &progress, &is_parent, err);
	seconds = progress_end(&progress);
	if (is_parent && !is_left_alone(&job))
		keep_mtime(image, &before);
	if (rc <= 0)
		rc = conclude(&job, rc, &before, seconds, err);
	guest_close(job.guest);
	stay_end(&job.stay);
	free(job.is_selected);
	return rc;
}
