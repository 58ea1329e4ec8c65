/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An open image, private to the engine.
 *
 * Locks, in the order they are taken; never an earlier one while a later one is held:
 *   still_lock   shared: a write of the guest's. Exclusive: a job that needs the disk to stand
 *                still (reclaim.c); held as long as that lasts, and no writer waits for it.
 *   turns        one of them for each block: who may give it its slot. Held across barriers.
 *   commit_lock  one commit, growth or trim at a time. Held across barriers.
 *   map_lock     shared: I/O on mapped blocks. Exclusive: changing the map. Never held across a
 *                barrier.
 * Those of a parent come after those of its child.
 */
#ifndef VHD_IMAGE_H
#define VHD_IMAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhd/err.h"
#include "vhd/format.h"
#include "vhd/io.h"
#include "vhd/map.h"
#include "vhd/vhd.h"

/* What was found wrong with the footers at open; each is mended by a read-write open. */
enum image_footer_state {
	IMAGE_T_MISSING = 1,	/* no valid trailing footer; the leading copy was used */
	IMAGE_T_SHORT = 2,	/* 511 bytes, as before Virtual PC 2004 */
	IMAGE_T_INSIDE = 4,	/* fixed: bytes follow the footer, which stands at current size */
	IMAGE_L_MISSING = 8,	/* no valid leading copy */
	IMAGE_L_DIFFERS = 16,	/* valid, and not the same as the trailing one */
};

/* What a commit keeps between two runs, so that it need not allocate when memory is short. */
struct commit_state {
	struct commit_entry *entries;
	struct commit_bits *bits;
	uint32_t *blks;
	size_t entries_max, bits_max, blks_max;
	uint8_t *bitmaps;
	size_t bitmaps_max;
	uint64_t done;		/* number of the last commit that succeeded */
	unsigned growths;	/* how often the file was lengthened: the next chunk's size */
	size_t taken;		/* map.taken when the last commit listed, and what it released */
	uint64_t cut_from;	/* commit_cut_from */
	bool is_trailer_lost;	/* a growth failed half way: the file's end holds no footer */
};

enum { IMAGE_TURNS = 16 };

struct vhd_image {
	/* Set at open, never changed. */
	struct vhd_io *io;
	char *name;			/* the path, for sentences and for finding parents */
	bool is_readonly;
	bool is_raw;			/* no VHD: one fixed extent, without footer */
	bool detect_zeroes;
	vhd_warn_fn warn;
	void *warn_arg;
	uint64_t size;			/* bytes of the virtual disk */
	struct fmt_footer footer;
	uint8_t raw_footer[FMT_SECTOR];	/* as T and L are written: unknown bytes kept */
	struct fmt_header header;	/* not of a fixed image */
	unsigned footer_state;		/* enum image_footer_state, as found */
	uint64_t file_size;		/* bytes, as found */
	uint64_t data_limit;		/* bytes of the file at and beyond which block data reads as
					 * zeros: where a short last block is cut */
	struct vhd_image *parent;	/* owned; NULL unless differencing */

	atomic_bool can_punch;		/* cleared by the first punch that the host refuses */
	atomic_int poison;		/* the first failed barrier's error, or 0 */
	atomic_bool is_unsynced;	/* a write returned since the last barrier began */
	atomic_bool wants_room;		/* a slot was taken that left fewer than map.low */

	pthread_rwlock_t still_lock;
	pthread_mutex_t turns[IMAGE_TURNS];	/* block b has the one at b % IMAGE_TURNS */

	pthread_mutex_t commit_lock;
	struct commit_state commit;	/* commit_lock */
	uint64_t trailer;		/* commit_lock; byte offset of the trailing footer */
	uint64_t slots_end;		/* commit_lock; growth goes on from here */
	uint64_t metadata_end;		/* commit_lock; no slot that growth makes lies below */

	pthread_rwlock_t map_lock;
	struct map map;			/* map_lock */
	atomic_uint_fast64_t commits_begun;	/* changed under map_lock exclusive */
};

static inline bool image_is_fixed(const struct vhd_image *img)
{
	return img->footer.type == VHD_FIXED;
}

/* Bytes of blk that the disk has: less than a block only at the disk's end. */
static inline uint32_t image_blk_len(const struct vhd_image *img, uint32_t blk)
{
	uint64_t left = img->size - (uint64_t)blk * img->map.block_size;

	return left < img->map.block_size ? (uint32_t)left : img->map.block_size;
}

/*
 * The steps of opening, which check takes one by one.
 * image_load: lock, rule 0's barrier, footers, header, BAT; damage of the table is not judged.
 * image_start_writing: mends what recover.c says, finds the free slots; the table must be sound.
 */
int image_load(struct vhd_image **img, struct vhd_io *io, const char *name,
	       const struct vhd_open_opts *opts, struct vhd_err *err);
int image_start_writing(struct vhd_image *img, struct vhd_err *err);
/* Whether the table is sound enough to read and write through: 0, -EILSEQ or another error. */
int image_judge_table(struct vhd_image *img, struct vhd_err *err);
/* Finds the free slots anew, from the table alone. Nothing may be quarantined; commit_lock is held,
 * and no write under way. */
int image_find_room(struct vhd_image *img);
/* Frees without publishing anything. */
void image_free(struct vhd_image *img);

/* recover.c: chooses the footer (fills footer, raw_footer, header, footer_state, trailer); one of a
 * fixed disk of the file's length is made up where allow_raw and the file has nothing of a VHD. */
int recover_choose_footer(struct vhd_image *img, bool allow_raw, struct vhd_err *err);
/* recover.c: writes what a read-write open mends: a footer, a short last block, a tap batmap. */
int recover_mend(struct vhd_image *img, struct vhd_err *err);
/* recover.c: of that, what moves no footer: L, and a T of 511 bytes where it stands. */
int recover_mend_leading(struct vhd_image *img, struct vhd_err *err);

/* rw.c: len bytes at off of the disk as they would read if this image owned nothing there. */
int image_read_below(struct vhd_image *img, void *buf, size_t len, uint64_t off,
		     struct vhd_err *err);
/* rw.c: block data at file_off, zeros where a short last block lacks it. */
int image_read_file(struct vhd_image *img, void *buf, size_t len, uint64_t file_off);

/* extent.c: how far what the parents have from off on is of one kind, *run of at most len bytes
 * (not 0): data, or nothing, which reads as zeros. Decided from their metadata alone. 0 or -errno.
 * Only the parents' locks are taken. */
int image_next_below(struct vhd_image *img, uint64_t len, uint64_t off, uint64_t *run,
		     bool *is_data, struct vhd_err *err);
/* extent.c: of len bytes from off on, up to which the parents have nothing. */
int image_zeros_below(struct vhd_image *img, uint64_t len, uint64_t off, uint64_t *zeros,
		      struct vhd_err *err);

/* Gives the sentence, with the image's name before it, to whoever opened the image. */
void image_warn(const struct vhd_image *img, const char *what);

#endif
