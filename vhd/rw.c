/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading, writing and zeroing the virtual disk.
 *
 * A request is cut at block edges. Reads and writes of sectors that the file already owns go
 * straight to their place under the shared map_lock, so that a slot cannot change hands under them.
 * Everything that changes the map (own.c: a new block, a bit that becomes 1; a block given back)
 * does so under the exclusive lock, after its writes have returned (rule 2), and of two who would
 * give a block its slot one waits for its turn.
 */
#include <errno.h>
#include <string.h>

#include "vhd/commit.h"
#include "vhd/image.h"
#include "vhd/own.h"
#include "vhd/store.h"

/* The sentence of whoever failed deeper down stands. */
static int explain(const struct vhd_image *img, int rc, const char *verb, struct vhd_err *err)
{
	return err && err->code == rc ? rc :
	       vhd_err_errno(err, rc, "%s: cannot %s", img->name, verb);
}

static int check_range(const struct vhd_image *img, uint64_t len, uint64_t off,
		       struct vhd_err *err)
{
	if (err)
		err->code = 0;
	if (off <= img->size && len <= img->size - off)
		return 0;
	return vhd_err_set(err, -EINVAL, "%s: %llu bytes at %llu reach past the end of the disk",
			   img->name, (unsigned long long)len, (unsigned long long)off);
}

static int check_writable(const struct vhd_image *img, struct vhd_err *err)
{
	if (img->is_readonly)
		return vhd_err_set(err, -EROFS, "%s: opened read-only", img->name);
	return store_check_poison(img, err);
}

/* A write of the guest's: may it begin? If so, end_write follows. */
static int begin_write(struct vhd_image *img, uint64_t len, uint64_t off, struct vhd_err *err)
{
	int rc = check_range(img, len, off, err);

	if (!rc)
		rc = check_writable(img, err);
	/* The job that stands in the way may last for hours: an error rather than a hung guest. */
	if (!rc && pthread_rwlock_tryrdlock(&img->still_lock))
		rc = vhd_err_set(err, -EBUSY, "%s: cannot be written while its room is reclaimed",
				 img->name);
	return rc;
}

static void end_write(struct vhd_image *img)
{
	pthread_rwlock_unlock(&img->still_lock);
}

static struct own_piece cut(const struct vhd_image *img, uint64_t len, uint64_t off)
{
	uint32_t size = img->map.block_size;
	struct own_piece piece = { .blk = (uint32_t)(off / size), .in = (uint32_t)(off % size) };

	piece.len = len < size - piece.in ? (size_t)len : size - piece.in;
	return piece;
}

static bool is_owned(const struct map_bits *bits, uint32_t in, size_t len)
{
	bool is_set;

	return own_run(bits, in, len, &is_set) == len && is_set;
}

int image_read_below(struct vhd_image *img, void *buf, size_t len, uint64_t off,
		     struct vhd_err *err)
{
	struct vhd_image *parent = img->parent;
	size_t has = 0;

	if (parent && off < parent->size)
		has = len < parent->size - off ? len : (size_t)(parent->size - off);
	memset((uint8_t *)buf + has, 0, len - has);
	return has ? vhd_pread(parent, buf, has, off, err) : 0;
}

int image_read_file(struct vhd_image *img, void *buf, size_t len, uint64_t file_off)
{
	size_t has = len;

	/* A short last block is cut by the footer, which is not the guest's. */
	if (file_off >= img->data_limit)
		has = 0;
	else if (len > img->data_limit - file_off)
		has = (size_t)(img->data_limit - file_off);
	memset((uint8_t *)buf + has, 0, len - has);
	return has ? io_pread(img->io, buf, has, file_off) : 0;
}

/* A mapped block; map_lock is held. */
static int read_mapped(struct vhd_image *img, uint8_t *buf, struct own_piece p, struct vhd_err *err)
{
	uint64_t data = map_data_off(&img->map, img->map.entry[p.blk]);
	int rc;
	const struct map_bits *bits = store_bits(img, p.blk, &rc);

	while (!rc && p.len) {
		bool is_set;
		size_t n = own_run(bits, p.in, p.len, &is_set);

		if (is_set)
			rc = image_read_file(img, buf, n, data + p.in);
		else
			rc = image_read_below(img, buf, n,
					      (uint64_t)p.blk * img->map.block_size + p.in, err);
		buf += n;
		p.in += (uint32_t)n;
		p.len -= n;
	}
	return rc;
}

