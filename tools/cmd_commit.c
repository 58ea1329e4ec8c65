/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg commit: what a child owns goes to its parent, or all of the chain to a new image. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cmd.h"
#include "tools/reclaim.h"

/* Its own children would be left without a parent. */
static int refuse_removal(const struct reclaim *job, struct vhd_err *err)
{
	char *child;
	int rc = cmd_first_child(job->img, &child, err);

	if (!rc && child)
		rc = cmd_fail(err, -EBUSY, "%s: it is the parent of %s, and cannot be removed",
			      job->image, child);
	free(child);
	return rc;
}

static int merge(struct reclaim *job, struct vhd_err *err)
{
	int rc = 0;

	job->opts.keep_id = cli_has(job->cli, CLI_KEEP_ID);
	if (cli_has(job->cli, CLI_REMOVE))
		rc = refuse_removal(job, err);
	return rc ? rc : vhd_merge(job->img, &job->opts, &job->result, err);
}

static int flatten(struct reclaim *job, struct vhd_err *err)
{
	return vhd_convert(job->img, job->out, VHD_TO_DYNAMIC, &job->opts, &job->result, err);
}

int cmd_commit(struct cli *cli, const char *image, struct vhd_err *err)
{
	static const struct reclaim_verb into_parent = {
		.run = merge, .has_parent = true, .is_in_file = true,
		.nothing = "it has no blocks of its own",
	}, into_new = { .run = flatten, .is_in_file = true, .is_whole = true };
	bool is_new = cli_has(cli, CLI_INTO), removes = cli_has(cli, CLI_REMOVE);
	int rc;

	if (is_new && (removes || cli_has(cli, CLI_KEEP_ID)))
		return cli_usage(cli->command, "--into changes neither the child nor its parent: "
				 "not with --remove or --keep-id");
	rc = reclaim(cli, image, is_new ? &into_new : &into_parent, err);
	if (rc || !removes || cli_has(cli, CLI_DRY_RUN))
		return rc;
	return unlink(image) ? cmd_fail(err, -errno, "%s: cannot be removed: %s", image,
					strerror(errno)) : 0;
}
