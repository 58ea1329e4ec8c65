/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One allocation group of XFS: the four sectors that it begins with (a copy of the superblock, AGF,
 * AGI, AGFL), and what must hold between them and the trees of free room.
 *
 * The blocks in the AGFL are a stock for the trees to grow with. They hold nothing, but count as
 * used here: they are few, and written to without a word in the trees.
 */
#include <errno.h>
#include <stdlib.h>

#include "vhd/guest/fs_xfs.h"

/* Where in the AGF, the AGI, the AGFL. */
enum {
	AGF_RMAP_ROOT = 24, AGF_FLFIRST = 40, AGF_FLLAST = 44, AGF_FLCOUNT = 48, AGF_FREEBLKS = 52,
	AGF_LONGEST = 56, AGF_BTREEBLKS = 60, AGF_RMAP_BLOCKS = 80, AGF_REFCOUNT_ROOT = 88,
	AGI_ROOT = 20, AGI_FREE_ROOT = 328,
	AGFL_HEADER = 36,
};

struct header {
	const char *name;
	uint32_t magic;
	bool has_length;	/* and a version; the AGFL has neither, and before v5 no header */
	uint16_t number_off, uuid_off, lsn_off, crc_off;
};

static const struct header agf_header = { "AGF", 0x58414746, true, 8, 64, 208, 216 };
static const struct header agi_header = { "AGI", 0x58414749, true, 8, 296, 320, 312 };
static const struct header agfl_header = { "AGFL", 0x5841464c, false, 4, 8, 24, 32 };

static int check_header(struct xfs *fs, const struct xfs_ag *ag, const struct header *header,
			const uint8_t *sector)
{
	if (be32(sector) != header->magic || be32(sector + header->number_off) != ag->number ||
	    (header->has_length && (be32(sector + 4) != 1 || be32(sector + 12) != ag->length)))
		return xfs_damaged(fs, "the %s of group %u is none", header->name, ag->number);
	if (!fs->has_crc)
		return 0;
	if (!xfs_has_right_crc(sector, fs->sector_size, header->crc_off))
		return xfs_damaged(fs, "the %s of group %u has a wrong checksum", header->name,
				   ag->number);
	if (!xfs_is_meta_uuid(fs, sector + header->uuid_off))
		return xfs_damaged(fs, "the %s of group %u is another filesystem's", header->name,
				   ag->number);
	if (!xfs_is_lsn_past(fs, be64(sector + header->lsn_off)))
		return xfs_damaged(fs, "the %s of group %u is newer than the log", header->name,
				   ag->number);
	return 0;
}

/*
 * What a copy of the superblock must have in common with it: sizes, places, the name. Counters and
 * features added later are kept in the first alone.
 */
static int check_copy(struct xfs *fs, const struct xfs_ag *ag, const uint8_t *sb,
		      const uint8_t *copy)
{
	static const struct { uint8_t off, len; } same[] = {
		{ 0, 24 }, { 32, 24 }, { 80, 20 }, { 102, 6 }, { 120, 5 },
	};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		if (memcmp(sb + same[i].off, copy + same[i].off, same[i].len) != 0)
			return xfs_damaged(fs, "the superblock's copy in group %u differs from it",
					   ag->number);
	if (fs->has_crc && !xfs_has_right_crc(copy, fs->sector_size, 224))
		return xfs_damaged(fs, "the superblock's copy in group %u has a wrong checksum",
				   ag->number);
	return 0;
}

/* A block that the group's metadata names must be within it, behind the headers, and not free. */
static bool is_used(const struct xfs *fs, const struct xfs_ag *ag, uint32_t block)
{
	return block >= ag->first && block < ag->length &&
	       !freemap_is_free(fs->map, ag->base + block);
}

