/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which footer speaks for the image, and what a read-write open mends before anything else.
 *
 * T is the trailing footer, L the leading copy. T is believed first, as the specification has it;
 * L is the fallback after a crash of almost any writer. The two are never both in flight (rule 7),
 * so one of them is valid at every instant.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"
#include "vhd/layout.h"
#include "vhd/store.h"

#define SHORT_FOOTER 511u
#define SEARCH_BACK (1u << 20)	/* bytes before the end in which a fixed image's footer is sought */

/* One candidate footer with the header that it names. */
struct candidate {
	const char *why;		/* NULL when valid */
	const char *what;		/* the structure that `why` speaks of */
	struct fmt_footer footer;
	struct fmt_header header;
	uint8_t raw[FMT_SECTOR];
	bool is_footer;			/* the footer itself is valid, whatever its header */
};

static bool is_dynamic(const struct fmt_footer *footer)
{
	return footer->type != VHD_FIXED;
}

static int judge(struct vhd_image *img, struct candidate *c, const char *what)
{
	uint8_t raw[FMT_HEADER_SIZE];
	uint64_t end;
	int rc;

	c->what = what;
	c->why = fmt_footer_decode(&c->footer, c->raw);
	c->is_footer = !c->why;
	if (c->why || !is_dynamic(&c->footer))
		return 0;
	c->what = "dynamic header";
	if (__builtin_add_overflow(c->footer.data_offset, FMT_HEADER_SIZE, &end) ||
	    end > img->file_size) {
		c->why = "lies past the end of the file";
		return 0;
	}
	rc = io_pread(img->io, raw, sizeof(raw), c->footer.data_offset);
	if (!rc)
		c->why = fmt_header_decode(&c->header, raw);
	return rc;
}

static bool is_over(uint64_t pos, uint64_t start, uint64_t len)
{
	return pos < start + len && pos + FMT_SECTOR > start;
}

/* Bytes of the header or the table that only look like a footer. */
static void judge_place(const struct vhd_image *img, struct candidate *t)
{
	if (t->why || !is_dynamic(&t->footer))
		return;
	if (is_over(img->trailer, t->footer.data_offset, FMT_HEADER_SIZE) ||
	    (t->header.table_offset < img->file_size &&
	     is_over(img->trailer, t->header.table_offset, (uint64_t)t->header.entries * 4)))
		t->why = "lies over the metadata";
}

static int read_candidates(struct vhd_image *img, struct candidate *t, struct candidate *l)
{
	int rc;

	memset(t->raw, 0, sizeof(t->raw));
	memset(l->raw, 0, sizeof(l->raw));
	img->trailer = img->file_size < FMT_SECTOR ? 0 : img->file_size - FMT_SECTOR;
	rc = io_pread(img->io, t->raw, FMT_SECTOR, img->trailer);
	if (!rc)
		rc = judge(img, t, "trailing footer");
	if (!rc && !t->is_footer && img->file_size % FMT_SECTOR == SHORT_FOOTER) {
		uint64_t pos = img->file_size - SHORT_FOOTER;

		rc = io_pread(img->io, t->raw, FMT_SECTOR, pos);	/* the 512th reads as 0 */
		if (!rc)
			rc = judge(img, t, "trailing footer");
		if (t->is_footer) {
			img->footer_state |= IMAGE_T_SHORT;
			img->trailer = pos;
		}
	}
	if (rc)
		return rc;
	judge_place(img, t);
	rc = io_pread(img->io, l->raw, FMT_SECTOR, 0);
	return rc ? rc : judge(img, l, "leading footer");
}

/* Blocks that the footer's disk needs, more than the header's table has? */
static bool outgrows_table(const struct candidate *c)
{
	uint64_t blocks = (c->footer.current_size + c->header.block_size - 1) /
			  c->header.block_size;

	return blocks > c->header.entries;
}

static void take(struct vhd_image *img, const struct candidate *c)
{
	img->footer = c->footer;
	img->header = c->header;
	memcpy(img->raw_footer, c->raw, sizeof(img->raw_footer));
}

/* A fixed image with bytes behind its footer: believed only where the footer stands at its own
 * current size, since guest data may hold anything. */
static int search_back(struct vhd_image *img, uint64_t pos, struct candidate *t, bool *is_found,
		       bool *has_cookie)
{
	uint64_t stop = pos > SEARCH_BACK ? pos - SEARCH_BACK : 0;

	while (pos >= stop + FMT_SECTOR) {
		int rc;

		pos -= FMT_SECTOR;
		rc = io_pread(img->io, t->raw, FMT_SECTOR, pos);
		if (rc)
			return rc;
		*has_cookie |= fmt_is_footer_cookie(t->raw);
		if (!fmt_is_footer_cookie(t->raw) || fmt_footer_decode(&t->footer, t->raw))
			continue;
		if (t->footer.type == VHD_FIXED && t->footer.current_size == pos) {
			img->trailer = pos;
			img->footer_state = IMAGE_T_INSIDE;
			*is_found = true;
			return 0;
		}
	}
	return 0;
}

