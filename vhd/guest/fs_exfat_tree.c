/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directories of exFAT: who has which clusters.
 *
 * Every entry set's checksum is verified, and every chain followed to its end: unlike FAT's, the
 * table says nothing of most clusters, so it cannot be judged by itself.
 */
#include "vhd/guest/fs_exfat_private.h"

#include <string.h>

#define BITMAP 0x81
#define UPCASE 0x82
#define LABEL 0x83
#define FILE_SET 0x85
#define GUID 0xa0
#define STREAM 0xc0
#define NAME 0xc1

#define IS_USED 0x80u
#define IS_SECONDARY 0x40u
#define IS_BENIGN 0x20u		/* who does not know it may pass over it */

#define MAX_SET 19		/* entries: a file's, its stream's, and up to 17 more */
#define NAME_PART 15u		/* characters in one of them */
#define MAX_DIR (256u << 20)	/* bytes */
#define ATTR_DIR 0x10

#define IS_SECOND 1u		/* flag of a bitmap: TexFAT's other one */

#define HAS_CLUSTERS 1u		/* flags of an entry that may have some */
#define IS_CONTIGUOUS 2u

static int damaged(struct exfat *x, const char *what)
{
	return fat_refuse(x->vol.verdict, GUEST_DAMAGED, "%s", what);
}

/* The chain from first on; of want clusters, if that is known already. */
static int claim_chain(struct exfat *x, uint32_t first, uint32_t want, struct fat_dir *chain)
{
	uint32_t at = first;
	int rc = 0;

	*chain = (struct fat_dir){ .first = first };
	do {
		rc = fat_claim(&x->vol, at, 1);
		chain->clusters++;
		if (!rc)
			rc = fat_next(&x->vol, at, &at);
	} while (!rc && at);
	if (!rc && want && chain->clusters != want)
		rc = damaged(x, "a file's chain of clusters is not as long as the file");
	return rc;
}

/* What an entry has whose first cluster and length are at 20 and 24, as in all that have any. */
static int claim(struct exfat *x, const uint8_t *entry, unsigned flags, struct fat_dir *chain)
{
	uint32_t first = le32(entry + 20);
	uint64_t len = le64(entry + 24), count = fat_round_up(len, x->vol.unit);

	*chain = (struct fat_dir){ 0 };
	if (!len && !first)
		return 0;
	if (!len || !(flags & HAS_CLUSTERS) || count > x->vol.clusters)
		return damaged(x, "a file's length and its clusters contradict each other");
	if (!(flags & IS_CONTIGUOUS))
		return claim_chain(x, first, (uint32_t)count, chain);
	*chain = (struct fat_dir){ first, (uint32_t)count, true };
	return fat_claim(&x->vol, first, count);
}

/* The bitmap or the table of capital letters. */
static int add_part(struct exfat *x, const uint8_t *entry, struct exfat_part *part)
{
	if (part->chain.clusters || (entry[0] == BITMAP && entry[1] & IS_SECOND))
		return damaged(x, "its root has two bitmaps, or two tables of capital letters");
	part->len = le64(entry + 24);
	part->sum = le32(entry + 4);
	return claim(x, entry, HAS_CLUSTERS, &part->chain);
}

static uint16_t sum_of_set(const uint8_t *set, size_t len)
{
	uint16_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i != 2 && i != 3)	/* where the sum itself is */
			sum = (uint16_t)((sum << 15 | sum >> 1) + set[i]);
	return sum;
}

