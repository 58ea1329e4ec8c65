/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The POSIX backend: the only file that makes storage calls.
 *
 * Locks are byte-range locks of the open file description, laid as qemu lays its own: a read lock
 * on 100 + n says "I do n", one on 200 + n "nobody else may do n". Nobody ever takes a write lock;
 * one is only asked for (GETLK), which shows the read locks of others. They work on read-only
 * descriptors, survive fork, and go with the last descriptor.
 */
#include "vhd/io.h"

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

struct io_file {
	struct vhd_io io;
	int fd;
	bool is_block;
	/* Of a file being created; all of it is given up when it is published. */
	int dir_fd;		/* -1: this is an ordinary file */
	char *path;		/* as the user gave it, for sentences */
	char *name;		/* within path: the name in the folder */
	char temp[32];		/* in the folder; empty: the file has no name */
};

/* qemu's numbers of what may be done to an image. */
enum {
	DO_READ = 0,
	DO_WRITE = 1,
	DO_RESIZE = 3,
	LOCK_DOES = 100,
	LOCK_FORBIDS = 200,
	LOCK_SPAN = 200,	/* bytes from LOCK_DOES on that may hold locks */
};

static struct io_file *io_file(struct vhd_io *io)
{
	return (struct io_file *)io;
}

static ssize_t file_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	if (off > INT64_MAX)	/* no file goes that far */
		return 0;
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

static int lock_error(int error)
{
	switch (error) {
	case EAGAIN:
	case EACCES:
		return -EBUSY;
	case EINVAL:	/* the kernel knows no such locks, or the filesystem refuses them all */
	case ENOSYS:
	case EOPNOTSUPP:
		return -ENOLCK;
	default:
		return -error;
	}
}

static int lock_set(int fd, short type, off_t byte, off_t len)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = len };

	return fcntl(fd, F_OFD_SETLK, &lock) ? lock_error(errno) : 0;
}

/* Whether nobody else holds the byte: 0, -EBUSY or another error. */
static int lock_probe(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1,
	};

	if (fcntl(fd, F_OFD_GETLK, &lock))
		return lock_error(errno);
	return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

/* Both lists end with -1. First all is taken, then others are looked for: of two at once, one sees
 * the other. */
static int lock_all(int fd, const int *does, const int *forbids)
{
	int rc = 0;

	for (const int *n = does; !rc && *n >= 0; n++)
		rc = lock_set(fd, F_RDLCK, LOCK_DOES + *n, 1);
	for (const int *n = forbids; !rc && *n >= 0; n++)
		rc = lock_set(fd, F_RDLCK, LOCK_FORBIDS + *n, 1);
	for (const int *n = does; !rc && *n >= 0; n++)
		rc = lock_probe(fd, LOCK_FORBIDS + *n);
	for (const int *n = forbids; !rc && *n >= 0; n++)
		rc = lock_probe(fd, LOCK_DOES + *n);
	return rc;
}

static int file_lock(struct vhd_io *io, enum vhd_io_lock what)
{
	static const int reads[] = { DO_READ, -1 };
	static const int writes[] = { DO_READ, DO_WRITE, DO_RESIZE, -1 };
	static const int forbids[] = { DO_WRITE, DO_RESIZE, -1 };
	int fd = io_file(io)->fd;
	int rc = lock_all(fd, what == VHD_IO_LOCK_WRITE ? writes : reads, forbids);

	if (rc)
		lock_set(fd, F_UNLCK, LOCK_DOES, LOCK_SPAN);
	return rc;
}

static void file_close(struct vhd_io *io)
{
	struct io_file *file = io_file(io);

	if (file->temp[0])
		unlinkat(file->dir_fd, file->temp, 0);
	if (file->dir_fd >= 0)
		close(file->dir_fd);
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
	.lock = file_lock,
	.close = file_close,
};

static struct io_file *file_new(void)
{
	struct io_file *file = calloc(1, sizeof(*file));

	if (file) {
		file->io.ops = &file_ops;
		file->fd = file->dir_fd = -1;
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

int io_file_open(struct vhd_io **io, const char *path, bool is_readonly, struct vhd_err *err)
{
	struct io_file *file = file_new();
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
	*io = &file->io;
	return 0;
}

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
	struct io_file *file = file_new();
	int rc = file ? scratch_in(file, folder) : -ENOMEM;

	if (!rc) {
		*io = &file->io;
		return 0;
	}
	if (file)
		file_close(&file->io);
	return vhd_err_errno(err, rc, "%s: no scratch file can be made there", folder);
}

static int create(struct vhd_io **io, const char *path, bool is_over, struct vhd_err *err)
{
	struct io_file *file = file_new();
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
		file_close(&file->io);
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
