/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going to the background, with the foreground waiting until the mount works. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fs/daemon.h"
#include "fs/say.h"

void daemon_fill_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int await(int fd, int *status)
{
	ssize_t len;

	while ((len = read(fd, status, sizeof(*status))) < 0 && errno == EINTR)
		;
	if (len != sizeof(*status))
		*status = -1;
	close(fd);
	return 1;
}

int daemon_fork(int *ready, int *status)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	switch (fork()) {
	case -1:
		close(ends[0]);
		close(ends[1]);
		return -errno;
	case 0:
		close(ends[0]);
		setsid();
		*ready = ends[1];
		return chdir("/") < 0 ? -errno : 0;
	default:
		close(ends[1]);
		return await(ends[0], status);
	}
}

static void forget_terminal(void)
{
	int fd = open("/dev/null", O_RDWR);

	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

void daemon_ready(int ready, int status)
{
	ssize_t ignored;

	say_to_syslog();
	forget_terminal();
	ignored = write(ready, &status, sizeof(status));
	(void)ignored;
	close(ready);
}
