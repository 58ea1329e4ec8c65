/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk as it is served: the image, what its file looks like, what was written since. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/content.h"
#include "fs/disk.h"
#include "fs/overlay.h"
#include "fs/partitions.h"
#include "fs/say.h"

#define NSEC 1000000000ll

static const struct timespec lock_poll = { 0, 50 * 1000 * 1000 };
enum { LOCK_TRIES = 60 };	/* times lock_poll: 3 seconds */

static void warn(void *arg, const char *sentence)
{
	const struct disk *disk = arg;

	if (disk->warnings)
		fwrite(sentence, strlen(sentence) + 1, 1, disk->warnings);
	else
		say("%s", sentence);
}

static void say_each(const char *sentences, size_t len)
{
	const char *end = sentences + len;

	for (; sentences < end; sentences += strlen(sentences) + 1)
		say("%s", sentences);
}

/* The next attempt would warn of the same again, so the last one alone is heard. */
static int try_to_open(struct disk *disk, const struct opts *opts, bool is_last,
		       struct vhd_err *err)
{
	const struct vhd_open_opts open_opts = {
		.is_readonly = opts->is_readonly,
		.no_lock = opts->no_lock,
		.no_detect_zeroes = opts->no_detect_zeroes,
		.parent = opts->parent,
		.warn = warn,
		.warn_arg = disk,
	};
	char *sentences = NULL;
	size_t len = 0;
	int ret;

	disk->warnings = open_memstream(&sentences, &len);
	ret = overlay_open(&disk->img, opts, &open_opts, err);
	if (disk->warnings)
		fclose(disk->warnings);
	disk->warnings = NULL;
	if (ret != -EBUSY || is_last)
		say_each(sentences, len);
	free(sentences);
	return ret;
}

/* A driver that was just unmounted may still be publishing: its lock is worth waiting for. */
static int open_image(struct disk *disk, const struct opts *opts, struct vhd_err *err)
{
	int tries = 0;
	int ret;

	while ((ret = try_to_open(disk, opts, tries == LOCK_TRIES, err)) == -EBUSY &&
	       tries++ < LOCK_TRIES)
		nanosleep(&lock_poll, NULL);
	return ret;
}

static int open_folder(const struct opts *opts)
{
	const char *folder = overlay_folder(opts);
	char *copy = strdup(overlay_path(opts));
	int fd;

	if (!copy)
		return -1;
	fd = open(folder ? folder : dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	return fd;
}

static void set_attr(struct disk *disk, const struct opts *opts, const struct stat *image)
{
	mode_t mask = opts->is_readonly ? 0555 : 0777;

	disk->attr = (struct disk_attr) {
		.uid = opts->has_uid ? opts->uid : geteuid(),
		.gid = opts->has_gid ? opts->gid : getegid(),
		.mode = (opts->has_umask ? 0666 & ~opts->umask : image->st_mode & 0600) & mask,
		.atime = image->st_atim,
	};
	disk->mtime = image->st_mtim.tv_sec * NSEC + image->st_mtim.tv_nsec;
	disk->folder_mode = (opts->has_umask ? 0777 & ~opts->umask : 0755) & mask;
}

static int open_files(struct disk *disk, const struct opts *opts, struct vhd_err *err)
{
	int ret = files_init(&disk->files, disk->size, !opts->is_single);

	if (ret < 0) {
		snprintf(err->msg, sizeof(err->msg), "%s: %s", opts->image, strerror(-ret));
		return ret;
	}
	return opts->has_partitions ?
	       partitions_add_files(&disk->files, disk->img, opts->image, err) : 0;
}

int disk_open(struct disk *disk, const struct opts *opts, struct vhd_err *err)
{
	struct stat image;
	int ret;

	*disk = (struct disk) { .folder = -1 };
	ret = open_image(disk, opts, err);
	if (ret < 0)
		return ret;
	disk->size = vhd_size(disk->img);
	ret = open_files(disk, opts, err);
	if (ret < 0) {
		files_destroy(&disk->files);
		vhd_close(disk->img, NULL);
		return ret;
	}
	overlay_stat(opts, &image);
	disk->name = strdup(overlay_path(opts));
	disk->folder = open_folder(opts);
	disk->is_readonly = opts->is_readonly;
	disk->is_root = opts->mountpoint_is_file;
	disk->has_writeback = opts->has_writeback && !disk->is_readonly;
	disk->punch = opts->no_discard ? VHD_ZERO_KEEP : VHD_ZERO_RELEASE;
	set_attr(disk, opts, &image);
	pthread_mutex_init(&disk->attr_lock, NULL);
	pthread_mutex_init(&disk->commit_lock, NULL);
	return 0;
}

static void restore_mtime(const struct disk *disk)
{
	const struct timespec times[] = { { .tv_nsec = UTIME_OMIT }, disk->image_mtime };

	if (utimensat(AT_FDCWD, disk->name, times, 0) < 0)
		say("%s: its time could not be kept, and readers that compare it will warn: %s",
		    disk->name, strerror(errno));
}

int disk_close(struct disk *disk, struct vhd_err *err)
{
	int ret = vhd_close(disk->img, err);

	if (disk->keeps_mtime)
		restore_mtime(disk);
	if (disk->folder >= 0)
		close(disk->folder);
	free(disk->name);
	files_destroy(&disk->files);
	pthread_mutex_destroy(&disk->attr_lock);
	pthread_mutex_destroy(&disk->commit_lock);
	return ret;
}

void disk_wrote(struct disk *disk)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	atomic_store(&disk->mtime, now.tv_sec * NSEC + now.tv_nsec);
	atomic_store(&disk->is_written, true);
}

