/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is inside the disk, as the commands choose from it and tell of it. */
#ifndef TOOLS_VOLUMES_H
#define TOOLS_VOLUMES_H

#include <jansson.h>

#include "tools/cli.h"
#include "vhd/guest.h"

/* Starts looking into img's disk, as the command line has it. As guest_open. */
int volumes_open(struct guest **guest, struct cli *cli, vhd_image *img, guest_stop_fn stop,
		 void *stop_arg, struct vhd_err *err);

/* The free ranges of what is selected, for the engine; good as long as guest. */
struct vhd_free_map volumes_free_map(struct guest *guest);

/*
 * Selects what --only and --ignore say: partition numbers and names of filesystems, with commas
 * between them. 0, -errno, or STATUS_USAGE, said, for a word that nothing on the disk has.
 */
int volumes_select(struct guest *guest, struct cli *cli, bool *is_selected, struct vhd_err *err);

/* Whether something was left alone that could be served once mended. */
bool volumes_have_unclean(const struct guest *guest, const bool *is_selected);

/* "partition 2 (ext4)", "logical volume group/root (xfs)". */
void volumes_name(const struct guest_volume *volume, char *text, size_t size);

/* One line for each on stdout: used and free, or why it is left alone. is_selected NULL: all. */
void volumes_print(const struct guest *guest, const bool *is_selected);
/* What is left alone and could be served once mended, on stderr. */
void volumes_warn(const char *image, const struct guest *guest, const bool *is_selected);

/* "partitions" of info, and "skipped" of zero and shrink. NULL when out of memory. */
json_t *volumes_json(const struct guest *guest);
json_t *volumes_skipped_json(const struct guest *guest, const bool *is_selected);

#endif