/* A disk that grows (rule 12) and lost its power may have the new length over zeros: the old footer
 * is then the last that the host has stored of the file. */
static int end_of_stored(struct vhd_image *img, uint64_t *stored)
{
	uint64_t start, end = 0;
	int rc;

	do {
		*stored = end;
		rc = img->io->ops->next_stored(img->io, end, &start, &end);
	} while (rc > 0);
	return rc;
}

static int search_fixed(struct vhd_image *img, struct candidate *t, bool *is_found,
			bool *has_cookie)
{
	uint64_t stored;
	int rc;

	*is_found = *has_cookie = false;
	rc = search_back(img, img->file_size / FMT_SECTOR * FMT_SECTOR, t, is_found, has_cookie);
	if (!rc && !*is_found)
		rc = end_of_stored(img, &stored);
	if (!rc && !*is_found)
		rc = search_back(img, stored / FMT_SECTOR * FMT_SECTOR, t, is_found, has_cookie);
	return rc;
}

/*
 * Virtual PC 2004 could split an image into name.vhd, name.v01, ...; the trailing footer is then in
 * the last part, and one written behind the first would ruin the set.
 */
static bool is_split(const struct vhd_image *img)
{
	const char *dot = strrchr(img->name, '.');
	struct vhd_io *io;
	char *path;
	bool is_there;

	if (!dot || strchr(dot, '/'))
		return false;
	if (asprintf(&path, "%.*s.v01", (int)(dot - img->name), img->name) < 0)
		return false;
	is_there = !io_file_open(&io, path, true, NULL);
	if (is_there)
		io->ops->close(io);
	free(path);
	return is_there;
}

static int refuse(struct vhd_image *img, const struct candidate *t, const struct candidate *l,
		  struct vhd_err *err)
{
	const char *foreign = fmt_foreign(l->raw, sizeof(l->raw));
	const struct candidate *bad = fmt_is_footer_cookie(t->raw) ? t : l;

	if (foreign)
		return vhd_err_set(err, -EILSEQ, "%s: this is %s, not a VHD", img->name, foreign);
	if (!fmt_is_footer_cookie(bad->raw))
		return vhd_err_set(err, -EILSEQ, "%s: not a VHD: no footer at either end of it",
				   img->name);
	return vhd_err_set(err, -EILSEQ, "%s: the %s %s", img->name, bad->what, bad->why);
}

/* Whether t and l, and the place where a dynamic header mostly is, have nothing of a VHD's. */
static int is_foreign_to_vhd(struct vhd_image *img, const struct candidate *t,
			     const struct candidate *l, bool *is_none)
{
	uint8_t cookie[8] = { 0 };
	int rc = io_pread(img->io, cookie, sizeof(cookie), FMT_SECTOR);

	*is_none = !fmt_is_footer_cookie(t->raw) && !fmt_is_footer_cookie(l->raw) &&
		   !fmt_is_header_cookie(cookie) && !fmt_foreign(l->raw, sizeof(l->raw));
	return rc;
}

static void take_raw(struct vhd_image *img)
{
	img->footer = (struct fmt_footer){ .type = VHD_FIXED, .current_size = img->file_size };
	img->trailer = img->file_size;
	img->is_raw = true;
}

int recover_choose_footer(struct vhd_image *img, bool allow_raw, struct vhd_err *err)
{
	struct candidate t = { 0 }, l = { 0 };
	bool is_found, has_cookie, is_none;
	int rc = read_candidates(img, &t, &l);

	if (rc)
		goto io_error;
	if (fmt_is_poison_cookie(t.raw) || fmt_is_poison_cookie(l.raw))
		return vhd_err_set(err, -EILSEQ, "%s: a resize by blktap was interrupted; "
				   "vhd-util revert with its journal brings the image back",
				   img->name);
	if (!t.why && !is_dynamic(&t.footer)) {
		take(img, &t);
		return 0;	/* the first sector is the guest's, whatever it looks like */
	}
	if (!l.why && !is_dynamic(&l.footer))
		l.why = "is that of a fixed image, which has none";
	if (!t.why && (l.why || !outgrows_table(&t) || outgrows_table(&l))) {
		take(img, &t);
		if (l.why)
			img->footer_state |= IMAGE_L_MISSING;
		else if (memcmp(t.raw, l.raw, sizeof(t.raw)))
			img->footer_state |= IMAGE_L_DIFFERS;
		return 0;
	}
	if (!l.why && is_split(img))
		return vhd_err_set(err, -ENOTSUP, "%s: the first part of a split image (a .v01 is "
				   "beside it), which is not supported", img->name);
	if (!l.why) {
		take(img, &l);
		img->footer_state = IMAGE_T_MISSING;
		return 0;
	}
	rc = is_foreign_to_vhd(img, &t, &l, &is_none);
	if (!rc)
		rc = search_fixed(img, &t, &is_found, &has_cookie);
	if (rc)
		goto io_error;
	if (!is_found && allow_raw && is_none && !has_cookie && img->file_size) {
		take_raw(img);
		return 0;
	}
	if (!is_found)
		return refuse(img, &t, &l, err);
	take(img, &t);
	return 0;
io_error:
	return vhd_err_errno(err, rc, "%s: cannot read the footers", img->name);
}

