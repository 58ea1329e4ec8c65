/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XFS: its superblock, and the order in which the rest is judged.
 *
 * The log comes before the groups: as long as it is not replayed, what the groups say is old news,
 * and free room may belong to files.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "vhd/guest/crc32c.h"
#include "vhd/guest/fs_xfs.h"

#define MAGIC 0x58465342u	/* XFSB */
#define SECTOR_MIN 512u
#define SECTOR_MAX 32768u
#define BLOCK_MAX 65536u
#define AG_BLOCKS_MIN 64u
#define AG_BYTES_MAX (1ull << 40)
#define LOG_BLOCKS_MIN 512u
#define LOG_BYTES_MAX (1ull << 31)

/* Where in the superblock. */
enum {
	SB_BLOCKSIZE = 4, SB_DBLOCKS = 8, SB_RBLOCKS = 16, SB_UUID = 32, SB_LOGSTART = 48,
	SB_ROOTINO = 56, SB_AGBLOCKS = 84, SB_AGCOUNT = 88, SB_LOGBLOCKS = 96, SB_VERSION = 100,
	SB_SECTSIZE = 102, SB_BLOCKLOG = 120, SB_SECTLOG = 121, SB_INOPBLOG = 123,
	SB_AGBLKLOG = 124, SB_INPROGRESS = 126, SB_FDBLOCKS = 144, SB_FEATURES2 = 200,
	SB_BAD_FEATURES2 = 204, SB_RO_COMPAT = 212, SB_INCOMPAT = 216, SB_LOG_INCOMPAT = 220,
	SB_CRC = 224, SB_LSN = 240, SB_META_UUID = 248,
};

#define VERSION_SHARED 0x0200u
#define VERSION_MOREBITS 0x8000u
#define FEATURE2_LAZYCOUNT 0x0002u
#define FEATURES2_KNOWN 0x038au	/* lazy count, attr2, 32 bit projects, CRC, file types */
#define RO_COMPAT_FINOBT 0x1u
#define RO_COMPAT_RMAPBT 0x2u
#define RO_COMPAT_REFLINK 0x4u
#define RO_COMPAT_KNOWN 0xfu	/* those, and counts of inode btree blocks */
#define INCOMPAT_META_UUID 0x04u
#define INCOMPAT_NEEDSREPAIR 0x10u
/*
 * File types, sparse inodes, that, big times, large extent counts, exchange of ranges, parent
 * pointers: none of them is about free room. Not served: the metadata directory (which changes
 * the superblock), zones.
 */
#define INCOMPAT_KNOWN 0xefu
#define LOG_INCOMPAT_KNOWN 0x1u

int xfs_damaged(struct xfs *fs, const char *fmt, ...)
{
	char what[GUEST_WHY_MAX - 40];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	verdict_set(fs->verdict, GUEST_DAMAGED, "%s: xfs_repair has to mend it", what);
	return 1;
}

static int __attribute__((format(printf, 2, 3)))
unsupported(struct xfs *fs, const char *fmt, ...)
{
	char what[GUEST_WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	verdict_set(fs->verdict, GUEST_UNSUPPORTED, "%s", what);
	return 1;
}

int xfs_read(struct xfs *fs, void *buf, size_t len, uint64_t off, const char *what)
{
	int rc = window_read(fs->window, buf, len, off);

	if (!rc)
		return 0;
	rc = verdict_of_read(fs->verdict, rc, what);
	return rc ? rc : 1;
}

bool xfs_has_right_crc(const uint8_t *buf, size_t len, size_t crc_off)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, buf, crc_off);

	crc = crc32c(crc, zero, sizeof(zero));
	crc = crc32c(crc, buf + crc_off + sizeof(zero), len - crc_off - sizeof(zero));
	return crc == le32(buf + crc_off);
}

static bool probe(const struct window *window, struct verdict *verdict)
{
	uint8_t sector[SECTOR_MIN];

	if (window_read(window, sector, sizeof(sector), 0) || be32(sector) != MAGIC)
		return false;
	snprintf(verdict->filesystem, sizeof(verdict->filesystem), "xfs");
	return true;
}

static bool is_power_of_two(uint32_t n, uint32_t min, uint32_t max, unsigned log)
{
	return n >= min && n <= max && (n & (n - 1)) == 0 && log < 32 && n == 1u << log;
}

