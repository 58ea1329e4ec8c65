/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "10G" and bytes. Public to the programs. */
#ifndef VHD_UNITS_H
#define VHD_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Bytes from "512", "100M", "1.5G"; K M G T in powers of 1024, with or without "iB" or "B".
 * 0, or -EINVAL (no such size) or -ERANGE (does not fit). */
int units_parse(const char *text, uint64_t *bytes);

/* "12.6 GiB", "512 bytes"; always terminated. Returns buf. */
char *units_format(uint64_t bytes, char *buf, size_t len);

#endif