/* Of the trees that are not walked. */
static int check_roots(struct xfs *fs, const struct xfs_ag *ag, const uint8_t *agf,
		       const uint8_t *agi)
{
	if (!is_used(fs, ag, be32(agi + AGI_ROOT)) ||
	    (fs->has_finobt && !is_used(fs, ag, be32(agi + AGI_FREE_ROOT))) ||
	    (fs->has_rmap && !is_used(fs, ag, be32(agf + AGF_RMAP_ROOT))) ||
	    (fs->has_reflink && !is_used(fs, ag, be32(agf + AGF_REFCOUNT_ROOT))))
		return xfs_damaged(fs, "the root of a tree of group %u lies where nothing is",
				   ag->number);
	return 0;
}

static int check_agfl(struct xfs *fs, const struct xfs_ag *ag, const uint8_t *agf,
		      const uint8_t *agfl)
{
	uint32_t header = fs->has_crc ? AGFL_HEADER : 0, room = (fs->sector_size - header) / 4;
	uint32_t first = be32(agf + AGF_FLFIRST), last = be32(agf + AGF_FLLAST);
	uint32_t count = be32(agf + AGF_FLCOUNT);

	if (first >= room || count > room ||
	    (count && (first + count - 1) % room != last))
		return xfs_damaged(fs, "the AGFL of group %u is not as long as it should be",
				   ag->number);
	for (uint32_t i = 0; i < count; i++)
		if (!is_used(fs, ag, be32(agfl + header + (first + i) % room * 4)))
			return xfs_damaged(fs, "the AGFL of group %u lists what is not its own",
					   ag->number);
	return 0;
}

/* Adds the group's free blocks, as the superblock counts them: the stock and the trees too. */
static int check_counts(struct xfs *fs, const struct xfs_ag *ag, const uint8_t *agf,
			uint64_t *free_count)
{
	uint64_t trees = ag->tree_blocks;

	if (fs->has_rmap) {
		if (!be32(agf + AGF_RMAP_BLOCKS))
			return xfs_damaged(fs, "the AGF of group %u counts no owners", ag->number);
		trees += be32(agf + AGF_RMAP_BLOCKS) - 1;
	}
	if (be32(agf + AGF_FREEBLKS) != ag->free || be32(agf + AGF_LONGEST) != ag->longest ||
	    (fs->has_lazy_count && be32(agf + AGF_BTREEBLKS) != trees))
		return xfs_damaged(fs, "the counts of group %u are not what its trees hold",
				   ag->number);
	*free_count += ag->free + trees + be32(agf + AGF_FLCOUNT);
	return 0;
}

static int check_group(struct xfs *fs, struct xfs_ag *ag, const uint8_t *sb, const uint8_t *copy,
		       uint64_t *free_count)
{
	const uint8_t *agf = copy + fs->sector_size, *agi = agf + fs->sector_size;
	const uint8_t *agfl = agi + fs->sector_size;
	int rc = check_copy(fs, ag, sb, copy);

	if (!rc)
		rc = check_header(fs, ag, &agf_header, agf);
	if (!rc)
		rc = check_header(fs, ag, &agi_header, agi);
	if (!rc && fs->has_crc)
		rc = check_header(fs, ag, &agfl_header, agfl);
	if (!rc)
		rc = xfs_trees_check(fs, ag, agf);
	if (!rc)
		rc = check_roots(fs, ag, agf, agi);
	if (!rc)
		rc = check_agfl(fs, ag, agf, agfl);
	return rc ? rc : check_counts(fs, ag, agf, free_count);
}

int xfs_ag_check(struct xfs *fs, uint32_t number, const uint8_t *sb, uint64_t *free_count)
{
	struct xfs_ag ag = { .number = number, .base = (uint64_t)number * fs->ag_blocks };
	uint8_t *sectors = malloc(4 * (size_t)fs->sector_size);
	int rc;

	if (!sectors)
		return -ENOMEM;
	ag.length = fs->ag_blocks;
	if (ag.length > fs->blocks - ag.base)
		ag.length = (uint32_t)(fs->blocks - ag.base);
	ag.first = (4 * fs->sector_size + fs->block_size - 1) / fs->block_size;
	rc = xfs_read(fs, sectors, 4 * (size_t)fs->sector_size, ag.base * fs->block_size,
		      "an allocation group");
	if (!rc)
		rc = check_group(fs, &ag, sb, sectors, free_count);
	free(sectors);
	return rc;
}
