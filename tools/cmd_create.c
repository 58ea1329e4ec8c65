/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg create: an empty image, or a child that reads as its parent does. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "tools/cmd.h"
#include "vhd/units.h"

static int parse_block_size(const struct cli *cli, struct vhd_create_opts *opts)
{
	const char *text = cli->value[CLI_BLOCK_SIZE];
	uint64_t size;
	int status;

	if (!text)
		return 0;
	if (opts->type == VHD_FIXED)
		return cli_usage(cli->command, "--block-size=%s: a fixed image has no blocks",
				 text);
	status = cli_parse_size(cli, text, &size);
	if (status)
		return status;
	/* Zero would mean the default to the engine, and more does not fit. */
	if (size == 0 || size > UINT32_MAX)
		return cli_usage(cli->command, "--block-size=%s: no such block size", text);
	opts->block_size = size;
	return 0;
}

static int create(const char *image, const struct vhd_create_opts *opts, struct vhd_err *err)
{
	sigset_t before;
	int rc;

	cmd_hold_signals(&before);
	rc = vhd_create(image, opts, err);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}

/* What is wrong with the parent is no matter of making a file, and has statuses of its own. */
static int look_at_parent(struct cli *cli, const char *parent, struct vhd_err *err)
{
	struct vhd_open_opts opts = {
		.is_readonly = true,
		.allow_raw = true,
		.no_lock = cli_has(cli, CLI_NO_LOCK),
		.warn = cmd_warn,
		.warn_arg = cli,
	};
	vhd_image *img;
	int rc = vhd_open(&img, parent, &opts, err);

	if (rc)
		return status_of(cmd_said(rc, err), false);
	return vhd_close(img, NULL);
}

static int parse_parent(struct cli *cli, const char *image, struct vhd_create_opts *opts)
{
	opts->parent = cli->value[CLI_PARENT];
	opts->no_lock = cli_has(cli, CLI_NO_LOCK);
	if (opts->parent && cli_has(cli, CLI_TYPE))
		return cli_usage(cli->command, "--parent=%s makes a differencing image, and "
				 "--type=%s another", opts->parent, cli->value[CLI_TYPE]);
	if (opts->parent)
		opts->type = VHD_DIFFERENCING;
	else if (cli->argc < 2)
		return cli_usage(cli->command, "the size of %s is missing", image);
	return 0;
}

int cmd_create(struct cli *cli, const char *image, struct vhd_err *err)
{
	const char *type = cli->value[CLI_TYPE];
	struct vhd_create_opts opts = { .type = VHD_DYNAMIC };
	int status;

	if (type && strcmp(type, "fixed") == 0)
		opts.type = VHD_FIXED;
	status = parse_parent(cli, image, &opts);
	if (!status && cli->argc > 1)
		status = cli_parse_size(cli, cli->argv[1], &opts.size);
	if (!status && cli->argc > 1 && !opts.size)
		status = cli_usage(cli->command, "a disk of 0 bytes cannot be made");
	if (!status)
		status = parse_block_size(cli, &opts);
	if (!status && opts.parent)
		status = look_at_parent(cli, opts.parent, err);
	return status ? status : create(image, &opts, err);
}
