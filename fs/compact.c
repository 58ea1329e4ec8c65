/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o compact: the image gives back what reads as zeros when the mount has ended. */
#include <errno.h>
#include <stdio.h>

#include "fs/compact.h"
#include "fs/leave.h"

int compact_check(struct disk *disk, struct vhd_err *err)
{
	struct vhd_info info;
	int ret = vhd_get_info(disk->img, &info, err);

	if (ret < 0 || info.type != VHD_FIXED)
		return ret;
	snprintf(err->msg, sizeof(err->msg), "%s: -o compact cannot be had: a fixed image has no "
		 "blocks to give back", disk->name);
	return err->code = -ENOTSUP;
}

static int ask_signals(void *arg, const struct vhd_progress *progress)
{
	int *stopped_by = arg;

	(void)progress;
	if (!*stopped_by)
		*stopped_by = leave_poll();
	return *stopped_by;
}

static void note_child(void *arg, const char *path)
{
	(void)path;
	*(bool *)arg = true;
}

/* What the children compare with their parent's time is what was written, which goes no further. */
static void keep_mtime(struct disk *disk)
{
	bool is_parent = false;
	struct stat st;

	if (vhd_find_children(disk->img, note_child, &is_parent, NULL) < 0 || !is_parent ||
	    stat(disk->name, &st) < 0)
		return;
	disk->image_mtime = st.st_mtim;
	disk->keeps_mtime = true;
}

int compact_run(struct disk *disk, int *stopped_by, struct vhd_err *err)
{
	const struct vhd_reclaim_opts opts = {
		.progress = ask_signals,
		.progress_arg = stopped_by,
	};
	struct vhd_reclaim_result result;
	int ret = vhd_flush(disk->img, err);

	*stopped_by = 0;
	if (ret < 0)
		return ret;
	keep_mtime(disk);
	return vhd_compact(disk->img, &opts, &result, err);
}
