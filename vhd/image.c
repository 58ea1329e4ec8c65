/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opening, closing and describing an image.
 *
 * Everything read here comes from a file that may be hostile: sizes are checked before they are
 * used, and no more memory is taken than the table in the file justifies.
 */
#include "vhd/image.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/chain.h"
#include "vhd/commit.h"
#include "vhd/layout.h"
#include "vhd/store.h"

#define BAT_CHUNK (64u << 10)	/* bytes of the table read at once */

static int lock_image(struct vhd_image *img, const struct vhd_open_opts *opts, struct vhd_err *err)
{
	int rc;

	if (opts->force_share)
		return 0;
	rc = img->io->ops->lock(img->io, img->is_readonly ? VHD_IO_LOCK_READ : VHD_IO_LOCK_WRITE);
	if (rc == -EBUSY)
		return vhd_err_set(err, rc, "%s: in use by another program", img->name);
	if (rc == -ENOLCK && opts->no_lock)
		return 0;
	if (rc == -ENOLCK)
		return vhd_err_set(err, rc, "%s: the host's filesystem has no locks; no-lock goes "
				   "on without", img->name);
	return rc ? vhd_err_errno(err, rc, "%s: cannot be locked", img->name) : 0;
}

static struct vhd_image *image_new(struct vhd_io *io, const char *name,
				   const struct vhd_open_opts *opts)
{
	struct vhd_image *img = calloc(1, sizeof(*img));
	pthread_rwlockattr_t attr;

	if (!img)
		return NULL;
	img->name = strdup(name);
	if (!img->name) {
		free(img);
		return NULL;
	}
	img->io = io;
	img->is_readonly = opts->is_readonly || opts->force_share;
	img->detect_zeroes = !opts->no_detect_zeroes;
	img->warn = opts->warn;
	img->warn_arg = opts->warn_arg;
	atomic_init(&img->can_punch, true);
	img->data_limit = img->commit.cut_from = UINT64_MAX;
	pthread_rwlock_init(&img->still_lock, NULL);
	for (unsigned i = 0; i < IMAGE_TURNS; i++)
		pthread_mutex_init(&img->turns[i], NULL);
	pthread_mutex_init(&img->commit_lock, NULL);
	/* A stream of readers must not keep a change of the map waiting for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&img->map_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	return img;
}

void image_free(struct vhd_image *img)
{
	if (!img)
		return;
	if (img->parent)
		image_free(img->parent);
	map_destroy(&img->map);
	commit_destroy(img);
	pthread_rwlock_destroy(&img->still_lock);
	for (unsigned i = 0; i < IMAGE_TURNS; i++)
		pthread_mutex_destroy(&img->turns[i]);
	pthread_mutex_destroy(&img->commit_lock);
	pthread_rwlock_destroy(&img->map_lock);
	img->io->ops->close(img->io);
	free(img->name);
	free(img);
}

static void take_entries(struct map *map, uint32_t blk, uint32_t n, const uint8_t *raw)
{
	uint32_t *to = map->entry + blk, used = 0;

	for (uint32_t i = 0; i < n; i++) {
		to[i] = fmt_entry_get(raw + i * 4);
		used += to[i] != FMT_UNUSED;
	}
	map->allocated += used;
}

static int read_table(struct vhd_image *img)
{
	struct map *map = &img->map;
	uint8_t *raw = malloc(BAT_CHUNK);
	uint32_t per_chunk = BAT_CHUNK / 4;
	int rc = raw ? 0 : -ENOMEM;

	for (uint32_t blk = 0; !rc && blk < map->blocks; blk += per_chunk) {
		uint32_t n = map->blocks - blk < per_chunk ? map->blocks - blk : per_chunk;

		rc = io_pread(img->io, raw, n * 4, img->header.table_offset + (uint64_t)blk * 4);
		if (!rc)
			take_entries(map, blk, n, raw);
	}
	free(raw);
	return rc;
}

/*
 * A locator that the file does not hold, or that no parent needs, is none; and its room ends with
 * the file as it is now: what is metadata must not change when the file grows.
 */
static void settle_locators(struct vhd_image *img)
{
	for (unsigned i = 0; i < FMT_LOCATORS; i++) {
		struct fmt_locator *l = &img->header.locators[i];

		if (img->footer.type != VHD_DIFFERENCING || l->offset > img->trailer ||
		    l->length > img->trailer - l->offset)
			*l = (struct fmt_locator){ 0 };
		else if (l->space > img->trailer - l->offset)
			l->space = (uint32_t)(img->trailer - l->offset);
	}
}

static int load_table(struct vhd_image *img, struct vhd_err *err)
{
	const struct fmt_header *h = &img->header;
	uint64_t blocks = (img->size + h->block_size - 1) / h->block_size, end;
	int rc;

	if (blocks > h->entries)
		return vhd_err_set(err, -EILSEQ, "%s: max table entries is %u, and the disk needs "
				   "%llu", img->name, h->entries, (unsigned long long)blocks);
	if (h->table_offset % 4 ||
	    __builtin_add_overflow(h->table_offset, (uint64_t)h->entries * 4, &end) ||
	    end > img->file_size)
		return vhd_err_set(err, -EILSEQ, "%s: the block table (%u entries at offset %llu) "
				   "does not lie in the file", img->name, h->entries,
				   (unsigned long long)h->table_offset);
	settle_locators(img);
	rc = map_init(&img->map, h->block_size, (uint32_t)blocks, !img->is_readonly);
	if (!rc)
		rc = read_table(img);
	return rc ? vhd_err_errno(err, rc, "%s: cannot read the block table", img->name) : 0;
}

int image_load(struct vhd_image **out, struct vhd_io *io, const char *name,
	       const struct vhd_open_opts *opts, struct vhd_err *err)
{
	struct vhd_image *img = image_new(io, name, opts);
	struct vhd_io_stat st;
	int rc;

	if (!img) {
		io->ops->close(io);
		return vhd_err_errno(err, -ENOMEM, "%s", name);
	}
	rc = lock_image(img, opts, err);
	if (!rc && !img->is_readonly) {
		rc = store_barrier(img, err);	/* rule 0 */
		io->ops->drop_cache(io);
	}
	if (rc)
		goto fail;
	rc = io_stat(io, &st);
	if (rc) {
		vhd_err_errno(err, rc, "%s", name);
		goto fail;
	}
	img->file_size = st.size;
	rc = recover_choose_footer(img, opts->allow_raw, err);
	if (rc)
		goto fail;
	img->size = img->footer.current_size;
	if (!image_is_fixed(img))
		rc = load_table(img, err);
	else if (img->size > img->trailer)
		rc = vhd_err_set(err, -EILSEQ, "%s: current size is %llu, and the file has room "
				 "for %llu", name, (unsigned long long)img->size,
				 (unsigned long long)img->trailer);
	if (rc)
		goto fail;
	*out = img;
	return 0;
fail:
	image_free(img);
	return rc;
}

struct judge {
	struct vhd_image *img;
	struct vhd_err *err;
	int rc;
	bool has_short_last;
};

static void judge_finding(void *arg, const struct layout_finding *finding)
{
	struct judge *judge = arg;
	char sentence[512];

	if (finding->kind == LAYOUT_SHORT_LAST)
		judge->has_short_last = true;
	if (finding->kind == LAYOUT_SHORT_LAST || finding->kind == LAYOUT_GAP || judge->rc)
		return;
	layout_describe(judge->img, finding, sentence, sizeof(sentence));
	judge->rc = vhd_err_set(judge->err, -EILSEQ, "%s; the image is damaged, and vhdimg check "
				"tells all of it", sentence);
}

int image_judge_table(struct vhd_image *img, struct vhd_err *err)
{
	struct judge judge = { .img = img, .err = err };
	uint64_t end;
	int rc;

	if (image_is_fixed(img))
		return 0;
	rc = layout_scan(img, &end, judge_finding, &judge);
	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	if (judge.has_short_last)
		img->data_limit = img->footer_state & IMAGE_T_MISSING ? img->file_size :
				  img->trailer;
	return judge.rc;
}

void image_warn(const struct vhd_image *img, const char *what)
{
	char sentence[1024];

	if (!img->warn)
		return;
	snprintf(sentence, sizeof(sentence), "%s: %s", img->name, what);
	img->warn(img->warn_arg, sentence);
}

static void warn_footers(const struct vhd_image *img)
{
	if (img->footer_state & IMAGE_T_MISSING)
		image_warn(img, "the trailing footer is missing; opened by the leading copy");
	if (img->footer_state & IMAGE_T_INSIDE)
		image_warn(img, "bytes follow the footer; believed where it stands");
	if (img->footer_state & IMAGE_L_MISSING)
		image_warn(img, "the leading footer copy is missing; opened by the trailing one");
	if (img->footer_state & IMAGE_L_DIFFERS)
		image_warn(img, "the footer copies disagree; opened by the trailing one");
}

static void give_gap(void *arg, const struct layout_finding *finding)
{
	struct vhd_image *img = arg;

	if (finding->kind == LAYOUT_GAP)	/* rule 0: free, but never a hole */
		img->slots_end = map_give_range(&img->map, finding->off,
						finding->off + finding->len, UINT64_MAX);
}

int image_find_room(struct vhd_image *img)
{
	uint64_t end = 0;
	int rc;

	map_forget_free(&img->map);
	img->slots_end = 0;
	rc = layout_scan(img, &end, give_gap, img);
	if (img->slots_end < end)
		img->slots_end = end;
	return rc;
}

int image_start_writing(struct vhd_image *img, struct vhd_err *err)
{
	int rc = recover_mend(img, err);

	if (rc)
		return rc;
	img->data_limit = UINT64_MAX;
	img->footer_state = 0;
	img->file_size = img->is_raw ? img->size : img->trailer + FMT_SECTOR;
	if (image_is_fixed(img))
		return 0;
	img->metadata_end = layout_metadata_end(img, img->trailer);
	rc = image_find_room(img);
	return rc ? vhd_err_errno(err, rc, "%s", img->name) : 0;
}

static int check_writable(const struct vhd_image *img, struct vhd_err *err)
{
	if (img->footer.saved_state)
		return vhd_err_set(err, -EBUSY, "%s: a machine's saved state waits for this disk "
				   "as it is; resume or discard it first, or open read-only",
				   img->name);
	return 0;
}

static int open_link_io(vhd_image **out, struct vhd_io *io, const char *name,
			const struct vhd_open_opts *opts, const struct chain_link *child,
			struct vhd_err *err)
{
	struct chain_link link = { .child = child, .depth = child ? child->depth + 1 : 0 };
	struct vhd_image *img;
	int rc = image_load(&img, io, name, opts, err);

	if (rc)
		return rc;
	warn_footers(img);
	rc = image_judge_table(img, err);
	if (!rc && !img->is_readonly)
		rc = check_writable(img, err);
	if (!rc && img->footer.type == VHD_DIFFERENCING) {
		rc = io_stat(io, &link.st);
		if (!rc)
			rc = chain_open_parent(img, opts, &link, err);
	}
	if (!rc && !img->is_readonly)
		rc = image_start_writing(img, err);
	if (rc) {
		image_free(img);
		return rc;
	}
	*out = img;
	return 0;
}

int image_open_link(struct vhd_image **img, const char *path, const struct vhd_open_opts *opts,
		    const struct chain_link *child, struct vhd_err *err)
{
	static const struct vhd_open_opts defaults;
	struct vhd_io *io;
	int rc;

	if (!opts)
		opts = &defaults;
	rc = io_file_open(&io, path, opts->is_readonly || opts->force_share, err);
	return rc ? rc : open_link_io(img, io, path, opts, child, err);
}

int vhd_open(vhd_image **img, const char *path, const struct vhd_open_opts *opts,
	     struct vhd_err *err)
{
	return image_open_link(img, path, opts, NULL, err);
}

int vhd_open_io(vhd_image **img, struct vhd_io *io, const char *name,
		const struct vhd_open_opts *opts, struct vhd_err *err)
{
	static const struct vhd_open_opts defaults;

	return open_link_io(img, io, name, opts ? opts : &defaults, NULL, err);
}

int vhd_close(vhd_image *img, struct vhd_err *err)
{
	vhd_image *parent = NULL;
	int rc = 0, late = 0;

	if (!img->is_readonly) {
		rc = commit_run(img, err);
		if (!rc && !image_is_fixed(img))
			rc = commit_trim(img, 0, err);
	}
	if (img->parent && !img->parent->is_readonly) {
		parent = img->parent;
		img->parent = NULL;
	}
	image_free(img);
	if (parent)
		late = vhd_close(parent, rc ? NULL : err);
	return rc ? rc : late;
}

uint64_t vhd_size(const vhd_image *img)
{
	return img->size;
}

vhd_image *vhd_parent(vhd_image *img)
{
	return img->parent;
}

int vhd_get_info(vhd_image *img, struct vhd_info *info, struct vhd_err *err)
{
	struct vhd_io_stat st;
	int rc = io_stat(img->io, &st);

	if (rc)
		return vhd_err_errno(err, rc, "%s", img->name);
	memset(info, 0, sizeof(*info));
	info->type = (enum vhd_type)img->footer.type;
	info->is_raw = img->is_raw;
	info->virtual_size = img->size;
	info->file_size = st.size;
	info->actual_size = st.allocated;
	info->block_size = img->map.block_size;
	info->blocks_total = img->map.blocks;
	pthread_rwlock_rdlock(&img->map_lock);
	info->blocks_allocated = img->map.allocated;
	pthread_rwlock_unlock(&img->map_lock);
	if (img->is_raw)
		return 0;
	for (int i = 0; i < 4; i++)
		info->creator[i] = isprint(img->footer.creator[i]) ?
				   (char)img->footer.creator[i] : '?';
	info->creator_version = img->footer.creator_version;
	memcpy(info->uuid, img->footer.uuid, sizeof(info->uuid));
	info->created = FMT_EPOCH + (int64_t)img->footer.timestamp;
	info->has_saved_state = img->footer.saved_state;
	if (img->footer.type != VHD_DIFFERENCING)
		return 0;
	info->has_parent = true;
	memcpy(info->parent_uuid, img->header.parent_uuid, sizeof(info->parent_uuid));
	chain_parent_name(&img->header, info->parent_name, sizeof(info->parent_name));
	if (img->parent)
		snprintf(info->parent_path, sizeof(info->parent_path), "%s", img->parent->name);
	return 0;
}
