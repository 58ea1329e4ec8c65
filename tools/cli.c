/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parsing a command line by the tables.
 *
 * Not getopt_long: it takes abbreviations, and a script that wrote --force would come to mean
 * --force-share on a command that has only the latter.
 */
#include "tools/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "tools/say.h"
#include "vhd/units.h"

enum arg {
	ARG_NONE,
	ARG_REQUIRED,		/* --name=VALUE, --name VALUE, -xVALUE, -x VALUE */
	ARG_OPTIONAL,		/* --name, --name=VALUE */
};

struct option {
	char letter;		/* 0: none */
	const char *name;	/* NULL: none */
	enum arg arg;
	const char *value;	/* as help shows it */
	bool is_choice;		/* value lists all there are, with | between */
	const char *help;
};

static const struct option options[CLI_OPTIONS] = {
	[CLI_HELP] = { 'h', "help", ARG_NONE, NULL, false, "print this and exit" },
	[CLI_VERSION] = { 'V', "version", ARG_NONE, NULL, false, "print the version and exit" },
	[CLI_QUIET] = { 'q', "quiet", ARG_NONE, NULL, false, "print errors only" },
	[CLI_DRY_RUN] = { 'n', "dry-run", ARG_NONE, NULL, false,
			  "change nothing, and tell what would be done" },
	[CLI_PROGRESS] = { 'p', "progress", ARG_NONE, NULL, false,
			   "show how far it is; on by itself on a terminal" },
	[CLI_ONLY] = { 0, "only", ARG_REQUIRED, "LIST", false,
		       "these partition numbers and filesystems alone" },
	[CLI_IGNORE] = { 0, "ignore", ARG_REQUIRED, "LIST", false, "all but these" },
	[CLI_GAPS] = { 0, "gaps", ARG_NONE, NULL, false, "also the room between partitions" },
	[CLI_WRITE] = { 0, "write", ARG_NONE, NULL, false,
			"write zeros instead of making holes in the file" },
	[CLI_SCRUB] = { 0, "scrub", ARG_NONE, NULL, false,
			"overwrite the old contents in the file, too" },
	[CLI_NO_SANDBOX] = { 0, "no-sandbox", ARG_NONE, NULL, false,
			     "look into filesystems also without a sandbox" },
	[CLI_FORCE] = { 0, "force", ARG_NONE, NULL, false,
			"also an image that others have for their parent" },
	[CLI_ALIGN] = { 0, "align", ARG_NONE, NULL, false,
			"lay the blocks anew, their data on 4 KiB" },
	[CLI_NO_HOLES] = { 0, "no-holes", ARG_NONE, NULL, false,
			   "no holes, for hosts that refuse sparse files" },
	[CLI_MAX_TIME] = { 0, "max-time", ARG_REQUIRED, "SECONDS", false,
			   "stop after so long, and keep what was gained" },
	[CLI_MIN_GAIN] = { 0, "min-gain", ARG_REQUIRED, "PERCENT", false,
			   "leave alone what would lose less than this" },
	[CLI_OUTPUT_FILE] = { 0, "output-file", ARG_REQUIRED, "OUT", false,
			      "write a compacted copy instead, to a new file" },
	[CLI_OUTPUT] = { 0, "output", ARG_REQUIRED, "human|json", true,
			 "for people (the default) or for programs" },
	[CLI_OUTPUT_DRAWN] = { 0, "output", ARG_REQUIRED, "human|json|svg|drawing", true,
			       "for people (default), programs, or drawn" },
	[CLI_BY] = { 0, "by", ARG_REQUIRED, "file|disk", true,
		     "draw by place in the file (default) or the disk" },
	[CLI_FORCE_SHARE] = { 'U', "force-share", ARG_NONE, NULL, false,
			      "read an image that another program holds" },
	[CLI_NO_LOCK] = { 0, "no-lock", ARG_NONE, NULL, false,
			  "go on where the host's filesystem has no locks" },
	[CLI_REPAIR] = { 0, "repair", ARG_OPTIONAL, "lossy", true,
			 "mend it; lossy: give up what is lost, too" },
	[CLI_FOR] = { 0, "for", ARG_REQUIRED, "PROGRAM,...", false,
		      "windows, azure, xen, virtualbox, qemu: take this?" },
	[CLI_TYPE] = { 0, "type", ARG_REQUIRED, "dynamic|fixed", true,
		       "what to make; dynamic unless told" },
	[CLI_TYPE_OR_RAW] = { 0, "type", ARG_REQUIRED, "dynamic|fixed|raw", true,
			      "what to make; raw where OUT's name says so" },
	[CLI_ALIGN_SIZE] = { 0, "align-size", ARG_REQUIRED, "SIZE", false,
			     "make the disk a multiple of this: 1M for Azure" },
	[CLI_BLOCK_SIZE] = { 0, "block-size", ARG_REQUIRED, "SIZE", false,
			     "bytes of a block, a power of two; 2M unless told" },
	[CLI_PARENT] = { 0, "parent", ARG_REQUIRED, "IMAGE", false,
			 "the parent of the differencing image" },
	[CLI_UNCHECKED] = { 'u', NULL, ARG_NONE, NULL, false,
			    "do not look whether it is the same parent" },
	[CLI_INTO] = { 0, "into", ARG_REQUIRED, "OUT", false,
		       "write all of the chain to a new image instead" },
	[CLI_KEEP_ID] = { 0, "keep-id", ARG_NONE, NULL, false,
			  "the parent keeps its id, for its other children" },
	[CLI_REMOVE] = { 0, "remove", ARG_NONE, NULL, false,
			 "remove the child when all of it is in the parent" },
	[CLI_JOBS] = { 'j', NULL, ARG_REQUIRED, "N", false, "serve so many images at once" },
	[CLI_UMOUNT_FORCE] = { 'f', NULL, ARG_NONE, NULL, false,
			       "abort what the daemon has not answered" },
	[CLI_UMOUNT_LAZY] = { 'l', NULL, ARG_NONE, NULL, false,
			      "detach now, and do not wait for the daemon" },
	[CLI_UMOUNT_NO_MTAB] = { 'n', NULL, ARG_NONE, NULL, false, "accepted, no effect" },
	[CLI_UMOUNT_READONLY] = { 'r', NULL, ARG_NONE, NULL, false, "accepted, no effect" },
	[CLI_UMOUNT_VERBOSE] = { 'v', NULL, ARG_NONE, NULL, false, "say what was done" },
	[CLI_UMOUNT_NAMESPACE] = { 'N', NULL, ARG_REQUIRED, "FILE", false,
				   "unmount in that mount namespace" },
	[CLI_UMOUNT_TYPE] = { 't', NULL, ARG_REQUIRED, "TYPE", false, "accepted, no effect" },
};

