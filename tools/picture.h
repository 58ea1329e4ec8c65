/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The drawings that the command line asks for. */
#ifndef TOOLS_PICTURE_H
#define TOOLS_PICTURE_H

#include "tools/cli.h"

/* Draws img on the terminal that stdout is. 0 or -errno. */
int picture_term(const struct cli *cli, vhd_image *img, const char *name, struct vhd_err *err);

/* Draws all images of the command line, one or two, at one scale on stdout: as an SVG, or in
 * characters, one below the other. Nothing is written unless all could be looked at. An exit
 * status, or -errno. */
int picture_images(struct cli *cli, struct vhd_err *err);

#endif
