/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The FUSE operations: each takes one request to the engine and sends exactly one reply.
 *
 * A file is a disk, or a part of one: its size is what it is. Truncating to that size is fine;
 * O_TRUNC (which reaches us as a truncation to 0 with no handle, as does truncate(2) by name) is
 * ignored as on a block device, or every `dd of=disk.raw` would wipe the disk; any other size is
 * refused. A write behind the end is ENOSPC, as on a block device.
 *
 * Threads: any number of operations run at once. What they share is in struct disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fs/content.h"
#include "fs/disk.h"
#include "fs/loop.h"
#include "fs/ops.h"
#include "fs/reply.h"
#include "fs/tree.h"

/* Of the times that the kernel keeps under writeback, in nanoseconds. */
#define WRITEBACK_TIME_GRAN 100000000u

/* What fi->fh says of an open file. */
enum { HANDLE_READER, HANDLE_WRITER };

static struct disk *disk_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void op_init(void *data, struct fuse_conn_info *conn)
{
	const struct disk *disk = data;

	conn->max_write = OPS_MAX_IO;
	conn->max_read = OPS_MAX_IO;	/* as the mount option says */
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	/*
	 * Splicing made large reads twelve times slower and writes no faster. Nobody changes the
	 * disk behind the kernel's back, so its cache needs no revalidation. O_TRUNC done by the
	 * kernel itself would drop pages that a mapping has dirtied.
	 */
	conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
			FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC |
			FUSE_CAP_WRITEBACK_CACHE);
	conn->want |= conn->capable & FUSE_CAP_ASYNC_DIO;
	if (!disk->has_writeback)
		return;
	conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
	/* The kernel keeps the file's times, too, and sends a new one with each fsync. */
	conn->time_gran = WRITEBACK_TIME_GRAN;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct disk *disk = disk_of(req);
	fuse_ino_t ino;

	if (tree_file(disk, parent)) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	ino = tree_find(disk, tree_folder(disk, parent), name);
	if (ino)
		reply_entry(req, disk, ino);
	else
		fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	reply_attr(req, disk_of(req), ino);
}

/* 0, or the errno for a size that is not the file's. */
static int judge_size(const struct file *file, uint64_t size, bool has_handle)
{
	if (size == file->size || (size == 0 && !has_handle))
		return 0;
	return size > file->size ? EFBIG : EPERM;
}

static void set_times(struct disk *disk, const struct stat *attr, int to_set)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (to_set & FUSE_SET_ATTR_ATIME)
		disk->attr.atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : attr->st_atim;
	if (to_set & FUSE_SET_ATTR_MTIME) {
		if (!(to_set & FUSE_SET_ATTR_MTIME_NOW))
			now = attr->st_mtim;
		atomic_store(&disk->mtime, now.tv_sec * 1000000000ll + now.tv_nsec);
	}
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	const struct file *file = tree_file(disk, ino);
	int ret;

	if (!file) {
		fuse_reply_err(req, EPERM);
		return;
	}
	if (to_set & FUSE_SET_ATTR_SIZE) {
		ret = judge_size(file, attr->st_size, fi != NULL);
		if (ret) {
			fuse_reply_err(req, ret);
			return;
		}
	}
	pthread_mutex_lock(&disk->attr_lock);
	if (to_set & FUSE_SET_ATTR_MODE)
		disk->attr.mode = attr->st_mode & 0777;
	if (to_set & FUSE_SET_ATTR_UID)
		disk->attr.uid = attr->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		disk->attr.gid = attr->st_gid;
	set_times(disk, attr, to_set);
	pthread_mutex_unlock(&disk->attr_lock);
	reply_attr(req, disk, ino);
}

/*
 * The entry at *off of the folder, which is made that of the next one: ".", "..", and then what
 * has at least the number off. The bytes that it takes, 0 at the end.
 */
static size_t add_entry(fuse_req_t req, fuse_ino_t ino, char *buf, size_t size, off_t *off)
{
	struct disk *disk = disk_of(req);
	size_t folder = tree_folder(disk, ino);
	struct stat st = { .st_ino = ino, .st_mode = S_IFDIR };
	const char *name = ".";

	if (*off == 1) {
		name = "..";
		st.st_ino = tree_folder_ino(disk, disk->files.folders[folder].parent);
	} else if (*off) {
		st.st_ino = tree_next(disk, folder, *off, &name);
		if (!st.st_ino)
			return 0;
		st.st_mode = tree_file(disk, st.st_ino) ? S_IFREG : S_IFDIR;
		*off = st.st_ino;
	}
	++*off;
	return fuse_add_direntry(req, buf, size, name, &st, *off);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	size_t used = 0;
	size_t need;
	char buf[4096];

	(void)fi;
	if (tree_file(disk, ino)) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	if (size > sizeof(buf))
		size = sizeof(buf);
	while ((need = add_entry(req, ino, buf + used, size - used, &off)) &&
	       need <= size - used)
		used += need;
	fuse_reply_buf(req, buf, used);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	struct file *file = tree_file(disk, ino);
	bool is_writer = (fi->flags & O_ACCMODE) != O_RDONLY;
	bool keep_cache;

	if (!file) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	if (is_writer && (disk->is_readonly || file->is_readonly)) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (files_open(&disk->files, file, is_writer, &keep_cache) < 0) {
		fuse_reply_err(req, EBUSY);
		return;
	}
	fi->fh = is_writer ? HANDLE_WRITER : HANDLE_READER;
	fi->keep_cache = keep_cache;
	fi->noflush = !is_writer;
	if (fuse_reply_open(req, fi) == -ENOENT)	/* interrupted: there will be no release */
		files_close(&disk->files, file, is_writer);
}

