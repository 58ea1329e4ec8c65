/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg check: the structure of an image and its parents, mended when told to. Problems are
 * printed as they are found, so that a hostile image with a million of them costs no memory. And
 * whether other programs would take it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/out.h"
#include "tools/say.h"

#define PROGRAMS_MAX 8

static const struct {
	const char *name;
	enum vhd_program program;
} programs[PROGRAMS_MAX] = {
	{ "windows", VHD_FOR_WINDOWS }, { "azure", VHD_FOR_AZURE }, { "xen", VHD_FOR_XEN },
	{ "virtualbox", VHD_FOR_VIRTUALBOX }, { "qemu", VHD_FOR_QEMU },
};

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

static void json_finish(struct report *report, const struct vhd_check_result *result,
			const json_t *verdicts)
{
	json_begin(report);
	printf("%s],\n    \"errors\": %" PRIu64 ",\n    \"leaks\": %" PRIu64
	       ",\n    \"repaired\": %" PRIu64 ",\n    \"parents\": %u",
	       report->count ? "\n    " : "", result->errors, result->leaks, result->repaired,
	       result->parents);
	if (verdicts) {
		fputs(",\n    \"for\": ", stdout);
		json_dumpf(verdicts, stdout, 0);
	}
	fputs("\n}", stdout);
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

static void note_reason(void *arg, const char *why)
{
	json_array_append_new(arg, json_string(why));
}

/* What the programs in the list would say: an array, NULL when out of memory. */
static json_t *ask(vhd_image *img, const bool is_asked[])
{
	json_t *verdicts = json_array();

	for (int i = 0; programs[i].name; i++) {
		json_t *reasons;
		int count;

		if (!is_asked[i])
			continue;
		reasons = json_array();
		count = vhd_accepts(img, programs[i].program, note_reason, reasons);
		json_array_append_new(verdicts, json_pack("{s:s, s:b, s:o}", "program",
							  programs[i].name, "takes", !count,
							  "reasons", reasons));
	}
	return verdicts;
}

/* -1, or STATUS_USAGE, said. */
static int read_programs(const struct cli *cli, bool is_asked[])
{
	const char *list = cli->value[CLI_FOR];

	while (list && *list) {
		size_t len = strcspn(list, ",");
		int i = 0;

		while (programs[i].name && (strlen(programs[i].name) != len ||
					    strncmp(programs[i].name, list, len)))
			i++;
		if (!programs[i].name)
			return cli_usage(cli->command, "--for=%.*s: it is one of windows, azure, "
					 "xen, virtualbox, qemu", (int)len, list);
		is_asked[i] = true;
		list += len + (list[len] == ',');
	}
	return -1;
}

/* An image that cannot be opened to be read is not asked about: what is wrong with it was said. */
static json_t *verdicts_of(struct cli *cli, const char *image, const bool is_asked[])
{
	struct vhd_err err;
	json_t *verdicts;
	vhd_image *img;

	if (!cli_has(cli, CLI_FOR) ||
	    cmd_open(&img, cli, image, cli_has(cli, CLI_FORCE_SHARE), &err))
		return NULL;
	verdicts = ask(img, is_asked);
	vhd_close(img, NULL);
	return verdicts;
}

static void print_verdicts(const struct cli *cli, const char *image, const json_t *verdicts)
{
	size_t i, k;
	json_t *verdict, *why;

	json_array_foreach(verdicts, i, verdict) {
		const char *program = json_string_value(json_object_get(verdict, "program"));

		if (json_is_true(json_object_get(verdict, "takes"))) {
			if (!cli_has(cli, CLI_QUIET)) {
				say_clean(stdout, image);
				printf(": %s takes it\n", program);
			}
			continue;
		}
		json_array_foreach(json_object_get(verdict, "reasons"), k, why) {
			say_clean(stdout, image);
			printf(": %s does not take it: ", program);
			say_clean(stdout, json_string_value(why));
			putchar('\n');
		}
	}
}

static bool is_taken_by_all(const json_t *verdicts)
{
	size_t i;
	json_t *verdict;

	json_array_foreach(verdicts, i, verdict)
		if (!json_is_true(json_object_get(verdict, "takes")))
			return false;
	return true;
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
	bool is_written = false, is_asked[PROGRAMS_MAX] = { false };
	json_t *verdicts = NULL;
	int rc;

	rc = read_programs(cli, is_asked);
	if (rc >= 0)
		return rc;
	if (opts.repair && cli_has(cli, CLI_FORCE_SHARE))
		return cli_usage(cli->command, "--repair and --force-share exclude each other");
	rc = check(&opts, cli, image, &result, &is_written, err);
	if (rc == 0)
		verdicts = verdicts_of(cli, image, is_asked);
	if (cli_is_json(cli) && (rc == 0 || report.is_begun)) {
		json_finish(&report, &result, verdicts);
	} else if (rc == 0) {
		human_finish(&report, &result);
		print_verdicts(cli, image, verdicts);
	}
	if (rc == 0)
		rc = judge(image, &result, is_written);
	if (!rc && !is_taken_by_all(verdicts))
		rc = STATUS_WRONG_TYPE;
	json_decref(verdicts);
	return rc;
}
