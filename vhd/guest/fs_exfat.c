/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exFAT: the boot region, the bitmap, and the verdict.
 *
 * Beside the boot region, of which there are two, and the entries of files, nothing has a checksum;
 * a bit of the bitmap may flip and nothing shows it. So the whole tree is walked, and what is free
 * is what the tree leaves over; the bitmap has to say the same, but for clusters that are bad. That
 * takes one map, and no volume of which a file is lost to be called clean. A tree too large to be
 * walked is refused, since the bitmap alone is not believed.
 */
#include "vhd/guest/fs_exfat_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REGION 12u		/* sectors; twice */
#define SUMMED 11u		/* of them, what the last one has the checksum of */
#define MAX_SHIFT 12u		/* of a sector, 4096 bytes */
#define MAX_CLUSTER_SHIFT 25u	/* 32 MiB */
#define MAX_CLUSTERS (1u << 29)	/* a map of 64 MiB; 2040 GiB in clusters of 4 KiB are fewer */
#define MAX_UPCASE (128u << 10)

#define FLAG_SECOND 1u
#define FLAG_DIRTY 2u
#define FLAG_FAILED 4u

/* Bytes of the first sector that change while it is mounted: not summed, and not in the backup. */
static bool is_volatile(size_t i)
{
	return i == 106 || i == 107 || i == 112;
}

static uint32_t sum_of(uint32_t sum, const uint8_t *p, size_t len, bool is_boot)
{
	for (size_t i = 0; i < len; i++)
		if (!is_boot || !is_volatile(i))
			sum = (sum << 31 | sum >> 1) + p[i];
	return sum;
}

static bool looks_like_exfat(const uint8_t *boot)
{
	return memcmp(boot + 3, "EXFAT   ", 8) == 0 && boot[510] == 0x55 && boot[511] == 0xaa;
}

/* Where the table and the clusters are. Sectors of 32 bits; shifts of which the sum is checked. */
static int parse_layout(struct exfat *x, const uint8_t *boot, unsigned shift)
{
	struct fat_volume *vol = &x->vol;
	uint64_t table_len = (uint64_t)le32(boot + 84) << shift, size, heap_len;

	vol->table = (uint64_t)le32(boot + 80) << shift;
	vol->base = (uint64_t)le32(boot + 88) << shift;
	vol->table_len = (vol->clusters + 2ull) * 4;
	heap_len = (uint64_t)vol->clusters * vol->unit;	/* 32 bits times 25 */
	if (__builtin_mul_overflow(le64(boot + 72), 1ull << shift, &size) ||
	    size > vol->window->size)
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "it is larger than the %" PRIu64 " bytes that it is in",
				  vol->window->size);
	if (vol->table < 2ull * REGION << shift || vol->table_len > table_len ||
	    vol->base < vol->table + table_len || vol->base > size ||
	    heap_len > size - vol->base || !fat_has(vol, x->root))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "its table, its clusters and its root do not fit each other");
	return 0;
}

static int parse(struct exfat *x, const uint8_t *boot)
{
	struct fat_volume *vol = &x->vol;
	unsigned shift = boot[108], flags = le16(boot + 106);

	if (boot[105] != 1)
		return fat_refuse(vol->verdict, GUEST_UNSUPPORTED,
				  "it is of version %u of exFAT", boot[105]);
	if (shift < 9 || shift > MAX_SHIFT || boot[109] > MAX_CLUSTER_SHIFT - shift)
		return fat_refuse(vol->verdict, GUEST_DAMAGED, "it has impossible clusters");
	if (boot[110] != 1 || flags & FLAG_SECOND)
		return fat_refuse(vol->verdict, GUEST_UNSUPPORTED, "it has two tables (TexFAT)");
	vol->unit = 1u << (shift + boot[109]);
	vol->clusters = le32(boot + 92);
	vol->width = 32;
	vol->mask = UINT32_MAX;
	x->root = le32(boot + 96);
	if (vol->clusters > MAX_CLUSTERS)
		return fat_refuse(vol->verdict, GUEST_UNSUPPORTED,
				  "it has more clusters than are looked at (%u)", vol->clusters);
	if (flags & FLAG_DIRTY)
		return fat_refuse(vol->verdict, GUEST_UNCLEAN,
				  "it was not unmounted: start the guest, let it check its disks, "
				  "and shut it down cleanly");
	if (flags & FLAG_FAILED)
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "an error was met when it was in use: the guest has to check it");
	return parse_layout(x, boot, shift);
}

/* One region's checksum, which fills its last sector. */
static bool is_summed(const uint8_t *region, uint32_t sector)
{
	uint32_t sum = sum_of(0, region, (size_t)SUMMED * sector, true);

	for (uint32_t i = 0; i < sector; i += 4)
		if (le32(region + SUMMED * sector + i) != sum)
			return false;
	return true;
}

static bool is_same_region(const uint8_t *a, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i] && !is_volatile(i))
			return false;
	return true;
}

