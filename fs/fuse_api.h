/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one place that says which libfuse interface we are written to.
 *
 * 3.14 is what Debian 12 has; a later library keeps serving it.
 */
#ifndef FS_FUSE_API_H
#define FS_FUSE_API_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#endif
