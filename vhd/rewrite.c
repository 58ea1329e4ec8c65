/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the footers and the dynamic header say, said anew: another id, another parent, another size.
 *
 * These are rules 12 and 13 of the contract that opens commit.c, to which this file belongs: the
 * rest of an existing image's metadata is written there. Each change is one write of one sector
 * that counts, or is told by whichever footer is valid; and once a footer or the header on disk may
 * say something else than memory, a failure poisons the image.
 *
 * Locking: each takes commit_lock; nobody else may use the image but to read (rewrite.h).
 */
#include "vhd/rewrite.h"

#include <string.h>

#include "vhd/commit.h"
#include "vhd/layout.h"
#include "vhd/store.h"

#define CHUNK_ENTRIES 1024u	/* of the table written at once */

/* rule 5, for room up to end that no slot gets. */
static int reach(struct vhd_image *img, uint64_t end, struct vhd_err *err)
{
	uint64_t trailer = map_place_footer(end);
	int rc = commit_lengthen(img, trailer, err);

	if (!rc)
		rc = store_barrier(img, err);
	if (rc)
		return rc;
	img->trailer = trailer;
	img->slots_end = end;
	img->commit.is_trailer_lost = false;
	return 0;
}

/* A header with its texts, where no footer names it; durable. */
static int write_header(struct vhd_image *img, const struct rewrite_header *h, struct vhd_err *err)
{
	int rc = io_pwrite(img->io, h->raw, FMT_HEADER_SIZE, h->off);

	for (unsigned i = 0; !rc && i < h->texts_len; i++)
		rc = io_pwrite(img->io, h->texts[i].text, h->texts[i].len, h->texts[i].off);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot write the dynamic header", img->name);
	return store_barrier(img, err);
}

