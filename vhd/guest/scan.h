/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What was found on a disk: its volumes, and where on the disk each one's free map applies.
 *
 * A source is a range of the disk that one free map speaks for: a partition, a segment of a logical
 * volume, the free extents of a volume group. Sources do not overlap, so that the free ranges of
 * the whole disk come in order by going through the sources in order; none of them is ever listed.
 */
#ifndef VHD_GUEST_SCAN_H
#define VHD_GUEST_SCAN_H

#include "vhd/guest.h"
#include "vhd/guest/freemap.h"
#include "vhd/guest/window.h"

#define SCAN_MAX_VOLUMES 1024

struct scan_source {
	uint64_t start, len;	/* bytes of the disk */
	size_t map;		/* in scan.maps; SCAN_ALL_FREE: there is none, the range is free */
	uint64_t in_map;	/* start's offset in that map's window */
	size_t volume;		/* whose room it is */
};
#define SCAN_ALL_FREE SIZE_MAX

/* A stretch of a logical volume. */
struct scan_place {
	size_t volume;
	struct guest_range range;
};

struct scan {
	const struct window *disk;
	int memfd;		/* for a second opinion, or -1 */
	bool has_gaps;		/* the room between partitions is wanted */
	struct guest_disk info;
	struct guest_volume *volumes;
	bool *is_selected;	/* [volumes_len] */
	size_t volumes_len;
	struct freemap *maps;
	size_t maps_len;
	struct scan_source *sources;	/* sorted by start once scan_settle has been called */
	size_t sources_len;
	struct scan_place *places;	/* of each volume in its own order */
	size_t places_len;
};

void scan_destroy(struct scan *scan);

/* Adds an empty volume and returns it, or NULL: out of memory, or too many. The pointer is good
 * until the next one is added. */
struct guest_volume *scan_add_volume(struct scan *scan);
/* Adds a map, which is the scan's from here on, and *map, its number. 0 or -ENOMEM. */
int scan_add_map(struct scan *scan, struct freemap freemap, size_t *map);
/* Adds a source of the last volume that was added. 0 or -ENOMEM. */
int scan_add_source(struct scan *scan, const struct scan_source *source);
/* Adds the next stretch of the last volume that was added. 0 or -ENOMEM. */
int scan_add_place(struct scan *scan, uint64_t start, uint64_t len);

/* Sorts the sources. Of those that overlap none counts: nobody knows whose the room is. */
void scan_settle(struct scan *scan);

/* The first free range of the selected volumes that ends behind off: true, *start (not below off)
 * and *len in bytes of the disk; false when there is none. */
bool scan_next(const struct scan *scan, uint64_t off, uint64_t *start, uint64_t *len);

/* How the disk is looked at: 0 or -errno (-EIO, -ENOMEM, ...). */
typedef int (*scan_look_fn)(struct scan *scan);
/* The partitions alone, as the table has them. */
int scan_table(struct scan *scan);
/* Partitions, and where the logical volumes in them lie. */
int scan_volumes(struct scan *scan);
/* Everything: filesystems, verdicts, free maps. */
int scan_everything(struct scan *scan);

#endif
