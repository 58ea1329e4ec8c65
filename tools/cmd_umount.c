/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg umount, which is also umount.fuse.vhdfuse: unmounts and comes back when the daemon has
 * closed the image, with its last status.
 *
 * What passes between the daemon and us is a file in a folder that only the daemon's user can write
 * (/run/vhdfuse for root, or $XDG_RUNTIME_DIR/vhdfuse, or /tmp/vhdfuse-UID: the first that can be
 * had), named MAJOR:MINOR after the filesystem. The daemon holds an exclusive flock on it as long
 * as it lives; its last line, "status=N", is written once the image is closed. The file is opened
 * before the unmount, and what counts is what that descriptor says: when the mount is gone, its
 * number may be another's at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cmd.h"
#include "tools/holder.h"
#include "tools/mounts.h"
#include "tools/say.h"

extern char **environ;

struct target {
	char *point;		/* absolute, no links in it; owned */
	unsigned major, minor;
	uid_t user;
	unsigned others;	/* further mounts of the same filesystem */
	int dir_fd, fd;		/* of the daemon's file; -1 where there is none */
	int pid_fd;		/* the daemon; -1 where it is not known */
	char name[32];		/* of that file */
};

/* As mountinfo writes it. A dead mount cannot be asked about itself; its folder can. */
static char *absolute(const char *path)
{
	char *whole = realpath(path, NULL), *copy, *slash, *folder = NULL;

	if (whole || errno == ENOENT)
		return whole;
	copy = strdup(path);
	while (copy && strlen(copy) > 1 && copy[strlen(copy) - 1] == '/')
		copy[strlen(copy) - 1] = '\0';
	slash = copy ? strrchr(copy, '/') : NULL;
	if (slash)
		*slash = '\0';
	if (copy)
		folder = realpath(slash ? (*copy ? copy : "/") : ".", NULL);
	if (folder && asprintf(&whole, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
			       slash ? slash + 1 : copy) < 0)
		whole = NULL;
	free(folder);
	free(copy);
	return whole;
}

static void take(struct target *target, const struct mount *mount)
{
	target->major = mount->major;
	target->minor = mount->minor;
	target->user = mount->user;
	snprintf(target->name, sizeof(target->name), "%u:%u", mount->major, mount->minor);
}

/* The uppermost mount on the point: the last that is listed. 1 if it is ours, 0 if not. */
static int find_mount(struct target *target)
{
	struct mounts mounts;
	struct mount mount;
	int is_ours = 0, rc = mounts_open(&mounts);

	if (rc < 0)
		return rc;
	while (mounts_next(&mounts, &mount)) {
		if (strcmp(mount.point, target->point) != 0)
			continue;
		is_ours = strcmp(mount.type, "fuse.vhdfuse") == 0;
		take(target, &mount);
	}
	mounts_close(&mounts);
	return is_ours;
}

static void count_others(struct target *target)
{
	struct mounts mounts;
	struct mount mount;
	unsigned count = 0;

	if (mounts_open(&mounts) < 0)
		return;
	while (mounts_next(&mounts, &mount))
		count += mount.major == target->major && mount.minor == target->minor;
	mounts_close(&mounts);
	target->others = count ? count - 1 : 0;
}

/* Another user must not be able to put a file of his own there. */
static int open_folder(const char *path, uid_t owner)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_uid == owner && !(st.st_mode & 022))
		return fd;
	close(fd);
	return -1;
}

