/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's whole public interface: VHD images, opened and read and written by position.
 *
 * Every call that can fail returns 0 or a negative errno, and takes a struct vhd_err (NULL allowed)
 * that receives the same code and one sentence naming the file, the object and what was expected.
 * Offsets and lengths are bytes of the virtual disk unless a name says otherwise. Reads and writes
 * are positional and whole: there is no seek pointer, so that threads share an image freely.
 *
 * Error codes that mean the same everywhere:
 *   -EILSEQ   not a VHD, or a damaged one        -ENOENT   no such image, or a parent not found
 *   -ENOTSUP  a type or a feature not served     -EBUSY    in use, or a saved state waits for it
 *   -EROFS, -EACCES, -EPERM  not writable        -ENOLCK   the host has no locks
 *   -ELOOP    the chain of parents is cyclic or too deep
 *   -ECANCELED  a progress callback asked to stop
 * Errors of the host's storage (-EIO, -ENOSPC, ...) pass unchanged.
 */
#ifndef VHD_VHD_H
#define VHD_VHD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vhd_io;
typedef struct vhd_image vhd_image;

struct vhd_err {
	int code;		/* negative errno, 0 if nothing was reported */
	char msg[1024];		/* one sentence, no newline */
};

enum vhd_type {
	VHD_FIXED = 2,
	VHD_DYNAMIC = 3,
	VHD_DIFFERENCING = 4,
};

/* What one has to know of an image that is not an error: while it is opened, and once, by whichever
 * thread meets it, when the host turns out not to punch holes. */
typedef void (*vhd_warn_fn)(void *arg, const char *sentence);

/* All zero is the default: read-write, locked, zeros detected. */
struct vhd_open_opts {
	bool is_readonly;
	bool no_lock;		/* go on where the host has no locks; a conflict still refuses */
	bool force_share;	/* read-only: take no lock and look for none */
	bool no_detect_zeroes;	/* a write of zeros to an unallocated block allocates it; where a
				 * parent has data it does in any case */
	bool allow_raw;		/* a file that is no VHD, nor any format that is known, nor a
				 * damaged VHD, opens as one fixed extent of its whole length */
	const char *parent;	/* path of the parent, instead of what the image says */
	bool write_parent;	/* the parent is opened for writing, too: for vhd_merge */
	vhd_warn_fn warn;
	void *warn_arg;
};

/*
 * Opens the image at path and, for a differencing image, its parents (read-only). Blocks on
 * storage. A read-write open begins with a barrier and may mend a footer: docs/crash-safety.md.
 * On success *img is the caller's, to be given to vhd_close.
 */
int vhd_open(vhd_image **img, const char *path, const struct vhd_open_opts *opts,
	     struct vhd_err *err);

/* The same over an io that the caller opened; io is the image's from here on, also on failure. */
int vhd_open_io(vhd_image **img, struct vhd_io *io, const char *name,
		const struct vhd_open_opts *opts, struct vhd_err *err);

/*
 * Publishes what is pending, gives back the room at the file's end that growth took in advance,
 * and frees img, also when it fails. No other call may be under way.
 */
int vhd_close(vhd_image *img, struct vhd_err *err);

/* The size of the virtual disk in bytes. */
uint64_t vhd_size(const vhd_image *img);

/* Reads exactly len bytes at off. -EINVAL past the end of the disk. Any number of threads. */
int vhd_pread(vhd_image *img, void *buf, size_t len, uint64_t off, struct vhd_err *err);

/*
 * Writes exactly len bytes at off. Durable and visible to other programs only after vhd_flush.
 * -ENOSPC and other errors of the host leave each sector old or new and the image sound. Parents
 * are read, for the rest of a sector that is written in part, and never written.
 */
int vhd_pwrite(vhd_image *img, const void *buf, size_t len, uint64_t off, struct vhd_err *err);

