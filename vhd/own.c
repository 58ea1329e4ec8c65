/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sectors that become the image's own: new slots, and bits that become 1.
 *
 * Both change the map in memory, which is done under the exclusive map_lock; what they make visible
 * was written, and those writes have returned, before the map says so (rule 2). While a new slot is
 * filled it is this thread's alone (neither free nor named) and no lock but the block's turn is
 * held, so that writes that allocate wait for each other only within a block.
 *
 * A new block of an image without parents gets all its bits, over zeros where nothing was written.
 * In a differencing image the sectors that were written get theirs and no others: what lies under
 * a clear bit is read from the parents, and the slot may have anything there. A sector of which
 * only a part is written becomes the image's own whole, the rest of it as it read before.
 *
 * Locking: parents have locks of their own, taken after the child's.
 */
#include "vhd/own.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/store.h"

size_t own_run(const struct map_bits *bits, uint32_t in, size_t len, bool *is_set)
{
	uint32_t sector = in / FMT_SECTOR;
	uint32_t end = (uint32_t)((in + len + FMT_SECTOR - 1) / FMT_SECTOR);
	uint64_t run;

	if (bits == MAP_BITS_FULL) {
		*is_set = true;
		return len;
	}
	*is_set = fmt_bit(bits->bitmap, sector);
	while (sector < end && fmt_bit(bits->bitmap, sector) == *is_set)
		sector++;
	run = (uint64_t)sector * FMT_SECTOR - in;
	return run < len ? (size_t)run : len;
}

/*
 * A new block's slot, wholly (rule 9): the bitmap of ones, the data, zeros around it where the slot
 * is no hole. The room of a slot that was used before is punched first: cheaper than zeros.
 */
static int fill_slot(struct vhd_image *img, const struct map_slot *slot, const uint8_t *buf,
		     struct own_piece p)
{
	static const uint8_t ones[FMT_SECTOR] = { [0 ... FMT_SECTOR - 1] = 0xff };
	uint64_t data = map_data_off(&img->map, slot->entry);
	bool is_hole = slot->is_hole || !store_punch(img, img->map.block_size, data);
	int rc = 0;

	for (uint32_t i = 0; !rc && i < img->map.bitmap_size; i += FMT_SECTOR)
		rc = store_write(img, ones, sizeof(ones), map_entry_off(slot->entry) + i);
	if (!rc && !is_hole)
		rc = io_write_zeros(img->io, p.in, data);
	if (!rc)
		rc = store_write(img, buf, p.len, data + p.in);
	if (!rc && !is_hole)
		rc = io_write_zeros(img->io, img->map.block_size - p.in - p.len,
				    data + p.in + p.len);
	return rc;
}

/* A block some of whose sectors may become the image's own. */
struct work {
	struct vhd_image *img;
	struct vhd_err *err;
	uint64_t data;		/* byte offset of the block's data in the file */
	struct map_bits *bits;
	bool has_changed;	/* a bit of them became 1 */
};

static void skip(struct own_piece *p, size_t len)
{
	p->in += (uint32_t)len;
	p->len -= len;
}

static uint64_t disk_off(const struct work *w, uint32_t blk, uint32_t in)
{
	return (uint64_t)blk * w->img->map.block_size + in;
}

/* Writes part of one sector whose bit is 0: the rest of it becomes what it read as. */
static int write_sector_part(struct work *w, const uint8_t *buf, struct own_piece p)
{
	uint8_t sector[FMT_SECTOR];
	uint32_t first = p.in / FMT_SECTOR * FMT_SECTOR;
	int rc = image_read_below(w->img, sector, sizeof(sector), disk_off(w, p.blk, first),
				  w->err);

	if (rc)
		return rc;
	if (buf)
		memcpy(sector + p.in % FMT_SECTOR, buf, p.len);
	else
		memset(sector + p.in % FMT_SECTOR, 0, p.len);
	return store_write(w->img, sector, sizeof(sector), w->data + first);
}

/* What of a run of sectors whose bits are 0 is written at once: a part of one, or whole ones. */
static int write_clear(struct work *w, const uint8_t *buf, struct own_piece p, size_t *done)
{
	*done = p.len / FMT_SECTOR * FMT_SECTOR;
	if (p.in % FMT_SECTOR || !*done) {
		*done = FMT_SECTOR - p.in % FMT_SECTOR;
		p.len = *done = p.len < *done ? p.len : *done;
		return write_sector_part(w, buf, p);
	}
	if (buf)
		return store_write(w->img, buf, *done, w->data + p.in);
	return store_zero(w->img, *done, w->data + p.in);
}

static void set_bits(struct map_bits *bits, uint32_t in, size_t len)
{
	uint32_t end = (uint32_t)((in + len + FMT_SECTOR - 1) / FMT_SECTOR);

	for (uint32_t sector = in / FMT_SECTOR; sector < end; sector++)
		bits->bitmap[sector / 8] |= (uint8_t)(0x80 >> (sector % 8));
}

