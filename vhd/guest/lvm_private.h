/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the reader of LVM2 consists of: the label and metadata areas, their text, its meaning. */
#ifndef VHD_GUEST_LVM_PRIVATE_H
#define VHD_GUEST_LVM_PRIVATE_H

#include "vhd/guest/lvm.h"

#define LVM_SECTOR 512u
#define LVM_MAX_TEXT (1u << 20)	/* twice what is in an area of the usual size */
#define LVM_MAX_AREAS 8

struct lvm_area {
	uint64_t off, len;	/* bytes of the volume */
};

/* --- lvm_label.c: the label, and the text that it leads to ----------------------------------- */

struct lvm_label {
	char uuid[33];
	struct lvm_area areas[LVM_MAX_AREAS];	/* where the metadata is, and boot loaders' */
	size_t areas_len;
	char *text;		/* the caller's to free; ends in a NUL beyond text_len */
	size_t text_len;
	uint32_t text_crc;
};

/* 1 when there is a text; 0 when there is a verdict instead; or -errno. */
int lvm_read_label(struct lvm_label *label, const struct window *pv, struct verdict *verdict);

/* --- lvm_text.c: the syntax ------------------------------------------------------------------- */

struct lvm_str {
	const char *p;
	size_t len;
};

/* A section, or a name and a value. */
struct lvm_node {
	struct lvm_str name, value;	/* value as it is written, with its quotes or brackets */
	bool is_section;
	size_t end;		/* the node behind this one and all that is in it */
};

struct lvm_text {
	struct lvm_node *nodes;	/* in the order of the text; a section's begin right behind it */
	size_t len;
};

/* 1, 0 if this is no text that we know how to read, or -ENOMEM. */
int lvm_parse(struct lvm_text *text, const char *p, size_t len);

bool lvm_is(struct lvm_str str, const char *word);
/* The child of the section `in` with that name, or NULL. */
const struct lvm_node *lvm_child(const struct lvm_text *text, const struct lvm_node *in,
				 const char *name);
/* The child behind `child`, or the first one for NULL; NULL at the end. */
const struct lvm_node *lvm_next_child(const struct lvm_text *text, const struct lvm_node *in,
				      const struct lvm_node *child);
/* False if there is no such child that is a number. */
bool lvm_number(const struct lvm_text *text, const struct lvm_node *in, const char *name,
		uint64_t *number);
/* What is between the quotes; empty if there is no such child that is a string. */
struct lvm_str lvm_string(const struct lvm_text *text, const struct lvm_node *in,
			  const char *name);

/* One by one, what is in a value: a list's items, or a value that is no list. */
struct lvm_items {
	struct lvm_str rest;
};
struct lvm_item {
	struct lvm_str str;	/* without quotes */
	bool is_string;
	uint64_t number;	/* if it is none */
};
bool lvm_next_item(struct lvm_items *items, struct lvm_item *item);

/* --- lvm_group.c: the volume group, and whether it is one that is served ---------------------- */

struct lvm_group {
	const struct lvm_text *text;
	const struct lvm_node *root, *lvs;	/* lvs: NULL when there are none */
	const struct lvm_node *pvs;
	bool is_part;		/* other physical volumes are allowed */
	struct lvm_str pv;	/* its name in the text */
	uint64_t unit, first, count;	/* bytes of an extent, before the first one; how many */
	uint64_t taken;		/* places in the text where a segment has extents of ours */
	uint64_t work;		/* extents that were marked used, each time they were */
	struct lvm *lvm;
	struct verdict *verdict;
};

/* Fills group->lvm and group->verdict, from group->text and the label. 0 or -errno. */
int lvm_read_group(struct lvm_group *group, const struct lvm_label *label,
		   const struct window *window);
/* A verdict; always 0, to be returned. */
int lvm_not_understood(const struct lvm_group *group, const char *what);
/* Whether there is such a list, with no item but the words, which have single spaces between. */
bool lvm_are_all_of(const struct lvm_text *text, const struct lvm_node *in, const char *name,
		    const char *words);

/* --- lvm_lv.c: logical volumes, and which extents they have ----------------------------------- */

/* 1, 0 when there is a verdict, or -ENOMEM. group->lvm->free begins as wholly free. */
int lvm_read_lvs(struct lvm_group *group);

#endif
