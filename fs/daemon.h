/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Going to the background, with the foreground waiting until the mount works. */
#ifndef FS_DAEMON_H
#define FS_DAEMON_H

/* Makes sure that descriptors 0 to 2 are open, so that no image becomes standard error. */
void daemon_fill_descriptors(void);

/*
 * Forks before there are threads. In the child 0, and *ready is for daemon_ready. In the parent 1
 * once the child has reported (*status) or has died (*status is -1). -errno if it cannot fork.
 */
int daemon_fork(int *ready, int *status);

/* In the child: lets the parent exit with status. After it nobody hears standard error. */
void daemon_ready(int ready, int status);

#endif
