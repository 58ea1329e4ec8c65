/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The logical volumes in LVM2's metadata. Whatever names an extent of the physical volume makes it
 * used, in a segment of any kind; only what is wholly understood makes a linear volume.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/guest/lvm_private.h"

#define MAX_LVS 1024

static bool is_same(struct lvm_str a, struct lvm_str b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

static bool is_our_pv(const struct lvm_group *group, const struct lvm_item *item)
{
	return item->is_string && is_same(item->str, group->pv);
}

static bool is_any_pv(const struct lvm_group *group, const struct lvm_item *item)
{
	const struct lvm_node *pv = NULL;

	while ((pv = lvm_next_child(group->text, group->pvs, pv)))
		if (item->is_string && is_same(item->str, pv->name))
			return true;
	return false;
}

/* The next item that is a number and comes behind the name of our physical volume. */
static bool next_extent(const struct lvm_group *group, struct lvm_items *items, uint64_t *extent)
{
	struct lvm_item item;
	bool is_pv = false;

	while (lvm_next_item(items, &item)) {
		if (is_pv && !item.is_string) {
			*extent = item.number;
			return true;
		}
		is_pv = is_our_pv(group, &item);
	}
	return false;
}

/* Makes extents used; 0 with a verdict if they are not there, or are another's already. */
static int take_extents(struct lvm_group *group, uint64_t first, uint64_t count, bool is_alone)
{
	if (first > group->count || count > group->count - first)
		return verdict_set(group->verdict, GUEST_DAMAGED,
				   "a logical volume has extents that there are not");
	if (is_alone && freemap_count(&group->lvm->free, first, count) != count)
		return verdict_set(group->verdict, GUEST_DAMAGED,
				   "two logical volumes have the same extent");
	/* Each extent has few owners, if any; a text that says otherwise is to keep us busy. */
	group->work += count;
	if (group->work / 64 > group->count)
		return lvm_not_understood(group, "a list of extents");
	freemap_take(&group->lvm->free, first, count);
	return 1;
}

/*
 * All extents that are named in one list of a segment. In a striped one, of which a linear one is
 * the simplest, each place has its share; of any other kind it is not known that they share.
 */
static int take_list(struct lvm_group *group, const struct lvm_node *list, uint64_t count,
		     bool is_striped)
{
	struct lvm_items items = { list->value };
	uint64_t extent;
	int rc = 1;

	while (rc > 0 && next_extent(group, &items, &extent)) {
		group->taken++;
		rc = take_extents(group, extent, count, is_striped);
	}
	return rc;
}

static size_t count_items(struct lvm_str value)
{
	struct lvm_items items = { value };
	struct lvm_item item;
	size_t count = 0;

	while (lvm_next_item(&items, &item))
		count++;
	return count;
}

/* "segment", and a number. */
static bool is_segment(const struct lvm_node *node)
{
	return node->is_section && node->name.len > 7 && memcmp(node->name.p, "segment", 7) == 0;
}

/* Marks used what a segment has, *count extents from *start of its volume on. */
static int take_segment(struct lvm_group *group, const struct lvm_node *segment,
			uint64_t *start, uint64_t *count)
{
	const struct lvm_text *text = group->text;
	const struct lvm_node *stripes = lvm_child(text, segment, "stripes");
	const struct lvm_node *end = text->nodes + segment->end;
	uint64_t share, number;
	bool is_striped;
	int rc = 1;

	if (!lvm_number(text, segment, "start_extent", start) ||
	    !lvm_number(text, segment, "extent_count", count))
		return lvm_not_understood(group, "a segment");
	is_striped = lvm_is(lvm_string(text, segment, "type"), "striped") && stripes &&
		     lvm_number(text, segment, "stripe_count", &number) && number &&
		     count_items(stripes->value) == 2 * number && *count % number == 0;
	for (const struct lvm_node *child = segment + 1; rc > 0 && child < end; child++) {
		if (child->is_section)
			continue;
		share = is_striped && child == stripes ? *count / number : *count;
		rc = take_list(group, child, share, is_striped && child == stripes);
	}
	return rc;
}

/* A segment that is one run of extents of a physical volume: then of which, and where that is. */
static bool is_plain(const struct lvm_group *group, const struct lvm_node *segment,
		     struct lvm_item *pv, uint64_t *extent)
{
	const struct lvm_node *stripes = lvm_child(group->text, segment, "stripes");
	struct lvm_items items = { stripes ? stripes->value : (struct lvm_str){ "", 0 } };
	struct lvm_item place, more;
	uint64_t number;

	if (!lvm_is(lvm_string(group->text, segment, "type"), "striped") ||
	    !lvm_number(group->text, segment, "stripe_count", &number) || number != 1 ||
	    !lvm_next_item(&items, pv) || !lvm_next_item(&items, &place) ||
	    lvm_next_item(&items, &more))
		return false;
	*extent = place.number;
	return is_any_pv(group, pv) && !place.is_string;
}

/* The next count extents of a volume, from start on, if they are ours and it is linear so far. */
static int add_segment(const struct lvm_group *group, struct lvm_lv *lv,
		       const struct lvm_node *segment, uint64_t start, uint64_t count)
{
	struct lvm_segment *segments;
	struct lvm_item pv;
	uint64_t extent;

	lv->is_linear = lv->is_linear && is_plain(group, segment, &pv, &extent);
	if (!lv->is_linear)
		return 1;
	if (!is_our_pv(group, &pv)) {
		lv->is_partial = true;
		return 1;
	}
	segments = reallocarray(lv->segments, lv->segments_len + 1, sizeof(*segments));
	if (!segments)
		return -ENOMEM;
	lv->segments = segments;
	segments[lv->segments_len++] = (struct lvm_segment){
		.lv_off = start * group->unit, .len = count * group->unit,
		.pv_off = group->first + extent * group->unit,
	};
	return 1;
}

/* Its segments must follow each other, and be as many as it says. */
static int read_segments(struct lvm_group *group, const struct lvm_node *node,
			 struct lvm_lv *lv)
{
	const struct lvm_node *child = NULL;
	uint64_t next = 0, segments = 0, start, count, said;

	while ((child = lvm_next_child(group->text, node, child))) {
		int rc;

		if (!is_segment(child))
			continue;
		rc = take_segment(group, child, &start, &count);
		if (rc <= 0)
			return rc;
		if (start != next || !count || __builtin_add_overflow(next, count, &next))
			return lvm_not_understood(group, "the order of segments");
		rc = add_segment(group, lv, child, start, count);
		if (rc <= 0)
			return rc;
		segments++;
	}
	if (!lvm_number(group->text, node, "segment_count", &said) || said != segments)
		return lvm_not_understood(group, "the number of segments");
	if (__builtin_mul_overflow(next, group->unit, &lv->size))
		return lvm_not_understood(group, "the size of a volume");
	return 1;
}

/* Any other volume whose segments name this one has a say in what is in it: a snapshot, a pool. */
static bool is_named_by_others(const struct lvm_group *group, const struct lvm_node *node)
{
	const struct lvm_node *nodes = group->text->nodes;

	for (size_t i = (size_t)(group->lvs - nodes) + 1; i < group->lvs->end;) {
		struct lvm_items items = { nodes[i].value };
		struct lvm_item item;

		if (&nodes[i] == node) {
			i = node->end;
			continue;
		}
		while (!nodes[i].is_section && lvm_next_item(&items, &item))
			if (item.is_string && item.str.len == node->name.len &&
			    memcmp(item.str.p, node->name.p, item.str.len) == 0)
				return true;
		i++;
	}
	return false;
}

static bool has_item(const struct lvm_text *text, const struct lvm_node *in, const char *name,
		     const char *word)
{
	const struct lvm_node *list = lvm_child(text, in, name);
	struct lvm_items items = { list ? list->value : (struct lvm_str){ "", 0 } };
	struct lvm_item item;

	while (lvm_next_item(&items, &item))
		if (lvm_is(item.str, word))
			return true;
	return false;
}

static int read_lv(struct lvm_group *group, const struct lvm_node *node, struct lvm_lv *lv)
{
	const struct lvm_text *text = group->text;

	snprintf(lv->name, sizeof(lv->name), "%.*s/%.*s", (int)group->root->name.len,
		 group->root->name.p, (int)node->name.len, node->name.p);
	for (char *p = lv->name; *p; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			*p = '?';
	lv->is_visible = has_item(text, node, "status", "VISIBLE");
	lv->is_readonly = !has_item(text, node, "status", "WRITE");
	lv->is_linear = lvm_are_all_of(text, node, "status", "READ WRITE VISIBLE FIXED_MINOR") &&
			lv->is_visible && lvm_are_all_of(text, node, "flags", "") &&
			!is_named_by_others(group, node);
	return read_segments(group, node, lv);
}

/* Extents that are named anywhere but in a volume's segments would have been passed over. */
static bool are_all_taken(const struct lvm_group *group)
{
	uint64_t named = 0;

	for (size_t i = 0; i < group->text->len; i++) {
		struct lvm_items items = { group->text->nodes[i].value };
		uint64_t extent;

		while (!group->text->nodes[i].is_section && next_extent(group, &items, &extent))
			named++;
	}
	return named == group->taken;
}

int lvm_read_lvs(struct lvm_group *group)
{
	struct lvm *lvm = group->lvm;
	const struct lvm_node *node = NULL;
	int rc = 1;

	while (rc > 0 && group->lvs && (node = lvm_next_child(group->text, group->lvs, node))) {
		struct lvm_lv *lvs;

		if (!node->is_section || lvm->lvs_len == MAX_LVS)
			return lvm_not_understood(group, "the list of volumes");
		lvs = reallocarray(lvm->lvs, lvm->lvs_len + 1, sizeof(*lvs));
		if (!lvs)
			return -ENOMEM;
		lvm->lvs = lvs;
		lvs[lvm->lvs_len] = (struct lvm_lv){ 0 };
		rc = read_lv(group, node, &lvs[lvm->lvs_len++]);
	}
	if (rc > 0 && !are_all_taken(group))
		return lvm_not_understood(group, "a list of extents");
	return rc;
}