static int read_piece(struct vhd_image *img, uint8_t *buf, struct own_piece p, struct vhd_err *err)
{
	int rc = 0;

	pthread_rwlock_rdlock(&img->map_lock);
	if (img->map.entry[p.blk] != FMT_UNUSED) {
		rc = read_mapped(img, buf, p, err);
		pthread_rwlock_unlock(&img->map_lock);
		return rc;
	}
	pthread_rwlock_unlock(&img->map_lock);
	return image_read_below(img, buf, p.len, (uint64_t)p.blk * img->map.block_size + p.in, err);
}

int vhd_pread(vhd_image *img, void *buf, size_t len, uint64_t off, struct vhd_err *err)
{
	uint8_t *to = buf;
	int rc = check_range(img, len, off, err);

	if (rc)
		return rc;
	if (image_is_fixed(img))
		rc = io_pread(img->io, buf, len, off);
	while (!image_is_fixed(img) && !rc && len) {
		struct own_piece p = cut(img, len, off);

		rc = read_piece(img, to, p, err);
		to += p.len;
		off += p.len;
		len -= p.len;
	}
	return rc ? explain(img, rc, "read", err) : 0;
}

static uint64_t piece_off(const struct vhd_image *img, struct own_piece p)
{
	return (uint64_t)p.blk * img->map.block_size + p.in;
}

/* Whether no parent has any of p: without this image it reads as zeros. */
static int is_nothing(struct vhd_image *img, struct own_piece p, bool *is, struct vhd_err *err)
{
	uint64_t zeros;
	int rc = image_zeros_below(img, p.len, piece_off(img, p), &zeros, err);

	*is = !rc && zeros == p.len;
	return rc;
}

/* Under the shared lock: a write that changes no metadata. False if it would. */
static bool write_in_place(struct vhd_image *img, const uint8_t *buf, struct own_piece p, int *rc,
			   struct vhd_err *err)
{
	uint32_t entry;
	bool is_done = false;

	*rc = 0;
	pthread_rwlock_rdlock(&img->map_lock);
	entry = img->map.entry[p.blk];
	if (entry == FMT_UNUSED) {
		if (img->detect_zeroes && io_is_zero(buf, p.len))
			*rc = is_nothing(img, p, &is_done, err);
	} else {
		const struct map_bits *bits = store_bits(img, p.blk, rc);

		is_done = !*rc && is_owned(bits, p.in, p.len);
		if (is_done)
			*rc = store_write(img, buf, p.len, map_data_off(&img->map, entry) + p.in);
	}
	pthread_rwlock_unlock(&img->map_lock);
	return *rc || is_done;
}

static bool has_quarantine(struct vhd_image *img)
{
	bool has;

	pthread_rwlock_rdlock(&img->map_lock);
	has = img->map.quarantine_len;
	pthread_rwlock_unlock(&img->map_lock);
	return has;
}

/* Sectors become the image's own, room is made for them. buf NULL: zeros. */
static int take(struct vhd_image *img, const uint8_t *buf, struct own_piece p, struct vhd_err *err)
{
	pthread_mutex_t *turn = &img->turns[p.blk % IMAGE_TURNS];
	bool may_retry = true;
	int rc;

	pthread_mutex_lock(turn);
	for (;;) {
		rc = own_write(img, buf, p, err);
		/* rule 3: a host that is full may have room once the quarantined are punched */
		if (rc == -ENOSPC && may_retry && has_quarantine(img))
			may_retry = false;
		else if (rc != -EAGAIN)
			break;
		rc = commit_make_room(img, err);
		if (rc)
			break;
	}
	pthread_mutex_unlock(turn);
	return rc;
}

static int write_piece(struct vhd_image *img, const uint8_t *buf, struct own_piece p,
		       struct vhd_err *err)
{
	int rc;

	return write_in_place(img, buf, p, &rc, err) ? rc : take(img, buf, p, err);
}

int vhd_pwrite(vhd_image *img, const void *buf, size_t len, uint64_t off, struct vhd_err *err)
{
	const uint8_t *from = buf;
	int rc = begin_write(img, len, off, err);

	if (rc)
		return rc;
	if (image_is_fixed(img))
		rc = store_write(img, buf, len, off);
	while (!image_is_fixed(img) && !rc && len) {
		struct own_piece p = cut(img, len, off);

		rc = write_piece(img, from, p, err);
		from += p.len;
		off += p.len;
		len -= p.len;
	}
	end_write(img);
	return rc ? explain(img, rc, "write", err) : 0;
}

