/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The children of an image: the differencing images beside it that name it as their parent.
 *
 * There is no register of them, so the image's folder is looked through, two sectors a file. What
 * cannot be read there is no child that anybody could use, and is passed over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

struct seek {
	const struct vhd_image *parent;
	vhd_child_fn found;
	void *arg;
};

/* Whether one of its footers is where it should be: what has neither is no child of anybody. */
static bool may_be_vhd(struct vhd_io *io)
{
	uint8_t head[FMT_SECTOR], tail[FMT_SECTOR];
	struct vhd_io_stat st;

	return !io_stat(io, &st) && st.size >= FMT_SECTOR &&
	       !io_pread(io, head, sizeof(head), 0) &&
	       !io_pread(io, tail, sizeof(tail), (st.size - 1) / FMT_SECTOR * FMT_SECTOR) &&
	       (fmt_is_footer_cookie(head) || fmt_is_footer_cookie(tail));
}

static bool is_child(const struct seek *seek, const char *path)
{
	static const struct vhd_open_opts opts = { .is_readonly = true, .force_share = true };
	struct vhd_image *img;
	struct vhd_io *io;
	bool is_one;

	if (io_file_open(&io, path, true, NULL))
		return false;
	if (!may_be_vhd(io)) {
		io->ops->close(io);
		return false;
	}
	if (image_load(&img, io, path, &opts, NULL))
		return false;
	is_one = img->footer.type == VHD_DIFFERENCING &&
		 !memcmp(img->header.parent_uuid, seek->parent->footer.uuid,
			 sizeof(img->header.parent_uuid));
	image_free(img);
	return is_one;
}

static void look_at(void *arg, const char *path)
{
	const struct seek *seek = arg;

	if (is_child(seek, path))
		seek->found(seek->arg, path);
}

int vhd_find_children(vhd_image *img, vhd_child_fn found, void *arg, struct vhd_err *err)
{
	struct seek seek = { .parent = img, .found = found, .arg = arg };
	int rc = io_file_each(img->name, look_at, &seek);

	return rc ? vhd_err_errno(err, rc, "%s: its folder cannot be looked through", img->name) :
		    0;
}
