/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the reader of ext2, ext3 and ext4: what its steps share.
 *
 * Each step returns 0 to go on, 1 when the verdict has been given (never clean: that is what is
 * left when every step has passed), or -errno.
 */
#ifndef VHD_GUEST_FS_EXT_H
#define VHD_GUEST_FS_EXT_H

#include "vhd/guest/fs.h"

#define EXT_SUPER_OFF 1024u
#define EXT_SUPER_LEN 1024u

/* Feature bits that decide what it is called. */
#define EXT_COMPAT_JOURNAL 0x4u
#define EXT_INCOMPAT_JOURNAL_DEV 0x8u

/* config.h, which says so, is included before this by those who have libext2fs. */
#ifdef HAVE_EXT2FS

#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

struct ext {
	const struct window *window;
	struct verdict *verdict;
	ext2_filsys fs;
	struct struct_io_channel channel;	/* through which libext2fs reads the window */
	char name[32];			/* of the channel: where this structure lies */
	int read_error;			/* of the first read through the channel that failed */
};

#define ext_refuse(ext, ...) (verdict_set((ext)->verdict, __VA_ARGS__), 1)

/* Reads from the window. `what` is for the sentence when the window does not have it. */
int ext_read(struct ext *ext, void *buf, size_t len, uint64_t off, const char *what);
/* What libext2fs's rc about `what` means: never 0. */
int ext_failed(struct ext *ext, errcode_t rc, const char *what);

/* Opens fs, whose superblock super has passed ext_check_super. ext_close at any time. */
int ext_open(struct ext *ext);
void ext_close(struct ext *ext);

/* Whether the raw superblock is one to be opened: features, geometry. */
int ext_check_super(struct ext *ext, const uint8_t *super);
/* Whether it was left in order: state, journal, multiple mount protection. */
int ext_check_state(struct ext *ext);
/* Reads what is free, and checks it against all else that is known of it. */
int ext_read_map(struct ext *ext, struct freemap *map);

#endif
#endif