/* The entries behind the stream's: the name, and then what may be passed over. */
static int check_rest(struct exfat *x, const uint8_t *entry, unsigned count, unsigned names)
{
	struct fat_dir chain;
	int rc = 0;

	if (names > count)
		return damaged(x, "a file's name is not as long as it says");
	for (unsigned i = 0; !rc && i < count; i++, entry += FAT_ENTRY) {
		bool is_name = entry[0] == NAME;

		if (is_name != (i < names))
			rc = damaged(x, "a file's name is not as long as it says");
		else if (!is_name && !(entry[0] & IS_BENIGN))
			rc = fat_refuse(x->vol.verdict, GUEST_UNSUPPORTED,
					"a file has something of a kind that is not known");
		else if (!is_name && entry[1] & HAS_CLUSTERS)
			rc = claim(x, entry, entry[1], &chain);
	}
	return rc;
}

static int add_file(struct exfat *x, const uint8_t *set, unsigned count)
{
	const uint8_t *stream = set + FAT_ENTRY;
	uint64_t len = le64(stream + 24);
	bool is_dir = le16(set + 4) & ATTR_DIR;
	struct fat_dir chain;
	int rc;

	if (sum_of_set(set, count * FAT_ENTRY) != le16(set + 2))
		return damaged(x, "a file's entry does not match its checksum");
	if (stream[0] != STREAM || !stream[3] || le64(stream + 8) > len ||
	    (is_dir && (len > MAX_DIR || len % x->vol.unit || le64(stream + 8) != len)))
		return damaged(x, "a file's entry makes no sense");
	rc = check_rest(x, stream + FAT_ENTRY, count - 2,
			(unsigned)fat_round_up(stream[3], NAME_PART));
	if (!rc)
		rc = claim(x, stream, stream[1], &chain);
	return rc || !is_dir || !chain.clusters ? rc : fat_push(&x->vol, &chain);
}

/* The set that begins with the entry. */
static int read_set(struct exfat *x, const uint8_t *entry)
{
	uint8_t set[MAX_SET * FAT_ENTRY];
	unsigned count = entry[1] + 1u;
	int rc;

	if (count < 3 || count > MAX_SET)
		return damaged(x, "a file's entry makes no sense");
	memcpy(set, entry, FAT_ENTRY);
	for (unsigned i = 1; i < count; i++) {
		rc = fat_dir_entry(&x->vol, &entry);
		if (rc)
			return rc;
		if (!entry || !(entry[0] & IS_USED) || !(entry[0] & IS_SECONDARY))
			return damaged(x, "a file's entry is cut short");
		memcpy(set + i * FAT_ENTRY, entry, FAT_ENTRY);
	}
	return add_file(x, set, count);
}

static int read_root_entry(struct exfat *x, const uint8_t *entry)
{
	switch (entry[0]) {
	case BITMAP:
		return add_part(x, entry, &x->bitmap);
	case UPCASE:
		return add_part(x, entry, &x->upcase);
	case LABEL:
		return 0;
	case GUID:
		if (!entry[1] && sum_of_set(entry, FAT_ENTRY) == le16(entry + 2))
			return 0;
		return damaged(x, "the entry of its id does not match its checksum");
	}
	return fat_refuse(x->vol.verdict, GUEST_UNSUPPORTED,
			  "its root has an entry of a kind that is not known (%02x)", entry[0]);
}

static int read_dir(struct exfat *x, const struct fat_dir *dir, bool is_root)
{
	const uint8_t *entry;
	int rc = 0;

	fat_begin(&x->vol, dir);
	while (!rc) {
		rc = fat_dir_entry(&x->vol, &entry);
		if (rc || !entry || !entry[0])
			break;
		if (entry[0] == FILE_SET)
			rc = read_set(x, entry);
		else if (entry[0] & IS_USED && is_root)
			rc = read_root_entry(x, entry);
		else if (entry[0] & IS_USED)
			rc = damaged(x, "a directory has an entry that is no file's");
	}
	return rc;
}

int exfat_read_tree(struct exfat *x)
{
	struct fat_dir dir;
	int rc = claim_chain(x, x->root, 0, &dir);

	if (!rc)
		rc = read_dir(x, &dir, true);
	while (!rc && fat_pop(&x->vol, &dir))
		rc = read_dir(x, &dir, false);
	return rc;
}
