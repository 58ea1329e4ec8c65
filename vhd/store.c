/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few things that all verbs do with an open image's file.
 *
 * What is written here says so in is_unsynced, after it has returned and before anybody is told,
 * so that a commit never skips a barrier that somebody's data needs.
 */
#include "vhd/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PUNCH_UNIT 4096u
#define PUNCH_MIN (64u << 10)	/* bytes; below, writing zeros is faster than a punch */

void store_poison(struct vhd_image *img, int rc)
{
	int none = 0;

	atomic_compare_exchange_strong(&img->poison, &none, rc);
}

int store_barrier(struct vhd_image *img, struct vhd_err *err)
{
	int rc;

	/* What returns from here on is not this barrier's, whether or not it covers it. */
	atomic_store(&img->is_unsynced, false);
	rc = io_barrier(img->io);
	if (!rc)
		return 0;
	store_poison(img, rc);	/* rule 10 */
	return vhd_err_errno(err, rc, "%s: a flush failed, and what it wrote is in doubt: unmount "
			     "and open the image again", img->name);
}

int store_check_poison(const struct vhd_image *img, struct vhd_err *err)
{
	int rc = atomic_load(&img->poison);

	return rc ? vhd_err_errno(err, rc, "%s: an earlier flush failed, and what it wrote is in "
				  "doubt: unmount and open the image again", img->name) : 0;
}

int store_write(struct vhd_image *img, const void *buf, size_t len, uint64_t off)
{
	int rc = io_pwrite(img->io, buf, len, off);

	atomic_store(&img->is_unsynced, true);
	return rc;
}

int store_punch(struct vhd_image *img, uint64_t len, uint64_t off)
{
	int rc;

	if (!atomic_load(&img->can_punch))
		return -EOPNOTSUPP;
	rc = img->io->ops->punch(img->io, len, off);
	/* Asked only when there is something to punch: an image left alone keeps its mtime. */
	if (rc == -EOPNOTSUPP && atomic_exchange(&img->can_punch, false))
		image_warn(img, "the host's filesystem cannot punch holes; "
			   "zeros are written instead");
	else if (!rc)
		atomic_store(&img->is_unsynced, true);
	return rc;
}

int store_fill_holes(struct vhd_image *img, uint64_t len, uint64_t off, void *buf, size_t len_buf)
{
	int rc = io_fill_holes(img->io, len, off, buf, len_buf);

	atomic_store(&img->is_unsynced, true);
	return rc;
}

int store_write_zeros(struct vhd_image *img, uint64_t len, uint64_t off)
{
	int rc = io_write_zeros(img->io, len, off);

	atomic_store(&img->is_unsynced, true);
	return rc;
}

int store_zero(struct vhd_image *img, uint64_t len, uint64_t off)
{
	uint64_t first = (off + PUNCH_UNIT - 1) / PUNCH_UNIT * PUNCH_UNIT;
	uint64_t last = (off + len) / PUNCH_UNIT * PUNCH_UNIT;
	int rc;

	if (last < first + PUNCH_MIN || store_punch(img, last - first, first))
		return store_write_zeros(img, len, off);
	rc = store_write_zeros(img, first - off, off);
	return rc ? rc : store_write_zeros(img, off + len - last, last);
}

bool store_is_full(const struct vhd_image *img, uint32_t blk, const struct map_bits *bits)
{
	uint32_t sectors = image_blk_len(img, blk) / FMT_SECTOR, i;

	for (i = 0; i < sectors / 8; i++)
		if (bits->bitmap[i] != 0xff)
			return false;
	for (i *= 8; i < sectors; i++)	/* those past the disk's end mean nothing */
		if (!fmt_bit(bits->bitmap, i))
			return false;
	return true;
}

static struct map_bits *read_bits(struct vhd_image *img, uint32_t blk, int *rc)
{
	struct map_bits *bits = malloc(sizeof(*bits) + img->map.bitmap_size);

	if (!bits) {
		*rc = -ENOMEM;
		return NULL;
	}
	bits->is_dirty = false;
	*rc = io_pread(img->io, bits->bitmap, img->map.bitmap_size,
		       map_entry_off(img->map.entry[blk]));
	if (*rc) {
		free(bits);
		return NULL;
	}
	if (!store_is_full(img, blk, bits))
		return bits;
	free(bits);
	return MAP_BITS_FULL;
}

int store_copy_bits(struct vhd_image *img, uint32_t blk, uint8_t *bitmap)
{
	const struct map_bits *bits;
	uint64_t off;

	/* still_lock keeps the block its slot, but a commit may let go of its bits. */
	pthread_rwlock_rdlock(&img->map_lock);
	bits = atomic_load(&img->map.bits[blk]);
	off = map_entry_off(img->map.entry[blk]);
	if (bits == MAP_BITS_FULL)
		memset(bitmap, 0xff, img->map.bitmap_size);
	else if (bits)
		memcpy(bitmap, bits->bitmap, img->map.bitmap_size);
	pthread_rwlock_unlock(&img->map_lock);
	return bits ? 0 : io_pread(img->io, bitmap, img->map.bitmap_size, off);
}

struct map_bits *store_bits(struct vhd_image *img, uint32_t blk, int *rc)
{
	struct map_bits *bits = atomic_load(&img->map.bits[blk]), *read, *none = NULL;

	*rc = 0;
	if (bits)
		return bits;
	read = read_bits(img, blk, rc);
	if (!read || atomic_compare_exchange_strong(&img->map.bits[blk], &none, read))
		return read;
	if (read != MAP_BITS_FULL)	/* another reader was first */
		free(read);
	return none;
}
