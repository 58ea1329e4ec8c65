/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between the engine and storage.
 *
 * The engine reaches an image file only through a struct vhd_io. io_file.c is the one backend of
 * the programs; tests put memory, faults and a recorder behind the same table. An operation may
 * return a short count: the loops that make it whole are in io.c, once.
 *
 * What the engine assumes of a backend: a barrier that succeeded makes every write, truncate and
 * punch that had returned before it began durable; between two barriers nothing is ordered, and a
 * 512-byte sector is the most that is written whole.
 *
 * Threads: every operation may be called by many threads at once, but for close.
 */
#ifndef VHD_IO_H
#define VHD_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vhd_err;
struct vhd_io;

struct vhd_io_stat {
	uint64_t size;		/* bytes, the file's length */
	uint64_t allocated;	/* bytes that the host has allocated for it */
	int64_t mtime;		/* seconds since 1970 */
	uint64_t dev, ino;	/* the file's identity; both 0 where it has none */
	uint32_t mode;		/* permission bits */
};

/* What this holder does and forbids, laid out so that qemu's own locks meet it. */
enum vhd_io_lock {
	VHD_IO_LOCK_READ,	/* reads; forbids writing and resizing */
	VHD_IO_LOCK_WRITE,	/* reads, writes, resizes; forbids the same to others */
};

struct vhd_io_ops {
	/* Reads up to len bytes at off: the count, 0 at the end of the file, or -errno. */
	ssize_t (*pread)(struct vhd_io *io, void *buf, size_t len, uint64_t off);
	/* Writes up to len bytes at off, lengthening the file as needed: the count, or -errno. */
	ssize_t (*pwrite)(struct vhd_io *io, const void *buf, size_t len, uint64_t off);
	/* Makes all that had returned before durable, length and holes with it. 0 or -errno. */
	int (*barrier)(struct vhd_io *io);
	/* Begins to make what was written to len bytes at off durable, without waiting, so that the
	 * barrier has less to wait for. Advice: never fails. Or NULL. */
	void (*start_writing)(struct vhd_io *io, uint64_t len, uint64_t off);
	/* Forgets cached pages, so that the next read comes from the disk. Advice: never fails. */
	void (*drop_cache)(struct vhd_io *io);
	/* Cuts the file to size bytes. Never used to lengthen it. 0 or -errno. */
	int (*truncate)(struct vhd_io *io, uint64_t size);
	/* Makes len bytes at off a hole that reads as zeros, without changing the length.
	 * 0, -EOPNOTSUPP where the host cannot, or -errno. */
	int (*punch)(struct vhd_io *io, uint64_t len, uint64_t off);
	/* Gives len bytes at off, which are within the file, room on the host, so that no hole is
	 * left there; contents stay. 0, -EOPNOTSUPP where the host cannot, or -errno. Or NULL. */
	int (*allocate)(struct vhd_io *io, uint64_t len, uint64_t off);
	/* The first range of the file that ends behind off and that the host has stored: 1, *start
	 * (not below off) and *end (behind it). 0 where only a hole follows, or -errno. A host that
	 * cannot tell has stored everything. */
	int (*next_stored)(struct vhd_io *io, uint64_t off, uint64_t *start, uint64_t *end);
	int (*stat)(struct vhd_io *io, struct vhd_io_stat *st);
	/* Takes the lock, or -EBUSY when another program's forbids it, -ENOLCK where the host
	 * has no locks. Never waits. The lock goes with close. */
	int (*lock)(struct vhd_io *io, enum vhd_io_lock what);
	/* Closes and frees io. */
	void (*close)(struct vhd_io *io);
};

/* The first member of every backend's own structure. */
struct vhd_io {
	const struct vhd_io_ops *ops;
};

/* io.c: the loops. All are 0 or -errno; whole or an error. */

/* Reads len bytes at off; what lies past the end of the file reads as zeros. */
int io_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off);
int io_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off);
/* Writes len zero bytes at off from a static page of zeros; allocates nothing. */
int io_write_zeros(struct vhd_io *io, uint64_t len, uint64_t off);
/* Gives len bytes at off, which are within the file, room on the host: no hole is left there, and
 * contents stay. buf, of len_buf bytes, is for hosts that can only be written to. */
int io_fill_holes(struct vhd_io *io, uint64_t len, uint64_t off, void *buf, size_t len_buf);
/* Whether all of buf is zeros, at the speed of memory. */
bool io_is_zero(const void *buf, size_t len);
int io_barrier(struct vhd_io *io);
int io_stat(struct vhd_io *io, struct vhd_io_stat *st);

/* io_file.c and its neighbours: the POSIX backend, and the only files that make storage calls. */

/* Opens path (O_CLOEXEC; never creates). 0 or -errno with the sentence in err. */
int io_file_open(struct vhd_io **io, const char *path, bool is_readonly, struct vhd_err *err);

/* io_file_name.c: how files get their names. */

/* Calls each with the path of every other regular file in the folder where path's file really is,
 * but for what was never finished. 0 or -errno. */
int io_file_each(const char *path, void (*each)(void *arg, const char *sibling), void *arg);

/*
 * Makes a nameless file in path's folder (O_TMPFILE, or a temporary name where the host has no
 * such thing) that io_file_publish gives its name once it is whole. Closing it unpublished leaves
 * nothing behind. -EEXIST at once when path exists.
 */
int io_file_create(struct vhd_io **io, const char *path, struct vhd_err *err);
/* fsync, link to the path given at creation without ever replacing, fsync of the folder. On a host
 * that cannot do that at once, an empty file bears the name for an instant.
 * 0 or -errno (-EEXIST when path has appeared meanwhile). Blocks. */
int io_file_publish(struct vhd_io *io, struct vhd_err *err);
/* Publishes io if rc, which is what filling it came to, is 0, and closes it in any case. rc, or
 * what publishing came to. Blocks. */
int io_file_finish(struct vhd_io *io, int rc, struct vhd_err *err);

/* Makes a file in folder that never has a name that lasts: it goes when it is closed, however the
 * process ends. Nobody but its owner may read it. */
int io_file_scratch(struct vhd_io **io, const char *folder, struct vhd_err *err);

/* As io_file_create, where path exists and is to be replaced. */
int io_file_create_over(struct vhd_io **io, const char *path, struct vhd_err *err);
/*
 * io, whole and made by io_file_create_over, takes the place of old, which is open and at that
 * path, and which gets the name `keep`, on the same filesystem, first. Owner and mode are the old
 * one's. At every instant the path names one of the two. -EEXIST where keep names anything but old:
 * no other file is ever replaced. -EBUSY where the path names another file by now, -EMLINK where
 * the host has no second names for files. Blocks.
 */
int io_file_replace(struct vhd_io *io, struct vhd_io *old, const char *keep, struct vhd_err *err);

#endif
