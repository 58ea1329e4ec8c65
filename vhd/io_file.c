/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The POSIX backend: an open file or block device, read, written and made durable, and what of it
 * is stored.
 *
 * This file and its neighbours are the only ones that make storage calls: io_file_lock.c has the
 * locks against other programs, io_file_name.c how files get their names.
 */
#include "vhd/io_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhd/err.h"

#define DIRECT_UNIT 512u
#define HOLE_MIN (256u << 10)	/* bytes; less is not worth a look at where the holes are */

/* How many of len bytes at off the host has not stored, as far as it says so. */
static size_t hole_run(const struct io_file *file, size_t len, uint64_t off)
{
	off_t data = lseek(file->fd, (off_t)off, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? len : 0;
	return (uint64_t)data - off < len ? (size_t)data - off : len;
}

/*
 * A hole is read as all else is, since the host's word alone is not taken for zeros; but its pages
 * of zeros are of no use in the cache, and making them is most of what reading it costs. Past the
 * cache it is ten times as fast. 0: there is no hole, or it cannot be read so.
 */
static ssize_t read_hole(const struct io_file *file, void *buf, size_t len, uint64_t off)
{
	size_t hole;
	ssize_t n;

	if (file->direct_fd < 0 || (len | off | (uintptr_t)buf) % DIRECT_UNIT)
		return 0;
	hole = hole_run(file, len, off) / DIRECT_UNIT * DIRECT_UNIT;
	if (hole < HOLE_MIN)
		return 0;
	n = pread(file->direct_fd, buf, hole, (off_t)off);
	return n < 0 ? 0 : n;
}

static ssize_t file_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	ssize_t n = 0;

	if (off > INT64_MAX)	/* no file goes that far */
		return 0;
	if (len >= HOLE_MIN)
		n = read_hole(io_file(io), buf, len, off);
	if (n)
		return n;
	do
		n = pread(io_file(io)->fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t file_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	if (off > INT64_MAX)
		return -EFBIG;
	do
		n = pwrite(io_file(io)->fd, buf, len, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int file_barrier(struct vhd_io *io)
{
	int rc;

	do
		rc = fdatasync(io_file(io)->fd);
	while (rc && errno == EINTR);
	return rc ? -errno : 0;
}

static void file_start_writing(struct vhd_io *io, uint64_t len, uint64_t off)
{
	sync_file_range(io_file(io)->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

static void file_drop_cache(struct vhd_io *io)
{
	posix_fadvise(io_file(io)->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int file_truncate(struct vhd_io *io, uint64_t size)
{
	int rc;

	if (io_file(io)->is_block)
		return -EOPNOTSUPP;
	do
		rc = ftruncate(io_file(io)->fd, (off_t)size);
	while (rc && errno == EINTR);
	return rc ? -errno : 0;
}

static int file_punch(struct vhd_io *io, uint64_t len, uint64_t off)
{
	int rc;

	do
		rc = fallocate(io_file(io)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)off, (off_t)len);
	while (rc && errno == EINTR);
	if (rc && errno == ENOSYS)
		return -EOPNOTSUPP;
	return rc ? -errno : 0;
}

static int file_allocate(struct vhd_io *io, uint64_t len, uint64_t off)
{
	int rc;

	do
		rc = fallocate(io_file(io)->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
	while (rc && errno == EINTR);
	if (rc && errno == ENOSYS)
		return -EOPNOTSUPP;
	return rc ? -errno : 0;
}

static int file_stat(struct vhd_io *io, struct vhd_io_stat *st)
{
	struct io_file *file = io_file(io);
	struct stat sb;
	off_t end;

	if (fstat(file->fd, &sb))
		return -errno;
	st->size = (uint64_t)sb.st_size;
	st->allocated = (uint64_t)sb.st_blocks * 512;
	st->mtime = sb.st_mtime;
	st->dev = sb.st_dev;
	st->ino = sb.st_ino;
	st->mode = sb.st_mode & 07777;
	if (!file->is_block)
		return 0;
	end = lseek(file->fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	st->size = st->allocated = (uint64_t)end;
	/* Many nodes may stand for one device; no inode has the number 0. */
	st->dev = sb.st_rdev;
	st->ino = 0;
	return 0;
}

static int file_next_stored(struct vhd_io *io, uint64_t off, uint64_t *start, uint64_t *end)
{
	off_t data, hole;

	if (off > INT64_MAX)
		return 0;
	data = lseek(io_file(io)->fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return 0;
	if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
		return -errno;
	*start = data < 0 ? off : (uint64_t)data;
	hole = data < 0 ? INT64_MAX : lseek(io_file(io)->fd, data, SEEK_HOLE);
	/* Another program may have punched it, or cut the file, between the two calls. */
	*end = hole > data ? (uint64_t)hole : *start + 1;
	return 1;
}

static void file_close(struct vhd_io *io)
{
	struct io_file *file = io_file(io);

	if (file->temp[0])
		unlinkat(file->dir_fd, file->temp, 0);
	if (file->dir_fd >= 0)
		close(file->dir_fd);
	if (file->direct_fd >= 0)
		close(file->direct_fd);
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

static const struct vhd_io_ops file_ops = {
	.pread = file_pread,
	.pwrite = file_pwrite,
	.barrier = file_barrier,
	.start_writing = file_start_writing,
	.drop_cache = file_drop_cache,
	.truncate = file_truncate,
	.punch = file_punch,
	.allocate = file_allocate,
	.next_stored = file_next_stored,
	.stat = file_stat,
	.lock = io_file_lock,
	.close = file_close,
};

struct io_file *io_file_new(void)
{
	struct io_file *file = calloc(1, sizeof(*file));

	if (file) {
		file->io.ops = &file_ops;
		file->fd = file->direct_fd = file->dir_fd = -1;
	}
	return file;
}

/* Takes files and block devices; what a pipe or a folder would do is found here, not in a read. */
static int file_check_kind(struct io_file *file, const char *path, struct vhd_err *err)
{
	struct stat sb;

	if (fstat(file->fd, &sb))
		return vhd_err_errno(err, -errno, "%s: cannot be looked at", path);
	file->is_block = S_ISBLK(sb.st_mode);
	if (S_ISREG(sb.st_mode) || file->is_block)
		return 0;
	return vhd_err_set(err, -EILSEQ, "%s is not a VHD image but %s", path,
			   S_ISDIR(sb.st_mode) ? "a folder" :
			   "something that is neither a file nor a block device");
}

/* By its number, for the path may name another file by now. The locks stay with the other one. */
static void open_direct(struct io_file *file)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	if (!file->is_block)
		file->direct_fd = open(self, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY);
}

int io_file_open(struct vhd_io **io, const char *path, bool is_readonly, struct vhd_err *err)
{
	struct io_file *file = io_file_new();
	int rc, mode = is_readonly ? O_RDONLY : O_RDWR;

	if (!file)
		return vhd_err_errno(err, -ENOMEM, "%s: cannot be opened", path);
	/* O_NONBLOCK: to open a pipe must not wait for its other end. It does nothing to files. */
	file->fd = open(path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0 && errno == EISDIR)
		rc = vhd_err_set(err, -EILSEQ, "%s is not a VHD image but a folder", path);
	else if (file->fd < 0 && errno == ENOTCONN)
		rc = vhd_err_set(err, -ENOTCONN, "%s: cannot be opened: it is on a mount whose "
				 "driver was killed; unmount that first", path);
	else if (file->fd < 0)
		rc = vhd_err_errno(err, -errno, "%s: cannot be opened for %s", path,
				   is_readonly ? "reading" : "writing");
	else
		rc = file_check_kind(file, path, err);
	if (rc) {
		file_close(&file->io);
		return rc;
	}
	open_direct(file);
	*io = &file->io;
	return 0;
}