/*
 * Where the room that the file has for new blocks runs short, makes more, so that no later write
 * waits for it. To be called after a write that has been answered: cheap when there is enough, and
 * otherwise blocks on a barrier. Advice: what fails is tried again by the write that needs it.
 */
void vhd_grow_ahead(vhd_image *img);

/* How a range is made zeros. */
enum vhd_zero_how {
	VHD_ZERO_RELEASE,	/* whole blocks of which no parent has anything give their slots
				 * back, the rest is zeroed */
	VHD_ZERO_KEEP,		/* blocks stay allocated */
};

/*
 * Makes len bytes at off read as zeros. Allocates nothing, but in a differencing image zeros of
 * its own where a parent has data: never does that come back. -ENOSPC is then possible.
 */
int vhd_zero(vhd_image *img, uint64_t len, uint64_t off, enum vhd_zero_how how,
	     struct vhd_err *err);

/*
 * Makes everything written, zeroed and discarded before the call durable and visible to whoever
 * opens the file. Blocks. After a failed barrier the image is poisoned: this, and every later
 * write, returns that first error until the image is opened anew. Reads go on.
 */
int vhd_flush(vhd_image *img, struct vhd_err *err);

/* Whether a flush would have metadata to publish. Cheap; takes no lock that a barrier holds. */
bool vhd_has_unpublished(vhd_image *img);

struct vhd_extent {
	uint64_t off, len;	/* of the virtual disk */
	bool is_data;		/* owned by some image in the chain; else it reads as zeros */
	unsigned depth;		/* 0 this image, 1 its parent, ...; where is_data */
	bool has_file_off;	/* whether file_off is meaningful (is_data) */
	uint64_t file_off;	/* byte offset in the file of the image at that depth */
};

/*
 * The extent that begins at off and goes on as far as it is of one kind (not more than max bytes).
 * 1 and *ext, 0 at the end of the disk, or -errno.
 */
int vhd_next_extent(vhd_image *img, uint64_t off, uint64_t max, struct vhd_extent *ext,
		    struct vhd_err *err);

/* What a piece of the file is for. */
enum vhd_piece_kind {
	VHD_PIECE_METADATA,	/* footers, header, block table, parent locators */
	VHD_PIECE_BITMAP,	/* which sectors of a block are the image's own */
	VHD_PIECE_DATA,		/* sectors that are; disk_off tells which */
	VHD_PIECE_CLEAR,	/* sectors of a block that are not, and those past the disk's end */
	VHD_PIECE_FREE,		/* used by nothing */
};

struct vhd_piece {
	enum vhd_piece_kind kind;
	bool is_hole;		/* the host has nothing stored there */
	uint64_t off, len;	/* bytes of the file */
	uint64_t disk_off;	/* where off is on the virtual disk; of DATA and CLEAR */
};

typedef void (*vhd_piece_fn)(void *arg, const struct vhd_piece *piece);

/*
 * Calls told with each piece of img's own file, from its first byte to its last, none left out and
 * none twice. told must not call the image. Reads the bitmaps of all blocks, and needs 8 bytes for
 * each. Writes begun meanwhile fail with -EBUSY. 0 or -errno. Blocks.
 */
int vhd_each_piece(vhd_image *img, vhd_piece_fn told, void *arg, struct vhd_err *err);

struct vhd_info {
	enum vhd_type type;	/* VHD_FIXED also where is_raw */
	bool is_raw;		/* no VHD at all: see allow_raw; nothing below but sizes is known */
	uint64_t virtual_size;
	uint64_t file_size;	/* bytes, the file's length */
	uint64_t actual_size;	/* bytes that the host has allocated */
	uint32_t block_size;	/* bytes; 0 for a fixed image, as are the two counts */
	uint32_t blocks_total;
	uint32_t blocks_allocated;
	char creator[5];	/* four characters, unprintable ones as '?' */
	uint32_t creator_version;	/* major << 16 | minor */
	uint8_t uuid[16];
	int64_t created;	/* seconds since 1970 */
	bool has_saved_state;
	bool has_parent;
	uint8_t parent_uuid[16];
	char parent_name[1024];	/* UTF-8, as the image has it */
	char parent_path[4096];	/* where it was found; empty if it was not opened */
};

