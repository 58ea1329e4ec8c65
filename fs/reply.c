/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the engine's answers to the kernel's: errors and attributes. */
#include <errno.h>
#include <time.h>

#include "fs/reply.h"
#include "fs/say.h"
#include "fs/tree.h"

/*
 * The kernel itself drops the times, the size and the blocks that it remembers at each write, so
 * this bounds only how long it shows blocks that a timer or another program changed. The I/O path
 * never asks for attributes.
 */
#define ATTR_TIMEOUT 1.0
/* The names never change. */
#define ENTRY_TIMEOUT 3600.0

enum { QUIET_SECONDS = 60 };

int reply_errno(int code)
{
	switch (-code) {
	case EILSEQ:
	case ELOOP:
	case ENOENT:
	case EBUSY:
	case ENOLCK:
	case ENOTSUP:
	case EINVAL:
	case ENOTCONN:		/* the host's mount is dead, and not ours */
		return EIO;
	default:
		return -code;
	}
}

/* A full host fails every write that follows; one sentence a minute is enough. */
static void say_failure(const struct vhd_err *err)
{
	static atomic_int last_code;
	static atomic_llong last_time;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (atomic_exchange(&last_code, err->code) == err->code &&
	    now.tv_sec < atomic_load(&last_time) + QUIET_SECONDS)
		return;
	atomic_store(&last_time, now.tv_sec);
	say("%s", err->msg);
}

void reply_failure(fuse_req_t req, const struct vhd_err *err)
{
	say_failure(err);
	fuse_reply_err(req, reply_errno(err->code));
}

static void stat_folder(struct disk *disk, size_t folder, struct stat *st)
{
	st->st_mode = S_IFDIR | disk->folder_mode;
	st->st_nlink = 2 + tree_subfolders(disk, folder);
	st->st_size = 0;
	st->st_blocks = 0;
}

int reply_stat(struct disk *disk, fuse_ino_t ino, struct stat *st, struct vhd_err *err)
{
	const struct file *file = tree_file(disk, ino);
	int ret = disk_stat(disk, file ? file : disk->files.list, st, err);

	if (ret < 0)
		return ret;
	if (!file)
		stat_folder(disk, tree_folder(disk, ino), st);
	st->st_ino = ino;
	return 0;
}

void reply_attr(fuse_req_t req, struct disk *disk, fuse_ino_t ino)
{
	struct vhd_err err;
	struct stat st;

	if (reply_stat(disk, ino, &st, &err) < 0)
		reply_failure(req, &err);
	else
		fuse_reply_attr(req, &st, ATTR_TIMEOUT);
}

void reply_entry(fuse_req_t req, struct disk *disk, fuse_ino_t ino)
{
	struct fuse_entry_param entry = {
		.ino = ino,
		.attr_timeout = ATTR_TIMEOUT,
		.entry_timeout = ENTRY_TIMEOUT,
	};
	struct vhd_err err;

	if (reply_stat(disk, entry.ino, &entry.attr, &err) < 0)
		reply_failure(req, &err);
	else
		fuse_reply_entry(req, &entry);
}
