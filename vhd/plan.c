/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the blocks that are needed go when an image is compacted. No I/O, no locking of its own.
 *
 * The highest block goes into the lowest room that fits one, again and again until no room is below
 * it. Room is cut into slots from below, and where the next slot begins follows from nothing but
 * what lies at both ends of the room: so a plan that was carried out in part, and stopped or cut
 * off by a power failure, is the same for whoever makes it anew, and ends at the same size.
 */
#include "vhd/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_BLOCK UINT64_MAX

/* Room between two things that stay. */
struct gap {
	uint64_t start, end;
	uint64_t below;		/* where the block begins that ends at start; NO_BLOCK: metadata */
	bool is_block_above;	/* a block begins at end, not metadata */
};

struct walk {
	const struct vhd_image *img;
	const struct plan *plan;
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned spans_len, span;
	size_t blk;
	uint64_t used;		/* everything below was passed */
	uint64_t below;		/* as in struct gap, for what ends at used */
};

static void pass(struct walk *w, uint64_t end, uint64_t block)
{
	if (end <= w->used)
		return;
	w->used = end;
	w->below = block;
}

/* The next gap below the highest block. */
static bool next_gap(struct walk *w, struct gap *gap)
{
	const struct map *map = &w->img->map;

	while (w->blk < w->plan->len) {
		uint64_t off = map_entry_off(w->plan->blocks[w->blk].entry), start = off;
		bool is_block = w->span == w->spans_len || w->spans[w->span].start > off;

		if (!is_block)
			start = w->spans[w->span].start;
		*gap = (struct gap){ .start = w->used, .end = start, .below = w->below,
				     .is_block_above = is_block };
		if (is_block) {
			pass(w, off + map_slot_size(map), off);
			w->blk++;
		} else {
			pass(w, w->spans[w->span++].soft, NO_BLOCK);
		}
		if (gap->start < gap->end)
			return true;
	}
	return false;
}

static bool is_aligned(const struct map *map, uint64_t off)
{
	return map_place_slot(map, off) == off;
}

/* Whether aligned slots fill the gap from `first` on without a rest, as they only do where they
 * came from. */
static bool was_aligned(const struct map *map, const struct gap *gap, uint64_t first,
			uint64_t stride)
{
	return gap->is_block_above && is_aligned(map, gap->end) &&
	       (gap->below == NO_BLOCK || is_aligned(map, gap->below)) &&
	       (gap->end - first) % stride == 0;
}

/* Takes the next slot off the gap. Data on 4 KiB wherever that costs no slot; and where it does,
 * the blocks of an aligned image stay aligned. */
static bool cut_slot(const struct map *map, struct gap *gap, uint64_t *slot)
{
	uint64_t size = map_slot_size(map);
	uint64_t packed = (gap->start + FMT_SECTOR - 1) / FMT_SECTOR * FMT_SECTOR;
	uint64_t aligned = map_place_slot(map, gap->start);
	uint64_t stride = map_place_slot(map, aligned + size) - aligned, fit = 0;

	if (packed + size > gap->end)
		return false;
	if (aligned + size <= gap->end)
		fit = (gap->end - aligned - size) / stride + 1;
	if (fit && (fit == (gap->end - packed) / size || was_aligned(map, gap, aligned, stride)))
		*slot = aligned;
	else
		*slot = packed;
	gap->start = *slot + size;
	gap->below = *slot;
	return true;
}

static int choose_targets(struct plan *plan, struct walk *walk)
{
	const struct map *map = &walk->img->map;
	struct gap gap;
	uint64_t slot;

	while (next_gap(walk, &gap)) {
		while (cut_slot(map, &gap, &slot)) {
			size_t left = plan->len - plan->moves;

			if (!left || slot >= map_entry_off(plan->blocks[left - 1].entry))
				return 0;
			if (!plan->targets)
				plan->targets = malloc(plan->len * sizeof(*plan->targets));
			if (!plan->targets)
				return -ENOMEM;
			plan->targets[plan->moves++] = (uint32_t)(slot / FMT_SECTOR);
		}
	}
	return 0;
}

/* Where the trailing footer is, or will be once the image is opened for writing. */
static uint64_t trailer(const struct vhd_image *img)
{
	uint64_t end = map_end(&img->map, 0);

	if (img->footer_state & IMAGE_T_MISSING)
		return map_place_footer(end > img->file_size ? end : img->file_size);
	return end > img->trailer ? map_place_footer(end) : img->trailer;
}

