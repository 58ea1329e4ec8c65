/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Partitions, and where the logical volumes in them lie: what vhdfuse shows as files. No filesystem
 * is looked at, and what cannot be understood is told and passed over: the partitions are there.
 *
 * A volume group may have several physical volumes on the disk. Each is read by itself, has the
 * same text, and tells which stretches of each logical volume are on it; here they are put
 * together. Where the texts differ, one of them is out of date, and nobody knows which.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/guest/lvm.h"
#include "vhd/guest/partitions.h"
#include "vhd/guest/wire.h"

struct pv {
	struct lvm lvm;		/* its free map is gone */
	struct verdict verdict;
	uint64_t start;		/* bytes of the disk */
	size_t volume;		/* which of the scan's it is */
};

struct look {
	struct scan *scan;
	struct pv *pvs;
	size_t len;
};

static int add_pv(struct look *look, const struct window *window, uint64_t start)
{
	struct pv *pvs = reallocarray(look->pvs, look->len + 1, sizeof(*pvs)), *pv;
	int rc;

	if (!pvs)
		return -ENOMEM;
	look->pvs = pvs;
	pv = &pvs[look->len++];
	*pv = (struct pv){ .start = start, .volume = look->scan->volumes_len - 1 };
	rc = lvm_read_part(&pv->lvm, window, &pv->verdict);
	if (rc)
		verdict_set(&pv->verdict, GUEST_DAMAGED, "its metadata cannot be read: %s",
			    strerror(-rc));
	freemap_destroy(&pv->lvm.free);
	return 0;
}

/* What lies at start, of which the volume that was added last is to be told. */
static int look_into(struct look *look, uint64_t start, uint64_t size)
{
	struct verdict verdict = { 0 };
	struct window window;
	int rc = window_part(&window, look->scan->disk, start, size);

	if (rc || !lvm_probe(&window, &verdict))
		return rc;
	return add_pv(look, &window, start);
}

/* A disk without partitions may be a physical volume as a whole. */
static int look_into_disk(struct look *look)
{
	struct scan *scan = look->scan;
	struct verdict verdict = { 0 };
	struct guest_volume *volume;

	if (!lvm_probe(scan->disk, &verdict))
		return 0;
	volume = scan_add_volume(scan);
	if (!volume)
		return -ENOMEM;
	volume->length = scan->disk->size;
	return look_into(look, 0, scan->disk->size);
}

static int look_into_table(struct look *look, const struct table *table)
{
	int rc = 0;

	partitions_tell(look->scan, table);
	for (size_t i = 0; !rc && i < table->len; i++) {
		const struct table_part *part = &table->parts[i];

		rc = partitions_add(look->scan, part);
		if (!rc && part->use == TABLE_DATA)
			rc = look_into(look, part->start, part->length);
	}
	return !rc && table->kind == TABLE_NONE ? look_into_disk(look) : rc;
}

static bool is_in_group(const struct pv *a, const struct pv *b)
{
	return a->verdict.state == GUEST_CLEAN && b->verdict.state == GUEST_CLEAN &&
	       strcmp(a->lvm.group, b->lvm.group) == 0;
}

/* Whether pv is the first of its group; and if the group's texts differ, none of it is clean. */
static bool is_leader(struct look *look, struct pv *pv)
{
	bool is_split = false;

	if (pv->verdict.state != GUEST_CLEAN)
		return false;
	for (struct pv *other = look->pvs; other < pv; other++)
		if (is_in_group(other, pv))
			return false;
	for (size_t i = 0; i < look->len; i++)
		is_split |= is_in_group(&look->pvs[i], pv) &&
			    look->pvs[i].lvm.text_crc != pv->lvm.text_crc;
	for (size_t i = look->len; is_split && i-- > 0;)	/* pv itself comes last */
		if (is_in_group(&look->pvs[i], pv))
			verdict_set(&look->pvs[i].verdict, GUEST_DAMAGED,
				    "the copies of its group's metadata are not the same");
	return !is_split;
}

/* Volume i of pv's group as another of its physical volumes has it. */
static const struct lvm_lv *same_lv(const struct pv *other, const struct pv *pv, size_t i)
{
	if (!is_in_group(other, pv) || i >= other->lvm.lvs_len ||
	    strcmp(other->lvm.lvs[i].name, pv->lvm.lvs[i].name) != 0 ||
	    !other->lvm.lvs[i].is_linear)
		return NULL;
	return &other->lvm.lvs[i];
}

static int by_lv_off(const void *a, const void *b)
{
	const struct lvm_segment *x = a, *y = b;

	return (x->lv_off > y->lv_off) - (x->lv_off < y->lv_off);
}

