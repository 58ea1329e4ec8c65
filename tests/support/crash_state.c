/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether all that a power cut can leave at one moment is sound: every view, and in each view
 * every value of every guest sector.
 */
#include <string.h>

#include "tests/support/crash_private.h"
#include "tests/support/oracle.h"

#define MAX_BAT_SECTORS 8

struct view {
	uint64_t size, limit;		/* limit: T's place, or the file's length */
	uint32_t epoch;
	bool has_trailer;
	uint64_t last;			/* the sector where T is sought, and what it holds here */
	uint32_t last_id;
	struct oracle_footer footer;
	struct oracle_header header;
	uint32_t bat[MAX_BAT_SECTORS];
	unsigned bat_len;
};

static bool is_allowed(const struct crash *c, uint64_t sector, uint32_t id)
{
	const struct guest *g = &c->guests[sector];

	for (uint32_t i = 0; i < g->n; i++)
		if (g->v[i].id == id)
			return true;
	return false;
}

void state_check_value(struct crash *c, uint64_t sector, uint32_t blk, uint32_t id,
		       const char *how)
{
	char text[64];

	if (!is_allowed(c, sector, id))
		report(c, "sector %llu (block %u, %s) reads %s, which it did not have since the "
			"last flush", (unsigned long long)sector, blk, how,
			content_describe(id, text, sizeof(text)));
}

/* One sector of a mapped block: each bitmap value with each data value. */
static void check_mapped_sector(struct crash *c, const struct view *view, uint32_t blk,
				uint32_t entry, uint32_t in)
{
	uint64_t sector = (uint64_t)blk * c->block_sectors + in;
	uint64_t place = entry + (uint64_t)c->bitmap_sectors + in;
	uint32_t bits[MAX_OPTIONS], data[MAX_OPTIONS];
	unsigned nbits = model_options(c, entry + in / 4096, view->epoch, bits);
	unsigned ndata = model_options(c, place, view->epoch, data);

	if (place * SECTOR >= view->limit) {	/* a short last block */
		state_check_value(c, sector, blk, 0, "behind the end");
		return;
	}
	if (place == view->last) {	/* a block cut where T was, which is gone */
		data[0] = view->last_id;
		ndata = 1;
	}
	for (unsigned m = 0; m < nbits; m++) {
		bool is_set = content_get(bits[m])->raw[in / 8 % SECTOR] & (0x80 >> in % 8);

		if (!is_set)
			state_check_value(c, sector, blk, c->below[sector], "bit clear");
		if (!is_set && (c->image.has_clear_bits || c->image.parent || c->was_killed))
			continue;
		for (unsigned d = 0; d < ndata; d++)
			state_check_value(c, sector, blk, data[d], is_set ? "mapped" :
				    "bit clear, to readers that ignore the bitmap");
	}
	c->stats.images += nbits * ndata;
}

static void check_block(struct crash *c, const struct view *view, uint32_t blk, uint32_t entry)
{
	uint64_t first = (uint64_t)blk * c->block_sectors;
	uint32_t bits[MAX_OPTIONS];
	char text[64];

	for (uint32_t k = 0; entry != UNUSED && k < c->bitmap_sectors; k++) {
		unsigned n = model_options(c, entry + k, view->epoch, bits);

		for (unsigned i = 0; i < n; i++)
			if (content_get(bits[i])->flags)
				report(c, "block %u, entry %u: its bitmap holds %s", blk, entry,
					content_describe(bits[i], text, sizeof(text)));
	}
	for (uint32_t in = 0; in < c->block_sectors && first + in < c->sectors; in++) {
		if (entry == UNUSED)
			state_check_value(c, first + in, blk, c->below[first + in], "unallocated");
		else
			check_mapped_sector(c, view, blk, entry, in);
	}
}

/* Whether this was checked for the state at hand already. */
static bool is_known(struct crash *c, uint64_t key, uint32_t blk, uint32_t entry)
{
	for (unsigned i = 0; i < c->memo_len; i++)
		if (c->memo[i].key == key && c->memo[i].blk == blk && c->memo[i].entry == entry)
			return true;
	if (c->memo_len < MAX_MEMO)
		c->memo[c->memo_len++] = (struct memo){ key, blk, entry };
	return false;
}

