/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who keeps a mount busy. Names alone are compared, so that nothing here waits for a filesystem.
 */
#include "tools/holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/mounts.h"

static bool is_below(const char *path, const char *point)
{
	size_t len = strlen(point);

	return strncmp(path, point, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* The first line of a file, without its end. */
static bool read_line(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, buf, len - 1);
	close(fd);
	if (got < 0)
		return false;
	buf[got] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static bool find_loop(const char *point, char *buf, size_t len)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	bool is_found = false;

	while (dir && !is_found && (entry = readdir(dir))) {
		char path[512], backing[4096];

		if (strncmp(entry->d_name, "loop", 4) != 0)
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", entry->d_name);
		is_found = read_line(path, backing, sizeof(backing)) && is_below(backing, point);
		if (is_found)
			snprintf(buf, len, "/dev/%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return is_found;
}

static bool find_mount(const char *point, char *buf, size_t len)
{
	struct mounts mounts;
	struct mount mount;
	bool is_found = false;

	if (mounts_open(&mounts) < 0)
		return false;
	while (!is_found && mounts_next(&mounts, &mount)) {
		is_found = is_below(mount.point, point) && strcmp(mount.point, point) != 0;
		if (is_found)
			snprintf(buf, len, "the mount on %s", mount.point);
	}
	mounts_close(&mounts);
	return is_found;
}

static bool is_link_below(int dir_fd, const char *name, const char *point)
{
	char target[4096];
	ssize_t got = readlinkat(dir_fd, name, target, sizeof(target) - 1);

	if (got < 0)
		return false;
	target[got] = '\0';
	return is_below(target, point);
}

static bool holds(const char *pid, const char *point)
{
	char path[300];
	struct dirent *entry;
	bool is_found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/cwd", pid);
	if (is_link_below(AT_FDCWD, path, point))
		return true;
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !is_found && (entry = readdir(dir)))
		is_found = is_link_below(dirfd(dir), entry->d_name, point);
	if (dir)
		closedir(dir);
	return is_found;
}

static bool find_process(const char *point, char *buf, size_t len)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	bool is_found = false;

	while (dir && !is_found && (entry = readdir(dir))) {
		char path[300], name[64] = "a program";

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		is_found = holds(entry->d_name, point);
		if (!is_found)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		read_line(path, name, sizeof(name));
		snprintf(buf, len, "%s (process %s)", name, entry->d_name);
	}
	if (dir)
		closedir(dir);
	return is_found;
}

bool holder_name(const char *point, char *buf, size_t len)
{
	return find_loop(point, buf, len) || find_mount(point, buf, len) ||
	       find_process(point, buf, len);
}
