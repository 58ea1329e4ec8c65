/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg zero: what the filesystems inside do not use reads as zeros, in place. */
#include "tools/cmd.h"
#include "tools/reclaim.h"

static int run(struct reclaim *job, struct vhd_err *err)
{
	job->opts.write_zeros = cli_has(job->cli, CLI_WRITE);
	job->opts.scrub = cli_has(job->cli, CLI_SCRUB);
	return vhd_zero_free(job->img, &job->opts, &job->result, err);
}

int cmd_zero(struct cli *cli, const char *image, struct vhd_err *err)
{
	static const struct reclaim_verb verb = {
		.run = run, .has_guest = true, .takes_raw = true,
	};

	return reclaim(cli, image, &verb, err);
}
