/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg resize: another size of the disk.
 *
 * Nothing that the disk has a use for is cut off unless told: a partition, a filesystem on the
 * whole disk, or data where neither is. What a filesystem needs of its room is not looked into.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/say.h"
#include "tools/volumes.h"
#include "vhd/guest.h"
#include "vhd/units.h"

struct resize {
	struct cli *cli;
	const char *image;
	vhd_image *img;
	struct guest *guest;
	uint64_t from, to;	/* bytes */
};

/* "10G", or "+10G" for so much more. 0 or the status of wrong usage. */
static int parse_size(const struct resize *job, uint64_t *size)
{
	const char *text = job->cli->argv[1];
	bool is_more = *text == '+';
	int rc;

	rc = cli_parse_size(job->cli, text + is_more, size);
	if (rc)
		return rc;
	if (is_more && __builtin_add_overflow(job->from, *size, size))
		return cli_usage(job->cli->command, "'%s' is too large a size", text);
	if (!*size || *size % 512)
		return cli_usage(job->cli->command, "'%s': the size of a disk is a multiple of 512 "
				 "bytes", text);
	return 0;
}

static int open_image(struct resize *job, struct vhd_err *err)
{
	struct vhd_open_opts opts = {
		.is_readonly = cli_has(job->cli, CLI_DRY_RUN),
		.no_lock = cli_has(job->cli, CLI_NO_LOCK),
		.warn = cmd_warn,
		.warn_arg = job->cli,
	};

	return vhd_open(&job->img, job->image, &opts, err);
}

/* A child goes by the size of its parent. */
static int refuse_parent(const struct resize *job, struct vhd_err *err)
{
	char *child;
	int rc = cmd_first_child(job->img, &child, err);

	if (!rc && child)
		rc = cmd_fail(err, -EBUSY, "%s: it is the parent of %s; --force goes on all the "
			      "same", job->image, child);
	free(child);
	return rc;
}

static int refuse_cut(const struct resize *job, const char *what, uint64_t by)
{
	char text[32];

	units_format(by, text, sizeof(text));
	say("%s: %s of %s would be cut off; make that smaller in the guest first, or --force goes "
	    "on without looking", job->image, text, what);
	return STATUS_FAILED;
}

/* Whether len bytes of the disk at off are zeros: 1 or 0, or -errno. */
static int is_zero(vhd_image *img, uint64_t len, uint64_t off, struct vhd_err *err)
{
	static uint8_t buf[1 << 20];

	for (uint64_t at = 0, n; at < len; at += n) {
		int rc;

		n = len - at < sizeof(buf) ? len - at : sizeof(buf);
		rc = vhd_pread(img, buf, n, off + at, err);
		if (rc)
			return rc;
		if (buf[0] || memcmp(buf, buf + 1, n - 1))
			return 0;
	}
	return 1;
}

/* Data behind the new end, on a disk on which nothing was found that would say whose it is. */
static int refuse_data(const struct resize *job, struct vhd_err *err)
{
	struct vhd_extent extent;
	int rc;

	for (uint64_t off = job->to; off < job->from; off += extent.len) {
		rc = vhd_next_extent(job->img, off, job->from - off, &extent, err);
		if (rc > 0 && extent.is_data)
			rc = is_zero(job->img, extent.len, extent.off, err);
		if (rc < 0)
			return rc;
		if (!rc) {
			say("%s: there is data behind the new end, and nothing tells whose; "
			    "--force cuts it off", job->image);
			return STATUS_FAILED;
		}
	}
	return 0;
}

/* 0, a status that was said, or -errno. */
static int look_at_end(const struct resize *job, struct vhd_err *err)
{
	const struct guest_disk *disk = guest_disk(job->guest);
	size_t count = guest_volumes(job->guest);

	if (disk->state != GUEST_CLEAN) {
		say("%s: what would be cut off cannot be told: %s; --force goes on without looking",
		    job->image, disk->why);
		return STATUS_FAILED;
	}
	for (size_t i = 0; i < count; i++) {
		const struct guest_volume *volume = guest_volume(job->guest, i);
		char name[160];

		if (volume->is_logical || volume->start + volume->length <= job->to)
			continue;
		if (!volume->number && !volume->filesystem[0])
			continue;
		volumes_name(volume, name, sizeof(name));
		return refuse_cut(job, name, volume->start + volume->length -
				  (volume->start > job->to ? volume->start : job->to));
	}
	return strcmp(disk->table, "none") == 0 ? refuse_data(job, err) : 0;
}

static int refuse(const struct resize *job, struct vhd_err *err)
{
	int rc;

	if (cli_has(job->cli, CLI_FORCE))
		return 0;
	rc = refuse_parent(job, err);
	return rc || job->to >= job->from ? rc : look_at_end(job, err);
}

/* What else there is to do, where the disk is used. */
static void print_next(const struct resize *job)
{
	const char *table = guest_disk(job->guest)->table;
	bool is_gpt = strcmp(table, "gpt") == 0;

	if (is_gpt)
		puts("Next, in the guest or on the mounted disk: sgdisk -e moves the second copy "
		     "of the\npartition table to the new end.");
	if (job->to < job->from)
		return;
	if (is_gpt || strcmp(table, "mbr") == 0)
		puts("Then growpart, or parted's resizepart, makes the last partition larger, and "
		     "resize2fs,\nxfs_growfs or diskpart's extend the filesystem in it.");
	else if (guest_volumes(job->guest))
		puts("Next, in the guest or on the mounted disk: resize2fs or xfs_growfs makes the "
		     "filesystem\nlarger.");
}

static void print_closing(const struct resize *job)
{
	char from[32], to[32];

	if (cli_has(job->cli, CLI_QUIET))
		return;
	units_format(job->from, from, sizeof(from));
	units_format(job->to, to, sizeof(to));
	say_clean(stdout, job->image);
	if (job->from == job->to) {
		printf(": has %s already\n", to);
		return;
	}
	printf(": the disk %s %s, and %s%s\n",
	       cli_has(job->cli, CLI_DRY_RUN) ? "has" : "had", from,
	       cli_has(job->cli, CLI_DRY_RUN) ? "would have " : "has ", to);
	print_next(job);
}

static int run(struct resize *job, struct vhd_err *err)
{
	const struct vhd_reclaim_opts opts = { .dry_run = cli_has(job->cli, CLI_DRY_RUN) };
	int rc = parse_size(job, &job->to);

	if (!rc)
		rc = volumes_open(&job->guest, job->cli, job->img, NULL, NULL, err);
	if (!rc)
		rc = refuse(job, err);
	if (!rc)
		rc = vhd_resize(job->img, job->to, &opts, err);
	if (rc != -EINVAL)
		return rc;
	cmd_said(rc, err);	/* a size that the image cannot have: the user's */
	return STATUS_USAGE;
}

int cmd_resize(struct cli *cli, const char *image, struct vhd_err *err)
{
	struct resize job = { .cli = cli, .image = image };
	struct vhd_err late = { 0 };
	int rc = open_image(&job, err), closing;

	if (rc)
		return rc;
	job.from = vhd_size(job.img);
	rc = run(&job, err);
	closing = vhd_close(job.img, &late);
	if (closing && !rc) {
		rc = closing;
		*err = late;
	}
	if (!rc)
		print_closing(&job);
	guest_close(job.guest);
	return rc;
}
