/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether an ext2, ext3 or ext4 is one that is understood, and was left in order.
 *
 * A crashed filesystem with a journal still says that it is valid: that its journal has to be
 * replayed is a feature bit, which the kernel sets before the first transaction and clears after
 * the last. The journal itself is looked at, too.
 */
#include "config.h"
#include "vhd/guest/fs_ext.h"

#ifdef HAVE_EXT2FS

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/*
 * What is understood. libext2fs asks after the second kind only when it writes, and passes over the
 * third: but a feature that is not known may have its own notion of what is free.
 */
#define INCOMPAT_KNOWN (EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_RECOVER | \
			EXT2_FEATURE_INCOMPAT_META_BG | EXT3_FEATURE_INCOMPAT_EXTENTS | \
			EXT4_FEATURE_INCOMPAT_64BIT | EXT4_FEATURE_INCOMPAT_MMP | \
			EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_EA_INODE | \
			EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR | \
			EXT4_FEATURE_INCOMPAT_INLINE_DATA | EXT4_FEATURE_INCOMPAT_ENCRYPT | \
			EXT4_FEATURE_INCOMPAT_CASEFOLD)
#define RO_COMPAT_KNOWN (EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | \
			 EXT2_FEATURE_RO_COMPAT_LARGE_FILE | EXT4_FEATURE_RO_COMPAT_HUGE_FILE | \
			 EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT4_FEATURE_RO_COMPAT_DIR_NLINK | \
			 EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE | EXT4_FEATURE_RO_COMPAT_QUOTA | \
			 EXT4_FEATURE_RO_COMPAT_BIGALLOC | EXT4_FEATURE_RO_COMPAT_METADATA_CSUM | \
			 EXT4_FEATURE_RO_COMPAT_READONLY | EXT4_FEATURE_RO_COMPAT_PROJECT | \
			 EXT4_FEATURE_RO_COMPAT_VERITY | EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT)
#define COMPAT_KNOWN (EXT2_FEATURE_COMPAT_DIR_PREALLOC | EXT2_FEATURE_COMPAT_IMAGIC_INODES | \
		      EXT3_FEATURE_COMPAT_HAS_JOURNAL | EXT2_FEATURE_COMPAT_EXT_ATTR | \
		      EXT2_FEATURE_COMPAT_RESIZE_INODE | EXT2_FEATURE_COMPAT_DIR_INDEX | \
		      EXT4_FEATURE_COMPAT_SPARSE_SUPER2 | EXT4_FEATURE_COMPAT_FAST_COMMIT | \
		      EXT4_FEATURE_COMPAT_STABLE_INODES | EXT4_FEATURE_COMPAT_ORPHAN_FILE)

/* 2 TiB in blocks of 1 KiB has half of that. */
#define MAX_DESCRIPTORS_LEN (32u << 20)

#define STATE_VALID 0x1u
#define STATE_ERROR 0x2u

/* Of the journal's superblock, which is big-endian. */
#define JOURNAL_MAGIC 0xc03b3998u
#define JOURNAL_SUPER_LEN 1024u
#define JOURNAL_CHECKSUM 0xfcu
#define JOURNAL_INCOMPAT_CHECKSUMS 0x18u	/* second and third version */

#define MAX_EXTENT_DEPTH 5

static int check_features(struct ext *ext, const uint8_t *super)
{
	uint32_t compat = le32(super + 0x5c) & ~COMPAT_KNOWN;
	uint32_t incompat = le32(super + 0x60) & ~INCOMPAT_KNOWN;
	uint32_t ro_compat = le32(super + 0x64) & ~RO_COMPAT_KNOWN;

	if (incompat & EXT_INCOMPAT_JOURNAL_DEV)
		return ext_refuse(ext, GUEST_UNSUPPORTED,
				  "it is the journal of another filesystem");
	if (compat || incompat || ro_compat)
		return ext_refuse(ext, GUEST_UNSUPPORTED, "it has features that are not known "
				  "(compat %#" PRIx32 ", incompat %#" PRIx32 ", ro_compat %#" PRIx32
				  ")", compat, incompat, ro_compat);
	return 0;
}

int ext_check_super(struct ext *ext, const uint8_t *super)
{
	uint32_t log = le32(super + 0x18), log_cluster = le32(super + 0x1c);
	uint32_t first = le32(super + 0x14), group = le32(super + 0x20);
	uint64_t blocks = le32(super + 4), len, descriptor = 32;

	if (check_features(ext, super))
		return 1;
	if (le32(super + 0x60) & EXT4_FEATURE_INCOMPAT_64BIT) {
		blocks |= (uint64_t)le32(super + 0x150) << 32;
		descriptor = le16(super + 0xfe);
	}
	/* Every bitmap begins at `first`: were it wrong, all of them would agree all the same. */
	if (log > 6 || !group || first != (log == 0 && log_cluster == 0) || blocks <= first ||
	    descriptor > 1024)
		return ext_refuse(ext, GUEST_DAMAGED, "its superblock is not in order");
	if (__builtin_mul_overflow(blocks, 1024u << log, &len) || len > ext->window->size)
		return ext_refuse(ext, GUEST_DAMAGED, "it has %" PRIu64 " blocks of %u bytes, "
				  "more than the volume holds", blocks, 1024u << log);
	if (((blocks - first - 1) / group + 1) * descriptor > MAX_DESCRIPTORS_LEN)
		return ext_refuse(ext, GUEST_UNSUPPORTED, "it has too many groups of blocks");
	return 0;
}