/* rule 7: first T, then L, as raw_footer is now. */
static int write_footers(struct vhd_image *img, struct vhd_err *err)
{
	const uint64_t places[] = { img->trailer, 0 };

	for (unsigned i = 0; i < (image_is_fixed(img) ? 1 : 2); i++) {
		int rc = io_pwrite(img->io, img->raw_footer, FMT_SECTOR, places[i]);

		if (rc)
			return vhd_err_errno(err, rc, "%s: cannot write the footer at offset %llu",
					     img->name, (unsigned long long)places[i]);
		rc = store_barrier(img, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int point_footers(struct vhd_image *img, uint64_t off, struct vhd_err *err)
{
	fmt_footer_set_data_offset(img->raw_footer, off);
	return write_footers(img, err);
}

int rewrite_id(struct vhd_image *img, const uint8_t uuid[16], struct vhd_err *err)
{
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	rc = store_check_poison(img, err);
	if (!rc) {
		memcpy(img->footer.uuid, uuid, sizeof(img->footer.uuid));
		fmt_footer_set_uuid(img->raw_footer, uuid);
		rc = write_footers(img, err);
		if (rc)
			store_poison(img, rc);
	}
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

/* commit_lock is held. */
static int replace_header(struct vhd_image *img, const struct rewrite_header *meantime,
			  const struct rewrite_header *final, uint64_t end, struct vhd_err *err)
{
	int rc = reach(img, end, err);

	if (!rc)
		rc = write_header(img, meantime, err);
	if (rc)
		return rc;
	rc = point_footers(img, meantime->off, err);
	if (!rc)
		rc = write_header(img, final, err);
	if (!rc)
		rc = point_footers(img, final->off, err);
	if (rc)
		store_poison(img, rc);
	return rc;
}

int rewrite_header(struct vhd_image *img, const struct rewrite_header *meantime,
		   const struct rewrite_header *final, uint64_t end, struct vhd_err *err)
{
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	rc = store_check_poison(img, err);
	if (!rc)
		rc = replace_header(img, meantime, final, end, err);
	if (!rc) {
		img->footer.data_offset = final->off;
		img->header = final->header;
		img->metadata_end = final->metadata_end;
	}
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

int rewrite_reserve(struct vhd_image *img, uint64_t end, struct vhd_err *err)
{
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	rc = store_check_poison(img, err);
	if (!rc && map_place_footer(end) > img->trailer)
		rc = reach(img, end, err);
	else if (!rc && img->slots_end < end)
		img->slots_end = end;
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

/* The table from block `first` on: the map's entries, and unused ones behind them. */
static int write_table(struct vhd_image *img, uint64_t off, uint32_t first, uint32_t end)
{
	uint8_t raw[CHUNK_ENTRIES * 4];
	int rc = 0;

	for (uint32_t blk = first, n; !rc && blk < end; blk += n) {
		n = end - blk < CHUNK_ENTRIES ? end - blk : CHUNK_ENTRIES;
		for (uint32_t i = 0; i < n; i++)
			fmt_entry_put(raw + i * 4, blk + i < img->map.blocks ?
				      img->map.entry[blk + i] : FMT_UNUSED);
		rc = io_pwrite(img->io, raw, n * 4ull, off + blk * 4ull);
	}
	return rc;
}

/* rule 12: one sector has all that says where the table is. */
static int point_header(struct vhd_image *img, uint64_t off, uint32_t entries, struct vhd_err *err)
{
	uint8_t raw[FMT_HEADER_SIZE];
	int rc = io_pread(img->io, raw, sizeof(raw), img->footer.data_offset);

	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot read the dynamic header", img->name);
	fmt_header_set_table(raw, off, entries);
	rc = io_pwrite(img->io, raw, FMT_SECTOR, img->footer.data_offset);
	if (!rc)
		return store_barrier(img, err);
	store_poison(img, rc);
	return vhd_err_errno(err, rc, "%s: cannot write the dynamic header", img->name);
}

/* commit_lock is held. */
static int move_table(struct vhd_image *img, uint64_t off, uint32_t entries, struct vhd_err *err)
{
	uint32_t first = off == img->header.table_offset ? img->map.blocks : 0;
	int rc = store_check_poison(img, err);

	if (!rc && first < entries) {
		rc = write_table(img, off, first, entries);
		rc = rc ? vhd_err_errno(err, rc, "%s: cannot write the block table", img->name) :
		     store_barrier(img, err);
	}
	if (!rc)
		rc = point_header(img, off, entries, err);
	if (rc)
		return rc;
	img->header.table_offset = off;
	img->header.entries = entries;
	img->metadata_end = layout_metadata_end(img, img->trailer);
	return 0;
}

int rewrite_table(struct vhd_image *img, uint64_t off, uint32_t entries, struct vhd_err *err)
{
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	rc = move_table(img, off, entries, err);
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

/* What the file has behind a fixed image's footer, which was written and is durable, goes. */
static int cut_behind_trailer(struct vhd_image *img, struct vhd_err *err)
{
	int rc = img->io->ops->truncate(img->io, img->trailer + FMT_SECTOR);

	return rc ? vhd_err_errno(err, rc, "%s: cannot cut the file", img->name) :
	       store_barrier(img, err);
}

/* rule 5, or 6; the footer of a disk that grew becomes zeros of the disk. */
static int move_fixed_footer(struct vhd_image *img, uint64_t size, struct vhd_err *err)
{
	uint64_t old = img->trailer;
	int rc = size > old ? commit_lengthen(img, size, err) :
		 io_pwrite(img->io, img->raw_footer, FMT_SECTOR, size);

	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot write the footer at offset %llu",
				     img->name, (unsigned long long)size);
	rc = store_barrier(img, err);
	if (rc)
		return rc;
	img->trailer = size;
	rc = cut_behind_trailer(img, err);
	if (rc || size < old)
		return rc;
	rc = io_write_zeros(img->io, FMT_SECTOR, old);
	return rc ? vhd_err_errno(err, rc, "%s: cannot write the disk", img->name) :
	       store_barrier(img, err);
}

int rewrite_size(struct vhd_image *img, uint64_t size, struct vhd_err *err)
{
	uint8_t before[FMT_SECTOR];
	uint64_t trailer;
	int rc;

	pthread_mutex_lock(&img->commit_lock);
	trailer = img->trailer;
	rc = store_check_poison(img, err);
	if (!rc) {
		memcpy(before, img->raw_footer, sizeof(before));
		fmt_footer_set_size(img->raw_footer, size);
		rc = image_is_fixed(img) ? move_fixed_footer(img, size, err) :
		     write_footers(img, err);
		/* A fixed image that could not be lengthened is as it was. */
		if (rc && image_is_fixed(img) && img->trailer == trailer)
			memcpy(img->raw_footer, before, sizeof(before));
		else if (rc)
			store_poison(img, rc);
	}
	if (!rc)
		img->size = img->footer.current_size = size;
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}
