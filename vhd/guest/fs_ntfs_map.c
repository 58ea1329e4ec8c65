/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * $Bitmap as a map of what is free.
 *
 * It has no checksum; all that it says of itself is that the bits past the volume's end are set.
 * The rest is fs_ntfs_files.c's.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "vhd/guest/fs_ntfs.h"

#ifdef HAVE_NTFS

#define PIECE (1 << 20)

static int damaged(struct verdict *verdict, const char *what)
{
	return verdict_set(verdict, GUEST_DAMAGED, "%s: " NTFS_CHKDSK, what);
}

bool ntfs_is_stored(const struct ntfs *ntfs, ntfs_attr *attr)
{
	s64 clusters = ntfs->volume->nr_clusters;

	if (attr->data_flags || !NAttrNonResident(attr) || attr->data_size < 0 ||
	    attr->initialized_size > attr->data_size || attr->allocated_size < attr->data_size ||
	    attr->allocated_size > clusters * ntfs->boot.cluster)
		return false;
	if (ntfs_attr_map_whole_runlist(attr))
		return false;
	for (const runlist_element *run = attr->rl; run->length; run++)
		if (run->lcn < 0 || run->length < 0 || run->lcn > clusters ||
		    run->length > clusters - run->lcn)
			return false;
	return true;
}

/* A part of the bitmap that was never written would read as zeros: as free. */
static bool is_whole(const struct ntfs *ntfs, ntfs_attr *attr)
{
	return attr->data_size >= (ntfs->volume->nr_clusters + 7) / 8 &&
	       attr->initialized_size == attr->data_size && ntfs_is_stored(ntfs, attr);
}

/* 64 clusters from first on, set for used. False if one past the volume's end is free. */
static bool take_word(struct freemap *map, uint64_t first, uint64_t used)
{
	uint64_t free_bits = ~used;

	if (first >= map->units)
		return !free_bits;
	if (map->units - first < 64 && free_bits >> (map->units - first))
		return false;
	map->bits[first / 64] = free_bits;
	return true;
}

/* The bitmap's bytes from off on, of which the piece has len, and room for seven more. */
static bool take_piece(struct freemap *map, uint64_t off, uint8_t *piece, size_t len)
{
	memset(piece + len, 0xff, 7);
	for (size_t i = 0; i < len; i += 8)
		if (!take_word(map, (off + i) * 8, le64(piece + i)))
			return false;
	return true;
}

static int take_all(struct ntfs *ntfs, struct freemap *map, uint8_t *piece,
		    struct verdict *verdict)
{
	ntfs_attr *attr = ntfs->volume->lcnbmp_na;

	for (s64 off = 0; off < attr->data_size; off += PIECE) {
		s64 len = attr->data_size - off < PIECE ? attr->data_size - off : PIECE;

		if (ntfs_attr_pread(attr, off, len, piece) != len)
			return ntfs_unread(ntfs, verdict, "its $Bitmap");
		if (!take_piece(map, (uint64_t)off, piece, (size_t)len))
			return damaged(verdict, "its $Bitmap calls free what lies past its end");
	}
	return 0;
}

int ntfs_bitmap_read(struct ntfs *ntfs, struct freemap *map, struct verdict *verdict)
{
	uint8_t *piece;
	int rc;

	if (!is_whole(ntfs, ntfs->volume->lcnbmp_na))
		return ntfs->rc ? ntfs->rc : damaged(verdict, "its $Bitmap is not whole");
	rc = freemap_init(map, 0, ntfs->boot.cluster, ntfs->boot.clusters);
	if (rc)
		return rc;
	piece = malloc(PIECE + 7);
	if (!piece)
		return -ENOMEM;
	rc = take_all(ntfs, map, piece, verdict);
	free(piece);
	return rc;
}

#endif