/* Fills *info. The counts are of this image, not of its chain. */
int vhd_get_info(vhd_image *img, struct vhd_info *info, struct vhd_err *err);

/* The parent that was opened with img, or NULL. Goes with img. */
vhd_image *vhd_parent(vhd_image *img);

typedef void (*vhd_child_fn)(void *arg, const char *path);

/*
 * Calls found with the path of every differencing image in img's folder whose parent is img: by its
 * unique id, or, of a raw disk, which has none, by the file that the child's names lead to. They
 * are not opened, nor locked. 0, or -errno when the folder cannot be read. Blocks.
 */
int vhd_find_children(vhd_image *img, vhd_child_fn found, void *arg, struct vhd_err *err);

/* Room of the virtual disk that nobody inside it uses. */
struct vhd_free_map {
	/*
	 * The first free extent that ends behind off: 1 and *start (not below off) and *len, 0 when
	 * there is none, or -errno with a sentence. Called in the caller's thread; may read the
	 * image. off only goes up within one pass. A part of a sector is not taken for free.
	 */
	int (*next)(void *arg, uint64_t off, uint64_t *start, uint64_t *len, struct vhd_err *err);
	void *arg;
};

struct vhd_progress {
	const char *phase;	/* "scan", "zero", "drop", "move", "copy", "merge" */
	uint64_t done, total;	/* bytes; done is total only when all of the phase is durable */
};

/* Called now and then in the caller's thread; may read the image. Anything but 0 stops the job at a
 * consistent point, with what was gained kept: -ECANCELED. */
typedef int (*vhd_progress_fn)(void *arg, const struct vhd_progress *progress);

/* Told of each block that stays, in the order of the disk: where it is there, and how many of its
 * bytes are the image's own and not known to be free. */
typedef void (*vhd_live_fn)(void *arg, uint64_t off, uint64_t len, uint64_t used);

/* All zero is the default. */
struct vhd_reclaim_opts {
	const struct vhd_free_map *free;	/* NULL: nothing is known to be free */
	bool dry_run;		/* change nothing (the image may be open read-only); the result is
				 * what would be, to the byte */
	bool write_zeros;	/* vhd_zero_free: punch no holes into blocks that stay */
	bool scrub;		/* vhd_zero_free: what was there is overwritten in the host's file
				 * before the room is given back */
	bool align;		/* vhd_compact: lay blocks anew so that data is on 4 KiB */
	bool no_holes;		/* vhd_compact: leave no holes in the file */
	uint64_t size_unit;	/* vhd_convert: the disk becomes a multiple of so many bytes, itself
				 * a multiple of 512; 0: 512 */
	bool keep_id;		/* vhd_merge: the parent keeps its unique id */
	unsigned max_seconds;	/* 0: no limit; once they are over: 0, with is_partial */
	uint64_t batch;		/* bytes done between two commits; 0: as suits the verb */
	vhd_progress_fn progress;
	void *progress_arg;
	vhd_live_fn live;
	void *live_arg;
};

struct vhd_reclaim_result {
	uint64_t file_size_before;
	uint64_t file_size_after;	/* what vhd_compact has reached; of a dry run, and of
					 * vhd_zero_free, what it would reach next */
	uint32_t blocks_before, blocks_after;	/* allocated */
	uint32_t blocks_released;	/* before - after */
	uint32_t blocks_zero;		/* of those after vhd_zero_free: left to vhd_compact, since
					 * they read as zeros and nothing says that they are free */
	uint32_t blocks_sparse;		/* of those that stay, less than 5 % used by the free map */
	uint32_t blocks_moved;		/* vhd_compact */
	uint64_t zeroed_bytes;		/* of sectors that the image owns, were not known to be
					 * zeros, and read as zeros now */
	uint64_t bytes_read, bytes_written;	/* of the image's file; metadata not counted */
	uint64_t room_wanted;	/* with -ENOSPC: bytes free on the host with which it could go on */
	bool is_partial;	/* stopped before all was done */
};