static void set_end(struct plan *plan, const struct vhd_image *img)
{
	uint64_t size = map_slot_size(&img->map), limit = trailer(img), pos;
	size_t left = plan->len - plan->moves;

	plan->end = img->is_readonly ? layout_metadata_end(img, limit) : img->metadata_end;
	if (left && map_entry_off(plan->blocks[left - 1].entry) + size > plan->end)
		plan->end = map_entry_off(plan->blocks[left - 1].entry) + size;
	if (plan->moves && map_entry_off(plan->targets[plan->moves - 1]) + size > plan->end)
		plan->end = map_entry_off(plan->targets[plan->moves - 1]) + size;
	pos = map_place_footer(plan->end);
	plan->file_size = (pos < limit ? pos : limit) + FMT_SECTOR;
}

/* Aligned places from start on, as far as end and the blocks go. */
static int cut_places(struct plan *plan, const struct map *map, uint64_t start, uint64_t end)
{
	uint64_t size = map_slot_size(map);

	while (plan->moves < plan->len) {
		uint64_t place = map_place_slot(map, start);

		if (place + size > end)
			return 0;
		if (place / FMT_SECTOR >= FMT_UNUSED)
			return -EFBIG;
		plan->targets[plan->moves++] = (uint32_t)(place / FMT_SECTOR);
		start = place + size;
	}
	return 0;
}

/* Between the pieces of metadata that the file holds, and behind them. */
static int choose_places(struct plan *plan, struct vhd_image *img, uint64_t limit)
{
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned n = layout_metadata(img, spans);
	uint64_t used = 0;
	int rc = 0;

	plan->targets = malloc((plan->len + 1) * sizeof(*plan->targets));
	if (!plan->targets)
		return -ENOMEM;
	for (unsigned i = 0; !rc && i < n && spans[i].start < limit; i++) {
		rc = cut_places(plan, &img->map, used, spans[i].start);
		if (spans[i].soft > used)
			used = spans[i].soft;
	}
	return rc ? rc : cut_places(plan, &img->map, used, UINT64_MAX);
}

/* How many blocks are in none of the places; both are in the order of the file. */
static size_t count_misplaced(const struct plan *plan)
{
	size_t n = 0;

	for (size_t i = 0, place = 0; i < plan->len; i++) {
		while (place < plan->len && plan->targets[place] < plan->blocks[i].entry)
			place++;
		n += place == plan->len || plan->targets[place] != plan->blocks[i].entry;
	}
	return n;
}

int plan_make_aligned(struct plan *plan, struct vhd_image *img, const uint8_t *drop)
{
	uint64_t limit = trailer(img);
	int rc;

	*plan = (struct plan){ .is_aligned = true };
	plan->blocks = layout_blocks(&img->map, drop, &plan->len);
	if (!plan->blocks)
		return -ENOMEM;
	rc = choose_places(plan, img, limit);
	if (rc)
		return rc;
	plan->moves = count_misplaced(plan);
	plan->end = img->is_readonly ? layout_metadata_end(img, limit) : img->metadata_end;
	if (plan->len && map_entry_off(plan->targets[plan->len - 1]) +
			 map_slot_size(&img->map) > plan->end)
		plan->end = map_entry_off(plan->targets[plan->len - 1]) +
			    map_slot_size(&img->map);
	plan->file_size = map_place_footer(plan->end) + FMT_SECTOR;
	return 0;
}

int plan_make(struct plan *plan, struct vhd_image *img, const uint8_t *drop)
{
	struct walk walk = { .img = img, .plan = plan, .below = NO_BLOCK };
	int rc;

	*plan = (struct plan){ 0 };
	plan->blocks = layout_blocks(&img->map, drop, &plan->len);
	if (!plan->blocks)
		return -ENOMEM;
	walk.spans_len = layout_metadata(img, walk.spans);
	rc = choose_targets(plan, &walk);
	if (!rc)
		set_end(plan, img);
	return rc;
}

void plan_stay(struct plan *plan, struct vhd_image *img)
{
	plan->moves = 0;
	plan->is_aligned = false;
	set_end(plan, img);
}

void plan_end(struct plan *plan)
{
	free(plan->blocks);
	free(plan->targets);
}
