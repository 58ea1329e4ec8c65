/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A drawing in characters, in the manner of a defragmenter: a character a cell.
 *
 * A character shows one kind: the tables where they are, else what most of the cell is; but where
 * that is nothing to be seen (zeros, holes) and some is allocated, that. Blocks and colours where
 * stdout is a terminal that has both, else letters, small ones where the cell is not all of the
 * kind.
 */
#include "tools/draw.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/say.h"
#include "vhd/units.h"

#define ROWS 16u
#define LABEL 12u		/* columns before the cells of a row */
#define LEGEND 24u		/* columns of an entry */
#define COLUMNS_MAX 400
#define RESET "\033[0m"

static const struct {
	char letter;		/* where all of the cell is of the kind */
	const char *colour, *block;
} looks[DRAW_KINDS] = {
	[DRAW_METADATA] = { 'M', "\033[33m", "█" },
	[DRAW_ALLOCATED] = { 'A', "\033[94m", "█" },
	[DRAW_PARENT] = { 'P', "\033[35m", "▓" },
	[DRAW_ZERO] = { 'Z', "\033[36m", "░" },
	[DRAW_HOLE] = { 'H', "\033[90m", "·" },
	[DRAW_FREE] = { 'F', "\033[32m", "▒" },
};

static unsigned columns(void)
{
	const char *told = getenv("COLUMNS");
	long width = told ? strtol(told, NULL, 10) : 0;
	struct winsize window;

	if (width <= 0 && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &window))
		width = window.ws_col;
	if (width <= 0)
		width = 80;
	return width < COLUMNS_MAX ? (unsigned)width : COLUMNS_MAX;
}

/* Cells of a row: eights, so that rows begin at round numbers. */
static size_t row(void)
{
	unsigned width = columns();

	return width < LABEL + 16 ? 8 : (width - LABEL) / 8 * 8;
}

size_t draw_term_cells(void)
{
	return ROWS * row();
}

static bool has_utf8(void)
{
	locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	bool has;

	if (!locale)
		return false;
	has = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
	freelocale(locale);
	return has;
}

static bool has_colours(void)
{
	const char *term = getenv("TERM"), *none = getenv("NO_COLOR");

	if (!isatty(STDOUT_FILENO) || (none && *none))
		return false;
	return term && *term && strcmp(term, "dumb") != 0;
}

static enum draw_kind shown(const struct draw_cell *cell)
{
	enum draw_kind most = DRAW_ALLOCATED;

	if (cell->has_table)
		return DRAW_METADATA;
	for (int kind = 0; kind < DRAW_KINDS; kind++)
		if (cell->bytes[kind] > cell->bytes[most])
			most = kind;
	if (cell->bytes[DRAW_ALLOCATED] && most != DRAW_METADATA && most != DRAW_FREE)
		return DRAW_ALLOCATED;
	return most;
}

/* Bytes of len that make a cell look as if all of it were of a kind: a block's own bitmap, and the
 * room before it, must not tell. */
static bool is_whole(uint64_t bytes, uint64_t len)
{
	return bytes >= len - len / 16;
}

static void put_cell(const struct draw_cell *cell, uint64_t len, enum draw_kind *last, bool is_rich)
{
	enum draw_kind kind = shown(cell);
	uint64_t bytes = cell->bytes[kind];
	const char *block = looks[kind].block;

	if (!is_rich) {
		putchar(is_whole(bytes, len) ? looks[kind].letter : looks[kind].letter | 0x20);
		return;
	}
	if (kind != *last)
		fputs(looks[kind].colour, stdout);
	*last = kind;
	if (kind == DRAW_ALLOCATED && !is_whole(bytes, len))
		block = bytes >= len / 2 ? "▓" : "▒";
	fputs(block, stdout);
}

static void put_rows(const struct drawing *drawing, bool is_rich)
{
	size_t width = row();
	enum draw_kind last = DRAW_KINDS;
	char start[32];

	for (size_t i = 0; i < drawing->count; i++) {
		if (i % width == 0) {
			units_format(i * drawing->cell_size, start, sizeof(start));
			printf("%*s ", LABEL - 1, start);
			last = DRAW_KINDS;
		}
		put_cell(&drawing->cells[i], draw_cell_len(drawing, i), &last, is_rich);
		if ((i + 1) % width && i + 1 < drawing->count)
			continue;
		puts(is_rich ? RESET : "");
	}
}

static void put_legend(const struct drawing *drawing, bool is_rich)
{
	unsigned fit = columns() / LEGEND, put = 0;
	char amount[32];

	for (int kind = 0; kind < DRAW_KINDS; kind++) {
		if (!drawing->total[kind])
			continue;
		if (put++)
			fputs(fit && (put - 1) % fit ? "" : "\n", stdout);
		units_format(drawing->total[kind], amount, sizeof(amount));
		if (is_rich)
			printf("%s%s" RESET, looks[kind].colour, looks[kind].block);
		else
			putchar(looks[kind].letter);
		printf(" %-9s %-*s", draw_kind_name(kind), LEGEND - 12, amount);
	}
	putchar('\n');
}

void draw_term(const struct drawing *drawing)
{
	bool is_rich = has_colours() && has_utf8();
	char amount[32];

	units_format(drawing->cell_size, amount, sizeof(amount));
	putchar('\n');
	say_clean(stdout, drawing->name);
	printf(", by the place %s, %s a character:\n",
	       drawing->by == DRAW_BY_DISK ? "on the disk" : "in the file", amount);
	put_rows(drawing, is_rich);
	put_legend(drawing, is_rich);
}
