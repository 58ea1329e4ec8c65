/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -o partitions: a file for each partition of the disk, and for what logical.c adds. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/logical.h"
#include "fs/partitions.h"
#include "fs/say.h"
#include "vhd/guest.h"

/* The table's reader is small: where there is no sandbox, a process is enough for it, and for it
 * alone. */
static int open_volumes(struct guest **guest, vhd_image *img, const char *image,
			struct vhd_err *err)
{
	static const struct guest_opts open_process = { .no_sandbox = true };
	int ret = guest_open_volumes(guest, img, NULL, err);

	if (ret != -ENOSYS)
		return ret;
	say("%s: logical volumes are not looked for: the sandbox for that cannot be had here "
	    "(no libseccomp, or no seccomp)", image);
	return guest_open_table(guest, img, &open_process, err);
}

static int judge_table(const struct guest_disk *disk, const char *image, struct vhd_err *err)
{
	if (disk->state == GUEST_CLEAN)
		return 0;
	snprintf(err->msg, sizeof(err->msg), "%s: the partition table: %s", image, disk->why);
	err->code = disk->state == GUEST_DAMAGED ? -EILSEQ : -ENOTSUP;
	return err->code;
}

/* A file for each volume that is a partition: neither a logical one nor the whole disk. */
static int add_files(struct files *files, const struct guest *guest)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);
		struct file_part part = { .start = volume->start, .len = volume->length };
		char name[16];

		if (volume->is_logical || !volume->number)
			continue;
		snprintf(name, sizeof(name), "p%u", volume->number);
		ret = files_add(files, FILES_ROOT, name, &part, 1, false);
	}
	return ret;
}

int partitions_add_files(struct files *files, vhd_image *img, const char *image,
			 struct vhd_err *err)
{
	struct guest *guest;
	int ret = open_volumes(&guest, img, image, err);

	if (ret)
		return ret;
	ret = judge_table(guest_disk(guest), image, err);
	if (!ret && !guest_volumes(guest))
		say("%s: there are no partitions on the disk", image);
	if (!ret) {
		ret = add_files(files, guest);
		if (ret)
			snprintf(err->msg, sizeof(err->msg), "%s: %s", image, strerror(-ret));
	}
	if (!ret)
		ret = logical_add_files(files, guest, image, err);
	guest_close(guest);
	return ret;
}
