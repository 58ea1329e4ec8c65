/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the engine's answers to the kernel's: errors and attributes. */
#ifndef FS_REPLY_H
#define FS_REPLY_H

#include "fs/disk.h"
#include "fs/fuse_api.h"
#include "vhd/vhd.h"

/*
 * The positive errno for the kernel. Storage errors pass as they are; what is wrong with an image
 * is no word that a reader or writer of a disk knows, so it becomes EIO.
 */
int reply_errno(int code);

/* Replies with err's code, and tells the log the sentence (not the same one all the time). */
void reply_failure(fuse_req_t req, const struct vhd_err *err);

/* Fills *st for ino, or -errno with the sentence in err. */
int reply_stat(struct disk *disk, fuse_ino_t ino, struct stat *st, struct vhd_err *err);

/* The two replies that carry attributes: each sends exactly one, an error if need be. */
void reply_attr(fuse_req_t req, struct disk *disk, fuse_ino_t ino);
void reply_entry(fuse_req_t req, struct disk *disk, fuse_ino_t ino);

#endif
