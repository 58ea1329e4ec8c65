/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A sparse file in memory: pages of 4096 bytes in a hash table, absent ones are holes.
 *
 * Every operation takes the file's lock, so that threads may share it; a barrier has nothing to do.
 */
#include "tests/support/io_mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

struct page {
	struct page *next;
	uint64_t number;
	uint8_t data[PAGE];
};

struct mem_file {
	pthread_rwlock_t lock;
	struct page **bucket;	/* lock */
	size_t buckets, pages;	/* lock; buckets is a power of two */
	uint64_t size;		/* lock */
	uint64_t limit;		/* lock; bytes allocated, 0 for none */
	bool can_punch;
};

struct mem_io {
	struct vhd_io io;
	struct mem_file *file;
};

static void *must(void *p)
{
	if (!p) {
		perror("memory");
		abort();
	}
	return p;
}

static struct page **find(const struct mem_file *file, uint64_t number)
{
	size_t i = (size_t)(number * 0x9e3779b97f4a7c15 >> 20) & (file->buckets - 1);
	struct page **at = &file->bucket[i];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static void grow_table(struct mem_file *file)
{
	struct page **old = file->bucket;
	size_t n = file->buckets;

	file->buckets = n * 4;
	file->bucket = must(calloc(file->buckets, sizeof(*file->bucket)));
	for (size_t i = 0; i < n; i++) {
		for (struct page *p = old[i], *next; p; p = next) {
			struct page **at = find(file, p->number);

			next = p->next;
			p->next = NULL;
			*at = p;
		}
	}
	free(old);
}

static struct page *make_page(struct mem_file *file, uint64_t number)
{
	struct page **at = find(file, number);

	if (*at)
		return *at;
	if (file->pages >= file->buckets * 2) {
		grow_table(file);
		at = find(file, number);
	}
	*at = must(calloc(1, sizeof(**at)));
	(*at)->number = number;
	file->pages++;
	return *at;
}

static void drop_page(struct mem_file *file, uint64_t number)
{
	struct page **at = find(file, number), *page = *at;

	if (!page)
		return;
	*at = page->next;
	free(page);
	file->pages--;
}

struct mem_file *mem_new(void)
{
	struct mem_file *file = must(calloc(1, sizeof(*file)));

	pthread_rwlock_init(&file->lock, NULL);
	file->buckets = 16;
	file->bucket = must(calloc(file->buckets, sizeof(*file->bucket)));
	file->can_punch = true;
	return file;
}

struct mem_file *mem_clone(const struct mem_file *file)
{
	struct mem_file *copy = mem_new();

	for (size_t i = 0; i < file->buckets; i++)
		for (struct page *p = file->bucket[i]; p; p = p->next)
			memcpy(make_page(copy, p->number)->data, p->data, PAGE);
	copy->size = file->size;
	copy->can_punch = file->can_punch;
	return copy;
}

static bool is_zero(const uint8_t *buf, size_t len)
{
	return !len || (!buf[0] && memcmp(buf, buf + 1, len - 1) == 0);
}

struct mem_file *mem_load(const char *path)
{
	FILE *in = fopen(path, "rbe");
	struct mem_file *file;
	uint8_t buf[PAGE];
	size_t len;