/*
 * Makes the free room of the disk read as zeros. A block with free room in which all else reads as
 * zeros is released (of a differencing image: in which nothing then differs from the parents); in
 * the other blocks free sectors become holes of the host's file, or zeros where that is faster.
 * Nothing is allocated, the file is not lengthened, what is zeros already is not written. Durable
 * when it returns. Waits for writes that are under way; those begun meanwhile fail with -EBUSY,
 * reads go on. Blocks long. Fixed and raw images, too.
 */
int vhd_zero_free(vhd_image *img, const struct vhd_reclaim_opts *opts,
		  struct vhd_reclaim_result *result, struct vhd_err *err);

/*
 * How many bytes vhd_zero_free would release for certain: those of the blocks in which all that the
 * image owns is free. Reads no data. 0 for a fixed or a differencing image. 0 or -errno.
 */
int vhd_reclaimable(vhd_image *img, const struct vhd_free_map *free, uint64_t *bytes,
		    struct vhd_err *err);

/*
 * Gives back every block that reads as zeros (of a differencing image: as the parents do), moves
 * the blocks that are highest in the file into the lowest room and cuts the file behind them. What
 * opts->free names is not read and counts as zeros. Shuts out writes as vhd_zero_free does. Blocks
 * long. -ENOTSUP for a fixed image. -ENOSPC, with what was reached kept, when the host is full.
 */
int vhd_compact(vhd_image *img, const struct vhd_reclaim_opts *opts,
		struct vhd_reclaim_result *result, struct vhd_err *err);

/*
 * Writes what vhd_compact would leave of img to a new file at path, laid out as by opts->align; img
 * stays as it is and may be open read-only. Identity, creator and parent go along, a relative path
 * to the parent too. The file is durable and whole before it bears its name: -EEXIST when path
 * exists, nothing is ever replaced, and a copy that fails or is stopped leaves nothing behind. Of
 * opts, max_seconds means nothing. Shuts out writes as vhd_zero_free does. Blocks long.
 */
int vhd_copy(vhd_image *img, const char *path, const struct vhd_reclaim_opts *opts,
	     struct vhd_reclaim_result *result, struct vhd_err *err);
/* The same into an empty io, which stays the caller's; NULL for a dry run. Ends with a barrier. */
int vhd_copy_io(vhd_image *img, struct vhd_io *out, const char *name,
		const struct vhd_reclaim_opts *opts, struct vhd_reclaim_result *result,
		struct vhd_err *err);

enum vhd_target {
	VHD_TO_DYNAMIC,
	VHD_TO_FIXED,
	VHD_TO_RAW,
};

/*
 * Writes all that img and its parents have to a new file at path: an image that reads as img does,
 * needs no parent and has a unique id of its own, or a raw disk. What reads as zeros is left out,
 * or is a hole. img may be raw, and open read-only. The file is durable and whole before it bears
 * its name, as with vhd_copy, and as there opts->free and max_seconds mean nothing. A dynamic
 * image has blocks of img's size, or of 2 MiB. -EINVAL for a size that the type does not have.
 */
int vhd_convert(vhd_image *img, const char *path, enum vhd_target to,
		const struct vhd_reclaim_opts *opts, struct vhd_reclaim_result *result,
		struct vhd_err *err);
/* The same into an empty io, which stays the caller's; NULL for a dry run. Ends with a barrier. */
int vhd_convert_io(vhd_image *img, struct vhd_io *out, const char *name, enum vhd_target to,
		   const struct vhd_reclaim_opts *opts, struct vhd_reclaim_result *result,
		   struct vhd_err *err);

