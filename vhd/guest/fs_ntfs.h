/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the NTFS reader share.
 *
 * A step of the scan returns 0 or -errno, and judges by setting the verdict: as long as that is
 * GUEST_NOTHING there is nothing against the volume.
 */
#ifndef VHD_GUEST_FS_NTFS_H
#define VHD_GUEST_FS_NTFS_H

#include "vhd/guest/fs.h"

/* What to do about damage: only Windows' own checker mends all of it. */
#define NTFS_CHKDSK "run chkdsk /f on it in Windows"

/* From the boot sector: sizes in bytes, places in clusters. */
struct ntfs_boot {
	uint32_t sector, cluster;
	uint64_t sectors, clusters;
	uint64_t mft, mirror;
};

/* Whether the first sector says that it is NTFS. */
bool ntfs_boot_is_one(const uint8_t *sector);
/* Reads and checks the boot sector and its copy behind the last sector. */
int ntfs_boot_read(const struct window *window, struct ntfs_boot *boot, struct verdict *verdict);
/* Whether shadow copies depend on what the volume calls free. */
int ntfs_shadow_check(const struct window *window, struct verdict *verdict);

#ifdef HAVE_NTFS
#include <errno.h>
#include <stdio.h>

/* libntfs-3g has types of these names, and we functions. */
#define le16 ntfs_le16
#define le32 ntfs_le32
#define le64 ntfs_le64
#define be16 ntfs_be16
#define be32 ntfs_be32
#define be64 ntfs_be64
#include <ntfs-3g/types.h>
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/mst.h>
#include <ntfs-3g/runlist.h>
#include <ntfs-3g/volume.h>
#undef le16
#undef le32
#undef le64
#undef be16
#undef be32
#undef be64

struct ntfs {
	const struct window *window;
	int rc;			/* of the first read that failed though the window has the bytes */
	struct ntfs_boot boot;
	struct ntfs_device *device;
	s64 at;			/* in it, for reads without a place of their own */
	ntfs_volume *volume;
};

/* Has the library take the volume in, with no means to write. volume is NULL if it is judged. */
int ntfs_open(struct ntfs *ntfs, struct verdict *verdict);
void ntfs_close(struct ntfs *ntfs);
/* For what the library could not read: the window's own error, or else the verdict. */
int ntfs_unread(const struct ntfs *ntfs, struct verdict *verdict, const char *what);

/* Whether it was left cleanly, and no system sleeps in it. */
int ntfs_log_check(struct ntfs *ntfs, struct verdict *verdict);
int ntfs_hiberfile_check(struct ntfs *ntfs, struct verdict *verdict);
int ntfs_flags_check(struct ntfs *ntfs, struct verdict *verdict);

/* Whether an attribute has a place for each of its bytes: what has none would read as zeros. */
bool ntfs_is_stored(const struct ntfs *ntfs, ntfs_attr *attr);
/* $Bitmap as a map; and whether it has all that the files occupy. */
int ntfs_bitmap_read(struct ntfs *ntfs, struct freemap *map, struct verdict *verdict);
int ntfs_files_check(struct ntfs *ntfs, const struct freemap *map, struct verdict *verdict);
#endif

#endif