/* All segments of volume i in its order, pv_off meaning bytes of the disk. NULL: no memory. */
static struct lvm_segment *gather(const struct look *look, const struct pv *pv, size_t i,
				  size_t *len)
{
	struct lvm_segment *all;
	size_t room = 1;

	for (size_t k = 0; k < look->len; k++) {
		const struct lvm_lv *lv = same_lv(&look->pvs[k], pv, i);

		room += lv ? lv->segments_len : 0;
	}
	all = calloc(room, sizeof(*all));
	*len = 0;
	for (size_t k = 0; all && k < look->len; k++) {
		const struct lvm_lv *lv = same_lv(&look->pvs[k], pv, i);

		for (size_t s = 0; lv && s < lv->segments_len; s++) {
			all[*len] = lv->segments[s];
			all[(*len)++].pv_off += look->pvs[k].start;
		}
	}
	if (all)
		qsort(all, *len, sizeof(*all), by_lv_off);
	return all;
}

/* Fills verdict, and if it is clean the places of the volume that was added last. */
static int place(struct scan *scan, const struct lvm_segment *segments, size_t len, uint64_t size,
		 struct verdict *verdict)
{
	uint64_t off = 0;
	int rc = 0;

	if (len > WIRE_EXTENTS)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "in too many pieces");
	for (size_t i = 0; i < len && segments[i].lv_off <= off; i++) {
		if (segments[i].lv_off < off)
			return verdict_set(verdict, GUEST_UNSUPPORTED,
					   "in this image more than once");
		off += segments[i].len;
	}
	if (!size || off != size)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "not all in this image");
	for (size_t i = 0; !rc && i < len; i++)
		rc = scan_add_place(scan, segments[i].pv_off, segments[i].len);
	return rc ? rc : verdict_set(verdict, GUEST_CLEAN, "%s", "");
}

static int add_lv(struct look *look, const struct pv *pv, size_t i)
{
	const struct lvm_lv *lv = &pv->lvm.lvs[i];
	struct scan *scan = look->scan;
	struct guest_volume *volume = scan_add_volume(scan);
	struct verdict verdict = { .state = GUEST_UNSUPPORTED, .why = "not linear" };
	struct lvm_segment *segments;
	size_t len;
	int rc;

	if (!volume)
		return -ENOMEM;
	*volume = (struct guest_volume){
		.number = scan->volumes[pv->volume].number, .is_logical = true, .type = "lvm",
		.length = lv->size <= scan->disk->size ? lv->size : 0,
		.is_readonly = lv->is_readonly,
	};
	snprintf(volume->name, sizeof(volume->name), "%s", lv->name);
	if (lv->is_linear) {
		segments = gather(look, pv, i, &len);
		rc = segments ? place(scan, segments, len, volume->length, &verdict) : -ENOMEM;
		free(segments);
		if (rc)
			return rc;
	}
	volume->state = verdict.state;
	memcpy(volume->why, verdict.why, sizeof(volume->why));
	return 0;
}

static int add_group(struct look *look, struct pv *pv)
{
	int rc = 0;

	if (pv->lvm.lvs_len > SCAN_MAX_VOLUMES - look->scan->volumes_len)
		return verdict_set(&pv->verdict, GUEST_UNSUPPORTED,
				   "there are too many logical volumes");
	for (size_t i = 0; !rc && i < pv->lvm.lvs_len; i++)
		if (pv->lvm.lvs[i].is_visible)
			rc = add_lv(look, pv, i);
	return rc;
}

static void tell_pv(struct scan *scan, const struct pv *pv)
{
	struct guest_volume *volume = &scan->volumes[pv->volume];

	snprintf(volume->filesystem, sizeof(volume->filesystem), LVM_NAME);
	volume->state = pv->verdict.state;
	memcpy(volume->why, pv->verdict.why, sizeof(volume->why));
}

int scan_volumes(struct scan *scan)
{
	struct look look = { .scan = scan };
	struct table *table = malloc(sizeof(*table));
	int rc = table ? table_read(table, scan->disk) : -ENOMEM;

	if (!rc)
		rc = look_into_table(&look, table);
	free(table);
	for (size_t i = 0; !rc && i < look.len; i++)
		if (is_leader(&look, &look.pvs[i]))
			rc = add_group(&look, &look.pvs[i]);
	for (size_t i = 0; i < look.len; i++) {
		if (!rc)
			tell_pv(scan, &look.pvs[i]);
		lvm_destroy(&look.pvs[i].lvm);
	}
	free(look.pvs);
	return rc;
}

int guest_open_volumes(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
		       struct vhd_err *err)
{
	return guest_start(guest, img, opts, scan_volumes, err);
}
