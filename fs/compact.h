/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -o compact: the image gives back what reads as zeros when the mount has ended.
 *
 * What cannot be compacted is refused while somebody listens, at the mount. Nothing is served any
 * more when the work is done, so there is no locking.
 */
#ifndef FS_COMPACT_H
#define FS_COMPACT_H

#include "fs/disk.h"

/* Whether it can be had of this image. 0, or -errno with the sentence in err. */
int compact_check(struct disk *disk, struct vhd_err *err);

/*
 * After the last flush. A signal to leave stops it at a consistent point: -ECANCELED, with the
 * signal's number in *stopped_by. Blocks long. 0 or -errno.
 */
int compact_run(struct disk *disk, int *stopped_by, struct vhd_err *err);

#endif
