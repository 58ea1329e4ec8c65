/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zero, compact and shrink: one job on one image, run and told of in the same way. */
#ifndef TOOLS_RECLAIM_H
#define TOOLS_RECLAIM_H

#include "tools/cli.h"
#include "tools/stay.h"
#include "vhd/guest.h"

struct reclaim;

/* What a command does once everything is open. 0 or -errno. */
typedef int (*reclaim_fn)(struct reclaim *job, struct vhd_err *err);

struct reclaim_verb {
	reclaim_fn run;
	bool has_guest;		/* looks into the disk */
	bool takes_raw;		/* serves images that are no VHD */
	bool has_stay;		/* a dry run tells why blocks stay */
	bool takes_out;		/* the second argument is a file to make */
	bool is_whole;		/* makes a file of all that the chain has: there is no gain */
	bool has_parent;	/* writes to the image's parent as well */
	const char *nothing;	/* why nothing was gained; NULL: for want of zeros */
	bool is_in_file;	/* its gain is in the file's length; else in the host's room */
};

struct reclaim {
	struct cli *cli;
	const struct reclaim_verb *verb;
	const char *image;
	unsigned min_gain;	/* percent of the file: below that the image is left alone */
	bool is_spared;		/* it was */
	const char *out;	/* the copy that is written instead, and not the image; or NULL */
	vhd_image *img;
	struct guest *guest;	/* NULL unless the verb has one */
	bool *is_selected;	/* of the guest's volumes */
	struct vhd_free_map free_map;	/* of the guest */
	struct stay stay;	/* of a dry run, where the verb has it */
	struct vhd_reclaim_opts opts;
	struct vhd_reclaim_result result;
};

/* Serves image from opening to the closing line. An exit status, or -errno with err filled. */
int reclaim(struct cli *cli, const char *image, const struct reclaim_verb *verb,
	    struct vhd_err *err);

#endif
