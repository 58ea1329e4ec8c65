/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The disk as it is served: the image, what its file looks like, and whether anything has been
 * written since the last commit.
 *
 * Threads: any may call everything but disk_open and disk_close. Locks are leaves: attr_lock is
 * held for a few assignments, commit_lock across vhd_flush; neither while the other is held.
 */
#ifndef FS_DISK_H
#define FS_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "fs/files.h"
#include "fs/opts.h"
#include "vhd/vhd.h"

#define DISK_BLOCK 4096		/* what we call a block to the kernel: see disk_statfs */

/* A file's ownership and times, changed by chmod and its kin for as long as the mount lasts. */
struct disk_attr {
	uid_t uid;
	gid_t gid;
	mode_t mode;		/* of the files, permission bits alone */
	struct timespec atime;
};

struct disk {
	/* Set by disk_open, never changed. */
	vhd_image *img;
	char *name;		/* the path of the image, or of what is written before it */
	int folder;		/* O_PATH of where the file is that is written: its free room */
	uint64_t size;		/* bytes */
	bool is_readonly;
	bool has_writeback;	/* the kernel may have what has not been handed over yet */
	bool is_root;		/* the file is the mount's root, not in a directory */
	mode_t folder_mode;
	enum vhd_zero_how punch;
	struct files files;	/* has a lock of its own */
	FILE *warnings;		/* held back while the image is opened; NULL: said at once */

	/* Set when nothing is served any more. */
	bool keeps_mtime;	/* the image's file, through disk_close */
	struct timespec image_mtime;

	pthread_mutex_t attr_lock;
	struct disk_attr attr;		/* attr_lock */
	atomic_int_fast64_t mtime;	/* nanoseconds since 1970 */

	pthread_mutex_t commit_lock;
	atomic_bool is_written;	/* since the last commit began; cleared under commit_lock */
};

/*
 * Opens the image as opts say; a lock that another program holds is waited for, 3 seconds at most.
 * 0 or -errno, the sentence in err.
 */
int disk_open(struct disk *disk, const struct opts *opts, struct vhd_err *err);

/* Publishes what there is and frees. 0 or -errno. No other call may be under way. */
int disk_close(struct disk *disk, struct vhd_err *err);

/* To be called after each change of the contents and before it is acknowledged. */
void disk_wrote(struct disk *disk);

/*
 * Makes durable and public what was acknowledged before the call. Costs nothing when nothing was
 * written. Blocks. 0 or -errno; what failed to be committed is tried again by the next call.
 */
int disk_commit(struct disk *disk, struct vhd_err *err);

/* The attributes of a file. 0 or -errno. */
int disk_stat(struct disk *disk, const struct file *file, struct stat *st, struct vhd_err *err);

/* The room there is, as df shows it. 0 or -errno. */
int disk_statfs(struct disk *disk, struct statvfs *st, struct vhd_err *err);

#endif
