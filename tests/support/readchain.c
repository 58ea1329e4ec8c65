/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the second reader finds on the disk of a chain, as a raw file for shell tests:
 *
 *	readchain OUT IMAGE [PARENT...]		each PARENT is that of the image before it
 *
 * Status 1, with the reason, when an image cannot be read, is damaged, or is not the child of the
 * next one by its unique id.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/oracle.h"

#define CHUNK 65536u

static int complain(const char *name, const char *why)
{
	fprintf(stderr, "readchain: %s: %s\n", name, why);
	return EXIT_FAILURE;
}

static int write_disk(const struct oracle *o, const char *name)
{
	static uint8_t buf[CHUNK];
	uint64_t size = oracle_size(o);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)size))
		return complain(name, "cannot be made");
	for (uint64_t off = 0; off < size; off += CHUNK) {
		size_t n = size - off < CHUNK ? (size_t)(size - off) : CHUNK;

		oracle_read(o, buf, n, off);
		if (!buf[0] && !memcmp(buf, buf + 1, n - 1))
			continue;	/* a hole */
		if (pwrite(fd, buf, n, (off_t)off) != (ssize_t)n)
			return complain(name, "cannot be written");
	}
	return close(fd) ? complain(name, "cannot be written") : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct oracle *first = NULL, *child = NULL;
	int status;

	if (argc < 3)
		return complain("usage", "readchain OUT IMAGE [PARENT...]");
	for (int i = 2; i < argc; i++) {
		struct oracle_result result;
		const char *why;
		struct oracle *o = oracle_open_path(argv[i], &why);

		if (!o)
			return complain(argv[i], why);
		oracle_check(o, &result);
		if (result.errors)
			return complain(argv[i], result.first);
		if (child && memcmp(oracle_parent_uuid(child), oracle_uuid(o), 16) != 0)
			return complain(argv[i], "is not the parent of the one before");
		if (child)
			oracle_set_parent(child, o);
		else
			first = o;
		child = o;
	}
	status = write_disk(first, argv[1]);
	for (; first; first = child) {
		child = oracle_parent(first);
		oracle_close(first);
	}
	return status;
}
