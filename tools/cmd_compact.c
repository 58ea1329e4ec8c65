/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg compact: gives back every block that reads as zeros, in place. vhdimg shrink: zeroes what
 * the filesystems inside do not use, and compacts, in one go. With --output-file either writes a
 * copy that is so, and leaves the image alone.
 */
#include "tools/cmd.h"
#include "tools/reclaim.h"
#include "tools/say.h"

/* Names of the parent are as the image has them, and from another folder they may lead nowhere. */
static void look_for_parent(const struct reclaim *job)
{
	const struct vhd_open_opts opts = { .is_readonly = true, .no_lock = true };
	struct vhd_err err = { 0 };
	vhd_image *copy;

	if (vhd_open(&copy, job->out, &opts, &err))
		say("%s", err.msg);
	else
		vhd_close(copy, NULL);
}

static int copy(struct reclaim *job, struct vhd_err *err)
{
	int rc = vhd_copy(job->img, job->out, &job->opts, &job->result, err);

	if (!rc && !job->opts.dry_run && vhd_parent(job->img))
		look_for_parent(job);
	return rc;
}

static int compact(struct reclaim *job, struct vhd_err *err)
{
	job->opts.align = cli_has(job->cli, CLI_ALIGN);
	job->opts.no_holes = cli_has(job->cli, CLI_NO_HOLES);
	if (job->out)
		return copy(job, err);
	return vhd_compact(job->img, &job->opts, &job->result, err);
}

/*
 * What was found free is zeros by the second half, and is not read again. The time that --max-time
 * gives is for both; a first half that was stopped leaves nothing to the second.
 */
static int shrink(struct reclaim *job, struct vhd_err *err)
{
	struct vhd_reclaim_result zeroed;
	int rc;

	if (job->opts.dry_run || job->out)
		return compact(job, err);
	job->opts.write_zeros = cli_has(job->cli, CLI_WRITE);
	job->opts.scrub = cli_has(job->cli, CLI_SCRUB);
	rc = vhd_zero_free(job->img, &job->opts, &job->result, err);
	if (rc || job->result.is_partial)
		return rc;
	zeroed = job->result;
	rc = compact(job, err);
	job->result.file_size_before = zeroed.file_size_before;
	job->result.blocks_before = zeroed.blocks_before;
	job->result.zeroed_bytes = zeroed.zeroed_bytes;
	return rc;
}

int cmd_compact(struct cli *cli, const char *image, struct vhd_err *err)
{
	static const struct reclaim_verb verb = { .run = compact, .is_in_file = true };

	return reclaim(cli, image, &verb, err);
}

int cmd_shrink(struct cli *cli, const char *image, struct vhd_err *err)
{
	static const struct reclaim_verb verb = {
		.run = shrink, .has_guest = true, .is_in_file = true, .has_stay = true,
	};

	return reclaim(cli, image, &verb, err);
}
