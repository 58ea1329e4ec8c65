/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PUBLIC: what the guest keeps on the disk. Partitions, logical volumes, filesystems, and which of
 * their room is free.
 *
 * The disk is read through vhd_pread alone. What is on it may have been written by an attacker, so
 * it is looked at in a child process that has no privileges to lose (vhd/guest/sandbox.c): the
 * child asks for bytes over a pipe, and answers with what it found.
 */
#ifndef VHD_GUEST_H
#define VHD_GUEST_H

#include "vhd/vhd.h"

#define GUEST_NAME_MAX 40
#define GUEST_WHY_MAX 200
#define GUEST_LONG_NAME_MAX 256	/* "group/volume", as long as LVM makes them */

enum guest_state {
	GUEST_NOTHING,		/* no filesystem to judge: reserved, empty, a container */
	GUEST_CLEAN,
	GUEST_UNCLEAN,		/* a journal to replay, a dirty flag: to be mounted once */
	GUEST_HIBERNATED,	/* a system sleeps in it, and knows the whole disk by heart */
	GUEST_DAMAGED,		/* its own checker is needed */
	GUEST_UNSUPPORTED,	/* cannot be looked into: encrypted, unknown, not served */
};

/* A partition, a logical volume, or (number 0, no container) a filesystem on the whole disk. */
struct guest_volume {
	unsigned number;	/* as the kernel counts; of an LV, its container's */
	bool is_logical;	/* an LV of LVM: its start is 0, its length its own */
	uint64_t start, length;	/* bytes of the disk */
	char type[GUEST_NAME_MAX];	/* the partition's, as the table has it; "lvm" for an LV */
	char name[GUEST_LONG_NAME_MAX];	/* an LV's "group/volume", a GPT partition's; or empty */
	char filesystem[GUEST_NAME_MAX];	/* "ext4", "ntfs", "luks", ...; empty: none known */
	enum guest_state state;
	char why[GUEST_WHY_MAX];	/* one sentence, unless clean */
	uint64_t used, free;	/* bytes; 0 unless clean */
	bool is_readonly;	/* an LV that its group says not to write to */
};

/* What holds of the disk as a whole. */
struct guest_disk {
	char table[GUEST_NAME_MAX];	/* "gpt", "mbr", ...; "none" */
	enum guest_state state;	/* of the table: CLEAN, or DAMAGED or UNSUPPORTED, and then */
	char why[GUEST_WHY_MAX];	/* what is wrong: nothing on the disk is free */
	bool is_hibernated;	/* a volume's system sleeps: nothing on the disk is free */
};

/* Bytes of the disk. */
struct guest_range {
	uint64_t start, len;
};

struct guest;

/* Whether to stop; asked when a signal interrupts the waiting. */
typedef bool (*guest_stop_fn)(void *arg);

struct guest_opts {
	bool no_sandbox;	/* no locking in: a child process, but one that may do anything */
	bool has_gaps;		/* the room between partitions is free: a volume of type "gap" */
	guest_stop_fn stop;
	void *stop_arg;
};

/*
 * Looks at all that is on the disk of img, which must outlive the guest. Blocks on storage.
 * -ENOSYS when the sandbox cannot be had; -ECANCELED when stop said so; -EPROTO when the child
 * misbehaved or died; or an error of reading the disk. On success *guest is the caller's, to be
 * given to guest_close.
 */
int guest_open(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
	       struct vhd_err *err);
/* The same for the partition table alone: no filesystem is looked for, nothing is free. */
int guest_open_table(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
		     struct vhd_err *err);
/*
 * The same for the partitions, and the logical volumes of LVM in them: what has bytes of its own.
 * A partition that is a physical volume says so by its filesystem, "lvm2", and is clean when its
 * group is understood. Of the logical volumes those are told that the guest itself sees; one is
 * clean when guest_ranges can tell where it lies, else it says why it cannot.
 */
int guest_open_volumes(struct guest **guest, vhd_image *img, const struct guest_opts *opts,
		       struct vhd_err *err);
void guest_close(struct guest *guest);

/* What was found; guest's own. Volumes come in the order of the disk. */
const struct guest_disk *guest_disk(const struct guest *guest);
size_t guest_volumes(const struct guest *guest);
const struct guest_volume *guest_volume(const struct guest *guest, size_t i);

/*
 * Where volume i lies, after guest_open_volumes: *len ranges of the disk, in the order of the
 * volume, which together are as long as it is. They are the guest's own, and good until the next
 * call with it. 0, -EINVAL for a volume that is not a clean logical one, -EPROTO, -ECANCELED.
 */
int guest_ranges(struct guest *guest, size_t i, const struct guest_range **ranges, size_t *len,
		 struct vhd_err *err);

/* Of which volumes guest_next_free tells: all, until one is deselected. 0 or -EPROTO. */
int guest_select(struct guest *guest, const bool *is_selected, struct vhd_err *err);

/*
 * The first free range of the selected volumes that ends behind off: 1 and *start (not below off)
 * and *len in bytes of the disk; 0 when there is none; -EPROTO, -ECANCELED. Fast for ascending
 * off. Only clean volumes have free ranges, and none has if a system is hibernated.
 */
int guest_next_free(struct guest *guest, uint64_t off, uint64_t *start, uint64_t *len,
		    struct vhd_err *err);

/* A word for a state: "clean", "unclean", ... */
const char *guest_state_word(enum guest_state state);

#endif