static bool is_output(const struct cli *cli, const char *word)
{
	bool is_drawn = cli_has(cli, CLI_OUTPUT_DRAWN);

	return (is_drawn || cli_has(cli, CLI_OUTPUT)) &&
	       strcmp(cli->value[is_drawn ? CLI_OUTPUT_DRAWN : CLI_OUTPUT], word) == 0;
}

bool cli_is_json(const struct cli *cli)
{
	return is_output(cli, "json");
}

bool cli_is_svg(const struct cli *cli)
{
	return is_output(cli, "svg");
}

bool cli_is_drawing(const struct cli *cli)
{
	return is_output(cli, "drawing");
}

int cli_usage(const struct cli_command *command, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("%s", text);
	fprintf(stderr, "Try '%s%s%s --help'.\n", command && command->is_hidden ? "" : "vhdimg",
		command && !command->is_hidden ? " " : "", command ? command->name : "");
	return STATUS_USAGE;
}

void cli_version(void)
{
	puts("vhdimg " PACKAGE_VERSION);
}

/* Whoever takes several images takes several at once. */
static bool is_of(const struct cli_command *command, int id)
{
	return (command->options | CLI_COMMON) & CLI_BIT(id) ||
	       (id == CLI_JOBS && command->is_each);
}

static void help_option(const struct option *option)
{
	char left[64] = "      ";
	char letter[8] = "";

	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c", option->letter);
	if (!option->name)
		snprintf(left, sizeof(left), "  %s%s%s", letter, option->value ? " " : "",
			 option->value ? option->value : "");
	else
		snprintf(left, sizeof(left), "  %2s%s --%s%s%s%s", letter,
			 *letter ? "," : " ", option->name,
			 option->arg == ARG_OPTIONAL ? "[=" : option->value ? "=" : "",
			 option->value ? option->value : "",
			 option->arg == ARG_OPTIONAL ? "]" : "");
	printf("%-29s %s\n", left, option->help);
}

static void help_command(const struct cli_command *command)
{
	printf("Usage: %s%s [OPTION...] %s\n%s.\n\n", command->is_hidden ? "" : "vhdimg ",
	       command->name, command->arguments, command->summary);
	for (int id = 0; id < CLI_OPTIONS; id++) {
		if (is_of(command, id))
			help_option(&options[id]);
	}
}

void cli_help(const struct cli_command *commands, size_t count)
{
	puts("Usage: vhdimg COMMAND [OPTION...] ARGUMENT...\n"
	     "Looks at and makes virtual hard disk images (VHD) that are not mounted.\n");
	for (size_t i = 0; i < count; i++) {
		if (!commands[i].is_hidden)
			printf("  %-8s %-16s %s\n", commands[i].name, commands[i].arguments,
			       commands[i].summary);
	}
	puts("\nSizes are bytes, or K M G T in powers of 1024.\n"
	     "'vhdimg COMMAND --help' tells the options of a command, vhdimg(1) the rest.");
}