/* A run of sectors whose bits are 0, its first and last perhaps only in part. */
static int take_run(struct work *w, const uint8_t *buf, struct own_piece run)
{
	struct own_piece p = run;
	size_t done;
	int rc = 0;

	for (; !rc && p.len; skip(&p, done)) {
		rc = write_clear(w, buf, p, &done);
		buf = buf ? buf + done : NULL;
	}
	if (rc)
		return rc;
	set_bits(w->bits, run.in, run.len);	/* rule 2: all has returned */
	w->has_changed = true;
	return 0;
}

/* The same made zeros: where the parents have nothing, it reads as zeros without being owned. */
static int zero_run(struct work *w, struct own_piece p)
{
	struct own_piece data = p;
	int rc = 0;

	for (; !rc && p.len; skip(&p, data.len)) {
		uint64_t len, off = disk_off(w, p.blk, p.in);
		bool is_data;

		rc = image_next_below(w->img, p.len, off, &len, &is_data, w->err);
		data = p;
		data.len = (size_t)len;
		if (!rc && is_data)
			rc = take_run(w, NULL, data);
	}
	return rc;
}

static int write_owned(struct work *w, const uint8_t *buf, struct own_piece p)
{
	return buf ? store_write(w->img, buf, p.len, w->data + p.in) :
	       store_zero(w->img, p.len, w->data + p.in);
}

/* A piece of a block, the bits of its sectors whatever they are. */
static int write_runs(struct work *w, const uint8_t *buf, struct own_piece p)
{
	struct own_piece run = p;
	int rc = 0;

	for (; !rc && p.len; skip(&p, run.len)) {
		bool is_set;

		run = p;
		run.len = own_run(w->bits, p.in, p.len, &is_set);
		if (is_set)
			rc = write_owned(w, buf, run);
		else
			rc = buf ? take_run(w, buf, run) : zero_run(w, run);
		buf = buf ? buf + run.len : NULL;
	}
	return rc;
}

/*
 * A child's new slot (rule 9): what is written, and a bitmap with the bits of that alone. *bits is
 * NULL when nothing had to be; else it goes to the map, or is all ones.
 */
static int fill_part(struct vhd_image *img, const struct map_slot *slot, const uint8_t *buf,
		     struct own_piece p, struct map_bits **bits, struct vhd_err *err)
{
	uint32_t size = img->map.bitmap_size;
	struct work w = {
		.img = img, .err = err, .data = map_data_off(&img->map, slot->entry),
		.bits = calloc(1, sizeof(*w.bits) + size),
	};
	int rc = w.bits ? write_runs(&w, buf, p) : -ENOMEM;

	if (!rc && w.has_changed)
		rc = store_write(img, w.bits->bitmap, size, map_entry_off(slot->entry));
	*bits = !rc && w.has_changed ? w.bits : NULL;
	if (*bits && store_is_full(img, p.blk, w.bits))
		*bits = MAP_BITS_FULL;
	if (*bits != w.bits)
		free(w.bits);
	return rc;
}

/* An unallocated block gets its slot, which is nobody else's. The block's turn is held. */
static int write_new(struct vhd_image *img, struct map_slot slot, const uint8_t *buf,
		     struct own_piece p, struct vhd_err *err)
{
	struct map_bits *bits = MAP_BITS_FULL;
	int rc = img->parent ? fill_part(img, &slot, buf, p, &bits, err) :
			       fill_slot(img, &slot, buf, p);

	pthread_rwlock_wrlock(&img->map_lock);
	if (!rc && bits)
		rc = map_reserve(&img->map);
	if (!rc && bits) {
		map_set(&img->map, p.blk, slot.entry, bits);	/* rule 2: all has returned */
	} else {
		slot.is_hole = false;
		map_give(&img->map, slot);
		if (bits != MAP_BITS_FULL)
			free(bits);
	}
	pthread_rwlock_unlock(&img->map_lock);
	return rc;
}

/* A mapped block, some bits in the range perhaps 0; map_lock is held exclusive. */
static int write_bits(struct vhd_image *img, const uint8_t *buf, struct own_piece p,
		      struct vhd_err *err)
{
	struct work w = {
		.img = img, .err = err, .data = map_data_off(&img->map, img->map.entry[p.blk]),
	};
	int rc;

	w.bits = store_bits(img, p.blk, &rc);
	if (!rc)
		rc = map_reserve(&img->map);
	if (!rc)
		rc = write_runs(&w, buf, p);
	if (w.has_changed)
		map_bits_changed(&img->map, p.blk);
	return rc;
}

static bool take_slot(struct vhd_image *img, struct map_slot *slot)
{
	if (!map_take(&img->map, slot))
		return false;
	if (img->map.free_len < img->map.low)
		atomic_store(&img->wants_room, true);
	return true;
}

int own_write(struct vhd_image *img, const uint8_t *buf, struct own_piece p, struct vhd_err *err)
{
	struct map_slot slot;
	bool is_new;
	int rc = 0;

	pthread_rwlock_wrlock(&img->map_lock);
	is_new = img->map.entry[p.blk] == FMT_UNUSED;
	if (!is_new)
		rc = write_bits(img, buf, p, err);
	else if (!take_slot(img, &slot))
		rc = -EAGAIN;
	pthread_rwlock_unlock(&img->map_lock);
	return is_new && !rc ? write_new(img, slot, buf, p, err) : rc;
}
