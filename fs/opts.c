/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: what is ours, what is libfuse's, what an fstab line carries along. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "fs/explain.h"
#include "fs/opts.h"
#include "fs/say.h"

enum key {
	KEY_READONLY,
	KEY_PARENT,
	KEY_COW,
	KEY_SNAPSHOT,
	KEY_DISCARD,
	KEY_NODISCARD,
	KEY_PARTITIONS,
	KEY_COMPACT,
	KEY_WRITEBACK,
	KEY_DETECT_ZEROES,
	KEY_COMMIT,
	KEY_TERM_TIMEOUT,
	KEY_NO_LOCK,
	KEY_UID,
	KEY_GID,
	KEY_UMASK,
	KEY_FSNAME,
	KEY_PASS,		/* libfuse's */
	KEY_IGNORE,		/* an fstab line's */
	KEY_FOREGROUND,
	KEY_DEBUG,
	KEY_SINGLE,
	KEY_HELP,
	KEY_VERSION,
};

/* A template ending in '=' takes a value, one ending in '*' any rest. */
static const struct {
	const char *template;
	enum key key;
} option_table[] = {
	{ "ro", KEY_READONLY },
	{ "parent=", KEY_PARENT },
	{ "cow=", KEY_COW },
	{ "snapshot", KEY_SNAPSHOT },
	{ "discard", KEY_DISCARD },
	{ "nodiscard", KEY_NODISCARD },
	{ "partitions", KEY_PARTITIONS },
	{ "compact", KEY_COMPACT },
	{ "writeback", KEY_WRITEBACK },
	{ "detect_zeroes=", KEY_DETECT_ZEROES },
	{ "commit=", KEY_COMMIT },
	{ "term_timeout=", KEY_TERM_TIMEOUT },
	{ "no-lock", KEY_NO_LOCK },
	{ "uid=", KEY_UID },
	{ "gid=", KEY_GID },
	{ "umask=", KEY_UMASK },
	{ "fsname=", KEY_FSNAME },

	{ "allow_other", KEY_PASS },
	{ "allow_root", KEY_PASS },
	{ "auto_unmount", KEY_PASS },
	{ "rw", KEY_PASS },
	{ "sync", KEY_PASS },
	{ "async", KEY_PASS },
	{ "dirsync", KEY_PASS },
	{ "noatime", KEY_PASS },
	{ "nodiratime", KEY_PASS },
	{ "exec", KEY_PASS },
	{ "noexec", KEY_PASS },
	{ "suid", KEY_PASS },
	{ "nosuid", KEY_PASS },
	{ "dev", KEY_PASS },
	{ "nodev", KEY_PASS },

	/* What the kernel does anyway: libfuse 3.14 takes some of them for unknown. */
	{ "atime", KEY_IGNORE },
	{ "diratime", KEY_IGNORE },
	{ "relatime", KEY_IGNORE },
	{ "norelatime", KEY_IGNORE },
	{ "strictatime", KEY_IGNORE },
	{ "nostrictatime", KEY_IGNORE },
	{ "lazytime", KEY_IGNORE },
	{ "nolazytime", KEY_IGNORE },
	/* The files' modes are kept to whether it is said or not: see session.c. */
	{ "default_permissions", KEY_IGNORE },

	{ "defaults", KEY_IGNORE },
	{ "auto", KEY_IGNORE },
	{ "noauto", KEY_IGNORE },
	{ "nofail", KEY_IGNORE },
	{ "user", KEY_IGNORE },
	{ "user=", KEY_IGNORE },
	{ "nouser", KEY_IGNORE },
	{ "users", KEY_IGNORE },
	{ "_netdev", KEY_IGNORE },
	{ "comment=", KEY_IGNORE },
	{ "x-*", KEY_IGNORE },
	{ "X-*", KEY_IGNORE },
};

static const struct fuse_opt switch_table[] = {
	FUSE_OPT_KEY("-f", KEY_FOREGROUND),
	FUSE_OPT_KEY("-d", KEY_DEBUG),
	FUSE_OPT_KEY("debug", KEY_DEBUG),
	FUSE_OPT_KEY("-s", KEY_SINGLE),
	FUSE_OPT_KEY("-r", KEY_READONLY),
	FUSE_OPT_KEY("-h", KEY_HELP),
	FUSE_OPT_KEY("--help", KEY_HELP),
	FUSE_OPT_KEY("-V", KEY_VERSION),
	FUSE_OPT_KEY("--version", KEY_VERSION),
	FUSE_OPT_END
};

