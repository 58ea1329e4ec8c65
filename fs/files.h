/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that a mount shows: the whole disk, and with -o partitions a file for each partition
 * and each logical volume, the latter in folders of their own.
 *
 * They show the same bytes, and the kernel caches each for itself. So they are coherent from close
 * to open: nobody writes one while another that overlaps it is open, and one whose bytes may have
 * been changed through another gives up what the kernel remembers when it is opened next.
 *
 * Threads: any may call everything but files_init, files_add, files_add_folder and files_destroy.
 * The lock is a leaf.
 */
#ifndef FS_FILES_H
#define FS_FILES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILES_DISK_NAME "disk.raw"
#define FILES_ROOT 0		/* the folder that the mount's root is */

/* A stretch of a file: len bytes at off of it are those at start of the disk. */
struct file_part {
	uint64_t off, start, len;
};

struct file {
	char *name;		/* "disk.raw", "p1" */
	size_t folder;		/* in which it is */
	uint64_t size;		/* bytes */
	struct file_part *parts;	/* by off, without gaps; none is empty */
	size_t parts_len;	/* not 0 */
	bool is_readonly;
	unsigned readers, writers;	/* lock; handles that are open */
	bool is_stale;		/* lock; another may have changed what the kernel remembers */
};

struct folder {
	char *name;
	size_t parent;		/* in which it is; the root is in itself */
};

struct files {
	pthread_mutex_t lock;
	pthread_cond_t closed;
	bool can_wait;		/* a thread may wait for what another does */
	struct file *list;	/* the whole disk first */
	size_t len;
	struct folder *folders;	/* the root first */
	size_t folders_len;
};

/* The whole disk, of size bytes. 0 or -ENOMEM; in either case files_destroy is to be called. */
int files_init(struct files *files, uint64_t size, bool can_wait);
/* Adds a file of these parts, of which off is set here. 0 or -ENOMEM. */
int files_add(struct files *files, size_t folder, const char *name, const struct file_part *parts,
	      size_t parts_len, bool is_readonly);
/* The folder of that name in parent, added if it is not there: *folder, and 0 or -ENOMEM. */
int files_add_folder(struct files *files, size_t parent, const char *name, size_t *folder);
void files_destroy(struct files *files);

/* The file of that name in the folder, or NULL; the same for a folder in it, 0 for none. */
struct file *files_find(const struct files *files, size_t folder, const char *name);
size_t files_find_folder(const struct files *files, size_t parent, const char *name);

/* Where on the disk off of the file is, which it has; *len is cut to what follows there. */
uint64_t files_place(const struct file *file, uint64_t off, uint64_t *len);

/*
 * Notes that file is opened. -EBUSY when one that overlaps it is open for writing, or is_writer and
 * one is open at all. The kernel tells of a close after close(2) has returned, so that one is
 * waited for, one second at most. *keep_cache: what the kernel remembers of it is right.
 */
int files_open(struct files *files, struct file *file, bool is_writer, bool *keep_cache);
void files_close(struct files *files, struct file *file, bool is_writer);
bool files_has_writer(struct files *files);

#endif
