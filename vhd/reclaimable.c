/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What could be given back for certain, without reading any data: the blocks in which all that the
 * image owns is free. Blocks that read as zeros come on top, and to find them takes reading. Of a
 * differencing image nothing is certain: what its parents have there decides.
 */
#include "vhd/reclaim.h"

int vhd_reclaimable(vhd_image *img, const struct vhd_free_map *free, uint64_t *bytes,
		    struct vhd_err *err)
{
	const struct vhd_reclaim_opts opts = { .free = free, .dry_run = true };
	struct vhd_reclaim_result ignored;
	struct reclaim r;
	int rc = reclaim_begin(&r, img, &opts, &ignored, err);

	*bytes = 0;
	for (uint32_t blk = 0; !rc && !img->parent && blk < img->map.blocks; blk++) {
		bool is_idle = false;

		if (img->map.entry[blk] != FMT_UNUSED)
			rc = classify_is_idle(&r.scan, blk, &is_idle, err);
		*bytes += is_idle ? img->map.block_size : 0;
	}
	reclaim_end(&r);
	return rc;
}
