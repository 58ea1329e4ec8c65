/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image as a row of cells.
 *
 * By the place in the file, every byte of the file is of one kind, and what the host has not stored
 * is a hole whatever it would be for. By the place on the disk, every byte of the disk is: the
 * image's own data comes from the same walk over the file, all else from the extents.
 */
#include "tools/draw.h"

#include <errno.h>
#include <stdlib.h>

#define CELL_MIN 512u

static const struct {
	const char *name, *help;
} kinds[DRAW_KINDS] = {
	[DRAW_METADATA] = { "metadata", "footers, tables and bitmaps of the image" },
	[DRAW_ALLOCATED] = { "allocated", "data of this image" },
	[DRAW_PARENT] = { "parent's", "a parent has what the disk shows there" },
	[DRAW_ZERO] = { "zero", "reads as zeros, as the image's tables tell" },
	[DRAW_HOLE] = { "hole", "the host has nothing stored there" },
	[DRAW_FREE] = { "free", "stored, and used by nothing" },
};

const char *draw_kind_name(enum draw_kind kind)
{
	return kinds[kind].name;
}

const char *draw_kind_help(enum draw_kind kind)
{
	return kinds[kind].help;
}

uint64_t draw_cell_size(uint64_t size, size_t max)
{
	uint64_t cell = CELL_MIN;

	while (size / cell + (size % cell != 0) > max)
		cell *= 2;
	return cell;
}

uint64_t draw_cell_len(const struct drawing *drawing, size_t cell)
{
	uint64_t left = drawing->size - cell * drawing->cell_size;

	return left < drawing->cell_size ? left : drawing->cell_size;
}

int draw_begin(struct drawing *drawing, vhd_image *img, const char *name, enum draw_by by,
	       struct vhd_err *err)
{
	int rc;

	*drawing = (struct drawing){ .name = name, .by = by };
	rc = vhd_get_info(img, &drawing->info, err);
	drawing->size = by == DRAW_BY_DISK ? drawing->info.virtual_size : drawing->info.file_size;
	return rc;
}

/* What lies beyond the size (the file grew meanwhile) has no cell. */
static void add(struct drawing *drawing, enum draw_kind kind, uint64_t off, uint64_t len,
		bool is_table)
{
	while (len && off < drawing->size) {
		struct draw_cell *cell = &drawing->cells[off / drawing->cell_size];
		uint64_t part = drawing->cell_size - off % drawing->cell_size;

		if (part > len)
			part = len;
		if (part > drawing->size - off)
			part = drawing->size - off;
		cell->bytes[kind] += part;
		cell->has_table |= is_table;
		drawing->total[kind] += part;
		off += part;
		len -= part;
	}
}

static enum draw_kind kind_of(const struct drawing *drawing, const struct vhd_piece *piece)
{
	if (piece->is_hole)
		return DRAW_HOLE;
	switch (piece->kind) {
	case VHD_PIECE_METADATA:
	case VHD_PIECE_BITMAP:
		return DRAW_METADATA;
	case VHD_PIECE_DATA:
		return DRAW_ALLOCATED;
	case VHD_PIECE_CLEAR:
		return drawing->info.has_parent ? DRAW_PARENT : DRAW_ZERO;
	case VHD_PIECE_FREE:
		break;
	}
	return DRAW_FREE;
}

static void add_by_file(void *arg, const struct vhd_piece *piece)
{
	struct drawing *drawing = arg;

	add(drawing, kind_of(drawing, piece), piece->off, piece->len,
	    piece->kind == VHD_PIECE_METADATA && !piece->is_hole);
}

static void add_by_disk(void *arg, const struct vhd_piece *piece)
{
	if (piece->kind == VHD_PIECE_DATA)
		add(arg, piece->is_hole ? DRAW_HOLE : DRAW_ALLOCATED, piece->disk_off, piece->len,
		    false);
}

/* All of the disk that is not the image's own. */
static int add_extents(struct drawing *drawing, vhd_image *img, struct vhd_err *err)
{
	struct vhd_extent ext;
	uint64_t off = 0;
	int rc;

	while ((rc = vhd_next_extent(img, off, vhd_size(img) - off, &ext, err)) > 0) {
		off = ext.off + ext.len;
		if (!ext.is_data || ext.depth)
			add(drawing, ext.is_data ? DRAW_PARENT : DRAW_ZERO, ext.off, ext.len,
			    false);
	}
	return rc;
}

int draw_fill(struct drawing *drawing, vhd_image *img, uint64_t cell_size, struct vhd_err *err)
{
	bool is_by_disk = drawing->by == DRAW_BY_DISK;
	int rc;

	drawing->cell_size = cell_size;
	drawing->count = (size_t)(drawing->size / cell_size + (drawing->size % cell_size != 0));
	drawing->cells = calloc(drawing->count + 1, sizeof(*drawing->cells));
	if (!drawing->cells)
		return -ENOMEM;
	rc = vhd_each_piece(img, is_by_disk ? add_by_disk : add_by_file, drawing, err);
	return rc || !is_by_disk ? rc : add_extents(drawing, img, err);
}

void draw_end(struct drawing *drawing)
{
	free(drawing->cells);
	drawing->cells = NULL;
}
