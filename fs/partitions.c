/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o partitions: a file for each partition of the disk. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/partitions.h"
#include "fs/say.h"
#include "vhd/guest.h"

/* The table's reader is our own and small: where there is no sandbox, a process is enough. */
static int open_table(struct guest **guest, vhd_image *img, struct vhd_err *err)
{
	static const struct guest_opts open_process = { .no_sandbox = true };
	int ret = guest_open_table(guest, img, NULL, err);

	return ret == -ENOSYS ? guest_open_table(guest, img, &open_process, err) : ret;
}

static int judge_table(const struct guest_disk *disk, const char *image, struct vhd_err *err)
{
	if (disk->state == GUEST_CLEAN)
		return 0;
	snprintf(err->msg, sizeof(err->msg), "%s: the partition table: %s", image, disk->why);
	err->code = disk->state == GUEST_DAMAGED ? -EILSEQ : -ENOTSUP;
	return err->code;
}

int partitions_add_files(struct files *files, vhd_image *img, const char *image,
			 struct vhd_err *err)
{
	struct guest *guest;
	int ret = open_table(&guest, img, err);

	if (ret)
		return ret;
	ret = judge_table(guest_disk(guest), image, err);
	if (!ret && !guest_volumes(guest))
		say("%s: there are no partitions on the disk", image);
	for (size_t i = 0; !ret && i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);

		ret = files_add(files, volume->number, volume->start, volume->length);
		if (ret)
			snprintf(err->msg, sizeof(err->msg), "%s: %s", image, strerror(-ret));
	}
	guest_close(guest);
	return ret;
}
