/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Having umount(8) call umount.fuse.vhdfuse, however it is asked. */
#ifndef FS_UTAB_H
#define FS_UTAB_H

/*
 * Enters the mount in /run/mount/utab with its helper, and takes it out again, unless another of
 * ours is on the mountpoint by then. Absolute paths. Root's alone; advice: never fails, since
 * without it umount(8) unmounts all the same and only does not wait. May block on another mount's
 * update for a moment.
 */
void utab_add(const char *image, const char *mountpoint);
void utab_remove(const char *mountpoint);

#endif
