/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All that is on a disk: each filesystem with its verdict, each clean one with its free map.
 *
 * Nothing counts as free that two readers could claim: a partition table and a filesystem at the
 * disk's start, two filesystems in one partition, a container's mark beside a filesystem's, or
 * another opinion of libblkid. A system that sleeps anywhere on the disk knows all of it by heart,
 * and an unclean filesystem may be a machine that was stopped in the middle of anything, such as
 * moving a logical volume.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/guest/fs.h"
#include "vhd/guest/lvm.h"
#include "vhd/guest/other.h"
#include "vhd/guest/partitions.h"
#include "vhd/guest/veto.h"
#include "vhd/guest/wire.h"

/* Bytes at a volume's start and at its end that are never free: where boot code and the labels of
 * md and fakeraid are. */
#define GUARD_HEAD 512u
#define GUARD_TAIL (64u << 10)
#define TABLE_AREA (1u << 20)	/* of a disk with a table: where boot loaders put themselves */

static const struct fs_reader *const readers[] = {
	&fs_ext, &fs_ntfs, &fs_fat, &fs_exfat, &fs_xfs, &fs_btrfs, &fs_swap,
};

/* The one reader that knows the window; NULL with a verdict when none or more than one does. */
static const struct fs_reader *find_reader(const struct window *window, struct verdict *verdict)
{
	const struct fs_reader *found = NULL;

	if (other_recognise(window, verdict))
		return NULL;
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		struct verdict one = { 0 };

		if (!readers[i]->probe(window, &one))
			continue;
		if (found) {
			verdict_set(verdict, GUEST_UNSUPPORTED, "could be %.40s or %.40s",
				    verdict->filesystem, one.filesystem);
			verdict->filesystem[0] = '\0';
			return NULL;
		}
		found = readers[i];
		*verdict = one;
	}
	if (!found)
		verdict_set(verdict, GUEST_UNSUPPORTED, "nothing that is known is in it");
	return found;
}

/* What is in the window, and (clean) its map. */
static int judge(const struct scan *scan, const struct window *window, struct freemap *map,
		 struct verdict *verdict)
{
	const struct fs_reader *reader = find_reader(window, verdict);
	int rc;

	if (!reader)
		return 0;
	rc = reader->scan(window, map, verdict);
	if (rc == -EFBIG)
		rc = verdict_set(verdict, GUEST_UNSUPPORTED, "has too many clusters to be mapped");
	if (!rc && verdict->state == GUEST_CLEAN)
		rc = veto_ask(window, scan->memfd, verdict->filesystem, verdict);
	if (!rc && verdict->state == GUEST_CLEAN) {
		freemap_take_bytes(map, 0, GUARD_HEAD);
		freemap_take_bytes(map, window->size > GUARD_TAIL ? window->size - GUARD_TAIL : 0,
				   GUARD_TAIL);
	}
	return rc;
}

/* The last volume that was added gets its verdict; a map that does not count goes. *map is its
 * number, or SCAN_ALL_FREE for none. */
static int conclude(struct scan *scan, const struct verdict *verdict, struct freemap freemap,
		    size_t *map)
{
	struct guest_volume *volume = &scan->volumes[scan->volumes_len - 1];

	*map = SCAN_ALL_FREE;
	volume->state = verdict->state;
	memcpy(volume->filesystem, verdict->filesystem, sizeof(volume->filesystem));
	memcpy(volume->why, verdict->why, sizeof(volume->why));
	if (verdict->state == GUEST_HIBERNATED)
		scan->info.is_hibernated = true;
	if (verdict->state != GUEST_CLEAN) {
		freemap_destroy(&freemap);
		return 0;
	}
	volume->why[0] = '\0';
	volume->free = freemap_count(&freemap, 0, freemap.units) * freemap.unit;
	volume->used = volume->length - volume->free;
	return scan_add_map(scan, freemap, map);
}

