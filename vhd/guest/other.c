/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What cannot be looked into, known by the mark that it has at some place. A mark of two bytes is
 * not enough: there are other things at these places. What is at a volume's end must say that it
 * is there, as the disk and its last partition may end together.
 */
#include "vhd/guest/other.h"

#include <string.h>

#define HEAD (68u << 10)	/* bytes of the start in which most marks are */
#define TAIL (128u << 10)	/* and of the end */
#define MIB (1u << 20)

struct mark {
	uint32_t off;
	uint8_t len;
	const char *bytes, *name, *what;
};

/* The what of md, which is found in more places than one. */
#define MD_WHAT "part of a RAID (md)"

static const struct mark marks[] = {
	{ 0, 6, "LUKS\xba\xbe", "luks", "encrypted by LUKS" },
	{ 3, 8, "-FVE-FS-", "bitlocker", "encrypted by BitLocker" },
	/* For removable disks: FAT32 to whoever does not look at the GUID. */
	{ 424, 16, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01",
	  "bitlocker", "encrypted by BitLocker" },
	{ 3, 8, "ReFS\0\0\0\0", "refs", "ReFS" },
	{ 32, 4, "NXSB", "apfs", "APFS" },
	{ 4096 + 24, 16, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
	  "bcache", "part of a cache (bcache)" },
	{ 4096 + 24, 16, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
	  "bcachefs", "bcachefs" },
	{ 1024, 4, "\x10\x20\xf5\xf2", "f2fs", "F2FS" },
	{ 4096 + 1024, 4, "\x10\x20\xf5\xf2", "f2fs", "F2FS" },
	{ 0, 4, "hsqs", "squashfs", "squashfs" },
	{ 0, 4, "sqsh", "squashfs", "squashfs" },
	{ 0, 4, "\x45\x3d\xcd\x28", "cramfs", "cramfs" },
	{ 0, 8, "-rom1fs-", "romfs", "romfs" },
	{ 1024, 4, "\xe2\xe1\xf5\xe0", "erofs", "EROFS" },
	{ 65536 + 52, 8, "ReIsErFs", "reiserfs", "ReiserFS" },
	{ 65536 + 52, 9, "ReIsEr2Fs", "reiserfs", "ReiserFS" },
	{ 65536 + 52, 9, "ReIsEr3Fs", "reiserfs", "ReiserFS" },
	{ 8192 + 52, 8, "ReIsErFs", "reiserfs", "ReiserFS" },
	{ 65536, 7, "ReIsEr4", "reiser4", "Reiser4" },
	{ 32768, 4, "JFS1", "jfs", "JFS" },
	{ 65536, 4, "\x01\x16\x19\x70", "gfs2", "GFS2" },
	{ 1024, 6, "OCFSV2", "ocfs2", "OCFS2" },
	{ 2048, 6, "OCFSV2", "ocfs2", "OCFS2" },
	{ 4096, 6, "OCFSV2", "ocfs2", "OCFS2" },
	{ 8192, 6, "OCFSV2", "ocfs2", "OCFS2" },
	{ 8192 + 1372, 4, "\x54\x19\x01\x00", "ufs", "UFS" },
	{ 8192 + 1372, 4, "\x00\x01\x19\x54", "ufs", "UFS" },
	{ 65536 + 1372, 4, "\x19\x01\x54\x19", "ufs", "UFS" },
	{ 65536 + 1372, 4, "\x19\x54\x01\x19", "ufs", "UFS" },
	{ 8192, 4, "\x49\xe8\x95\xf9", "hpfs", "HPFS" },
	{ 0, 22, "bluestore block device", "ceph", "part of a storage cluster (Ceph)" },
	{ 32, 8, "ORCLDISK", "asm", "part of a storage pool (Oracle ASM)" },
	{ 0, 4, "HM\x01\0", "lvm1", "LVM of the first version" },
	{ 0, 8, "dmvdo001", "vdo", "VDO" },
	{ 0, 8, "integrt\0", "integrity", "a volume with checksums (dm-integrity)" },
	{ 0, 8, "verity\0\0", "verity", "a tree of checksums (dm-verity)" },
	{ 512 + 4, 16, "!Stra0tis\x86\xff\x02^\x41rh", "stratis",
	  "part of a storage pool (Stratis)" },
};

static bool tell(struct verdict *verdict, const char *name, const char *what)
{
	strcpy(verdict->filesystem, name);
	verdict_set(verdict, GUEST_UNSUPPORTED, "%s: cannot be looked into", what);
	return true;
}

static bool has_mark(const uint8_t *head, struct verdict *verdict)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (memcmp(head + marks[i].off, marks[i].bytes, marks[i].len) == 0)
			return tell(verdict, marks[i].name, marks[i].what);
	return false;
}

/* Where ext has how many inodes there are, so that two letters alone say nothing. */
static bool is_hfs(const uint8_t *p)
{
	uint32_t block;

	if (memcmp(p, "H+\0\x04", 4) == 0 || memcmp(p, "HX\0\x05", 4) == 0)
		block = be32(p + 40);
	else if (memcmp(p, "BD", 2) == 0)
		block = be32(p + 20);
	else
		return false;
	return block && block % 512 == 0 && block <= MIB;
}

