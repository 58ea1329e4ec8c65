/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Laying an image's blocks anew so that data is on 4 KiB. */
#ifndef VHD_ALIGN_H
#define VHD_ALIGN_H

#include "vhd/move.h"
#include "vhd/plan.h"

/*
 * Moves blocks until they are in the plan's places, in batches that are published. No slot may be
 * quarantined or pending. 0 also when the job was stopped or the host is full (move->full): then
 * blocks may lie behind where the file ended. Blocks.
 */
int align_all(struct move *move, const struct plan *plan, struct vhd_err *err);

#endif
