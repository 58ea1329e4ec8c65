/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Having umount(8) call umount.fuse.vhdfuse, however it is asked.
 *
 * For `umount /absolute/folder` umount(8) of util-linux 2.38 asks statfs(2) for the type, hears
 * "fuse" and finds no helper of that name, unless utab has an entry for the folder; so it has one,
 * with the option by which helpers are named. tests/test-vhdimg-umount.sh holds it.
 */
#include "fs/utab.h"

#include "config.h"

#ifdef HAVE_LIBMOUNT

#include <libmount.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define TYPE "fuse.vhdfuse"

/* fs NULL: the entry of target goes. */
static void update(const char *target, struct libmnt_fs *fs)
{
	struct libmnt_update *upd = mnt_new_update();

	if (upd && mnt_update_set_fs(upd, 0, target, fs) == 0)
		mnt_update_table(upd, NULL);
	mnt_free_update(upd);
}

/* Another driver's, or one that ours covered. */
static bool has_mount(const char *mountpoint)
{
	struct libmnt_table *mounts = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs = NULL;
	const char *type;
	bool is_ours;

	if (mounts)
		fs = mnt_table_find_target(mounts, mountpoint, MNT_ITER_BACKWARD);
	type = fs ? mnt_fs_get_fstype(fs) : NULL;
	is_ours = type && strcmp(type, TYPE) == 0;
	mnt_unref_table(mounts);
	return is_ours;
}

void utab_add(const char *image, const char *mountpoint)
{
	struct libmnt_fs *fs;

	if (geteuid() != 0)
		return;
	update(mountpoint, NULL);	/* of a driver that was killed */
	fs = mnt_new_fs();
	if (fs && mnt_fs_set_source(fs, image) == 0 && mnt_fs_set_target(fs, mountpoint) == 0 &&
	    mnt_fs_set_fstype(fs, TYPE) == 0 && mnt_fs_set_options(fs, "uhelper=" TYPE) == 0)
		update(NULL, fs);
	mnt_unref_fs(fs);
}

void utab_remove(const char *mountpoint)
{
	if (geteuid() == 0 && !has_mount(mountpoint))
		update(mountpoint, NULL);
}

#else

void utab_add(const char *image, const char *mountpoint)
{
	(void)image;
	(void)mountpoint;
}

void utab_remove(const char *mountpoint)
{
	(void)mountpoint;
}

#endif
