/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The boot sector of an NTFS, and the copy of it: in the sector behind the last one that the
 * volume counts, or (ntfsresize of ntfs-3g 2022.10.3; tests/test-guest-ntfs.sh) in the partition's
 * last one. Either is past the last cluster, and so never free.
 *
 * It is checked before the library sees it, so that what the library computes from it is in bounds.
 */
#include <stdio.h>
#include <string.h>

#include "vhd/guest/fs_ntfs.h"

#define BOOT 512u
#define SECTOR 0x0b
#define PER_CLUSTER 0x0d
#define SECTORS 0x28
#define MFT 0x30
#define MIRROR 0x38
#define PER_RECORD 0x40
#define PER_INDEX 0x44
#define SERIAL 0x48

bool ntfs_boot_is_one(const uint8_t *sector)
{
	return memcmp(sector + 3, "NTFS    ", 8) == 0 && le16(sector + 510) == 0xaa55;
}

static bool is_power_of_2(uint64_t value, uint64_t low, uint64_t high)
{
	return value >= low && value <= high && !(value & (value - 1));
}

/* Above 128 it is the logarithm, negated: Windows 10 has clusters of up to 2 MiB. */
static uint64_t cluster_of(const uint8_t *sector)
{
	uint8_t count = sector[PER_CLUSTER];

	if (count > 128)
		return count < 240 ? 0 : le16(sector + SECTOR) * (1ull << (256 - count));
	return (uint64_t)le16(sector + SECTOR) * count;
}

/* In clusters, or if negative the logarithm of the bytes. */
static uint64_t record_of(uint8_t count, uint64_t cluster)
{
	if (count < 128)
		return count * cluster;
	return count < 256 - 31 ? 0 : 1ull << (256 - count);
}

/* NULL, or what is impossible. */
static const char *decode(const uint8_t *sector, struct ntfs_boot *boot)
{
	uint64_t cluster = cluster_of(sector);

	boot->sector = le16(sector + SECTOR);
	boot->sectors = le64(sector + SECTORS);
	boot->mft = le64(sector + MFT);
	boot->mirror = le64(sector + MIRROR);
	if (!is_power_of_2(boot->sector, 512, 4096))
		return "sector size";
	if (!is_power_of_2(cluster, boot->sector, 2 << 20))
		return "cluster size";
	if (!is_power_of_2(record_of(sector[PER_RECORD], cluster), 1024, 4096))
		return "size of file records";
	if (!is_power_of_2(record_of(sector[PER_INDEX], cluster), 512, 2 << 20))
		return "size of index records";
	boot->cluster = (uint32_t)cluster;
	boot->clusters = boot->sectors / (cluster / boot->sector);
	if (!boot->clusters || boot->clusters > UINT32_MAX)
		return "number of sectors";
	if (boot->mft >= boot->clusters || boot->mirror >= boot->clusters)
		return "place of the master file table";
	return NULL;
}

/*
 * Only what the volume's layout follows from: tools that move a partition, or install a boot
 * loader, change the rest of the first sector alone.
 */
static bool is_copy(const uint8_t *first, const uint8_t *copy)
{
	return ntfs_boot_is_one(copy) &&
	       memcmp(first + SECTOR, copy + SECTOR, PER_CLUSTER + 1 - SECTOR) == 0 &&
	       memcmp(first + SECTORS, copy + SECTORS, SERIAL + 8 - SECTORS) == 0;
}

/* 1 if it is a copy, 0 if not, or -errno. */
static int look_for_copy(const struct window *window, const uint8_t *first, uint64_t off)
{
	uint8_t copy[BOOT];
	int rc = window_read(window, copy, sizeof(copy), off);

	return rc ? rc : is_copy(first, copy);
}

int ntfs_boot_read(const struct window *window, struct ntfs_boot *boot, struct verdict *verdict)
{
	uint8_t first[BOOT];
	const char *wrong;
	int rc;

	rc = window_read(window, first, sizeof(first), 0);
	if (rc)
		return verdict_of_read(verdict, rc, "its boot sector");
	if (!ntfs_boot_is_one(first))
		return verdict_set(verdict, GUEST_DAMAGED,
				   "its boot sector is not that of an NTFS");
	wrong = decode(first, boot);
	if (wrong)
		return verdict_set(verdict, GUEST_DAMAGED,
				   "the %s in its boot sector is impossible", wrong);
	/* No overflow: decode has seen to it that there are few and small clusters. */
	rc = look_for_copy(window, first, boot->sectors * boot->sector);
	if (!rc)
		rc = look_for_copy(window, first, window->size - boot->sector);
	if (rc < 0)
		return verdict_of_read(verdict, rc, "its last sector");
	if (!rc)
		return verdict_set(verdict, GUEST_DAMAGED,
				   "the copy of its boot sector differs: " NTFS_CHKDSK);
	return 0;
}
