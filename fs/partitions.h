/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o partitions: a file for each partition and each logical volume of the disk. */
#ifndef FS_PARTITIONS_H
#define FS_PARTITIONS_H

#include "fs/files.h"
#include "vhd/vhd.h"

/*
 * Adds a file for each partition of img, named as the kernel numbers them, and for each logical
 * volume. 0; -EILSEQ for a damaged
 * table, -ENOTSUP for one that is not served, or -errno, the sentence in err. Forks: to be called
 * before there are threads.
 */
int partitions_add_files(struct files *files, vhd_image *img, const char *image,
			 struct vhd_err *err);

#endif