static int check_regions(struct exfat *x, uint32_t sector)
{
	size_t len = (size_t)REGION * sector;
	uint8_t *regions = malloc(2 * len);
	int rc;

	if (!regions)
		return -ENOMEM;
	rc = window_read(x->vol.window, regions, 2 * len, 0);
	if (!rc && !is_summed(regions, sector))
		rc = fat_refuse(x->vol.verdict, GUEST_DAMAGED,
				"its boot region does not match its checksum");
	if (!rc && !is_same_region(regions, regions + len, len))
		rc = fat_refuse(x->vol.verdict, GUEST_DAMAGED,
				"its boot region and the backup of it differ");
	free(regions);
	return rc;
}

static int check_boot(struct exfat *x)
{
	uint8_t boot[512];
	int rc = window_read(x->vol.window, boot, sizeof(boot), 0);

	if (rc)
		return rc;
	if (!looks_like_exfat(boot))
		return fat_refuse(x->vol.verdict, GUEST_DAMAGED, "its boot sector is none");
	rc = parse(x, boot);
	return rc ? rc : check_regions(x, 1u << boot[108]);
}

static int check_upcase(struct exfat *x)
{
	uint64_t left = x->upcase.len;
	uint32_t sum = 0;
	int rc;

	if (!x->upcase.chain.clusters || left > MAX_UPCASE)
		return fat_refuse(x->vol.verdict, GUEST_DAMAGED,
				  "it has no table of capital letters");
	fat_begin(&x->vol, &x->upcase.chain);
	while (left) {
		rc = fat_fill(&x->vol);
		if (rc || !x->vol.len)
			return rc ? rc : -EIO;	/* the chain was longer when it was claimed */
		if (x->vol.len > left)
			x->vol.len = (size_t)left;
		sum = sum_of(sum, x->vol.buf, x->vol.len, false);
		left -= x->vol.len;
	}
	if (sum != x->upcase.sum)
		return fat_refuse(x->vol.verdict, GUEST_DAMAGED,
				  "its table of capital letters does not match its checksum");
	return 0;
}

/* A cluster that is marked used, and nobody's: it may be bad, but not lost. */
static int take_bad(struct exfat *x, uint32_t cluster)
{
	uint32_t value;
	int rc = fat_entry(&x->vol, cluster, &value);

	if (!rc && !fat_is_bad(&x->vol, value))
		rc = fat_refuse(x->vol.verdict, GUEST_DAMAGED,
				"cluster %u is marked used, and no file's", cluster);
	freemap_take(x->vol.unclaimed, cluster - 2, 1);
	return rc;
}

/* The 64 clusters (or those of them that there are) from first on: a bit is set for a used one. */
static int check_word(struct exfat *x, uint64_t first, uint64_t word)
{
	struct freemap *map = x->vol.unclaimed;
	uint64_t mask = UINT64_MAX, claimed = ~map->bits[first / 64], odd;
	int rc = 0;

	if (map->units - first < 64)
		mask >>= 64 - (map->units - first);
	odd = (word ^ claimed) & mask;
	if (odd & claimed)
		return fat_refuse(x->vol.verdict, GUEST_DAMAGED,
				  "cluster %u is a file's, and marked free",
				  (uint32_t)first + 2 + (unsigned)__builtin_ctzll(odd & claimed));
	for (; odd && !rc; odd &= odd - 1)
		rc = take_bad(x, (uint32_t)first + 2 + (unsigned)__builtin_ctzll(odd));
	return rc;
}

/* The bitmap against what the tree has claimed. */
static int check_bitmap(struct exfat *x)
{
	struct fat_volume *vol = &x->vol;
	uint64_t first = 0;
	int rc = 0;

	if (!x->bitmap.chain.clusters || x->bitmap.len != fat_round_up(vol->clusters, 8))
		return fat_refuse(vol->verdict, GUEST_DAMAGED,
				  "its root has no bitmap, or not of all clusters");
	fat_begin(vol, &x->bitmap.chain);
	while (!rc && first < vol->clusters) {
		rc = fat_fill(vol);
		if (!rc && !vol->len)
			rc = -EIO;	/* as above */
		for (size_t i = 0; !rc && i < vol->len && first < vol->clusters; i += 8) {
			rc = check_word(x, first, le64(vol->buf + i));
			first += 64;
		}
	}
	return rc;
}

static int check_clusters(struct exfat *x, struct freemap *map)
{
	int rc = freemap_init(map, x->vol.base, x->vol.unit, x->vol.clusters);

	freemap_give(map, 0, x->vol.clusters);
	x->vol.unclaimed = map;
	if (!rc)
		rc = fat_open(&x->vol);
	if (!rc)
		rc = exfat_read_tree(x);
	if (!rc)
		rc = check_upcase(x);
	if (!rc)
		rc = check_bitmap(x);
	fat_close(&x->vol);
	return rc;
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct exfat x = { .vol = { .window = window, .verdict = verdict } };
	int rc = check_boot(&x);

	if (!rc)
		rc = check_clusters(&x, map);
	if (rc < 0)
		return verdict_of_read(verdict, rc, "what it points to");
	return rc ? 0 : verdict_set(verdict, GUEST_CLEAN, "%s", "");
}

static bool probe(const struct window *window, struct verdict *verdict)
{
	uint8_t boot[512];

	if (window_read(window, boot, sizeof(boot), 0) || !looks_like_exfat(boot))
		return false;
	memcpy(verdict->filesystem, "exfat", sizeof("exfat"));
	return true;
}

const struct fs_reader fs_exfat = { "exfat", probe, scan };
