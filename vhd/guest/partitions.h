/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table's partitions as volumes. */
#ifndef VHD_GUEST_PARTITIONS_H
#define VHD_GUEST_PARTITIONS_H

#include "vhd/guest/scan.h"
#include "vhd/guest/table.h"

/* What the table is, for the disk as a whole. */
void partitions_tell(struct scan *scan, const struct table *table);
/* Adds part as a volume with no filesystem. 0 or -ENOMEM. */
int partitions_add(struct scan *scan, const struct table_part *part);

#endif
