/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an open file of the POSIX backend is: shared by io_file.c, io_file_lock.c and
 * io_file_name.c, and nobody else's.
 */
#ifndef VHD_IO_FILE_H
#define VHD_IO_FILE_H

#include "vhd/io.h"

struct io_file {
	struct vhd_io io;
	int fd;
	int direct_fd;		/* the same file past the host's cache, for reading; -1: none */
	bool is_block;
	/* Of a file being created; all of it is given up when it is published. */
	int dir_fd;		/* -1: this is an ordinary file */
	char *path;		/* as the user gave it, for sentences */
	char *name;		/* within path: the name in the folder */
	char temp[32];		/* in the folder; empty: the file has no name */
};

static inline struct io_file *io_file(struct vhd_io *io)
{
	return (struct io_file *)io;
}

/* io_file.c: without a descriptor yet, and closed as any other; NULL when out of memory. */
struct io_file *io_file_new(void);

/* io_file_lock.c: what the table's lock promises. */
int io_file_lock(struct vhd_io *io, enum vhd_io_lock what);

#endif
