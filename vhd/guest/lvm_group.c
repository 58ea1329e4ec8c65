/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The volume group in LVM2's metadata: whether it is one that is served, and all on this disk. */
#include <stdio.h>
#include <string.h>

#include "vhd/guest/lvm_private.h"

int lvm_not_understood(const struct lvm_group *group, const char *what)
{
	return verdict_set(group->verdict, GUEST_UNSUPPORTED,
			   "%s of its volume group is not understood", what);
}

/* Whether each item of the list is one of the words, which are separated by single spaces. */
bool lvm_are_all_of(const struct lvm_text *text, const struct lvm_node *in, const char *name,
		    const char *words)
{
	const struct lvm_node *list = lvm_child(text, in, name);
	struct lvm_items items = { list ? list->value : (struct lvm_str){ "", 0 } };
	struct lvm_item item;

	while (lvm_next_item(&items, &item)) {
		const char *word = words;
		size_t len = strcspn(word, " ");

		while (*word && (item.str.len != len || memcmp(word, item.str.p, len) != 0)) {
			word += len + (word[len] == ' ');
			len = strcspn(word, " ");
		}
		if (!*word)
			return false;
	}
	return list;
}

/* The group is the one section; beside it there are values only. */
static const struct lvm_node *find_root(const struct lvm_text *text)
{
	const struct lvm_node *found = NULL;

	for (size_t i = 0; i < text->len; i = text->nodes[i].end) {
		if (text->nodes[i].is_section && found)
			return NULL;
		if (text->nodes[i].is_section)
			found = &text->nodes[i];
	}
	return found;
}

/* The text has six dashes in it, the label none. */
static bool is_uuid(struct lvm_str str, const char *uuid)
{
	for (size_t i = 0; i < str.len; i++)
		if (str.p[i] != '-' && (!*uuid || str.p[i] != *uuid++))
			return false;
	return !*uuid;
}

static int check_group(struct lvm_group *group)
{
	const struct lvm_text *text = group->text;

	group->root = find_root(text);
	if (!group->root)
		return lvm_not_understood(group, "the metadata");
	group->lvs = lvm_child(text, group->root, "logical_volumes");
	if (group->lvs && !group->lvs->is_section)
		return lvm_not_understood(group, "the list of volumes");
	if (!lvm_is(lvm_string(text, group->root, "format"), "lvm2"))
		return lvm_not_understood(group, "the format");
	if (lvm_child(text, group->root, "lock_type"))
		return verdict_set(group->verdict, GUEST_UNSUPPORTED,
				   "its volume group is shared with other machines");
	if (!lvm_are_all_of(text, group->root, "flags", "") ||
	    !lvm_are_all_of(text, group->root, "status", "RESIZEABLE READ WRITE EXPORTED"))
		return lvm_not_understood(group, "a flag");
	return 1;
}

/* The one of the group's physical volumes that this is: NULL with a verdict if it is none. */
static const struct lvm_node *find_pv(struct lvm_group *group, const struct lvm_label *label)
{
	const struct lvm_text *text = group->text;
	const struct lvm_node *pvs = lvm_child(text, group->root, "physical_volumes");
	const struct lvm_node *pv = pvs && pvs->is_section ? lvm_next_child(text, pvs, NULL) : NULL;

	if (!pv || !pv->is_section) {
		lvm_not_understood(group, "the list of physical volumes");
		return NULL;
	}
	group->pvs = pvs;
	if (!group->is_part && lvm_next_child(text, pvs, pv)) {
		verdict_set(group->verdict, GUEST_UNSUPPORTED,
			    "its volume group has more physical volumes than this one");
		return NULL;
	}
	while (pv && !(pv->is_section && is_uuid(lvm_string(text, pv, "id"), label->uuid)))
		pv = lvm_next_child(text, pvs, pv);
	if (!pv)
		verdict_set(group->verdict, GUEST_DAMAGED,
			    "its metadata is that of another physical volume");
	return pv;
}

/* The physical volume, which must have room for its extents. */
static int check_pv(struct lvm_group *group, const struct lvm_label *label,
		    const struct window *window)
{
	const struct lvm_text *text = group->text;
	const struct lvm_node *pv = find_pv(group, label);
	uint64_t start, unit, end;

	if (!pv)
		return 0;
	if (!lvm_are_all_of(text, pv, "flags", "") ||
	    !lvm_are_all_of(text, pv, "status", "ALLOCATABLE"))
		return lvm_not_understood(group, "a flag");
	if (!lvm_number(text, group->root, "extent_size", &unit) || !unit ||
	    unit > UINT32_MAX / LVM_SECTOR || !lvm_number(text, pv, "pe_start", &start) ||
	    !lvm_number(text, pv, "pe_count", &group->count))
		return lvm_not_understood(group, "the size");
	group->pv = pv->name;
	group->unit = unit * LVM_SECTOR;
	if (__builtin_mul_overflow(start, LVM_SECTOR, &group->first) ||
	    __builtin_mul_overflow(group->count, group->unit, &end) ||
	    __builtin_add_overflow(end, group->first, &end) || end > window->size)
		return verdict_set(group->verdict, GUEST_DAMAGED,
				   "it has more extents than there is room for");
	for (size_t i = 0; i < label->areas_len; i++)
		if (label->areas[i].off < end &&
		    (label->areas[i].off >= group->first ||
		     label->areas[i].len > group->first - label->areas[i].off))
			return verdict_set(group->verdict, GUEST_DAMAGED,
					   "its extents lie over its metadata");
	return 1;
}

int lvm_read_group(struct lvm_group *group, const struct lvm_label *label,
		   const struct window *window)
{
	int rc = check_group(group);

	if (rc > 0)
		rc = check_pv(group, label, window);
	if (rc <= 0)
		return rc;
	snprintf(group->lvm->group, sizeof(group->lvm->group), "%.*s",
		 (int)lvm_string(group->text, group->root, "id").len,
		 lvm_string(group->text, group->root, "id").p);
	rc = freemap_init(&group->lvm->free, group->first, (uint32_t)group->unit, group->count);
	if (rc)
		return rc;
	freemap_give(&group->lvm->free, 0, group->count);
	rc = lvm_read_lvs(group);
	return rc > 0 ? verdict_set(group->verdict, GUEST_CLEAN, "%s", "") : rc;
}
