/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where everything lies in the file of a dynamic image, and what lies wrong. */
#ifndef VHD_LAYOUT_H
#define VHD_LAYOUT_H

#include "vhd/image.h"

/* A piece of metadata. A block must not cross hard; nothing new is put below soft. */
struct layout_span {
	uint64_t start, hard, soft;
};

#define LAYOUT_SPANS_MAX (FMT_LOCATORS + 4)

/* Fills spans (LAYOUT_SPANS_MAX) in the order of the file and returns how many there are; some may
 * lie past the end of the file. */
unsigned layout_metadata(const struct vhd_image *img, struct layout_span *spans);

struct layout_block {
	uint32_t entry, blk;
};

/* The mapped blocks for which leave_out (NULL: none) has 0, in the order of the file: the caller's
 * to free. NULL without memory. */
struct layout_block *layout_blocks(const struct map *map, const uint8_t *leave_out, size_t *len);

enum layout_kind {
	LAYOUT_PAST_END,	/* blk's entry names a place at or past the end */
	LAYOUT_IN_METADATA,	/* blk lies over the metadata */
	LAYOUT_OVERLAP,		/* blk lies over other */
	LAYOUT_SHORT_LAST,	/* blk is the last in the file, and cut by its end */
	LAYOUT_GAP,		/* len bytes at off that nothing uses */
};

struct layout_finding {
	enum layout_kind kind;
	uint32_t blk, other;
	uint32_t entry;
	uint64_t off, len;	/* bytes of the file */
};

typedef void (*layout_fn)(void *arg, const struct layout_finding *finding);

/*
 * Looks at the whole table in the order of the file and reports each finding; a gap when it is
 * before the trailing footer (or the end of the file where that is missing), whatever its length.
 * *end is where the highest block or metadata ends (blocks past the end not counted).
 * 0 or -ENOMEM: needs 8 bytes for each allocated block.
 */
int layout_scan(struct vhd_image *img, uint64_t *end, layout_fn report, void *arg);

/* The sentence for a finding. */
void layout_describe(const struct vhd_image *img, const struct layout_finding *finding, char *buf,
		     size_t len);

/* Where the metadata, with the room that its writers keep, ends that begins before limit: where the
 * trailing footer is. The room may go farther. */
uint64_t layout_metadata_end(const struct vhd_image *img, uint64_t limit);

/* Where the padding of a table ends that itself ends at end: as the image's creator has it. */
uint64_t layout_pad_table(const struct vhd_image *img, uint64_t end);

/* Where the tap batmap's header is: its place is a function of the header. */
uint64_t layout_batmap_off(const struct vhd_image *img);
/* Bytes of the map alone, for so many entries: one bit each, in whole sectors. */
uint64_t layout_batmap_size(uint32_t entries);
/* Whether such a batmap may be there by the creator's code and version. */
bool layout_may_have_batmap(const struct vhd_image *img);

#endif
