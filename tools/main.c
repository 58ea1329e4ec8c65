/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhdimg: the commands as a table, and what becomes of their results. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/cmd.h"
#include "tools/jobs.h"
#include "tools/out.h"
#include "tools/progress.h"
#include "tools/say.h"
#include "tools/status.h"
#include "tools/totals.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct cli_command commands[] = {
	{
		.name = "info", .arguments = "IMAGE...", .is_each = true, .run = cmd_info,
		.summary = "Tells what an image is, and whether it is in use",
		.min_args = 1,
		.options = CLI_BIT(CLI_OUTPUT) | CLI_BIT(CLI_FORCE_SHARE) | CLI_BIT(CLI_NO_LOCK) |
			   CLI_BIT(CLI_NO_SANDBOX),
	}, {
		.name = "map", .arguments = "IMAGE...", .is_each = true, .run = cmd_map,
		.summary = "Lists the extents of the disk, and draws them",
		.min_args = 1,
		.options = CLI_BIT(CLI_OUTPUT_DRAWN) | CLI_BIT(CLI_BY) | CLI_BIT(CLI_FORCE_SHARE) |
			   CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "check", .arguments = "IMAGE...", .is_each = true, .run = cmd_check,
		.summary = "Checks the structure, and mends it when told to",
		.min_args = 1,
		.options = CLI_BIT(CLI_REPAIR) | CLI_BIT(CLI_FOR) | CLI_BIT(CLI_OUTPUT) |
			   CLI_BIT(CLI_FORCE_SHARE) | CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "create", .arguments = "IMAGE [SIZE]", .run = cmd_create,
		.summary = "Makes an empty image, or a child of one",
		.min_args = 1, .max_args = 2, .is_creation = true,
		.options = CLI_BIT(CLI_TYPE) | CLI_BIT(CLI_BLOCK_SIZE) | CLI_BIT(CLI_PARENT) |
			   CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "zero", .arguments = "IMAGE...", .is_each = true, .run = cmd_zero,
		.summary = "Makes what filesystems have free read as zeros",
		.min_args = 1,
		.options = CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_PROGRESS) | CLI_BIT(CLI_ONLY) |
			   CLI_BIT(CLI_IGNORE) | CLI_BIT(CLI_GAPS) | CLI_BIT(CLI_WRITE) |
			   CLI_BIT(CLI_SCRUB) | CLI_BIT(CLI_NO_SANDBOX) | CLI_BIT(CLI_FORCE) |
			   CLI_BIT(CLI_OUTPUT) | CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "compact", .arguments = "IMAGE...", .is_each = true, .run = cmd_compact,
		.summary = "Gives back every block that reads as zeros, in place",
		.min_args = 1,
		.options = CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_PROGRESS) | CLI_BIT(CLI_ALIGN) |
			   CLI_BIT(CLI_NO_HOLES) | CLI_BIT(CLI_MAX_TIME) | CLI_BIT(CLI_MIN_GAIN) |
			   CLI_BIT(CLI_OUTPUT_FILE) | CLI_BIT(CLI_OUTPUT) | CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "shrink", .arguments = "IMAGE...", .is_each = true, .run = cmd_shrink,
		.summary = "Zeroes what is free inside, and compacts",
		.min_args = 1,
		.options = CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_PROGRESS) | CLI_BIT(CLI_ONLY) |
			   CLI_BIT(CLI_IGNORE) | CLI_BIT(CLI_GAPS) | CLI_BIT(CLI_WRITE) |
			   CLI_BIT(CLI_SCRUB) | CLI_BIT(CLI_NO_SANDBOX) | CLI_BIT(CLI_FORCE) |
			   CLI_BIT(CLI_ALIGN) | CLI_BIT(CLI_NO_HOLES) | CLI_BIT(CLI_MAX_TIME) |
			   CLI_BIT(CLI_MIN_GAIN) | CLI_BIT(CLI_OUTPUT_FILE) |
			   CLI_BIT(CLI_OUTPUT) | CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "commit", .arguments = "CHILD", .run = cmd_commit,
		.summary = "Merges a child into its parent",
		.min_args = 1, .max_args = 1,
		.options = CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_PROGRESS) | CLI_BIT(CLI_INTO) |
			   CLI_BIT(CLI_KEEP_ID) | CLI_BIT(CLI_REMOVE) | CLI_BIT(CLI_FORCE) |
			   CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "rebase", .arguments = "CHILD", .run = cmd_rebase,
		.summary = "Makes a child say where its parent is now",
		.min_args = 1, .max_args = 1,
		.options = CLI_BIT(CLI_PARENT) | CLI_BIT(CLI_UNCHECKED) | CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "snapshot", .arguments = "IMAGE [PARENT]", .run = cmd_snapshot,
		.summary = "Keeps the disk as it is; a child takes its place",
		.min_args = 1, .max_args = 2, .is_creation = true,
		.options = CLI_BIT(CLI_FORCE) | CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "convert", .arguments = "IN OUT", .run = cmd_convert,
		.summary = "Makes a raw, dynamic or fixed disk of another",
		.min_args = 2, .max_args = 2,
		.options = CLI_BIT(CLI_TYPE_OR_RAW) | CLI_BIT(CLI_ALIGN_SIZE) |
			   CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_PROGRESS) | CLI_BIT(CLI_NO_HOLES) |
			   CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "resize", .arguments = "IMAGE SIZE", .run = cmd_resize,
		.summary = "Makes the disk larger, or cuts it",
		.min_args = 2, .max_args = 2,
		.options = CLI_BIT(CLI_DRY_RUN) | CLI_BIT(CLI_FORCE) | CLI_BIT(CLI_NO_SANDBOX) |
			   CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "compare", .arguments = "A B", .run = cmd_compare,
		.summary = "Tells whether two disks have the same contents",
		.min_args = 2, .max_args = 2,
		.options = CLI_BIT(CLI_OUTPUT) | CLI_BIT(CLI_PROGRESS) | CLI_BIT(CLI_FORCE_SHARE) |
			   CLI_BIT(CLI_NO_LOCK),
	}, {
		.name = "umount", .arguments = "MOUNTPOINT", .run = cmd_umount,
		.summary = "Unmounts, and waits until the image is closed",
		.min_args = 1, .max_args = 1,
	}, {
		.name = "umount.fuse.vhdfuse", .arguments = "MOUNTPOINT", .run = cmd_umount,
		.summary = "What umount(8) calls for a mount of vhdfuse; see vhdimg umount",
		.min_args = 1, .max_args = 1, .is_hidden = true,
		.options = CLI_BIT(CLI_UMOUNT_FORCE) | CLI_BIT(CLI_UMOUNT_LAZY) |
			   CLI_BIT(CLI_UMOUNT_NO_MTAB) | CLI_BIT(CLI_UMOUNT_READONLY) |
			   CLI_BIT(CLI_UMOUNT_VERBOSE) | CLI_BIT(CLI_UMOUNT_NAMESPACE) |
			   CLI_BIT(CLI_UMOUNT_TYPE),
	},
};

