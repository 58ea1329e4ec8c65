/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The POSIX backend's locks against other programs.
 *
 * They are byte-range locks of the open file description, laid as qemu lays its own: a read lock
 * on 100 + n says "I do n", one on 200 + n "nobody else may do n". Nobody ever takes a write lock;
 * one is only asked for (GETLK), which shows the read locks of others. They work on read-only
 * descriptors, survive fork, and go with the last descriptor.
 */
#include "vhd/io_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* qemu's numbers of what may be done to an image. */
enum {
	DO_READ = 0,
	DO_WRITE = 1,
	DO_RESIZE = 3,
	LOCK_DOES = 100,
	LOCK_FORBIDS = 200,
	LOCK_SPAN = 200,	/* bytes from LOCK_DOES on that may hold locks */
};

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

int io_file_lock(struct vhd_io *io, enum vhd_io_lock what)
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
