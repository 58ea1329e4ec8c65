/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that a mount shows, and which of them is open how. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/files.h"

int files_init(struct files *files, uint64_t size, bool can_wait)
{
	const struct file_part all = { .len = size };
	pthread_condattr_t attr;
	size_t root;
	int ret;

	*files = (struct files) { .can_wait = can_wait };
	pthread_mutex_init(&files->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&files->closed, &attr);
	pthread_condattr_destroy(&attr);
	ret = files_add_folder(files, FILES_ROOT, "", &root);
	return ret ? ret : files_add(files, root, FILES_DISK_NAME, &all, 1, false);
}

int files_add(struct files *files, size_t folder, const char *name, const struct file_part *parts,
	      size_t parts_len, bool is_readonly)
{
	struct file *list = reallocarray(files->list, files->len + 1, sizeof(*list)), *file;

	if (!list)
		return -ENOMEM;
	files->list = list;
	file = &list[files->len];
	*file = (struct file) {
		.name = strdup(name), .folder = folder, .is_readonly = is_readonly,
		.parts = reallocarray(NULL, parts_len, sizeof(*parts)), .parts_len = parts_len,
	};
	if (!file->name || !file->parts) {
		free(file->name);
		free(file->parts);
		return -ENOMEM;
	}
	files->len++;
	for (size_t i = 0; i < parts_len; i++) {
		file->parts[i] = parts[i];
		file->parts[i].off = file->size;
		file->size += parts[i].len;
	}
	return 0;
}

int files_add_folder(struct files *files, size_t parent, const char *name, size_t *folder)
{
	struct folder *folders;

	*folder = files_find_folder(files, parent, name);
	if (*folder)
		return 0;
	folders = reallocarray(files->folders, files->folders_len + 1, sizeof(*folders));
	if (!folders)
		return -ENOMEM;
	files->folders = folders;
	*folder = files->folders_len;
	folders[*folder] = (struct folder) { .name = strdup(name), .parent = parent };
	if (!folders[*folder].name)
		return -ENOMEM;
	files->folders_len++;
	return 0;
}

void files_destroy(struct files *files)
{
	for (size_t i = 0; i < files->len; i++) {
		free(files->list[i].name);
		free(files->list[i].parts);
	}
	for (size_t i = 0; i < files->folders_len; i++)
		free(files->folders[i].name);
	free(files->list);
	free(files->folders);
	pthread_cond_destroy(&files->closed);
	pthread_mutex_destroy(&files->lock);
}

struct file *files_find(const struct files *files, size_t folder, const char *name)
{
	for (size_t i = 0; i < files->len; i++)
		if (files->list[i].folder == folder && !strcmp(files->list[i].name, name))
			return &files->list[i];
	return NULL;
}

size_t files_find_folder(const struct files *files, size_t parent, const char *name)
{
	for (size_t i = 1; i < files->folders_len; i++)
		if (files->folders[i].parent == parent && !strcmp(files->folders[i].name, name))
			return i;
	return 0;
}

uint64_t files_place(const struct file *file, uint64_t off, uint64_t *len)
{
	size_t low = 0, high = file->parts_len - 1;
	const struct file_part *part;

	while (low < high) {	/* the last that begins at off or before */
		size_t middle = high - (high - low) / 2;

		if (file->parts[middle].off <= off)
			low = middle;
		else
			high = middle - 1;
	}
	part = &file->parts[low];
	if (*len > part->len - (off - part->off))
		*len = part->len - (off - part->off);
	return part->start + (off - part->off);
}

static bool overlaps(const struct file *a, const struct file *b)
{
	for (size_t i = 0; a != b && i < a->parts_len; i++) {
		const struct file_part *x = &a->parts[i];

		for (size_t k = 0; k < b->parts_len; k++) {
			const struct file_part *y = &b->parts[k];

			if (x->start < y->start + y->len && y->start < x->start + x->len)
				return true;
		}
	}
	return false;
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