/* A block that the guest never had anything in but what the parents have, and has not here. */
static bool is_untouched(const struct crash *c, uint32_t blk)
{
	uint64_t first = (uint64_t)blk * c->block_sectors;

	for (uint32_t in = 0; in < c->block_sectors && first + in < c->sectors; in++)
		if (c->guests[first + in].n != 1 ||
		    c->guests[first + in].v[0].id != c->below[first + in])
			return false;
	return true;
}

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

static void check_place(struct crash *c, const struct view *view, uint32_t blk, uint32_t entry)
{
	uint64_t off = (uint64_t)entry * SECTOR;
	uint64_t len = (uint64_t)(c->bitmap_sectors + c->block_sectors) * SECTOR;

	if (off + len > view->limit && entry != c->short_entry)
		report(c, "entry %u names sector %u, whose block goes past the end (%s at %llu)",
			blk, entry, view->has_trailer ? "footer" : "no footer, end",
			(unsigned long long)view->limit);
	if (overlaps(off, len, 0, SECTOR) || overlaps(off, len, view->footer.data_offset, 1024) ||
	    overlaps(off, len, view->header.table, (uint64_t)view->header.entries * 4))
		report(c, "entry %u names sector %u, over the metadata", blk, entry);
}

static uint32_t view_entry(const struct view *view, uint32_t blk)
{
	uint64_t at = view->header.table % SECTOR + (uint64_t)blk * 4;

	return be32(content_get(view->bat[at / SECTOR])->raw + at % SECTOR);
}

/* What a block's check depends on, beside its number and entry. */
static uint64_t view_key(const struct view *view)
{
	return (view->limit * 0x9e3779b97f4a7c15 ^ view->last_id) * 256 + view->epoch + 1;
}

static void check_view(struct crash *c, const struct view *view)
{
	uint32_t used[64], n = 0, size = c->bitmap_sectors + c->block_sectors;

	c->stats.views++;
	for (uint32_t blk = 0; blk < view->header.entries && !c->violation; blk++) {
		uint32_t entry = view_entry(view, blk);

		if (entry == UNUSED) {
			if ((uint64_t)blk * c->block_sectors < c->sectors &&
			    !is_untouched(c, blk) && !is_known(c, 0, blk, entry))
				check_block(c, view, blk, entry);
			continue;
		}
		check_place(c, view, blk, entry);
		for (uint32_t i = 0; i < n; i++)
			if (overlaps(entry, size, used[i], size))
				report(c, "entry %u names sector %u, another one sector %u: they "
					"share room", blk, entry, used[i]);
		if (n < 64)
			used[n++] = entry;
		if (!c->violation && !is_known(c, view_key(view), blk, entry))
			check_block(c, view, blk, entry);
	}
}

/* Every combination of the table's sectors. */
static void check_tables(struct crash *c, struct view *view)
{
	uint64_t first = view->header.table / SECTOR;
	uint64_t end = view->header.table + (uint64_t)view->header.entries * 4;
	uint32_t bat[MAX_BAT_SECTORS][MAX_OPTIONS];
	unsigned n[MAX_BAT_SECTORS], at[MAX_BAT_SECTORS] = { 0 };

	view->bat_len = (unsigned)((end + SECTOR - 1) / SECTOR - first);
	if (end > view->size || view->bat_len > MAX_BAT_SECTORS) {
		report(c, "the table ends at %llu, the file at %llu", (unsigned long long)end,
			(unsigned long long)view->size);
		return;
	}
	for (unsigned i = 0; i < view->bat_len; i++)
		n[i] = model_options(c, first + i, view->epoch, bat[i]);
	for (;;) {
		unsigned i = 0;

		for (unsigned k = 0; k < view->bat_len; k++)
			view->bat[k] = bat[k][at[k]];
		check_view(c, view);
		while (i < view->bat_len && ++at[i] == n[i])
			at[i++] = 0;
		if (i == view->bat_len || c->violation)
			return;
	}
}