/* Whether value is one of the words of choices, which have | between them. */
static bool is_choice(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (const char *word = choices; *word; word += strcspn(word, "|"), word += *word == '|') {
		if (strcspn(word, "|") == len && strncmp(word, value, len) == 0)
			return true;
	}
	return false;
}

static int store(struct cli *cli, enum cli_option id, const char *value)
{
	const struct option *option = &options[id];

	if (value && option->is_choice && !is_choice(option->value, value))
		return cli_usage(cli->command, "--%s=%s: it is one of %s", option->name, value,
				 option->value);
	cli->given |= CLI_BIT(id);
	cli->value[id] = value;
	return -1;
}

/* text is what follows "--"; *next is the argument after it, taken by moving *next on. */
static int parse_long(struct cli *cli, const char *text, char ***next, char **end)
{
	size_t len = strcspn(text, "=");
	const char *value = text[len] ? text + len + 1 : NULL;

	for (int id = 0; id < CLI_OPTIONS; id++) {
		const struct option *option = &options[id];

		if (!is_of(cli->command, id) || !option->name || strlen(option->name) != len ||
		    strncmp(option->name, text, len) != 0)
			continue;
		if (value && option->arg == ARG_NONE)
			return cli_usage(cli->command, "--%s takes no value", option->name);
		if (!value && option->arg == ARG_REQUIRED && *next < end)
			value = *(*next)++;
		if (!value && option->arg == ARG_REQUIRED)
			return cli_usage(cli->command, "--%s wants a value", option->name);
		return store(cli, id, value);
	}
	return cli_usage(cli->command, "unknown option --%.*s", (int)len, text);
}

/* letters is what follows "-": one letter or several, the last of them perhaps with its value. */
static int parse_letters(struct cli *cli, const char *letters, char ***next, char **end)
{
	while (*letters) {
		const char *value = NULL;
		char letter = *letters++;
		int id = 0, rc;

		while (id < CLI_OPTIONS &&
		       !(is_of(cli->command, id) && options[id].letter == letter))
			id++;
		if (id == CLI_OPTIONS)
			return cli_usage(cli->command, "unknown option -%c", letter);
		if (options[id].arg == ARG_REQUIRED) {
			value = *letters ? letters : *next < end ? *(*next)++ : NULL;
			if (!value)
				return cli_usage(cli->command, "-%c wants a value", letter);
			letters = "";
		}
		rc = store(cli, id, value);
		if (rc >= 0)
			return rc;
	}
	return -1;
}

int cli_parse_size(const struct cli *cli, const char *text, uint64_t *size)
{
	int rc = units_parse(text, size);

	if (rc == -ERANGE)
		return cli_usage(cli->command, "'%s' is too large a size", text);
	if (rc < 0)
		return cli_usage(cli->command, "'%s' is no size: bytes, or K M G T", text);
	return 0;
}

int cli_parse_number(const struct cli *cli, enum cli_option option, unsigned max,
		     unsigned *number)
{
	const char *text = cli->value[option], *name = options[option].name;
	unsigned long value;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9' || !value || value > max)
		return name ? cli_usage(cli->command, "--%s=%s: it is a number from 1 to %u", name,
					text, max) :
			      cli_usage(cli->command, "-%c %s: it is a number from 1 to %u",
					options[option].letter, text, max);
	*number = (unsigned)value;
	return 0;
}

static int check_count(const struct cli *cli)
{
	const struct cli_command *command = cli->command;

	if (cli->argc < command->min_args)
		return cli_usage(command, "%s wants %s", command->name, command->arguments);
	if (command->max_args && cli->argc > command->max_args)
		return cli_usage(command, "'%s' is one argument too many",
				 cli->argv[command->max_args]);
	return -1;
}

int cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv)
{
	char **next = argv, **end = argv + argc;
	bool is_options = true;
	int rc = -1;

	*cli = (struct cli){ .command = command, .argv = argv };
	while (next < end && rc < 0) {
		char *arg = *next++;

		if (!is_options || arg[0] != '-' || !arg[1])
			argv[cli->argc++] = arg;
		else if (strcmp(arg, "--") == 0)
			is_options = false;
		else if (arg[1] == '-')
			rc = parse_long(cli, arg + 2, &next, end);
		else
			rc = parse_letters(cli, arg + 1, &next, end);
	}
	if (rc >= 0)
		return rc;
	if (cli_has(cli, CLI_HELP)) {
		help_command(command);
		return STATUS_DONE;
	}
	if (cli_has(cli, CLI_VERSION)) {
		cli_version();
		return STATUS_DONE;
	}
	return check_count(cli);
}
