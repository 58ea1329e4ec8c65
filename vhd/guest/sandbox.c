/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A child process that looks at what an attacker may have written, with nothing to lose.
 *
 * The order of locking in: descriptors first (an image's keeps a lock), then limits and the user,
 * last the filter of system calls, after which nothing can be taken back. A call that the filter
 * does not know fails with EPERM rather than killing: libraries ask for things that they can do
 * without.
 */
#include "vhd/guest/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config.h"

#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#define CHILD_MEMORY (1ull << 30)	/* bytes of address space: the largest map is half of it */
#define CHILD_SECONDS 900u	/* of computing; seconds are what an honest disk needs */
#define NOBODY 65534u

enum { CHILD_SOCKET = 3, CHILD_MEMFD = 4, CHILD_FDS };

/* Leaves the two descriptors at their places, and nothing else: not even 0 to 2. */
static int keep_two(int fd, int memfd)
{
	int high;

	/* First out of each other's way. */
	high = fcntl(fd, F_DUPFD, CHILD_FDS);
	if (memfd >= 0)
		memfd = fcntl(memfd, F_DUPFD, CHILD_FDS);
	if (high < 0 || dup2(high, CHILD_SOCKET) < 0)
		return -errno;
	close(CHILD_MEMFD);
	if (memfd >= 0 && dup2(memfd, CHILD_MEMFD) < 0)
		return -errno;
	if (close_range(CHILD_FDS, ~0u, 0))
		return -errno;
	for (fd = 0; fd < CHILD_SOCKET; fd++)
		close(fd);
	return 0;
}

static int set_limit(int which, uint64_t value)
{
	struct rlimit limit = { .rlim_cur = value, .rlim_max = value };

	return setrlimit(which, &limit) ? -errno : 0;
}

/* The sanitizers reserve terabytes of address space. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

/* Where no other user is mapped (root of a namespace of a user's own), or root may not become one,
 * he stays who he is, and has no more power than that. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return syscall(SYS_capset, &header, none) ? -errno : 0;
}

static int drop_user(void)
{
	if (!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
	    !setresuid(NOBODY, NOBODY, NOBODY))
		return 0;
	return errno == EPERM || errno == EINVAL ? drop_capabilities() : -errno;
}

static int drop_privileges(void)
{
	int rc = set_limit(RLIMIT_CORE, 0);

	if (!rc)
		rc = set_limit(RLIMIT_CPU, CHILD_SECONDS);
	if (!rc && !IS_SANITIZED)
		rc = set_limit(RLIMIT_AS, CHILD_MEMORY);
	if (!rc && geteuid() == 0)
		rc = drop_user();
	/* The last again: a change of user undoes it. */
	if (!rc && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
		    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)))
		rc = -errno;
	return rc;
}

#ifdef HAVE_SECCOMP
static const int allowed[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(ftruncate),
	SCMP_SYS(fadvise64),
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(futex),
	SCMP_SYS(getrandom), SCMP_SYS(rt_sigreturn), SCMP_SYS(restart_syscall), SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

static int filter_calls(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = 0;

	if (!filter)
		return -ENOMEM;
	for (size_t i = 0; !rc && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	/* Memory that is no file's and holds no code. */
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
				      SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	if (!rc)	/* what fstat(3) is made of */
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
				      SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}
#else
static int filter_calls(void)
{
	return -ENOSYS;
}
#endif

static int lock_in(int fd, int memfd, bool is_open)
{
	int rc = keep_two(fd, memfd);

	if (rc || is_open)
		return rc;
	rc = drop_privileges();
	return rc ? rc : filter_calls();
}

static _Noreturn void child(int fd, int memfd, bool is_open, sandbox_fn job, void *arg)
{
	sandbox_greeting greeting;

	/* Not to outlive who asks, nor to run handlers that are the parent's. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	signal(SIGINT, SIG_IGN);	/* a terminal sends it to both, and the parent says when */
	signal(SIGTERM, SIG_DFL);
	signal(SIGUSR1, SIG_IGN);
	greeting = lock_in(fd, memfd, is_open);
	if (write(CHILD_SOCKET, &greeting, sizeof(greeting)) == sizeof(greeting) && !greeting)
		job(CHILD_SOCKET, memfd >= 0 ? CHILD_MEMFD : -1, arg);
	_exit(0);
}

static int hear_greeting(struct sandbox *sandbox, bool is_open)
{
	sandbox_greeting greeting = -EPROTO;

	while (recv(sandbox->fd, &greeting, sizeof(greeting), MSG_WAITALL) < 0 && errno == EINTR)
		;
	if (!greeting)
		return 0;
	sandbox_end(sandbox);
	return is_open ? greeting : -ENOSYS;
}

int sandbox_start(struct sandbox *sandbox, bool is_open, sandbox_fn job, void *arg)
{
	int ends[2], memfd, rc = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	memfd = memfd_create("vhd", MFD_CLOEXEC);
	sandbox->fd = ends[0];
	sandbox->pid = fork();
	if (sandbox->pid == 0)
		child(ends[1], memfd, is_open, job, arg);
	if (sandbox->pid < 0)
		rc = -errno;
	close(ends[1]);
	if (memfd >= 0)
		close(memfd);
	if (rc) {
		close(ends[0]);
		return rc;
	}
	return hear_greeting(sandbox, is_open);
}

void sandbox_end(struct sandbox *sandbox)
{
	close(sandbox->fd);
	kill(sandbox->pid, SIGKILL);
	while (waitpid(sandbox->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
