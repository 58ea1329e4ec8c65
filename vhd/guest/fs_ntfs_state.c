/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flags of $Volume, and the file in which a hibernated Windows sleeps.
 *
 * That file is sought by reading the whole root folder: NTFS can have names that differ in case
 * only, and whichever of them holds a system counts.
 */
#include "config.h"

#include <string.h>

#include "vhd/guest/fs_ntfs.h"

#ifdef HAVE_NTFS

/* Dirty; to be upgraded by the next mount; chkdsk under way; changed by chkdsk. */
#define UNCLEAN_FLAGS 0xc005u
#define PAGE 4096
#define FOUND_MAX 8

struct found {
	unsigned count;
	MFT_REF files[FOUND_MAX];
};

int ntfs_flags_check(struct ntfs *ntfs, struct verdict *verdict)
{
	unsigned flags = ntfs->volume->flags;

	if (!(flags & UNCLEAN_FLAGS))
		return 0;
	return verdict_set(verdict, GUEST_UNCLEAN,
			   "it is marked as dirty (flags %#06x): " NTFS_CHKDSK, flags);
}

static bool is_hiberfile(const uint8_t *name, int len)
{
	static const char wanted[] = "hiberfil.sys";

	if (len != (int)sizeof(wanted) - 1)
		return false;
	for (int i = 0; i < len; i++) {
		unsigned c = le16(name + 2 * i);

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (c != (unsigned char)wanted[i])
			return false;
	}
	return true;
}

/* Each name in the root folder; an error only when there are more than anyone means to have. */
static int each_name(void *arg, const ntfschar *name, const int len, const int name_type,
		     const s64 pos, const MFT_REF file, const unsigned type)
{
	struct found *found = arg;

	(void)name_type;
	(void)pos;
	(void)type;
	if (!is_hiberfile((const uint8_t *)name, len))
		return 0;
	if (found->count == FOUND_MAX)
		return -1;
	found->files[found->count++] = file;
	return 0;
}

/* An index of more than the volume's size would have the library walk for ever. */
static bool is_bounded(struct ntfs *ntfs, ntfs_inode *root, ATTR_TYPES type)
{
	uint64_t limit = ntfs->boot.clusters * ntfs->boot.cluster;
	ntfs_attr *attr = ntfs_attr_open(root, type, NTFS_INDEX_I30, 4);
	bool is_small;

	if (!attr)
		return errno == ENOENT;		/* a small folder has none */
	is_small = attr->data_size >= 0 && (uint64_t)attr->data_size <= limit;
	ntfs_attr_close(attr);
	return is_small;
}

static int find(struct ntfs *ntfs, struct found *found, struct verdict *verdict)
{
	ntfs_inode *root = ntfs_inode_open(ntfs->volume, FILE_root);
	s64 pos = 0;
	int rc = 0;

	if (!root || !is_bounded(ntfs, root, AT_INDEX_ALLOCATION) ||
	    !is_bounded(ntfs, root, AT_BITMAP) || ntfs_readdir(root, &pos, found, each_name))
		rc = ntfs_unread(ntfs, verdict, "its root folder");
	if (root)
		ntfs_inode_close(root);
	return rc;
}

/* All zero or "wake": Windows was resumed from it. Whatever else: a system may sleep there. */
static bool is_awake(const uint8_t *page)
{
	if (memcmp(page, "wake", 4) == 0 || memcmp(page, "WAKE", 4) == 0)
		return true;
	return !page[0] && memcmp(page, page + 1, PAGE - 1) == 0;
}

static int look_into(struct ntfs *ntfs, ntfs_inode *inode, struct verdict *verdict)
{
	ntfs_attr *data = ntfs_attr_open(inode, AT_DATA, AT_UNNAMED, 0);
	uint8_t page[PAGE];
	bool is_readable;

	if (!data && errno != ENOENT)
		return ntfs_unread(ntfs, verdict, "its hiberfil.sys");
	/* Windows never compresses it; and reading that much of it needs no decompressor. */
	is_readable = data && !NAttrCompressed(data) && !NAttrEncrypted(data) &&
		      ntfs_attr_pread(data, 0, PAGE, page) == PAGE;
	if (data)
		ntfs_attr_close(data);
	if (ntfs->rc)
		return ntfs->rc;
	if (is_readable && is_awake(page))
		return 0;
	return verdict_set(verdict, GUEST_HIBERNATED, "a hibernated Windows %s its hiberfil.sys: "
			   "start it, and run shutdown /s /t 0 in it",
			   is_readable && strncasecmp((char *)page, "hibr", 4) == 0 ?
			   "sleeps in" : "may sleep in");
}

int ntfs_hiberfile_check(struct ntfs *ntfs, struct verdict *verdict)
{
	struct found found = { 0 };
	int rc = find(ntfs, &found, verdict);

	for (unsigned i = 0; !rc && verdict->state == GUEST_NOTHING && i < found.count; i++) {
		ntfs_inode *inode = ntfs_inode_open(ntfs->volume, found.files[i]);

		if (!inode)
			return ntfs_unread(ntfs, verdict, "its hiberfil.sys");
		rc = look_into(ntfs, inode, verdict);
		ntfs_inode_close(inode);
	}
	return rc;
}

#endif
