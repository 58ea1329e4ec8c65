/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another size of the disk.
 *
 * The footers say how large the disk is, and the block table has to reach as far: a disk that grows
 * gets its table first, and a disk that is cut keeps it until the footers say so (rule 12). In
 * between the table is longer than it need be, which no reader minds.
 *
 * A table grows where it is: blocks that are in the way are moved behind everything, as a
 * compaction moves them. Where something else is in the way (parent locators), all of the table
 * goes behind everything; the old one's room is nobody's from then on. XenServer's tools take what
 * is before the table for metadata, so an image of theirs is refused rather than left like that.
 *
 * What is cut off of the last block becomes zeros, so that nothing old is there when the disk grows
 * again.
 *
 * Locking: still_lock is held exclusive (reclaim.c). The size is what all other calls measure by:
 * none may be under way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/commit.h"
#include "vhd/create.h"
#include "vhd/layout.h"
#include "vhd/move.h"
#include "vhd/reclaim.h"
#include "vhd/rewrite.h"
#include "vhd/store.h"

#define HOST_PAGE 4096u

struct resize {
	struct reclaim r;
	struct vhd_image *img;
	uint64_t size;		/* bytes, the new one */
	uint32_t blocks;	/* the new number; 0 of a fixed image */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static int check_dynamic(const struct resize *z, uint64_t blocks, struct vhd_err *err)
{
	const struct vhd_image *img = z->img;
	bool grows = z->size > img->size;

	if (z->size > FMT_MAX_DYNAMIC || !create_is_fillable(img->metadata_end + blocks * 4,
							     img->map.block_size, blocks))
		return vhd_err_set(err, -EINVAL, "%s: a disk of %llu bytes is more than a dynamic "
				   "image with blocks of %u bytes can have", img->name,
				   (unsigned long long)z->size, img->map.block_size);
	if (img->footer.data_offset % FMT_SECTOR)
		return vhd_err_set(err, -ENOTSUP, "%s: the dynamic header lies across sectors, and "
				   "cannot be changed safely", img->name);
	if (grows && img->parent && img->parent->size > img->size)
		return vhd_err_set(err, -ENOTSUP, "%s: its parent %s has %llu bytes, and what it "
				   "has behind this disk would come to light", img->name,
				   img->parent->name, (unsigned long long)img->parent->size);
	return 0;
}

static int check(const struct resize *z, bool is_dry, struct vhd_err *err)
{
	const struct vhd_image *img = z->img;

	if (img->is_raw)
		return vhd_err_set(err, -ENOTSUP, "%s: no VHD but a raw disk", img->name);
	if (img->is_readonly && !is_dry)
		return vhd_err_set(err, -EROFS, "%s: opened read-only", img->name);
	if (!z->size || z->size % FMT_SECTOR)
		return vhd_err_set(err, -EINVAL, "%s: the size of a disk is a multiple of 512 "
				   "bytes, and %llu is not", img->name,
				   (unsigned long long)z->size);
	if (img->footer.saved_state)
		return vhd_err_set(err, -EBUSY, "%s: a machine's saved state waits for this disk "
				   "as it is; resume or discard it first", img->name);
	if (image_is_fixed(img))
		return z->size <= INT64_MAX - FMT_SECTOR ? 0 :
		       vhd_err_set(err, -EINVAL, "%s: no file can be so large", img->name);
	return check_dynamic(z, (z->size - 1) / img->map.block_size + 1, err);
}

/* Where the room of a table of so many entries ends, blktap's batmap counted. */
static uint64_t table_room_end(const struct vhd_image *img, uint32_t entries)
{
	struct vhd_image longer = { .footer = img->footer, .header = img->header };
	uint64_t end = img->header.table_offset + (uint64_t)entries * 4;

	longer.header.entries = entries;
	if (!layout_may_have_batmap(img))
		return layout_pad_table(img, end);
	return layout_batmap_off(&longer) + FMT_SECTOR + layout_batmap_size(entries);
}

static bool is_table_or_batmap(const struct vhd_image *img, const struct layout_span *span)
{
	return span->start == img->header.table_offset ||
	       (layout_may_have_batmap(img) && span->start == layout_batmap_off(img));
}

/* Whether other metadata lies between the table's start and end. */
static bool is_metadata_in_way(const struct vhd_image *img, uint64_t end)
{
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned n = layout_metadata(img, spans);

	for (unsigned i = 0; i < n; i++)
		if (!is_table_or_batmap(img, &spans[i]) && spans[i].start < end &&
		    spans[i].soft > img->header.table_offset)
			return true;
	return false;
}

/* A slot at end or behind; what is free before that is not ours to use any more. */
static int take_slot_behind(struct vhd_image *img, uint64_t end, uint32_t *entry,
			    struct vhd_err *err)
{
	for (;;) {
		struct map_slot slot = { 0 };
		bool is_taken, is_behind = false;
		int rc;

		pthread_rwlock_wrlock(&img->map_lock);
		do {
			is_taken = map_take(&img->map, &slot);
			is_behind = is_taken && map_entry_off(slot.entry) >= end;
		} while (is_taken && !is_behind);
		pthread_rwlock_unlock(&img->map_lock);
		*entry = slot.entry;
		if (is_behind)
			return 0;
		rc = commit_make_room(img, err);
		if (rc)
			return rc;
	}
}

static int move_behind(struct move *m, uint32_t blk, uint64_t end, struct vhd_err *err)
{
	uint32_t entry;
	int rc = take_slot_behind(m->r->img, end, &entry, err);

	if (!rc)
		rc = move_block(m, blk, entry, err);
	if (!rc && m->full)
		rc = vhd_err_errno(err, m->full, "%s: block %u is in the way of a longer block "
				   "table", m->r->img->name, blk);
	return rc;
}

/* Blocks between the table and end go behind everything, durably. */
static int clear_way(struct resize *z, uint64_t end, struct vhd_err *err)
{
	const struct map *map = &z->img->map;
	uint64_t start = z->img->header.table_offset;
	struct move move;
	int rc = rewrite_reserve(z->img, end, err);

	if (rc)
		return rc;
	rc = move_begin(&move, &z->r);
	if (rc)
		vhd_err_errno(err, rc, "%s", z->img->name);
	for (uint32_t blk = 0; !rc && blk < map->blocks; blk++) {
		uint64_t off = map_entry_off(map->entry[blk]);

		if (map->entry[blk] != FMT_UNUSED && off < end && off + map_slot_size(map) > start)
			rc = move_behind(&move, blk, end, err);
	}
	if (!rc)
		rc = move_commit(&move, err);
	move_end(&move);
	return rc;
}

/* Room for the longer table: where it is, or behind everything. */
static int place_table(struct resize *z, uint64_t *off, struct vhd_err *err)
{
	struct vhd_image *img = z->img;
	uint64_t end = table_room_end(img, z->blocks);

	*off = img->header.table_offset;
	if (z->blocks <= img->header.entries)
		return 0;
	if (!is_metadata_in_way(img, end))
		return clear_way(z, end, err);
	if (!memcmp(img->footer.creator, "tap", 3))
		return vhd_err_set(err, -ENOTSUP, "%s: the parent locators are in the way of a "
				   "longer block table, and XenServer takes it nowhere else",
				   img->name);
	*off = round_up(img->trailer > img->slots_end ? img->trailer : img->slots_end, HOST_PAGE);
	return rewrite_reserve(img, layout_pad_table(img, *off + z->blocks * 4ull), err);
}

/* blktap looks for its batmap behind the table: a map that is all clear, which is always valid, is
 * there before the header says that the table is longer. */
static int write_batmap(struct resize *z, uint64_t table, struct vhd_err *err)
{
	struct vhd_image *img = z->img;
	uint64_t from = layout_batmap_off(img);
	uint64_t to = table + round_up((uint64_t)z->blocks * 4, FMT_SECTOR);
	uint64_t len = layout_batmap_size(z->blocks);
	uint8_t head[FMT_SECTOR];
	int rc = 0;

	if (!layout_may_have_batmap(img) || z->blocks <= img->header.entries)
		return 0;
	rc = io_pread(img->io, head, sizeof(head), from);
	if (!rc && !memcmp(head, "tdbatmap", 8)) {
		fmt_batmap_place(head, to + FMT_SECTOR, (uint32_t)(len / FMT_SECTOR));
		rc = store_write(img, head, sizeof(head), to);
		if (!rc)
			rc = store_write_zeros(img, len, to + FMT_SECTOR);
	}
	return rc ? vhd_err_errno(err, rc, "%s: cannot write the batmap", img->name) : 0;
}

static int find_room(struct vhd_image *img, struct vhd_err *err)
{
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	img->file_size = img->trailer + FMT_SECTOR;
	rc = image_find_room(img);
	pthread_mutex_unlock(&img->commit_lock);
	return rc ? vhd_err_errno(err, rc, "%s", img->name) : 0;
}

/*
 * What the last block has behind the disk's end is nobody's, whatever another program has left
 * there; it is about to be the disk's, and becomes zeros before a footer says so. Its bits need no
 * change: below there is nothing, either. But memory may take it for a block that owns all it has
 * of the disk, and it is to have more.
 */
static int clear_behind_end(struct resize *z, struct vhd_err *err)
{
	struct vhd_image *img = z->img;
	uint32_t size = img->map.block_size, used = (uint32_t)(img->size % size);
	uint32_t last = (uint32_t)(img->size / size);
	int rc;

	if (!used || img->map.entry[last] == FMT_UNUSED)
		return 0;
	rc = store_zero(img, size - used, map_data_off(&img->map, img->map.entry[last]) + used);
	pthread_rwlock_wrlock(&img->map_lock);
	map_forget_bits(&img->map, last);
	pthread_rwlock_unlock(&img->map_lock);
	return rc ? vhd_err_errno(err, rc, "%s: cannot write block %u", img->name, last) : 0;
}

static int grow(struct resize *z, struct vhd_err *err)
{
	struct vhd_image *img = z->img;
	uint32_t entries = z->blocks;
	uint64_t off;
	int rc = place_table(z, &off, err);

	if (entries < img->header.entries)
		entries = img->header.entries;
	if (!rc)
		rc = write_batmap(z, off, err);
	if (!rc)
		rc = clear_behind_end(z, err);
	if (!rc)
		rc = rewrite_table(img, off, entries, err);
	if (rc)
		return rc;
	rc = map_resize(&img->map, z->blocks);
	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	rc = rewrite_size(img, z->size, err);
	return rc ? rc : find_room(img, err);
}

static int cut(struct resize *z, struct vhd_err *err)
{
	struct vhd_image *img = z->img;
	int rc = 0;

	for (uint32_t blk = z->blocks; !rc && blk < img->map.blocks; blk++)
		if (img->map.entry[blk] != FMT_UNUSED)
			rc = reclaim_drop(&z->r, blk, err);
	if (!rc)
		rc = commit_run(img, err);
	if (!rc)
		rc = rewrite_size(img, z->size, err);
	if (rc)
		return rc;
	map_resize(&img->map, z->blocks);	/* fewer: cannot fail */
	if (!layout_may_have_batmap(img))	/* which is where the table's length puts it */
		rc = rewrite_table(img, img->header.table_offset, z->blocks, err);
	if (!rc)
		rc = commit_trim(img, COMMIT_TRIM_ALL, err);
	return rc ? rc : find_room(img, err);
}

/* The part of the last block that is cut off, as long as the image has any of it. */
static int zero_tail(struct resize *z, struct vhd_err *err)
{
	struct vhd_image *img = z->img;
	uint64_t end = (uint64_t)z->blocks * img->map.block_size;

	if (end > img->size)
		end = img->size;
	if (z->size >= end || img->map.entry[z->blocks - 1] == FMT_UNUSED)
		return 0;
	return vhd_zero(img, end - z->size, z->size, VHD_ZERO_KEEP, err);
}

static int resize_still(struct resize *z, const struct vhd_reclaim_opts *opts, struct vhd_err *err)
{
	struct vhd_reclaim_result result;
	int rc = reclaim_begin(&z->r, z->img, opts, &result, err);

	if (!rc && image_is_fixed(z->img))
		rc = rewrite_size(z->img, z->size, err);
	else if (!rc)
		rc = z->size > z->img->size ? grow(z, err) : cut(z, err);
	reclaim_end(&z->r);
	return rc;
}

int vhd_resize(vhd_image *img, uint64_t size, const struct vhd_reclaim_opts *opts,
	       struct vhd_err *err)
{
	struct resize z = { .img = img, .size = size };
	bool is_dry = opts && opts->dry_run;
	int rc = check(&z, is_dry, err);

	if (rc || size == img->size || is_dry)
		return rc;
	if (!image_is_fixed(img)) {
		z.blocks = (uint32_t)((size - 1) / img->map.block_size + 1);
		if (size < img->size)
			rc = zero_tail(&z, err);
		if (!rc)
			rc = commit_run(img, err);
	}
	return rc ? rc : resize_still(&z, opts, err);
}
