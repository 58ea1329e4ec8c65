/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FAT12, FAT16 and FAT32: the boot sector, and the verdict.
 *
 * What kind it is follows from the number of clusters, never from the label. Some programs go by
 * where the size of the table stands instead, FAT32 having a place of its own for it; they have to
 * agree. How many clusters are free by FAT32's own count is a hint that nobody keeps, and not
 * looked at.
 */
#include "vhd/guest/fs_fat_private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SECTOR 512u		/* of the boot sector, what counts */
#define MIN_FAT16 4085u		/* clusters */
#define MIN_FAT32 65525u

#define STATE_DIRTY 1u
#define STATE_ERRORS 2u

static bool is_power(uint32_t n)
{
	return n && !(n & (n - 1));
}

static bool looks_like_fat(const uint8_t *boot)
{
	uint32_t sector = le16(boot + 11);

	return boot[510] == 0x55 && boot[511] == 0xaa && (boot[0] == 0xeb || boot[0] == 0xe9) &&
	       memcmp(boot + 3, "NTFS    ", 8) != 0 && memcmp(boot + 3, "EXFAT   ", 8) != 0 &&
	       is_power(sector) && sector >= 512 && sector <= 4096 && is_power(boot[13]) &&
	       le16(boot + 14) && boot[16] && boot[16] <= 4 &&
	       (boot[21] == 0xf0 || boot[21] >= 0xf8);
}

/* A FAT32 is laid over volumes of BitLocker To Go, to tell systems that cannot read them. */
static bool is_bitlocker(const uint8_t *boot)
{
	static const uint8_t id[] = { 0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a,
				      0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01 };

	return memcmp(boot + 3, "-FVE-FS-", 8) == 0 || memcmp(boot + 424, id, sizeof(id)) == 0;
}

/* What only FAT32 has. */
static int parse_fat32(struct fat *fat, const uint8_t *boot)
{
	unsigned flags = le16(boot + 40);

	if (le16(boot + 42))
		return fat_refuse(fat->vol.verdict, GUEST_UNSUPPORTED,
				  "it is of a version of FAT32 that is not known");
	if (flags & 0x80)	/* one copy is in use, the others are old */
		fat->first = fat->last = flags & 15;
	fat->root_cluster = le32(boot + 44);
	if (fat->last >= boot[16] || !fat_has(&fat->vol, fat->root_cluster))
		return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
				  "its boot sector has a table or root that the volume has not");
	return 0;
}

static int set_width(struct fat *fat, bool is_fat32)
{
	struct fat_volume *vol = &fat->vol;
	const char *name = "fat32";

	vol->width = 32;
	vol->mask = 0x0fffffff;
	if (!is_fat32) {
		vol->width = vol->clusters < MIN_FAT16 ? 12 : 16;
		vol->mask = vol->clusters < MIN_FAT16 ? 0xfff : 0xffff;
		name = vol->clusters < MIN_FAT16 ? "fat12" : "fat16";
	}
	memcpy(vol->verdict->filesystem, name, sizeof("fat32"));
	if (is_fat32 && vol->clusters < MIN_FAT32)	/* mtools 4.0.32 takes it for a FAT16 */
		return fat_refuse(vol->verdict, GUEST_UNSUPPORTED,
				  "it is laid out as FAT32 with too few clusters (%u) for one, "
				  "so that systems disagree on what it is", vol->clusters);
	if (vol->clusters + 2ull > vol->mask - 8 || (!is_fat32 && vol->clusters >= MIN_FAT32))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "its boot sector counts more clusters than there can be");
	return 0;
}

/* Numbers of 16 and 32 bits that are multiplied in 64. */
static int parse(struct fat *fat, const uint8_t *boot)
{
	struct fat_volume *vol = &fat->vol;
	uint32_t sector = le16(boot + 11);
	uint32_t table_sectors = le16(boot + 22) ? le16(boot + 22) : le32(boot + 36);
	uint64_t size = (uint64_t)(le16(boot + 19) ? le16(boot + 19) : le32(boot + 32)) * sector;
	bool is_fat32 = !le16(boot + 22);
	int rc;

	fat->copies = (uint64_t)le16(boot + 14) * sector;
	fat->copy_len = (uint64_t)table_sectors * sector;
	fat->last = boot[16] - 1u;
	fat->root = fat->copies + boot[16] * fat->copy_len;
	fat->root_len = fat_round_up(le16(boot + 17) * FAT_ENTRY, sector) * sector;
	vol->base = fat->root + fat->root_len;
	vol->unit = boot[13] * sector;
	if (size > vol->window->size)
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "it has %" PRIu64 " bytes, and what it is in %" PRIu64, size,
				  vol->window->size);
	if (size < vol->base || is_fat32 != !fat->root_len)
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "its boot sector leaves no room for files");
	vol->clusters = (uint32_t)((size - vol->base) / vol->unit);
	rc = set_width(fat, is_fat32);
	if (!rc && is_fat32)
		rc = parse_fat32(fat, boot);
	if (rc)
		return rc;
	vol->table = fat->copies + fat->first * fat->copy_len;
	vol->table_len = fat_round_up((vol->clusters + 2ull) * vol->width, 8);
	if (!vol->clusters || vol->table_len > fat->copy_len)
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "its table is too small for %u clusters", vol->clusters);
	return 0;
}

