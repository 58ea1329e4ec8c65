/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ext2, ext3, ext4: how one is known, and in what order it is judged. The work is libext2fs's (its
 * superblock, descriptors and checksums) and fs_ext_*.c's; without the library the family is known
 * by its magic number alone.
 */
#include "config.h"
#include "vhd/guest/fs_ext.h"

#include <stdio.h>
#include <string.h>

#define SUPER_MAGIC 0xef53u

/* What ext3 had; with more than that it is ext4. */
#define EXT3_INCOMPAT 0x16u	/* filetype, needs_recovery, meta_bg */
#define EXT3_RO_COMPAT 0x7u	/* sparse_super, large_file, btree_dir */

static const char *name_of(const uint8_t *super)
{
	uint32_t compat = le32(super + 0x5c), incompat = le32(super + 0x60);
	uint32_t ro_compat = le32(super + 0x64);

	if (incompat & EXT_INCOMPAT_JOURNAL_DEV)
		return "jbd";
	if (incompat & ~EXT3_INCOMPAT || ro_compat & ~EXT3_RO_COMPAT)
		return "ext4";
	return compat & EXT_COMPAT_JOURNAL ? "ext3" : "ext2";
}

static bool probe(const struct window *window, struct verdict *verdict)
{
	uint8_t super[EXT_SUPER_LEN];

	if (window_read(window, super, sizeof(super), EXT_SUPER_OFF) ||
	    le16(super + 0x38) != SUPER_MAGIC)
		return false;
	snprintf(verdict->filesystem, sizeof(verdict->filesystem), "%s", name_of(super));
	return true;
}

#ifdef HAVE_EXT2FS

static int judge(struct ext *ext, struct freemap *map)
{
	uint8_t super[EXT_SUPER_LEN];
	int rc = ext_read(ext, super, sizeof(super), EXT_SUPER_OFF, "its superblock");

	if (!rc)
		rc = ext_check_super(ext, super);
	if (!rc)
		rc = ext_open(ext);
	if (!rc)
		rc = ext_check_state(ext);
	if (!rc)
		rc = ext_read_map(ext, map);
	/* The library may have done without a block that could not be read. */
	if (!rc && ext->read_error)
		rc = ext_failed(ext, 0, "a block");
	return rc;
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct ext ext = { .window = window, .verdict = verdict };
	int rc = judge(&ext, map);

	ext_close(&ext);
	if (rc)
		return rc < 0 ? rc : 0;
	return verdict_set(verdict, GUEST_CLEAN, "%s", "");
}

#else

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	(void)window;
	(void)map;
	return verdict_set(verdict, GUEST_UNSUPPORTED,
			   "this program was built without libext2fs, which looks into it");
}

#endif

const struct fs_reader fs_ext = { "ext", probe, scan };
