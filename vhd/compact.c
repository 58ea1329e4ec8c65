/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gives back what reads as zeros, in place: blocks are dropped, the highest ones moved down into
 * the room, and the file is cut behind them.
 *
 * The order is the commit's own. Drops are published, and their room is punched, before anything is
 * moved into it (rule 3). The commit that ends a batch of moves puts the copies on disk before the
 * entries, and the entries before the old slots are anybody's: two barriers a batch, and no order
 * among its moves, since no target of a batch is a source of it. The cut comes last, when all is
 * published (rule 6). Wherever that is cut off, the table names whole blocks alone, and whoever
 * comes next makes the rest of the same plan.
 *
 * Locking: see reclaim.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/align.h"
#include "vhd/commit.h"
#include "vhd/layout.h"
#include "vhd/move.h"
#include "vhd/reclaim.h"
#include "vhd/store.h"

#define DROPS 1024		/* blocks dropped between two commits, at most */

struct compact {
	struct reclaim r;
	struct plan plan;
	struct move move;
};

static int scan_block(struct compact *c, uint32_t blk, struct vhd_err *err)
{
	struct classify_block b;
	int rc = reclaim_classify(&c->r, blk, &b, err);

	reclaim_step(&c->r, c->r.img->map.block_size);
	return rc;
}

/* A map of free room is asked in the order of the disk. */
static int scan_disk(struct compact *c, struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	int rc = 0;

	for (uint32_t blk = 0; !rc && !c->r.stop && blk < map->blocks; blk++)
		if (map->entry[blk] != FMT_UNUSED)
			rc = scan_block(c, blk, err);
	return rc;
}

/* Without one all blocks are read, and the order of the file is the fastest. */
static int scan_file(struct compact *c, struct vhd_err *err)
{
	size_t len;
	struct layout_block *blocks = layout_blocks(&c->r.img->map, NULL, &len);
	int rc = blocks ? 0 : vhd_err_errno(err, -ENOMEM, "%s", c->r.img->name);

	for (size_t i = 0; !rc && !c->r.stop && i < len; i++)
		rc = scan_block(c, blocks[i].blk, err);
	free(blocks);
	return rc;
}

/* Which blocks go. Cut short, what was not looked at stays. */
static int scan(struct compact *c, struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	int rc;

	reclaim_phase(&c->r, "scan", (uint64_t)map->allocated * map->block_size);
	rc = c->r.opts->free ? scan_disk(c, err) : scan_file(c, err);
	if (!rc && !c->r.stop)
		reclaim_phase_done(&c->r);
	return rc;
}

static int make_plan(struct compact *c, struct vhd_err *err)
{
	struct vhd_image *img = c->r.img;
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	rc = c->r.opts->align ? plan_make_aligned(&c->plan, img, c->r.drop) :
	     plan_make(&c->plan, img, c->r.drop);
	if (!rc && c->r.stop)
		plan_stay(&c->plan, img);
	pthread_mutex_unlock(&img->commit_lock);
	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	c->r.result->file_size_after = c->plan.file_size;
	return 0;
}

/* Drops are published in batches, so that one commit does not punch for minutes. */
static int drop_all(struct compact *c, struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	uint64_t most = c->r.opts->batch ? c->r.batch : (uint64_t)DROPS * map->block_size;
	uint64_t total = (uint64_t)(map->allocated - c->plan.len) * map->block_size;
	bool is_partial = c->r.stop;	/* then what was found is dropped, and that is all */
	uint64_t undone = 0;
	int rc = 0;

	reclaim_phase(&c->r, "drop", total);
	for (uint32_t blk = 0; !rc && (is_partial || !c->r.stop) && blk < map->blocks; blk++) {
		if (!c->r.drop[blk])
			continue;
		rc = reclaim_drop(&c->r, blk, err);
		undone += map->block_size;
		if (!rc && undone >= most) {
			rc = move_commit(&c->move, err);
			undone = 0;
		}
		reclaim_step(&c->r, map->block_size);
	}
	if (!rc)
		rc = move_commit(&c->move, err);
	if (!rc && !c->r.stop)
		reclaim_phase_done(&c->r);
	return rc;
}

static int move_down(struct compact *c, struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	int rc = 0;

	c->move.can_trim = true;
	for (size_t i = 0; !rc && !c->move.full && !c->r.stop && i < c->plan.moves; i++) {
		rc = move_block(&c->move, c->plan.blocks[c->plan.len - 1 - i].blk,
				c->plan.targets[i], err);
		if (!rc && c->move.undone >= c->move.most)
			rc = move_commit(&c->move, err);
		reclaim_step(&c->r, map->block_size);
	}
	return !rc && c->move.undone ? move_commit(&c->move, err) : rc;
}

/* Laying anew was cut short: what was set down behind the old end comes back, wherever it fits. */
static int bring_back(struct compact *c, uint64_t old_end, struct vhd_err *err)
{
	int full = c->move.full, rc;

	plan_end(&c->plan);
	rc = plan_make(&c->plan, c->r.img, NULL);
	if (rc)
		return vhd_err_errno(err, rc, "%s", c->r.img->name);
	c->move.full = 0;
	c->move.can_trim = true;
	for (size_t i = 0; !rc && !c->move.full && i < c->plan.moves; i++) {
		const struct layout_block *b = &c->plan.blocks[c->plan.len - 1 - i];

		if (map_entry_off(b->entry) < old_end)
			break;
		rc = move_block(&c->move, b->blk, c->plan.targets[i], err);
	}
	c->move.full = full ? full : c->move.full;
	plan_stay(&c->plan, c->r.img);
	return rc ? rc : move_commit(&c->move, err);
}

