/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the kernel's numbers to files and folders, and back. */
#include "fs/tree.h"

static fuse_ino_t first_file(const struct disk *disk)
{
	return FUSE_ROOT_ID + !disk->is_root;
}

/* Of folder 1: the root has its own number. */
static fuse_ino_t first_folder(const struct disk *disk)
{
	return first_file(disk) + disk->files.len;
}

struct file *tree_file(struct disk *disk, fuse_ino_t ino)
{
	return ino >= first_file(disk) && ino < first_folder(disk) ?
	       &disk->files.list[ino - first_file(disk)] : NULL;
}

size_t tree_folder(const struct disk *disk, fuse_ino_t ino)
{
	return ino >= first_folder(disk) ? ino - first_folder(disk) + 1 : FILES_ROOT;
}

fuse_ino_t tree_folder_ino(const struct disk *disk, size_t folder)
{
	return folder == FILES_ROOT ? FUSE_ROOT_ID : first_folder(disk) + folder - 1;
}

fuse_ino_t tree_find(const struct disk *disk, size_t folder, const char *name)
{
	const struct file *file = files_find(&disk->files, folder, name);
	size_t inner;

	if (file)
		return first_file(disk) + (fuse_ino_t)(file - disk->files.list);
	inner = files_find_folder(&disk->files, folder, name);
	return inner ? tree_folder_ino(disk, inner) : 0;
}

fuse_ino_t tree_next(const struct disk *disk, size_t folder, fuse_ino_t from, const char **name)
{
	const struct files *files = &disk->files;
	fuse_ino_t ino = from > first_file(disk) ? from : first_file(disk);

	for (; ino < first_folder(disk); ino++) {
		const struct file *file = &files->list[ino - first_file(disk)];

		*name = file->name;
		if (file->folder == folder)
			return ino;
	}
	for (; tree_folder(disk, ino) < files->folders_len; ino++) {
		const struct folder *inner = &files->folders[tree_folder(disk, ino)];

		*name = inner->name;
		if (inner->parent == folder)
			return ino;
	}
	return 0;
}

unsigned tree_subfolders(const struct disk *disk, size_t folder)
{
	unsigned count = 0;

	for (size_t i = 1; i < disk->files.folders_len; i++)
		count += disk->files.folders[i].parent == folder;
	return count;
}
