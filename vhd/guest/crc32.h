/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checksum of GPT and of LVM2: CRC-32 of IEEE 802.3, lowest bit first. */
#ifndef VHD_GUEST_CRC32_H
#define VHD_GUEST_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* As it stands in the register, for going on with: nothing is inverted before or after. */
uint32_t crc32_update(uint32_t crc, const void *buf, size_t len);

#endif
