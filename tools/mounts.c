/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading /proc/self/mountinfo. */
#include "tools/mounts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mounts_open(struct mounts *mounts)
{
	*mounts = (struct mounts){ .file = fopen("/proc/self/mountinfo", "re") };
	return mounts->file ? 0 : -errno;
}

void mounts_close(struct mounts *mounts)
{
	fclose(mounts->file);
	free(mounts->line);
}

static int is_octal(const char *digits)
{
	return digits[0] >= '0' && digits[0] <= '3' && digits[1] >= '0' && digits[1] <= '7' &&
	       digits[2] >= '0' && digits[2] <= '7';
}

/* The kernel writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (*from == '\\' && is_octal(from + 1)) {
			*to = (from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0');
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* "36 35 0:57 / /mnt/x rw,nosuid shared:1 - fuse.vhdfuse disk.vhd rw,user_id=0,group_id=0" */
static int parse(char *line, struct mount *mount)
{
	char *fields[6], *save, *source, *options, *user;

	for (int i = 0; i < 6; i++) {
		fields[i] = strtok_r(i ? NULL : line, " \n", &save);
		if (!fields[i])
			return 0;
	}
	if (sscanf(fields[2], "%u:%u", &mount->major, &mount->minor) != 2)
		return 0;
	mount->point = fields[4];
	unescape(mount->point);
	for (options = fields[5]; options && strcmp(options, "-") != 0;)
		options = strtok_r(NULL, " \n", &save);
	mount->type = strtok_r(NULL, " \n", &save);
	source = strtok_r(NULL, " \n", &save);
	options = strtok_r(NULL, " \n", &save);
	/* An empty source leaves two spaces together, which strtok takes for one. */
	if (!options)
		options = source;
	user = options ? strstr(options, "user_id=") : NULL;
	mount->user = user ? strtoul(user + strlen("user_id="), NULL, 10) : 0;
	return mount->type != NULL;
}

int mounts_next(struct mounts *mounts, struct mount *mount)
{
	while (getline(&mounts->line, &mounts->size, mounts->file) > 0) {
		if (parse(mounts->line, mount))
			return 1;
	}
	return 0;
}
