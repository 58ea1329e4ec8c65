/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The children of an image: the differencing images beside it that name it as their parent.
 *
 * There is no register of them, so the image's folder is looked through, two sectors a file. What
 * cannot be read there is no child that anybody could use, and is passed over. A raw disk has no id
 * that a child could name, so it is the file that counts which the child would be opened with.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/chain.h"

static const struct vhd_open_opts quiet = { .is_readonly = true, .force_share = true };

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

static bool is_same_file(const struct vhd_image *img, const char *path)
{
	struct vhd_io_stat wanted, st;
	struct vhd_io *io;
	bool is_same;

	if (io_stat(img->io, &wanted) || io_file_open(&io, path, true, NULL))
		return false;
	is_same = !io_stat(io, &st) && st.dev == wanted.dev && st.ino == wanted.ino;
	io->ops->close(io);
	return is_same;
}

/* Whether the raw disk is what the parent's names in img lead to. */
static bool leads_to(struct vhd_image *img, const struct vhd_image *raw)
{
	struct chain_link link = { .child = NULL };
	bool is_one;
	char *path;

	if (io_stat(img->io, &link.st) || chain_find_parent(img, &quiet, &link, &path, NULL))
		return false;
	is_one = is_same_file(raw, path);
	free(path);
	return is_one;
}

static bool is_child(const struct seek *seek, const char *path)
{
	struct vhd_image *img;
	struct vhd_io *io;
	bool is_one;

	if (io_file_open(&io, path, true, NULL))
		return false;
	if (!may_be_vhd(io)) {
		io->ops->close(io);
		return false;
	}
	if (image_load(&img, io, path, &quiet, NULL))
		return false;
	is_one = img->footer.type == VHD_DIFFERENCING &&
		 !memcmp(img->header.parent_uuid, seek->parent->footer.uuid,
			 sizeof(img->header.parent_uuid)) &&
		 (!seek->parent->is_raw || leads_to(img, seek->parent));
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
