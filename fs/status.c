/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a driver tells whoever unmounts it of its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/status.h"

/* The folder, made if need be, and only if nobody else can have put things there. */
static int try_dir(const char *path, mode_t mode)
{
	struct stat st;
	int fd;

	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022))
		return fd;
	close(fd);
	return -EPERM;
}

/* Root of a namespace of users is not the one whose /run is. */
static int open_dir(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[4096];
	int fd = geteuid() == 0 ? try_dir("/run/vhdfuse", 0755) : -1;

	if (fd < 0 && runtime && runtime[0] == '/') {
		snprintf(path, sizeof(path), "%s/vhdfuse", runtime);
		fd = try_dir(path, 0700);
	}
	if (fd < 0) {
		snprintf(path, sizeof(path), "/tmp/vhdfuse-%u", (unsigned)geteuid());
		fd = try_dir(path, 0700);
	}
	return fd;
}

/* Field 22 of /proc/self/stat; what stands in brackets before it may hold spaces. */
static unsigned long long start_time(void)
{
	char text[1024] = "";
	unsigned long long start = 0;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t len;
	char *field;
	int i;

	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	field = len > 0 ? strrchr(text, ')') : NULL;
	for (i = 2; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (field)
		start = strtoull(field, NULL, 10);
	return start;
}

/*
 * A new file under a passing name, locked, then renamed: no reader sees one without its lock. For
 * no other user to read: whoever can, may lock it too, and keep root's umount waiting for ever.
 */
static int make_file(struct status_file *file)
{
	char temporary[64];
	int ret;

	snprintf(temporary, sizeof(temporary), ".%s.%ld", file->name, (long)getpid());
	file->fd = openat(file->dir, temporary, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			  0600);
	if (file->fd < 0)
		return -errno;
	if (flock(file->fd, LOCK_EX | LOCK_NB) == 0 &&
	    dprintf(file->fd, "pid=%ld start=%llu\n", (long)getpid(), start_time()) > 0 &&
	    renameat(file->dir, temporary, file->dir, file->name) == 0)
		return 0;
	ret = -errno;
	unlinkat(file->dir, temporary, 0);
	close(file->fd);
	file->fd = -1;
	return ret;
}

int status_begin(struct status_file *file, dev_t device)
{
	int ret;

	*file = (struct status_file) { .dir = open_dir(), .fd = -1 };
	if (file->dir < 0)
		return file->dir;
	snprintf(file->name, sizeof(file->name), "%u:%u", major(device), minor(device));
	ret = make_file(file);
	if (ret < 0) {
		close(file->dir);
		file->dir = -1;
	}
	return ret;
}

/* The name may be another mount's by now: device numbers are used again. */
static void remove_name(const struct status_file *file)
{
	struct stat named, ours;

	if (fstatat(file->dir, file->name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstat(file->fd, &ours) == 0 && named.st_ino == ours.st_ino &&
	    named.st_dev == ours.st_dev)
		unlinkat(file->dir, file->name, 0);
}

void status_end(struct status_file *file, int status)
{
	if (file->fd < 0)
		return;
	dprintf(file->fd, "status=%d\n", status);
	remove_name(file);
}
