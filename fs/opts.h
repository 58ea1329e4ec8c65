/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: what is ours, what is libfuse's, what an fstab line carries along. */
#ifndef FS_OPTS_H
#define FS_OPTS_H

#include <stdbool.h>
#include <sys/types.h>

#include "fs/fuse_api.h"

/* The statuses of mount(8). */
enum {
	STATUS_OK = 0,
	STATUS_USAGE = 1,	/* or no permission to mount */
	STATUS_SYSTEM = 2,
	STATUS_IMAGE = 32,
};

struct opts {
	char *image;			/* absolute where it exists */
	char *mountpoint;		/* absolute */
	bool mountpoint_is_file;
	bool is_readonly, no_lock;
	bool no_discard, no_detect_zeroes, has_partitions, is_compacting;
	bool has_writeback;		/* the kernel's cache keeps what is written for a while */
	char *parent;
	char *cow;			/* absolute where its folder exists; or NULL */
	bool is_snapshot;
	unsigned commit_seconds, term_timeout;
	bool has_uid, has_gid, has_umask;
	uid_t uid;
	gid_t gid;
	mode_t umask;
	bool is_foreground, is_debug, is_single;
	struct fuse_args fuse;		/* for fuse_session_new */
	/* While parsing. */
	bool has_fsname, is_help, is_version;
};

/*
 * Fills *opts from the command line. -1 to go on, else the status to exit with (0 after -h or -V):
 * everything has been said then. Ends with opts_free in either case.
 */
int opts_parse(struct opts *opts, int argc, char **argv);
void opts_free(struct opts *opts);

#endif
