/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The numbers by which the kernel knows the files and folders of a mount.
 *
 * The root is FUSE_ROOT_ID: the disk's file where the mountpoint is one, else the root folder. Then
 * come the files, then the other folders. Nothing comes or goes while it is mounted.
 */
#ifndef FS_TREE_H
#define FS_TREE_H

#include "fs/disk.h"
#include "fs/fuse_api.h"

/* The file of that number, or NULL: a folder. */
struct file *tree_file(struct disk *disk, fuse_ino_t ino);
/* The folder of that number, which must be one. */
size_t tree_folder(const struct disk *disk, fuse_ino_t ino);
fuse_ino_t tree_folder_ino(const struct disk *disk, size_t folder);

/* What is called so in the folder, or 0. */
fuse_ino_t tree_find(const struct disk *disk, size_t folder, const char *name);
/* The first in the folder whose number is at least from, and its name; or 0. */
fuse_ino_t tree_next(const struct disk *disk, size_t folder, fuse_ino_t from, const char **name);
/* How many folders are in the folder. */
unsigned tree_subfolders(const struct disk *disk, size_t folder);

#endif