/*
 * The flag is cleared before the flush begins, so a write that misses the flush sets it again. The
 * lock is what makes a caller that finds it cleared wait for the flush that covers its writes.
 */
int disk_commit(struct disk *disk, struct vhd_err *err)
{
	int ret = 0;

	pthread_mutex_lock(&disk->commit_lock);
	if (atomic_exchange(&disk->is_written, false)) {
		ret = vhd_flush(disk->img, err);
		if (ret < 0)
			atomic_store(&disk->is_written, true);
	}
	pthread_mutex_unlock(&disk->commit_lock);
	return ret;
}

/* Adds the bytes of the disk that one image of the chain has room for, at the most the disk's. */
static int add_allocated(const struct disk *disk, vhd_image *img, uint64_t *bytes,
			 struct vhd_err *err)
{
	struct vhd_info info;
	int ret = vhd_get_info(img, &info, err);

	if (ret < 0)
		return ret;
	*bytes += info.block_size ? (uint64_t)info.blocks_allocated * info.block_size :
		  info.actual_size;
	if (*bytes > disk->size)
		*bytes = disk->size;
	return 0;
}

/*
 * The most bytes of the disk that the image and its parents can have room for. What a parent alone
 * has must count: tar takes a file without blocks for one hole, and reads nothing of it.
 */
static int allocated(struct disk *disk, uint64_t *bytes, struct vhd_err *err)
{
	int ret = 0;

	*bytes = 0;
	for (vhd_image *img = disk->img; !ret && img; img = vhd_parent(img))
		ret = add_allocated(disk, img, bytes, err);
	return ret;
}

/* The same for a part of the disk, which has to be counted. */
static int allocated_in(struct disk *disk, const struct file *file, uint64_t *bytes,
			struct vhd_err *err)
{
	uint64_t off = 0, len;
	bool is_data;
	int ret = 0;

	*bytes = 0;
	for (; !ret && off < file->size; off += len) {
		ret = content_next(disk, file, off, &len, &is_data, err);
		if (!ret && is_data)
			*bytes += len;
	}
	return ret;
}

static struct timespec mtime_of(struct disk *disk)
{
	int64_t mtime = atomic_load(&disk->mtime);

	return (struct timespec) { .tv_sec = mtime / NSEC, .tv_nsec = mtime % NSEC };
}

int disk_stat(struct disk *disk, const struct file *file, struct stat *st, struct vhd_err *err)
{
	struct disk_attr attr;
	uint64_t bytes;
	int ret = file == disk->files.list ? allocated(disk, &bytes, err) :
					     allocated_in(disk, file, &bytes, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&disk->attr_lock);
	attr = disk->attr;
	pthread_mutex_unlock(&disk->attr_lock);
	*st = (struct stat) {
		.st_mode = S_IFREG | (attr.mode & (file->is_readonly ? 0555 : 0777)),
		.st_nlink = 1,
		.st_uid = attr.uid,
		.st_gid = attr.gid,
		.st_size = file->size,
		.st_blksize = DISK_BLOCK,
		.st_blocks = (bytes + 511) / 512,
		.st_atim = attr.atime,
		.st_mtim = mtime_of(disk),
		.st_ctim = mtime_of(disk),
	};
	return 0;
}

/* No more can be written than the host has room for. */
static uint64_t free_blocks(struct disk *disk, uint64_t unallocated)
{
	struct statvfs host;
	uint64_t room;

	if (disk->folder < 0 || fstatvfs(disk->folder, &host) < 0)
		return unallocated / DISK_BLOCK;
	room = (uint64_t)host.f_bavail * host.f_frsize;
	return (room < unallocated ? room : unallocated) / DISK_BLOCK;
}

/*
 * The block size is what a loop device on the file takes for its discard granularity. What a parent
 * has is free, for it takes room when it is written over.
 */
int disk_statfs(struct disk *disk, struct statvfs *st, struct vhd_err *err)
{
	uint64_t bytes = 0;
	int ret = add_allocated(disk, disk->img, &bytes, err);

	if (ret < 0)
		return ret;
	*st = (struct statvfs) {
		.f_bsize = DISK_BLOCK,
		.f_frsize = DISK_BLOCK,
		.f_blocks = (disk->size + DISK_BLOCK - 1) / DISK_BLOCK,
		.f_files = 1,
		.f_namemax = 255,
	};
	if (!disk->is_readonly)
		st->f_bfree = free_blocks(disk, disk->size - bytes);
	st->f_bavail = st->f_bfree;
	return 0;
}