/*
 * Writes what img, a differencing image opened with write_parent, owns to its parent, and gives
 * img's blocks back: a block only when the parent has it for certain, so that img reads the same at
 * every instant, and who was stopped goes on with what is left. At the end the parent gets a new
 * unique id, which img then names: other children of it, which would read otherwise, are refused
 * from then on. Of opts, what is not of all verbs and not keep_id means nothing. bytes_written and
 * zeroed_bytes are of the parent's disk. Shuts out writes to img as vhd_zero_free does. Blocks
 * long.
 * -ENOTSUP without a parent, -EFBIG when the parent's disk is the smaller one, -ENOSPC with what
 * was reached kept.
 */
int vhd_merge(vhd_image *img, const struct vhd_reclaim_opts *opts,
	      struct vhd_reclaim_result *result, struct vhd_err *err);

/*
 * Gives the disk of img, open for writing, size bytes, a multiple of 512. What it grows by reads as
 * zeros, what is cut off is lost; whether anybody needs that is not looked at. The image's file may
 * become longer by a longer block table, and blocks that are in its way are moved. No other call
 * may be under way on img. Crash-safe: the disk has the old size or the new one, and of what is to
 * be cut off some may be zeros before. Of opts, dry_run alone has a meaning: everything that would
 * refuse is asked. Blocks.
 *
 * -EINVAL for a size that the type cannot have, -EBUSY when a saved state waits for the disk,
 * -ENOTSUP for a raw disk, for a differencing image that is to grow over what a longer parent has,
 * and for an image of blktap in which something other than blocks is in the table's way; -ENOSPC.
 */
int vhd_resize(vhd_image *img, uint64_t size, const struct vhd_reclaim_opts *opts,
	       struct vhd_err *err);

struct vhd_rebase_opts {
	const char *parent;	/* where the parent is now */
	bool is_unchecked;	/* not even looked for: what is there is the parent from now on, by
				 * whatever unique id it has, and what is not there keeps its id */
	bool no_lock;		/* see vhd_open_opts */
	vhd_warn_fn warn;
	void *warn_arg;
};

/*
 * Makes the differencing image at path say that its parent is at opts->parent, and remember the
 * parent's time. -EILSEQ when that has another unique id, -ENOTSUP when the image has no parent.
 * Crash-safe: the image names the old place or the new one. Blocks.
 */
int vhd_rebase(const char *path, const struct vhd_rebase_opts *opts, struct vhd_err *err);

enum vhd_severity {
	VHD_WASTE,		/* room that nothing uses, a copy that is missing */
	VHD_ERROR,		/* damage */
};

struct vhd_problem {
	const char *kind;	/* a stable word, such as "bat-entry-past-end" */
	enum vhd_severity severity;
	bool is_repaired;
	char message[512];	/* one sentence */
};

typedef void (*vhd_problem_fn)(void *arg, const struct vhd_problem *problem);

struct vhd_check_opts {
	bool repair;		/* mend what can be mended with nothing lost */
	bool lossy;		/* with repair: also give up what is lost already */
	bool no_lock, force_share;
	bool with_parents;	/* also look at the parents, which are never repaired */
	bool share_parents;	/* read parents that are being written, too */
	vhd_problem_fn report;
	void *report_arg;
	vhd_warn_fn warn;	/* told what is odd of a parent */
	void *warn_arg;
};

struct vhd_check_result {
	uint64_t errors;	/* VHD_ERROR found and not repaired */
	uint64_t leaks;		/* VHD_WASTE found and not repaired */
	uint64_t repaired;
	unsigned parents;	/* looked at; what was found of them is counted above */
};

/*
 * Checks the structure of an image, and of its parents where that is asked for: each by itself, the
 * image first. 0 when the check was completed, whatever it found; -EILSEQ when one of them cannot
 * be opened at all (no footer, a bad header) or has another id than its child says, -ENOENT when a
 * parent is not found, -ELOOP when the chain is a circle or too deep: then what was reported before
 * stands.
 */
