/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg compact: gives back every block that reads as zeros, in place. vhdimg shrink: zeroes what
 * the filesystems inside do not use, and compacts, in one go.
 */
#include <errno.h>

#include "tools/cmd.h"
#include "tools/reclaim.h"

static int compact(struct reclaim *job, struct vhd_err *err)
{
	job->opts.align = cli_has(job->cli, CLI_ALIGN);
	job->opts.no_holes = cli_has(job->cli, CLI_NO_HOLES);
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

	if (job->opts.dry_run)
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
