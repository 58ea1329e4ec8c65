/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another parent, or another place of it, for a differencing image that is there.
 *
 * The paths go where the old ones are if their room is large enough and nobody else's, which a file
 * from somebody else does not guarantee; else they stay behind everything, where the header of the
 * meantime (rule 13) has them anyway. A header that such a meantime left elsewhere, because the
 * power failed in it, goes back to where readers that look nowhere else expect it.
 *
 * Locking: the caller sees to it that nobody writes: still_lock, or an image of its own.
 */
#include "vhd/relink.h"

#include <errno.h>
#include <string.h>
#include <uuid.h>

#include "vhd/chain.h"
#include "vhd/commit.h"
#include "vhd/create.h"
#include "vhd/layout.h"
#include "vhd/naming.h"
#include "vhd/rewrite.h"

#define HOME FMT_SECTOR		/* where every writer puts the header */
#define HOST_PAGE 4096u
#define CLAIMS (NAMING_TEXTS + 1)

struct span {
	uint64_t off, len;
};

struct plan {
	struct vhd_image *img;
	struct naming naming;
	struct fmt_header header;	/* the new one, but for the locators */
	struct span claims[CLAIMS];	/* what the final header and its texts take */
	unsigned claims_len;
	struct rewrite_header meantime, final;
	uint64_t end;			/* of what is behind everything */
};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static bool is_over(struct span s, uint64_t start, uint64_t end)
{
	return s.off < end && s.off + s.len > start;
}

static bool is_header(const struct vhd_image *img, const struct layout_span *span)
{
	return span->start == img->footer.data_offset &&
	       span->hard == span->start + FMT_HEADER_SIZE;
}

/* Whether the metadata that stays, or what was claimed, has a part of s. The old header and the old
 * locators' room are what is given up. */
static bool is_over_metadata(const struct plan *p, struct span s)
{
	struct vhd_image bare = { .footer = p->img->footer, .header = p->img->header };
	struct layout_span spans[LAYOUT_SPANS_MAX];
	unsigned n;

	memset(bare.header.locators, 0, sizeof(bare.header.locators));
	n = layout_metadata(&bare, spans);
	for (unsigned i = 0; i < n; i++)
		if (!is_header(p->img, &spans[i]) && is_over(s, spans[i].start, spans[i].soft))
			return true;
	for (unsigned i = 0; i < p->claims_len; i++)
		if (is_over(s, p->claims[i].off, p->claims[i].off + p->claims[i].len))
			return true;
	return false;
}

static bool is_over_block(const struct map *map, struct span s)
{
	for (uint32_t blk = 0; blk < map->blocks; blk++) {
		uint64_t start = map_entry_off(map->entry[blk]);

		if (map->entry[blk] != FMT_UNUSED && is_over(s, start, start + map_slot_size(map)))
			return true;
	}
	return false;
}

/* Takes s for the final header or one of its texts, if it is before T and nobody else's. */
static bool claim(struct plan *p, struct span s)
{
	const struct vhd_image *img = p->img;

	if (s.off > img->trailer || s.len > img->trailer - s.off || is_over_metadata(p, s) ||
	    is_over_block(&img->map, s))
		return false;
	p->claims[p->claims_len++] = s;
	return true;
}

static void place_header(struct plan *p)
{
	struct span home = { HOME, FMT_HEADER_SIZE };

	if (claim(p, home)) {
		p->final.off = HOME;
		return;
	}
	p->final.off = p->img->footer.data_offset;
	p->claims[p->claims_len++] = (struct span){ p->final.off, FMT_HEADER_SIZE };
}

static void put_text(struct plan *p, struct rewrite_header *h, unsigned i, struct span room)
{
	const struct naming_text *text = &p->naming.texts[i];

	h->header.locators[i] = (struct fmt_locator) {
		.platform = text->platform, .space = (uint32_t)room.len, .length = text->len,
		.offset = room.off,
	};
	h->texts[i].text = text->text;
	h->texts[i].len = text->len;
	h->texts[i].off = room.off;
	h->texts_len = i + 1;
}

