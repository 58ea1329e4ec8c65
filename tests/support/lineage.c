/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chains of images that lie in memory: linked by hand, by the engine's own steps of opening. */
#include "tests/support/lineage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/image.h"

int lineage_open(vhd_image **img, struct vhd_io *io, struct mem_file *const *parents,
		 const struct vhd_open_opts *opts, struct vhd_err *err)
{
	static const struct vhd_open_opts defaults, readonly = { .is_readonly = true };
	int rc;

	opts = opts ? opts : &defaults;
	if (!parents || !*parents)
		return vhd_open_io(img, io, "lineage.vhd", opts, err);
	rc = image_load(img, io, "lineage.vhd", opts, err);
	if (rc)
		return rc;
	rc = lineage_open(&(*img)->parent, mem_open(*parents), parents + 1, &readonly, err);
	if (rc)
		(*img)->parent = NULL;
	if (!rc && !opts->is_readonly)
		rc = image_start_writing(*img, err);
	if (rc)
		image_free(*img);
	return rc;
}

static struct oracle *open_one(struct mem_file *file)
{
	const char *why;
	struct oracle *o = oracle_open_mem(file, &why);

	if (!o) {
		fprintf(stderr, "lineage: %s\n", why);
		abort();
	}
	return o;
}

void lineage_read(struct lineage *l, struct mem_file *top, struct mem_file *const *parents)
{
	struct oracle *child;

	memset(l, 0, sizeof(*l));
	l->top = child = open_one(top);
	for (unsigned i = 0; parents && parents[i] && i < LINEAGE_MAX; i++) {
		l->parents[i] = open_one(parents[i]);
		oracle_set_parent(child, l->parents[i]);
		child = l->parents[i];
	}
}

void lineage_close(struct lineage *l)
{
	oracle_close(l->top);
	for (unsigned i = 0; i < LINEAGE_MAX; i++)
		oracle_close(l->parents[i]);
}
