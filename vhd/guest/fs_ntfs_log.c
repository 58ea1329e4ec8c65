/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the restart pages at the head of $LogFile tell: whether the log has to be replayed.
 *
 * There are two pages, written in turn; the one with the higher sequence number counts. A log that
 * is all ones is empty, as ntfs-3g leaves it. Version 2 is what Windows 8 and newer make of the log
 * while they have the volume; a clean shutdown makes it version 1 again, so that in a volume at
 * rest it means that metadata are still in a memory: fast startup, hibernation, or a crash.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "vhd/guest/fs_ntfs.h"

#ifdef HAVE_NTFS

/* Two restart pages of the largest size; and as much of an empty log is looked at. */
#define HEAD (256u << 10)
#define PAGE_MAX (64u << 10)
#define NO_CLIENT 0xffffu
#define IS_CLEAN 0x0002u

struct restart {
	uint64_t lsn;
	uint32_t page;
	int version;
	bool is_clean;
};

/* Whether the page is whole, and what it says. It is changed: its sectors' ends are put back. */
static bool decode(uint8_t *page, uint32_t size, struct restart *restart)
{
	uint32_t area = le16(page + 24), client;

	if (memcmp(page, "RSTR", 4) && memcmp(page, "CHKD", 4))
		return false;
	if (le32(page + 16) != size || area % 8 || area < 32 || area > 512 - 64)
		return false;
	/* The library takes a wrong count for a wish to have nothing put back. */
	if (le16(page + 6) != size / 512 + 1 || le16(page + 4) + size / 512 * 2 + 2 > area)
		return false;
	if (ntfs_mst_post_read_fixup_warn((NTFS_RECORD *)(void *)page, size, FALSE))
		return false;
	client = le16(page + area + 12);
	restart->lsn = le64(page + area);
	restart->version = (int16_t)le16(page + 28);
	restart->is_clean = client == NO_CLIENT || (le16(page + area + 14) & IS_CLEAN);
	restart->page = size;
	return client == NO_CLIENT || client < le16(page + area + 8);
}

static bool is_empty(const uint8_t *head, size_t len)
{
	return head[0] == 0xff && memcmp(head, head + 1, len - 1) == 0;
}

/* The size of a page, or 0 if the head is too short for two of what it says. */
static uint32_t page_size(const uint8_t *head, size_t len)
{
	uint32_t size = le32(head + 16);

	if (size < 512 || size > PAGE_MAX || (size & (size - 1)) || 2 * (size_t)size > len)
		return 0;
	return size;
}

static int judge(uint8_t *head, size_t len, struct verdict *verdict)
{
	struct restart first, second;
	uint32_t size = page_size(head, len);
	bool is_clean;

	if (!size || !decode(head, size, &first) || !decode(head + size, size, &second))
		return verdict_set(verdict, GUEST_DAMAGED,
				   "a restart page of its log is not valid: " NTFS_CHKDSK);
	if (first.version >= 2 || second.version >= 2)
		return verdict_set(verdict, GUEST_HIBERNATED,
				   "Windows keeps a part of it in memory (fast startup, "
				   "hibernation or a crash): start Windows, and run "
				   "shutdown /s /t 0 in it");
	is_clean = first.lsn >= second.lsn ? first.is_clean : second.is_clean;
	if (first.lsn == second.lsn)
		is_clean = first.is_clean && second.is_clean;
	if (!is_clean)
		return verdict_set(verdict, GUEST_UNCLEAN,
				   "its log has to be replayed: start Windows and shut it down "
				   "cleanly");
	return 0;
}

static int read_head(struct ntfs *ntfs, ntfs_attr *log, struct verdict *verdict)
{
	s64 len = log->data_size < HEAD ? log->data_size : HEAD;
	uint8_t *head;
	int rc = 0;

	/* What is not stored reads as zeros, and those are no log at all. */
	if (len < 1024 || log->initialized_size < len)
		return verdict_set(verdict, GUEST_DAMAGED, "its log is too short: " NTFS_CHKDSK);
	head = malloc((size_t)len);
	if (!head)
		return -ENOMEM;
	if (ntfs_attr_pread(log, 0, len, head) != len)
		rc = ntfs_unread(ntfs, verdict, "its log");
	else if (!is_empty(head, (size_t)len))
		rc = judge(head, (size_t)len, verdict);
	free(head);
	return rc;
}

int ntfs_log_check(struct ntfs *ntfs, struct verdict *verdict)
{
	ntfs_inode *inode = ntfs_inode_open(ntfs->volume, FILE_LogFile);
	ntfs_attr *log = inode ? ntfs_attr_open(inode, AT_DATA, AT_UNNAMED, 0) : NULL;
	int rc;

	if (log)
		rc = read_head(ntfs, log, verdict);
	else
		rc = ntfs_unread(ntfs, verdict, "its log");
	if (log)
		ntfs_attr_close(log);
	if (inode)
		ntfs_inode_close(inode);
	return rc;
}

#endif