static const char help[] =
	"Usage: vhdfuse IMAGE MOUNTPOINT [-o OPT,...]\n"
	"Mount the disk inside a VHD image as a raw file: MOUNTPOINT/disk.raw, or\n"
	"MOUNTPOINT itself where that is a regular file.\n"
	"\n"
	"  -o ro                   open the image read-only\n"
	"  -o partitions           a file for each partition and logical volume, too\n"
	"  -o parent=PATH          where the parent of a differencing image is now\n"
	"  -o cow=FILE             write to FILE, a differencing image, made if need be\n"
	"  -o snapshot             write to a scratch file that is gone after the unmount\n"
	"  -o discard, nodiscard   a hole releases blocks (default), or only zeroes\n"
	"  -o detect_zeroes=on|off zeros allocate nothing (default on)\n"
	"  -o compact              compact the image when it is unmounted\n"
	"  -o commit=SECONDS       publish so soon what nobody flushes (default 5)\n"
	"  -o writeback            small writes are faster, and published later\n"
	"  -o term_timeout=SECONDS after SIGTERM serve on so long who holds a file (10)\n"
	"  -o no-lock              go on where the host's filesystem has no locks\n"
	"  -o uid=, gid=, umask=   whose the files are, and their mode (umask in octal)\n"
	"  -o allow_other, allow_root, auto_unmount, fsname=, and the options of mount(8)\n"
	"  -f, -d                  stay in the foreground; -d shows every request\n"
	"  -r, -s                  the same as -o ro; serve with a single thread\n"
	"  -h, -V                  this help, the version\n"
	"\n"
	"Exit status: 0 mounted, 1 usage or permission, 2 system error, 32 the image.\n";

static int say_usage(const char *what, const char *arg)
{
	say("%s '%s'; vhdfuse -h tells what there is", what, arg);
	return -1;
}

static bool matches(const char *template, const char *arg)
{
	size_t len = strlen(template);

	if (template[len - 1] == '*')
		return !strncmp(template, arg, len - 1);
	if (template[len - 1] == '=')
		return !strncmp(template, arg, len);
	return !strcmp(template, arg);
}

/* The value in "name=value". */
static const char *value_of(const char *arg)
{
	const char *sign = strchr(arg, '=');

	return sign ? sign + 1 : "";
}

static int keep(char **to, const char *text)
{
	free(*to);
	if (asprintf(to, "%s", text) >= 0)
		return 0;
	*to = NULL;
	say("%s", strerror(ENOMEM));
	return -1;
}

/* As a number from min to max. */
static int parse_number(const char *arg, int base, unsigned long min, unsigned long max,
			unsigned long *value)
{
	const char *text = value_of(arg);
	char *end;

	errno = 0;
	*value = strtoul(text, &end, base);
	if (errno || end == text || *end || *text == '-' || *text == '+' || *value < min ||
	    *value > max)
		return say_usage("no such value in", arg);
	return 0;
}

static int parse_seconds(const char *arg, unsigned long min, unsigned *seconds)
{
	unsigned long value;
	int ret = parse_number(arg, 10, min, 86400, &value);

	if (!ret)
		*seconds = value;
	return ret;
}

/* uid=, gid=, umask= */
static int parse_owner(struct opts *opts, enum key key, const char *arg)
{
	unsigned long value;

	if (parse_number(arg, key == KEY_UMASK ? 8 : 10, 0,
			 key == KEY_UMASK ? 0777 : UINT_MAX - 1, &value))
		return -1;
	if (key == KEY_UID) {
		opts->uid = value;
		opts->has_uid = true;
	} else if (key == KEY_GID) {
		opts->gid = value;
		opts->has_gid = true;
	} else {
		opts->umask = value;
		opts->has_umask = true;
	}
	return 0;
}

static int parse_detect_zeroes(struct opts *opts, const char *arg)
{
	const char *value = value_of(arg);

	if (strcmp(value, "on") && strcmp(value, "off"))
		return say_usage("neither on nor off in", arg);
	opts->no_detect_zeroes = !strcmp(value, "off");
	return 0;
}

