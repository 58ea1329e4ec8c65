/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drawings that the command line asks for: which images, by what, how fine. */
#include "tools/picture.h"

#include <string.h>

#include "tools/cmd.h"
#include "tools/draw.h"

#define SIDE_BY_SIDE 2

static enum draw_by by(const struct cli *cli)
{
	const char *value = cli->value[CLI_BY];

	return value && strcmp(value, "disk") == 0 ? DRAW_BY_DISK : DRAW_BY_FILE;
}

int picture_term(const struct cli *cli, vhd_image *img, const char *name, struct vhd_err *err)
{
	struct drawing drawing;
	int rc = draw_begin(&drawing, img, name, by(cli), err);

	if (!rc)
		rc = draw_fill(&drawing, img, draw_cell_size(drawing.size, draw_term_cells()), err);
	if (!rc)
		draw_term(&drawing);
	draw_end(&drawing);
	return rc;
}

/* Opens image i and learns its size; the cells come when all sizes are known. */
static int begin(struct cli *cli, int i, struct drawing *drawing, vhd_image **img,
		 struct vhd_err *err)
{
	int rc = cmd_open(img, cli, cli->argv[i], cli_has(cli, CLI_FORCE_SHARE), err);

	return rc < 0 ? rc : draw_begin(drawing, *img, cli->argv[i], by(cli), err);
}

/* One size of cells for all, so that they can be compared by eye. */
static int fill(struct drawing *drawings, vhd_image **imgs, int count, size_t max_cells,
		struct vhd_err *err)
{
	uint64_t largest = 0, cell_size;
	int rc = 0;

	for (int i = 0; i < count; i++)
		if (drawings[i].size > largest)
			largest = drawings[i].size;
	cell_size = draw_cell_size(largest, max_cells);
	for (int i = 0; !rc && i < count; i++)
		rc = draw_fill(&drawings[i], imgs[i], cell_size, err);
	return rc;
}

static void draw(const struct cli *cli, const struct drawing *drawings, size_t count)
{
	if (cli_is_svg(cli)) {
		draw_svg(drawings, count);
		return;
	}
	for (size_t i = 0; i < count; i++)
		draw_term(&drawings[i]);
}

int picture_images(struct cli *cli, struct vhd_err *err)
{
	size_t max_cells = cli_is_svg(cli) ? draw_svg_cells() : draw_term_cells();
	struct drawing drawings[SIDE_BY_SIDE] = { 0 };
	vhd_image *imgs[SIDE_BY_SIDE] = { NULL };
	int rc = 0;

	if (cli->argc > SIDE_BY_SIDE)
		return cli_usage(cli->command, "a picture shows one image, or two side by side");
	for (int i = 0; !rc && i < cli->argc; i++)
		rc = begin(cli, i, &drawings[i], &imgs[i], err);
	if (!rc)
		rc = fill(drawings, imgs, cli->argc, max_cells, err);
	if (!rc)
		draw(cli, drawings, (size_t)cli->argc);
	for (int i = 0; i < cli->argc; i++) {
		draw_end(&drawings[i]);
		if (imgs[i])
			vhd_close(imgs[i], NULL);
	}
	return rc;
}