static int look_into_logical(struct scan *scan, const struct lvm_lv *lv, const struct window *pv,
			     uint64_t pv_start, unsigned number)
{
	struct guest_volume *volume = scan_add_volume(scan);
	struct verdict verdict = { 0 };
	struct freemap freemap = { 0 };
	struct window window;
	size_t map;
	int rc;

	if (!volume)
		return -ENOMEM;
	volume->number = number;
	volume->is_logical = true;
	volume->length = lv->size <= scan->disk->size ? lv->size : 0;
	snprintf(volume->type, sizeof(volume->type), "lvm");
	snprintf(volume->name, sizeof(volume->name), "%s", lv->name);
	if (lv->is_linear && volume->length) {
		rc = lvm_window(&window, lv, pv);
		if (!rc)
			rc = judge(scan, &window, &freemap, &verdict);
	} else {
		rc = verdict_set(&verdict, GUEST_UNSUPPORTED, "not a linear logical volume");
	}
	if (!rc)
		rc = conclude(scan, &verdict, freemap, &map);
	else
		freemap_destroy(&freemap);
	for (size_t i = 0; !rc && map != SCAN_ALL_FREE && i < lv->segments_len; i++)
		rc = scan_add_source(scan, &(struct scan_source){
			.start = pv_start + lv->segments[i].pv_off, .len = lv->segments[i].len,
			.map = map, .in_map = lv->segments[i].lv_off,
		});
	return rc;
}

/* A source for each stretch that no logical volume has: those have sources of their own, and
 * sources must not overlap. There are no more of them than places in the group's text. */
static int add_free_extents(struct scan *scan, size_t map, uint64_t pv_start)
{
	uint64_t off = 0, len;
	int rc = 0;

	for (; !rc && freemap_next(&scan->maps[map], off, &off, &len); off += len)
		rc = scan_add_source(scan, &(struct scan_source){
			.start = pv_start + off, .len = len, .map = map, .in_map = off,
		});
	return rc;
}

/* The last volume that was added is a physical volume. */
static int look_into_lvm(struct scan *scan, const struct window *pv, uint64_t pv_start)
{
	unsigned number = scan->volumes[scan->volumes_len - 1].number;
	struct verdict verdict = { 0 };
	struct lvm lvm = { 0 };
	size_t map;
	int rc;

	lvm_probe(pv, &verdict);
	rc = lvm_read(&lvm, pv, &verdict);
	if (!rc && verdict.state == GUEST_CLEAN)
		rc = veto_ask(pv, scan->memfd, verdict.filesystem, &verdict);
	if (!rc) {
		rc = conclude(scan, &verdict, lvm.free, &map);
		lvm.free = (struct freemap){ 0 };
	}
	if (!rc && map != SCAN_ALL_FREE)
		rc = add_free_extents(scan, map, pv_start);
	for (size_t i = 0; !rc && verdict.state == GUEST_CLEAN && i < lvm.lvs_len; i++)
		rc = look_into_logical(scan, &lvm.lvs[i], pv, pv_start, number);
	lvm_destroy(&lvm);
	return rc;
}

/* The last volume that was added is the size bytes at start of the disk. */
static int look_into(struct scan *scan, uint64_t start, uint64_t size)
{
	struct verdict verdict = { 0 };
	struct freemap freemap = { 0 };
	struct window window;
	size_t map;
	int rc = window_part(&window, scan->disk, start, size);

	if (rc)
		return rc;
	if (lvm_probe(&window, &verdict))
		return look_into_lvm(scan, &window, start);
	rc = judge(scan, &window, &freemap, &verdict);
	if (rc) {
		freemap_destroy(&freemap);
		return rc;
	}
	if (verdict.state == GUEST_CLEAN && start && start < TABLE_AREA)
		freemap_take_bytes(&freemap, 0, TABLE_AREA - start);
	rc = conclude(scan, &verdict, freemap, &map);
	if (rc || map == SCAN_ALL_FREE)
		return rc;
	return scan_add_source(scan, &(struct scan_source){
		.start = start, .len = size, .map = map,
	});
}

