/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bytes of a file, which are bytes of the disk: a logical volume's lie in several places of it.
 *
 * Ranges must be in the file. All block; any thread may call. 0 or -errno with the sentence in err,
 * and then any part may have been done.
 */
#ifndef FS_CONTENT_H
#define FS_CONTENT_H

#include "fs/disk.h"

int content_read(struct disk *disk, const struct file *file, void *buf, size_t len, uint64_t off,
		 struct vhd_err *err);
int content_write(struct disk *disk, const struct file *file, const void *buf, size_t len,
		  uint64_t off, struct vhd_err *err);
int content_zero(struct disk *disk, const struct file *file, uint64_t len, uint64_t off,
		 enum vhd_zero_how how, struct vhd_err *err);
/* What is at off, and for how long at the least: *len bytes that are data, or are none. */
int content_next(struct disk *disk, const struct file *file, uint64_t off, uint64_t *len,
		 bool *is_data, struct vhd_err *err);

#endif
