/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is inside the disk, as the commands choose from it and tell of it. */
#include "tools/volumes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/out.h"
#include "tools/say.h"
#include "vhd/units.h"

int volumes_open(struct guest **guest, struct cli *cli, vhd_image *img, guest_stop_fn stop,
		 void *stop_arg, struct vhd_err *err)
{
	struct guest_opts opts = {
		.no_sandbox = cli_has(cli, CLI_NO_SANDBOX),
		.has_gaps = cli_has(cli, CLI_GAPS),
		.stop = stop,
		.stop_arg = stop_arg,
	};

	return guest_open(guest, img, &opts, err);
}

static int next_free(void *arg, uint64_t off, uint64_t *start, uint64_t *len, struct vhd_err *err)
{
	return guest_next_free(arg, off, start, len, err);
}

struct vhd_free_map volumes_free_map(struct guest *guest)
{
	return (struct vhd_free_map){ .next = next_free, .arg = guest };
}

/* "ext" and "fat" stand for the whole family. */
static bool is_of_type(const struct guest_volume *volume, const char *word)
{
	if (strcmp(word, "ext") == 0 || strcmp(word, "fat") == 0)
		return strncmp(volume->filesystem, word, 3) == 0;
	return strcmp(volume->filesystem, word) == 0 || strcmp(volume->type, word) == 0;
}

static bool is_meant(const struct guest_volume *volume, const char *word)
{
	char *end;
	unsigned long number = strtoul(word, &end, 10);

	return *end ? is_of_type(volume, word) : volume->number == number;
}

/* Marks what the words of list mean. -1, or STATUS_USAGE for a word that means nothing. */
static int mark(const struct guest *guest, const struct cli *cli, enum cli_option id, bool *marks)
{
	char *list = strdup(cli->value[id]), *rest = list, *word;
	int rc = -1;

	while (list && rc < 0 && (word = strsep(&rest, ","))) {
		bool is_any = false;

		for (size_t i = 0; i < guest_volumes(guest); i++) {
			if (!is_meant(guest_volume(guest, i), word))
				continue;
			marks[i] = is_any = true;
		}
		if (!is_any)
			rc = cli_usage(cli->command, "--%s=%s: there is no '%s' on the disk",
				       id == CLI_ONLY ? "only" : "ignore", cli->value[id], word);
	}
	free(list);
	return rc;
}

int volumes_select(struct guest *guest, struct cli *cli, bool *is_selected, struct vhd_err *err)
{
	size_t len = guest_volumes(guest);
	bool *is_ignored = calloc(len + 1, sizeof(*is_ignored));
	int rc = -1;

	if (!is_ignored)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		is_selected[i] = !cli->value[CLI_ONLY];
	if (cli->value[CLI_ONLY])
		rc = mark(guest, cli, CLI_ONLY, is_selected);
	if (rc < 0 && cli->value[CLI_IGNORE])
		rc = mark(guest, cli, CLI_IGNORE, is_ignored);
	for (size_t i = 0; i < len; i++)
		is_selected[i] &= !is_ignored[i];
	free(is_ignored);
	return rc < 0 ? guest_select(guest, is_selected, err) : rc;
}

static bool is_mendable(const struct guest_volume *volume)
{
	return volume->state == GUEST_UNCLEAN || volume->state == GUEST_DAMAGED ||
	       volume->state == GUEST_HIBERNATED;
}

bool volumes_have_unclean(const struct guest *guest, const bool *is_selected)
{
	const struct guest_disk *disk = guest_disk(guest);

	if (disk->is_hibernated || disk->state == GUEST_DAMAGED)
		return true;
	for (size_t i = 0; i < guest_volumes(guest); i++)
		if (is_selected[i] && is_mendable(guest_volume(guest, i)))
			return true;
	return false;
}

void volumes_name(const struct guest_volume *volume, char *text, size_t size)
{
	const char *kind = volume->filesystem[0] ? volume->filesystem : volume->type;

	if (volume->is_logical)
		snprintf(text, size, "logical volume %s (%s)", volume->name, kind);
	else if (strcmp(volume->type, "gap") == 0)
		snprintf(text, size, "between the partitions");
	else if (volume->number)
		snprintf(text, size, "partition %u (%s)", volume->number, kind);
	else
		snprintf(text, size, "the whole disk (%s)", *kind ? kind : "unknown");
}