/* What all else is computed with. */
static int check_sizes(struct xfs *fs, const uint8_t *sb)
{
	fs->sector_size = be16(sb + SB_SECTSIZE);
	fs->block_size = be32(sb + SB_BLOCKSIZE);
	if (!is_power_of_two(fs->sector_size, SECTOR_MIN, SECTOR_MAX, sb[SB_SECTLOG]) ||
	    !is_power_of_two(fs->block_size, fs->sector_size, BLOCK_MAX, sb[SB_BLOCKLOG]))
		return xfs_damaged(fs, "the superblock's block or sector size is impossible");
	return 0;
}

static int check_groups(struct xfs *fs, const uint8_t *sb)
{
	uint64_t last;

	fs->blocks = be64(sb + SB_DBLOCKS);
	fs->ag_blocks = be32(sb + SB_AGBLOCKS);
	fs->ags = be32(sb + SB_AGCOUNT);
	fs->ag_shift = sb[SB_AGBLKLOG];
	fs->inode_shift = sb[SB_INOPBLOG];
	if (fs->blocks > fs->window->size / fs->block_size)
		return xfs_damaged(fs, "it is larger than its volume");
	if (fs->ag_blocks < AG_BLOCKS_MIN || fs->ag_blocks > AG_BYTES_MAX / fs->block_size ||
	    fs->ag_shift < 6 || fs->ag_shift > 31 || (fs->ag_blocks - 1) >> fs->ag_shift ||
	    !((fs->ag_blocks - 1) >> (fs->ag_shift - 1)) || fs->inode_shift > 8)
		return xfs_damaged(fs, "the size of its allocation groups is impossible");
	/* Both are below 2^32. */
	last = (uint64_t)fs->ag_blocks * (fs->ags - 1ull);
	if (!fs->ags || last >= fs->blocks || fs->blocks - last > fs->ag_blocks ||
	    fs->blocks - last < AG_BLOCKS_MIN)
		return xfs_damaged(fs, "its allocation groups do not make up its size");
	return 0;
}

static int check_log_place(struct xfs *fs, const uint8_t *sb)
{
	uint64_t start = be64(sb + SB_LOGSTART), in_ag = start & ((1ull << fs->ag_shift) - 1);

	if (!start)
		return unsupported(fs, "its log is on another device");
	fs->log_blocks = be32(sb + SB_LOGBLOCKS);
	if (start >> fs->ag_shift >= fs->ags || in_ag >= fs->ag_blocks ||
	    fs->log_blocks > fs->ag_blocks - in_ag || fs->log_blocks < LOG_BLOCKS_MIN ||
	    fs->log_blocks > LOG_BYTES_MAX / fs->block_size)
		return xfs_damaged(fs, "its log lies where it cannot");
	fs->log_ag = (uint32_t)(start >> fs->ag_shift);
	fs->log_block = (uint32_t)in_ag;
	if ((uint64_t)fs->log_ag * fs->ag_blocks + in_ag + fs->log_blocks > fs->blocks)
		return xfs_damaged(fs, "its log reaches past its end");
	return 0;
}

static int check_features_v4(struct xfs *fs, const uint8_t *sb)
{
	unsigned version = be16(sb + SB_VERSION);
	/* Once written four bytes too far on some machines; Linux takes either. */
	uint32_t features = be32(sb + SB_FEATURES2) | be32(sb + SB_BAD_FEATURES2);

	if (!(version & VERSION_MOREBITS))
		features = 0;
	if (version & VERSION_SHARED || features & ~FEATURES2_KNOWN)
		return unsupported(fs, "it has features that are not known here (0x%x, 0x%x)",
				   version, features);
	fs->has_lazy_count = features & FEATURE2_LAZYCOUNT;
	return 0;
}

static int check_features_v5(struct xfs *fs, const uint8_t *sb)
{
	uint32_t ro = be32(sb + SB_RO_COMPAT), incompat = be32(sb + SB_INCOMPAT);
	uint32_t log = be32(sb + SB_LOG_INCOMPAT);

	if (incompat & INCOMPAT_NEEDSREPAIR)
		return xfs_damaged(fs, "it is marked as in need of repair");
	if (ro & ~RO_COMPAT_KNOWN || incompat & ~INCOMPAT_KNOWN || log & ~LOG_INCOMPAT_KNOWN)
		return unsupported(fs, "it has features that are not known here "
				   "(0x%x, 0x%x, 0x%x)", ro, incompat, log);
	fs->has_lazy_count = true;
	fs->has_finobt = ro & RO_COMPAT_FINOBT;
	fs->has_rmap = ro & RO_COMPAT_RMAPBT;
	fs->has_reflink = ro & RO_COMPAT_REFLINK;
	if (incompat & INCOMPAT_META_UUID)
		memcpy(fs->meta_uuid, sb + SB_META_UUID, sizeof(fs->meta_uuid));
	return 0;
}