static bool is_nilfs(const uint8_t *p)
{
	return le32(p) == 2 && le16(p + 6) == 0x3434 && le16(p + 8) >= 200 && le16(p + 8) <= 1024;
}

/* A recogniser of optical disks' and UDF's, in one of a row of sectors; NULL for none. */
static const char *optical(const uint8_t *head)
{
	const char *found = NULL;

	for (uint32_t off = 32768; off < 65536; off += 2048) {
		if (memcmp(head + off + 1, "NSR02", 5) == 0 ||
		    memcmp(head + off + 1, "NSR03", 5) == 0)
			return "udf";
		if (memcmp(head + off + 1, "CD001", 5) == 0)
			found = "iso9660";
	}
	return found;
}

/* md's block of version 1, which is at sector off / 512 of what it describes. */
static bool is_md(const uint8_t *p, uint64_t off)
{
	return le32(p) == 0xa92b4efc && le32(p + 4) == 1 && le64(p + 144) == off / 512;
}

/* That of version 0.90, in the order of bytes of its machine. */
static bool is_old_md(const uint8_t *p)
{
	return (le32(p) == 0xa92b4efc && !le32(p + 4) && le32(p + 8) >= 90 && le32(p + 8) <= 91) ||
	       (be32(p) == 0xa92b4efc && !be32(p + 4) && be32(p + 8) >= 90 && be32(p + 8) <= 91);
}

static bool is_in_head(const uint8_t *head, struct verdict *verdict)
{
	const char *disc = optical(head);

	if (has_mark(head, verdict))
		return true;
	if (is_hfs(head + 1024))
		return tell(verdict, "hfsplus", "HFS or HFS+");
	if (is_nilfs(head + 1024))
		return tell(verdict, "nilfs2", "NILFS2");
	if (is_md(head, 0) || is_md(head + 4096, 4096))
		return tell(verdict, "md", MD_WHAT);
	if (disc)
		return tell(verdict, disc, disc[0] == 'u' ? "UDF" : "ISO 9660");
	return false;
}

static bool is_drbd(const uint8_t *p)
{
	uint32_t magic = be32(p + 60);

	return magic == 0x83740267 || (magic >= 0x8374026b && magic <= 0x8374026d);
}

/* tail is the len bytes before the window's end, size. */
static bool is_in_tail(const uint8_t *tail, uint64_t len, uint64_t size, struct verdict *verdict)
{
	uint64_t begin = size - len, off = (size & ~65535ull) - 65536;

	if (off >= begin && off < size && is_old_md(tail + (off - begin)))
		return tell(verdict, "md", MD_WHAT);
	off = (size - 8192) & ~4095ull;
	if (off >= begin && off < size && is_md(tail + (off - begin), off))
		return tell(verdict, "md", MD_WHAT);
	if (is_drbd(tail + len - 4096))
		return tell(verdict, "drbd", "a copy of another machine's (DRBD)");
	if (memcmp(tail + len - 1024, "Intel Raid ISM Cfg Sig. ", 24) == 0)
		return tell(verdict, "isw", "part of a RAID (of Intel's firmware)");
	if (be32(tail + len - 512) == 0xde11de11)
		return tell(verdict, "ddf", "part of a RAID (of a firmware, DDF)");
	return false;
}

/* ZFS' label has a row of copies of its root; a few of them are no accident. */
static bool is_zfs(const uint8_t *p, size_t len)
{
	unsigned count = 0;

	for (size_t off = 0; off + 8 <= len; off += 1024)
		count += le64(p + off) == 0x00bab10c || be64(p + off) == 0x00bab10c;
	return count >= 4;
}

/* Both labels of its pool that are at the start; those at the end may be the disk's. */
static bool has_zfs(const struct window *window, uint8_t *buf)
{
	for (uint64_t label = 0; label <= 262144; label += 262144)
		if (!window_read(window, buf, 131072, label + 131072) && is_zfs(buf, 131072))
			return true;
	return false;
}

static bool has_vmfs(const struct window *window)
{
	uint8_t magic[4];

	return (!window_read(window, magic, 4, MIB) && le32(magic) == 0xc001d00d) ||
	       (!window_read(window, magic, 4, 2 * MIB) && le32(magic) == 0x2fabf15e);
}

bool other_recognise(const struct window *window, struct verdict *verdict)
{
	uint8_t buf[TAIL] = { 0 };
	uint64_t len = window->size < HEAD ? window->size : HEAD;

	if (window_read(window, buf, len, 0))
		return false;
	if (is_in_head(buf, verdict))
		return true;
	len = window->size < TAIL ? window->size : TAIL;
	if (len < 8192 || window_read(window, buf, len, window->size - len))
		return false;
	if (is_in_tail(buf, len, window->size, verdict))
		return true;
	if (has_zfs(window, buf))
		return tell(verdict, "zfs", "part of a storage pool (ZFS)");
	if (has_vmfs(window))
		return tell(verdict, "vmfs", "VMFS");
	return false;
}
