/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the bitmap has every run of every file, the system's own among them.
 *
 * It is all that can be held against an NTFS bitmap, which has no checksum and no counts beside
 * it; and a crash under ntfs-3g, which keeps no log and sets no flag, leaves no other trace. The
 * records are read as they lie in $MFT, in large pieces, and decoded here: opening each file
 * through the library would be a read for each.
 *
 * That runs are used but belong to no file is waste, and no reason to refuse.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "vhd/guest/fs_ntfs.h"

#ifdef HAVE_NTFS

#define PIECE (1u << 20)	/* a multiple of every size of a record */
#define IN_USE 0x0001u
#define ATTRIBUTES_END 0xffffffffu

struct walk {
	const struct freemap *map;
	uint32_t record;	/* bytes */
	uint64_t clusters;	/* of all runs until now */
};

/* Little-endian, in len bytes, the last one's highest bit the sign. */
static int64_t signed_number(const uint8_t *p, unsigned len)
{
	uint64_t value = len && p[len - 1] & 0x80 ? UINT64_MAX : 0;

	while (len)
		value = value << 8 | p[--len];
	return (int64_t)value;
}

static bool take_run(struct walk *walk, int64_t first, int64_t count)
{
	const struct freemap *map = walk->map;

	if (first < 0 || (uint64_t)first >= map->units ||
	    (uint64_t)count > map->units - (uint64_t)first)
		return false;
	walk->clusters += (uint64_t)count;
	/* All used; and not more of them than there are, or two files share some. */
	return walk->clusters <= map->units &&
	       !freemap_count(map, (uint64_t)first, (uint64_t)count);
}

/* The pairs of a length and a distance from the run before, up to a zero; total clusters. */
static bool take_pairs(struct walk *walk, const uint8_t *p, const uint8_t *end, uint64_t total)
{
	int64_t first = 0, distance;

	while (p < end && *p) {
		unsigned len = *p & 15, place = *p >> 4;
		int64_t count;

		if (!len || len > 8 || place > 8 || (size_t)(end - p) < 1 + len + place)
			return false;
		count = signed_number(p + 1, len);
		distance = signed_number(p + 1 + len, place);
		if (count <= 0 || (uint64_t)count > total ||
		    __builtin_add_overflow(first, distance, &first))
			return false;
		if (place && !take_run(walk, first, count))	/* without a place: a hole */
			return false;
		total -= (uint64_t)count;
		p += 1 + len + place;
	}
	return p < end && !total;
}

static bool take_attribute(struct walk *walk, const uint8_t *attr, uint32_t len)
{
	uint32_t pairs;
	int64_t total;

	if (len < 24 || attr[8] > 1)
		return false;
	if (!attr[8])
		return true;	/* its value is in the record */
	pairs = le16(attr + 32);
	/* The number of the last cluster, and that of the first; an empty one ends at -1. */
	if (len < 64 || pairs < 64 || pairs >= len ||
	    __builtin_sub_overflow((int64_t)le64(attr + 24), (int64_t)le64(attr + 16), &total) ||
	    total < -1)
		return false;
	return take_pairs(walk, attr + pairs, attr + len, (uint64_t)total + 1);
}

static bool take_attributes(struct walk *walk, const uint8_t *record)
{
	uint32_t off = le16(record + 20), used = le32(record + 24), len;

	if (used > walk->record || off % 8 || off < 42)
		return false;
	while (off + 8 <= used && le32(record + off) != ATTRIBUTES_END) {
		len = le32(record + off + 4);
		if (len % 8 || len > used - off || !take_attribute(walk, record + off, len))
			return false;
		off += len;
	}
	return off + 8 <= used;
}

/* Records that are free, or were never used, are passed over; they are changed: made whole. */
static bool take_record(struct walk *walk, uint8_t *record)
{
	if (memcmp(record, "BAAD", 4) == 0)
		return false;
	if (memcmp(record, "FILE", 4) || !(le16(record + 22) & IN_USE))
		return true;
	/* The library takes a wrong count for a wish to have nothing put back. */
	if (le16(record + 6) != walk->record / 512 + 1 ||
	    ntfs_mst_post_read_fixup_warn((NTFS_RECORD *)(void *)record, walk->record, FALSE))
		return false;
	return take_attributes(walk, record);
}

static int wrong_file(struct verdict *verdict, s64 number)
{
	return verdict_set(verdict, GUEST_DAMAGED, "file %lld is damaged, or not used in its "
			   "$Bitmap as it lies: " NTFS_CHKDSK, (long long)number);
}

static int take_all(struct ntfs *ntfs, struct walk *walk, uint8_t *piece, struct verdict *verdict)
{
	ntfs_attr *mft = ntfs->volume->mft_na;
	s64 len;

	for (s64 off = 0; off < mft->initialized_size; off += len) {
		len = mft->initialized_size - off < PIECE ? mft->initialized_size - off : PIECE;
		if (ntfs_attr_pread(mft, off, len, piece) != len)
			return ntfs_unread(ntfs, verdict, "its $MFT");
		for (s64 i = 0; i + walk->record <= len; i += walk->record)
			if (!take_record(walk, piece + i))
				return wrong_file(verdict, (off + i) / walk->record);
	}
	return 0;
}

int ntfs_files_check(struct ntfs *ntfs, const struct freemap *map, struct verdict *verdict)
{
	struct walk walk = { .map = map, .record = ntfs->volume->mft_record_size };
	uint8_t *piece;
	int rc;

	if (!ntfs_is_stored(ntfs, ntfs->volume->mft_na) ||
	    ntfs_attr_vcn_to_lcn(ntfs->volume->mft_na, 0) != (LCN)ntfs->boot.mft ||
	    ntfs_attr_vcn_to_lcn(ntfs->volume->mftmirr_na, 0) != (LCN)ntfs->boot.mirror)
		return ntfs->rc ? ntfs->rc :
		       verdict_set(verdict, GUEST_DAMAGED, "its $MFT or $MFTMirr is not where its "
				   "boot sector says: " NTFS_CHKDSK);
	piece = malloc(PIECE);
	if (!piece)
		return -ENOMEM;
	rc = take_all(ntfs, &walk, piece, verdict);
	free(piece);
	if (!rc && verdict->state == GUEST_NOTHING &&
	    walk.clusters > map->units - freemap_count(map, 0, map->units))
		verdict_set(verdict, GUEST_DAMAGED,
			    "two of its files share clusters: " NTFS_CHKDSK);
	return rc;
}

#endif
