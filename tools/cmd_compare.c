/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdimg compare: whether two disks, raw ones too, have the same contents.
 *
 * Where neither image has data by its own word, nothing is read. Of two sizes the longer disk's
 * rest must be zeros. Status 1 is for a difference alone, so an error without a number of its own
 * gets 2.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cmd.h"
#include "tools/out.h"
#include "tools/progress.h"
#include "tools/say.h"

#define CHUNK ((size_t)1 << 20)
#define STATUS_DIFFERENT 1
#define STATUS_NOT_COMPARED 2

struct compare {
	struct cli *cli;
	const char *names[2];
	vhd_image *imgs[2];
	uint8_t *bufs[2];
	uint64_t off, size;	/* of the longer disk */
	bool is_different;	/* first at off */
	struct progress progress;
};

/* The bytes from off on that are of one kind in both: *len, and whether one of them has data. */
static int next_extent(struct compare *c, uint64_t *len, bool *has_data, struct vhd_err *err)
{
	*len = c->size - c->off;
	*has_data = false;
	for (int i = 0; i < 2; i++) {
		struct vhd_extent ext;
		int rc = 0;

		if (c->off < vhd_size(c->imgs[i]))
			rc = vhd_next_extent(c->imgs[i], c->off, *len, &ext, err);
		if (rc < 0)
			return rc;
		if (rc && ext.len < *len)
			*len = ext.len;
		*has_data |= rc && ext.is_data;
	}
	return 0;
}

/* len bytes at off, zeros past the end of the disk. */
static int read_at(struct compare *c, int i, size_t len, struct vhd_err *err)
{
	uint64_t size = vhd_size(c->imgs[i]);
	size_t has = c->off >= size ? 0 : size - c->off < len ? (size_t)(size - c->off) : len;

	memset(c->bufs[i] + has, 0, len - has);
	return has ? vhd_pread(c->imgs[i], c->bufs[i], has, c->off, err) : 0;
}

static int compare_chunk(struct compare *c, size_t len, struct vhd_err *err)
{
	int rc = read_at(c, 0, len, err);
	size_t at = 0;

	if (!rc)
		rc = read_at(c, 1, len, err);
	if (rc)
		return rc;
	c->is_different = memcmp(c->bufs[0], c->bufs[1], len) != 0;
	while (c->is_different && c->bufs[0][at] == c->bufs[1][at])
		at++;
	c->off += c->is_different ? at : len;
	return 0;
}

static int compare_all(struct compare *c, struct vhd_err *err)
{
	while (c->off < c->size && !c->is_different) {
		struct vhd_progress now = { .phase = "compare", .done = c->off, .total = c->size };
		uint64_t len;
		bool has_data;
		int rc = next_extent(c, &len, &has_data, err);

		if (!rc && progress_report(&c->progress, &now))
			rc = cmd_fail(err, -ECANCELED, "%s: stopped", c->names[0]);
		if (!rc && has_data)
			rc = compare_chunk(c, len < CHUNK ? (size_t)len : CHUNK, err);
		else if (!rc)
			c->off += len;
		if (rc)
			return rc;
	}
	return 0;
}

static int open_both(struct compare *c, struct vhd_err *err)
{
	const struct vhd_open_opts opts = {
		.is_readonly = true, .allow_raw = true,
		.no_lock = cli_has(c->cli, CLI_NO_LOCK),
		.force_share = cli_has(c->cli, CLI_FORCE_SHARE),
		.warn = cmd_warn, .warn_arg = c->cli,
	};

	for (int i = 0; i < 2; i++) {
		int rc = vhd_open(&c->imgs[i], c->names[i], &opts, err);

		if (rc)
			return rc;
		c->bufs[i] = aligned_alloc(4096, CHUNK);	/* as direct I/O wants it */
		if (!c->bufs[i])
			return -ENOMEM;
		if (vhd_size(c->imgs[i]) > c->size)
			c->size = vhd_size(c->imgs[i]);
	}
	return 0;
}

static int tell(struct compare *c)
{
	if (cli_is_json(c->cli)) {
		json_t *value = json_pack("{s:o, s:o, s:b, s:o}", "filename", out_text(c->names[0]),
					  "other", out_text(c->names[1]),
					  "same", (int)!c->is_different, "offset",
					  c->is_different ? json_integer((json_int_t)c->off) :
							    json_null());

		if (!value)
			return -ENOMEM;
		json_dumpf(value, stdout, JSON_INDENT(4));
		putchar('\n');
		json_decref(value);
	} else if (!cli_has(c->cli, CLI_QUIET)) {
		say_clean(stdout, c->names[0]);
		fputs(" and ", stdout);
		say_clean(stdout, c->names[1]);
		if (c->is_different)
			printf(" differ, first at byte %" PRIu64 "\n", c->off);
		else
			puts(" have the same contents");
	}
	return c->is_different ? STATUS_DIFFERENT : STATUS_DONE;
}

static int compare(struct compare *c, struct vhd_err *err)
{
	int rc = open_both(c, err);

	if (rc)
		return rc;
	progress_begin(&c->progress, c->cli, c->names[0]);
	rc = compare_all(c, err);
	progress_end(&c->progress);
	return rc ? rc : tell(c);
}

int cmd_compare(struct cli *cli, const char *image, struct vhd_err *err)
{
	struct compare c = { .cli = cli, .names = { image, cli->argv[1] } };
	int rc = compare(&c, err), status;

	for (int i = 0; i < 2; i++) {
		free(c.bufs[i]);
		if (c.imgs[i])
			vhd_close(c.imgs[i], NULL);
	}
	if (rc >= 0)
		return rc;
	if (rc == -ECANCELED && progress_status())
		return progress_status();
	status = status_of(cmd_said(rc, err), false);
	return status == STATUS_FAILED ? STATUS_NOT_COMPARED : status;
}
