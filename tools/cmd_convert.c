/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg convert: raw, dynamic and fixed disks into each other. */
#include <string.h>

#include "tools/cmd.h"
#include "tools/reclaim.h"
#include "vhd/units.h"

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* What is asked for, or what the new file's name says. */
static enum vhd_target choose_target(const struct cli *cli, const char *out)
{
	const char *type = cli->value[CLI_TYPE_OR_RAW];

	if (!type)
		return ends_with(out, ".raw") || ends_with(out, ".img") ? VHD_TO_RAW :
		       VHD_TO_DYNAMIC;
	if (strcmp(type, "fixed") == 0)
		return VHD_TO_FIXED;
	return strcmp(type, "raw") == 0 ? VHD_TO_RAW : VHD_TO_DYNAMIC;
}

static int convert(struct reclaim *job, struct vhd_err *err)
{
	const char *unit = job->cli->value[CLI_ALIGN_SIZE];
	enum vhd_target to = choose_target(job->cli, job->out);

	if (unit && (units_parse(unit, &job->opts.size_unit) || !job->opts.size_unit ||
		     job->opts.size_unit % 512))
		return cli_usage(job->cli->command, "--align-size=%s: no such size", unit);
	job->opts.no_holes = cli_has(job->cli, CLI_NO_HOLES);
	return vhd_convert(job->img, job->out, to, &job->opts, &job->result, err);
}

int cmd_convert(struct cli *cli, const char *image, struct vhd_err *err)
{
	static const struct reclaim_verb verb = {
		.run = convert, .takes_raw = true, .takes_out = true, .is_whole = true,
		.is_in_file = true,
	};

	return reclaim(cli, image, &verb, err);
}
