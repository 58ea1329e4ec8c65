/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The words by which a differencing image says where its parent is.
 *
 *   W2ku  the absolute path, W2ru the one from the child's folder on, both in UTF-16LE with
 *         backslashes, as Windows and blktap read them
 *   MacX  a URL with the relative path, as blktap has it; only where the path has bytes that the
 *         others cannot tell: a backslash of its own, or what is no UTF-8
 *   name  the file's name alone: several readers seek it in the child's folder
 */
#include "vhd/naming.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_CHARACTER 0xfffdu
#define PATH_LEN_MAX 4095u	/* bytes, what Linux takes for a path */

char *naming_real_path(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *real = realpath(path, NULL), *folder, *joined = NULL;

	if (real || errno != ENOENT)
		return real;
	folder = slash ? strndup(path, (size_t)(slash - path + 1)) : strdup(".");
	real = folder ? realpath(folder, NULL) : NULL;
	free(folder);
	if (real && asprintf(&joined, "%s/%s", real[1] ? real : "", name) < 0)
		joined = NULL;
	free(real);
	return joined;
}

/* The path to parent from child's folder on: both are absolute. It begins with "./" or "../". */
static char *relative_path(const char *child, const char *parent)
{
	size_t common = 1, ups = 0, len;
	char *path, *to;

	for (size_t i = 1; child[i] && child[i] == parent[i]; i++)
		if (child[i] == '/')
			common = i + 1;
	for (size_t i = common; child[i]; i++)
		ups += child[i] == '/';
	len = (ups ? 3 * ups : 2) + strlen(parent + common) + 1;
	path = to = malloc(len);
	if (!path)
		return NULL;
	for (size_t i = 0; i < ups; i++)
		to = stpcpy(to, "../");
	if (!ups)
		to = stpcpy(to, "./");
	strcpy(to, parent + common);
	return path;
}

/* Bytes of the character at s and what it is; 1 and NO_CHARACTER where s is no UTF-8. */
static size_t next_character(const char *s, uint32_t *c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = (const uint8_t *)s;
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 :
		     p[0] < 0xf8 ? 4 : 0;

	*c = len > 1 ? p[0] & (0x7fu >> len) : p[0];
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			len = 0;
		else
			*c = *c << 6 | (p[i] & 0x3f);
	}
	if (len && *c >= least[len] && *c <= 0x10ffff && (*c < 0xd800 || *c > 0xdfff))
		return len;
	*c = NO_CHARACTER;
	return 1;
}

static void put_unit(uint8_t *to, uint32_t unit, bool is_big)
{
	to[is_big ? 0 : 1] = (uint8_t)(unit >> 8);
	to[is_big ? 1 : 0] = (uint8_t)unit;
}

/* As much of text as fits size bytes, whole characters; "/" becomes separator. The bytes used. */
static size_t to_utf16(const char *text, char separator, bool is_big, uint8_t *to, size_t size)
{
	size_t used = 0;

	while (*text) {
		uint32_t c;
		size_t n = next_character(text, &c), want = c < 0x10000 ? 2 : 4;

		if (want > size - used)
			break;
		text += n;
		if (c == '/')
			c = (uint8_t)separator;
		if (c >= 0x10000) {
			put_unit(to + used, 0xd800 + ((c - 0x10000) >> 10), is_big);
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
			used += 2;
		}
		put_unit(to + used, c, is_big);
		used += 2;
	}
	return used;
}

/* Whether UTF-16 with backslashes between the names says what path says. */
static bool is_plain(const char *path)
{
	uint32_t c;

	for (; *path; path += next_character(path, &c))
		if (*path == '\\' || (next_character(path, &c) == 1 && c == NO_CHARACTER))
			return false;
	return true;
}

static struct naming_text *new_text(struct naming *naming, uint32_t platform, size_t size)
{
	struct naming_text *t = &naming->texts[naming->len];

	t->platform = platform;
	t->text = malloc(size);
	if (!t->text)
		return NULL;
	naming->len++;
	return t;
}

static int add_utf16(struct naming *naming, uint32_t platform, const char *path)
{
	size_t size = 2 * strlen(path) + 2;	/* no byte makes more than one unit */
	struct naming_text *t = new_text(naming, platform, size);

	if (!t)
		return -ENOMEM;
	t->len = (uint32_t)to_utf16(path, '\\', false, t->text, size);
	return 0;
}

static int add_url(struct naming *naming, const char *path)
{
	static const char scheme[] = "file://", digits[] = "0123456789ABCDEF";
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~/";
	struct naming_text *t = new_text(naming, FMT_MACX, strlen(scheme) + 3 * strlen(path) + 1);
	uint8_t *to;

	if (!t)
		return -ENOMEM;
	to = (uint8_t *)stpcpy((char *)t->text, scheme);
	for (; *path; path++) {
		uint8_t byte = (uint8_t)*path;

		if (strchr(plain, byte)) {
			*to++ = byte;
			continue;
		}
		*to++ = '%';
		*to++ = (uint8_t)digits[byte >> 4];
		*to++ = (uint8_t)digits[byte & 15];
	}
	t->len = (uint32_t)(to - t->text);
	return 0;
}

static int make(struct naming *naming, const char *child, const char *parent)
{
	char *relative = relative_path(child, parent);
	const char *last = strrchr(parent, '/') + 1;
	int rc = relative ? 0 : -ENOMEM;

	if (!rc && strlen(relative) > PATH_LEN_MAX)
		rc = -ENAMETOOLONG;
	to_utf16(last, '/', true, naming->name, sizeof(naming->name));
	if (!rc)
		rc = add_utf16(naming, FMT_W2KU, parent);
	if (!rc)
		rc = add_utf16(naming, FMT_W2RU, relative);
	if (!rc && !is_plain(relative))
		rc = add_url(naming, relative);
	free(relative);
	return rc;
}

int naming_make(struct naming *naming, const char *child, const char *parent, struct vhd_err *err)
{
	char *from, *to;
	int rc;

	*naming = (struct naming){ .len = 0 };
	from = naming_real_path(child);
	if (!from)
		return vhd_err_errno(err, -errno, "%s: its folder cannot be found", child);
	to = naming_real_path(parent);
	if (!to) {
		rc = vhd_err_errno(err, -errno, "%s: cannot be found", parent);
		free(from);
		return rc;
	}
	rc = make(naming, from, to);
	free(from);
	free(to);
	return rc ? vhd_err_errno(err, rc, "%s: cannot be named as the parent of %s", parent,
				  child) : 0;
}

void naming_destroy(struct naming *naming)
{
	for (unsigned i = 0; i < naming->len; i++)
		free(naming->texts[i].text);
	naming->len = 0;
}

uint32_t naming_room(const struct naming *naming, unsigned i)
{
	return (naming->texts[i].len + NAMING_ROOM - 1) / NAMING_ROOM * NAMING_ROOM;
}
