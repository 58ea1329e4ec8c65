/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a reader of one kind of filesystem is.
 *
 * probe looks whether the window holds such a filesystem at all: a few reads, no judgement of its
 * state. scan reads the whole free map and cross-checks it; only when every check has passed is
 * the verdict GUEST_CLEAN, and only then does the map count. Everything in a window may have been
 * written by an attacker: a reader takes no pointer or size on trust, does bounded work, and when
 * in doubt the room is used.
 */
#ifndef VHD_GUEST_FS_H
#define VHD_GUEST_FS_H

#include "vhd/guest.h"
#include "vhd/guest/freemap.h"
#include "vhd/guest/window.h"

struct verdict {
	enum guest_state state;
	char filesystem[GUEST_NAME_MAX];	/* "ext4", "ntfs", ... */
	char why[GUEST_WHY_MAX];	/* unless clean: what is wrong, and what to do */
};

struct fs_reader {
	const char *name;	/* of the family: "ext", "fat", ... */
	/* Whether it is one, and then verdict->filesystem. An error in reading is no. */
	bool (*probe)(const struct window *window, struct verdict *verdict);
	/*
	 * Fills verdict and, if clean, map (freemap_init is the reader's to call, freemap_destroy
	 * the caller's). 0 when there is a verdict; -errno when the window could not be read
	 * (-EIO, ...) or memory ran out. -ERANGE from the window is damage, not an error.
	 */
	int (*scan)(const struct window *window, struct freemap *map, struct verdict *verdict);
};

extern const struct fs_reader fs_ext, fs_ntfs, fs_fat, fs_exfat, fs_xfs, fs_btrfs, fs_swap;

/* Stores state and the sentence (no newline, no full stop) in verdict; always 0, to be returned. */
int verdict_set(struct verdict *verdict, enum guest_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* What an error of window_read means: -ERANGE the verdict GUEST_DAMAGED, and 0; else itself. */
int verdict_of_read(struct verdict *verdict, int rc, const char *what);

#endif
