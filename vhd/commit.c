/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The crash-safety contract, and the writer of metadata that keeps it (rules 12 and 13: rewrite.c).
 *
 * A slot is room in the file for one block (sector bitmap and data). It is free when neither the
 * BAT on disk, nor a running commit's list, nor memory names it; quarantined when memory does not
 * but one of the others may; pending when only memory does. A barrier is an fdatasync that
 * succeeded: every write that had returned before it began is durable, length and holes with it;
 * between two barriers nothing is ordered, and a 512-byte sector is the most that is written whole.
 * T is the trailing footer, L the leading copy.
 *
 *  0. Opening for writing begins with a barrier, drops the cached pages and only then reads; it
 *     writes at most one footer: T if invalid, behind everything, else L if it differs; barrier.
 *     Unnamed space found at open is free, but never a hole. (recover.c)
 *  1. At every instant each BAT entry on disk is "unused" or names a slot that was complete,
 *     durable and that block's own when the entry was written. No two entries share a slot.
 *  2. A BAT entry, or a bitmap bit that is 0 on disk, is written only after a barrier that began
 *     when all the writes it makes visible had returned; memory's map and bits, too, change only
 *     after those writes returned. (own.c changes them under the exclusive map_lock)
 *  3. A quarantined slot is reused, punched or cut off only after a barrier after the BAT write
 *     that dropped it or moved its block, and punched before it is called free. An allocation that
 *     would lengthen the file, or that met ENOSPC, first commits if slots are quarantined, then
 *     looks again.
 *  4. A commit lists values before its first barrier and writes those alone. What comes later, a
 *     flush too, waits for the next commit.
 *  5. The file is lengthened only by the write of its new footer at the new end. Nothing is written
 *     at or past the old footer before a barrier has followed the new one. The next chunk's footer
 *     rides on an ordinary commit's first barrier, or has one of its own, ahead of need or while a
 *     write that finds no room waits; close trims.
 *  6. Shrinking, with all else shut out: nothing under or beyond the new footer is named, listed,
 *     pending, quarantined or free; footer, barrier, truncate, barrier.
 *  7. T and L are never both in flight, and are equal before the file's size changes.
 *  8. A commit is: list; barrier; BAT entries and bits; barrier if anything was written; punch;
 *     release.
 *  9. A new slot, bitmap included, is wholly written before the barrier that precedes its entry;
 *     only a hole made in this session stands for zeros, and never where a footer was.
 * 10. A failed barrier poisons the image. A failed write does not: it leaves the commit pending
 *     with nothing released, and the next flush tries again.
 *
 * 12. Another size of the disk: zeros where it will grow into its last block; entries, or all of
 *     the table in room that is nobody's; barrier; the header's first sector, which alone says
 *     where the table is and how long; barrier; T, barrier, L, barrier. A disk that is cut has its
 *     blocks dropped by commits first, and its table cut last: a table is never shorter than a
 *     footer's disk needs.
 * 13. The dynamic header has two sectors and one sum, so it is never written where a footer names
 *     it: one for the meantime goes behind everything, barrier, T, barrier, L, barrier; then the
 *     header in its place, barrier, T, barrier, L, barrier. A failure once T may name the other one
 *     poisons the image.
 *
 * Rule 11 is merging's (merge.c); see docs/crash-safety.md for what each write in the engine falls
 * under.
 */
#include "vhd/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/store.h"

/* A small first chunk would cost the first blocks of an image a barrier each, nearly. */
#define CHUNK_MIN_SLOTS 64ull
#define CHUNK_MAX_BYTES (1ull << 30)	/* what one growth adds at most; it is a hole until used */
#define ENTRIES_A_SECTOR (FMT_SECTOR / 4)
#define HOST_PAGE 4096u

struct commit_entry {
	uint32_t blk, entry;
};

struct commit_bits {
	uint64_t off;		/* of the bitmap in the file */
	uint32_t blk;
};

/* What one commit found to do. The arrays are img->commit's. */
struct work {
	uint64_t number;
	size_t entries, bits, releases;
	uint64_t new_trailer;	/* 0: the file does not grow */
	uint64_t new_end;	/* where the chunk's last slot ends */
};

