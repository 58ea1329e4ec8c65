/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where everything lies in the file of a dynamic image, and what lies wrong.
 *
 * Blocks and metadata are walked together in the order of the file. Metadata has a hard end, which
 * a block must not cross, and a soft one up to which its writer keeps room (padding of the BAT,
 * a parent locator, which anybody may have pointed anywhere): nothing is put there, and a block
 * that is there is no damage.
 */
#include "vhd/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_BLK UINT32_MAX

struct walk {
	struct vhd_image *img;
	layout_fn report;
	void *arg;
	uint64_t limit;		/* the trailing footer, or the end of the file */
	uint64_t used;		/* everything below is used or was reported */
	uint64_t hard;		/* metadata met so far ends here */
	uint64_t blk_end;	/* the blocks met so far end here */
	uint32_t blk;		/* the one that does */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

bool layout_may_have_batmap(const struct vhd_image *img)
{
	return !memcmp(img->footer.creator, "tap", 3) && img->footer.creator_version >= 0x00010001;
}

uint64_t layout_batmap_off(const struct vhd_image *img)
{
	uint64_t table = round_up((uint64_t)img->header.entries * 4, FMT_SECTOR);

	return add_capped(img->header.table_offset, table);
}

uint64_t layout_batmap_size(uint32_t entries)
{
	return round_up(((uint64_t)entries + 7) / 8, FMT_SECTOR);
}

static int by_start(const void *a, const void *b)
{
	const struct layout_span *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

uint64_t layout_pad_table(const struct vhd_image *img, uint64_t end)
{
	return round_up(end, memcmp(img->footer.creator, "win ", 4) ? FMT_SECTOR : 4096);
}

unsigned layout_metadata(const struct vhd_image *img, struct layout_span *spans)
{
	uint64_t table = img->header.table_offset;
	uint64_t table_end = table + (uint64_t)img->header.entries * 4;
	uint64_t padded = layout_pad_table(img, table_end);
	uint64_t batmap = layout_batmap_off(img);
	unsigned n = 0;

	spans[n++] = (struct layout_span){ 0, FMT_SECTOR, FMT_SECTOR };
	spans[n++] = (struct layout_span){ img->footer.data_offset,
		img->footer.data_offset + FMT_HEADER_SIZE,
		img->footer.data_offset + FMT_HEADER_SIZE };
	spans[n++] = (struct layout_span){ table, table_end, padded };
	if (layout_may_have_batmap(img))	/* its header, and the map */
		spans[n++] = (struct layout_span){ batmap, batmap,
			add_capped(batmap, FMT_SECTOR + layout_batmap_size(img->header.entries)) };
	for (unsigned i = 0; i < FMT_LOCATORS; i++) {
		const struct fmt_locator *l = &img->header.locators[i];
		uint32_t room = l->space > l->length ? l->space : l->length;

		if (l->platform && l->length)
			spans[n++] = (struct layout_span){ l->offset, l->offset,
				add_capped(l->offset, room) };
	}
	qsort(spans, n, sizeof(*spans), by_start);
	return n;
}

uint64_t layout_metadata_end(const struct vhd_image *img, uint64_t limit)
{
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned n = layout_metadata(img, spans);
	uint64_t end = 0;

	for (unsigned i = 0; i < n; i++)
		if (spans[i].start < limit && spans[i].soft > end)
			end = spans[i].soft;
	return end;
}

static int by_entry(const void *a, const void *b)
{
	const struct layout_block *x = a, *y = b;

	if (x->entry != y->entry)
		return x->entry < y->entry ? -1 : 1;
	return (x->blk > y->blk) - (x->blk < y->blk);
}

static void report_block(struct walk *walk, enum layout_kind kind, const struct layout_block *p,
			 uint32_t other)
{
	struct layout_finding f = {
		.kind = kind, .blk = p->blk, .other = other, .entry = p->entry,
		.off = map_entry_off(p->entry), .len = map_slot_size(&walk->img->map),
	};

	walk->report(walk->arg, &f);
}

/* Everything from walk->used to start is a gap; used goes up to end. */
static void use(struct walk *walk, uint64_t start, uint64_t end)
{
	if (start > walk->limit)
		start = walk->limit;
	if (start > walk->used) {
		struct layout_finding f = {
			.kind = LAYOUT_GAP, .off = walk->used, .len = start - walk->used,
		};

		walk->report(walk->arg, &f);
	}
	if (end > walk->used)
		walk->used = end;
}

static void walk_metadata(struct walk *walk, const struct layout_span *span)
{
	/* What the file itself does not hold is nobody's, whatever a hostile locator claims. */
	uint64_t hard = span->hard < walk->limit ? span->hard : walk->limit;
	uint64_t soft = span->soft < walk->limit ? span->soft : walk->limit;

	if (span->start >= walk->limit)
		return;
	if (hard > span->start && span->start < walk->blk_end) {
		struct layout_block p = { walk->img->map.entry[walk->blk], walk->blk };

		report_block(walk, LAYOUT_IN_METADATA, &p, 0);
		walk->blk_end = 0;	/* no block: said once, and nobody lies over it */
	}
	use(walk, span->start, soft);
	if (hard > walk->hard)
		walk->hard = hard;
}

static void walk_block(struct walk *walk, const struct layout_block *p, bool is_last)
{
	uint64_t start = map_entry_off(p->entry), end = start + map_slot_size(&walk->img->map);

	if (start + walk->img->map.bitmap_size >= walk->limit) {
		report_block(walk, LAYOUT_PAST_END, p, 0);
		return;
	}
	if (start < walk->hard) {
		report_block(walk, LAYOUT_IN_METADATA, p, 0);
		return;
	}
	if (start < walk->blk_end)
		report_block(walk, LAYOUT_OVERLAP, p, walk->blk);
	else if (end > walk->limit && is_last)
		report_block(walk, LAYOUT_SHORT_LAST, p, 0);
	use(walk, start, end);
	if (end > walk->blk_end) {
		walk->blk_end = end;
		walk->blk = p->blk;
	}
}

struct layout_block *layout_blocks(const struct map *map, const uint8_t *leave_out, size_t *len)
{
	struct layout_block *placed = malloc((map->allocated + 1) * sizeof(*placed));
	uint32_t left = map->allocated;
	bool is_sorted = true;

	*len = 0;
	if (!placed)
		return NULL;
	for (uint32_t blk = 0; left; blk++) {
		if (map->entry[blk] == FMT_UNUSED)
			continue;
		left--;
		if (leave_out && leave_out[blk])
			continue;
		placed[*len] = (struct layout_block){ map->entry[blk], blk };
		if (*len && placed[*len].entry <= placed[*len - 1].entry)
			is_sorted = false;
		++*len;
	}
	if (!is_sorted)
		qsort(placed, *len, sizeof(*placed), by_entry);
	return placed;
}

int layout_scan(struct vhd_image *img, uint64_t *end, layout_fn report, void *arg)
{
	struct walk walk = { .img = img, .report = report, .arg = arg, .blk = NO_BLK };
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned n = layout_metadata(img, spans), i = 0;
	size_t len;
	struct layout_block *placed = layout_blocks(&img->map, NULL, &len);

	if (!placed)
		return -ENOMEM;
	walk.limit = img->footer_state & IMAGE_T_MISSING ? img->file_size : img->trailer;
	for (size_t b = 0; b < len || i < n;) {
		if (i < n && (b == len || spans[i].start <= map_entry_off(placed[b].entry))) {
			walk_metadata(&walk, &spans[i++]);
		} else {
			walk_block(&walk, &placed[b], b + 1 == len);
			b++;
		}
	}
	*end = walk.used;
	use(&walk, walk.limit, 0);
	free(placed);
	return 0;
}

void layout_describe(const struct vhd_image *img, const struct layout_finding *f, char *buf,
		     size_t len)
{
	switch (f->kind) {
	case LAYOUT_PAST_END:
		snprintf(buf, len, "%s: BAT entry %u (0x%x) lies past the end of the file",
			 img->name, f->blk, f->entry);
		return;
	case LAYOUT_IN_METADATA:
		snprintf(buf, len, "%s: BAT entry %u (0x%x) lies over the image's metadata",
			 img->name, f->blk, f->entry);
		return;
	case LAYOUT_OVERLAP:
		snprintf(buf, len, "%s: BAT entry %u (0x%x) lies over block %u", img->name, f->blk,
			 f->entry, f->other);
		return;
	case LAYOUT_SHORT_LAST:
		snprintf(buf, len, "%s: block %u, the last of the file, is cut by its end",
			 img->name, f->blk);
		return;
	case LAYOUT_GAP:
		snprintf(buf, len, "%s: %llu bytes at offset %llu are used by nothing", img->name,
			 (unsigned long long)f->len, (unsigned long long)f->off);
	}
}
