/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A sparse file in memory, and the engine's I/O over it. */
#ifndef TESTS_SUPPORT_IO_MEM_H
#define TESTS_SUPPORT_IO_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vhd/io.h"

/* The file: outlives every io over it, as a file on a disk does. */
struct mem_file;

struct mem_file *mem_new(void);
struct mem_file *mem_clone(const struct mem_file *file);
/* The bytes of the file at path, or NULL. Holes stay holes where the host tells of them. */
struct mem_file *mem_load(const char *path);
/* Writes the file to path, replacing what is there. 0 or -errno. */
int mem_save(const struct mem_file *file, const char *path);
void mem_free(struct mem_file *file);

uint64_t mem_size(const struct mem_file *file);
uint64_t mem_allocated(const struct mem_file *file);	/* bytes, in pages of 4096 */
/* What lies past the end reads as zeros. */
void mem_read(const struct mem_file *file, void *buf, size_t len, uint64_t off);
void mem_write(struct mem_file *file, const void *buf, size_t len, uint64_t off);
void mem_truncate(struct mem_file *file, uint64_t size);	/* also lengthens */
void mem_punch(struct mem_file *file, uint64_t len, uint64_t off);
/* Whether the host that file plays can punch and fill holes; it can unless told otherwise. */
void mem_set_punch(struct mem_file *file, bool can_punch);

/* The host is full at so many bytes allocated: writes that need more fail with ENOSPC. 0: never. */
void mem_set_limit(struct mem_file *file, uint64_t bytes);

/* A new io over file; closing it leaves the file. */
struct vhd_io *mem_open(struct mem_file *file);

#endif
