/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One filesystem's reader over a raw file, with nothing between: what it says of the filesystem,
 * and its free extents.
 *
 *	freemap READER FILE		"clean ext4 USED FREE: why", used and free in bytes
 *	freemap READER FILE list	that, and a line "START LEN" for each free extent
 *	freemap READER FILE fill	that, and overwrites every free byte with 0xAA
 *	freemap READER FILE zeros	that, and fails if a free byte is not zero; not of the last
 *					64 KiB, which are never taken for free (everything.c)
 *
 * Status 0 for clean, 1 for any other verdict, 2 for an error (and for "zeros", 3).
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/guest/fs.h"

static const struct fs_reader *const readers[] = {
	&fs_ext, &fs_ntfs, &fs_fat, &fs_exfat, &fs_xfs, &fs_btrfs, &fs_swap,
};

static const char *const states[] = {
	[GUEST_NOTHING] = "nothing", [GUEST_CLEAN] = "clean", [GUEST_UNCLEAN] = "unclean",
	[GUEST_HIBERNATED] = "hibernated", [GUEST_DAMAGED] = "damaged",
	[GUEST_UNSUPPORTED] = "unsupported",
};

#define TAIL (64u << 10)

static int file;

static int read_file(const struct window *window, void *buf, size_t len, uint64_t off)
{
	(void)window;
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(file, (char *)buf + done, len - done, (off_t)(off + done));

		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int fill(uint64_t off, uint64_t len)
{
	static char buf[1 << 20];

	memset(buf, 0xaa, sizeof(buf));
	while (len) {
		size_t n = len < sizeof(buf) ? (size_t)len : sizeof(buf);

		if (pwrite(file, buf, n, (off_t)off) != (ssize_t)n)
			return 2;
		off += n;
		len -= n;
	}
	return 0;
}

static int look_for_zeros(uint64_t off, uint64_t len)
{
	static char buf[1 << 20];

	while (len) {
		size_t n = len < sizeof(buf) ? (size_t)len : sizeof(buf);

		if (read_file(NULL, buf, n, off))
			return 2;
		for (size_t i = 0; i < n; i++) {
			if (buf[i]) {
				printf("byte %" PRIu64 " is free, and not zero\n", off + i);
				return 3;
			}
		}
		off += n;
		len -= n;
	}
	return 0;
}

static int each_extent(struct freemap *map, uint64_t size, const char *job)
{
	uint64_t off = 0, len;
	int status = 0;

	if (strcmp(job, "zeros") == 0)
		freemap_take_bytes(map, size > TAIL ? size - TAIL : 0, TAIL);

	for (; !status && freemap_next(map, off, &off, &len); off += len) {
		if (strcmp(job, "list") == 0)
			printf("%" PRIu64 " %" PRIu64 "\n", off, len);
		else if (strcmp(job, "fill") == 0)
			status = fill(off, len);
		else if (strcmp(job, "zeros") == 0)
			status = look_for_zeros(off, len);
	}
	return status;
}

static int look(const struct fs_reader *reader, const struct window *window, const char *job)
{
	struct verdict verdict = { 0 };
	struct freemap map = { 0 };
	uint64_t free_bytes = 0;
	int rc, status = 1;

	if (!reader->probe(window, &verdict)) {
		puts("no");
		return 1;
	}
	rc = reader->scan(window, &map, &verdict);
	if (rc) {
		printf("error: %s\n", strerror(-rc));
		status = 2;
	} else if (verdict.state == GUEST_CLEAN) {
		free_bytes = freemap_count(&map, 0, map.units) * map.unit;
		printf("clean %s %" PRIu64 " %" PRIu64 "\n", verdict.filesystem,
		       window->size - free_bytes, free_bytes);
		status = each_extent(&map, window->size, job);
	} else {
		printf("%s %s: %s\n", states[verdict.state], verdict.filesystem, verdict.why);
	}
	freemap_destroy(&map);
	return status;
}

int main(int argc, char **argv)
{
	const char *job = argc > 3 ? argv[3] : "";
	struct window window = { .read = read_file };

	if (argc < 3)
		return 2;
	file = open(argv[2], strcmp(job, "fill") ? O_RDONLY : O_RDWR);
	if (file < 0)
		return 2;
	window.size = (uint64_t)lseek(file, 0, SEEK_END);
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strcmp(readers[i]->name, argv[1]) == 0)
			return look(readers[i], &window, job);
	return 2;
}
