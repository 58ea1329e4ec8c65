/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What other_recognise says of a raw file: "NAME: why", or "no" and status 1. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#include "tests/guest/raw.h"
#include "vhd/guest/other.h"

int main(int argc, char **argv)
{
	static struct raw raw;
	struct verdict verdict = { 0 };
	struct window window;

	if (argc < 2 || raw_open(&raw, &window, argv[1], O_RDONLY))
		return 2;
	if (!other_recognise(&window, &verdict)) {
		puts("no");
		return 1;
	}
	assert(verdict.state == GUEST_UNSUPPORTED && verdict.why[0]);
	printf("%s: %s\n", verdict.filesystem, verdict.why);
	return 0;
}
