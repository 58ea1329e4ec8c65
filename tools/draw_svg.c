/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drawings as a picture: one, or two side by side, with what was gained.
 *
 * A grid has at most CELLS cells, so that a picture is small whatever the image. A cell is filled
 * from below with its kinds by their share, in LEVELS steps; neighbours of one kind are one
 * rectangle, from which a mask of rounded squares makes cells again. The picture brings its own
 * ground, light or dark as the reader has it, and nothing in it depends on the day or the machine.
 */
#include "tools/draw.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/out.h"
#include "vhd/units.h"

#define CELLS 1024u
#define PITCH 11u		/* from one cell to the next */
#define CELL 9u
#define LEVELS (2 * CELL)	/* half pixels */
#define TABLE_MIN 4u		/* levels that tables get, however small they are */
#define DATA_MIN 2u
#define PAD 24u
#define GUTTER 40u
#define LINE 20u		/* of the legend */
#define STAT 120u		/* from one of the large numbers to the next */
#define BAR 6u

/* Where things are; all panels are laid out alike. */
struct sheet {
	const struct drawing *drawings;
	size_t count;
	unsigned cols, rows;	/* of the grid */
	unsigned panel;		/* width of one */
	unsigned name_y, grid_y, bar_y, legend_y, foot_y;
	unsigned width, height;
	unsigned legend_cols;
	unsigned kinds;		/* that any of them has, a bit each */
	size_t cells;		/* of the largest */
	uint64_t largest;	/* bytes */
};

static const char style[] =
	"text{fill:#1f2328;font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\n"
	".name{font-size:16px;font-weight:600}.value{font-size:17px;font-weight:600}\n"
	".dim{fill:#59636e}.when{fill:#59636e;font-size:11px;font-weight:600;letter-spacing:1px}\n"
	".gain{fill:#1a7f37;font-weight:600}.end{text-anchor:end}\n"
	".ground{fill:#fff;stroke:#d0d7de}.none{fill:#f3f5f7}\n"
	".metadata{fill:#e08a00}.allocated{fill:#2f6fde}.parent{fill:#8a5cf0}\n"
	".zero{fill:#b5d0f8}.hole{fill:#d9dee5}.free{fill:#2da44e}\n"
	"@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim,.when{fill:#8d96a0}\n"
	".gain{fill:#3fb950}.ground{fill:#0d1117;stroke:#30363d}.none{fill:#141a21}\n"
	".metadata{fill:#f0b429}.allocated{fill:#4c8dff}.parent{fill:#a47bff}\n"
	".zero{fill:#2b4570}.hole{fill:#2b323b}.free{fill:#3fb950}}\n";

static const char *const classes[DRAW_KINDS] = {
	[DRAW_METADATA] = "metadata", [DRAW_ALLOCATED] = "allocated", [DRAW_PARENT] = "parent",
	[DRAW_ZERO] = "zero", [DRAW_HOLE] = "hole", [DRAW_FREE] = "free",
};

size_t draw_svg_cells(void)
{
	return CELLS;
}

/* --- text --- */

