/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which ranges of the virtual disk some image of the chain owns, and which read as zeros. */
#include <errno.h>

#include "vhd/image.h"
#include "vhd/store.h"

/* Cuts ext, which begins at ext->off, to the sectors from there on with the same bit. */
static void cut_to_run(const struct map_bits *bits, uint32_t in, struct vhd_extent *ext)
{
	uint32_t sector = in / FMT_SECTOR;
	bool is_set;
	uint64_t run;

	if (bits == MAP_BITS_FULL) {
		ext->is_data = true;
		return;
	}
	is_set = fmt_bit(bits->bitmap, sector);
	for (run = FMT_SECTOR - in % FMT_SECTOR; run < ext->len; run += FMT_SECTOR)
		if (fmt_bit(bits->bitmap, ++sector) != is_set)
			break;
	if (run < ext->len)
		ext->len = run;
	ext->is_data = is_set;
}

/* The kind of what lies at ext->off in this image alone; ext->len is the most it may become. */
static int own_extent(struct vhd_image *img, struct vhd_extent *ext)
{
	const struct map *map = &img->map;
	uint32_t blk = (uint32_t)(ext->off / map->block_size);
	uint32_t in = (uint32_t)(ext->off % map->block_size), entry = map->entry[blk];
	uint64_t max = ext->len;
	const struct map_bits *bits;
	int rc;

	ext->len = max < map->block_size - in ? max : map->block_size - in;
	if (entry != FMT_UNUSED) {
		bits = store_bits(img, blk, &rc);
		if (!rc)
			cut_to_run(bits, in, ext);
		if (!rc && ext->is_data) {
			ext->has_file_off = true;
			ext->file_off = map_data_off(map, entry) + in;
		}
		return rc;
	}
	while (ext->len < max && ++blk < map->blocks && map->entry[blk] == FMT_UNUSED)
		ext->len += map->block_size;
	if (ext->len > max)
		ext->len = max;
	return 0;
}

/* What the chain below has where this image has nothing. */
static int below(struct vhd_image *img, struct vhd_extent *ext, struct vhd_err *err)
{
	struct vhd_extent deeper;
	int rc;

	if (!img->parent || ext->off >= img->parent->size)
		return 0;
	rc = vhd_next_extent(img->parent, ext->off, ext->len, &deeper, err);
	if (rc < 0)
		return rc;
	deeper.depth++;
	*ext = deeper;
	return 0;
}

int image_next_below(struct vhd_image *img, uint64_t len, uint64_t off, uint64_t *run,
		     bool *is_data, struct vhd_err *err)
{
	struct vhd_extent ext = { .off = off, .len = len };
	int rc = below(img, &ext, err);

	*run = ext.len;
	*is_data = ext.is_data;
	return rc;
}

int image_zeros_below(struct vhd_image *img, uint64_t len, uint64_t off, uint64_t *zeros,
		      struct vhd_err *err)
{
	bool is_data = false;
	uint64_t run;

	for (*zeros = 0; *zeros < len; *zeros += run) {
		int rc = image_next_below(img, len - *zeros, off + *zeros, &run, &is_data, err);

		if (rc || is_data)
			return rc;
	}
	return 0;
}

int vhd_next_extent(vhd_image *img, uint64_t off, uint64_t max, struct vhd_extent *ext,
		    struct vhd_err *err)
{
	int rc;

	if (off >= img->size || !max)
		return 0;
	*ext = (struct vhd_extent){ .off = off, .len = img->size - off };
	if (ext->len > max)
		ext->len = max;
	if (image_is_fixed(img)) {
		ext->is_data = ext->has_file_off = true;
		ext->file_off = off;
		return 1;
	}
	pthread_rwlock_rdlock(&img->map_lock);
	rc = own_extent(img, ext);
	pthread_rwlock_unlock(&img->map_lock);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot read a sector bitmap", img->name);
	if (!ext->is_data)
		rc = below(img, ext, err);
	return rc ? rc : 1;
}
