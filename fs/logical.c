/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file for each logical volume, and a sentence on those that get none.
 *
 * Names come from the disk, by a process that is not believed. They become names of files only if
 * they are made of what LVM allows in them; '@' is not, so that a group's name with its partition
 * is no other group's.
 */
#include "fs/logical.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/say.h"

#define FOLDER "lv"

static bool is_name(const char *name, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789+_.-";

	return len && *name != '-' && strspn(name, allowed) >= len &&
	       strspn(name, ".") < len;	/* ".", ".." */
}

/* The length of the group's name in "group/volume"; 0 if either is none that LVM would give. */
static size_t group_len(const struct guest_volume *volume)
{
	size_t len = strcspn(volume->name, "/");
	const char *name = volume->name + len + 1;

	if (!volume->name[len] || !is_name(volume->name, len) || !is_name(name, strlen(name)))
		return 0;
	return len;
}

/* Whether another group has that name: groups are told apart by the partition of their first
 * physical volume. */
static bool is_ambiguous(const struct guest *guest, const struct guest_volume *volume, size_t len)
{
	for (size_t i = 0; i < guest_volumes(guest); i++) {
		const struct guest_volume *other = guest_volume(guest, i);

		if (other->is_logical && other->number != volume->number &&
		    strncmp(other->name, volume->name, len + 1) == 0)
			return true;
	}
	return false;
}

static int add_folder(struct files *files, const struct guest *guest,
		      const struct guest_volume *volume, size_t len, size_t *folder)
{
	char name[GUEST_LONG_NAME_MAX + 16];
	size_t all;
	int ret = files_add_folder(files, FILES_ROOT, FOLDER, &all);

	snprintf(name, sizeof(name), "%.*s", (int)len, volume->name);
	if (is_ambiguous(guest, volume, len))
		snprintf(name + len, sizeof(name) - len, "@p%u", volume->number);
	return ret ? ret : files_add_folder(files, all, name, folder);
}

static int add_file(struct files *files, size_t folder, const struct guest_volume *volume,
		    size_t len, const struct guest_range *ranges, size_t ranges_len)
{
	struct file_part *parts = reallocarray(NULL, ranges_len, sizeof(*parts));
	int ret = -ENOMEM;

	for (size_t i = 0; parts && i < ranges_len; i++)
		parts[i] = (struct file_part) {
			.start = ranges[i].start, .len = ranges[i].len,
		};
	if (parts)
		ret = files_add(files, folder, volume->name + len + 1, parts, ranges_len,
				volume->is_readonly);
	free(parts);
	return ret;
}

/* 0 and *why, a reason for no file, or NULL; or -errno with the sentence in err. */
static int add_volume(struct files *files, struct guest *guest, size_t i, const char **why,
		      struct vhd_err *err)
{
	const struct guest_volume *volume = guest_volume(guest, i);
	const struct guest_range *ranges;
	size_t len = group_len(volume), ranges_len, folder;
	int ret;

	*why = len ? volume->why : "a name that LVM does not give";
	if (volume->state != GUEST_CLEAN || !len)
		return 0;
	ret = guest_ranges(guest, i, &ranges, &ranges_len, err);
	if (ret)
		return ret;
	ret = add_folder(files, guest, volume, len, &folder);
	*why = "another has its name";
	if (!ret && files_find(files, folder, volume->name + len + 1))
		return 0;
	*why = NULL;
	if (!ret)
		ret = add_file(files, folder, volume, len, ranges, ranges_len);
	if (ret)
		snprintf(err->msg, sizeof(err->msg), "%s: %s", volume->name, strerror(-ret));
	return ret;
}

/* One sentence on all volumes that have no file for the reason whys[first]. */
static void say_left_out(const struct guest *guest, const char *const *whys, size_t first,
			 const char *image)
{
	char names[1024] = "";
	size_t used = 0, more = 0;

	for (size_t i = first; i < guest_volumes(guest); i++) {
		const char *name = guest_volume(guest, i)->name;

		if (!whys[i] || strcmp(whys[i], whys[first]) != 0)
			continue;
		if (strlen(name) + 2 >= sizeof(names) - used)
			more++;
		else
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
						 used ? ", " : "", name);
	}
	if (more)
		say("%s: no file for the logical volumes %s and %zu more: %s", image, names, more,
		    whys[first]);
	else
		say("%s: no file for the logical volumes %s: %s", image, names, whys[first]);
}

static void say_each_reason(const struct guest *guest, const char *const *whys, const char *image)
{
	for (size_t i = 0; i < guest_volumes(guest); i++) {
		bool is_said = !whys[i];

		for (size_t k = 0; !is_said && k < i; k++)
			is_said = whys[k] && strcmp(whys[k], whys[i]) == 0;
		if (!is_said)
			say_left_out(guest, whys, i, image);
	}
}

/* Physical volumes of which nothing can be shown. */
static void say_not_understood(const struct guest *guest, const char *image)
{
	for (size_t i = 0; i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);
		char name[16] = "disk.raw";

		if (volume->is_logical || !volume->filesystem[0] || volume->state == GUEST_CLEAN)
			continue;
		if (volume->number)
			snprintf(name, sizeof(name), "p%u", volume->number);
		say("%s: no file for the logical volumes on %s, a physical volume of LVM: %s",
		    image, name, volume->why);
	}
}

int logical_add_files(struct files *files, struct guest *guest, const char *image,
		      struct vhd_err *err)
{
	const char **whys = calloc(guest_volumes(guest) + 1, sizeof(*whys));
	int ret = 0;

	if (!whys) {
		snprintf(err->msg, sizeof(err->msg), "%s: %s", image, strerror(ENOMEM));
		return err->code = -ENOMEM;
	}
	for (size_t i = 0; !ret && i < guest_volumes(guest); i++)
		if (guest_volume(guest, i)->is_logical)
			ret = add_volume(files, guest, i, &whys[i], err);
	if (!ret) {
		say_not_understood(guest, image);
		say_each_reason(guest, whys, image);
	}
	free(whys);
	return ret;
}
