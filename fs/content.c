/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of a file, place by place. */
#include "fs/content.h"

int content_read(struct disk *disk, const struct file *file, void *buf, size_t len, uint64_t off,
		 struct vhd_err *err)
{
	char *to = buf;
	int ret = 0;

	while (len && !ret) {
		uint64_t n = len;
		uint64_t place = files_place(file, off, &n);

		ret = vhd_pread(disk->img, to, n, place, err);
		to += n;
		off += n;
		len -= n;
	}
	return ret;
}

int content_write(struct disk *disk, const struct file *file, const void *buf, size_t len,
		  uint64_t off, struct vhd_err *err)
{
	const char *from = buf;
	int ret = 0;

	while (len && !ret) {
		uint64_t n = len;
		uint64_t place = files_place(file, off, &n);

		ret = vhd_pwrite(disk->img, from, n, place, err);
		from += n;
		off += n;
		len -= n;
	}
	return ret;
}

int content_zero(struct disk *disk, const struct file *file, uint64_t len, uint64_t off,
		 enum vhd_zero_how how, struct vhd_err *err)
{
	int ret = 0;

	while (len && !ret) {
		uint64_t n = len;
		uint64_t place = files_place(file, off, &n);

		ret = vhd_zero(disk->img, n, place, how, err);
		off += n;
		len -= n;
	}
	return ret;
}

int content_next(struct disk *disk, const struct file *file, uint64_t off, uint64_t *len,
		 bool *is_data, struct vhd_err *err)
{
	uint64_t place;
	struct vhd_extent extent;
	int ret;

	*len = file->size - off;
	place = files_place(file, off, len);
	ret = vhd_next_extent(disk->img, place, *len, &extent, err);
	if (ret < 0)
		return ret;
	*is_data = ret > 0 && extent.is_data;
	if (ret > 0)
		*len = extent.len;
	return 0;
}
