/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A window over a raw file, and over one of which some bytes are taken to be others. */
#include "tests/guest/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int read_raw(const struct window *window, void *buf, size_t len, uint64_t off)
{
	struct raw *raw = window->arg;
	uint8_t *bytes = buf;

	raw->reads++;
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(raw->fd, bytes + done, len - done, (off_t)(off + done));

		if (n <= 0)
			return n ? -errno : -EIO;
		done += (size_t)n;
	}
	for (size_t i = 0; i < raw->len; i++)
		if (raw->changes[i].off >= off && raw->changes[i].off - off < len)
			bytes[raw->changes[i].off - off] = raw->changes[i].byte;
	return 0;
}

int raw_open(struct raw *raw, struct window *window, const char *file, int flags)
{
	raw->fd = open(file, flags);
	if (raw->fd < 0)
		return -errno;
	*window = (struct window){
		.read = read_raw, .arg = raw, .size = (uint64_t)lseek(raw->fd, 0, SEEK_END),
	};
	return 0;
}

void raw_change(struct raw *raw, uint64_t off, const void *buf, size_t len)
{
	for (size_t i = 0; i < len && raw->len < RAW_MAX_CHANGES; i++)
		raw->changes[raw->len++] =
			(struct raw_change){ off + i, ((const uint8_t *)buf)[i] };
}

uint64_t raw_random(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}
