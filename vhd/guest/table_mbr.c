/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The MBR, and the chain of logical partitions: each has a sector of its own before it, an EBR,
 * with its place relative to that sector and the next EBR's relative to the extended partition.
 */
#include <stdio.h>
#include <string.h>

#include "vhd/guest/table_private.h"

struct mbr_entry mbr_entry(const uint8_t *sector, unsigned i)
{
	const uint8_t *p = sector + MBR_ENTRIES + 16 * i;

	return (struct mbr_entry){
		.status = p[0], .type = p[4],
		.start = (uint64_t)le32(p + 8) * TABLE_SECTOR,
		.length = (uint64_t)le32(p + 12) * TABLE_SECTOR,
	};
}

bool mbr_has_magic(const uint8_t *sector)
{
	return sector[510] == 0x55 && sector[511] == 0xaa;
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Unixware, the BSDs, Solaris: a table of their own in the partition, that may reach out of it. */
static bool has_own_table(uint8_t type)
{
	return type == 0x63 || type == 0xa5 || type == 0xa6 || type == 0xa9 || type == 0xbf;
}

/* PReP's loader, and what Intel's firmware puts a sleeping machine's memory in. */
static bool is_reserved(uint8_t type)
{
	return type == 0x41 || type == 0x84;
}

static int add(struct table *table, unsigned number, const struct mbr_entry *entry, uint64_t start)
{
	struct table_part *part = table_add(table, number, start, entry->length);

	if (!part)
		return table_refuse(table, TABLE_UNSUPPORTED, "there are more than %d partitions",
				    TABLE_MAX_PARTS);
	snprintf(part->type, sizeof(part->type), "0x%02x", entry->type);
	if (is_extended(entry->type))
		part->use = TABLE_EXTENDED;
	else if (is_reserved(entry->type))
		part->use = TABLE_RESERVED;
	if (has_own_table(entry->type))
		table->has_gaps = false;
	return 0;
}

static bool is_within(const struct mbr_entry *extended, uint64_t start, uint64_t length)
{
	return start >= extended->start && start - extended->start <= extended->length &&
	       length <= extended->length - (start - extended->start);
}

static bool was_there(const struct table *table, uint64_t at)
{
	for (size_t i = 0; i < table->own_len; i++)
		if (table->own[i].off == at)
			return true;
	return false;
}

/* The EBR at `at`: 1 when it was read into sector, 0 with the table's verdict or for no chain. */
static int read_ebr(struct table *table, const struct window *disk,
		    const struct mbr_entry *extended, uint64_t at, uint8_t *sector)
{
	static const uint8_t zeros[TABLE_SECTOR];
	int rc;

	if (!is_within(extended, at, TABLE_SECTOR) || at + TABLE_SECTOR > disk->size)
		return table_refuse(table, TABLE_DAMAGED,
				    "the chain of logical partitions leaves the extended one");
	if (was_there(table, at))
		return table_refuse(table, TABLE_DAMAGED,
				    "the chain of logical partitions runs in a circle");
	rc = window_read(disk, sector, TABLE_SECTOR, at);
	if (rc)
		return rc;
	if (!table_own(table, at, TABLE_SECTOR))
		return table_refuse(table, TABLE_UNSUPPORTED, "there are more than %d partitions",
				    TABLE_MAX_PARTS);
	if (at == extended->start && memcmp(sector, zeros, sizeof(zeros)) == 0)
		return 0;
	if (!mbr_has_magic(sector))
		return table_refuse(table, TABLE_DAMAGED,
				    "the chain of logical partitions is broken");
	return 1;
}

/*
 * What the EBR at `at` says: its logical partition if there is one, and where the next EBR is.
 * 1 when there is a next one. The two other entries are used by nobody, and would be a third's
 * partition or garbage.
 */
static int take_ebr(struct table *table, const struct mbr_entry *extended, const uint8_t *sector,
		    uint64_t *at, unsigned *number)
{
	bool has_next = false, has_data = false;
	uint64_t next = 0;

	for (unsigned i = 0; i < 4; i++) {
		struct mbr_entry entry = mbr_entry(sector, i);

		if (!entry.length)
			continue;
		if (i > 1 || (is_extended(entry.type) ? has_next : has_data))
			return table_refuse(table, TABLE_DAMAGED,
					    "the sector before partition %u has one entry too many",
					    *number);
		if (is_extended(entry.type)) {
			has_next = true;
			next = extended->start + entry.start;
			continue;
		}
		has_data = true;
		if (!is_within(extended, *at + entry.start, entry.length))
			return table_refuse(table, TABLE_DAMAGED,
					    "partition %u reaches out of the extended one",
					    *number);
		add(table, (*number)++, &entry, *at + entry.start);
	}
	*at = next;
	return has_next && table->kind == TABLE_MBR;
}

static int read_chain(struct table *table, const struct window *disk,
		      const struct mbr_entry *extended, unsigned *number)
{
	uint8_t sector[TABLE_SECTOR];
	uint64_t at = extended->start;
	int rc;

	do {
		rc = read_ebr(table, disk, extended, at, sector);
		if (rc > 0)
			rc = take_ebr(table, extended, sector, &at, number);
	} while (rc > 0);
	return rc;
}

static bool is_empty(const uint8_t *head)
{
	for (unsigned i = 0; i < 4; i++)
		if (mbr_entry(head, i).length)
			return false;
	return true;
}

int mbr_read(struct table *table, const struct window *disk, const uint8_t *head)
{
	unsigned logical = 5;
	int rc = 0;

	if (is_empty(head))
		return 0;
	table->kind = TABLE_MBR;
	table->has_gaps = !table->why[0];
	table_own(table, 0, TABLE_SECTOR);
	for (unsigned i = 0; i < 4 && !rc && table->kind == TABLE_MBR; i++) {
		struct mbr_entry entry = mbr_entry(head, i);

		if (entry.type == MBR_LDM && entry.length)
			return table_refuse(table, TABLE_UNSUPPORTED,
					    "a dynamic disk of Windows (LDM): not looked into");
		if (entry.length)
			add(table, i + 1, &entry, entry.start);
		if (entry.length && is_extended(entry.type))
			rc = read_chain(table, disk, &entry, &logical);
	}
	return rc;
}
