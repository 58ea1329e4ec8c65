/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Moves a block to another slot.
 *
 * The copy, bitmap and all, is written and has returned before memory's entry names the new slot
 * (rule 2); what a commit then does with the entry and the old slot is as for any other change.
 * Bits are kept: the bitmap goes along as it is, and under its clear bits the copy has zeros,
 * whatever the old slot had there.
 *
 * Locking: still_lock is held exclusive (reclaim.c). A copy holds no lock; map_lock is taken for
 * the moment in which the entry changes, so that a reader waits for no copy and no barrier.
 */
#include "vhd/move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/commit.h"
#include "vhd/store.h"

#define BATCH (128ull << 20)
#define HOST_NEEDS (64u << 10)	/* bytes for the host's own records of what is written */

int move_begin(struct move *m, struct reclaim *r)
{
	*m = (struct move){ .r = r, .most = r->opts->batch ? r->batch : BATCH };
	m->bitmap = malloc(r->img->map.bitmap_size);
	return m->bitmap ? 0 : -ENOMEM;
}

void move_end(struct move *m)
{
	free(m->bitmap);
}

int move_commit(struct move *m, struct vhd_err *err)
{
	m->undone = 0;
	return commit_run(m->r->img, err);
}

/* What is zeros is left to the hole; else all of it is written. */
static int write_copy(struct move *m, size_t len, uint64_t file_off, bool is_hole)
{
	const uint8_t *buf = m->r->scan.buf;
	int rc = 0;

	for (size_t at = 0, n; !rc && at < len; at += n) {
		bool is_zero = false;

		n = is_hole ? reclaim_page_run(buf + at, len - at, file_off + at, &is_zero) : len;
		if (is_zero)
			continue;
		rc = store_write(m->r->img, buf + at, n, file_off + at);
		m->r->result->bytes_written += n;
	}
	return rc;
}

static int copy_data(struct move *m, uint32_t blk, uint32_t target)
{
	struct vhd_image *img = m->r->img;
	const struct map *map = &img->map;
	uint64_t from = map_data_off(map, map->entry[blk]), to = map_data_off(map, target);
	uint32_t has = image_blk_len(img, blk);
	/* rule 9: a hole made now. Room that was never used, or was junk, becomes one, too. */
	bool is_hole = !m->r->opts->no_holes && !store_punch(img, map->block_size, to);
	int rc = 0;

	for (uint32_t in = 0; !rc && in < map->block_size; in += CLASSIFY_BUF) {
		size_t len = map->block_size - in, own;

		len = len < CLASSIFY_BUF ? len : CLASSIFY_BUF;
		own = has > in ? has - in : 0;	/* what lies past the disk's end is zeros */
		own = own < len ? own : len;
		rc = reclaim_read_runs(m->r, m->bitmap, from, in, own);
		memset(m->r->scan.buf + own, 0, len - own);
		if (!rc)
			rc = write_copy(m, len, to + in, is_hole);
	}
	return rc;
}

/* A block's slot, wholly (rule 9), and only then its name in memory (rule 2). */
static int try_move(struct move *m, uint32_t blk, uint32_t target)
{
	struct vhd_image *img = m->r->img;
	int rc = store_copy_bits(img, blk, m->bitmap);

	if (!rc)
		rc = copy_data(m, blk, target);
	if (!rc)
		rc = store_write(img, m->bitmap, img->map.bitmap_size, map_entry_off(target));
	if (rc)
		return rc;
	if (img->io->ops->start_writing)
		img->io->ops->start_writing(img->io, map_slot_size(&img->map),
					    map_entry_off(target));
	pthread_rwlock_wrlock(&img->map_lock);
	rc = map_reserve(&img->map);
	if (!rc)
		map_move(&img->map, blk, target);
	pthread_rwlock_unlock(&img->map_lock);
	return rc;
}

/*
 * The host is full: what the moves so far left behind goes back to it, and then once more. What the
 * move has written of its copy goes back as well.
 */
static int move_again(struct move *m, uint32_t blk, uint32_t target, struct vhd_err *err)
{
	struct vhd_image *img = m->r->img;
	uint64_t size = map_slot_size(&img->map);
	int rc = move_commit(m, err);

	if (!rc && m->can_trim)
		rc = commit_trim(img, COMMIT_TRIM_ALL, err);
	if (rc)
		return rc;
	rc = try_move(m, blk, target);
	if (rc != -ENOSPC)
		return rc;
	store_punch(img, size, map_entry_off(target));
	move_is_full(m, size);
	return 0;
}

void move_is_full(struct move *m, uint64_t size)
{
	m->full = -ENOSPC;
	m->r->result->room_wanted = size + HOST_NEEDS;
}

int move_block(struct move *m, uint32_t blk, uint32_t target, struct vhd_err *err)
{
	int rc = try_move(m, blk, target);

	if (rc == -ENOSPC)
		rc = move_again(m, blk, target, err);
	if (rc)
		return err && err->code == rc ? rc :
		       vhd_err_errno(err, rc, "%s: cannot move block %u", m->r->img->name, blk);
	if (!m->full) {
		m->undone += m->r->img->map.block_size;
		m->r->result->blocks_moved++;
	}
	return 0;
}
