/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sectors that become the image's own: new slots, and bits that become 1.
 *
 * Both change the map in memory, and so hold map_lock exclusive; what they make visible was
 * written, and those writes have returned, before the map says so (rule 2).
 */
#include "vhd/own.h"

#include <errno.h>
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

/* An unallocated block; map_lock is held exclusive. -EAGAIN: no slot is free. */
static int write_new(struct vhd_image *img, const uint8_t *buf, struct own_piece p)
{
	struct map_slot slot;
	int rc = map_reserve(&img->map);

	if (rc)
		return rc;
	if (!map_take(&img->map, &slot))
		return -EAGAIN;
	rc = fill_slot(img, &slot, buf, p);
	if (!rc) {
		map_set(&img->map, p.blk, slot.entry);	/* rule 2: all has returned */
	} else {
		slot.is_hole = false;
		map_give(&img->map, slot);
	}
	return rc;
}

/* Writes part of one sector whose bit is 0: the rest of it becomes zeros, as it read. */
static int write_sector_part(struct vhd_image *img, const uint8_t *buf, size_t len, uint32_t in,
			     uint64_t data)
{
	uint8_t sector[FMT_SECTOR] = { 0 };

	memcpy(sector + in % FMT_SECTOR, buf, len);
	return store_write(img, sector, sizeof(sector), data + in / FMT_SECTOR * FMT_SECTOR);
}

/* A run of sectors whose bits are 0, its first and last perhaps only in part. */
static int write_clear_run(struct vhd_image *img, const uint8_t *buf, struct own_piece p,
			   uint64_t data)
{
	int rc = 0;

	while (!rc && p.len) {
		size_t n = p.len / FMT_SECTOR * FMT_SECTOR;

		if (p.in % FMT_SECTOR || !n) {
			n = FMT_SECTOR - p.in % FMT_SECTOR;
			n = p.len < n ? p.len : n;
			rc = write_sector_part(img, buf, n, p.in, data);
		} else {
			rc = store_write(img, buf, n, data + p.in);
		}
		buf += n;
		p.in += (uint32_t)n;
		p.len -= n;
	}
	return rc;
}

static void set_bits(struct map_bits *bits, uint32_t in, size_t len)
{
	uint32_t end = (uint32_t)((in + len + FMT_SECTOR - 1) / FMT_SECTOR);

	for (uint32_t sector = in / FMT_SECTOR; sector < end; sector++)
		bits->bitmap[sector / 8] |= (uint8_t)(0x80 >> (sector % 8));
}

/* A mapped block, some bits in the range perhaps 0; map_lock is held exclusive. */
static int write_bits(struct vhd_image *img, const uint8_t *buf, struct own_piece p)
{
	uint64_t data = map_data_off(&img->map, img->map.entry[p.blk]);
	struct own_piece run = p;
	int rc;
	struct map_bits *bits = store_bits(img, p.blk, &rc);

	if (!rc)
		rc = map_reserve(&img->map);
	while (!rc && run.len) {
		struct own_piece now = run;
		bool is_set;

		now.len = own_run(bits, run.in, run.len, &is_set);
		rc = is_set ? store_write(img, buf, now.len, data + now.in) :
		     write_clear_run(img, buf, now, data);
		buf += now.len;
		run.in += (uint32_t)now.len;
		run.len -= now.len;
	}
	if (!rc && bits != MAP_BITS_FULL) {
		set_bits(bits, p.in, p.len);		/* rule 2: all has returned */
		map_bits_changed(&img->map, p.blk);
	}
	return rc;
}

int own_write(struct vhd_image *img, const uint8_t *buf, struct own_piece p)
{
	return img->map.entry[p.blk] == FMT_UNUSED ? write_new(img, buf, p) :
	       write_bits(img, buf, p);
}
