/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lays an image's blocks anew so that data is on 4 KiB.
 *
 * The plan has a place for each block. A block that is in one stays. The others queue up in the
 * order of the file, and the first ones go into the lowest places that nothing overlaps, whichever
 * they are: so in a packed image, where all lie a little too low, each batch slides into the room
 * that the one before it left, and a block is copied once. Where there is no room to begin with, a
 * batch is first set down behind everything, in room that the file grows by, and queues up again as
 * the last: it comes down in the end, and the file is cut.
 *
 * Each batch is an ordinary one: places that nobody names, copies, a commit.
 */
#include "vhd/align.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/commit.h"

struct align {
	struct move *move;
	const struct plan *plan;
	struct vhd_image *img;
	bool *is_taken;			/* [plan->len] the place has its block */
	size_t front;			/* all places below are taken */
	struct layout_block *queue;	/* blocks in no place, in the order of the file */
	size_t head, tail, max;
	size_t *places;			/* [batch] for the first in the queue */
	size_t batch;
	struct map_slot *spare;		/* behind everything, from the file's growth */
	size_t spares;
};

static void queue_up(struct align *a, uint32_t blk, uint32_t entry)
{
	if (a->tail == a->max) {
		memmove(a->queue, a->queue + a->head, (a->tail - a->head) * sizeof(*a->queue));
		a->tail -= a->head;
		a->head = 0;
	}
	a->queue[a->tail++] = (struct layout_block){ .blk = blk, .entry = entry };
}

static int begin(struct align *a)
{
	const struct plan *plan = a->plan;
	size_t place = 0;

	a->batch = (size_t)(a->move->most / a->img->map.block_size);
	a->batch = a->batch < 2 ? 2 : a->batch;
	a->max = plan->len + a->batch;
	a->queue = malloc(a->max * sizeof(*a->queue));
	a->places = malloc(a->batch * sizeof(*a->places));
	a->is_taken = calloc(plan->len + 1, sizeof(*a->is_taken));
	if (!a->queue || !a->places || !a->is_taken)
		return -ENOMEM;
	for (size_t i = 0; i < plan->len; i++) {
		while (place < plan->len && plan->targets[place] < plan->blocks[i].entry)
			place++;
		if (place < plan->len && plan->targets[place] == plan->blocks[i].entry)
			a->is_taken[place] = true;
		else
			queue_up(a, plan->blocks[i].blk, plan->blocks[i].entry);
	}
	return 0;
}

static void end(struct align *a)
{
	free(a->is_taken);
	free(a->queue);
	free(a->places);
	free(a->spare);
}

/* Places for a batch, from the lowest on: how many of the next ones are overlapped by no block. */
static size_t find_places(struct align *a)
{
	const struct map *map = &a->img->map;
	size_t q = a->head, n = 0, left = a->tail - a->head, most = a->batch;
	uint64_t size = map_slot_size(map), limit;

	pthread_mutex_lock(&a->img->commit_lock);
	limit = a->img->trailer;
	pthread_mutex_unlock(&a->img->commit_lock);
	most = most < left ? most : left;
	while (a->front < a->plan->len && a->is_taken[a->front])
		a->front++;
	/* Not farther than it takes: a round must not cost a look at every place. */
	for (size_t i = a->front; n < most && i < a->plan->len && i < a->front + 8 * most; i++) {
		uint64_t off = map_entry_off(a->plan->targets[i]);

		if (a->is_taken[i])
			continue;
		if (off + size > limit)
			break;
		while (q < a->tail && map_entry_off(a->queue[q].entry) + size <= off)
			q++;
		if (q == a->tail || map_entry_off(a->queue[q].entry) >= off + size)
			a->places[n++] = i;
	}
	return n;
}

/* n blocks from the queue go to their places. */
static int fill_places(struct align *a, size_t n, struct vhd_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n && !a->move->r->stop; i++) {
		rc = move_block(a->move, a->queue[a->head].blk, a->plan->targets[a->places[i]],
				err);
		if (rc || a->move->full)
			break;
		a->is_taken[a->places[i]] = true;
		a->head++;
		reclaim_step(a->move->r, a->img->map.block_size);
	}
	return rc ? rc : move_commit(a->move, err);
}

/* The slots that the file grew by are ours: nothing else is on the free list. Those over a place
 * are passed over, so that what is set down is never in the way. */
static int keep_spares(struct align *a)
{
	struct map_slot *grown;
	int rc = 0;

	pthread_rwlock_wrlock(&a->img->map_lock);
	grown = realloc(a->spare, (a->spares + a->img->map.free_len + 1) * sizeof(*grown));
	if (grown)
		a->spare = grown;
	else
		rc = -ENOMEM;
	while (!rc && map_take(&a->img->map, &a->spare[a->spares]))
		a->spares += map_entry_off(a->spare[a->spares].entry) >= a->plan->end;
	pthread_rwlock_unlock(&a->img->map_lock);
	return rc;
}

/* Room for a batch behind everything. */
static int grow(struct align *a, size_t want, struct vhd_err *err)
{
	int rc = 0;

	pthread_rwlock_wrlock(&a->img->map_lock);
	map_forget_free(&a->img->map);	/* old slots of blocks that moved: their room is planned */
	pthread_rwlock_unlock(&a->img->map_lock);
	while (!rc && a->spares < want) {
		rc = commit_make_room(a->img, err);
		if (!rc)
			rc = keep_spares(a);
	}
	return rc;
}

/* The first of the queue are set down behind everything, and queue up again as the last. */
static int set_down(struct align *a, struct vhd_err *err)
{
	size_t n = a->tail - a->head < a->batch ? a->tail - a->head : a->batch;
	int rc = grow(a, n, err);

	if (rc == -ENOSPC) {
		move_is_full(a->move, n * map_slot_size(&a->img->map));
		return 0;
	}
	for (size_t i = 0; !rc && i < n; i++) {
		struct layout_block b = a->queue[a->head];

		rc = move_block(a->move, b.blk, a->spare[i].entry, err);
		if (rc || a->move->full)
			break;
		a->head++;
		queue_up(a, b.blk, a->spare[i].entry);
	}
	if (n < a->spares)
		memmove(a->spare, a->spare + n, (a->spares - n) * sizeof(*a->spare));
	a->spares -= n;
	return rc ? rc : move_commit(a->move, err);
}

int align_all(struct move *move, const struct plan *plan, struct vhd_err *err)
{
	struct align a = { .move = move, .plan = plan, .img = move->r->img };
	int rc = begin(&a);

	while (!rc && a.head < a.tail && !move->full && !move->r->stop) {
		size_t n = find_places(&a);

		rc = n ? fill_places(&a, n, err) : set_down(&a, err);
	}
	end(&a);
	return rc && !(err && err->code == rc) ?
	       vhd_err_errno(err, rc, "%s: cannot lay the blocks anew", move->r->img->name) : rc;
}
