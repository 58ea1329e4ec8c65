/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checking the structure of an image and of its parents, and mending the image.
 *
 * Problems are reported as they are met, so that an image with a million of them needs no memory
 * for it; what is to be repaired is said to be so before it is, and an error of the repair then
 * fails the whole check. Repairs go through the same recovery, commit and trim as everything else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/chain.h"
#include "vhd/commit.h"
#include "vhd/image.h"
#include "vhd/layout.h"
#include "vhd/store.h"

struct check {
	struct vhd_image *img;
	const struct vhd_check_opts *opts;
	struct vhd_check_result *result;
	uint64_t errors_left;	/* damage that stays: nothing is placed or cut then */
	uint32_t *lost;		/* blocks whose entries are to become unused */
	size_t lost_len, lost_max;
	int rc;
};

static void report(struct check *check, const char *kind, enum vhd_severity severity,
		   bool is_repaired, uint64_t count, const char *message)
{
	struct vhd_problem problem = {
		.kind = kind, .severity = severity, .is_repaired = is_repaired,
	};

	if (is_repaired)
		check->result->repaired += count;
	else if (severity == VHD_ERROR)
		check->result->errors += count;
	else
		check->result->leaks += count;
	if (!check->opts->report)
		return;
	snprintf(problem.message, sizeof(problem.message), "%s", message);
	check->opts->report(check->opts->report_arg, &problem);
}

/* A footer written behind the end could make room of what a damaged entry names. */
static bool can_mend(const struct check *check, enum image_footer_state state)
{
	return check->opts->repair && !(state == IMAGE_T_MISSING && check->errors_left);
}

static void report_footers(struct check *check)
{
	static const struct {
		enum image_footer_state state;
		const char *kind, *what;
	} kinds[] = {
		{ IMAGE_T_MISSING, "trailing-footer-missing", "the trailing footer is missing" },
		{ IMAGE_T_SHORT, "trailing-footer-short", "the trailing footer has 511 bytes" },
		{ IMAGE_T_INSIDE, "bytes-after-footer", "bytes follow the trailing footer" },
		{ IMAGE_L_MISSING, "leading-footer-missing", "the leading footer copy is missing" },
		{ IMAGE_L_DIFFERS, "footers-differ", "the footer copies differ" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		char message[512];

		if (!(check->img->footer_state & kinds[i].state))
			continue;
		snprintf(message, sizeof(message), "%s: %s", check->img->name, kinds[i].what);
		report(check, kinds[i].kind, VHD_WASTE, can_mend(check, kinds[i].state), 1,
		       message);
	}
}

static bool is_given_up(const struct check *check, enum layout_kind kind)
{
	return check->opts->repair && check->opts->lossy &&
	       (kind == LAYOUT_PAST_END || kind == LAYOUT_IN_METADATA);
}

/* The entry names what is lost already; it can only become unused. */
static bool give_up(struct check *check, enum layout_kind kind, uint32_t blk)
{
	if (!is_given_up(check, kind))
		return false;
	if (check->lost_len && check->lost[check->lost_len - 1] == blk)
		return true;
	if (check->lost_len == check->lost_max) {
		size_t max = check->lost_max ? 2 * check->lost_max : 64;
		uint32_t *grown = realloc(check->lost, max * sizeof(*grown));

		if (!grown) {
			check->rc = -ENOMEM;
			return false;
		}
		check->lost = grown;
		check->lost_max = max;
	}
	check->lost[check->lost_len++] = blk;
	return true;
}

static void count_errors(void *arg, const struct layout_finding *f)
{
	struct check *check = arg;

	if (f->kind != LAYOUT_GAP && f->kind != LAYOUT_SHORT_LAST && !is_given_up(check, f->kind))
		check->errors_left++;
}

static void report_gap(struct check *check, const struct layout_finding *f)
{
	struct vhd_image *img = check->img;
	uint64_t slot = map_slot_size(&img->map), slots = f->len / slot;
	bool is_tail = f->off + f->len >= img->trailer;
	char message[512];

	if (is_tail) {	/* what a trim would give back: the footer keeps to the end of a page */
		uint64_t footer = map_place_footer(f->off);

		slots = footer < img->trailer ? (img->trailer - footer) / slot : 0;
	}
	if (!slots)
		return;
	snprintf(message, sizeof(message), "%s: room for %llu blocks at offset %llu is used by "
		 "nothing", img->name, (unsigned long long)slots, (unsigned long long)f->off);
	report(check, "leak", VHD_WASTE, check->opts->repair && is_tail && !check->errors_left,
	       slots, message);
}

static void on_finding(void *arg, const struct layout_finding *f)
{
	struct check *check = arg;
	char message[512];

	layout_describe(check->img, f, message, sizeof(message));
	switch (f->kind) {
	case LAYOUT_PAST_END:
		report(check, "bat-entry-past-end", VHD_ERROR,
		       give_up(check, f->kind, f->blk), 1, message);
		return;
	case LAYOUT_IN_METADATA:
		report(check, "bat-entry-in-metadata", VHD_ERROR,
		       give_up(check, f->kind, f->blk), 1, message);
		return;
	case LAYOUT_OVERLAP:
		report(check, "blocks-overlap", VHD_ERROR, false, 1, message);
		return;
	case LAYOUT_SHORT_LAST:
		report(check, "last-block-short", VHD_WASTE,
		       check->opts->repair && !check->errors_left, 1, message);
		return;
	case LAYOUT_GAP:
		report_gap(check, f);
	}
}

static int repair_fixed(struct check *check, struct vhd_err *err)
{
	struct vhd_image *img = check->img;
	int rc = recover_mend(img, err);

	if (rc || !(img->footer_state & IMAGE_T_INSIDE))
		return rc;
	rc = img->io->ops->truncate(img->io, img->trailer + FMT_SECTOR);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot cut the file behind its footer",
				     img->name);
	return store_barrier(img, err);
}

