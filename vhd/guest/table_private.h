/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the readers of partition tables share. */
#ifndef VHD_GUEST_TABLE_PRIVATE_H
#define VHD_GUEST_TABLE_PRIVATE_H

#include "vhd/guest/table.h"

#define TABLE_SECTOR 512u	/* of an MBR, whatever the disk's */
#define TABLE_HEAD 8192u	/* bytes of the disk's start; zeros past the end of a short one */

#define MBR_ENTRIES 446
#define MBR_GPT 0xee
#define MBR_LDM 0x42

struct mbr_entry {
	uint8_t status, type;
	uint64_t start, length;	/* bytes; length 0: unused */
};

struct mbr_entry mbr_entry(const uint8_t *sector, unsigned i);
bool mbr_has_magic(const uint8_t *sector);

/* Each fills table and returns 0 with a kind, or the error of the disk. */
int mbr_read(struct table *table, const struct window *disk, const uint8_t *head);
int gpt_read(struct table *table, const struct window *disk, const uint8_t *head);

/* The name of a table that is none of ours, if head has one; else NULL. */
const char *table_foreign(const uint8_t *head);

/* Stores kind and sentence in table, which then has no partitions; always 0, to be returned. */
int table_refuse(struct table *table, enum table_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A sentence about a table that is served; the first one stays. */
void table_warn(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* NULL when there are TABLE_MAX_PARTS already. */
struct table_part *table_add(struct table *table, unsigned number, uint64_t start, uint64_t length);
/* False when there are TABLE_MAX_OWN already. */
bool table_own(struct table *table, uint64_t off, uint64_t len);

#endif
