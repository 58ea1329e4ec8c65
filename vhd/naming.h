/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words by which a differencing image says where its parent is. */
#ifndef VHD_NAMING_H
#define VHD_NAMING_H

#include "vhd/err.h"
#include "vhd/format.h"

/* Bytes kept for each text, so that another parent's fits later: in UTF-16 no path of a host, which
 * has 4096 bytes at most, takes more. */
#define NAMING_ROOM 8192u
#define NAMING_TEXTS 3u

struct naming {
	uint8_t name[512];	/* as in the header: the parent's file name */
	struct naming_text {
		uint32_t platform;
		uint32_t len;		/* bytes */
		uint8_t *text;		/* as in the file */
	} texts[NAMING_TEXTS];
	unsigned len;
};

/*
 * What the image at child is to say of a parent at parent. Neither need exist yet, but their
 * folders must. Links are followed: what is named is where the file really is. 0 or -errno;
 * *naming is to be given to naming_destroy in either case.
 */
int naming_make(struct naming *naming, const char *child, const char *parent, struct vhd_err *err);
void naming_destroy(struct naming *naming);

/* Where path is, or will be, as an absolute path without links: the caller's to free. NULL with
 * errno set. */
char *naming_real_path(const char *path);

/* Bytes to keep in the file for text i. */
uint32_t naming_room(const struct naming *naming, unsigned i);

#endif
