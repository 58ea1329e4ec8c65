/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk kept as it is: the image becomes a parent, and a child takes its place by name.
 *
 * The child is whole and durable, and names the parent by its final name, before anything is called
 * otherwise; then that name is made, durable, and only then the child gets the image's. So the
 * image's name leads at every instant to the image or to a child whose parent is where it says.
 *
 * All the while the image is locked as for writing, though nothing is written to it: who read it or
 * wrote it would go on with the parent.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/create.h"
#include "vhd/naming.h"

#define NUMBERS 100000		/* how many names are tried; nobody has so many snapshots */

/* Whether path could become a name of img: nothing is there, or img itself by an earlier run. */
static bool is_name_free(const struct vhd_image *img, const char *path)
{
	struct vhd_io_stat self, other;
	struct vhd_io *io;
	struct vhd_err err;
	bool is_self;

	if (io_file_open(&io, path, true, &err))
		return err.code == -ENOENT;
	is_self = !io_stat(img->io, &self) && !io_stat(io, &other) && self.dev == other.dev &&
		  self.ino == other.ino;
	io->ops->close(io);
	return is_self;
}

/* The name with a number before its extension. */
static int make_name_up(const struct vhd_image *img, const char *path, char *name,
			struct vhd_err *err)
{
	const char *last = strrchr(path, '/') + 1, *dot = strrchr(last, '.');
	int stem = (int)((dot && dot > last ? dot : last + strlen(last)) - path);

	for (int i = 1; i < NUMBERS; i++) {
		int len = snprintf(name, VHD_PATH_MAX, "%.*s-%d%s", stem, path, i, path + stem);

		if (len >= VHD_PATH_MAX)
			return vhd_err_errno(err, -ENAMETOOLONG, "%s", path);
		if (is_name_free(img, name))
			return 0;
	}
	return vhd_err_set(err, -EEXIST, "%s: no name for the parent is free", path);
}

/* An image finds its own parent from the folder where it lies. */
static int check_folder(const struct vhd_image *img, const char *path, const char *name,
			struct vhd_err *err)
{
	char *real = naming_real_path(name);
	size_t folder = (size_t)(strrchr(path, '/') - path);
	bool is_other;

	if (!real)
		return vhd_err_errno(err, -errno, "%s: cannot be created", name);
	is_other = (size_t)(strrchr(real, '/') - real) != folder || memcmp(path, real, folder) != 0;
	free(real);
	if (is_other && img->footer.type == VHD_DIFFERENCING)
		return vhd_err_set(err, -EINVAL, "%s: is in another folder than %s, which "
				   "finds its own parent by its place", name, path);
	return 0;
}

static int choose_name(const struct vhd_image *img, const char *path, const char *asked,
		       char *name, struct vhd_err *err)
{
	if (!asked)
		return make_name_up(img, path, name, err);
	if (strlen(asked) >= VHD_PATH_MAX)
		return vhd_err_errno(err, -ENAMETOOLONG, "%s", asked);
	strcpy(name, asked);
	if (!is_name_free(img, name))
		return vhd_err_errno(err, -EEXIST, "%s", name);
	return check_folder(img, path, name, err);
}

/* The reader's lock that img has becomes a writer's. */
static int shut_out_others(struct vhd_image *img, bool no_lock, struct vhd_err *err)
{
	int rc = img->io->ops->lock(img->io, VHD_IO_LOCK_WRITE);

	if (!rc || (rc == -ENOLCK && no_lock))
		return 0;
	if (rc == -EBUSY)
		return vhd_err_set(err, rc, "%s: in use by another program", img->name);
	return vhd_err_errno(err, rc, "%s: cannot be locked", img->name);
}

static int prepare(struct vhd_image *img, const struct vhd_snapshot_opts *opts,
		   struct vhd_err *err)
{
	int rc = shut_out_others(img, opts->no_lock, err);

	if (rc)
		return rc;
	if (img->footer.saved_state)
		return vhd_err_set(err, -EBUSY, "%s: a machine's saved state waits for this disk "
				   "as it is; resume or discard it first", img->name);
	/* What an earlier writer left in the page cache is the parent's, too. */
	rc = io_barrier(img->io);
	return rc ? vhd_err_errno(err, rc, "%s: cannot be made durable", img->name) : 0;
}

static int put_child(struct vhd_image *img, const char *path, const char *parent,
		     struct vhd_err *err)
{
	struct vhd_create_opts opts = { .type = VHD_DIFFERENCING };
	struct vhd_io *child;
	int rc = io_file_create_over(&child, path, err);

	if (rc)
		return rc;
	rc = create_child(child, path, img, parent, &opts, err);
	if (!rc)
		rc = io_file_replace(child, img->io, parent, err);
	child->ops->close(child);
	return rc;
}

int vhd_snapshot(const char *path, const struct vhd_snapshot_opts *opts, char parent[VHD_PATH_MAX],
		 struct vhd_err *err)
{
	struct vhd_open_opts open_opts = {
		.is_readonly = true, .no_lock = opts->no_lock, .warn = opts->warn,
		.warn_arg = opts->warn_arg,
	};
	char *real = realpath(path, NULL);
	vhd_image *img;
	int rc;

	if (!real)
		return vhd_err_errno(err, -errno, "%s: cannot be opened", path);
	rc = vhd_open(&img, real, &open_opts, err);
	if (!rc) {
		rc = prepare(img, opts, err);
		if (!rc)
			rc = choose_name(img, real, opts->parent, parent, err);
		if (!rc)
			rc = put_child(img, real, parent, err);
		vhd_close(img, NULL);
	}
	free(real);
	return rc;
}
