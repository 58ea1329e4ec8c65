/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount itself: made, tuned, detached, taken down. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/explain.h"
#include "fs/ops.h"
#include "fs/say.h"
#include "fs/session.h"
#include "fs/utab.h"

/* Requests stop at OPS_MAX_IO, so more read-ahead than that gains nothing. */
#define READ_AHEAD_KIB "1024"

extern char **environ;

/*
 * libfuse and fusermount3 write their own words to standard error. They are caught, so that the
 * user gets one sentence that also names the image.
 */
struct capture {
	int fd, saved;
};

static void capture_begin(struct capture *capture)
{
	fflush(stderr);
	capture->saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	capture->fd = memfd_create("vhdfuse-messages", MFD_CLOEXEC);
	if (capture->fd >= 0)
		dup2(capture->fd, STDERR_FILENO);
}

/* The first line that was written, without its "program: "; or fallback. */
static void capture_end(struct capture *capture, char *words, size_t size, const char *fallback)
{
	ssize_t len = 0;
	char *start;

	fflush(stderr);
	if (capture->fd >= 0)
		len = pread(capture->fd, words, size - 1, 0);
	if (capture->saved >= 0) {
		dup2(capture->saved, STDERR_FILENO);
		close(capture->saved);
	}
	if (capture->fd >= 0)
		close(capture->fd);
	words[len > 0 ? len : 0] = '\0';
	words[strcspn(words, "\n")] = '\0';
	start = strstr(words, ": ");
	if (start)
		memmove(words, start + 2, strlen(start + 2) + 1);
	if (!words[0])
		snprintf(words, size, "%s", fallback);
}

/* Whoever may open the file is decided by its mode, as for any file: without default_permissions,
 * allow_other would open a disk of mode 0600 to everybody. */
static int add_our_options(struct opts *opts)
{
	char ours[64];

	snprintf(ours, sizeof(ours), "-odefault_permissions,max_read=%u%s", OPS_MAX_IO,
		 opts->is_readonly ? ",ro" : "");
	if (fuse_opt_add_arg(&opts->fuse, ours) < 0)
		return -1;
	return opts->is_debug ? fuse_opt_add_arg(&opts->fuse, "-odebug") : 0;
}

/* Asks the kernel only: the filesystem is not served yet, or may be held up. */
static int read_device(const char *mountpoint, dev_t *device)
{
	struct statx st;

	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) < 0)
		return -errno;
	*device = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

/* Without root it is a permission that is wanting, unless this kernel has no FUSE at all. */
static int mount_status(void)
{
	return geteuid() != 0 && access("/dev/fuse", F_OK) == 0 ? STATUS_USAGE : STATUS_SYSTEM;
}

/*
 * Under auto_unmount fusermount3 waits for its socket to be closed, and unmounts if the mount is
 * dead by then. A killed process closes what it holds in the order of the numbers, and Linux lets
 * go of the last closed first: without a copy of the device behind the socket, a request of
 * fusermount3 can be the one that is aborted, and the dead mount stays.
 */
static void hold_device(struct session *session)
{
	session->held = fcntl(fuse_session_fd(session->fuse), F_DUPFD_CLOEXEC, 100);
}

static void let_go_of_device(struct session *session)
{
	if (session->held >= 0)
		close(session->held);
	session->held = -1;
}

int session_open(struct session *session, struct opts *opts, struct disk *disk)
{
	struct capture capture;
	char words[512];
	int ret = -1;

	*session = (struct session) { .image = opts->image, .mountpoint = opts->mountpoint,
				      .held = -1 };
	if (add_our_options(opts) == 0) {
		capture_begin(&capture);
		session->fuse = fuse_session_new(&opts->fuse, &ops_table, sizeof(ops_table), disk);
		if (session->fuse)
			ret = fuse_session_mount(session->fuse, opts->mountpoint);
		capture_end(&capture, words, sizeof(words), "libfuse does not say why");
	} else {
		snprintf(words, sizeof(words), "%s", strerror(ENOMEM));
	}
	if (ret == 0) {
		hold_device(session);
		ret = read_device(opts->mountpoint, &session->device);
		if (ret == 0) {
			utab_add(opts->image, opts->mountpoint);
			return STATUS_OK;
		}
		snprintf(words, sizeof(words), "%s", strerror(-ret));
	}
	say("%s: cannot be mounted on %s: %s", opts->image, opts->mountpoint,
	    explain_words(words));
	session_close(session);
	return mount_status();
}

/* Only root may, and only where /sys is writable. */
void session_tune(const struct session *session)
{
	char path[64];
	ssize_t ignored;
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(session->device),
		 minor(session->device));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ignored = write(fd, READ_AHEAD_KIB, strlen(READ_AHEAD_KIB));
	(void)ignored;
	close(fd);
}

/* 0, or -errno; what fusermount3 finds wrong is EPERM. */
static int detach_by_helper(const char *mountpoint)
{
	char *const argv[] = { (char *)"fusermount3", (char *)"-u", (char *)"-q", (char *)"-z",
			       (char *)"--", strdup(mountpoint), NULL };
	posix_spawnattr_t attr;
	sigset_t none;
	int status = -1;
	pid_t pid;
	int ret;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	ret = -posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	free(argv[5]);
	if (ret < 0)
		return ret;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 ? 0 : -EPERM;
}

void session_detach(struct session *session)
{
	dev_t device;
	int ret = 0;

	/* Another mount may be there by now, or none: ours is known by its device. */
	if (read_device(session->mountpoint, &device) == 0 && device == session->device) {
		if (umount2(session->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			ret = detach_by_helper(session->mountpoint);
	}
	if (ret < 0)
		say("%s: cannot be detached from %s: %s", session->image, session->mountpoint,
		    strerror(-ret));
	else if (!atomic_exchange(&session->is_detached, true))
		utab_remove(session->mountpoint);
}

void session_close(struct session *session)
{
	if (!session->fuse)
		return;
	let_go_of_device(session);
	/* libfuse unmounts by the path alone, which may be another's after ours was detached. */
	if (!atomic_load(&session->is_detached)) {
		fuse_session_unmount(session->fuse);
		if (session->device)
			utab_remove(session->mountpoint);
	}
	fuse_session_destroy(session->fuse);
	session->fuse = NULL;
}
