/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of any layout, made by hand without the engine, and ways to damage them. */
#ifndef TESTS_SUPPORT_IMAGEGEN_H
#define TESTS_SUPPORT_IMAGEGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/io_mem.h"

enum gen_bits {
	GEN_BITS_ALL,		/* all ones, every sector has data */
	GEN_BITS_EXACT,		/* every other sector: 1 over data, 0 over zeros */
	GEN_BITS_JUNK,		/* every other sector: 1 over data, 0 over junk (tapdisk on LVM) */
};

struct gen_block {
	uint32_t blk;
	uint32_t gap;		/* bytes of junk before it */
	enum gen_bits bits;
};

/* All zero is a sound, empty, dynamic image of packed layout; size and block_size must be set. */
struct gen_opts {
	uint64_t size;			/* bytes */
	uint32_t block_size;		/* bytes */
	uint32_t type;			/* 0: 3, dynamic; 2 fixed, 4 differencing */
	const char *creator;		/* NULL: "tst " */
	uint32_t extra_entries;		/* more than the disk needs; 0xff as the padding */
	uint64_t header;		/* byte offset; 0: 512 */
	uint64_t table;			/* byte offset; 0: 1536, or behind the blocks */
	bool is_table_behind;		/* the BAT after the blocks */
	uint8_t padding;		/* of the BAT's last sector: 0 or 0xff */
	uint32_t align;			/* of the data areas: 0 packed, else 4096 */
	uint32_t metadata_gap;		/* bytes left between BAT and the first block, of junk */
	const struct gen_block *blocks;
	unsigned blocks_len;
	uint64_t leak;			/* bytes of junk behind the last block */
	uint32_t footer_align;		/* T ends on a multiple of it; 0: 512 */
	uint64_t footer_at;		/* byte offset of T, if it is not to be computed */
	bool has_no_trailer;
	bool is_short_footer;		/* 511 bytes */
	uint32_t short_last;		/* bytes of data that the last block lacks (512s) */
	uint32_t garbage;		/* bytes behind T */
	bool has_batmap;		/* blktap's, with its blocks marked full */
	uint32_t marker;		/* differs the uuid and the data of several images */
	uint32_t parent_marker;		/* type 4: marker of the parent */
	const char *parent_name;	/* type 4: ASCII */
};

/* The image, which is the caller's. */
struct mem_file *gen_make(const struct gen_opts *opts);

/* What the guest finds in a sector that was written version times; never zeros. */
void gen_sector(uint8_t buf[512], uint64_t sector, uint32_t version);
/* Version of the data that gen_make puts in its blocks. */
#define GEN_VERSION(marker) (0x80000000u | (marker))
/* Bytes that are nobody's. */
void gen_junk(uint8_t *buf, size_t len, uint64_t off);
/* Whether sector of one of opts' blocks has its bit set and data in it. */
bool gen_has_data(const struct gen_opts *opts, uint64_t sector);
uint32_t gen_bitmap_size(uint32_t block_size);
void gen_uuid(uint8_t uuid[16], uint32_t marker);

/* Damage, one kind each. The image has at least two blocks where two are named. */
void gen_damage_trailer_missing(struct mem_file *file);		/* its sector is zeros */
void gen_damage_trailer_checksum(struct mem_file *file);
void gen_damage_leading_missing(struct mem_file *file);
void gen_damage_leading_differs(struct mem_file *file);		/* valid, half the size */
void gen_damage_both_footers(struct mem_file *file);
void gen_damage_header_checksum(struct mem_file *file);
void gen_damage_header_past_end(struct mem_file *file);		/* both footers say so */
void gen_damage_table_past_end(struct mem_file *file);
void gen_damage_table_too_small(struct mem_file *file);
void gen_damage_block_size(struct mem_file *file, uint32_t block_size);
void gen_damage_entry(struct mem_file *file, uint32_t blk, uint32_t entry);
void gen_damage_entry_past_end(struct mem_file *file, uint32_t blk);
void gen_damage_entry_in_metadata(struct mem_file *file, uint32_t blk);
void gen_damage_duplicate_entry(struct mem_file *file, uint32_t blk, uint32_t of);
void gen_damage_overlap(struct mem_file *file, uint32_t blk, uint32_t of);
void gen_damage_cut(struct mem_file *file, uint64_t len);	/* len bytes off the end */
void gen_damage_trailing_garbage(struct mem_file *file, uint32_t len);
void gen_damage_poison(struct mem_file *file);			/* blktap's pending resize */
void gen_damage_saved_state(struct mem_file *file);

#endif
