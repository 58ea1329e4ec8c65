/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making a child of an image that is open already. */
#ifndef VHD_CREATE_H
#define VHD_CREATE_H

#include "vhd/image.h"

/*
 * Makes a differencing image in io, which is empty and stays the caller's, that will be at name and
 * whose parent is what is open as parent, and will be at parent_path. Of opts, type and parent mean
 * nothing. Ends with a barrier. 0 or -errno.
 */
int create_child(struct vhd_io *io, const char *name, const struct vhd_image *parent,
		 const char *parent_path, const struct vhd_create_opts *opts, struct vhd_err *err);

/* Where the block table of a dynamic image that is made here begins, and where what keeps its room
 * ends: blocks may lie from there on. Bytes. */
#define CREATE_TABLE_OFF 1536u
uint64_t create_table_end(uint32_t entries);

/* Whether each of so many blocks, on a 4 KiB boundary behind end (bytes), would have a place that
 * 32 bits can name. */
bool create_is_fillable(uint64_t end, uint32_t block_size, uint64_t entries);

/* The time of a parent, as its child keeps it: seconds since 2000, 0 if there is none. */
uint32_t create_timestamp(const struct vhd_io_stat *st);

#endif
