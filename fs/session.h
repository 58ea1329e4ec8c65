/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount itself: made, tuned, detached, taken down. */
#ifndef FS_SESSION_H
#define FS_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "fs/disk.h"
#include "fs/fuse_api.h"
#include "fs/opts.h"

struct session {
	struct fuse_session *fuse;
	const char *image, *mountpoint;	/* of the opts */
	dev_t device;		/* the mounted filesystem's, unique while it lives */
	atomic_bool is_detached;
	int held;		/* a second descriptor of the device, or -1 */
};

/* Mounts. A status of mount(8): when not STATUS_OK, the sentence has been said. */
int session_open(struct session *session, struct opts *opts, struct disk *disk);

/* What can be set only once the kernel has had its first answer. Advice: never fails. */
void session_tune(const struct session *session);

/* Takes the mount out of the tree; those who hold the file keep it. Any thread. */
void session_detach(struct session *session);

/* Unmounts what is still mounted, lets go of the kernel and frees. */
void session_close(struct session *session);

#endif
