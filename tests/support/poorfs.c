/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A FUSE filesystem over a folder that has next to nothing: what the poorest of hosts offer, and no
 * more. No holes can be punched or sought, no room reserved; no second names, no files without one,
 * no rename that keeps what is there; no modes, owners or times that can be set, and no folder that
 * can be synced.
 *
 *	poorfs FOLDER MOUNTPOINT [nolocks] [readonly]
 *
 * With nolocks it refuses locks, as a server without a lock daemon does; otherwise the kernel keeps
 * them. With readonly whatever changes something is refused, though the mount says that it is
 * writable: a server's own view. Served in the foreground, by one thread, until it is unmounted;
 * whoever wants it dead kills it.
 */
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int root = -1;
static bool is_readonly;

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int result(int ret)
{
	return ret < 0 ? -errno : 0;
}

static int poor_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	return result(fi ? fstat((int)fi->fh, st) :
			   fstatat(root, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int poor_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
			struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(root, below(path), O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	(void)off;
	(void)fi;
	(void)flags;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		fill(buf, entry->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

static int poor_open(const char *path, struct fuse_file_info *fi)
{
	int fd;

	if (is_readonly && (fi->flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	fd = openat(root, below(path), fi->flags & ~O_CREAT);
	fi->fh = (uint64_t)fd;
	return fd < 0 ? -errno : 0;
}

static int poor_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	int fd;

	if (is_readonly)
		return -EROFS;
	fd = openat(root, below(path), fi->flags | O_CREAT, mode);
	fi->fh = (uint64_t)fd;
	return fd < 0 ? -errno : 0;
}

static int poor_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return result(close((int)fi->fh));
}

static int poor_read(const char *path, char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	ssize_t n = pread((int)fi->fh, buf, size, off);

	(void)path;
	return n < 0 ? -errno : (int)n;
}

static int poor_write(const char *path, const char *buf, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	ssize_t n = pwrite((int)fi->fh, buf, size, off);

	(void)path;
	return n < 0 ? -errno : (int)n;
}

static int poor_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	int fd = fi ? (int)fi->fh : openat(root, below(path), O_WRONLY);
	int ret = fd < 0 ? -errno : result(ftruncate(fd, size));

	if (!fi && fd >= 0)
		close(fd);
	return ret;
}

static int poor_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path;
	return result(datasync ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int poor_unlink(const char *path)
{
	return is_readonly ? -EROFS : result(unlinkat(root, below(path), 0));
}

static int poor_rename(const char *from, const char *to, unsigned flags)
{
	if (flags)
		return -EINVAL;
	return is_readonly ? -EROFS : result(renameat(root, below(from), root, below(to)));
}

static int poor_statfs(const char *path, struct statvfs *st)
{
	(void)path;
	return result(fstatvfs(root, st));
}

static int poor_lock(const char *path, struct fuse_file_info *fi, int cmd, struct flock *lock)
{
	(void)path;
	(void)fi;
	(void)cmd;
	(void)lock;
	return -EOPNOTSUPP;
}

static struct fuse_operations ops = {
	.getattr = poor_getattr, .readdir = poor_readdir, .open = poor_open,
	.create = poor_create, .release = poor_release, .read = poor_read, .write = poor_write,
	.truncate = poor_truncate, .fsync = poor_fsync, .unlink = poor_unlink,
	.rename = poor_rename, .statfs = poor_statfs,
};

int main(int argc, char **argv)
{
	char *args[] = { argv[0], (char *)"-f", (char *)"-s", (char *)"-ofsname=poorfs",
			 argc > 2 ? argv[2] : NULL, NULL };

	for (int i = 3; i < argc; i++) {
		if (strcmp(argv[i], "nolocks") == 0)
			ops.lock = poor_lock;
		if (strcmp(argv[i], "readonly") == 0)
			is_readonly = true;
	}
	if (argc > 2)
		root = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) {
		fprintf(stderr, "usage: poorfs FOLDER MOUNTPOINT [nolocks] [readonly]\n");
		return 1;
	}
	umask(0);
	return fuse_main(5, args, &ops, NULL);
}
