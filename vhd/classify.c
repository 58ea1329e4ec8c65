/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is in a block: nothing that anybody needs, or something.
 *
 * A sector is owned when its bit is set; what lies under a clear bit is nobody's and is not even
 * read. A block may go when each owned sector would read the same without it: zeros, or in a
 * differencing image what the parents have. A free sector has no contents that anybody wants, but
 * it has to read as zeros afterwards, so in a differencing image the parents must have zeros there.
 *
 * Locking: still_lock, exclusive, keeps the map and the contents as they are; nothing else is held.
 */
#include "vhd/classify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/store.h"

#define PROBE 4096u		/* most blocks that are needed say so in their first page */
#define MIDDLE (64u << 10)
#define ALIGN 4096u

int classify_begin(struct classify *c, struct vhd_image *img, const struct vhd_free_map *free_map)
{
	uint32_t size = image_is_fixed(img) ? CLASSIFY_FIXED_BLOCK : img->map.block_size;
	size_t bytes = fmt_bitmap_size(size);

	*c = (struct classify){ .img = img, .free_map = free_map, .block_size = size };
	c->used = malloc(bytes);
	c->idle = malloc(bytes);
	c->free = malloc(bytes);
	c->buf = aligned_alloc(ALIGN, CLASSIFY_BUF);	/* as direct I/O wants it */
	c->below = img->parent ? aligned_alloc(ALIGN, CLASSIFY_BUF) : NULL;
	if (!c->used || !c->idle || !c->free || !c->buf || (img->parent && !c->below))
		return -ENOMEM;
	return 0;
}

void classify_end(struct classify *c)
{
	free(c->used);
	free(c->idle);
	free(c->free);
	free(c->buf);
	free(c->below);
}

uint32_t classify_blocks(const struct classify *c)
{
	return (uint32_t)((c->img->size + c->block_size - 1) / c->block_size);
}

/* Sets the bits of n sectors from `first` on. */
static void set_bits(uint8_t *bits, uint32_t first, uint32_t n)
{
	for (; n && first % 8; first++, n--)
		bits[first / 8] |= (uint8_t)(0x80 >> first % 8);
	memset(bits + first / 8, 0xff, n / 8);
	first += n / 8 * 8;
	for (n %= 8; n; first++, n--)
		bits[first / 8] |= (uint8_t)(0x80 >> first % 8);
}

static uint64_t count_bits(const uint8_t *bits, size_t bytes)
{
	uint64_t n = 0;

	for (size_t i = 0; i < bytes; i++)
		n += (unsigned)__builtin_popcount(bits[i]);
	return n;
}

/* Asks the map for the extent that ends behind off, if the last one does not. */
static int ask_map(struct classify *c, uint64_t off, struct vhd_err *err)
{
	uint64_t start, len;
	int rc;

	if (c->free_end > off)
		return 0;
	rc = c->free_map->next(c->free_map->arg, off, &start, &len, err);
	if (rc < 0)
		return rc;
	if (rc && (start < off || !len || __builtin_add_overflow(start, len, &c->free_end)))
		return vhd_err_set(err, -EINVAL, "%s: the map of free room says %llu bytes at "
				   "%llu, asked for what is behind %llu", c->img->name,
				   (unsigned long long)len, (unsigned long long)start,
				   (unsigned long long)off);
	c->free_start = rc ? start : UINT64_MAX;
	if (!rc)
		c->free_end = UINT64_MAX;
	return 0;
}

/* Fills c->free for a block. */
static int mark_free(struct classify *c, const struct classify_block *b, struct vhd_err *err)
{
	uint64_t end = b->off + b->len;

	memset(c->free, 0, fmt_bitmap_size(c->block_size));
	for (uint64_t off = b->off; c->free_map && off < end; off = c->free_end) {
		uint64_t from, to;
		int rc = ask_map(c, off, err);

		if (rc)
			return rc;
		if (c->free_start >= end)
			break;
		from = c->free_start > b->off ? c->free_start - b->off : 0;
		to = (c->free_end < end ? c->free_end : end) - b->off;
		from = (from + FMT_SECTOR - 1) / FMT_SECTOR;	/* whole sectors alone */
		to /= FMT_SECTOR;
		if (to > from)
			set_bits(c->free, (uint32_t)from, (uint32_t)(to - from));
	}
	return 0;
}

/* Fills c->used and c->idle. */
static int mark_owned(struct classify *c, uint32_t blk, const struct classify_block *b)
{
	size_t bytes = fmt_bitmap_size(c->block_size);
	uint32_t sectors = (uint32_t)((b->len + FMT_SECTOR - 1) / FMT_SECTOR);
	int rc = 0;

	memset(c->idle, 0, bytes);
	set_bits(c->idle, 0, sectors);	/* what lies past the disk's end is nobody's */
	if (image_is_fixed(c->img))
		memset(c->used, 0xff, bytes);
	else
		rc = store_copy_bits(c->img, blk, c->used);
	for (size_t i = 0; !rc && i < bytes; i++) {
		uint8_t owned = c->used[i] & c->idle[i];

		c->used[i] = owned & (uint8_t)~c->free[i];
		c->idle[i] = owned & c->free[i];
	}
	return rc;
}

