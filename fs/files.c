/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that a mount shows, and which of them is open how. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/files.h"

static int add(struct files *files, struct file file)
{
	struct file *list = reallocarray(files->list, files->len + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	files->list = list;
	list[files->len++] = file;
	return 0;
}

int files_init(struct files *files, uint64_t size, bool can_wait)
{
	pthread_condattr_t attr;

	*files = (struct files) { .can_wait = can_wait };
	pthread_mutex_init(&files->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&files->closed, &attr);
	pthread_condattr_destroy(&attr);
	return add(files, (struct file) { .name = FILES_DISK_NAME, .size = size });
}

int files_add(struct files *files, unsigned number, uint64_t start, uint64_t size)
{
	struct file file = { .start = start, .size = size };

	snprintf(file.name, sizeof(file.name), "p%u", number);
	return add(files, file);
}

void files_destroy(struct files *files)
{
	free(files->list);
	pthread_cond_destroy(&files->closed);
	pthread_mutex_destroy(&files->lock);
}

struct file *files_find(const struct files *files, const char *name)
{
	for (size_t i = 0; i < files->len; i++)
		if (!strcmp(files->list[i].name, name))
			return &files->list[i];
	return NULL;
}

static bool overlaps(const struct file *a, const struct file *b)
{
	return a != b && a->start < b->start + b->size && b->start < a->start + a->size;
}

static bool is_in_the_way(const struct files *files, const struct file *file, bool is_writer)
{
	for (size_t i = 0; i < files->len; i++) {
		const struct file *other = &files->list[i];

		if (overlaps(file, other) && (other->writers || (is_writer && other->readers)))
			return true;
	}
	return false;
}

/* The lock is held. */
static bool wait_for_way(struct files *files, const struct file *file, bool is_writer)
{
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	while (is_in_the_way(files, file, is_writer)) {
		if (!files->can_wait || ret == ETIMEDOUT)
			return false;
		ret = pthread_cond_timedwait(&files->closed, &files->lock, &until);
	}
	return true;
}

int files_open(struct files *files, struct file *file, bool is_writer, bool *keep_cache)
{
	bool is_free;

	pthread_mutex_lock(&files->lock);
	is_free = wait_for_way(files, file, is_writer);
	if (is_free) {
		*keep_cache = !file->is_stale;
		file->is_stale = false;
		file->writers += is_writer;
		file->readers += !is_writer;
	}
	for (size_t i = 0; is_free && is_writer && i < files->len; i++)
		if (overlaps(file, &files->list[i]))
			files->list[i].is_stale = true;
	pthread_mutex_unlock(&files->lock);
	return is_free ? 0 : -EBUSY;
}

void files_close(struct files *files, struct file *file, bool is_writer)
{
	pthread_mutex_lock(&files->lock);
	file->writers -= is_writer;
	file->readers -= !is_writer;
	pthread_cond_broadcast(&files->closed);
	pthread_mutex_unlock(&files->lock);
}

bool files_has_writer(struct files *files)
{
	bool has = false;

	pthread_mutex_lock(&files->lock);
	for (size_t i = 0; i < files->len; i++)
		has = has || files->list[i].writers;
	pthread_mutex_unlock(&files->lock);
	return has;
}