static int write_footer(struct vhd_image *img, uint64_t pos, struct vhd_err *err)
{
	int rc = io_pwrite(img->io, img->raw_footer, FMT_SECTOR, pos);

	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot write the footer at offset %llu",
				     img->name, (unsigned long long)pos);
	return store_barrier(img, err);
}

/*
 * The last block is cut by T, whose sector becomes the block's data. T's bytes go first, while L
 * carries the image: a T that is still valid behind them would show them to the guest.
 */
static int extend_short_block(struct vhd_image *img, uint64_t end, struct vhd_err *err)
{
	int rc = io_write_zeros(img->io, FMT_SECTOR, img->trailer);

	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot extend the last block", img->name);
	rc = store_barrier(img, err);
	if (rc)
		return rc;
	img->trailer = map_place_footer(end);
	return write_footer(img, img->trailer, err);
}

int recover_mend_leading(struct vhd_image *img, struct vhd_err *err)
{
	int rc = 0;

	if (img->footer_state & IMAGE_T_SHORT)
		rc = write_footer(img, img->trailer, err);
	if (!rc && img->footer_state & (IMAGE_L_MISSING | IMAGE_L_DIFFERS))
		rc = write_footer(img, 0, err);
	return rc;
}

/* Rule 0: T if it is invalid, else L if it differs; never both. */
static int mend_footers(struct vhd_image *img, uint64_t end, struct vhd_err *err)
{
	if (img->footer_state & IMAGE_T_MISSING) {
		img->trailer = map_place_footer(end > img->file_size ? end : img->file_size);
		return write_footer(img, img->trailer, err);
	}
	return recover_mend_leading(img, err);
}

/*
 * blktap's batmap says which blocks have all their bits set. We do not keep it up, and all clear is
 * always valid: it is cleared once, header first, since a map with a wrong sum is not believed.
 */
static int clear_batmap(struct vhd_image *img, struct vhd_err *err)
{
	uint64_t at = layout_batmap_off(img), map, end;
	uint8_t head[FMT_SECTOR];
	uint32_t sectors, sum = UINT32_MAX;	/* the sum of an empty map */
	int rc;

	if (!layout_may_have_batmap(img) || at > img->trailer)
		return 0;
	rc = io_pread(img->io, head, sizeof(head), at);
	if (rc)
		goto io_error;
	if (memcmp(head, "tdbatmap", 8) || fmt_entry_get(head + 24) == sum)
		return 0;
	map = (uint64_t)fmt_entry_get(head + 8) << 32 | fmt_entry_get(head + 12);
	sectors = fmt_entry_get(head + 16);
	if (sectors > img->header.entries / 8 / FMT_SECTOR + 1)
		sectors = img->header.entries / 8 / FMT_SECTOR + 1;
	if (__builtin_add_overflow(map, (uint64_t)sectors * FMT_SECTOR, &end) ||
	    map != at + FMT_SECTOR || end > img->trailer)
		return 0;	/* not where its writers put it: not ours to touch */
	fmt_entry_put(head + 24, sum);
	rc = io_pwrite(img->io, head, sizeof(head), at);
	if (!rc)
		rc = io_write_zeros(img->io, (uint64_t)sectors * FMT_SECTOR, map);
	if (!rc)
		return store_barrier(img, err);
io_error:
	return vhd_err_errno(err, rc, "%s: cannot clear the batmap", img->name);
}

static void note_short_last(void *arg, const struct layout_finding *finding)
{
	if (finding->kind == LAYOUT_SHORT_LAST)
		*(bool *)arg = true;
}

int recover_mend(struct vhd_image *img, struct vhd_err *err)
{
	bool has_short_last = false;
	uint64_t end = 0;
	int rc;

	if (image_is_fixed(img))
		return img->footer_state & IMAGE_T_SHORT ?
		       write_footer(img, img->trailer, err) : 0;
	rc = layout_scan(img, &end, note_short_last, &has_short_last);
	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	rc = mend_footers(img, end, err);
	if (!rc && has_short_last && end > img->trailer)
		rc = extend_short_block(img, end, err);
	return rc ? rc : clear_batmap(img, err);
}
