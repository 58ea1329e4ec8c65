/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A second reader of VHD images, written from the format reference alone: small, slow, and sharing
 * no code with the engine, so that both must be wrong in the same way to agree on an error. */
#ifndef TESTS_SUPPORT_ORACLE_H
#define TESTS_SUPPORT_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/io_mem.h"

struct oracle_footer {
	uint32_t type;
	uint64_t data_offset, size;	/* bytes */
	uint8_t uuid[16];
};

struct oracle_header {
	uint64_t table;			/* bytes */
	uint32_t entries, block_size;
	uint8_t parent_uuid[16];
};

/* Whether raw is a valid structure; *out is filled if so. */
bool oracle_parse_footer(struct oracle_footer *out, const uint8_t raw[512]);
bool oracle_parse_header(struct oracle_header *out, const uint8_t raw[1024]);

struct oracle;

/* Reads len bytes at off of the file, zeros past its end. */
typedef void (*oracle_read_fn)(void *arg, void *buf, size_t len, uint64_t off);

/* NULL, and why as words, when the image cannot be opened. arg's owner is the caller. */
struct oracle *oracle_open(oracle_read_fn read, void *arg, uint64_t file_size, const char **why);
struct oracle *oracle_open_mem(struct mem_file *file, const char **why);
struct oracle *oracle_open_path(const char *path, const char **why);
void oracle_close(struct oracle *o);

/* child reads from parent what it does not own. The parent stays the caller's. */
void oracle_set_parent(struct oracle *child, struct oracle *parent);
struct oracle *oracle_parent(const struct oracle *o);	/* or NULL */

uint64_t oracle_size(const struct oracle *o);		/* of the disk, bytes */
uint32_t oracle_type(const struct oracle *o);
uint32_t oracle_block_size(const struct oracle *o);
uint32_t oracle_entry(const struct oracle *o, uint32_t blk);	/* UINT32_MAX: unallocated */
bool oracle_has_trailer(const struct oracle *o);	/* the trailing footer is there and valid */
const uint8_t *oracle_uuid(const struct oracle *o);
const uint8_t *oracle_parent_uuid(const struct oracle *o);
void oracle_read(const struct oracle *o, void *buf, size_t len, uint64_t off);

struct oracle_result {
	unsigned errors;	/* damage */
	unsigned leaks;		/* bytes that nothing uses, in runs; a missing trailing footer */
	uint64_t leaked;	/* bytes */
	char first[256];	/* the first error */
};

/* Every entry within the file, none over another, the metadata or the trailing footer. */
void oracle_check(const struct oracle *o, struct oracle_result *result);

#endif