int cmd_fail(struct vhd_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	err->code = code;
	return code;
}

int cmd_said(int code, const struct vhd_err *err)
{
	say("%s", err->msg[0] ? err->msg : strerror(-code));
	return code;
}

void cmd_warn(void *arg, const char *sentence)
{
	const struct cli *cli = arg;

	if (!cli_has(cli, CLI_QUIET))
		say("%s", sentence);
}

int cmd_open(vhd_image **img, struct cli *cli, const char *image, bool force_share,
	     struct vhd_err *err)
{
	struct vhd_open_opts opts = {
		.is_readonly = true,
		.no_lock = cli_has(cli, CLI_NO_LOCK),
		.force_share = force_share,
		.warn = cmd_warn,
		.warn_arg = cli,
	};

	return vhd_open(img, image, &opts, err);
}

static void note_child(void *arg, const char *path)
{
	char **first = arg;

	if (!*first)
		*first = strdup(path);
}

int cmd_first_child(vhd_image *img, char **child, struct vhd_err *err)
{
	*child = NULL;
	return vhd_find_children(img, note_child, child, err);
}

void cmd_hold_signals(sigset_t *before)
{
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, before);
}

static enum status serve(struct cli *cli, const char *arg)
{
	struct vhd_err err = { 0 };
	int rc = cli->command->run(cli, arg, &err);

	if (rc >= 0)
		return rc;
	if (err.msg[0])
		say("%s", err.msg);
	else
		say("%s: %s", arg, strerror(-rc));
	return status_of(rc, cli->command->is_creation);
}

static int serve_in_turn(struct cli *cli)
{
	enum status status = STATUS_DONE;

	for (int i = 0; i < cli->argc; i++) {
		enum status one = serve(cli, cli->argv[i]);

		totals_count(cli, one);
		status = status_worst(status, one);
		if (progress_status())
			return progress_status();
	}
	return status;
}

static int serve_each(struct cli *cli)
{
	unsigned at_once;
	int status = jobs_parse(cli, &at_once);

	if (status >= 0)
		return status;
	out_begin(cli);
	totals_begin(cli);
	status = at_once > 1 && cli->argc > 1 ? jobs_serve(cli, at_once, serve) :
						serve_in_turn(cli);
	out_end(cli);
	totals_end(cli);
	return status;
}

static int run(const struct cli_command *command, int argc, char **argv)
{
	struct cli cli;
	int status = cli_parse(&cli, command, argc, argv);

	if (status >= 0)
		return status;
	return command->is_each ? serve_each(&cli) : (int)serve(&cli, cli.argv[0]);
}

static const struct cli_command *find(const char *name, bool is_hidden)
{
	for (size_t i = 0; i < COUNT(commands); i++) {
		if (commands[i].is_hidden == is_hidden && strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int dispatch(int argc, char **argv)
{
	const struct cli_command *command;
	const char *program = argc ? basename(argv[0]) : "vhdimg";

	command = find(program, true);
	if (command)
		return run(command, argc - 1, argv + 1);
	if (argc < 2)
		return cli_usage(NULL, "no command given");
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
		cli_help(commands, COUNT(commands));
		return STATUS_DONE;
	}
	if (strcmp(argv[1], "-V") == 0 || strcmp(argv[1], "--version") == 0) {
		cli_version();
		return STATUS_DONE;
	}
	command = find(argv[1], false);
	if (!command)
		return cli_usage(NULL, "unknown %s '%s'",
				 argv[1][0] == '-' ? "option" : "command", argv[1]);
	return run(command, argc - 2, argv + 2);
}

/*
 * Descriptors 0 to 2 must be taken: an image opened as number 1 would get our output. What stands
 * in cannot be written to, so that the output is missed and said to be.
 */
static void take_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static bool is_output_whole(void)
{
	bool has_error = ferror(stdout);

	return fclose(stdout) == 0 && !has_error;
}

int main(int argc, char **argv)
{
	int status;

	take_descriptors();
	status = dispatch(argc, argv);
	if (!is_output_whole()) {
		say("cannot write to standard output");
		status = status_worst(status, STATUS_IO);
	}
	return status;
}
