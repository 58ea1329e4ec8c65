/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parent's side: serves the bytes that the child asks for, and believes it no more than it
 * must.
 *
 * What the child says is checked for shape (sizes, ends of strings, ranges in order and on the
 * disk); what it calls free is taken on trust, since to find that out is what it is for. It can
 * harm the guest's data that way, as whoever wrote the disk can, and nothing of the host's.
 */
#include "vhd/guest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "vhd/err.h"
#include "vhd/guest/sandbox.h"
#include "vhd/guest/wire.h"

struct guest {
	vhd_image *img;
	guest_stop_fn stop;
	void *stop_arg;
	struct sandbox sandbox;
	uint64_t size;		/* bytes of the disk */
	uint8_t *buf;		/* WIRE_MAX */
	struct guest_disk disk;
	struct guest_volume *volumes;
	size_t volumes_len;
	struct guest_range *ranges;	/* WIRE_EXTENTS: what was told last */
	size_t ranges_len, range;	/* range: where the last answer was */
	uint64_t ranges_from;	/* told for this off, and */
	bool is_told;		/* whether they were told at all */
};

static int misbehaved(struct vhd_err *err)
{
	return vhd_err_set(err, -EPROTO, "the process that looks into the disk ended or spoke "
			   "nonsense: what is on the disk may have been made to do that");
}

static int get(struct guest *guest, void *buf, size_t len, struct vhd_err *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(guest->sandbox.fd, (char *)buf + done, len - done, 0);

		if (n < 0 && errno == EINTR) {
			if (guest->stop && guest->stop(guest->stop_arg))
				return vhd_err_set(err, -ECANCELED, "stopped");
			continue;
		}
		if (n <= 0)
			return misbehaved(err);
		done += (size_t)n;
	}
	return 0;
}

static int put(struct guest *guest, const void *buf, size_t len, struct vhd_err *err)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(guest->sandbox.fd, (const char *)buf + done, len - done,
				 MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return misbehaved(err);
		done += (size_t)n;
	}
	return 0;
}

static int serve_read(struct guest *guest, const struct wire_head *asked, struct vhd_err *err)
{
	struct wire_head head = { .kind = WIRE_BYTES };
	int rc;

	if (asked->want > WIRE_MAX)
		return misbehaved(err);
	/* The sentence stays in err: the child knows the number alone. */
	head.code = vhd_pread(guest->img, guest->buf, asked->want, asked->off, err);
	head.len = head.code ? 0 : asked->want;
	rc = put(guest, &head, sizeof(head), err);
	return rc ? rc : put(guest, guest->buf, head.len, err);
}

/* Asks, serves what is asked back, and returns with the head of the answer. */
static int ask(struct guest *guest, struct wire_head *head, const void *more, struct vhd_err *err)
{
	struct vhd_err reading = { 0 };
	int rc = put(guest, head, sizeof(*head), err);

	if (!rc)
		rc = put(guest, more, head->len, err);
	for (;;) {
		if (!rc)
			rc = get(guest, head, sizeof(*head), err);
		if (rc || head->kind != WIRE_READ)
			break;
		rc = serve_read(guest, head, &reading);
		if (rc)
			return vhd_err_set(err, rc, "%s", reading.msg);
	}
	if (rc || head->kind != WIRE_FAILED)
		return rc;
	if (head->code == reading.code && reading.code)
		return vhd_err_set(err, head->code, "%s", reading.msg);
	if (head->code >= 0)
		return misbehaved(err);
	return vhd_err_errno(err, head->code, "what is on the disk could not be looked at");
}