int vhd_check(const char *path, const struct vhd_check_opts *opts, struct vhd_check_result *result,
	      struct vhd_err *err);
/* The same over an io, which is closed. */
int vhd_check_io(struct vhd_io *io, const char *name, const struct vhd_check_opts *opts,
		 struct vhd_check_result *result, struct vhd_err *err);

enum vhd_program {
	VHD_FOR_WINDOWS,	/* Hyper-V, Virtual PC */
	VHD_FOR_AZURE,		/* uploaded as it is */
	VHD_FOR_XEN,		/* XenServer's blktap */
	VHD_FOR_VIRTUALBOX,
	VHD_FOR_QEMU,
};

typedef void (*vhd_reason_fn)(void *arg, const char *why);

/*
 * Whether another program would take img, which is open read-only with its parents, for the disk
 * that it is: the number of reasons why not, each reported by a sentence that names the field or
 * the size. What is not known of a program is not held against an image. Reads nothing.
 */
int vhd_accepts(vhd_image *img, enum vhd_program program, vhd_reason_fn report, void *arg);

struct vhd_create_opts {
	enum vhd_type type;	/* 0: VHD_DYNAMIC */
	uint64_t size;		/* bytes, a multiple of 512, made exactly; 0 with a parent: its
				 * size, and no other is taken */
	uint32_t block_size;	/* bytes, a power of two; 0: the parent's, else 2 MiB */
	const uint8_t *uuid;	/* 16 bytes; NULL: random */
	uint32_t timestamp;	/* seconds since 2000; 0: now */
	const char *parent;	/* VHD_DIFFERENCING: path of the parent. A file that is no image of
				 * any known format is a raw one: see allow_raw */
	bool no_lock;		/* for the parent: see vhd_open_opts */
};

/*
 * Makes an image that is durable and whole before it bears its name. -EEXIST when path exists:
 * nothing is ever replaced. -EINVAL for a size or block size that the format does not have. A
 * parent is opened for it, with its own parents, read-only, and nothing of it is changed; the child
 * says where it is by its path from the child's folder on, and by its absolute one.
 */
int vhd_create(const char *path, const struct vhd_create_opts *opts, struct vhd_err *err);
/* The same into an empty io, which stays the caller's; ends with a barrier. */
int vhd_create_io(struct vhd_io *io, const char *name, const struct vhd_create_opts *opts,
		  struct vhd_err *err);

#define VHD_PATH_MAX 4096	/* bytes of a path, its NUL counted */

struct vhd_snapshot_opts {
	const char *parent;	/* the name for what is at path now; NULL: one is made up from the
				 * path and the first number that is free, as in disk-1.vhd */
	bool no_lock;		/* see vhd_open_opts */
	vhd_warn_fn warn;
	void *warn_arg;
};

/*
 * Keeps the disk at path as it is now: the file gets another name, which is put in `parent`, and a
 * child of it takes its place. Links are followed first. Nobody may have the image open. At every
 * instant path names an image with the same contents; where it was stopped, it can be run again.
 * -EEXIST where the name is taken: nothing is replaced. -EINVAL where an image that has a parent
 * itself would go to another folder, from which it could not find it. Blocks.
 */
int vhd_snapshot(const char *path, const struct vhd_snapshot_opts *opts, char parent[VHD_PATH_MAX],
		 struct vhd_err *err);

/*
 * Opens a new child of the image at path (a VHD or a raw disk, opened read-only) for writing. Its
 * file is in folder, has no name, and is gone when it is closed, however the process ends. Of opts
 * (NULL allowed), no_lock, no_detect_zeroes and warn count. Blocks.
 */
int vhd_open_scratch(vhd_image **img, const char *path, const char *folder,
		     const struct vhd_open_opts *opts, struct vhd_err *err);

#endif
