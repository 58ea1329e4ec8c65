/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg check: the structure of an image and its parents, mended when told to. Problems are
 * printed as they are found, so that a hostile image with a million of them costs no memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tools/cmd.h"
#include "tools/out.h"
#include "tools/say.h"

struct report {
	struct cli *cli;
	const char *image;
	bool is_begun;
	size_t count;
};

static json_t *json_problem(const struct vhd_problem *problem)
{
	return json_pack("{s:s, s:o, s:s, s:b}", "kind", problem->kind,
			 "message", out_text(problem->message),
			 "severity", problem->severity == VHD_WASTE ? "waste" : "error",
			 "repaired", (int)problem->is_repaired);
}

static void json_begin(struct report *report)
{
	if (report->is_begun)
		return;
	report->is_begun = true;
	out_item(report->cli);
	fputs("{\n    \"filename\": ", stdout);
	out_string(report->image);
	fputs(",\n    \"problems\": [", stdout);
}

static void report_json(struct report *report, const struct vhd_problem *problem)
{
	json_t *value = json_problem(problem);

	json_begin(report);
	fputs(report->count++ ? ",\n        " : "\n        ", stdout);
	if (value)
		json_dumpf(value, stdout, 0);
	else
		fputs("null", stdout);
	json_decref(value);
}

static void json_finish(struct report *report, const struct vhd_check_result *result)
{
	json_begin(report);
	printf("%s],\n    \"errors\": %" PRIu64 ",\n    \"leaks\": %" PRIu64
	       ",\n    \"repaired\": %" PRIu64 ",\n    \"parents\": %u\n}",
	       report->count ? "\n    " : "", result->errors, result->leaks, result->repaired,
	       result->parents);
	out_item_end(report->cli);
}

static void report_human(const struct report *report, const struct vhd_problem *problem)
{
	const char *kind = problem->is_repaired ? "repaired" :
			   problem->severity == VHD_WASTE ? "waste" : "error";

	if (cli_has(report->cli, CLI_QUIET) &&
	    (problem->is_repaired || problem->severity == VHD_WASTE))
		return;
	printf("%s: ", kind);
	say_clean(stdout, problem->message);
	putchar('\n');
}

static void on_problem(void *arg, const struct vhd_problem *problem)
{
	struct report *report = arg;

	if (cli_is_json(report->cli))
		report_json(report, problem);
	else
		report_human(report, problem);
}

static void human_finish(const struct report *report, const struct vhd_check_result *result)
{
	if (cli_has(report->cli, CLI_QUIET))
		return;
	say_clean(stdout, report->image);
	if (result->parents)
		printf(" and %u %s", result->parents, result->parents == 1 ? "parent" : "parents");
	if (!result->errors && !result->leaks && !result->repaired)
		puts(": no problem found");
	else
		printf(": errors %" PRIu64 ", waste %" PRIu64 ", repaired %" PRIu64 "\n",
		       result->errors, result->leaks, result->repaired);
}

/*
 * With -U the lock is tried all the same, to learn whether the image is being written: nothing has
 * been reported when it is refused.
 */
static int check(struct vhd_check_opts *opts, const struct cli *cli, const char *image,
		 struct vhd_check_result *result, bool *is_written, struct vhd_err *err)
{
	int rc = vhd_check(image, opts, result, err);

	if (!cli_has(cli, CLI_FORCE_SHARE) || (rc != -EBUSY && rc != -ENOLCK))
		return rc;
	*is_written = rc == -EBUSY;
	opts->force_share = true;
	*err = (struct vhd_err){ 0 };
	return vhd_check(image, opts, result, err);
}

static int judge(const char *image, const struct vhd_check_result *result, bool is_written)
{
	if (result->errors && is_written) {
		say("%s: another program is writing it, so this is advice only", image);
		return STATUS_IN_USE;
	}
	if (result->errors)
		return STATUS_DAMAGED;
	return result->leaks ? STATUS_WASTE : STATUS_DONE;
}

int cmd_check(struct cli *cli, const char *image, struct vhd_err *err)
{
	struct report report = { .cli = cli, .image = image };
	struct vhd_check_result result = { 0 };
	struct vhd_check_opts opts = {
		.repair = cli_has(cli, CLI_REPAIR),
		.lossy = cli->value[CLI_REPAIR],	/* its only value */
		.no_lock = cli_has(cli, CLI_NO_LOCK),
		.with_parents = true,
		.share_parents = cli_has(cli, CLI_FORCE_SHARE),
		.report = on_problem,
		.report_arg = &report,
		.warn = cmd_warn,
		.warn_arg = cli,
	};
	bool is_written = false;
	int rc;

	if (opts.repair && cli_has(cli, CLI_FORCE_SHARE))
		return cli_usage(cli->command, "--repair and --force-share exclude each other");
	rc = check(&opts, cli, image, &result, &is_written, err);
	if (cli_is_json(cli) && (rc == 0 || report.is_begun))
		json_finish(&report, &result);
	else if (rc == 0)
		human_finish(&report, &result);
	return rc < 0 ? rc : judge(image, &result, is_written);
}
