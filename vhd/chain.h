/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parents of a differencing image: where they may be, which one is right. */
#ifndef VHD_CHAIN_H
#define VHD_CHAIN_H

#include "vhd/image.h"

#define CHAIN_MAX_DEPTH 64

/* The images between the one that the user named and the one being opened, for cycles and depth. */
struct chain_link {
	const struct chain_link *child;	/* NULL for the one the user named */
	struct vhd_io_stat st;
	unsigned depth;
};

/*
 * Finds and opens the parent of img (footer, header, io and name are set), read-only, locked unless
 * opts say otherwise, and stores it in img->parent; its own parents come with it. link is img's own
 * place in the chain. opts->parent is tried alone when given, for this image only.
 * -ENOENT (naming the files tried), -EILSEQ (another unique id), -ELOOP. Blocks.
 */
int chain_open_parent(struct vhd_image *img, const struct vhd_open_opts *opts,
		      const struct chain_link *link, struct vhd_err *err);

/*
 * The unique id that the parent of child gets when child is merged into it. It follows from what
 * the two are, so that a power failure after the parent has it and before child names it can be
 * told from a stranger at the parent's place.
 */
void chain_next_id(const struct vhd_image *child, uint8_t id[16]);

/* The same, but for the opening: stores the path of the file that is the parent, the caller's to
 * free, whatever may be wrong with that beside its id, and with those behind it. */
int chain_find_parent(struct vhd_image *img, const struct vhd_open_opts *opts,
		      const struct chain_link *link, char **path, struct vhd_err *err);

/* The parent's name as the header has it, as UTF-8; unpaired surrogates as U+FFFD. */
void chain_parent_name(const struct fmt_header *header, char *buf, size_t len);

/* image.c: vhd_open for a member of a chain; child is the link of the image that asks. */
int image_open_link(struct vhd_image **img, const char *path, const struct vhd_open_opts *opts,
		    const struct chain_link *child, struct vhd_err *err);

#endif
