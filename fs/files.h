/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that a mount shows: the whole disk, and with -o partitions a file for each partition.
 *
 * They show the same bytes, and the kernel caches each for itself. So they are coherent from close
 * to open: nobody writes one while another that overlaps it is open, and one whose bytes may have
 * been changed through another gives up what the kernel remembers when it is opened next.
 *
 * Threads: any may call everything but files_init, files_add and files_destroy. The lock is a leaf.
 */
#ifndef FS_FILES_H
#define FS_FILES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILES_DISK_NAME "disk.raw"

struct file {
	char name[16];		/* "disk.raw", "p1" */
	uint64_t start, size;	/* bytes of the disk */
	unsigned readers, writers;	/* lock; handles that are open */
	bool is_stale;		/* lock; another may have changed what the kernel remembers */
};

struct files {
	pthread_mutex_t lock;
	pthread_cond_t closed;
	bool can_wait;		/* a thread may wait for what another does */
	struct file *list;	/* the whole disk first */
	size_t len;
};

/* The whole disk, of size bytes. 0 or -ENOMEM. */
int files_init(struct files *files, uint64_t size, bool can_wait);
/* Adds partition number, the size bytes at start. 0 or -ENOMEM. */
int files_add(struct files *files, unsigned number, uint64_t start, uint64_t size);
void files_destroy(struct files *files);

/* The file of that name, or NULL. */
struct file *files_find(const struct files *files, const char *name);

/*
 * Notes that file is opened. -EBUSY when one that overlaps it is open for writing, or is_writer and
 * one is open at all. The kernel tells of a close after close(2) has returned, so that one is
 * waited for, one second at most. *keep_cache: what the kernel remembers of it is right.
 */
int files_open(struct files *files, struct file *file, bool is_writer, bool *keep_cache);
void files_close(struct files *files, struct file *file, bool is_writer);
bool files_has_writer(struct files *files);

#endif
