/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg info: what the image is.
 *
 * A lock never refuses it: it asks for the lock only to learn whether another program writes, and
 * reads all the same. Keys whose value is not known are left out, or null where the key is there
 * for every image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/cmd.h"
#include "tools/out.h"
#include "tools/say.h"
#include "tools/volumes.h"
#include "vhd/units.h"

enum in_use {
	IN_USE_NO,
	IN_USE_YES,
	IN_USE_UNKNOWN,		/* the host has no locks, or -U: none was looked for */
};

/* One of the parents, the nearest first. */
struct level {
	struct vhd_info info;
	char path[sizeof(((struct vhd_info *)0)->parent_path)];
};

struct facts {
	const char *image;
	struct vhd_info info;
	enum in_use in_use;
	char uuid[37], parent_uuid[37];
	char created[32];
	struct level *levels;
	size_t levels_len;
	struct guest *guest;	/* what is inside; NULL if that could not be looked at */
	uint64_t reclaimable;	/* bytes; where there is a guest */
};

static const char *type_name(enum vhd_type type)
{
	return type == VHD_FIXED ? "fixed" : type == VHD_DYNAMIC ? "dynamic" : "differencing";
}

/* A raw disk can be a parent, and is no VHD. */
static const char *level_type(const struct vhd_info *info)
{
	return info->is_raw ? "raw" : type_name(info->type);
}

/* As it lies in the file: what other tools for Linux show, too. */
static void format_uuid(const uint8_t raw[16], char text[37])
{
	for (int i = 0; i < 16; i++) {
		text += sprintf(text, "%02x", raw[i]);
		if (i == 3 || i == 5 || i == 7 || i == 9)
			*text++ = '-';
	}
	*text = '\0';
}