/* --- the superblock's own word ---------------------------------------------------------------- */

static int check_flags(struct ext *ext)
{
	struct ext2_super_block *super = ext->fs->super;

	if (super->s_state & STATE_ERROR)
		return ext_refuse(ext, GUEST_DAMAGED,
				  "errors were found in it: it needs a run of e2fsck");
	if (ext2fs_has_feature_journal_needs_recovery(super))
		return ext_refuse(ext, GUEST_UNCLEAN, "its journal has to be replayed: mount and "
				  "unmount it, or start the guest and shut it down cleanly");
	if (super->s_state != STATE_VALID)
		return ext_refuse(ext, GUEST_UNCLEAN, "it was not unmounted: it needs a run of "
				  "e2fsck, or start the guest and shut it down cleanly");
	if (super->s_last_orphan || ext2fs_has_feature_orphan_present(super))
		return ext_refuse(ext, GUEST_UNCLEAN, "deleted files wait for their end in it: "
				  "mount and unmount it");
	return 0;
}

static int check_mmp(struct ext *ext)
{
	struct ext2_super_block *super = ext->fs->super;
	struct mmp_struct mmp;
	uint8_t *bytes = (uint8_t *)&mmp;
	uint64_t off;
	int rc;

	if (!ext2fs_has_feature_mmp(super))
		return 0;
	if (__builtin_mul_overflow(super->s_mmp_block, ext->fs->blocksize, &off))
		off = UINT64_MAX;
	rc = ext_read(ext, &mmp, sizeof(mmp), off, "its multiple mount protection");
	if (rc)
		return rc;
	if (le32(bytes) != EXT4_MMP_MAGIC || !ext2fs_mmp_csum_verify(ext->fs, &mmp))
		return ext_refuse(ext, GUEST_DAMAGED,
				  "its multiple mount protection is not in order");
	if (le32(bytes + offsetof(struct mmp_struct, mmp_seq)) != EXT4_MMP_SEQ_CLEAN)
		return ext_refuse(ext, GUEST_UNCLEAN, "it is mounted, or being checked, or was "
				  "not unmounted: mount and unmount it");
	return 0;
}

/* --- the journal ------------------------------------------------------------------------------ */

/* Where its first block lies. */
static int find_journal(struct ext *ext, blk64_t *block)
{
	ext2_ino_t ino = ext->fs->super->s_journal_inum;
	struct ext2_inode inode;
	errcode_t rc;

	if (ino < 1 || ino > ext->fs->super->s_inodes_count)
		return ext_refuse(ext, GUEST_DAMAGED, "its journal has no inode");
	rc = ext2fs_read_inode(ext->fs, ino, &inode);
	if (rc)
		return ext_failed(ext, rc, "its journal's inode");
	/* The library believes any depth. It stands in the header, and ends the descent. */
	if (inode.i_flags & EXT4_EXTENTS_FL &&
	    ext2fs_le16_to_cpu(((struct ext3_extent_header *)inode.i_block)->eh_depth) >
	    MAX_EXTENT_DEPTH)
		return ext_refuse(ext, GUEST_DAMAGED,
				  "its journal is mapped by a tree that is too deep");
	rc = ext2fs_bmap2(ext->fs, ino, &inode, NULL, 0, 0, NULL, block);
	if (rc)
		return ext_failed(ext, rc, "its journal's inode");
	if (!*block)
		return ext_refuse(ext, GUEST_DAMAGED, "its journal is empty");
	return 0;
}

static bool is_journal(struct ext *ext, uint8_t *super)
{
	uint32_t type = be32(super + 4), checksum = be32(super + JOURNAL_CHECKSUM);

	if (be32(super) != JOURNAL_MAGIC || (type != 3 && type != 4) ||
	    be32(super + 12) != ext->fs->blocksize)
		return false;
	if (type == 3 || !(be32(super + 0x28) & JOURNAL_INCOMPAT_CHECKSUMS))
		return true;
	memset(super + JOURNAL_CHECKSUM, 0, sizeof(checksum));
	return ext2fs_crc32c_le(~0u, super, JOURNAL_SUPER_LEN) == checksum;
}

static int check_journal(struct ext *ext)
{
	uint8_t super[JOURNAL_SUPER_LEN];
	blk64_t block;
	uint64_t off;
	int rc;

	if (!ext2fs_has_feature_journal(ext->fs->super))
		return 0;
	if (!ext->fs->super->s_journal_inum)
		return ext_refuse(ext, GUEST_UNSUPPORTED, "its journal is on another device");
	rc = find_journal(ext, &block);
	if (rc)
		return rc;
	if (__builtin_mul_overflow(block, ext->fs->blocksize, &off))
		off = UINT64_MAX;
	rc = ext_read(ext, super, sizeof(super), off, "its journal");
	if (rc)
		return rc;
	if (!is_journal(ext, super))
		return ext_refuse(ext, GUEST_DAMAGED, "its journal is not in order");
	if (be32(super + 0x20))
		return ext_refuse(ext, GUEST_DAMAGED, "its journal was given up after an error: "
				  "it needs a run of e2fsck");
	if (be32(super + 0x1c))
		return ext_refuse(ext, GUEST_UNCLEAN, "its journal is not empty, though it says "
				  "so: it needs a run of e2fsck");
	return 0;
}

int ext_check_state(struct ext *ext)
{
	int rc = check_flags(ext);

	if (!rc)
		rc = check_mmp(ext);
	if (!rc)
		rc = check_journal(ext);
	return rc;
}

#endif