static bool try_folder(struct target *target, const char *path)
{
	struct stat st;

	target->dir_fd = open_folder(path, target->user);
	if (target->dir_fd < 0)
		return false;
	target->fd = openat(target->dir_fd, target->name,
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (target->fd >= 0 && fstat(target->fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_uid == target->user)
		return true;
	if (target->fd >= 0)
		close(target->fd);
	close(target->dir_fd);
	target->dir_fd = target->fd = -1;
	return false;
}

/* The daemon may have been another user's, whose environment we do not know. */
static void open_word(struct target *target)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[4096];

	if (target->user == 0 && try_folder(target, "/run/vhdfuse"))
		return;
	if (runtime && *runtime && target->user == geteuid()) {
		snprintf(path, sizeof(path), "%s/vhdfuse", runtime);
		if (try_folder(target, path))
			return;
	}
	snprintf(path, sizeof(path), "/run/user/%u/vhdfuse", target->user);
	if (try_folder(target, path))
		return;
	snprintf(path, sizeof(path), "/tmp/vhdfuse-%u", target->user);
	try_folder(target, path);
}

/* The text of the daemon's file; false if it cannot be read. */
static bool read_word(int fd, char *text, size_t len)
{
	ssize_t got = pread(fd, text, len - 1, 0);

	text[got < 0 ? 0 : got] = '\0';
	return got > 0;
}

/* The kernel drops a dying process's lock shortly before the process is gone. */
static void open_process(struct target *target)
{
	char text[256];
	int pid;

	if (target->fd >= 0 && read_word(target->fd, text, sizeof(text)) &&
	    sscanf(text, "pid=%d ", &pid) == 1)
		target->pid_fd = syscall(SYS_pidfd_open, pid, 0);
}

static int fail_busy(const struct target *target, struct vhd_err *err)
{
	char holder[4200];

	if (!holder_name(target->point, holder, sizeof(holder)))
		return cmd_fail(err, -EBUSY, "%s is in use by another program or mount",
				target->point);
	return cmd_fail(err, -EBUSY, "%s is in use by %s", target->point, holder);
}

static int fail_detach(const struct target *target, int code, struct vhd_err *err)
{
	if (code == -EBUSY)
		return fail_busy(target, err);
	return cmd_fail(err, code, "%s cannot be unmounted: %s", target->point, strerror(-code));
}

/* Runs argv with its stderr into buf; its exit status, or -errno. */
static int capture(char *const argv[], char *buf, size_t len)
{
	posix_spawn_file_actions_t actions;
	int fds[2], status = 0, rc;
	size_t got = 0;
	ssize_t more;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	rc = -posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	while (rc == 0 && got < len - 1 && (more = read(fds[0], buf + got, len - 1 - got)) > 0)
		got += more;
	buf[got] = '\0';
	close(fds[0]);
	if (rc == 0 && waitpid(pid, &status, 0) < 0)
		rc = -errno;
	if (rc < 0)
		return rc;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Without the privilege: fusermount3 has it. It tells the cause only in words, which are English
 * everywhere, since it sets no locale. */
static int detach_as_user(const struct target *target, bool is_lazy, struct vhd_err *err)
{
	char option[] = "-u", lazy[] = "-uz", program[] = "fusermount3", end[] = "--";
	char *argv[] = { program, is_lazy ? lazy : option, end, target->point, NULL };
	char words[1024];
	int rc;

	/* It would say that there is no such mount. */
	if (target->user != getuid())
		return cmd_fail(err, -EPERM, "%s was mounted by another user", target->point);
	rc = capture(argv, words, sizeof(words));
	if (rc == 0)
		return 0;
	if (rc == -ENOENT)
		return cmd_fail(err, -EPERM, "%s: only root can unmount without fusermount3, "
				"which is not here", target->point);
	if (rc < 0)
		return fail_detach(target, rc, err);
	if (strstr(words, strerror(EBUSY)))
		return fail_busy(target, err);
	words[strcspn(words, "\n")] = '\0';
	return cmd_fail(err, strstr(words, strerror(EPERM)) ? -EPERM : -ECANCELED,
			"%s cannot be unmounted: %s", target->point, words);
}

static int detach(const struct target *target, const struct cli *cli, struct vhd_err *err)
{
	bool is_lazy = cli_has(cli, CLI_UMOUNT_LAZY);
	int flags = UMOUNT_NOFOLLOW;

	if (is_lazy)
		flags |= MNT_DETACH;
	if (cli_has(cli, CLI_UMOUNT_FORCE))
		flags |= MNT_FORCE;
	if (umount2(target->point, flags) == 0)
		return 0;
	if (errno == EPERM)
		return detach_as_user(target, is_lazy, err);
	return fail_detach(target, -errno, err);
}

/* The N of the line "status=N"; -1 if the daemon wrote none. */
static int read_status(int fd)
{
	char text[256];
	const char *line;

	if (!read_word(fd, text, sizeof(text)))
		return -1;
	line = strstr(text, "\nstatus=");
	return line ? atoi(line + strlen("\nstatus=")) & 0xff : -1;
}

/* Only the file that was read: by now the name may be a new daemon's. */
static void remove_word(const struct target *target)
{
	struct stat ours, there;

	if (fstat(target->fd, &ours) == 0 &&
	    fstatat(target->dir_fd, target->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		unlinkat(target->dir_fd, target->name, 0);
}

/* Bounded, since with the lock gone all that counts is done; another's number may be meant, too, if
 * the daemon lives in another namespace of processes. */
static void await_process(const struct target *target)
{
	struct pollfd process = { .fd = target->pid_fd, .events = POLLIN };

	if (target->pid_fd >= 0)
		poll(&process, 1, 1000);
}

static int await_end(const struct target *target, struct vhd_err *err)
{
	int status;

	if (target->fd < 0) {
		say("%s is unmounted; its daemon cannot be waited for: it left no file %s",
		    target->point, target->name);
		return STATUS_FAILED;
	}
	while (flock(target->fd, LOCK_SH) < 0) {
		if (errno != EINTR)
			return cmd_fail(err, -errno, "%s: cannot wait for its daemon: %s",
					target->point, strerror(errno));
	}
	await_process(target);
	status = read_status(target->fd);
	remove_word(target);
	if (status < 0) {
		say("%s is unmounted, but its daemon died without a word: check the image",
		    target->point);
		return STATUS_FAILED;
	}
	if (status)
		say("%s is unmounted, but its daemon ended with status %d: %s", target->point,
		    status, status_text(status));
	return status;
}

static int find(struct target *target, const struct cli *cli, const char *path,
		struct vhd_err *err)
{
	int rc;

	target->point = absolute(path);
	if (!target->point)
		return cmd_fail(err, -errno, "%s: %s", path, strerror(errno));
	rc = find_mount(target);
	if (rc < 0)
		return cmd_fail(err, rc, "the list of mounts cannot be read: %s", strerror(-rc));
	if (rc == 0)
		return cli_usage(cli->command, "%s is not a mount of vhdfuse", path);
	count_others(target);
	open_word(target);
	open_process(target);
	return 0;
}

static int enter_namespace(const char *path, struct vhd_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	return rc ? cmd_fail(err, rc, "%s: cannot enter the namespace: %s", path, strerror(-rc)) :
		    0;
}

static int leave(const struct target *target, const struct cli *cli, struct vhd_err *err)
{
	int rc = detach(target, cli, err);

	if (rc < 0)
		return rc;
	if (cli_has(cli, CLI_UMOUNT_VERBOSE))
		say("%s is unmounted", target->point);
	/* A bind mount, or what was propagated: the daemon serves on. */
	if (target->others || cli_has(cli, CLI_UMOUNT_LAZY))
		return 0;
	return await_end(target, err);
}

static void forget(struct target *target)
{
	const int fds[] = { target->pid_fd, target->fd, target->dir_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	free(target->point);
}

int cmd_umount(struct cli *cli, const char *mountpoint, struct vhd_err *err)
{
	struct target target = { .dir_fd = -1, .fd = -1, .pid_fd = -1 };
	const char *namespace = cli->value[CLI_UMOUNT_NAMESPACE];
	int rc = namespace ? enter_namespace(namespace, err) : 0;

	if (rc == 0)
		rc = find(&target, cli, mountpoint, err);
	if (rc == 0)
		rc = leave(&target, cli, err);
	forget(&target);
	return rc;
}
