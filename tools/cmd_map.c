/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg map: the extents of the disk, one at a time as the engine finds them, neighbours of one
 * kind made into one. For one image the JSON is qemu-img's: an array of extents; for several, an
 * array of objects with the file's name. Pictures of it are picture.c's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/cmd.h"
#include "tools/out.h"
#include "tools/picture.h"
#include "tools/say.h"

static bool is_joined(const struct vhd_extent *a, const struct vhd_extent *b)
{
	if (a->is_data != b->is_data || a->off + a->len != b->off)
		return false;
	if (!a->is_data)
		return true;
	return a->depth == b->depth && a->has_file_off == b->has_file_off &&
	       (!a->has_file_off || a->file_off + a->len == b->file_off);
}

static void print_human(const struct vhd_extent *ext, size_t number)
{
	if (!number)
		printf("%16s %16s  %-5s %5s %16s\n", "start", "length", "kind", "depth", "offset");
	printf("%16" PRIu64 " %16" PRIu64 "  ", ext->off, ext->len);
	if (!ext->is_data)
		puts("zero      -                -");
	else if (!ext->has_file_off)
		printf("data  %5u                -\n", ext->depth);
	else
		printf("data  %5u %16" PRIu64 "\n", ext->depth, ext->file_off);
}

static void print_json(const struct vhd_extent *ext, size_t number)
{
	const char *data = ext->is_data ? "true" : "false";

	printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, ",
	       number ? ",\n" : "", ext->off, ext->len, ext->is_data ? ext->depth : 0);
	printf("\"present\": %s, \"zero\": %s, \"data\": %s", data,
	       ext->is_data ? "false" : "true", data);
	if (ext->is_data && ext->has_file_off)
		printf(", \"offset\": %" PRIu64, ext->file_off);
	fputs("}", stdout);
}

static int print_extents(const struct cli *cli, vhd_image *img, struct vhd_err *err)
{
	void (*print)(const struct vhd_extent *, size_t) = cli_is_json(cli) ? print_json :
									      print_human;
	struct vhd_extent ext, whole = { 0 };
	uint64_t off = 0;
	size_t count = 0;
	int rc;

	while ((rc = vhd_next_extent(img, off, vhd_size(img) - off, &ext, err)) > 0) {
		off = ext.off + ext.len;
		if (whole.len && is_joined(&whole, &ext)) {
			whole.len += ext.len;
			continue;
		}
		if (whole.len)
			print(&whole, count++);
		whole = ext;
	}
	if (whole.len)
		print(&whole, count);
	return rc;
}

static void begin(struct cli *cli, const char *image)
{
	if (cli_is_json(cli)) {
		out_item(cli);
		if (cli->argc > 1) {
			fputs("{ \"filename\": ", stdout);
			out_string(image);
			fputs(", \"extents\": ", stdout);
		}
		putchar('[');
	} else if (cli->argc > 1) {
		if (cli->items++)
			putchar('\n');
		say_clean(stdout, image);
		puts(":");
	}
}

static void end(const struct cli *cli)
{
	if (!cli_is_json(cli))
		return;
	fputs(cli->argc > 1 ? "] }" : "]", stdout);
	out_item_end(cli);
}

int cmd_map(struct cli *cli, const char *image, struct vhd_err *err)
{
	vhd_image *img;
	int rc;

	/* One picture has all images: it is drawn when it is the first one's turn. */
	if (cli_is_svg(cli) || cli_is_drawing(cli))
		return image == cli->argv[0] ? picture_images(cli, err) : STATUS_DONE;
	rc = cmd_open(&img, cli, image, cli_has(cli, CLI_FORCE_SHARE), err);
	if (rc < 0)
		return rc;
	begin(cli, image);
	rc = print_extents(cli, img, err);
	end(cli);
	if (!rc && !cli_is_json(cli) && isatty(STDOUT_FILENO))
		rc = picture_term(cli, img, image, err);
	vhd_close(img, NULL);
	return rc;
}
