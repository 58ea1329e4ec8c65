/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CRC with which XFS and btrfs guard what they keep of themselves (Castagnoli's polynomial). */
#ifndef VHD_GUEST_CRC32C_H
#define VHD_GUEST_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * The CRC of len bytes that follow those whose CRC is crc; 0 for those that follow none. What goes
 * in and out is the finished CRC ("123456789" gives 0xe3069283): it may be compared with what is on
 * the disk as it is, and carried on with.
 */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

#endif
