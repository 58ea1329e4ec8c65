/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg rebase: a child says where its parent is now. */
#include "tools/cmd.h"

int cmd_rebase(struct cli *cli, const char *image, struct vhd_err *err)
{
	struct vhd_rebase_opts opts = {
		.parent = cli->value[CLI_PARENT],
		.is_unchecked = cli_has(cli, CLI_UNCHECKED),
		.no_lock = cli_has(cli, CLI_NO_LOCK),
		.warn = cmd_warn,
		.warn_arg = cli,
	};

	if (!opts.parent)
		return cli_usage(cli->command, "--parent=IMAGE is missing");
	return vhd_rebase(image, &opts, err);
}
