/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why there is no mount. The words are those of libfuse 3.14 and its fusermount3, which are English
 * everywhere; tests/test-mount-user.sh holds them. Of other versions the words go through as they
 * are.
 */
#include "fs/explain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *words, *clause;
} known[] = {
	{ "only allowed if 'user_allow_other' is set",
	  "allow_other and allow_root are for root alone, unless /etc/fuse.conf, which root can "
	  "change, has the line user_allow_other" },
	{ "failed to open /dev/fuse: Permission denied",
	  "only root may use /dev/fuse here; chmod 666 /dev/fuse, by root, lets users mount" },
	{ "failed to exec fusermount3",
	  "fusermount3, by which users mount, cannot be run; it is in the package fuse3" },
	{ "mount failed: Operation not permitted",
	  "nobody may mount here: for users fusermount3 has to be setuid root, and a container "
	  "has to be given /dev/fuse and CAP_SYS_ADMIN" },
};

const char *explain_words(const char *words)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(words, known[i].words))
			return known[i].clause;
	return words;
}

const char *explain_mountpoint(int error, const char *mountpoint, char *buf, size_t size)
{
	if (error != ENOTCONN)
		return strerror(error);
	snprintf(buf, size, "the driver of what is mounted there was killed; vhdimg umount %s "
		 "clears it away", mountpoint);
	return buf;
}
