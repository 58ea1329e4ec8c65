/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The child's side: it looks at the disk, and answers.
 *
 * Any trouble with the parent ends the process: there is nobody else to tell.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhd/guest/wire.h"

struct server {
	int fd;
	struct window disk;
	struct scan scan;
};

static void get(int fd, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		done += (size_t)n;
	}
}

static void put(int fd, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		done += (size_t)n;
	}
}

static int read_disk(const struct window *disk, void *buf, size_t len, uint64_t off)
{
	const struct server *server = disk->arg;

	while (len) {
		struct wire_head head = { .kind = WIRE_READ, .off = off };
		size_t n = len < WIRE_MAX ? len : WIRE_MAX;

		head.want = (uint32_t)n;
		put(server->fd, &head, sizeof(head));
		get(server->fd, &head, sizeof(head));
		if (head.kind != WIRE_BYTES || (!head.code && head.len != n))
			_exit(0);
		if (head.code)
			return head.code;
		get(server->fd, buf, n);
		buf = (char *)buf + n;
		off += n;
		len -= n;
	}
	return 0;
}

static void look(struct server *server, const struct wire_job *job)
{
	struct wire_head head = { .kind = WIRE_FOUND };
	struct scan *scan = &server->scan;
	int rc = job->look(scan);

	if (rc) {
		head = (struct wire_head){ .kind = WIRE_FAILED, .code = rc };
		put(server->fd, &head, sizeof(head));
		return;
	}
	scan_settle(scan);
	head.len = (uint32_t)(sizeof(scan->info) + scan->volumes_len * sizeof(*scan->volumes));
	put(server->fd, &head, sizeof(head));
	put(server->fd, &scan->info, sizeof(scan->info));
	put(server->fd, scan->volumes, scan->volumes_len * sizeof(*scan->volumes));
}

static void choose(struct server *server, uint32_t len)
{
	struct wire_head head = { .kind = WIRE_SELECTED };

	for (uint32_t i = 0; i < len; i++) {
		uint8_t is_wanted;

		get(server->fd, &is_wanted, 1);
		if (i < server->scan.volumes_len)
			server->scan.is_selected[i] = is_wanted;
	}
	put(server->fd, &head, sizeof(head));
}

static void tell_ranges(struct server *server, uint64_t off)
{
	static struct guest_range ranges[WIRE_EXTENTS];
	struct wire_head head = { .kind = WIRE_RANGES };
	size_t n = 0;

	while (n < WIRE_EXTENTS &&
	       scan_next(&server->scan, off, &ranges[n].start, &ranges[n].len)) {
		off = ranges[n].start + ranges[n].len;
		n++;
	}
	head.len = (uint32_t)(n * sizeof(ranges[0]));
	put(server->fd, &head, sizeof(head));
	put(server->fd, ranges, head.len);
}

/* scan_volumes adds no volume of more places than one message carries. */
static void tell_places(struct server *server, uint64_t volume)
{
	static struct guest_range ranges[WIRE_EXTENTS];
	struct wire_head head = { .kind = WIRE_RANGES };
	const struct scan *scan = &server->scan;
	size_t n = 0;

	for (size_t i = 0; n < WIRE_EXTENTS && i < scan->places_len; i++)
		if (scan->places[i].volume == volume)
			ranges[n++] = scan->places[i].range;
	head.len = (uint32_t)(n * sizeof(ranges[0]));
	put(server->fd, &head, sizeof(head));
	put(server->fd, ranges, head.len);
}

void wire_serve(int fd, int memfd, void *arg)
{
	const struct wire_job *job = arg;
	struct server server = { .fd = fd };

	server.disk = (struct window){ .read = read_disk, .size = job->size, .arg = &server };
	server.scan = (struct scan){
		.disk = &server.disk, .memfd = memfd, .has_gaps = job->has_gaps,
	};
	for (;;) {
		struct wire_head head;

		get(fd, &head, sizeof(head));
		if (head.kind == WIRE_LOOK)
			look(&server, job);
		else if (head.kind == WIRE_SELECT)
			choose(&server, head.len);
		else if (head.kind == WIRE_FREE)
			tell_ranges(&server, head.off);
		else if (head.kind == WIRE_PLACES)
			tell_places(&server, head.off);
		else
			return;
	}
}
