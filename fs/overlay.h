/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which file is written: the image, or one in front of it that keeps what is written. */
#ifndef FS_OVERLAY_H
#define FS_OVERLAY_H

#include <sys/stat.h>

#include "fs/opts.h"
#include "vhd/vhd.h"

/*
 * Opens what is to be served: the image; with -o cow=FILE that file, which is made if it is not
 * there, as a child of the image; with -o snapshot a child without a name. 0 or -errno, the
 * sentence in err.
 */
int overlay_open(vhd_image **img, const struct opts *opts, const struct vhd_open_opts *open_opts,
		 struct vhd_err *err);

/* The path of the file that is written, or with -o snapshot that of the image. */
const char *overlay_path(const struct opts *opts);
/* The folder that the file is in, for open(2); NULL: that of overlay_path. */
const char *overlay_folder(const struct opts *opts);
/* Permissions and times for the files that are served. */
void overlay_stat(const struct opts *opts, struct stat *st);

#endif