static int refuse_unclean(struct fat *fat)
{
	return fat_refuse(fat->vol.verdict, GUEST_UNCLEAN,
			  "it was not unmounted: start the guest, let it check its disks, "
			  "and shut it down cleanly");
}

static int refuse_errors(struct fat *fat)
{
	return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
			  "an error was met when it was in use: the guest has to check it");
}

/* Linux keeps its mark in the boot sector, for FAT12, too; DOS and Windows in the table. */
static int check_state(struct fat *fat, const uint8_t *boot)
{
	unsigned state = boot[fat->vol.width == 32 ? 0x41 : 0x25];

	if (state & STATE_DIRTY)
		return refuse_unclean(fat);
	return state & STATE_ERRORS ? refuse_errors(fat) : 0;
}

/* The first two entries of each copy are no clusters': what medium it is, and how it was left. */
static int check_flags(struct fat *fat, uint8_t medium)
{
	struct fat_volume *vol = &fat->vol;
	uint32_t clean = vol->width == 32 ? 0x08000000 : 0x8000, value;
	uint8_t entries[8];
	int rc;

	for (unsigned copy = fat->first; copy <= fat->last; copy++) {
		rc = window_read(vol->window, entries, vol->width / 4,
				 fat->copies + copy * fat->copy_len);
		if (rc)
			return rc;
		if (fat_decode(vol, entries, 0) != ((vol->mask & ~0xffu) | medium))
			return fat_refuse(vol->verdict, GUEST_DAMAGED,
					  "its table does not begin as one does");
		value = fat_decode(vol, entries + vol->width / 8, 1);
		if (vol->width != 12 && !(value & clean))
			return refuse_unclean(fat);
		if (vol->width != 12 && !(value & clean >> 1))
			return refuse_errors(fat);
	}
	return 0;
}

/* FAT32 has a second boot sector. Where a partition begins and the mark of Linux's may differ. */
static int check_backup(struct fat *fat, const uint8_t *boot)
{
	uint32_t number = le16(boot + 50), sector = le16(boot + 11);
	uint8_t backup[SECTOR];
	int rc;

	if (fat->vol.width != 32 || !number || number == 0xffff)
		return 0;
	rc = window_read(fat->vol.window, backup, SECTOR, (uint64_t)number * sector);
	if (rc)
		return rc;
	if (number >= le16(boot + 14) || memcmp(boot + 510, backup + 510, 2) != 0 ||
	    memcmp(boot + 11, backup + 11, 17) != 0 || memcmp(boot + 32, backup + 32, 32) != 0)
		return fat_refuse(fat->vol.verdict, GUEST_DAMAGED,
				  "its boot sector and the backup of it differ");
	return 0;
}

static int check_boot(struct fat *fat)
{
	uint8_t boot[SECTOR];
	int rc = window_read(fat->vol.window, boot, sizeof(boot), 0);

	if (rc)
		return rc;
	if (!looks_like_fat(boot))
		return fat_refuse(fat->vol.verdict, GUEST_DAMAGED, "its boot sector is none");
	if (is_bitlocker(boot))
		return fat_refuse(fat->vol.verdict, GUEST_UNSUPPORTED, "BitLocker encrypts it");
	rc = parse(fat, boot);
	if (!rc)
		rc = check_state(fat, boot);
	if (!rc)
		rc = check_backup(fat, boot);
	return rc ? rc : check_flags(fat, boot[21]);
}

static int check_clusters(struct fat *fat)
{
	struct fat_volume *vol = &fat->vol;
	struct freemap unclaimed = { 0 };
	int rc = freemap_init(fat->map, vol->base, vol->unit, vol->clusters);

	if (!rc)
		rc = freemap_init(&unclaimed, vol->base, vol->unit, vol->clusters);
	freemap_give(&unclaimed, 0, vol->clusters);
	vol->unclaimed = &unclaimed;
	if (!rc)
		rc = fat_read_table(fat);
	if (!rc)
		rc = fat_open(vol);
	if (!rc)
		rc = fat_read_tree(fat);
	fat_close(vol);
	freemap_destroy(&unclaimed);
	return rc;
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct fat fat = { .vol = { .window = window, .verdict = verdict }, .map = map };
	int rc = check_boot(&fat);

	if (!rc)
		rc = check_clusters(&fat);
	if (rc < 0)
		return verdict_of_read(verdict, rc, "what it points to");
	return rc ? 0 : verdict_set(verdict, GUEST_CLEAN, "%s", "");
}

static bool probe(const struct window *window, struct verdict *verdict)
{
	struct verdict unsaid = { .filesystem = "fat" };
	struct fat fat = { .vol = { .window = window, .verdict = &unsaid } };
	uint8_t boot[SECTOR];

	if (window_read(window, boot, sizeof(boot), 0) || !looks_like_fat(boot))
		return false;
	parse(&fat, boot);	/* for the name alone */
	memcpy(verdict->filesystem, unsaid.filesystem, sizeof(unsaid.filesystem));
	return true;
}

const struct fs_reader fs_fat = { "fat", probe, scan };