bool classify_run(const uint8_t *bits, uint64_t block_len, uint32_t *in, uint32_t *len)
{
	uint32_t sector = *in / FMT_SECTOR;
	uint32_t sectors = (uint32_t)((block_len + FMT_SECTOR - 1) / FMT_SECTOR), end;

	while (sector < sectors && !fmt_bit(bits, sector))
		sector += bits[sector / 8] ? 1 : 8 - sector % 8;
	if (sector >= sectors)
		return false;
	for (end = sector; end < sectors && fmt_bit(bits, end);)
		end += bits[end / 8] == 0xff ? 8 - end % 8 : 1;
	if (end > sectors)
		end = sectors;
	*in = sector * FMT_SECTOR;
	*len = (end - sector) * FMT_SECTOR;
	if (*len > block_len - *in)	/* the last sector of a raw file may be a part of one */
		*len = (uint32_t)(block_len - *in);
	return true;
}

/* What the disk reads at b's byte `in` without this image's sector: in c->below; NULL for zeros. */
static int read_expected(struct classify *c, const struct classify_block *b, uint32_t in,
			 size_t len, struct vhd_err *err)
{
	return c->below ? image_read_below(c->img, c->below, len, b->off + in, err) : 0;
}

/* Whether len bytes are what they would be without this image: free ones zeros, others the same. */
static int is_expected(struct classify *c, const struct classify_block *b, uint32_t in, size_t len,
		       bool is_free, bool *is_same, struct vhd_err *err)
{
	int rc = read_expected(c, b, in, len, err);

	if (!rc && !is_free) {
		rc = image_read_file(c->img, c->buf, len, b->data_off + in);
		c->bytes_read += len;
	}
	if (rc)
		return rc;
	if (is_free)
		*is_same = !c->below || io_is_zero(c->below, len);
	else
		*is_same = c->below ? !memcmp(c->buf, c->below, len) : io_is_zero(c->buf, len);
	return 0;
}

/* Looks at all runs of one kind until one decides; small reads first. */
static int compare_runs(struct classify *c, const struct classify_block *b, const uint8_t *bits,
			bool is_free, bool *is_same, struct vhd_err *err)
{
	uint32_t in = 0, len;
	size_t most = PROBE;

	while (*is_same && classify_run(bits, b->len, &in, &len)) {
		for (uint32_t end = in + len; *is_same && in < end;) {
			size_t n = end - in < most ? end - in : most;
			int rc = is_expected(c, b, in, n, is_free, is_same, err);

			if (rc)
				return rc;
			in += (uint32_t)n;
			most = most == PROBE ? MIDDLE : CLASSIFY_BUF;
		}
	}
	return 0;
}

static int decide(struct classify *c, uint32_t blk, struct classify_block *b, struct vhd_err *err)
{
	size_t bytes = fmt_bitmap_size(c->block_size);
	int rc = mark_owned(c, blk, b);

	if (rc)
		return rc;
	b->used = count_bits(c->used, bytes) * FMT_SECTOR;
	b->idle = count_bits(c->idle, bytes) * FMT_SECTOR;
	if (image_is_fixed(c->img))
		return 0;
	b->is_droppable = true;
	rc = compare_runs(c, b, c->used, false, &b->is_droppable, err);
	if (!rc && c->below)
		rc = compare_runs(c, b, c->idle, true, &b->is_droppable, err);
	return rc;
}

/* Where blk is, and what the map says of it. */
static int look_up(struct classify *c, uint32_t blk, struct classify_block *b, struct vhd_err *err)
{
	uint64_t off = (uint64_t)blk * c->block_size;
	int rc;

	*b = (struct classify_block){ .off = off, .len = c->img->size - off, .data_off = off };
	if (err)
		err->code = 0;
	if (b->len > c->block_size)
		b->len = c->block_size;
	if (!image_is_fixed(c->img))
		b->data_off = map_data_off(&c->img->map, c->img->map.entry[blk]);
	rc = mark_free(c, b, err);
	b->free = count_bits(c->free, fmt_bitmap_size(c->block_size)) * FMT_SECTOR;
	return rc;
}

int classify_is_idle(struct classify *c, uint32_t blk, bool *is_idle, struct vhd_err *err)
{
	struct classify_block b;
	int rc = look_up(c, blk, &b, err);

	*is_idle = !rc && b.free == b.len;
	if (rc || *is_idle || !b.free)	/* most blocks are the one or the other */
		return rc;
	rc = mark_owned(c, blk, &b);
	*is_idle = !rc && !count_bits(c->used, fmt_bitmap_size(c->block_size));
	return rc ? vhd_err_errno(err, rc, "%s: cannot read block %u", c->img->name, blk) : 0;
}

int classify_block(struct classify *c, uint32_t blk, struct classify_block *out,
		   struct vhd_err *err)
{
	struct classify_block b;
	int rc = look_up(c, blk, &b, err);

	if (!rc && b.free == b.len && !image_is_fixed(c->img) && !c->img->parent) {
		b.is_droppable = true;	/* whatever its bits are */
		b.idle = b.len;
		memset(c->used, 0, fmt_bitmap_size(c->block_size));
		memcpy(c->idle, c->free, fmt_bitmap_size(c->block_size));
	} else if (!rc) {
		rc = decide(c, blk, &b, err);
	}
	*out = b;
	if (rc && !(err && err->code == rc))
		vhd_err_errno(err, rc, "%s: cannot read block %u", c->img->name, blk);
	return rc;
}
