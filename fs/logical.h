/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o partitions: a file for each logical volume of LVM, lv/GROUP/VOLUME. */
#ifndef FS_LOGICAL_H
#define FS_LOGICAL_H

#include "fs/files.h"
#include "vhd/guest.h"

/*
 * Adds a file for each linear logical volume that guest (of guest_open_volumes) has found, and says
 * which others there are. Nothing is activated, so a group may be called as one of the host's; one
 * that is called as another on the disk becomes GROUP@pN, N its partition. 0 or -errno with the
 * sentence in err. Blocks.
 */
int logical_add_files(struct files *files, struct guest *guest, const char *image,
		      struct vhd_err *err);

#endif