static int move_all(struct compact *c, struct vhd_err *err)
{
	const struct map *map = &c->r.img->map;
	uint64_t old_end = map_end(map, 0);
	int rc;

	reclaim_phase(&c->r, "move", (uint64_t)c->plan.moves * map->block_size);
	if (!c->plan.is_aligned)
		return move_down(c, err);
	rc = align_all(&c->move, &c->plan, err);
	if (!rc && (c->r.stop || c->move.full))
		rc = bring_back(c, old_end, err);
	return rc;
}

/* Room that no move came to use, and that no commit punched since it was to be cut off. */
static void punch_room(void *arg, const struct layout_finding *f)
{
	struct compact *c = arg;

	if (f->kind == LAYOUT_GAP && f->off >= c->plan.end)
		store_punch(c->r.img, f->len, f->off);
}

/* The free slots are found anew: the plan had its own, and gave them out. Those that a failed
 * commit left quarantined are not free, and the table does not tell which they are. */
static int settle_room(struct compact *c)
{
	struct vhd_image *img = c->r.img;
	uint64_t end;
	int rc = 0;

	pthread_mutex_lock(&img->commit_lock);
	img->commit.cut_from = UINT64_MAX;
	map_forget_free(&img->map);
	if (!img->map.quarantine_len && (c->r.stop || c->move.full))
		rc = layout_scan(img, &end, punch_room, c);
	if (!rc && !img->map.quarantine_len)
		rc = image_find_room(img);
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

/* The file is as long as it stays; what the host has no room for is said, and is no damage. */
static int fill_holes(struct compact *c, struct vhd_err *err)
{
	struct vhd_image *img = c->r.img;
	uint64_t len;
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	len = img->trailer + FMT_SECTOR;
	pthread_mutex_unlock(&img->commit_lock);
	rc = store_fill_holes(img, len, 0, c->r.scan.buf, CLASSIFY_BUF);
	if (rc == -ENOSPC)
		move_is_full(&c->move, len);
	if (rc)
		return vhd_err_errno(err, rc, "%s: its holes cannot be filled", img->name);
	return store_barrier(img, err);
}

static int work(struct compact *c, struct vhd_err *err)
{
	struct vhd_image *img = c->r.img;
	unsigned flags = COMMIT_TRIM_ALL;
	int rc, settled;

	commit_cut_from(img, c->plan.end);
	rc = drop_all(c, err);
	if (!rc && !c->r.stop)
		rc = move_all(c, err);
	if (c->plan.is_aligned && !c->r.stop)	/* a plan that was given up is not */
		flags |= COMMIT_TRIM_PAGE;
	if (!rc)
		rc = commit_trim(img, flags, err);
	if (!rc && c->r.opts->no_holes && !c->r.stop && !c->move.full)
		rc = fill_holes(c, err);
	settled = settle_room(c);
	if (!rc && settled)
		rc = vhd_err_errno(err, settled, "%s", img->name);
	if (rc == -ENOSPC && !c->move.full)	/* a commit or the cut, which need next to none */
		move_is_full(&c->move, 0);
	if (!rc && !c->r.stop && !c->move.full)	/* the last barrier is behind us */
		reclaim_phase_done(&c->r);
	return rc;
}

static int tell_size(struct compact *c, struct vhd_err *err)
{
	struct vhd_io_stat st;
	int rc = io_stat(c->r.img->io, &st);

	if (rc)
		return vhd_err_errno(err, rc, "%s", c->r.img->name);
	c->r.result->file_size_after = st.size;
	return 0;
}

static void tell_plan(struct compact *c)
{
	struct vhd_reclaim_result *result = c->r.result;

	result->blocks_after = (uint32_t)c->plan.len;
	result->blocks_released = result->blocks_before - result->blocks_after;
	result->blocks_moved = (uint32_t)c->plan.moves;
}

static int compact(struct compact *c, struct vhd_err *err)
{
	struct vhd_image *img = c->r.img;
	bool is_dry = c->r.opts->dry_run;
	int rc = 0, told;

	if (move_begin(&c->move, &c->r))
		return vhd_err_errno(err, -ENOMEM, "%s", img->name);
	if (!is_dry)	/* what is pending would be in the way of the plan */
		rc = move_commit(&c->move, err);
	if (!rc)
		rc = scan(c, err);
	if (!rc)
		rc = make_plan(c, err);
	if (rc)
		return rc;
	if (is_dry) {
		tell_plan(c);
		return 0;
	}
	rc = work(c, err);
	told = tell_size(c, rc ? NULL : err);
	return rc ? rc : told;
}

int vhd_compact(vhd_image *img, const struct vhd_reclaim_opts *opts,
		struct vhd_reclaim_result *result, struct vhd_err *err)
{
	struct compact c = { .plan = { 0 } };
	int rc;

	*result = (struct vhd_reclaim_result){ 0 };
	if (image_is_fixed(img))
		return reclaim_refuse_fixed(img, err);
	rc = reclaim_begin(&c.r, img, opts, result, err);
	if (!rc)
		rc = compact(&c, err);
	if (!rc && c.move.full)
		rc = vhd_err_set(err, c.move.full, "%s: the host is full; with %llu bytes of room "
				 "it can go on", img->name,
				 (unsigned long long)result->room_wanted);
	rc = reclaim_result(&c.r, rc, err);
	move_end(&c.move);
	plan_end(&c.plan);
	reclaim_end(&c.r);
	return rc;
}