static void format_time(int64_t seconds, char *text, size_t len)
{
	time_t when = seconds;
	struct tm tm;

	if (!gmtime_r(&when, &tm) || !strftime(text, len, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(text, len, "?");
}

static int open_any(vhd_image **img, struct cli *cli, const char *image,
		    enum in_use *in_use, struct vhd_err *err)
{
	bool is_shared = cli_has(cli, CLI_FORCE_SHARE);
	int rc = cmd_open(img, cli, image, is_shared, err);

	*in_use = is_shared || cli_has(cli, CLI_NO_LOCK) ? IN_USE_UNKNOWN : IN_USE_NO;
	if (is_shared || (rc != -EBUSY && rc != -ENOLCK))
		return rc;
	*in_use = rc == -EBUSY ? IN_USE_YES : IN_USE_UNKNOWN;
	*err = (struct vhd_err){ 0 };
	return cmd_open(img, cli, image, true, err);
}

/* What is inside is told if it can be; the image itself is described all the same. */
static void look_inside(struct facts *facts, struct cli *cli, vhd_image *img)
{
	struct vhd_free_map map;
	struct vhd_err err = { 0 };

	if (!volumes_open(&facts->guest, cli, img, NULL, NULL, &err)) {
		map = volumes_free_map(facts->guest);
		if (!vhd_reclaimable(img, &map, &facts->reclaimable, &err))
			return;
	}
	guest_close(facts->guest);
	facts->guest = NULL;
	cmd_warn(cli, err.msg);
}

static int gather_chain(struct facts *facts, vhd_image *img, struct vhd_err *err)
{
	const struct vhd_info *child = &facts->info;
	size_t len = 0;

	for (vhd_image *parent = vhd_parent(img); parent; parent = vhd_parent(parent))
		len++;
	facts->levels = calloc(len + 1, sizeof(*facts->levels));
	if (!facts->levels)
		return cmd_fail(err, -ENOMEM, "%s: %s", facts->image, strerror(ENOMEM));
	for (vhd_image *parent = vhd_parent(img); parent; parent = vhd_parent(parent)) {
		struct level *level = &facts->levels[facts->levels_len++];
		int rc = vhd_get_info(parent, &level->info, err);

		if (rc)
			return rc;
		memcpy(level->path, child->parent_path, sizeof(level->path));
		child = &level->info;
	}
	return 0;
}

static int gather(struct facts *facts, struct cli *cli, struct vhd_err *err)
{
	vhd_image *img;
	int rc = open_any(&img, cli, facts->image, &facts->in_use, err);

	if (rc < 0)
		return rc;
	rc = vhd_get_info(img, &facts->info, err);
	if (!rc)
		rc = gather_chain(facts, img, err);
	if (!rc)
		look_inside(facts, cli, img);
	vhd_close(img, NULL);
	if (rc < 0)
		return rc;
	format_uuid(facts->info.uuid, facts->uuid);
	format_uuid(facts->info.parent_uuid, facts->parent_uuid);
	format_time(facts->info.created, facts->created, sizeof(facts->created));
	return 0;
}

/* A count of bytes, with the exact one behind it where the short form rounds. */
static void print_size(const char *what, uint64_t bytes)
{
	char text[32];

	units_format(bytes, text, sizeof(text));
	if (bytes < 1024)
		printf("%s: %s\n", what, text);
	else
		printf("%s: %s (%" PRIu64 " bytes)\n", what, text, bytes);
}

static void print_text(const char *what, const char *text)
{
	printf("%s: ", what);
	say_clean(stdout, text);
	putchar('\n');
}

/* One line, however deep the chain is. */
static void print_level(const struct level *level, size_t depth)
{
	const struct vhd_info *info = &level->info;
	char size[32];

	units_format(info->file_size, size, sizeof(size));
	printf("chain, level %zu: ", depth);
	say_clean(stdout, level->path);
	printf(" (%s, %s", level_type(info), size);
	if (info->type != VHD_FIXED)
		printf(", %" PRIu32 " of %" PRIu32 " blocks", info->blocks_allocated,
		       info->blocks_total);
	puts(")");
}

static void print_parent(const struct facts *facts)
{
	const struct vhd_info *info = &facts->info;

	print_text("parent", info->parent_name);
	if (info->parent_path[0])
		print_text("parent found at", info->parent_path);
	printf("parent's unique id: %s\n", facts->parent_uuid);
	for (size_t i = 0; i < facts->levels_len; i++)
		print_level(&facts->levels[i], i + 1);
}

static void print_inside(const struct facts *facts)
{
	print_text("partition table", guest_disk(facts->guest)->table);
	volumes_print(facts->guest, NULL);
	print_size("reclaimable, at the least", facts->reclaimable);
}

static int print_human(struct cli *cli, const struct facts *facts)
{
	static const char *const in_use[] = { "no", "yes, another program writes it",
					      "not known (no lock was looked at)" };
	const struct vhd_info *info = &facts->info;

	if (cli->items++)
		putchar('\n');
	print_text("image", facts->image);
	printf("type: %s VHD\n", type_name(info->type));
	print_size("virtual size", info->virtual_size);
	print_size("file size", info->file_size);
	print_size("allocated on the host", info->actual_size);
	if (info->type != VHD_FIXED) {
		print_size("block size", info->block_size);
		printf("blocks allocated: %" PRIu32 " of %" PRIu32 "\n", info->blocks_allocated,
		       info->blocks_total);
	}
	printf("creator: %s (version %u.%u)\n", info->creator, info->creator_version >> 16,
	       info->creator_version & 0xffff);
	printf("created: %s\n", facts->created);
	printf("unique id: %s\n", facts->uuid);
	printf("in use: %s\n", in_use[facts->in_use]);
	if (info->has_saved_state)
		puts("saved state: a machine that was suspended waits for this disk as it is");
	if (info->has_parent)
		print_parent(facts);
	if (facts->guest)
		print_inside(facts);
	return 0;
}

static json_t *text_or_null(const char *text)
{
	return text && *text ? out_text(text) : json_null();
}

static json_t *json_parent(const struct facts *facts)
{
	const struct vhd_info *info = &facts->info;
	char *path;
	json_t *parent;

	if (!info->has_parent)
		return json_null();
	path = info->parent_path[0] ? realpath(info->parent_path, NULL) : NULL;
	parent = json_pack("{s:o, s:o, s:s, s:o}",
			   "filename", text_or_null(info->parent_path),
			   "name", text_or_null(info->parent_name),
			   "uuid", facts->parent_uuid,
			   "path", text_or_null(path));
	free(path);
	return parent;
}

/* A count of blocks; a fixed image has none, which is not the same as none of them allocated. */
static json_t *json_blocks(const struct vhd_info *info, uint32_t count)
{
	return info->type == VHD_FIXED ? json_null() : json_integer(count);
}

static json_t *json_level(const struct level *level)
{
	const struct vhd_info *info = &level->info;
	char uuid[37];

	format_uuid(info->uuid, uuid);
	return json_pack("{s:o, s:s, s:o, s:I, s:I, s:I, s:o, s:o}",
			 "filename", out_text(level->path),
			 "type", level_type(info),
			 "uuid", info->is_raw ? json_null() : json_string(uuid),
			 "virtual-size", (json_int_t)info->virtual_size,
			 "file-size", (json_int_t)info->file_size,
			 "actual-size", (json_int_t)info->actual_size,
			 "blocks-total", json_blocks(info, info->blocks_total),
			 "blocks-allocated", json_blocks(info, info->blocks_allocated));
}

static json_t *json_chain(const struct facts *facts)
{
	json_t *chain = json_array();

	for (size_t i = 0; chain && i < facts->levels_len; i++) {
		if (json_array_append_new(chain, json_level(&facts->levels[i]))) {
			json_decref(chain);
			return NULL;
		}
	}
	return chain;
}

static json_t *json_in_use(enum in_use in_use)
{
	return in_use == IN_USE_UNKNOWN ? json_null() : json_boolean(in_use == IN_USE_YES);
}

static json_t *json_facts(const struct facts *facts)
{
	const struct vhd_info *info = &facts->info;

	return json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:b, "
			 "s:o, s:o, s:o, s:o}",
			 "filename", out_text(facts->image),
			 "format", "vhd",
			 "type", type_name(info->type),
			 "virtual-size", (json_int_t)info->virtual_size,
			 "file-size", (json_int_t)info->file_size,
			 "actual-size", (json_int_t)info->actual_size,
			 "block-size", json_blocks(info, info->block_size),
			 "blocks-total", json_blocks(info, info->blocks_total),
			 "blocks-allocated", json_blocks(info, info->blocks_allocated),
			 "creator", out_text(info->creator),
			 "uuid", facts->uuid,
			 "created", facts->created,
			 "in-use", json_in_use(facts->in_use),
			 "saved-state", (int)info->has_saved_state,
			 "parent", json_parent(facts),
			 "chain", json_chain(facts),
			 "reclaimable-bytes", facts->guest ?
			 json_integer((json_int_t)facts->reclaimable) : json_null(),
			 "partitions", facts->guest ? volumes_json(facts->guest) : json_null());
}

static int print_json(struct cli *cli, const struct facts *facts)
{
	json_t *value = json_facts(facts);

	if (!value)
		return -ENOMEM;
	out_item(cli);
	json_dumpf(value, stdout, JSON_INDENT(4));
	out_item_end(cli);
	json_decref(value);
	return 0;
}

int cmd_info(struct cli *cli, const char *image, struct vhd_err *err)
{
	struct facts facts = { .image = image };
	int rc = gather(&facts, cli, err);

	if (rc >= 0)
		rc = cli_is_json(cli) ? print_json(cli, &facts) : print_human(cli, &facts);
	guest_close(facts.guest);
	free(facts.levels);
	return rc;
}