static bool parse_header(struct oracle_header *header, uint32_t first, uint32_t second)
{
	static __thread struct {
		uint32_t first, second;
		bool is_known, is_valid;
		struct oracle_header header;
	} last;
	uint8_t raw[2 * SECTOR];

	if (!last.is_known || last.first != first || last.second != second) {
		memcpy(raw, content_get(first)->raw, SECTOR);
		memcpy(raw + SECTOR, content_get(second)->raw, SECTOR);
		last.first = first;
		last.second = second;
		last.is_known = true;
		last.is_valid = oracle_parse_header(&last.header, raw);
	}
	*header = last.header;
	return last.is_valid;
}

static bool has_enough_entries(const struct view *view)
{
	return (view->footer.size + view->header.block_size - 1) / view->header.block_size <=
	       view->header.entries;
}

/* The header that a footer names, in each of its values; then the tables. */
static void check_headers(struct crash *c, struct view *view, const struct oracle_footer *footer)
{
	uint32_t first[MAX_OPTIONS], second[MAX_OPTIONS];
	uint64_t at = footer->data_offset / SECTOR;
	unsigned n, m;

	view->footer = *footer;
	if (footer->type == 2 || footer->data_offset % SECTOR ||
	    footer->data_offset + 1024 > view->size) {
		report(c, "a footer of another image is believed");
		return;
	}
	if (footer->size != c->sectors * SECTOR) {
		report(c, "the disk has %llu bytes", (unsigned long long)footer->size);
		return;
	}
	n = model_options(c, at, view->epoch, first);
	m = model_options(c, at + 1, view->epoch, second);
	for (unsigned i = 0; i < n * m && !c->violation; i++) {
		if (!parse_header(&view->header, first[i / m], second[i % m]))
			report(c, "the dynamic header is not valid");
		else if (!has_enough_entries(view))
			report(c, "the table has too few entries");
		else
			check_tables(c, view);
	}
}

static const struct oracle_footer *footer_of(uint32_t id)
{
	return content_get(id)->flags & IS_FOOTER ? &content_get(id)->footer : NULL;
}

/* The last sector of the file, believed if it is a footer, must never be a guest's. */
static void check_forgery(struct crash *c, const struct view *view, uint32_t id)
{
	char text[64];

	if (content_get(id)->flags & IS_GUEST &&
	    !(c->image.has_no_trailer && view->size == c->sizes[0].size))
		report(c, "the last sector of the file (length %llu) holds %s: a guest could "
			"forge a footer there", (unsigned long long)view->size,
			content_describe(id, text, sizeof(text)));
}

static void check_size(struct crash *c, uint64_t size, uint32_t epoch)
{
	struct view view = { .size = size, .epoch = epoch };
	uint32_t t[MAX_OPTIONS] = { 0 }, l[MAX_OPTIONS];
	unsigned nt = 1, nl = model_options(c, 0, epoch, l);
	uint64_t at = size % SECTOR == 511 ? size / SECTOR : size / SECTOR - 1;
	bool has_place = size % SECTOR == 0 || size % SECTOR == 511;

	if (has_place)
		nt = model_options(c, at, epoch, t);
	for (unsigned i = 0; i < nt && !c->violation; i++) {
		const struct oracle_footer *trailer = has_place ? footer_of(t[i]) : NULL;

		if (has_place)
			check_forgery(c, &view, t[i]);
		view.has_trailer = trailer;
		view.limit = trailer ? at * SECTOR : size;
		view.last = has_place ? at : UINT64_MAX;
		view.last_id = t[i];
		if (trailer) {
			check_headers(c, &view, trailer);
			continue;
		}
		for (unsigned k = 0; k < nl && !c->violation; k++) {
			if (footer_of(l[k]))
				check_headers(c, &view, footer_of(l[k]));
			else
				report(c, "neither footer is valid (length %llu)",
					(unsigned long long)size);
		}
	}
}

void state_check_all(struct crash *c)
{
	c->memo_len = 0;
	for (unsigned i = 0; i < c->sizes_len; i++) {
		unsigned k = 0;

		while (k < i && (c->sizes[k].size != c->sizes[i].size ||
				 c->sizes[k].epoch != c->sizes[i].epoch))
			k++;
		if (k == i)
			check_size(c, c->sizes[i].size, c->sizes[i].epoch);
	}
}