/* Bytes of the character at text, which is UTF-8. */
static size_t character(const char *text)
{
	unsigned char c = (unsigned char)*text;

	return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Columns it takes, roughly: what has three bytes or more may be wide. */
static unsigned columns_of(const char *c)
{
	return character(c) > 2 ? 2 : 1;
}

/* Whether XML has no such character: controls, U+FFFE, U+FFFF. */
static bool is_banned(const char *c)
{
	return (unsigned char)*c < 0x20 || *c == 0x7f || !strncmp(c, "\xef\xbf\xbe", 3) ||
	       !strncmp(c, "\xef\xbf\xbf", 3);
}

static void put_character(const char *c)
{
	switch (*c) {
	case '&':
		fputs("&amp;", stdout);
		return;
	case '<':
		fputs("&lt;", stdout);
		return;
	case '>':
		fputs("&gt;", stdout);
		return;
	case '"':
		fputs("&quot;", stdout);
		return;
	}
	if (is_banned(c))
		putchar('?');
	else
		fwrite(c, 1, character(c), stdout);
}

/* text, its middle left out where it is longer than max columns. */
static void put_text(const char *text, unsigned max)
{
	json_t *value = out_text(text);
	const char *c = value ? json_string_value(value) : "?";
	unsigned width = 0, at = 0;
	bool is_cut = false;

	for (const char *d = c; *d; d += character(d))
		width += columns_of(d);
	for (; *c; c += character(c)) {
		bool is_left_out = width > max && at >= max / 2 && at < width - max / 2 + 1;

		if (!is_left_out)
			put_character(c);
		else if (!is_cut)
			fputs("…", stdout);
		is_cut |= is_left_out;
		at += columns_of(c);
	}
	json_decref(value);
}

static const char *base(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash && slash[1] ? slash + 1 : name;
}

static const char *amount(uint64_t bytes, char text[32])
{
	return units_format(bytes, text, 32);
}

/* --- one panel --- */

static void put_stat(unsigned x, unsigned y, uint64_t bytes, const char *what)
{
	char text[32];

	printf("<text class=\"value\" x=\"%u\" y=\"%u\">%s</text>"
	       "<text class=\"dim\" x=\"%u\" y=\"%u\">%s</text>\n",
	       x, y, amount(bytes, text), x, y + 17, what);
}

static void put_head(const struct sheet *sheet, const struct drawing *d, const char *when)
{
	static const char *const types[] = {
		[VHD_FIXED] = "Fixed", [VHD_DYNAMIC] = "Dynamic",
		[VHD_DIFFERENCING] = "Differencing",
	};
	const struct vhd_info *info = &d->info;
	unsigned y = sheet->name_y;
	char text[32];

	if (when)
		printf("<text class=\"when\" y=\"%u\">%s</text>\n", y - 24, when);
	printf("<text class=\"name\" y=\"%u\"><title>", y);
	put_text(d->name, UINT16_MAX);
	fputs("</title>", stdout);
	put_text(base(d->name), sheet->panel / 10);
	printf("</text>\n<text class=\"dim\" y=\"%u\">%s VHD", y + 20, types[info->type]);
	if (info->block_size)
		printf(", %" PRIu32 " of %" PRIu32 " blocks of %s", info->blocks_allocated,
		       info->blocks_total, amount(info->block_size, text));
	puts("</text>");
	put_stat(0, y + 54, info->file_size, "the file");
	put_stat(STAT, y + 54, info->actual_size, "of it on the host");
	put_stat(2 * STAT, y + 54, info->virtual_size, "the disk");
}

/* How high each kind stands in the cell. */
static void levels(const struct drawing *d, size_t cell, unsigned level[DRAW_KINDS])
{
	const struct draw_cell *c = &d->cells[cell];
	uint64_t len = draw_cell_len(d, cell);
	int most = 0;

	for (int kind = 0; kind < DRAW_KINDS; kind++)
		if (c->bytes[kind] > c->bytes[most])
			most = kind;
	level[most] = LEVELS;
	for (int kind = 0; kind < DRAW_KINDS; kind++) {
		unsigned least = kind == DRAW_METADATA && c->has_table ? TABLE_MIN :
				 kind == DRAW_ALLOCATED && c->bytes[kind] ? DATA_MIN : 0;

		if (kind == most)
			continue;
		level[kind] = (unsigned)((double)c->bytes[kind] / (double)len * LEVELS + 0.5);
		if (level[kind] < least)
			level[kind] = least;
		if (level[kind] >= level[most])
			level[kind] = level[most] - 1;
		level[most] -= level[kind];
	}
}

/* The kind that fills all of the cell to the eye, or DRAW_KINDS. */
static enum draw_kind only_kind(const struct drawing *d, size_t cell)
{
	unsigned level[DRAW_KINDS];

	levels(d, cell, level);
	for (int kind = 0; kind < DRAW_KINDS; kind++)
		if (level[kind] == LEVELS)
			return kind;
	return DRAW_KINDS;
}

/* What is in the cells from first to last. */
static void put_title(const struct drawing *d, size_t first, size_t last)
{
	uint64_t end = last * d->cell_size + draw_cell_len(d, last);
	const char *comma = "";
	char text[32];

	printf("<title>bytes %" PRIu64 "-%" PRIu64 ": ", first * d->cell_size, end - 1);
	for (int kind = 0; kind < DRAW_KINDS; kind++) {
		uint64_t bytes = 0;

		for (size_t i = first; i <= last; i++)
			bytes += d->cells[i].bytes[kind];
		if (!bytes)
			continue;
		printf("%s%s %s", comma, draw_kind_name(kind), amount(bytes, text));
		comma = ", ";
	}
	fputs("</title>", stdout);
}

static void put_mixed(const struct drawing *d, size_t cell, unsigned x, unsigned y)
{
	unsigned level[DRAW_KINDS], top = 2 * y + LEVELS;

	levels(d, cell, level);
	fputs("<g>", stdout);
	put_title(d, cell, cell);
	for (int kind = 0; kind < DRAW_KINDS; kind++) {
		if (!level[kind])
			continue;
		top -= level[kind];
		printf("<rect class=\"%s\" x=\"%u\" y=\"%g\" width=\"%u\" height=\"%g\"/>",
		       classes[kind], x, top / 2.0, CELL, level[kind] / 2.0);
	}
	puts("</g>");
}

static void put_run(const struct drawing *d, size_t first, size_t last, unsigned x, unsigned y)
{
	printf("<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\">",
	       classes[only_kind(d, first)], x, y, (unsigned)(last - first) * PITCH + CELL, CELL);
	put_title(d, first, last);
	puts("</rect>");
}

/* Cells that the larger one has and this one has not. */
static void put_none(const struct sheet *sheet, size_t from)
{
	while (from < sheet->cells) {
		size_t end = from / sheet->cols * sheet->cols + sheet->cols;

		if (end > sheet->cells)
			end = sheet->cells;
		printf("<rect class=\"none\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\"/>\n",
		       (unsigned)(from % sheet->cols) * PITCH,
		       (unsigned)(from / sheet->cols) * PITCH,
		       (unsigned)(end - from) * PITCH, CELL);
		from = end;
	}
}

static void put_grid(const struct sheet *sheet, const struct drawing *d)
{
	printf("<g transform=\"translate(0 %u)\"><g mask=\"url(#cells)\">\n", sheet->grid_y);
	for (size_t first = 0, last; first < d->count; first = last + 1) {
		unsigned x = (unsigned)(first % sheet->cols) * PITCH;
		unsigned y = (unsigned)(first / sheet->cols) * PITCH;
		enum draw_kind kind = only_kind(d, first);

		last = first;
		if (kind == DRAW_KINDS) {
			put_mixed(d, first, x, y);
			continue;
		}
		while (last + 1 < d->count && (last + 1) % sheet->cols &&
		       only_kind(d, last + 1) == kind)
			last++;
		put_run(d, first, last, x, y);
	}
	put_none(sheet, d->count);
	puts("</g></g>");
}

/* All of it by kind, in one line, as long as the panel where it is the largest. */
static void put_bar(const struct sheet *sheet, const struct drawing *d)
{
	double unit = sheet->largest ? (double)sheet->panel / (double)sheet->largest : 0, x = 0;

	printf("<rect class=\"none\" y=\"%u\" width=\"%u\" height=\"%u\"/>\n", sheet->bar_y,
	       sheet->panel, BAR);
	for (int kind = 0; kind < DRAW_KINDS; kind++) {
		double width = (double)d->total[kind] * unit;

		if (width > 0)
			printf("<rect class=\"%s\" x=\"%.2f\" y=\"%u\" width=\"%.2f\" "
			       "height=\"%u\"/>\n", classes[kind], x, sheet->bar_y, width, BAR);
		x += width;
	}
}

static void put_legend(const struct sheet *sheet, const struct drawing *d)
{
	unsigned step = sheet->panel / sheet->legend_cols, i = 0;
	char text[32];

	for (int kind = 0; kind < DRAW_KINDS; kind++) {
		unsigned x = i % sheet->legend_cols * step;
		unsigned y = sheet->legend_y + i / sheet->legend_cols * LINE;

		if (!(sheet->kinds & 1u << kind))
			continue;
		i++;
		printf("<g><title>%s: %" PRIu64 " bytes (%s)</title>", draw_kind_name(kind),
		       d->total[kind], draw_kind_help(kind));
		printf("<rect class=\"%s\" x=\"%u\" y=\"%u\" width=\"10\" height=\"10\" rx=\"2\"/>"
		       "<text x=\"%u\" y=\"%u\">%s</text>"
		       "<text class=\"dim end\" x=\"%u\" y=\"%u\">%s</text></g>\n",
		       classes[kind], x, y - 9, x + 17, y, draw_kind_name(kind), x + step - 18, y,
		       amount(d->total[kind], text));
	}
}

static void put_panel(const struct sheet *sheet, size_t i)
{
	static const char *const when[] = { "BEFORE", "AFTER" };
	const struct drawing *d = &sheet->drawings[i];

	printf("<g transform=\"translate(%u 0)\">\n",
	       PAD + (unsigned)i * (sheet->panel + GUTTER));
	put_head(sheet, d, sheet->count > 1 ? when[i] : NULL);
	put_grid(sheet, d);
	put_bar(sheet, d);
	put_legend(sheet, d);
	puts("</g>");
}

/* --- the sheet --- */

static void lay_out(struct sheet *sheet)
{
	unsigned lines = 0;

	sheet->cols = sheet->count > 1 ? 32 : 64;
	sheet->legend_cols = sheet->count > 1 ? 2 : 4;
	for (size_t i = 0; i < sheet->count; i++) {
		const struct drawing *d = &sheet->drawings[i];

		if (d->count > sheet->cells)
			sheet->cells = d->count;
		if (d->size > sheet->largest)
			sheet->largest = d->size;
		for (int kind = 0; kind < DRAW_KINDS; kind++)
			sheet->kinds |= d->total[kind] ? 1u << kind : 0;
	}
	sheet->rows = (unsigned)((sheet->cells + sheet->cols - 1) / sheet->cols);
	for (unsigned kinds = sheet->kinds; kinds; kinds >>= 1)
		lines += kinds & 1;
	lines = (lines + sheet->legend_cols - 1) / sheet->legend_cols;
	sheet->panel = sheet->cols * PITCH - (PITCH - CELL);
	sheet->name_y = PAD + (sheet->count > 1 ? 38 : 14);
	sheet->grid_y = sheet->name_y + 90;
	sheet->bar_y = sheet->grid_y + sheet->rows * PITCH + 14;
	sheet->legend_y = sheet->bar_y + BAR + 22;
	sheet->foot_y = sheet->legend_y + lines * LINE + 8;
	sheet->height = sheet->foot_y + PAD - 4;
	sheet->width = 2 * PAD + (unsigned)sheet->count * (sheet->panel + GUTTER) - GUTTER;
}

static void put_defs(const struct sheet *sheet)
{
	printf("<style>%s</style>\n<defs><pattern id=\"cell\" width=\"%u\" height=\"%u\" "
	       "patternUnits=\"userSpaceOnUse\"><rect width=\"%u\" height=\"%u\" rx=\"2\" "
	       "fill=\"#fff\"/></pattern>\n", style, PITCH, PITCH, CELL, CELL);
	printf("<mask id=\"cells\" maskUnits=\"userSpaceOnUse\" x=\"0\" y=\"0\" width=\"%u\" "
	       "height=\"%u\"><rect width=\"%u\" height=\"%u\" fill=\"url(#cell)\"/></mask>"
	       "</defs>\n", sheet->panel, sheet->rows * PITCH, sheet->panel, sheet->rows * PITCH);
}

/* How much shorter the second file is. */
static void put_gain(const struct sheet *sheet)
{
	uint64_t a = sheet->drawings[0].info.file_size, b = sheet->drawings[1].info.file_size;
	uint64_t gain = a > b ? a - b : b - a;
	char text[32];

	if (!gain)
		return;
	printf("<text class=\"%s end\" x=\"%u\" y=\"%u\">%s %s (%u %%)</text>\n",
	       a > b ? "gain" : "dim", sheet->width - PAD, sheet->foot_y, amount(gain, text),
	       a > b ? "less" : "more", (unsigned)(100.0 * (double)gain / (double)a));
}

static void put_foot(const struct sheet *sheet)
{
	const struct drawing *d = sheet->drawings;
	char text[32];

	printf("<text class=\"dim\" x=\"%u\" y=\"%u\">A cell is %s of the %s.</text>\n", PAD,
	       sheet->foot_y, amount(d->cell_size, text), d->by == DRAW_BY_DISK ? "disk" : "file");
	if (sheet->count > 1)
		put_gain(sheet);
}

static void put_names(const struct sheet *sheet)
{
	fputs("<title id=\"names\">", stdout);
	for (size_t i = 0; i < sheet->count; i++) {
		fputs(i ? " and " : "", stdout);
		put_text(base(sheet->drawings[i].name), UINT16_MAX);
	}
	puts("</title>");
}

void draw_svg(const struct drawing *drawings, size_t count)
{
	struct sheet sheet = { .drawings = drawings, .count = count };

	lay_out(&sheet);
	printf("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
	       "viewBox=\"0 0 %u %u\" role=\"img\" aria-labelledby=\"names\">\n",
	       sheet.width, sheet.height, sheet.width, sheet.height);
	put_names(&sheet);
	put_defs(&sheet);
	printf("<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"%u\" height=\"%u\" "
	       "rx=\"8\"/>\n", sheet.width - 1, sheet.height - 1);
	for (size_t i = 0; i < count; i++)
		put_panel(&sheet, i);
	put_foot(&sheet);
	puts("</svg>");
}
