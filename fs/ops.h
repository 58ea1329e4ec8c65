/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The FUSE operations; their user data is a struct disk. */
#ifndef FS_OPS_H
#define FS_OPS_H

#include "fs/fuse_api.h"

/* The most that one request reads or writes: what the kernel takes at most. */
#define OPS_MAX_IO (1u << 20)

extern const struct fuse_lowlevel_ops ops_table;

#endif
