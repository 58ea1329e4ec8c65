/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A child to be thrown away: what is written goes to a file that has no name, and ends with it.
 *
 * It is a differencing image as any other, so that all that holds for those holds here; even the
 * barriers are real, for they are where some hosts tell that what was written is lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/err.h"
#include "vhd/io.h"
#include "vhd/vhd.h"

/* It is in sentences, and says in which folder the file is. */
static char *scratch_name(const char *path, const char *folder)
{
	const char *slash = strrchr(path, '/');
	char *name;

	return asprintf(&name, "%s/scratch file of %s", folder, slash ? slash + 1 : path) < 0 ?
	       NULL : name;
}

int vhd_open_scratch(vhd_image **img, const char *path, const char *folder,
		     const struct vhd_open_opts *opts, struct vhd_err *err)
{
	struct vhd_create_opts create_opts = {
		.type = VHD_DIFFERENCING, .parent = path, .no_lock = opts && opts->no_lock,
	};
	struct vhd_open_opts open_opts = { 0 };
	char *name = scratch_name(path, folder);
	struct vhd_io *io;
	int rc;

	if (opts)
		open_opts = *opts;
	open_opts.parent = path;
	open_opts.is_readonly = open_opts.force_share = open_opts.allow_raw = false;
	rc = name ? io_file_scratch(&io, folder, err) : vhd_err_errno(err, -ENOMEM, "%s", path);
	if (rc) {
		free(name);
		return rc;
	}
	rc = vhd_create_io(io, name, &create_opts, err);
	if (rc)
		io->ops->close(io);
	else
		rc = vhd_open_io(img, io, name, &open_opts, err);
	free(name);
	return rc;
}
