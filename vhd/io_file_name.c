/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The POSIX backend's names: a file has none until it is whole; then it gets one that is free, or
 * takes the place of the one that it is to replace.
 *
 * So a name leads to a whole file at every instant, but for an empty one of our own on hosts that
 * can do neither at once (publish_over_own). Where the host has no nameless files, an unfinished
 * one bears a name that nobody guesses, and io_file_each passes it over.
 */
#include "vhd/io_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhd/err.h"

/* Splits path into file->dir_fd and file->name. */
static int create_open_folder(struct io_file *file, const char *path)
{
	char *slash;

	file->path = strdup(path);
	if (!file->path)
		return -ENOMEM;
	slash = strrchr(file->path, '/');
	file->name = slash ? slash + 1 : file->path;
	if (!file->name[0] || strcmp(file->name, ".") == 0 ||
	    strcmp(file->name, "..") == 0)
		return path[0] ? -EISDIR : -ENOENT;
	if (!slash) {
		file->dir_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else {
		char first = file->name[0];

		file->name[0] = '\0';
		file->dir_fd = open(file->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		file->name[0] = first;
	}
	return file->dir_fd < 0 ? -errno : 0;
}

#define TEMP_PREFIX ".vhd-"
#define TEMP_DIGITS 16

/* A name that nobody will guess, for what is not finished. */
static int make_temp_name(struct io_file *file)
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -errno;
	snprintf(file->temp, sizeof(file->temp), TEMP_PREFIX "%016llx",
		 (unsigned long long)number);
	return 0;
}

/* Whether a power failure may have left it behind, of a file that never got its name. */
static bool is_temp_name(const char *name)
{
	return strncmp(name, TEMP_PREFIX, strlen(TEMP_PREFIX)) == 0 &&
	       strlen(name) == strlen(TEMP_PREFIX) + TEMP_DIGITS &&
	       strspn(name + strlen(TEMP_PREFIX), "0123456789abcdef") == TEMP_DIGITS;
}

/* Where the host has no nameless files. */
static int create_named(struct io_file *file)
{
	for (int tries = 0; tries < 100; tries++) {
		int rc = make_temp_name(file);

		if (rc)
			return rc;
		file->fd = openat(file->dir_fd, file->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
				  0666);
		if (file->fd >= 0)
			return 0;
		file->temp[0] = '\0';
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static int create_nameless(struct io_file *file)
{
	if (access("/proc/self/fd", F_OK))	/* it could not be named later */
		return create_named(file);
	file->fd = openat(file->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	if (file->fd >= 0)
		return 0;
	if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT)
		return create_named(file);
	return -errno;
}

/* Where the host has no nameless files, the name goes again before anything is in the file. */
static int scratch_in(struct io_file *file, const char *folder)
{
	int dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	if (dir_fd < 0)
		return -errno;
	file->fd = openat(dir_fd, ".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (file->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		file->dir_fd = dir_fd;
		rc = create_named(file);
		if (!rc && unlinkat(dir_fd, file->temp, 0))
			rc = -errno;
		if (!rc)
			fchmod(file->fd, 0600);	/* for who has no name for it any more */
		file->temp[0] = '\0';
		file->dir_fd = -1;
	} else if (file->fd < 0) {
		rc = -errno;
	}
	close(dir_fd);
	return rc;
}

int io_file_scratch(struct vhd_io **io, const char *folder, struct vhd_err *err)
{
	struct io_file *file = io_file_new();
	int rc = file ? scratch_in(file, folder) : -ENOMEM;

	if (!rc) {
		*io = &file->io;
		return 0;
	}
	if (file)
		file->io.ops->close(&file->io);
	return vhd_err_errno(err, rc, "%s: no scratch file can be made there", folder);
}

static int create(struct vhd_io **io, const char *path, bool is_over, struct vhd_err *err)
{
	struct io_file *file = io_file_new();
	struct stat sb;
	int rc = -ENOMEM;

	if (!file)
		goto fail;
	rc = create_open_folder(file, path);
	if (rc)
		goto fail;
	rc = -EEXIST;	/* also for a link that leads nowhere: the name is taken */
	if (!is_over && !fstatat(file->dir_fd, file->name, &sb, AT_SYMLINK_NOFOLLOW))
		goto fail;
	rc = create_nameless(file);
	if (rc)
		goto fail;
	*io = &file->io;
	return 0;
fail:
	if (file)
		file->io.ops->close(&file->io);
	return vhd_err_errno(err, rc, "%s: cannot be created", path);
}

int io_file_create(struct vhd_io **io, const char *path, struct vhd_err *err)
{
	return create(io, path, false, err);
}

int io_file_create_over(struct vhd_io **io, const char *path, struct vhd_err *err)
{
	return create(io, path, true, err);
}

static int publish_nameless(struct io_file *file, const char *name)
{
	char self[40];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	return linkat(AT_FDCWD, self, file->dir_fd, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

/*
 * Where the host has neither a rename that replaces nothing nor a second name for a file (exFAT by
 * exfat-fuse 1.3): an empty file of our own, which nobody's can be, takes the name and is replaced.
 */
static int publish_over_own(struct io_file *file)
{
	int fd = openat(file->dir_fd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int rc;

	if (fd < 0)
		return -errno;
	close(fd);
	if (!renameat(file->dir_fd, file->temp, file->dir_fd, file->name))
		return 0;
	rc = -errno;
	unlinkat(file->dir_fd, file->name, 0);
	return rc;
}

static int publish_named(struct io_file *file)
{
	if (!renameat2(file->dir_fd, file->temp, file->dir_fd, file->name, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return -errno;
	if (!linkat(file->dir_fd, file->temp, file->dir_fd, file->name, 0)) {
		unlinkat(file->dir_fd, file->temp, 0);
		return 0;
	}
	if (errno != EPERM && errno != ENOSYS && errno != EOPNOTSUPP)
		return -errno;
	return publish_over_own(file);
}

/* Some hosts cannot sync a folder and say so: there is no more to be had there. */
static int sync_folder(int fd)
{
	return fsync(fd) && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS ? -errno : 0;
}

int io_file_publish(struct vhd_io *io, struct vhd_err *err)
{
	struct io_file *file = io_file(io);
	int rc = fsync(file->fd) ? -errno : 0;

	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be made durable", file->path);
	rc = file->temp[0] ? publish_named(file) : publish_nameless(file, file->name);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be given its name", file->path);
	file->temp[0] = '\0';
	rc = sync_folder(file->dir_fd);
	return rc ? vhd_err_errno(err, rc, "%s: is whole, but its name may not be durable",
				  file->path) : 0;
}

int io_file_finish(struct vhd_io *io, int rc, struct vhd_err *err)
{
	if (!rc)
		rc = io_file_publish(io, err);
	io->ops->close(io);
	return rc;
}

static bool is_same_file(int dir_fd, const char *name, int fd)
{
	struct stat named, open;

	return !fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) && !fstat(fd, &open) &&
	       named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

/* Whoever could use the old one can use this one; nobody else, where it cannot have its owner. On a
 * host whose modes cannot be set it must have come with one that lets in no more. */
static int copy_owner(const struct io_file *file, int old)
{
	struct stat sb, ours;
	mode_t mode;

	if (fstat(old, &sb))
		return -errno;
	mode = sb.st_mode & 0777;
	if (fchown(file->fd, sb.st_uid, sb.st_gid))
		mode &= 0700;
	if (!fchmod(file->fd, mode))
		return 0;
	if ((errno != ENOSYS && errno != EOPNOTSUPP && errno != EPERM) || fstat(file->fd, &ours))
		return -errno;
	return ours.st_mode & 0777 & ~sb.st_mode ? -EPERM : 0;
}

/* A second name for what is at file's path, durable. *is_new: it was not there yet. */
static int keep_old(struct io_file *file, int old, const char *keep, bool *is_new,
		    struct vhd_err *err)
{
	struct io_file folder = { .dir_fd = -1 };
	int rc = create_open_folder(&folder, keep);

	*is_new = !rc && !linkat(file->dir_fd, file->name, folder.dir_fd, folder.name, 0);
	if (!rc && !*is_new)
		rc = -errno;
	if (rc == -EEXIST && is_same_file(folder.dir_fd, folder.name, old))
		rc = 0;
	if (!rc)
		rc = sync_folder(folder.dir_fd);
	if (folder.dir_fd >= 0)
		close(folder.dir_fd);
	free(folder.path);
	if (rc == -EPERM || rc == -EOPNOTSUPP || rc == -ENOSYS)
		return vhd_err_set(err, -EMLINK, "%s: cannot be a second name for %s: the host "
				   "does not allow it; give the image that name yourself, and "
				   "create a child of it", keep, file->path);
	return rc ? vhd_err_errno(err, rc, "%s: cannot be a second name for %s", keep, file->path) :
		    0;
}

static int take_place(struct io_file *file)
{
	int rc = 0;

	if (!file->temp[0]) {
		rc = make_temp_name(file);
		if (!rc)
			rc = publish_nameless(file, file->temp);
		if (rc) {
			file->temp[0] = '\0';
			return rc;
		}
	}
	if (renameat(file->dir_fd, file->temp, file->dir_fd, file->name))
		return -errno;
	file->temp[0] = '\0';
	return 0;
}

int io_file_replace(struct vhd_io *io, struct vhd_io *old, const char *keep, struct vhd_err *err)
{
	struct io_file *file = io_file(io);
	int rc = copy_owner(file, io_file(old)->fd);
	bool is_new;

	if (!rc && fsync(file->fd))
		rc = -errno;
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be made durable", file->path);
	if (!is_same_file(file->dir_fd, file->name, io_file(old)->fd))
		return vhd_err_set(err, -EBUSY, "%s: was replaced meanwhile by another program",
				   file->path);
	rc = keep_old(file, io_file(old)->fd, keep, &is_new, err);
	if (rc)
		return rc;
	rc = take_place(file);
	if (rc && is_new)
		unlink(keep);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be replaced", file->path);
	rc = sync_folder(file->dir_fd);
	return rc ? vhd_err_errno(err, rc, "%s: is whole, but its name may not be durable",
				  file->path) : 0;
}

static bool is_other_file(int dir_fd, const struct dirent *entry, const struct stat *self)
{
	struct stat sb;

	/* Not what is behind a link: whatever it names is looked at where it lies, or not ours. */
	return !is_temp_name(entry->d_name) &&
	       !fstatat(dir_fd, entry->d_name, &sb, AT_SYMLINK_NOFOLLOW) && S_ISREG(sb.st_mode) &&
	       (sb.st_dev != self->st_dev || sb.st_ino != self->st_ino);
}

int io_file_each(const char *path, void (*each)(void *arg, const char *sibling), void *arg)
{
	char *real = realpath(path, NULL), *slash = real ? strrchr(real, '/') : NULL;
	const struct dirent *entry;
	struct stat self;
	DIR *folder = NULL;
	int rc = 0;

	if (!real || stat(real, &self))
		goto fail;
	slash[slash == real] = '\0';	/* the root is a folder, too */
	folder = opendir(real);
	if (!folder)
		goto fail;
	while ((errno = 0, entry = readdir(folder))) {
		char *sibling;

		if (!is_other_file(dirfd(folder), entry, &self))
			continue;
		if (asprintf(&sibling, "%s/%s", slash == real ? "" : real, entry->d_name) < 0) {
			errno = ENOMEM;
			break;
		}
		each(arg, sibling);
		free(sibling);
	}
	rc = -errno;
	closedir(folder);
	free(real);
	return rc;
fail:
	rc = -errno;
	free(real);
	return rc;
}
