/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg snapshot: the image becomes a parent, and a child takes its place. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/cmd.h"
#include "tools/say.h"

/* Those that find their parent by the image's name would find the child there. */
static int refuse_parent(struct cli *cli, const char *image, vhd_image *img, struct vhd_err *err)
{
	char *child;
	int rc = cmd_first_child(img, &child, err);

	if (!rc && child && !cli_has(cli, CLI_FORCE))
		rc = cmd_fail(err, -EBUSY, "%s: it is the parent of %s, which would not find it "
			      "under its new name; --force goes on all the same", image, child);
	free(child);
	return rc;
}

/* What is wrong with the image is no matter of making a file, and has statuses of its own. */
static int look_at_image(struct cli *cli, const char *image, struct vhd_err *err)
{
	vhd_image *img;
	int rc = cmd_open(&img, cli, image, false, err);

	if (rc)
		return rc;
	rc = refuse_parent(cli, image, img, err);
	vhd_close(img, NULL);
	return rc;
}

static int snapshot(struct cli *cli, const char *image, char *parent, struct vhd_err *err)
{
	struct vhd_snapshot_opts opts = {
		.parent = cli->argc > 1 ? cli->argv[1] : NULL,
		.no_lock = cli_has(cli, CLI_NO_LOCK),
	};
	sigset_t before;
	int rc;

	cmd_hold_signals(&before);
	rc = vhd_snapshot(image, &opts, parent, err);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int cmd_snapshot(struct cli *cli, const char *image, struct vhd_err *err)
{
	char parent[VHD_PATH_MAX];
	int rc = look_at_image(cli, image, err);

	if (rc)
		return status_of(cmd_said(rc, err), false);
	rc = snapshot(cli, image, parent, err);
	if (rc == -EBUSY)
		return status_of(cmd_said(rc, err), false);
	if (rc || cli_has(cli, CLI_QUIET))
		return rc;
	say_clean(stdout, image);
	fputs(": what it was is kept in ", stdout);
	say_clean(stdout, parent);
	putchar('\n');
	return 0;
}
