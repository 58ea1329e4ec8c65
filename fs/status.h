/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a driver tells whoever unmounts it of its end: FUSE has no such word.
 *
 * While it serves, a driver holds an exclusive flock(2) on a small file and has written a first
 * line to it. When all is published and the image is closed, it adds the second and ends, and the
 * lock goes with it:
 *
 *	pid=PID start=STARTTIME		STARTTIME is field 22 of /proc/PID/stat
 *	status=N			N is an exit status of vhdimg(1)
 *
 * The file's name is MAJOR:MINOR, the st_dev of the mounted filesystem in decimal, in
 *
 *	/run/vhdfuse			for root
 *	$XDG_RUNTIME_DIR/vhdfuse	for others, where that is set
 *	/tmp/vhdfuse-UID		else; used only if it is the user's own and nobody else's
 *
 * To wait for a driver: stat the mountpoint, open the file, unmount, take a shared lock (it comes
 * when the driver has ended), read the second line. None means that it died without a word. The
 * driver itself removes the name at its end; what a killed one leaves behind is replaced, never
 * reused, by the next mount that gets its device number.
 */
#ifndef FS_STATUS_H
#define FS_STATUS_H

#include <sys/types.h>

struct status_file {
	int dir, fd;		/* -1 where there is none */
	char name[32];
};

/* In the process that will serve. 0 or -errno, and then status_end does nothing. */
int status_begin(struct status_file *file, dev_t device);

/* Tells the end. The lock is kept: the kernel drops it when the process has ended. */
void status_end(struct status_file *file, int status);

#endif