/* Why a volume's free room was not used; NULL when it was. */
static const char *reason_of(const struct guest *guest, size_t i, bool is_selected, char *text,
			     size_t size)
{
	const struct guest_volume *volume = guest_volume(guest, i);

	if (!is_selected)
		return "not selected";
	if (volume->state == GUEST_CLEAN && !guest_disk(guest)->is_hibernated)
		return NULL;
	if (volume->state == GUEST_CLEAN)
		return "a system on the disk is hibernated";
	if (volume->state == GUEST_NOTHING || volume->state == GUEST_UNSUPPORTED)
		snprintf(text, size, "%s", volume->why);
	else
		snprintf(text, size, "%s: %s", guest_state_word(volume->state), volume->why);
	return text;
}

void volumes_print(const struct guest *guest, const bool *is_selected)
{
	const struct guest_disk *disk = guest_disk(guest);

	if (disk->why[0]) {	/* also of a table that is served: what is odd about it */
		fputs("the disk: ", stdout);
		say_clean(stdout, disk->why);
		putchar('\n');
	}
	for (size_t i = 0; i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);
		char name[GUEST_LONG_NAME_MAX + 64], used[32], room[32], text[GUEST_WHY_MAX + 32];
		const char *reason = reason_of(guest, i, !is_selected || is_selected[i], text,
					       sizeof(text));

		volumes_name(volume, name, sizeof(name));
		say_clean(stdout, name);
		if (reason) {
			fputs(": ", stdout);
			say_clean(stdout, reason);
			putchar('\n');
		} else {
			printf(": %s used, %s free\n",
			       units_format(volume->used, used, sizeof(used)),
			       units_format(volume->free, room, sizeof(room)));
		}
	}
}

void volumes_warn(const char *image, const struct guest *guest, const bool *is_selected)
{
	const struct guest_disk *disk = guest_disk(guest);

	if (disk->state == GUEST_DAMAGED)
		say("%s: left alone: %s", image, disk->why);
	for (size_t i = 0; i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);
		char name[GUEST_LONG_NAME_MAX + 64];

		if (!is_mendable(volume) ||
		    (!is_selected[i] && volume->state != GUEST_HIBERNATED))
			continue;
		volumes_name(volume, name, sizeof(name));
		say("%s: %s: %s is %s: %s", image,
		    volume->state == GUEST_HIBERNATED ? "the whole disk is left alone" :
							"left alone", name,
		    guest_state_word(volume->state), volume->why);
	}
}

static json_t *json_filesystem(const struct guest_volume *volume)
{
	bool is_known = volume->state == GUEST_CLEAN;

	if (volume->state == GUEST_NOTHING || !volume->filesystem[0])
		return json_null();
	return json_pack("{s:o, s:s, s:o, s:o, s:o}",
			 "type", out_text(volume->filesystem),
			 "state", guest_state_word(volume->state),
			 "used", is_known ? json_integer((json_int_t)volume->used) : json_null(),
			 "free", is_known ? json_integer((json_int_t)volume->free) : json_null(),
			 "reason", volume->why[0] ? out_text(volume->why) : json_null());
}

json_t *volumes_json(const struct guest *guest)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);
		json_t *value = json_pack("{s:i, s:I, s:I, s:o, s:o, s:b, s:o}",
					  "number", (int)volume->number,
					  "start", (json_int_t)volume->start,
					  "length", (json_int_t)volume->length,
					  "type", out_text(volume->type),
					  "name", out_text(volume->name),
					  "logical", (int)volume->is_logical,
					  "filesystem", json_filesystem(volume));

		if (!value || json_array_append_new(array, value)) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static int append_skipped(json_t *array, int number, const char *type, const char *reason)
{
	return json_array_append_new(array, json_pack("{s:i, s:o, s:o}", "number", number,
						      "type", out_text(type),
						      "reason", out_text(reason)));
}

json_t *volumes_skipped_json(const struct guest *guest, const bool *is_selected)
{
	const struct guest_disk *disk = guest_disk(guest);
	json_t *array = json_array();
	int rc = 0;

	if (array && disk->state != GUEST_CLEAN)
		rc = append_skipped(array, 0, disk->table, disk->why);
	for (size_t i = 0; array && !rc && i < guest_volumes(guest); i++) {
		const struct guest_volume *volume = guest_volume(guest, i);
		char text[GUEST_WHY_MAX + 32];
		const char *reason = reason_of(guest, i, is_selected[i], text, sizeof(text));

		if (reason)
			rc = append_skipped(array, (int)volume->number, volume->filesystem[0] ?
					    volume->filesystem : volume->type, reason);
	}
	if (!rc)
		return array;
	json_decref(array);
	return NULL;
}
