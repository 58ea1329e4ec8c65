/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of images that lie in memory, where no name leads from a child to its parent. */
#ifndef TESTS_SUPPORT_LINEAGE_H
#define TESTS_SUPPORT_LINEAGE_H

#include "tests/support/io_mem.h"
#include "tests/support/oracle.h"
#include "vhd/vhd.h"

/*
 * Opens the image over io as vhd_open_io would, with parents[0] as its parent, parents[1] as that
 * one's, and so on up to NULL; parents may be NULL: none. io is the image's, also on failure.
 */
int lineage_open(vhd_image **img, struct vhd_io *io, struct mem_file *const *parents,
		 const struct vhd_open_opts *opts, struct vhd_err *err);

/* The same to the second reader; aborts when one of them cannot be read. Ended by lineage_close. */
#define LINEAGE_MAX 16
struct lineage {
	struct oracle *top;
	struct oracle *parents[LINEAGE_MAX];
};
void lineage_read(struct lineage *l, struct mem_file *top, struct mem_file *const *parents);
void lineage_close(struct lineage *l);

#endif