/* What fuse_opt_parse wants to hear: -1 wrong (and said), 0 dealt with, 1 leave it to libfuse. */
static int apply_option(struct opts *opts, enum key key, const char *arg)
{
	switch (key) {
	case KEY_READONLY:
		opts->is_readonly = true;
		return 0;
	case KEY_PARENT:
		return keep(&opts->parent, value_of(arg));
	case KEY_COW:
		return value_of(arg)[0] ? keep(&opts->cow, value_of(arg)) :
					  say_usage("no file is named in", arg);
	case KEY_SNAPSHOT:
		opts->is_snapshot = true;
		return 0;
	case KEY_DISCARD:
	case KEY_NODISCARD:
		opts->no_discard = key == KEY_NODISCARD;
		return 0;
	case KEY_PARTITIONS:
		opts->has_partitions = true;
		return 0;
	case KEY_COMPACT:
		opts->is_compacting = true;
		return 0;
	case KEY_WRITEBACK:
		opts->has_writeback = true;
		return 0;
	case KEY_DETECT_ZEROES:
		return parse_detect_zeroes(opts, arg);
	case KEY_COMMIT:
		return parse_seconds(arg, 1, &opts->commit_seconds);
	case KEY_TERM_TIMEOUT:
		return parse_seconds(arg, 0, &opts->term_timeout);
	case KEY_NO_LOCK:
		opts->no_lock = true;
		return 0;
	case KEY_UID:
	case KEY_GID:
	case KEY_UMASK:
		return parse_owner(opts, key, arg);
	case KEY_FSNAME:
		opts->has_fsname = true;
		return 1;
	case KEY_IGNORE:
		return 0;
	default:
		return 1;
	}
}

static int apply_switch(struct opts *opts, enum key key)
{
	switch (key) {
	case KEY_DEBUG:
		opts->is_debug = true;
		opts->is_foreground = true;
		return 0;
	case KEY_FOREGROUND:
		opts->is_foreground = true;
		return 0;
	case KEY_SINGLE:
		opts->is_single = true;
		return 0;
	case KEY_HELP:
		opts->is_help = true;
		return 0;
	case KEY_VERSION:
		opts->is_version = true;
		return 0;
	default:
		opts->is_readonly = true;	/* -r */
		return 0;
	}
}

static int apply_option_by_name(struct opts *opts, const char *arg)
{
	size_t i;

	for (i = 0; i < sizeof(option_table) / sizeof(option_table[0]); i++)
		if (matches(option_table[i].template, arg))
			return apply_option(opts, option_table[i].key, arg);
	return say_usage("unknown option", arg);
}

static int apply_word(struct opts *opts, const char *arg)
{
	char **word = opts->image ? &opts->mountpoint : &opts->image;

	if (*word)
		return say_usage("one argument too many:", arg);
	return keep(word, arg);
}

static int apply_arg(void *data, const char *arg, int key, struct fuse_args *out)
{
	struct opts *opts = data;

	(void)out;
	if (key == FUSE_OPT_KEY_NONOPT)
		return apply_word(opts, arg);
	if (key != FUSE_OPT_KEY_OPT)
		return apply_switch(opts, key);
	if (arg[0] == '-')
		return say_usage("unknown option", arg);
	return apply_option_by_name(opts, arg);
}

/* The daemon leaves the folder it was started in, so paths are made absolute where they exist. */
static void make_absolute(char **path)
{
	char *absolute = realpath(*path, NULL);

	if (absolute) {
		free(*path);
		*path = absolute;
	}
}

/* The same for a file that is to be made. */
static int make_folder_absolute(char **path)
{
	char *slash = strrchr(*path, '/'), *folder, *absolute = NULL;
	const char *name = slash ? slash + 1 : *path;

	make_absolute(path);
	if ((*path)[0] == '/')
		return 0;
	folder = slash ? strndup(*path, slash - *path) : strdup(".");
	if (!folder)
		return -1;
	make_absolute(&folder);
	if (asprintf(&absolute, "%s/%s", folder, name) < 0)
		absolute = NULL;
	free(folder);
	if (!absolute)
		return -1;
	free(*path);
	*path = absolute;
	return 0;
}