static bool is_anything(const struct window *window, struct verdict *verdict)
{
	if (lvm_probe(window, verdict) || other_recognise(window, verdict))
		return true;
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (readers[i]->probe(window, verdict))
			return true;
	return false;
}

/* One volume for all the gaps together. */
static int add_gaps(struct scan *scan, const struct table *table)
{
	uint64_t off = 0, len, sum = 0;
	struct guest_volume *volume;
	int rc = 0;

	if (!scan->has_gaps || !table_next_gap(table, scan->disk, 0, &off, &len))
		return 0;
	volume = scan_add_volume(scan);
	if (!volume)
		return -ENOMEM;
	volume->state = GUEST_CLEAN;
	snprintf(volume->type, sizeof(volume->type), "gap");
	for (; !rc && table_next_gap(table, scan->disk, off, &off, &len); off += len) {
		rc = scan_add_source(scan, &(struct scan_source){
			.start = off, .len = len, .map = SCAN_ALL_FREE,
		});
		sum += len;
	}
	volume->free = sum;
	return rc;
}

static int look_into_table(struct scan *scan, const struct table *table)
{
	int rc = add_gaps(scan, table);

	for (size_t i = 0; !rc && i < table->len; i++) {
		const struct table_part *part = &table->parts[i];

		rc = partitions_add(scan, part);
		if (!rc && part->use == TABLE_DATA)
			rc = look_into(scan, part->start, part->length);
	}
	return rc;
}

/* A volume group's free room is only that while nobody was about to change the group. */
static void judge_groups(struct scan *scan)
{
	bool is_any_unclean = false;

	for (size_t i = 0; i < scan->volumes_len; i++)
		is_any_unclean |= scan->volumes[i].state == GUEST_UNCLEAN;
	for (size_t i = 0; is_any_unclean && i < scan->sources_len; i++) {
		struct guest_volume *volume = &scan->volumes[scan->sources[i].volume];

		if (strcmp(volume->filesystem, LVM_NAME))
			continue;
		scan->sources[i].len = 0;
		volume->state = GUEST_UNCLEAN;
		volume->used = volume->free = 0;
		snprintf(volume->why, sizeof(volume->why), "a filesystem on the disk is unclean, "
			 "so that a change of the volumes may be under way");
	}
}

/* Those that begin with a boot sector, which may look like a broken MBR. */
static bool has_boot_sector(const char *filesystem)
{
	return strncmp(filesystem, "fat", 3) == 0 || strcmp(filesystem, "exfat") == 0 ||
	       strcmp(filesystem, "ntfs") == 0;
}

/* A filesystem at the disk's start is tried before a table is believed, and if there are both,
 * neither is: one of them is what was left behind. */
static int look_at(struct scan *scan, const struct table *table)
{
	struct verdict verdict = { 0 };
	struct guest_disk *info = &scan->info;

	partitions_tell(scan, table);
	if (!is_anything(scan->disk, &verdict))
		return look_into_table(scan, table);
	if (table->len || (table->kind > TABLE_GPT && !has_boot_sector(verdict.filesystem))) {
		info->state = GUEST_UNSUPPORTED;
		snprintf(info->why, sizeof(info->why), "there are both partitions and a filesystem "
			 "(%.40s) at the disk's start", verdict.filesystem);
		return 0;
	}
	*info = (struct guest_disk){ .table = "none", .state = GUEST_CLEAN };
	if (!scan_add_volume(scan))
		return -ENOMEM;
	scan->volumes[0].length = scan->disk->size;
	return look_into(scan, 0, scan->disk->size);
}

int scan_everything(struct scan *scan)
{
	struct table *table = malloc(sizeof(*table));
	int rc = table ? table_read(table, scan->disk) : -ENOMEM;

	if (!rc)
		rc = look_at(scan, table);
	if (!rc)
		judge_groups(scan);
	free(table);
	return rc;
}

int guest_open(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
	       struct vhd_err *err)
{
	return guest_start(guest, img, opts, scan_everything, err);
}
