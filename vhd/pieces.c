/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each byte of an image's file is for, in the order of the file.
 *
 * Metadata and blocks are merged by their place; what lies between is free, and each piece is cut
 * where the host's holes begin and end. An image that opens has no two blocks over each other, but
 * a block may lie where a writer of metadata only keeps room (layout.c): then it is the block's.
 *
 * Locking: still_lock exclusive and commit_lock, so that neither entries nor the trailing footer
 * move under the walk.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/image.h"
#include "vhd/layout.h"
#include "vhd/store.h"

struct pieces {
	struct vhd_image *img;
	vhd_piece_fn told;
	void *arg;
	uint64_t size;		/* bytes of the file */
	uint64_t limit;		/* the trailing footer, or the end of the file */
	uint64_t used;		/* all below was told */
	uint64_t stored, stored_end;	/* of the host, as asked last: ends behind used */
	uint8_t *bitmap;
};

static int look_up_stored(struct pieces *p)
{
	int rc = p->img->io->ops->next_stored(p->img->io, p->used, &p->stored, &p->stored_end);

	if (!rc)
		p->stored = p->stored_end = UINT64_MAX;
	return rc < 0 ? rc : 0;
}

/* Tells from used to end, cut at the host's holes. */
static int tell(struct pieces *p, enum vhd_piece_kind kind, uint64_t end, uint64_t disk_off)
{
	while (p->used < end) {
		struct vhd_piece piece = { .kind = kind, .off = p->used, .disk_off = disk_off };
		uint64_t change;
		int rc = p->used < p->stored_end ? 0 : look_up_stored(p);

		if (rc)
			return rc;
		piece.is_hole = p->used < p->stored;
		change = piece.is_hole ? p->stored : p->stored_end;
		piece.len = (change < end ? change : end) - p->used;
		p->used += piece.len;
		disk_off += piece.len;
		p->told(p->arg, &piece);
	}
	return 0;
}

/* From start to end of the file is of that kind, as far as nothing else was there first: that is
 * metadata over metadata, for over a block there is nothing. */
static int use(struct pieces *p, enum vhd_piece_kind kind, uint64_t start, uint64_t end,
	       uint64_t disk_off)
{
	int rc = 0;

	if (end > p->limit)
		end = p->limit;
	if (start > end)
		start = end;
	if (start > p->used)
		rc = tell(p, VHD_PIECE_FREE, start, 0);
	return rc ? rc : tell(p, kind, end, disk_off);
}

/* next is where the next block begins: up to there the room that is kept is the metadata's. */
static int use_metadata(struct pieces *p, const struct layout_span *span, uint64_t next)
{
	uint64_t soft = span->soft < next ? span->soft : next;

	return use(p, VHD_PIECE_METADATA, span->start, soft > span->hard ? soft : span->hard, 0);
}

static int use_block(struct pieces *p, const struct layout_block *block)
{
	const struct map *map = &p->img->map;
	uint64_t data = map_data_off(map, block->entry), end = data + map->block_size;
	uint64_t disk = (uint64_t)block->blk * map->block_size;
	uint32_t sectors = image_blk_len(p->img, block->blk) / FMT_SECTOR, from = 0;
	int rc = store_copy_bits(p->img, block->blk, p->bitmap);

	if (!rc)
		rc = use(p, VHD_PIECE_BITMAP, map_entry_off(block->entry), data, 0);
	for (uint32_t i = 1; !rc && i <= sectors; i++) {
		bool is_set = fmt_bit(p->bitmap, from);

		if (i < sectors && fmt_bit(p->bitmap, i) == is_set)
			continue;
		rc = use(p, is_set ? VHD_PIECE_DATA : VHD_PIECE_CLEAR,
			 data + (uint64_t)from * FMT_SECTOR, data + (uint64_t)i * FMT_SECTOR,
			 disk + (uint64_t)from * FMT_SECTOR);
		from = i;
	}
	/* What the last block has behind the disk's end. */
	return rc ? rc : use(p, VHD_PIECE_CLEAR, data + (uint64_t)from * FMT_SECTOR, end,
			     disk + (uint64_t)from * FMT_SECTOR);
}

static int walk_blocks(struct pieces *p)
{
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned n = layout_metadata(p->img, spans), i = 0;
	size_t len, b = 0;
	struct layout_block *placed = layout_blocks(&p->img->map, NULL, &len);
	int rc = 0;

	p->bitmap = malloc(p->img->map.bitmap_size);
	if (!placed || !p->bitmap)
		rc = -ENOMEM;
	while (!rc && (b < len || i < n)) {
		uint64_t next = b < len ? map_entry_off(placed[b].entry) : UINT64_MAX;

		if (i < n && spans[i].start <= next)
			rc = use_metadata(p, &spans[i++], next);
		else
			rc = use_block(p, &placed[b++]);
	}
	free(p->bitmap);
	free(placed);
	return rc;
}

static int walk(struct pieces *p)
{
	const struct vhd_image *img = p->img;
	struct vhd_io_stat st;
	int rc = io_stat(img->io, &st);

	if (rc)
		return rc;
	p->size = st.size;
	p->limit = !(img->footer_state & IMAGE_T_MISSING) && img->trailer < st.size ? img->trailer :
										      st.size;
	rc = image_is_fixed(img) ? use(p, VHD_PIECE_DATA, 0, img->size, 0) : walk_blocks(p);
	if (!rc)
		rc = use(p, VHD_PIECE_FREE, p->limit, p->limit, 0);
	p->limit = p->size;
	if (!rc && !(img->footer_state & IMAGE_T_MISSING))
		rc = use(p, VHD_PIECE_METADATA, img->trailer, img->trailer + FMT_SECTOR, 0);
	return rc ? rc : use(p, VHD_PIECE_FREE, p->size, p->size, 0);
}

int vhd_each_piece(vhd_image *img, vhd_piece_fn told, void *arg, struct vhd_err *err)
{
	struct pieces pieces = { .img = img, .told = told, .arg = arg };
	int rc;

	pthread_rwlock_wrlock(&img->still_lock);
	pthread_mutex_lock(&img->commit_lock);
	rc = walk(&pieces);
	pthread_mutex_unlock(&img->commit_lock);
	pthread_rwlock_unlock(&img->still_lock);
	return rc ? vhd_err_errno(err, rc, "%s", img->name) : 0;
}
