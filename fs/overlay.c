/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which file is written: the image, or one in front of it that keeps what is written.
 *
 * In front, the image is a parent as any other: only read, and locked against writers. That FILE
 * belongs to it is told by its unique id, whatever path FILE itself has for its parent.
 */
#include "fs/overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the scratch file of -o snapshot is: not in memory, as /tmp may be. */
static const char *scratch_folder(void)
{
	const char *folder = getenv("TMPDIR");

	return folder && folder[0] == '/' ? folder : "/var/tmp";
}

static bool is_scratch(const struct opts *opts)
{
	return opts->is_snapshot && !opts->is_readonly;	/* read-only, there is nothing to keep */
}

static int make_cow(const struct opts *opts, struct vhd_err *err)
{
	const struct vhd_create_opts create_opts = {
		.type = VHD_DIFFERENCING, .parent = opts->image, .no_lock = opts->no_lock,
	};
	struct stat st;
	int ret;

	if (opts->is_readonly || !lstat(opts->cow, &st) || errno != ENOENT)
		return 0;
	ret = vhd_create(opts->cow, &create_opts, err);
	return ret == -EEXIST ? 0 : ret;	/* somebody else was first */
}

static int open_cow(vhd_image **img, const struct opts *opts,
		    const struct vhd_open_opts *open_opts, struct vhd_err *err)
{
	struct vhd_open_opts with_parent = *open_opts;
	int ret = make_cow(opts, err);

	with_parent.parent = opts->image;
	if (!ret)
		ret = vhd_open(img, opts->cow, &with_parent, err);
	if (ret < 0 || vhd_parent(*img))
		return ret;
	vhd_close(*img, NULL);
	err->code = -EINVAL;
	snprintf(err->msg, sizeof(err->msg), "%s: is no differencing image, so it cannot keep "
		 "what is written to %s", opts->cow, opts->image);
	return err->code;
}

int overlay_open(vhd_image **img, const struct opts *opts, const struct vhd_open_opts *open_opts,
		 struct vhd_err *err)
{
	if (opts->cow)
		return open_cow(img, opts, open_opts, err);
	if (is_scratch(opts))
		return vhd_open_scratch(img, opts->image, scratch_folder(), open_opts, err);
	return vhd_open(img, opts->image, open_opts, err);
}

const char *overlay_path(const struct opts *opts)
{
	return opts->cow ? opts->cow : opts->image;
}

const char *overlay_folder(const struct opts *opts)
{
	return is_scratch(opts) ? scratch_folder() : NULL;
}

void overlay_stat(const struct opts *opts, struct stat *st)
{
	if (stat(overlay_path(opts), st) < 0)
		memset(st, 0, sizeof(*st));
	if (is_scratch(opts))	/* ours to write, whosever the image is */
		st->st_mode |= 0600;
}
