/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libblkid's opinion of what is in a window. It takes a descriptor and nothing else, so the places
 * where it looks are copied to a file in memory, which is as long as the window and else empty.
 */
#include "vhd/guest/veto.h"

#include "config.h"

#ifdef HAVE_BLKID

#include <blkid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define END (1u << 20)		/* bytes of the start, and of the end */
#define PLACE (256u << 10)	/* bytes of each other place */

/* At most len bytes at off; what lies past the end is passed over. */
static int copy(const struct window *window, int memfd, uint8_t *buf, uint64_t len, uint64_t off)
{
	int rc;

	if (off >= window->size)
		return 0;
	if (len > window->size - off)
		len = window->size - off;
	rc = window_read(window, buf, len, off);
	for (size_t done = 0; !rc && done < len;) {
		ssize_t n = pwrite(memfd, buf + done, len - done, (off_t)(off + done));

		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	return rc;
}

/* libblkid believes in an NTFS only when it has seen the first records of its master file table. */
static int copy_mft(const struct window *window, int memfd, uint8_t *buf)
{
	uint64_t off, cluster;
	int rc = window->size < 512 ? 0 : window_read(window, buf, 512, 0);

	if (rc || window->size < 512 || memcmp(buf + 3, "NTFS    ", 8) != 0)
		return rc;
	cluster = buf[13] <= 128 ? (uint64_t)le16(buf + 11) * buf[13] :
				   (uint64_t)le16(buf + 11) << (256 - buf[13]) % 32;
	if (__builtin_mul_overflow(le64(buf + 48), cluster, &off))
		return 0;
	return copy(window, memfd, buf, PLACE, off);
}

static int fill(const struct window *window, int memfd)
{
	static const uint64_t places[] = { 2u << 20, 4u << 20 };	/* VMFS, and more */
	uint8_t *buf = malloc(END);
	int rc = buf ? 0 : -ENOMEM;

	if (!rc && (ftruncate(memfd, 0) || ftruncate(memfd, (off_t)window->size)))
		rc = -errno;
	if (!rc)
		rc = copy(window, memfd, buf, END, 0);
	if (!rc && window->size > END)
		rc = copy(window, memfd, buf, END, window->size - END);
	for (size_t i = 0; !rc && i < sizeof(places) / sizeof(places[0]); i++)
		rc = copy(window, memfd, buf, PLACE, places[i]);
	if (!rc)
		rc = copy_mft(window, memfd, buf);
	free(buf);
	return rc;
}

/* Whether libblkid's name and ours are of the same family. */
static bool is_same(const char *theirs, const char *ours)
{
	static const struct {
		const char *theirs, *ours;	/* how the names begin */
	} families[] = {
		{ "ext", "ext" }, { "jbd", "ext" }, { "vfat", "fat" }, { "vfat", "vfat" },
		{ "swap", "swap" }, { "swsuspend", "swap" }, { "LVM2_member", "lvm2" },
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (strncmp(theirs, families[i].theirs, strlen(families[i].theirs)) == 0 &&
		    strncmp(ours, families[i].ours, strlen(families[i].ours)) == 0)
			return true;
	return strcmp(theirs, ours) == 0;
}

static void judge(blkid_probe probe, const char *filesystem, struct verdict *verdict)
{
	int rc = blkid_do_safeprobe(probe);
	const char *type = NULL;
	blkid_partlist parts;

	if (rc == -2) {
		verdict_set(verdict, GUEST_UNSUPPORTED,
			    "libblkid finds more than one filesystem in it");
		return;
	}
	if (rc < 0) {
		verdict_set(verdict, GUEST_UNSUPPORTED, "libblkid cannot tell what it is");
		return;
	}
	if (rc == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) == 0 &&
	    !is_same(type, filesystem)) {
		verdict_set(verdict, GUEST_UNSUPPORTED, "libblkid takes it for %.40s", type);
		return;
	}
	/* A boot sector that looks like a table, but has no partitions, is only that. */
	parts = blkid_probe_get_partitions(probe);
	if (parts && blkid_partlist_numof_partitions(parts) > 0)
		verdict_set(verdict, GUEST_UNSUPPORTED, "libblkid finds partitions in it");
}

static int ask(int memfd, const char *filesystem, struct verdict *verdict)
{
	blkid_probe probe = blkid_new_probe();

	if (!probe)
		return -ENOMEM;
	if (blkid_probe_set_device(probe, memfd, 0, 0) ||
	    blkid_probe_enable_superblocks(probe, 1) ||
	    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE) ||
	    blkid_probe_enable_partitions(probe, 1)) {
		blkid_free_probe(probe);
		return -ENOMEM;
	}
	judge(probe, filesystem, verdict);
	blkid_free_probe(probe);
	return 0;
}

int veto_ask(const struct window *window, int memfd, const char *filesystem,
	     struct verdict *verdict)
{
	int rc;

	if (memfd < 0 || !window->size)
		return 0;
	rc = fill(window, memfd);
	if (!rc)
		rc = ask(memfd, filesystem, verdict);
	if (ftruncate(memfd, 0) && !rc)
		rc = -errno;
	return rc;
}

#else

int veto_ask(const struct window *window, int memfd, const char *filesystem,
	     struct verdict *verdict)
{
	(void)window;
	(void)memfd;
	(void)filesystem;
	(void)verdict;
	return 0;
}

#endif
