/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mounts of this process's namespace, as /proc/self/mountinfo tells them: no call that a
 * filesystem would have to answer, so that a dead or hung mount is read like any other. */
#ifndef TOOLS_MOUNTS_H
#define TOOLS_MOUNTS_H

#include <stdio.h>
#include <sys/types.h>

struct mounts {
	FILE *file;
	char *line;
	size_t size;
};

struct mount {
	unsigned major, minor;	/* st_dev of the filesystem */
	char *point;		/* in the line: goes with the next call */
	const char *type;
	uid_t user;		/* of FUSE: who mounted it; 0 where it does not say */
};

/* 0 or -errno. */
int mounts_open(struct mounts *mounts);
/* 1 and *mount, 0 at the end. */
int mounts_next(struct mounts *mounts, struct mount *mount);
void mounts_close(struct mounts *mounts);

#endif