/* A whole block gives its slot back. */
static int drop_block(struct vhd_image *img, uint32_t blk)
{
	int rc = 0;

	pthread_rwlock_wrlock(&img->map_lock);
	if (img->map.entry[blk] != FMT_UNUSED) {
		rc = map_reserve(&img->map);
		if (!rc)
			map_drop(&img->map, blk);
	}
	pthread_rwlock_unlock(&img->map_lock);
	return rc;
}

/*
 * Zeros that change no metadata: not so where the parents have something and a bit is 0. Without
 * parents a sector whose bit is 0 reads as zeros already, and stays so. map_lock is held.
 */
static int zero_in_place(struct vhd_image *img, struct own_piece p, bool *is_done,
			 struct vhd_err *err)
{
	const struct map_bits *bits = MAP_BITS_FULL;
	uint32_t entry = img->map.entry[p.blk];
	int rc = 0;

	*is_done = false;
	if (entry == FMT_UNUSED)
		return is_nothing(img, p, is_done, err);
	if (img->parent)
		bits = store_bits(img, p.blk, &rc);
	if (rc || !is_owned(bits, p.in, p.len))
		return rc;
	*is_done = true;
	return store_zero(img, p.len, map_data_off(&img->map, entry) + p.in);
}

static int zero_piece(struct vhd_image *img, struct own_piece p, enum vhd_zero_how how,
		      struct vhd_err *err)
{
	bool is_done = false;
	int rc = 0;

	if (how == VHD_ZERO_RELEASE && !p.in && p.len >= image_blk_len(img, p.blk)) {
		rc = is_nothing(img, p, &is_done, err);
		if (rc)
			return rc;
		if (is_done)
			return drop_block(img, p.blk);
	}
	pthread_rwlock_rdlock(&img->map_lock);
	rc = zero_in_place(img, p, &is_done, err);
	pthread_rwlock_unlock(&img->map_lock);
	return rc || is_done ? rc : take(img, NULL, p, err);
}

/* Bytes from off on, at most len, in blocks that are unallocated: nothing to do there. */
static uint64_t skip_unallocated(struct vhd_image *img, uint64_t len, uint64_t off)
{
	uint64_t done = 0;

	pthread_rwlock_rdlock(&img->map_lock);
	while (done < len) {
		struct own_piece p = cut(img, len - done, off + done);

		if (img->map.entry[p.blk] != FMT_UNUSED)
			break;
		done += p.len;
	}
	pthread_rwlock_unlock(&img->map_lock);
	return done;
}

/* Of those, the bytes up to which the parents have nothing either. */
static int skip_nothing(struct vhd_image *img, uint64_t len, uint64_t off, uint64_t *done,
			struct vhd_err *err)
{
	return image_zeros_below(img, skip_unallocated(img, len, off), off, done, err);
}

int vhd_zero(vhd_image *img, uint64_t len, uint64_t off, enum vhd_zero_how how,
	     struct vhd_err *err)
{
	int rc = begin_write(img, len, off, err);

	if (rc)
		return rc;
	if (image_is_fixed(img))
		rc = store_zero(img, len, off);
	while (!image_is_fixed(img) && !rc && len) {
		uint64_t skip;
		struct own_piece p = { 0 };

		rc = skip_nothing(img, len, off, &skip, err);
		if (!rc && skip < len) {
			p = cut(img, len - skip, off + skip);
			rc = zero_piece(img, p, how, err);
		}
		off += skip + p.len;
		len -= skip + p.len;
	}
	end_write(img);
	return rc ? explain(img, rc, "zero", err) : 0;
}

int vhd_flush(vhd_image *img, struct vhd_err *err)
{
	return img->is_readonly ? 0 : commit_run(img, err);
}

bool vhd_has_unpublished(vhd_image *img)
{
	bool has;

	if (img->is_readonly || image_is_fixed(img))
		return false;
	pthread_rwlock_rdlock(&img->map_lock);
	has = img->map.dirty_len || img->map.dirty_bits_len || img->map.quarantine_len;
	pthread_rwlock_unlock(&img->map_lock);
	return has;
}
