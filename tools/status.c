/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one place where the engine's error codes become exit statuses. */
#include "tools/status.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>

static enum status of_creation(int code)
{
	switch (-code) {
	case EINVAL:		/* a size that the format does not have: the user's */
		return STATUS_USAGE;
	case ENOENT:		/* not the image: the folder */
	case ELOOP:
	case EBUSY:
	case EILSEQ:
		return STATUS_CANNOT_CREATE;
	}
	return STATUS_FAILED;
}

static enum status of_any(int code)
{
	switch (-code) {
	case EILSEQ:
		return STATUS_NOT_VHD;
	case ENOENT:
	case ENOTDIR:
	case ELOOP:
		return STATUS_NO_IMAGE;
	case ENOTSUP:
		return STATUS_WRONG_TYPE;
	case EEXIST:
		return STATUS_CANNOT_CREATE;
	case EIO:
	case ENOTCONN:		/* the driver of a mount that the image is on was killed */
		return STATUS_IO;
	case EBUSY:
		return STATUS_IN_USE;
	case EROFS:
	case EACCES:
	case EPERM:
		return STATUS_NO_PERMISSION;
	case ENOSPC:
	case EDQUOT:
		return STATUS_HOST_FULL;
	}
	return STATUS_FAILED;
}

enum status status_of(int code, bool is_creation)
{
	enum status status;

	if (!is_creation)
		return of_any(code);
	status = of_creation(code);
	if (status == STATUS_FAILED)
		status = of_any(code);
	if (status == STATUS_FAILED || status == STATUS_NO_IMAGE)
		status = STATUS_CANNOT_CREATE;
	return status;
}

static int rank(enum status status)
{
	switch (status) {
	case STATUS_DONE:
		return 0;
	case STATUS_WASTE:
		return 1;
	case STATUS_DAMAGED:
		return 2;
	default:
		return 3;
	}
}

enum status status_worst(enum status first, enum status second)
{
	return rank(second) > rank(first) ? second : first;
}

const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{ STATUS_HOST_FULL, "no space on the host" },
		{ STATUS_NOT_VHD, "the image is damaged" },
		{ STATUS_NO_IMAGE, "the image or its parent was not found" },
		{ STATUS_WRONG_TYPE, "a type of image that is not served" },
		{ STATUS_IO, "an input/output error" },
		{ STATUS_IN_USE, "the image is in use" },
		{ STATUS_NO_PERMISSION, "read-only, or no permission" },
		{ 128 + SIGINT, "it was interrupted before it was done" },
		{ 128 + SIGTERM, "it was told to end before it was done" },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i].status == status)
			return texts[i].text;
	}
	return "the log tells more";
}
