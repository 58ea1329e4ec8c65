/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg create: an empty image. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "tools/cmd.h"
#include "vhd/units.h"

/* 0 or the status of wrong usage, as every function here that takes what the user wrote. */
static int parse_size(const struct cli *cli, const char *text, uint64_t *size)
{
	int rc = units_parse(text, size);

	if (rc == -ERANGE)
		return cli_usage(cli->command, "'%s' is too large a size", text);
	if (rc < 0)
		return cli_usage(cli->command, "'%s' is no size: bytes, or K M G T", text);
	return 0;
}

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
	status = parse_size(cli, text, &size);
	if (status)
		return status;
	/* Zero would mean the default to the engine, and more does not fit. */
	if (size == 0 || size > UINT32_MAX)
		return cli_usage(cli->command, "--block-size=%s: no such block size", text);
	opts->block_size = size;
	return 0;
}

/*
 * With the signals that would end us held back: where the host has no nameless files, one under a
 * passing name would stay behind. It is a matter of a few MiB.
 */
static int create(const char *image, const struct vhd_create_opts *opts, struct vhd_err *err)
{
	sigset_t held, before;
	int rc;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, &before);
	rc = vhd_create(image, opts, err);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int cmd_create(struct cli *cli, const char *image, struct vhd_err *err)
{
	const char *type = cli->value[CLI_TYPE];
	struct vhd_create_opts opts = { .type = VHD_DYNAMIC };
	int status;

	if (cli_has(cli, CLI_PARENT))
		return cmd_fail(err, -ENOTSUP, "%s: making a differencing image is not served yet",
				image);
	if (cli->argc < 2)
		return cli_usage(cli->command, "the size of %s is missing", image);
	if (type && strcmp(type, "fixed") == 0)
		opts.type = VHD_FIXED;
	status = parse_size(cli, cli->argv[1], &opts.size);
	if (!status)
		status = parse_block_size(cli, &opts);
	return status ? status : create(image, &opts, err);
}
