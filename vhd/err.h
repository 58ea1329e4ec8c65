/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making the sentence where the object is known. Private to the engine. */
#ifndef VHD_ERR_H
#define VHD_ERR_H

#include "vhd/vhd.h"

/* Stores code and the formatted sentence in err (if not NULL) and returns code. */
int vhd_err_set(struct vhd_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same, and ": " and the text of -code behind it. */
int vhd_err_errno(struct vhd_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