static int grow_array(void **array, size_t *max, size_t want, size_t size)
{
	void *grown;

	if (want <= *max)
		return 0;
	grown = realloc(*array, want * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*max = want;
	return 0;
}

/* Room for everything that is dirty now. map_lock is held. */
static int make_lists(struct commit_state *c, const struct map *map)
{
	if (grow_array((void **)&c->entries, &c->entries_max, map->dirty_max,
		       sizeof(*c->entries)) ||
	    grow_array((void **)&c->bits, &c->bits_max, map->dirty_bits_max, sizeof(*c->bits)) ||
	    grow_array((void **)&c->blks, &c->blks_max, map->dirty_max + map->dirty_bits_max,
		       sizeof(*c->blks)) ||
	    grow_array((void **)&c->bitmaps, &c->bitmaps_max,
		       map->dirty_bits_len * map->bitmap_size, 1))
		return -ENOMEM;
	return 0;
}

static void list_entries(struct commit_state *c, const struct map *map, struct work *work)
{
	for (size_t i = 0; i < map->dirty_len; i++) {
		uint32_t blk = map->dirty[i];

		c->entries[work->entries++] = (struct commit_entry){ blk, map->entry[blk] };
	}
}

static void list_bits(struct commit_state *c, const struct map *map, struct work *work)
{
	for (size_t i = 0; i < map->dirty_bits_len; i++) {
		uint32_t blk = map->dirty_bits[i];
		struct map_bits *bits = atomic_load(&map->bits[blk]);

		/* A slot that was dropped since takes its pending bits with it. */
		if (!bits || bits == MAP_BITS_FULL || !bits->is_dirty)
			continue;
		bits->is_dirty = false;
		memcpy(c->bitmaps + work->bits * map->bitmap_size, bits->bitmap, map->bitmap_size);
		c->bits[work->bits++] = (struct commit_bits){ map_entry_off(map->entry[blk]), blk };
	}
}

/* rule 4: the values, before the first barrier; rule 2: what memory has, has returned. */
static int list(struct vhd_image *img, struct work *work, bool *can_grow)
{
	struct map *map = &img->map;
	int rc;

	pthread_rwlock_wrlock(&img->map_lock);
	rc = make_lists(&img->commit, map);
	if (!rc) {
		size_t used = map->taken > img->commit.taken ? map->taken - img->commit.taken : 0;

		list_entries(&img->commit, map, work);
		list_bits(&img->commit, map, work);
		map_list(map);
		work->releases = map->quarantine_listed;
		work->number = atomic_fetch_add(&img->commits_begun, 1) + 1;
		/* rule 3: what is quarantined is used again before the file grows */
		*can_grow = !work->releases && used > map->free_len;
		img->commit.taken = map->taken;
	}
	pthread_rwlock_unlock(&img->map_lock);
	return rc;
}

/* Nothing of this commit's is on disk for certain: it is all pending again (rule 10). */
static void unlist(struct vhd_image *img, const struct work *work)
{
	struct commit_state *c = &img->commit;

	for (size_t i = 0; i < work->entries; i++)
		c->blks[i] = c->entries[i].blk;
	for (size_t i = 0; i < work->bits; i++)
		c->blks[work->entries + i] = c->bits[i].blk;
	pthread_rwlock_wrlock(&img->map_lock);
	map_relist(&img->map, c->blks, work->entries, c->blks + work->entries, work->bits);
	pthread_rwlock_unlock(&img->map_lock);
}

/* rule 5: the footer at its new place; a barrier has to follow. */
int commit_lengthen(struct vhd_image *img, uint64_t trailer, struct vhd_err *err)
{
	int rc = io_pwrite(img->io, img->raw_footer, FMT_SECTOR, trailer);

	if (!rc) {
		atomic_store(&img->is_unsynced, true);
		return 0;
	}
	/* A write that failed half way may have lengthened the file over its footer. */
	if (img->io->ops->truncate(img->io, img->trailer + FMT_SECTOR))
		img->commit.is_trailer_lost = true;
	return vhd_err_errno(err, rc, "%s: the file cannot grow", img->name);
}

/* How many slots the next chunk has: each chunk twice the one before. */
static uint64_t choose_slots(const struct vhd_image *img, uint64_t stride, uint64_t room)
{
	uint64_t slots = CHUNK_MIN_SLOTS << (img->commit.growths < 16 ? img->commit.growths : 16);

	if (slots * stride > CHUNK_MAX_BYTES)
		slots = CHUNK_MAX_BYTES / stride ? CHUNK_MAX_BYTES / stride : 1;
	return slots < room ? slots : room;
}

/*
 * rule 5: the footer of the next chunk, whose slots are handed out after the next barrier. A host
 * that knows no holes may have no room for all of it: then half of it, and half of that.
 */
static int begin_growth(struct vhd_image *img, struct work *work, struct vhd_err *err)
{
	const struct map *map = &img->map;
	uint64_t first = map_place_slot(map, img->slots_end);
	uint64_t stride = map_place_slot(map, first + map_slot_size(map)) - first;
	uint64_t room = ((uint64_t)FMT_UNUSED * FMT_SECTOR - first) / stride;
	int rc = -ENOSPC;

	if (!room)
		return vhd_err_set(err, -EFBIG, "%s: the format's 2 TiB of file are used up",
				   img->name);
	for (uint64_t slots = choose_slots(img, stride, room);
	     slots && (rc == -ENOSPC || rc == -EFBIG); slots /= 2) {
		work->new_end = first + (slots - 1) * stride + map_slot_size(map);
		work->new_trailer = map_place_footer(work->new_end);
		rc = commit_lengthen(img, work->new_trailer, err);
	}
	if (rc)
		work->new_trailer = 0;
	return rc;
}

/* rule 5: a barrier has followed the new footer. rule 9: below the old one is no hole. */
static void end_growth(struct vhd_image *img, const struct work *work)
{
	uint64_t hole_start = img->trailer + FMT_SECTOR;
	size_t had;

	pthread_rwlock_wrlock(&img->map_lock);
	had = img->map.free_len;
	img->slots_end = map_give_range(&img->map, img->slots_end, work->new_end, hole_start);
	img->map.low = (img->map.free_len - had) / 2;
	pthread_rwlock_unlock(&img->map_lock);
	img->trailer = work->new_trailer;
	img->commit.is_trailer_lost = false;
	img->commit.growths++;
}

static int by_blk(const void *a, const void *b)
{
	const struct commit_entry *x = a, *y = b;

	return (x->blk > y->blk) - (x->blk < y->blk);
}

/* Entries of neighbouring blocks go in one write, never across a sector of the table. */
static int write_entries(struct vhd_image *img, const struct work *work)
{
	struct commit_entry *e = img->commit.entries;

	qsort(e, work->entries, sizeof(*e), by_blk);
	for (size_t i = 0, n; i < work->entries; i += n) {
		uint8_t raw[FMT_SECTOR];
		uint64_t off = img->header.table_offset + (uint64_t)e[i].blk * 4;
		size_t room = (FMT_SECTOR - off % FMT_SECTOR) / 4;
		int rc;

		for (n = 0; n < room && i + n < work->entries && e[i + n].blk == e[i].blk + n; n++)
			fmt_entry_put(raw + n * 4, e[i + n].entry);
		rc = io_pwrite(img->io, raw, n * 4, off);
		if (rc)
			return rc;
	}
	return 0;
}

static int write_metadata(struct vhd_image *img, const struct work *work, struct vhd_err *err)
{
	const struct commit_state *c = &img->commit;
	uint32_t size = img->map.bitmap_size;
	int rc = 0;

	for (size_t i = 0; !rc && i < work->bits; i++)
		rc = io_pwrite(img->io, c->bitmaps + i * size, size, c->bits[i].off);
	if (!rc)
		rc = write_entries(img, work);
	return rc ? vhd_err_errno(err, rc, "%s: cannot write the block table", img->name) : 0;
}

/* A child that is written all over would else keep a bitmap for each block. */
static void forget_full_bits(struct vhd_image *img, const struct work *work)
{
	for (size_t i = 0; i < work->bits; i++) {
		uint32_t blk = img->commit.bits[i].blk;
		const struct map_bits *bits = atomic_load(&img->map.bits[blk]);

		if (bits && bits != MAP_BITS_FULL && !bits->is_dirty &&
		    store_is_full(img, blk, bits))
			map_bits_full_now(&img->map, blk);
	}
}

/* rules 3 and 8: after the barrier; punched, and only then free. */
static void release(struct vhd_image *img, const struct work *work)
{
	struct map *map = &img->map;

	for (size_t i = 0; i < work->releases; i++) {
		struct map_slot slot;

		pthread_rwlock_rdlock(&img->map_lock);
		slot = map->quarantine[i];	/* the array may move, its first members stay */
		pthread_rwlock_unlock(&img->map_lock);
		if (map_entry_off(slot.entry) >= img->commit.cut_from)
			continue;	/* never called free, so nobody has it until it is cut */
		slot.is_hole = !store_punch(img, map_slot_size(map), map_entry_off(slot.entry));
		pthread_rwlock_wrlock(&img->map_lock);
		map_give(map, slot);
		pthread_rwlock_unlock(&img->map_lock);
	}
	pthread_rwlock_wrlock(&img->map_lock);
	forget_full_bits(img, work);
	map_listed_done(map);
	pthread_rwlock_unlock(&img->map_lock);
	img->commit.taken += work->releases;	/* what came back need not be made anew */
}

/* rule 8, between the list and the release. */
static int publish(struct vhd_image *img, struct work *work, struct vhd_err *err)
{
	int rc;

	if (work->entries || work->bits || atomic_load(&img->is_unsynced)) {
		rc = store_barrier(img, err);
		if (rc)
			return rc;
	}
	if (work->new_trailer)
		end_growth(img, work);
	if (!work->entries && !work->bits)
		return 0;
	rc = write_metadata(img, work, err);
	return rc ? rc : store_barrier(img, err);
}

/* commit_lock is held. */
static int commit_locked(struct vhd_image *img, struct vhd_err *err)
{
	struct work work = { 0 };
	bool can_grow;
	int rc = store_check_poison(img, err);

	if (rc)
		return rc;
	rc = list(img, &work, &can_grow);
	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	if (can_grow)
		begin_growth(img, &work, NULL);	/* in advance: it may be had later, too */
	rc = publish(img, &work, err);
	if (rc) {
		unlist(img, &work);
		return rc;
	}
	release(img, &work);
	img->commit.done = work.number;
	return 0;
}

int commit_run(struct vhd_image *img, struct vhd_err *err)
{
	uint64_t wanted = atomic_load(&img->commits_begun) + 1;
	int rc = 0;

	pthread_mutex_lock(&img->commit_lock);
	/* rule 4: only a commit that listed after this call speaks for it */
	if (img->commit.done < wanted)
		rc = commit_locked(img, err);
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

/* Rule 5 without a commit, which would cost a second barrier. commit_lock is held. */
static int grow(struct vhd_image *img, struct vhd_err *err)
{
	struct work work = { 0 };
	int rc = store_check_poison(img, err);

	if (!rc)
		rc = begin_growth(img, &work, err);
	if (!rc)
		rc = store_barrier(img, err);
	if (!rc)
		end_growth(img, &work);
	return rc;
}

int commit_make_room(struct vhd_image *img, struct vhd_err *err)
{
	bool has_room, has_quarantine;
	int rc = 0;

	pthread_mutex_lock(&img->commit_lock);
	pthread_rwlock_rdlock(&img->map_lock);
	has_quarantine = img->map.quarantine_len;
	has_room = img->map.free_len && !has_quarantine;
	pthread_rwlock_unlock(&img->map_lock);
	if (!has_room)
		rc = has_quarantine ? commit_locked(img, err) : grow(img, err);
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

/* A chunk that could not be had is not asked for again until somebody needs it. */
static void grow_if_low(struct vhd_image *img)
{
	bool is_low;

	pthread_rwlock_rdlock(&img->map_lock);
	is_low = img->map.free_len < img->map.low && !img->map.quarantine_len;
	pthread_rwlock_unlock(&img->map_lock);
	if (!is_low || !grow(img, NULL))
		return;
	pthread_rwlock_wrlock(&img->map_lock);
	img->map.low = 0;
	pthread_rwlock_unlock(&img->map_lock);
}

void vhd_grow_ahead(vhd_image *img)
{
	if (!atomic_load(&img->wants_room) || pthread_rwlock_tryrdlock(&img->still_lock))
		return;
	atomic_store(&img->wants_room, false);
	/* Whoever has it may be making room. */
	if (!pthread_mutex_trylock(&img->commit_lock)) {
		grow_if_low(img);
		pthread_mutex_unlock(&img->commit_lock);
	}
	pthread_rwlock_unlock(&img->still_lock);
}

/*
 * The footer's new place may be a hole, and the host full: what lies behind it, which is nobody's,
 * is then given back first. The barrier is what makes some hosts do so.
 */
static int write_footer_in_dead_room(struct vhd_image *img, uint64_t pos, struct vhd_err *err)
{
	uint64_t behind = (pos / HOST_PAGE + 1) * HOST_PAGE;
	int rc = io_pwrite(img->io, img->raw_footer, FMT_SECTOR, pos);

	if (rc == -ENOSPC && behind < img->trailer / HOST_PAGE * HOST_PAGE &&
	    !store_punch(img, img->trailer / HOST_PAGE * HOST_PAGE - behind, behind)) {
		rc = store_barrier(img, err);
		if (rc)
			return rc;
		rc = io_pwrite(img->io, img->raw_footer, FMT_SECTOR, pos);
	}
	return rc ? vhd_err_errno(err, rc, "%s: cannot write the footer", img->name) : 0;
}

/* commit_lock is held. */
static int trim_to(struct vhd_image *img, uint64_t end, uint64_t pos, struct vhd_err *err)
{
	int rc;

	/* rule 6: nothing is free under or beyond the new footer */
	pthread_rwlock_wrlock(&img->map_lock);
	map_forget_free(&img->map);
	pthread_rwlock_unlock(&img->map_lock);
	rc = write_footer_in_dead_room(img, pos, err);
	if (rc)
		return rc;
	rc = store_barrier(img, err);
	if (rc)
		return rc;
	rc = img->io->ops->truncate(img->io, pos + FMT_SECTOR);
	if (rc)
		return vhd_err_errno(err, rc, "%s: cannot cut the file to %llu bytes", img->name,
				     (unsigned long long)pos + FMT_SECTOR);
	img->trailer = pos;
	img->slots_end = end;
	img->commit.is_trailer_lost = false;
	return store_barrier(img, err);
}

int commit_trim(struct vhd_image *img, unsigned flags, struct vhd_err *err)
{
	uint64_t end, pos, gain = flags & COMMIT_TRIM_ALL ? FMT_SECTOR : map_slot_size(&img->map);
	int rc = 0;

	pthread_mutex_lock(&img->commit_lock);
	end = map_end(&img->map, img->metadata_end);
	pos = map_place_footer(end);
	if (img->commit.is_trailer_lost && pos > img->trailer)
		pos = img->trailer;
	if (pos + gain <= img->trailer || (pos <= img->trailer && img->commit.is_trailer_lost) ||
	    (flags & COMMIT_TRIM_PAGE && pos != img->trailer))
		rc = trim_to(img, end, pos, err);
	pthread_mutex_unlock(&img->commit_lock);
	return rc;
}

void commit_cut_from(struct vhd_image *img, uint64_t off)
{
	pthread_mutex_lock(&img->commit_lock);
	img->commit.cut_from = off;
	pthread_mutex_unlock(&img->commit_lock);
}

void commit_destroy(struct vhd_image *img)
{
	free(img->commit.entries);
	free(img->commit.bits);
	free(img->commit.blks);
	free(img->commit.bitmaps);
}