/* The room of an old locator of the same kind. */
static bool place_in_old_room(struct plan *p, unsigned i)
{
	const struct naming_text *text = &p->naming.texts[i];

	for (unsigned k = 0; k < FMT_LOCATORS; k++) {
		const struct fmt_locator *l = &p->img->header.locators[k];
		struct span room = { l->offset, l->space / FMT_SECTOR * FMT_SECTOR };

		if (l->platform == text->platform && room.len >= text->len && claim(p, room)) {
			put_text(p, &p->final, i, room);
			return true;
		}
	}
	return false;
}

/* Those that stay behind everything come first there, so that the rest can be cut off. */
static void place_texts(struct plan *p)
{
	bool is_back[NAMING_TEXTS];

	for (unsigned i = 0; i < p->naming.len; i++) {
		struct span room = { p->end, naming_room(&p->naming, i) };

		is_back[i] = place_in_old_room(p, i);
		if (is_back[i])
			continue;
		put_text(p, &p->final, i, room);
		put_text(p, &p->meantime, i, room);
		p->end += room.len;
	}
	for (unsigned i = 0; i < p->naming.len; i++) {
		struct span room = { p->end, round_up(p->naming.texts[i].len, FMT_SECTOR) };

		if (!is_back[i])
			continue;
		put_text(p, &p->meantime, i, room);
		p->end += room.len;
	}
	p->meantime.off = p->end;
	p->end += FMT_HEADER_SIZE;
}

static uint64_t metadata_end(const struct plan *p, const struct rewrite_header *h)
{
	struct vhd_image with = { .footer = p->img->footer, .header = h->header };

	with.footer.data_offset = h->off;
	return layout_metadata_end(&with, p->end);
}

static int encode(struct plan *p, struct rewrite_header *h)
{
	int rc = io_pread(p->img->io, h->raw, FMT_HEADER_SIZE, p->img->footer.data_offset);

	if (rc)
		return rc;
	fmt_header_set_parent(h->raw, &h->header);
	h->metadata_end = metadata_end(p, h);
	return 0;
}

static int make_plan(struct plan *p)
{
	const struct vhd_image *img = p->img;
	uint64_t used = img->trailer > img->slots_end ? img->trailer : img->slots_end;
	int rc;

	p->meantime.header = p->final.header = p->header;
	p->end = round_up(used, HOST_PAGE);
	place_header(p);
	place_texts(p);
	rc = encode(p, &p->meantime);
	return rc ? rc : encode(p, &p->final);
}

static int relink_still(struct plan *p, const struct relink_to *to, struct vhd_err *err)
{
	struct vhd_image *img = p->img;
	int rc = commit_run(img, err);

	if (rc)
		return rc;
	p->header = img->header;
	memset(p->header.locators, 0, sizeof(p->header.locators));
	memcpy(p->header.parent_uuid, to->uuid, sizeof(to->uuid));
	memcpy(p->header.parent_name, p->naming.name, sizeof(p->naming.name));
	p->header.parent_timestamp = to->timestamp;
	rc = make_plan(p);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot read the dynamic header", img->name);
	rc = rewrite_header(img, &p->meantime, &p->final, p->end, err);
	if (!rc)
		return commit_trim(img, COMMIT_TRIM_ALL, err);
	if (!atomic_load(&img->poison))		/* no footer names what was begun */
		commit_trim(img, COMMIT_TRIM_ALL, NULL);
	return rc;
}

int relink(struct vhd_image *img, const struct relink_to *to, struct vhd_err *err)
{
	struct plan p = { .img = img };
	int rc = naming_make(&p.naming, img->name, to->path, err);

	if (!rc)
		rc = relink_still(&p, to, err);
	naming_destroy(&p.naming);
	return rc;
}