static int look_at_mountpoint(struct opts *opts)
{
	struct statx st;
	char why[PATH_MAX + 128];

	/* What the kernel remembers of a mount outlives its driver for a second. */
	if (statx(AT_FDCWD, opts->mountpoint, AT_STATX_FORCE_SYNC, STATX_TYPE, &st) < 0) {
		say("%s: cannot be mounted on %s: %s", opts->image, opts->mountpoint,
		    explain_mountpoint(errno, opts->mountpoint, why, sizeof(why)));
		return -1;
	}
	if (!S_ISDIR(st.stx_mode) && !S_ISREG(st.stx_mode)) {
		say("%s: cannot be mounted on %s: neither a directory nor a regular file",
		    opts->image, opts->mountpoint);
		return -1;
	}
	opts->mountpoint_is_file = S_ISREG(st.stx_mode);
	if (opts->mountpoint_is_file && (opts->has_partitions || opts->has_writeback)) {
		say("%s: cannot be mounted on %s: -o %s wants a directory", opts->image,
		    opts->mountpoint, opts->has_partitions ? "partitions" : "writeback");
		return -1;
	}
	make_absolute(&opts->mountpoint);
	return 0;
}

/* What the mount is called in the table of mounts: umount(8) finds its helper by the subtype. */
static int add_names(struct opts *opts)
{
	char *options = NULL;
	char *fsname = NULL;
	int ret = -1;

	if (fuse_opt_add_opt(&options, "subtype=vhdfuse") < 0)
		goto out;
	if (!opts->has_fsname && (asprintf(&fsname, "fsname=%s", opts->image) < 0 ||
				  fuse_opt_add_opt_escaped(&options, fsname) < 0))
		goto out;
	if (fuse_opt_add_arg(&opts->fuse, "-o") == 0 && fuse_opt_add_arg(&opts->fuse, options) == 0)
		ret = 0;
out:
	free(fsname);
	free(options);
	return ret;
}

static int check_overlay(const struct opts *opts)
{
	const char *what = opts->cow ? "cow" : "snapshot", *other = NULL;

	if (!opts->cow && !opts->is_snapshot)
		return 0;
	if (opts->cow && opts->is_snapshot)
		other = "snapshot";
	else if (opts->parent)	/* of which of the two? */
		other = "parent";
	else if (opts->is_snapshot && opts->is_compacting)
		other = "compact";
	if (!other)
		return 0;
	say("%s: -o %s and -o %s exclude each other", opts->image, what, other);
	return -1;
}

static int complete(struct opts *opts)
{
	if (!opts->image || !opts->mountpoint) {
		say("an IMAGE and a MOUNTPOINT are wanted; vhdfuse -h tells more");
		return STATUS_USAGE;
	}
	make_absolute(&opts->image);
	if (opts->is_compacting && opts->is_readonly) {
		say("%s: -o compact cannot be had read-only", opts->image);
		return STATUS_USAGE;
	}
	if (check_overlay(opts) < 0 || look_at_mountpoint(opts) < 0)
		return STATUS_USAGE;
	if (opts->parent)
		make_absolute(&opts->parent);
	if ((opts->cow && make_folder_absolute(&opts->cow) < 0) || add_names(opts) < 0) {
		say("%s: %s", opts->image, strerror(ENOMEM));
		return STATUS_SYSTEM;
	}
	return -1;
}

int opts_parse(struct opts *opts, int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);

	*opts = (struct opts) { .commit_seconds = 5, .term_timeout = 10 };
	if (fuse_opt_parse(&args, opts, switch_table, apply_arg) < 0) {
		fuse_opt_free_args(&args);
		return STATUS_USAGE;
	}
	opts->fuse = args;
	if (opts->is_help) {
		fputs(help, stdout);
		return STATUS_OK;
	}
	if (opts->is_version) {
		printf("vhdfuse %s, libfuse %s\n", PACKAGE_VERSION, fuse_pkgversion());
		return STATUS_OK;
	}
	return complete(opts);
}

void opts_free(struct opts *opts)
{
	fuse_opt_free_args(&opts->fuse);
	free(opts->image);
	free(opts->mountpoint);
	free(opts->parent);
	free(opts->cow);
}