static void reply_commit(fuse_req_t req)
{
	struct vhd_err err;

	if (disk_commit(disk_of(req), &err) < 0)
		reply_failure(req, &err);
	else
		fuse_reply_err(req, 0);
}

/* Every close(2): what was written is published, and the one who closes hears if it was not. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (fi->fh == HANDLE_WRITER)
		reply_commit(req);
	else
		fuse_reply_err(req, 0);
}

/* After the last close, the last mapping and the last loop device: nobody hears of an error. */
static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);

	files_close(&disk->files, tree_file(disk, ino), fi->fh == HANDLE_WRITER);
	op_flush(req, ino, fi);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	reply_commit(req);
}

/* How much of len bytes at off is in the file. */
static uint64_t clip(const struct file *file, uint64_t len, uint64_t off)
{
	if (off >= file->size)
		return 0;
	return len < file->size - off ? len : file->size - off;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	const struct file *file = tree_file(disk, ino);
	size_t len = clip(file, size < OPS_MAX_IO ? size : OPS_MAX_IO, off);
	char *buf = loop_buffer();
	struct vhd_err err;

	(void)fi;
	if (len && content_read(disk, file, buf, len, off, &err) < 0)
		reply_failure(req, &err);
	else
		fuse_reply_buf(req, buf, len);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	const struct file *file = tree_file(disk, ino);
	size_t len = clip(file, size, off);
	struct vhd_err err;
	int ret;

	(void)fi;
	if (!len && size) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	ret = content_write(disk, file, buf, len, off, &err);
	disk_wrote(disk);	/* also after an error: a part of it may have been written */
	if (ret < 0)
		reply_failure(req, &err);
	else
		fuse_reply_write(req, len);
	vhd_grow_ahead(disk->img);	/* nobody waits for this thread now */
}

static void reply_zero(fuse_req_t req, const struct file *file, uint64_t len, uint64_t off,
		       enum vhd_zero_how how)
{
	struct disk *disk = disk_of(req);
	struct vhd_err err;
	int ret = 0;

	len = clip(file, len, off);
	if (len) {
		ret = content_zero(disk, file, len, off, how, &err);
		disk_wrote(disk);
	}
	if (ret < 0)
		reply_failure(req, &err);
	else
		fuse_reply_err(req, 0);
}

/*
 * A hole gives blocks back; a zeroed range keeps the ones there are. Room cannot be set aside in
 * an image (a block is allocated by what is written to it), so plain fallocate is refused rather
 * than granted for nothing.
 */
static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	const struct file *file = tree_file(disk, ino);

	(void)fi;
	if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		reply_zero(req, file, len, off, disk->punch);
	else if (mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE))
		reply_zero(req, file, len, off, VHD_ZERO_KEEP);
	else if (mode == FALLOC_FL_ZERO_RANGE && (uint64_t)off + len <= file->size)
		reply_zero(req, file, len, off, VHD_ZERO_KEEP);
	else if (mode == FALLOC_FL_ZERO_RANGE)
		fuse_reply_err(req, EFBIG);
	else
		fuse_reply_err(req, EOPNOTSUPP);
}

/* The first byte of the file at *pos or behind that is data, or is not; else its end. */
static int seek_extent(struct disk *disk, const struct file *file, uint64_t *pos, bool is_data,
		       struct vhd_err *err)
{
	bool is_found = false;
	uint64_t len;
	int ret = 0;

	while (!ret && *pos < file->size) {
		ret = content_next(disk, file, *pos, &len, &is_found, err);
		if (ret || is_found == is_data)
			break;
		*pos += len;
	}
	return ret;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct disk *disk = disk_of(req);
	const struct file *file = tree_file(disk, ino);
	struct vhd_err err;
	uint64_t pos = off;

	(void)fi;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		fuse_reply_err(req, EINVAL);
	else if (off < 0 || pos >= file->size)
		fuse_reply_err(req, ENXIO);
	else if (disk->has_writeback && files_has_writer(&disk->files))
		/* What looks like a hole may be data that the kernel still keeps. */
		fuse_reply_lseek(req, whence == SEEK_DATA ? off : (off_t)file->size);
	else if (seek_extent(disk, file, &pos, whence == SEEK_DATA, &err) < 0)
		reply_failure(req, &err);
	else if (whence == SEEK_DATA && pos >= file->size)
		fuse_reply_err(req, ENXIO);
	else
		fuse_reply_lseek(req, pos);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	struct vhd_err err;

	(void)ino;
	if (disk_statfs(disk_of(req), &st, &err) < 0)
		reply_failure(req, &err);
	else
		fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readdir = op_readdir,
	.open = op_open,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.read = op_read,
	.write = op_write,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.statfs = op_statfs,
};