static int check_features(struct xfs *fs, const uint8_t *sb)
{
	unsigned version = be16(sb + SB_VERSION) & 0xf;
	int rc;

	if (version != 4 && version != 5)
		return unsupported(fs, "its version %u is not known here", version);
	fs->has_crc = version == 5;
	if (fs->has_crc && !xfs_has_right_crc(sb, fs->sector_size, SB_CRC))
		return xfs_damaged(fs, "its superblock has a wrong checksum");
	memcpy(fs->uuid, sb + SB_UUID, sizeof(fs->uuid));
	memcpy(fs->meta_uuid, fs->uuid, sizeof(fs->meta_uuid));
	rc = check_features_v4(fs, sb);
	if (!rc && fs->has_crc)
		rc = check_features_v5(fs, sb);
	if (rc)
		return rc;
	if (sb[SB_INPROGRESS])
		return xfs_damaged(fs, "the making of it was not finished");
	if (be64(sb + SB_RBLOCKS))
		return unsupported(fs, "part of it is on a realtime device");
	return 0;
}

static int check_superblock(struct xfs *fs, const uint8_t *sb)
{
	int rc = check_features(fs, sb);

	if (!rc)
		rc = check_groups(fs, sb);
	if (!rc)
		rc = check_log_place(fs, sb);
	fs->free_count = be64(sb + SB_FDBLOCKS);
	return rc;
}

static int start_map(struct xfs *fs)
{
	int rc = freemap_init(fs->map, 0, fs->block_size, fs->blocks);

	if (rc == -EFBIG)
		return unsupported(fs, "it has more blocks than can be mapped");
	return rc;
}

/* What is in use, whatever else is wrong. */
static int check_reserved(struct xfs *fs, const uint8_t *sb)
{
	uint64_t log = (uint64_t)fs->log_ag * fs->ag_blocks + fs->log_block;
	uint64_t root = be64(sb + SB_ROOTINO) >> fs->inode_shift;
	uint64_t root_ag = root >> fs->ag_shift;
	uint64_t root_block = root & ((1ull << fs->ag_shift) - 1);

	if (freemap_count(fs->map, log, fs->log_blocks))
		return xfs_damaged(fs, "blocks of its log are marked free");
	if (root_ag >= fs->ags || root_block >= fs->ag_blocks ||
	    freemap_is_free(fs->map, root_ag * fs->ag_blocks + root_block))
		return xfs_damaged(fs, "its root folder lies where nothing is");
	return 0;
}

static int check_all(struct xfs *fs, const uint8_t *sb)
{
	uint64_t free_count = 0;
	int rc = check_superblock(fs, sb);

	if (!rc)
		rc = xfs_log_check(fs);
	if (rc)
		return rc;
	if (fs->has_crc && !xfs_is_lsn_past(fs, be64(sb + SB_LSN)))
		return xfs_damaged(fs, "its superblock is newer than its log");
	rc = start_map(fs);
	for (uint32_t ag = 0; !rc && ag < fs->ags; ag++)
		rc = xfs_ag_check(fs, ag, sb, &free_count);
	if (rc)
		return rc;
	if (free_count != fs->free_count)
		return xfs_damaged(fs, "its superblock counts %llu free blocks, and there are %llu",
				   (unsigned long long)fs->free_count,
				   (unsigned long long)free_count);
	return check_reserved(fs, sb);
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct xfs fs = { .window = window, .map = map, .verdict = verdict };
	uint8_t *sb = malloc(SECTOR_MAX);
	int rc;

	if (!sb)
		return -ENOMEM;
	rc = xfs_read(&fs, sb, SECTOR_MIN, 0, "its superblock");
	if (!rc)
		rc = check_sizes(&fs, sb);
	if (!rc)
		rc = xfs_read(&fs, sb, fs.sector_size, 0, "its superblock");
	if (!rc)
		rc = check_all(&fs, sb);
	if (!rc)
		verdict->state = GUEST_CLEAN;
	free(sb);
	return rc < 0 ? rc : 0;
}

const struct fs_reader fs_xfs = { "xfs", probe, scan };
