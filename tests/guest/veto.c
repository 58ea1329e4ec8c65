/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What libblkid has against calling a raw file a filesystem: "agrees", or what it says instead.
 *
 *	veto FILE NAME			asked as any program may
 *	veto FILE NAME locked	with every call but reading, writing and memory failing, as in
 *					the sandbox; status 77 in a build without one
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "tests/guest/raw.h"
#include "vhd/guest/veto.h"

#ifdef HAVE_SECCOMP
#include <seccomp.h>

static int lock(void)
{
	static const int allowed[] = {
		SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
		SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(ftruncate), SCMP_SYS(brk),
		SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(exit), SCMP_SYS(exit_group),
	};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc = filter ? 0 : -1;

	for (size_t i = 0; !rc && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (!rc)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	if (!rc)	/* fstat, as the C library may ask for it */
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
				      SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));
	if (!rc)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	/* Seen to be shut. */
	return rc || open("/etc/passwd", O_RDONLY) >= 0 || errno != EPERM ? 2 : 0;
}
#else
static int lock(void)
{
	return 77;
}
#endif

int main(int argc, char **argv)
{
	static struct raw raw;
	struct verdict verdict = { .state = GUEST_CLEAN };
	struct window window;
	struct stat st;
	int memfd = memfd_create("veto", 0), status = 0;

	if (argc < 3 || memfd < 0 || raw_open(&raw, &window, argv[1], O_RDONLY))
		return 2;
	/* What was there before is not to matter. */
	if (write(memfd, "LUKS\xba\xbe", 6) != 6)
		return 2;
	if (argc > 3)
		status = lock();
	if (status)
		return status;
	if (veto_ask(&window, memfd, argv[2], &verdict))
		return 2;
	if (fstat(memfd, &st) || st.st_size)
		return 3;
	printf("%s\n", verdict.state == GUEST_CLEAN ? "agrees" : verdict.why);
	return verdict.state != GUEST_CLEAN && verdict.state != GUEST_UNSUPPORTED;
}
