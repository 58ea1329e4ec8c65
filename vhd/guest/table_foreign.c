/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Partition tables that are known by name alone. */
#include <string.h>

#include "vhd/guest/table_private.h"

/* BSD: a magic number at both ends of its drive parameters, little or big endian. */
static bool is_bsd(const uint8_t *p)
{
	return (le32(p) == 0x82564557 && le32(p + 132) == 0x82564557) ||
	       (be32(p) == 0x82564557 && be32(p + 132) == 0x82564557);
}

/* Sun's VTOC: the words of its sector make zero. */
static bool is_sun(const uint8_t *head)
{
	uint16_t sum = 0;

	for (unsigned i = 0; i < TABLE_SECTOR; i += 2)
		sum ^= be16(head + i);
	return be16(head + 508) == 0xdabe && !sum;
}

static bool is_apple(const uint8_t *head)
{
	if (memcmp(head, "ER", 2) == 0)
		for (unsigned at = 512; at <= 4096; at *= 2)
			if (memcmp(head + at, "PM\0\0", 4) == 0)
				return true;
	return false;
}

/* Amiga's may be in any of the first 16 sectors. */
static bool is_amiga(const uint8_t *head)
{
	for (unsigned at = 0; at < TABLE_HEAD; at += TABLE_SECTOR)
		if (memcmp(head + at, "RDSK", 4) == 0)
			return true;
	return false;
}

const char *table_foreign(const uint8_t *head)
{
	/* Where a BSD label is depends on the machine. */
	static const unsigned bsd_places[] = { 0, 64, 128, 512, 512 + 64 };

	for (size_t i = 0; i < sizeof(bsd_places) / sizeof(bsd_places[0]); i++)
		if (is_bsd(head + bsd_places[i]))
			return "a BSD disk label";
	if (is_sun(head))
		return "a VTOC (Sun)";
	if (is_apple(head))
		return "an Apple partition map";
	if (is_amiga(head))
		return "an Amiga rigid disk block";
	if (be32(head) == 0x0be5a941)
		return "an SGI volume header";
	if (be32(head) == 0xc9c2d4c1)
		return "an AIX volume group";
	/* The primary of an MBR disk's; GPT disks have it in a partition of its own. */
	if (memcmp(head + 6 * TABLE_SECTOR, "PRIVHEAD", 8) == 0)
		return "Windows as a dynamic disk (LDM)";
	return NULL;
}