/* Text that may come from an attacker, and ends on a terminal. */
static void clean_text(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static bool is_volume_sane(const struct guest *guest, struct guest_volume *v)
{
	clean_text(v->type, sizeof(v->type));
	clean_text(v->name, sizeof(v->name));
	clean_text(v->filesystem, sizeof(v->filesystem));
	clean_text(v->why, sizeof(v->why));
	if (v->state > GUEST_UNSUPPORTED)
		return false;
	return v->start <= guest->size && v->length <= guest->size - v->start;
}

static int hear_found(struct guest *guest, uint32_t len, struct vhd_err *err)
{
	size_t size = sizeof(*guest->volumes);
	int rc;

	if (len < sizeof(guest->disk) || (len - sizeof(guest->disk)) % size ||
	    (len - sizeof(guest->disk)) / size > SCAN_MAX_VOLUMES)
		return misbehaved(err);
	guest->volumes_len = (len - sizeof(guest->disk)) / size;
	guest->volumes = calloc(guest->volumes_len + 1, size);
	if (!guest->volumes)
		return vhd_err_errno(err, -ENOMEM, "looking into the disk");
	rc = get(guest, &guest->disk, sizeof(guest->disk), err);
	if (!rc)
		rc = get(guest, guest->volumes, guest->volumes_len * size, err);
	if (rc)
		return rc;
	clean_text(guest->disk.table, sizeof(guest->disk.table));
	clean_text(guest->disk.why, sizeof(guest->disk.why));
	if (guest->disk.state > GUEST_UNSUPPORTED)
		return misbehaved(err);
	for (size_t i = 0; i < guest->volumes_len; i++)
		if (!is_volume_sane(guest, &guest->volumes[i]))
			return misbehaved(err);
	return 0;
}

static int start(struct guest *guest, const struct guest_opts *opts, scan_look_fn look,
		 struct vhd_err *err)
{
	struct wire_job job = { .look = look, .size = guest->size, .has_gaps = opts->has_gaps };
	struct wire_head head = { .kind = WIRE_LOOK };
	int rc = sandbox_start(&guest->sandbox, opts->no_sandbox, wire_serve, &job);

	if (rc == -ENOSYS)
		return vhd_err_set(err, rc, "the sandbox in which the disk is looked into cannot "
				   "be had here (no libseccomp, or no seccomp); --no-sandbox goes "
				   "on without");
	if (rc)
		return vhd_err_errno(err, rc, "cannot start the process that looks into the disk");
	rc = ask(guest, &head, NULL, err);
	if (!rc)
		rc = head.kind == WIRE_FOUND ? hear_found(guest, head.len, err) : misbehaved(err);
	if (rc)
		sandbox_end(&guest->sandbox);
	return rc;
}

static void guest_free(struct guest *guest)
{
	free(guest->buf);
	free(guest->ranges);
	free(guest->volumes);
	free(guest);
}

int guest_start(struct guest **out, vhd_image *img, const struct guest_opts *opts,
		scan_look_fn look, struct vhd_err *err)
{
	static const struct guest_opts defaults;
	struct guest *guest = calloc(1, sizeof(*guest));
	int rc = -ENOMEM;

	if (!guest)
		return vhd_err_errno(err, rc, "looking into the disk");
	if (!opts)
		opts = &defaults;
	guest->img = img;
	guest->stop = opts->stop;
	guest->stop_arg = opts->stop_arg;
	guest->size = vhd_size(img);
	guest->buf = malloc(WIRE_MAX);
	guest->ranges = calloc(WIRE_EXTENTS, sizeof(*guest->ranges));
	if (guest->buf && guest->ranges)
		rc = start(guest, opts, look, err);
	else
		vhd_err_errno(err, rc, "looking into the disk");
	if (rc) {
		guest_free(guest);
		return rc;
	}
	*out = guest;
	return 0;
}

void guest_close(struct guest *guest)
{
	if (!guest)
		return;
	sandbox_end(&guest->sandbox);
	guest_free(guest);
}

const struct guest_disk *guest_disk(const struct guest *guest)
{
	return &guest->disk;
}

size_t guest_volumes(const struct guest *guest)
{
	return guest->volumes_len;
}

const struct guest_volume *guest_volume(const struct guest *guest, size_t i)
{
	return &guest->volumes[i];
}

int guest_select(struct guest *guest, const bool *is_selected, struct vhd_err *err)
{
	struct wire_head head = { .kind = WIRE_SELECT, .len = (uint32_t)guest->volumes_len };
	int rc;

	for (size_t i = 0; i < guest->volumes_len; i++)
		guest->buf[i] = is_selected[i];
	guest->is_told = false;
	rc = ask(guest, &head, guest->buf, err);
	if (!rc && head.kind != WIRE_SELECTED)
		rc = misbehaved(err);
	return rc;
}

/* Ranges in order, on the disk, none of them empty. */
static bool are_ranges_sane(const struct guest *guest, uint64_t off)
{
	for (size_t i = 0; i < guest->ranges_len; i++) {
		const struct guest_range *r = &guest->ranges[i];

		if (r->start < off || r->start >= guest->size || !r->len ||
		    r->len > guest->size - r->start)
			return false;
		off = r->start + r->len;
	}
	return true;
}

/* Asks what is answered by ranges. */
static int hear_ranges(struct guest *guest, struct wire_head head, struct vhd_err *err)
{
	int rc = ask(guest, &head, NULL, err);

	guest->is_told = false;
	if (rc)
		return rc;
	if (head.kind != WIRE_RANGES || head.len % sizeof(*guest->ranges) ||
	    head.len / sizeof(*guest->ranges) > WIRE_EXTENTS)
		return misbehaved(err);
	guest->ranges_len = head.len / sizeof(*guest->ranges);
	return get(guest, guest->ranges, head.len, err);
}

static int ask_ranges(struct guest *guest, uint64_t off, struct vhd_err *err)
{
	struct wire_head head = { .kind = WIRE_FREE, .off = off };
	int rc = hear_ranges(guest, head, err);

	if (rc)
		return rc;
	guest->range = 0;
	guest->ranges_from = off;
	if (!are_ranges_sane(guest, off))
		return misbehaved(err);
	guest->is_told = true;
	return 0;
}

static uint64_t end_of(const struct guest_range *range)
{
	return range->start + range->len;
}

/* Whether what was told last answers for off, and if so where. */
static bool is_answered(struct guest *guest, uint64_t off)
{
	if (!guest->is_told || off < guest->ranges_from)
		return false;
	if (guest->range && off < end_of(&guest->ranges[guest->range - 1]))
		guest->range = 0;
	while (guest->range < guest->ranges_len && end_of(&guest->ranges[guest->range]) <= off)
		guest->range++;
	/* Behind the last of a full message there may be more. */
	return guest->range < guest->ranges_len || guest->ranges_len < WIRE_EXTENTS;
}

int guest_next_free(struct guest *guest, uint64_t off, uint64_t *start, uint64_t *len,
		    struct vhd_err *err)
{
	const struct guest_range *r;
	int rc;

	if (!is_answered(guest, off)) {
		rc = ask_ranges(guest, off, err);
		if (rc)
			return rc;
	}
	if (guest->range >= guest->ranges_len)
		return 0;
	r = &guest->ranges[guest->range];
	*start = r->start > off ? r->start : off;
	*len = end_of(r) - *start;
	return 1;
}

/* Each on the disk and not empty, and all of the volume. */
static bool are_places_sane(const struct guest *guest, uint64_t length)
{
	for (size_t i = 0; i < guest->ranges_len; i++) {
		const struct guest_range *r = &guest->ranges[i];

		if (!r->len || r->len > length || r->start > guest->size ||
		    r->len > guest->size - r->start)
			return false;
		length -= r->len;
	}
	return !length;
}

int guest_ranges(struct guest *guest, size_t i, const struct guest_range **ranges, size_t *len,
		 struct vhd_err *err)
{
	const struct guest_volume *volume = &guest->volumes[i];
	struct wire_head head = { .kind = WIRE_PLACES, .off = i };
	int rc;

	if (!volume->is_logical || volume->state != GUEST_CLEAN)
		return vhd_err_set(err, -EINVAL, "%s has no place", volume->name);
	rc = hear_ranges(guest, head, err);
	if (rc)
		return rc;
	if (!are_places_sane(guest, volume->length))
		return misbehaved(err);
	*ranges = guest->ranges;
	*len = guest->ranges_len;
	return 0;
}

const char *guest_state_word(enum guest_state state)
{
	static const char *const words[] = {
		[GUEST_NOTHING] = "nothing", [GUEST_CLEAN] = "clean",
		[GUEST_UNCLEAN] = "unclean", [GUEST_HIBERNATED] = "hibernated",
		[GUEST_DAMAGED] = "damaged", [GUEST_UNSUPPORTED] = "unsupported",
	};

	return words[state];
}
