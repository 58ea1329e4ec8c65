/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image as a row of cells of one size, each with the bytes of every kind in it, by their place
 * in the file or on the disk. How it looks is for draw_term.c and draw_svg.c.
 */
#ifndef TOOLS_DRAW_H
#define TOOLS_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhd/vhd.h"

enum draw_kind {
	DRAW_METADATA,		/* of the image: footers, tables, bitmaps */
	DRAW_ALLOCATED,		/* the image's own data, stored by the host */
	DRAW_PARENT,		/* what the disk has there is a parent's */
	DRAW_ZERO,		/* reads as zeros, as the image's tables tell */
	DRAW_HOLE,		/* of the host: in the file, and not stored */
	DRAW_FREE,		/* stored, and used by nothing */
	DRAW_KINDS
};

enum draw_by {
	DRAW_BY_FILE,
	DRAW_BY_DISK,
};

struct draw_cell {
	uint64_t bytes[DRAW_KINDS];
	bool has_table;		/* of the metadata more than sector bitmaps, which are everywhere */
};

struct drawing {
	const char *name;	/* the caller's */
	enum draw_by by;
	struct vhd_info info;
	uint64_t size;		/* bytes of what is drawn: the file, or the disk */
	uint64_t cell_size;	/* bytes; the last cell may have less */
	size_t count;
	struct draw_cell *cells;
	uint64_t total[DRAW_KINDS];
};

/* Fills all but the cells. 0 or -errno. */
int draw_begin(struct drawing *drawing, vhd_image *img, const char *name, enum draw_by by,
	       struct vhd_err *err);
/* The smallest power of two of which max cells are enough for size bytes; 512 at the least. */
uint64_t draw_cell_size(uint64_t size, size_t max);
/* Fills the cells, of cell_size bytes each. 0 or -errno. */
int draw_fill(struct drawing *drawing, vhd_image *img, uint64_t cell_size, struct vhd_err *err);
void draw_end(struct drawing *drawing);

/* "allocated", and what that means in a few words. */
const char *draw_kind_name(enum draw_kind kind);
const char *draw_kind_help(enum draw_kind kind);

/* Bytes that the cell stands for. */
uint64_t draw_cell_len(const struct drawing *drawing, size_t cell);

/* draw_term.c: on stdout, in letters where that is no terminal. */
void draw_term(const struct drawing *drawing);
/* The cells that fit into one of draw_term's drawings. */
size_t draw_term_cells(void);

/* draw_svg.c: one drawing, or two of one cell size side by side, on stdout. */
void draw_svg(const struct drawing *drawings, size_t count);
/* The cells that fit into each of them. */
size_t draw_svg_cells(void);

#endif
