/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line as data: one table of options, one of commands, so that parsing, help and
 * errors cannot disagree.
 */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/status.h"
#include "vhd/vhd.h"

enum cli_option {
	CLI_DRY_RUN,
	CLI_PROGRESS,
	CLI_REPAIR,
	CLI_FOR,
	CLI_ONLY,
	CLI_IGNORE,
	CLI_GAPS,
	CLI_WRITE,
	CLI_SCRUB,
	CLI_NO_SANDBOX,
	CLI_FORCE,
	CLI_ALIGN,
	CLI_NO_HOLES,
	CLI_MAX_TIME,
	CLI_MIN_GAIN,
	CLI_OUTPUT_FILE,
	CLI_TYPE,
	CLI_TYPE_OR_RAW,	/* the same option of a command that also makes raw disks */
	CLI_ALIGN_SIZE,
	CLI_BLOCK_SIZE,
	CLI_PARENT,
	CLI_UNCHECKED,
	CLI_INTO,
	CLI_KEEP_ID,
	CLI_REMOVE,
	CLI_OUTPUT,
	CLI_OUTPUT_DRAWN,	/* the same option of a command that also draws */
	CLI_BY,
	CLI_FORCE_SHARE,
	CLI_NO_LOCK,
	/* what umount(8) passes to a helper */
	CLI_UMOUNT_FORCE,
	CLI_UMOUNT_LAZY,
	CLI_UMOUNT_NO_MTAB,
	CLI_UMOUNT_READONLY,
	CLI_UMOUNT_VERBOSE,
	CLI_UMOUNT_NAMESPACE,
	CLI_UMOUNT_TYPE,
	CLI_JOBS,
	/* every command's */
	CLI_QUIET,
	CLI_VERSION,
	CLI_HELP,
	CLI_OPTIONS
};

#define CLI_BIT(option) (1ull << (option))
#define CLI_COMMON (CLI_BIT(CLI_HELP) | CLI_BIT(CLI_VERSION) | CLI_BIT(CLI_QUIET))

struct cli;
struct totals;

/*
 * Serves argument arg of the command line: for commands with is_each once for every argument, else
 * once with the first. Returns an exit status, or a negative errno with err filled.
 */
typedef int (*cli_run_fn)(struct cli *cli, const char *arg, struct vhd_err *err);

struct cli_command {
	const char *name;
	const char *arguments;	/* as in "IMAGE..." */
	const char *summary;	/* one line */
	uint64_t options;	/* CLI_BITs beside CLI_COMMON */
	int min_args, max_args;	/* max_args 0: any number */
	bool is_each;
	bool is_creation;	/* errors are those of making a file */
	bool is_hidden;		/* not a command to type: reached by the program's name */
	cli_run_fn run;
};

struct cli {
	const struct cli_command *command;
	uint64_t given;			/* CLI_BITs */
	const char *value[CLI_OPTIONS];	/* NULL where none was given */
	int argc;
	char **argv;			/* what is no option, in order */
	size_t items;			/* of JSON written so far */
	bool is_parallel;		/* others are served at the same time: see jobs.c */
	struct totals *totals;		/* of all that was gained; or NULL */
};

static inline bool cli_has(const struct cli *cli, enum cli_option option)
{
	return cli->given & CLI_BIT(option);
}

/* What --output asks for. */
bool cli_is_json(const struct cli *cli);
bool cli_is_svg(const struct cli *cli);
bool cli_is_drawing(const struct cli *cli);

/*
 * Fills cli from the arguments after the command's name (argv is reordered in place). -1 to go on,
 * or the exit status when all is said: help, version, wrong usage.
 */
int cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv);

/* What the user wrote as a size, in bytes. 0 or STATUS_USAGE, said. */
int cli_parse_size(const struct cli *cli, const char *text, uint64_t *size);
/* What was given as the option's number, from 1 to max; *number stays if nothing was. 0 or
 * STATUS_USAGE, said. */
int cli_parse_number(const struct cli *cli, enum cli_option option, unsigned max,
		     unsigned *number);

/* Says one line of wrong usage and where help is. Returns STATUS_USAGE. */
int cli_usage(const struct cli_command *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

void cli_version(void);
/* The page for the whole program. */
void cli_help(const struct cli_command *commands, size_t count);

#endif
