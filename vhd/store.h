/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The few things that all verbs do with an open image's file. Private to the engine. */
#ifndef VHD_STORE_H
#define VHD_STORE_H

#include "vhd/image.h"

/* A barrier; its failure poisons the image (rule 10). Blocks. */
int store_barrier(struct vhd_image *img, struct vhd_err *err);
/* What the disk has is in doubt because of rc: no more writing until the image is opened anew
 * (rule 10). The first reason stands. */
void store_poison(struct vhd_image *img, int rc);
/* 0, or the error that poisoned the image. */
int store_check_poison(const struct vhd_image *img, struct vhd_err *err);
/* Writes len bytes at off of the file. 0 or -errno. */
int store_write(struct vhd_image *img, const void *buf, size_t len, uint64_t off);
/* Makes len bytes at off of the file a hole, or -EOPNOTSUPP where the host cannot, or -errno. */
int store_punch(struct vhd_image *img, uint64_t len, uint64_t off);
/* Makes len bytes at off of the file zeros: a hole where that pays and the host can. */
int store_zero(struct vhd_image *img, uint64_t len, uint64_t off);
/* Leaves no hole in len bytes at off of the file, whose contents stay: by the host's own means, or
 * by writing zeros where zeros are read. buf has room for len_buf bytes. No write may be under way.
 * 0 or -errno. */
int store_fill_holes(struct vhd_image *img, uint64_t len, uint64_t off, void *buf, size_t len_buf);
/* Writes len zero bytes at off of the file. 0 or -errno. */
int store_write_zeros(struct vhd_image *img, uint64_t len, uint64_t off);
/* The bits of a mapped block into bitmap (map.bitmap_size bytes), without keeping them: a pass over
 * a whole disk must not take memory for each of its blocks. still_lock is held exclusive, map_lock
 * not at all. 0 or -errno. */
int store_copy_bits(struct vhd_image *img, uint32_t blk, uint8_t *bitmap);
/* Whether bits, which are no MAP_BITS_FULL, are all ones as far as blk goes. */
bool store_is_full(const struct vhd_image *img, uint32_t blk, const struct map_bits *bits);
/* The bits of a mapped block, read at the first need; NULL with *rc set on failure. map_lock is
 * held, shared or exclusive. They are the map's. */
struct map_bits *store_bits(struct vhd_image *img, uint32_t blk, int *rc);

#endif