static int repair_dynamic(struct check *check, struct vhd_err *err)
{
	struct vhd_image *img = check->img;
	int rc = 0;

	for (size_t i = 0; !rc && i < check->lost_len; i++) {
		rc = map_reserve(&img->map);
		if (!rc && img->map.entry[check->lost[i]] != FMT_UNUSED)
			map_forget(&img->map, check->lost[i]);
	}
	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	rc = check->errors_left ? recover_mend_leading(img, err) : image_start_writing(img, err);
	if (!rc)
		rc = commit_run(img, err);
	if (!rc && !check->errors_left)
		rc = commit_trim(img, 0, err);
	return rc;
}

static int check_image(struct check *check, struct vhd_err *err)
{
	struct vhd_image *img = check->img;
	uint64_t end;

	if (!image_is_fixed(img))
		check->rc = layout_scan(img, &end, count_errors, check);
	report_footers(check);
	if (image_is_fixed(img))
		return check->opts->repair ? repair_fixed(check, err) : 0;
	if (!check->rc)
		check->rc = layout_scan(img, &end, on_finding, check);
	if (check->rc)
		return vhd_err_errno(err, check->rc, "%s", img->name);
	return check->opts->repair ? repair_dynamic(check, err) : 0;
}

/*
 * The parents are found one by one and not opened as a chain, which one damaged table would
 * prevent. child is the link of the image whose parent img is; NULL for the first.
 */
static int check_parents(struct vhd_image *img, const struct vhd_check_opts *opts,
			 const struct chain_link *child, struct vhd_check_result *result,
			 struct vhd_err *err)
{
	struct chain_link link = { .child = child, .depth = child ? child->depth + 1 : 0 };
	struct vhd_open_opts open_opts = {
		.is_readonly = true, .no_lock = opts->no_lock, .allow_raw = true,
		.force_share = opts->share_parents, .warn = opts->warn,
		.warn_arg = opts->warn_arg,
	};
	struct check check = { .opts = opts, .result = result };
	struct vhd_io *io;
	char *path;
	int rc;

	if (img->footer.type != VHD_DIFFERENCING)
		return 0;
	rc = io_stat(img->io, &link.st);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot be looked at", img->name);
	rc = chain_find_parent(img, &open_opts, &link, &path, err);
	if (rc)
		return rc;
	rc = io_file_open(&io, path, true, err);
	if (!rc)
		rc = image_load(&check.img, io, path, &open_opts, err);
	free(path);
	if (rc)
		return rc;
	result->parents++;
	rc = check.img->is_raw ? 0 : check_image(&check, err);
	if (!rc)
		rc = check_parents(check.img, opts, &link, result, err);
	image_free(check.img);
	return rc;
}

int vhd_check_io(struct vhd_io *io, const char *name, const struct vhd_check_opts *opts,
		 struct vhd_check_result *result, struct vhd_err *err)
{
	struct vhd_open_opts open_opts = {
		.is_readonly = !opts->repair, .no_lock = opts->no_lock,
		.force_share = opts->force_share && !opts->repair,
	};
	struct check check = { .opts = opts, .result = result };
	int rc;

	memset(result, 0, sizeof(*result));
	rc = image_load(&check.img, io, name, &open_opts, err);
	if (rc)
		return rc;
	rc = check_image(&check, err);
	if (!rc && opts->with_parents) {
		struct vhd_check_opts looks = *opts;

		looks.repair = looks.lossy = false;
		rc = check_parents(check.img, &looks, NULL, result, err);
	}
	free(check.lost);
	image_free(check.img);
	return rc;
}

int vhd_check(const char *path, const struct vhd_check_opts *opts, struct vhd_check_result *result,
	      struct vhd_err *err)
{
	struct vhd_io *io;
	int rc = io_file_open(&io, path, !opts->repair, err);

	return rc ? rc : vhd_check_io(io, path, opts, result, err);
}
