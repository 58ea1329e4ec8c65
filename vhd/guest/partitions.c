/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The partitions alone, as the table has them: what vhdfuse shows as files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vhd/guest/partitions.h"
#include "vhd/guest/wire.h"

static const char *const kinds[] = {
	[TABLE_NONE] = "none", [TABLE_MBR] = "mbr", [TABLE_GPT] = "gpt",
	[TABLE_DAMAGED] = "damaged", [TABLE_UNSUPPORTED] = "unsupported",
};

void partitions_tell(struct scan *scan, const struct table *table)
{
	struct guest_disk *info = &scan->info;

	snprintf(info->table, sizeof(info->table), "%s", kinds[table->kind]);
	snprintf(info->why, sizeof(info->why), "%s", table->why);
	info->state = table->kind == TABLE_DAMAGED ? GUEST_DAMAGED :
		      table->kind == TABLE_UNSUPPORTED ? GUEST_UNSUPPORTED : GUEST_CLEAN;
}

int partitions_add(struct scan *scan, const struct table_part *part)
{
	struct guest_volume *volume = scan_add_volume(scan);

	if (!volume)
		return -ENOMEM;
	volume->number = part->number;
	volume->start = part->start;
	volume->length = part->length;
	snprintf(volume->type, sizeof(volume->type), "%s", part->type);
	snprintf(volume->name, sizeof(volume->name), "%s", part->name);
	if (part->use == TABLE_EXTENDED)
		snprintf(volume->why, sizeof(volume->why), "holds the logical partitions");
	else if (part->use == TABLE_RESERVED)
		snprintf(volume->why, sizeof(volume->why), "reserved by its type");
	return 0;
}

int scan_table(struct scan *scan)
{
	struct table *table = malloc(sizeof(*table));
	int rc = table ? table_read(table, scan->disk) : -ENOMEM;

	if (!rc)
		partitions_tell(scan, table);
	for (size_t i = 0; !rc && i < table->len; i++)
		rc = partitions_add(scan, &table->parts[i]);
	free(table);
	return rc;
}

int guest_open_table(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
		     struct vhd_err *err)
{
	return guest_start(guest, img, opts, scan_table, err);
}
