/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether Windows keeps shadow copies (restore points, previous versions) of the volume.
 *
 * A copy has no data of its own but for what was overwritten by Windows since it was made: the rest
 * is read from the volume, and for files deleted since, that is room which $Bitmap calls free. Who
 * changes that room from outside changes the copies. What there is of them is in a catalog, found
 * through a header in the boot area; both are nobody's file.
 */
#include "config.h"

#include <string.h>

#include "vhd/guest/fs_ntfs.h"

#define HEADER 0x1e00u
#define BLOCK 16384u
#define ENTRY 128u
#define MAX_BLOCKS 64u	/* Windows makes four */

enum { IS_HEADER = 1, IS_CATALOG = 2 };	/* types of blocks */
enum { IS_UNUSED = 0, IS_END = 1 };	/* of entries: all others tell of a copy */

static bool is_block(const uint8_t *block, uint32_t type)
{
	static const uint8_t id[16] = {
		0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e,
		0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52,
	};

	return memcmp(block, id, sizeof(id)) == 0 && le32(block + 20) == type;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	while (len && !p[len - 1])
		len--;
	return !len;
}

static int has_copies(struct verdict *verdict)
{
	return verdict_set(verdict, GUEST_UNSUPPORTED,
			   "it has shadow copies (restore points), which need what is free: delete "
			   "them in Windows (vssadmin delete shadows /all)");
}

static bool has_entries(const uint8_t *block)
{
	for (uint32_t off = ENTRY; off < BLOCK; off += ENTRY)
		if (le64(block + off) != IS_UNUSED && le64(block + off) != IS_END)
			return true;
	return false;
}

static int check_catalog(const struct window *window, uint64_t off, struct verdict *verdict)
{
	uint8_t block[BLOCK];
	int rc;

	for (unsigned i = 0; off && i < MAX_BLOCKS; i++) {
		rc = window_read(window, block, sizeof(block), off);
		if (rc)
			return verdict_of_read(verdict, rc, "the catalog of its shadow copies");
		if (!is_block(block, IS_CATALOG) || has_entries(block))
			return has_copies(verdict);
		off = le64(block + 40);
	}
	return off ? has_copies(verdict) : 0;
}

int ntfs_shadow_check(const struct window *window, struct verdict *verdict)
{
	uint8_t header[512];
	int rc = window_read(window, header, sizeof(header), HEADER);

	if (rc)
		return verdict_of_read(verdict, rc, "its boot area");
	if (!is_block(header, IS_HEADER))
		return 0;
	/* The copies' room may be in another volume, whose catalog is not to be had here. */
	if (!is_zero(header + 80, 16) && memcmp(header + 64, header + 80, 16))
		return has_copies(verdict);
	return check_catalog(window, le64(header + 48), verdict);
}
