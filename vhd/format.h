/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The on-disk structures: decode, encode, checksum, validate. No I/O, no allocation, no state.
 *
 * Big-endian bytes exist only in the raw arrays given to these functions; the structures hold
 * values of the host. Field facts: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0
 * and what was measured of other writers (docs/format.md).
 */
#ifndef VHD_FORMAT_H
#define VHD_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FMT_SECTOR 512u
#define FMT_HEADER_SIZE 1024u
#define FMT_LOCATORS 8
#define FMT_UNUSED 0xffffffffu			/* BAT entry of an unallocated block */
#define FMT_NO_OFFSET UINT64_MAX		/* a fixed image's data offset, a header's "next" */
#define FMT_MAX_DYNAMIC (0xff000000ull * 512)	/* bytes, 2040 GiB */
#define FMT_MIN_BLOCK 4096u
#define FMT_MAX_BLOCK (256u << 20)
#define FMT_DEFAULT_BLOCK (2u << 20)
#define FMT_EPOCH 946684800			/* 2000-01-01 in seconds since 1970 */

/* What kind of path to the parent a locator holds. */
#define FMT_PLATFORM(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define FMT_W2RU FMT_PLATFORM('W', '2', 'r', 'u')	/* relative, UTF-16LE */
#define FMT_W2KU FMT_PLATFORM('W', '2', 'k', 'u')	/* absolute, UTF-16LE */
#define FMT_WI2R FMT_PLATFORM('W', 'i', '2', 'r')	/* both in 8 bits, of old */
#define FMT_WI2K FMT_PLATFORM('W', 'i', '2', 'k')
#define FMT_MACX FMT_PLATFORM('M', 'a', 'c', 'X')	/* a file URL */

struct fmt_geometry {
	uint16_t cylinders;
	uint8_t heads, sectors;
};

struct fmt_footer {
	uint32_t features, version;
	uint64_t data_offset;		/* bytes; where the dynamic header is */
	uint32_t timestamp;		/* seconds since 2000 */
	uint8_t creator[4];
	uint32_t creator_version;
	uint8_t creator_os[4];
	uint64_t original_size, current_size;	/* bytes */
	struct fmt_geometry geometry;
	uint32_t type;
	uint8_t uuid[16];
	uint8_t saved_state;
	uint8_t hidden;			/* blktap's byte 85; otherwise reserved */
};

struct fmt_locator {
	uint32_t platform;		/* four characters as a number, 0 = none */
	uint32_t space;			/* bytes reserved, in whichever unit; 0 if invalid */
	uint32_t length;		/* bytes of the blob */
	uint64_t offset;		/* bytes */
};

struct fmt_header {
	uint64_t next;
	uint64_t table_offset;		/* bytes */
	uint32_t version;
	uint32_t entries;
	uint32_t block_size;		/* bytes of data */
	uint8_t parent_uuid[16];
	uint32_t parent_timestamp;
	uint8_t parent_name[512];	/* UTF-16BE, zero padded */
	struct fmt_locator locators[FMT_LOCATORS];
};

/* NULL if raw is a valid footer or header (and *out is filled), else which field is wrong and how,
 * as words to follow "the trailing footer": a static string. */
const char *fmt_footer_decode(struct fmt_footer *out, const uint8_t raw[FMT_SECTOR]);
const char *fmt_header_decode(struct fmt_header *out, const uint8_t raw[FMT_HEADER_SIZE]);

/* Encodes with the checksum; reserved bytes become zero. */
void fmt_footer_encode(uint8_t raw[FMT_SECTOR], const struct fmt_footer *footer);
void fmt_header_encode(uint8_t raw[FMT_HEADER_SIZE], const struct fmt_header *header);

/* Changes where a raw footer says that the header is, and its sum; other bytes stay as they are. */
void fmt_footer_set_data_offset(uint8_t raw[FMT_SECTOR], uint64_t off);

/* Changes the unique id in a raw footer, and its sum; other bytes stay as they are. */
void fmt_footer_set_uuid(uint8_t raw[FMT_SECTOR], const uint8_t uuid[16]);

/* Changes the current size of the disk (bytes) and the geometry that goes with it in a raw footer,
 * and its sum; other bytes stay as they are. */
void fmt_footer_set_size(uint8_t raw[FMT_SECTOR], uint64_t size);

/* Changes where a raw header says that the block table is (bytes), and how many entries it has, and
 * its sum. All of that is in the header's first sector. */
void fmt_header_set_table(uint8_t raw[FMT_HEADER_SIZE], uint64_t off, uint32_t entries);

/* Changes what a raw header says of the parent (id, time, name, locators), and its sum; other bytes
 * stay as they are. */
void fmt_header_set_parent(uint8_t raw[FMT_HEADER_SIZE], const struct fmt_header *header);

/* Changes where the header of a tap batmap says that the map is (bytes) and its length, and that
 * the map is all clear. */
void fmt_batmap_place(uint8_t raw[FMT_SECTOR], uint64_t map_off, uint32_t sectors);

/* Complement of the byte sum of raw with the four bytes at skip counted as zero. */
uint32_t fmt_checksum(const uint8_t *raw, size_t len, size_t skip);

bool fmt_is_footer_cookie(const uint8_t raw[8]);
bool fmt_is_header_cookie(const uint8_t raw[8]);
bool fmt_is_poison_cookie(const uint8_t raw[8]);	/* blktap's pending resize */

/* "a VHDX image", "a qcow2 image", ... if the head of a file is another format's; else NULL. */
const char *fmt_foreign(const uint8_t *head, size_t len);

/* Geometry for a disk of size bytes, as the specification computes it. */
struct fmt_geometry fmt_geometry_of(uint64_t size);

/* Bytes of a block's sector bitmap area: one bit a sector, padded to a sector. */
uint32_t fmt_bitmap_size(uint32_t block_size);

/* BAT entries as they lie on disk. Inline, since an open reads a million of them. */
static inline uint32_t fmt_entry_get(const uint8_t raw[4])
{
	return (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
}
void fmt_entry_put(uint8_t raw[4], uint32_t entry);

/* Bit of one sector in a bitmap: most significant bit of byte 0 is sector 0. */
static inline bool fmt_bit(const uint8_t *bitmap, uint32_t sector)
{
	return bitmap[sector / 8] & (0x80 >> (sector % 8));
}

#endif
