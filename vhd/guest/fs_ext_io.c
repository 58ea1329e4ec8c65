/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libext2fs over a window: its I/O manager, opening, and what its errors mean.
 *
 * A manager's open is given a name and nothing else, so the name is the address of the struct ext,
 * in hexadecimal: no global is needed, and no thread-local.
 */
#include "config.h"
#include "vhd/guest/fs_ext.h"

#ifdef HAVE_EXT2FS

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct struct_io_manager manager;

static errcode_t channel_open(const char *name, int flags, io_channel *channel)
{
	struct ext *ext = (struct ext *)(uintptr_t)strtoull(name, NULL, 16);

	(void)flags;
	ext->channel = (struct struct_io_channel){
		.magic = EXT2_ET_MAGIC_IO_CHANNEL, .manager = &manager, .name = ext->name,
		.block_size = EXT_SUPER_LEN, .refcount = 1, .private_data = ext,
	};
	*channel = &ext->channel;
	return 0;
}

static errcode_t channel_close(io_channel channel)
{
	(void)channel;	/* it is part of struct ext */
	return 0;
}

static errcode_t channel_set_blksize(io_channel channel, int size)
{
	channel->block_size = size;
	return 0;
}

/* count blocks, or -count bytes. */
static errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void *buf)
{
	struct ext *ext = channel->private_data;
	uint64_t off, len;
	int rc = -ERANGE;

	len = count < 0 ? -(uint64_t)count : (uint64_t)count * (unsigned)channel->block_size;
	if (!__builtin_mul_overflow(block, (unsigned)channel->block_size, &off))
		rc = window_read(ext->window, buf, len, off);
	if (rc && !ext->read_error)
		ext->read_error = rc;
	return rc ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t channel_read(io_channel channel, unsigned long block, int count, void *buf)
{
	return channel_read64(channel, block, count, buf);
}

/* Nothing is written: not to be reached. */
static errcode_t channel_write64(io_channel channel, unsigned long long block, int count,
				 const void *buf)
{
	(void)channel;
	(void)block;
	(void)count;
	(void)buf;
	return EXT2_ET_RO_FILSYS;
}

static errcode_t channel_write(io_channel channel, unsigned long block, int count, const void *buf)
{
	return channel_write64(channel, block, count, buf);
}

static errcode_t channel_flush(io_channel channel)
{
	(void)channel;
	return 0;
}

static struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "window",
	.open = channel_open,
	.close = channel_close,
	.set_blksize = channel_set_blksize,
	.read_blk = channel_read,
	.read_blk64 = channel_read64,
	.write_blk = channel_write,
	.write_blk64 = channel_write64,
	.flush = channel_flush,
};

int ext_read(struct ext *ext, void *buf, size_t len, uint64_t off, const char *what)
{
	int rc = window_read(ext->window, buf, len, off);

	if (!rc)
		return 0;
	rc = verdict_of_read(ext->verdict, rc, what);
	return rc ? rc : 1;
}

int ext_failed(struct ext *ext, errcode_t rc, const char *what)
{
	if (ext->read_error == -ERANGE)
		return ext_refuse(ext, GUEST_DAMAGED, "%s lies outside the volume", what);
	if (ext->read_error)
		return ext->read_error;
	if (rc == EXT2_ET_NO_MEMORY || rc == ENOMEM)
		return -ENOMEM;
	if (rc == EXT2_ET_SB_CSUM_INVALID || rc == EXT2_ET_INODE_CSUM_INVALID ||
	    rc == EXT2_ET_EXTENT_CSUM_INVALID || rc == EXT2_ET_UNKNOWN_CSUM)
		return ext_refuse(ext, GUEST_DAMAGED, "the checksum of %s is wrong", what);
	return ext_refuse(ext, GUEST_DAMAGED, "%s is not in order", what);
}

int ext_open(struct ext *ext)
{
	errcode_t rc;

	snprintf(ext->name, sizeof(ext->name), "%" PRIxPTR, (uintptr_t)ext);
	rc = ext2fs_open2(ext->name, NULL, EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP, 0, 0, &manager,
			  &ext->fs);
	if (!rc)
		return 0;
	ext->fs = NULL;
	return ext_failed(ext, rc, "its superblock");
}

void ext_close(struct ext *ext)
{
	if (ext->fs)
		ext2fs_free(ext->fs);
	ext->fs = NULL;
}

#endif