	if (!in)
		return NULL;
	file = mem_new();
	while ((len = fread(buf, 1, sizeof(buf), in))) {
		if (!is_zero(buf, len))
			memcpy(make_page(file, file->size / PAGE)->data, buf, len);
		file->size += len;
	}
	fclose(in);
	return file;
}

int mem_save(const struct mem_file *file, const char *path)
{
	FILE *out = fopen(path, "wbe");
	int rc = 0;

	if (!out)
		return -errno;
	for (uint64_t off = 0; !rc && off < file->size; off += PAGE) {
		size_t len = file->size - off < PAGE ? (size_t)(file->size - off) : PAGE;
		uint8_t buf[PAGE];

		mem_read(file, buf, len, off);
		if (fwrite(buf, 1, len, out) != len)
			rc = -EIO;
	}
	if (fclose(out) && !rc)
		rc = -EIO;
	return rc;
}

void mem_free(struct mem_file *file)
{
	if (!file)
		return;
	for (size_t i = 0; i < file->buckets; i++) {
		for (struct page *p = file->bucket[i], *next; p; p = next) {
			next = p->next;
			free(p);
		}
	}
	free(file->bucket);
	pthread_rwlock_destroy(&file->lock);
	free(file);
}

/* The lock of a file that the caller may only read. */
static pthread_rwlock_t *lock_of(const struct mem_file *file)
{
	union { const struct mem_file *in; struct mem_file *out; } u = { .in = file };

	return &u.out->lock;
}

uint64_t mem_size(const struct mem_file *file)
{
	uint64_t size;

	pthread_rwlock_rdlock(lock_of(file));
	size = file->size;
	pthread_rwlock_unlock(lock_of(file));
	return size;
}

uint64_t mem_allocated(const struct mem_file *file)
{
	uint64_t bytes;

	pthread_rwlock_rdlock(lock_of(file));
	bytes = file->pages * (uint64_t)PAGE;
	pthread_rwlock_unlock(lock_of(file));
	return bytes;
}

static size_t in_page(uint64_t off, uint64_t len)
{
	size_t room = PAGE - (size_t)(off % PAGE);

	return len < room ? (size_t)len : room;
}

void mem_read(const struct mem_file *file, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;

	pthread_rwlock_rdlock(lock_of(file));
	for (size_t n; len; len -= n, off += n, to += n) {
		struct page *page = *find(file, off / PAGE);

		n = in_page(off, len);
		if (page)
			memcpy(to, page->data + off % PAGE, n);
		else
			memset(to, 0, n);
	}
	pthread_rwlock_unlock(lock_of(file));
}

void mem_write(struct mem_file *file, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;

	pthread_rwlock_wrlock(&file->lock);
	if (len && off + len > file->size)
		file->size = off + len;
	for (size_t n; len; len -= n, off += n, from += n) {
		n = in_page(off, len);
		memcpy(make_page(file, off / PAGE)->data + off % PAGE, from, n);
	}
	pthread_rwlock_unlock(&file->lock);
}

static void clear(struct mem_file *file, uint64_t len, uint64_t off)
{
	for (size_t n; len; len -= n, off += n) {
		struct page *page = *find(file, off / PAGE);

		n = in_page(off, len);
		if (n == PAGE)
			drop_page(file, off / PAGE);
		else if (page)
			memset(page->data + off % PAGE, 0, n);
	}
}

void mem_truncate(struct mem_file *file, uint64_t size)
{
	pthread_rwlock_wrlock(&file->lock);
	if (size < file->size)
		clear(file, (file->size - size + PAGE - 1) / PAGE * PAGE, size);
	file->size = size;
	pthread_rwlock_unlock(&file->lock);
}

void mem_punch(struct mem_file *file, uint64_t len, uint64_t off)
{
	pthread_rwlock_wrlock(&file->lock);
	if (off < file->size)
		clear(file, len < file->size - off ? len : file->size - off, off);
	pthread_rwlock_unlock(&file->lock);
}

void mem_set_punch(struct mem_file *file, bool can_punch)
{
	file->can_punch = can_punch;
}

void mem_set_limit(struct mem_file *file, uint64_t bytes)
{
	pthread_rwlock_wrlock(&file->lock);
	file->limit = bytes;
	pthread_rwlock_unlock(&file->lock);
}

/* Whether the host has the pages that a write needs. */
static bool has_room(struct mem_file *file, size_t len, uint64_t off)
{
	size_t more = 0;
	bool has;

	pthread_rwlock_rdlock(&file->lock);
	for (uint64_t page = off / PAGE; file->limit && page * PAGE < off + len; page++)
		more += !*find(file, page);
	has = !more || (file->pages + more) * PAGE <= file->limit;
	pthread_rwlock_unlock(&file->lock);
	return has;
}

static struct mem_file *file_of(struct vhd_io *io)
{
	return ((struct mem_io *)io)->file;
}

static ssize_t op_pread(struct vhd_io *io, void *buf, size_t len, uint64_t off)
{
	uint64_t size = mem_size(file_of(io));

	if (off >= size)
		return 0;
	if (len > size - off)
		len = (size_t)(size - off);
	mem_read(file_of(io), buf, len, off);
	return (ssize_t)len;
}

static ssize_t op_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	if (!has_room(file_of(io), len, off))
		return -ENOSPC;
	mem_write(file_of(io), buf, len, off);
	return (ssize_t)len;
}

static int op_barrier(struct vhd_io *io)
{
	(void)io;
	return 0;
}

static void op_drop_cache(struct vhd_io *io)
{
	(void)io;
}

static int op_truncate(struct vhd_io *io, uint64_t size)
{
	if (size > mem_size(file_of(io)))
		return -EINVAL;		/* the seam forbids it: see vhd/io.h */
	mem_truncate(file_of(io), size);
	return 0;
}

static int op_punch(struct vhd_io *io, uint64_t len, uint64_t off)
{
	if (!file_of(io)->can_punch)
		return -EOPNOTSUPP;
	mem_punch(file_of(io), len, off);
	return 0;
}

static int op_allocate(struct vhd_io *io, uint64_t len, uint64_t off)
{
	struct mem_file *file = file_of(io);

	if (!file->can_punch)
		return -EOPNOTSUPP;
	if (!has_room(file, (size_t)len, off))
		return -ENOSPC;
	pthread_rwlock_wrlock(&file->lock);
	for (uint64_t page = off / PAGE; page * PAGE < off + len; page++)
		make_page(file, page);
	pthread_rwlock_unlock(&file->lock);
	return 0;
}

static int op_next_stored(struct vhd_io *io, uint64_t off, uint64_t *start, uint64_t *end)
{
	const struct mem_file *file = file_of(io);
	uint64_t page = off / PAGE, size = mem_size(file);

	pthread_rwlock_rdlock(lock_of(file));
	while (page * PAGE < size && !*find(file, page))
		page++;
	*start = page * PAGE > off ? page * PAGE : off;
	while (page * PAGE < size && *find(file, page))
		page++;
	*end = page * PAGE < size ? page * PAGE : size;
	pthread_rwlock_unlock(lock_of(file));
	return *start < *end;
}

static int op_stat(struct vhd_io *io, struct vhd_io_stat *st)
{
	*st = (struct vhd_io_stat){
		.size = mem_size(file_of(io)),
		.allocated = mem_allocated(file_of(io)),
		.mode = 0600,
	};
	return 0;
}

static int op_lock(struct vhd_io *io, enum vhd_io_lock what)
{
	(void)io;
	(void)what;
	return 0;
}

static void op_close(struct vhd_io *io)
{
	free(io);
}

static const struct vhd_io_ops mem_ops = {
	.pread = op_pread,
	.pwrite = op_pwrite,
	.barrier = op_barrier,
	.drop_cache = op_drop_cache,
	.truncate = op_truncate,
	.punch = op_punch,
	.allocate = op_allocate,
	.next_stored = op_next_stored,
	.stat = op_stat,
	.lock = op_lock,
	.close = op_close,
};

struct vhd_io *mem_open(struct mem_file *file)
{
	struct mem_io *io = must(calloc(1, sizeof(*io)));

	io->io.ops = &mem_ops;
	io->file = file;
	return &io->io;
}