/* Opens the child, with its parents if they are to be looked at. */
static int open_child(struct vhd_image **out, const char *path, const struct vhd_rebase_opts *opts,
		      struct vhd_err *err)
{
	struct vhd_open_opts open_opts = {
		.parent = opts->parent, .no_lock = opts->no_lock, .warn = opts->warn,
		.warn_arg = opts->warn_arg,
	};
	struct chain_link link = { 0 };
	struct vhd_image *img;
	struct vhd_io *io;
	int rc = io_file_open(&io, path, false, err);

	if (!rc)
		rc = image_load(&img, io, path, &open_opts, err);
	if (rc)
		return rc;
	if (img->footer.type != VHD_DIFFERENCING)
		rc = vhd_err_set(err, -ENOTSUP, "%s: has no parent, for it is no differencing "
				 "image", path);
	else if (img->footer.saved_state)
		rc = vhd_err_set(err, -EBUSY, "%s: a machine's saved state waits for this disk as "
				 "it is; resume or discard it first", path);
	if (!rc)
		rc = image_judge_table(img, err);
	if (!rc)
		rc = io_stat(img->io, &link.st);
	if (!rc && !opts->is_unchecked)
		rc = chain_open_parent(img, &open_opts, &link, err);
	if (!rc)
		rc = image_start_writing(img, err);
	if (rc) {
		image_free(img);
		return rc;
	}
	*out = img;
	return 0;
}

/* What lies at the path now, by its own word. What is not there has the id that it had. */
static int look_at_parent(struct vhd_image *img, struct relink_to *to, struct vhd_err *err)
{
	struct vhd_open_opts opts = {
		.is_readonly = true, .force_share = true,
		.allow_raw = uuid_is_null(img->header.parent_uuid),
	};
	struct vhd_io_stat self, st;
	struct vhd_image *parent;
	struct vhd_io *io;
	struct vhd_err why;
	int rc = io_file_open(&io, to->path, true, &why);

	if (rc == -ENOENT)
		return 0;
	if (!rc)
		rc = image_load(&parent, io, to->path, &opts, &why);
	if (rc)
		return vhd_err_set(err, rc, "%s", why.msg);
	rc = io_stat(parent->io, &st);
	if (!rc)
		rc = io_stat(img->io, &self);
	if (!rc && st.dev == self.dev && st.ino == self.ino)
		rc = vhd_err_set(err, -ELOOP, "%s: cannot be its own parent", img->name);
	else if (!rc && opts.allow_raw && !parent->is_raw)
		rc = vhd_err_set(err, -EILSEQ, "%s is a VHD, and the parent of %s is a raw disk",
				 to->path, img->name);
	else if (rc)
		vhd_err_errno(err, rc, "%s: cannot be looked at", to->path);
	if (!rc) {
		memcpy(to->uuid, parent->footer.uuid, sizeof(to->uuid));
		to->timestamp = create_timestamp(&st);
	}
	image_free(parent);
	return rc;
}

static int find_parent(struct vhd_image *img, const struct vhd_rebase_opts *opts,
		       struct relink_to *to, struct vhd_err *err)
{
	struct vhd_io_stat st;
	int rc;

	memcpy(to->uuid, img->header.parent_uuid, sizeof(to->uuid));
	if (opts->is_unchecked)
		return look_at_parent(img, to, err);
	rc = io_stat(img->parent->io, &st);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be looked at", opts->parent);
	to->timestamp = create_timestamp(&st);
	return 0;
}

int vhd_rebase(const char *path, const struct vhd_rebase_opts *opts, struct vhd_err *err)
{
	struct relink_to to = { .path = opts->parent };
	struct vhd_image *img;
	int rc = open_child(&img, path, opts, err);

	if (rc)
		return rc;
	rc = find_parent(img, opts, &to, err);
	if (!rc)
		rc = relink(img, &to, err);
	if (rc)
		image_free(img);
	return rc ? rc : vhd_close(img, err);
}
