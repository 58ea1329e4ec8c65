/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The syntax of LVM2's metadata: sections in braces, and names with values, which are numbers,
 * strings, or lists of these. It is read once into an array of nodes, without recursion.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/guest/lvm_private.h"

#define MAX_DEPTH 16

struct reader {
	const char *p, *end;
	struct lvm_text *text;
	size_t capacity;
	size_t open[MAX_DEPTH];	/* sections that we are in */
	size_t depth;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0';
}

static bool is_word(char c)
{
	return !is_space(c) && !memchr("={}[]\"#,", c, 8);
}

/* Over white space and comments. False at the end. */
static bool skip(const char **p, const char *end)
{
	while (*p < end && (is_space(**p) || **p == '#')) {
		if (**p == '#')
			while (*p < end && **p != '\n')
				(*p)++;
		else
			(*p)++;
	}
	return *p < end;
}

/* From one quote to behind the other. False if there is none. */
static bool skip_string(const char **p, const char *end)
{
	for ((*p)++; *p < end && **p != '"'; (*p)++)
		if (**p == '\\')
			(*p)++;
	if (*p >= end)
		return false;
	(*p)++;
	return true;
}

static bool skip_plain(const char **p, const char *end)
{
	const char *start = *p;

	if (**p == '"')
		return skip_string(p, end);
	while (*p < end && is_word(**p))
		(*p)++;
	return *p > start;
}

static bool skip_value(const char **p, const char *end)
{
	if (**p != '[')
		return skip_plain(p, end);
	(*p)++;
	while (skip(p, end)) {
		if (**p == ']') {
			(*p)++;
			return true;
		}
		if (**p == ',')
			(*p)++;
		else if (!skip_plain(p, end))
			return false;
	}
	return false;
}

static int add(struct reader *r, struct lvm_node node)
{
	struct lvm_text *text = r->text;

	if (text->len == r->capacity) {
		size_t more = r->capacity ? 2 * r->capacity : 256;
		struct lvm_node *nodes = reallocarray(text->nodes, more, sizeof(*nodes));

		if (!nodes)
			return -ENOMEM;
		text->nodes = nodes;
		r->capacity = more;
	}
	node.end = text->len + 1;
	text->nodes[text->len++] = node;
	return 1;
}

static bool close_section(struct reader *r)
{
	if (!r->depth)
		return false;
	r->text->nodes[r->open[--r->depth]].end = r->text->len;
	r->p++;
	return true;
}

static int read_named(struct reader *r, struct lvm_str name)
{
	struct lvm_node node = { .name = name };

	if (*r->p == '{' && r->depth < MAX_DEPTH) {
		r->open[r->depth++] = r->text->len;
		node.is_section = true;
		r->p++;
		return add(r, node);
	}
	if (*r->p != '=')
		return 0;
	r->p++;
	if (!skip(&r->p, r->end))
		return 0;
	node.value.p = r->p;
	if (!skip_value(&r->p, r->end))
		return 0;
	node.value.len = (size_t)(r->p - node.value.p);
	return add(r, node);
}

int lvm_parse(struct lvm_text *text, const char *p, size_t len)
{
	struct reader r = { .p = p, .end = p + len, .text = text };
	int rc = 1;

	*text = (struct lvm_text){ 0 };
	while (rc > 0 && skip(&r.p, r.end)) {
		struct lvm_str name = { .p = r.p };

		if (*r.p == '}') {
			rc = close_section(&r);
			continue;
		}
		while (r.p < r.end && is_word(*r.p))
			r.p++;
		name.len = (size_t)(r.p - name.p);
		rc = name.len && skip(&r.p, r.end) ? read_named(&r, name) : 0;
	}
	return rc > 0 && r.depth ? 0 : rc;
}

bool lvm_is(struct lvm_str str, const char *word)
{
	return str.len == strlen(word) && memcmp(str.p, word, str.len) == 0;
}

const struct lvm_node *lvm_next_child(const struct lvm_text *text, const struct lvm_node *in,
				      const struct lvm_node *child)
{
	const struct lvm_node *next = child ? text->nodes + child->end : in + 1;

	return next < text->nodes + in->end ? next : NULL;
}

const struct lvm_node *lvm_child(const struct lvm_text *text, const struct lvm_node *in,
				 const char *name)
{
	const struct lvm_node *child = NULL;

	while ((child = lvm_next_child(text, in, child)))
		if (lvm_is(child->name, name))
			return child;
	return NULL;
}

static bool to_number(struct lvm_str str, uint64_t *number)
{
	*number = 0;
	for (size_t i = 0; i < str.len; i++)
		if (str.p[i] < '0' || str.p[i] > '9' ||
		    __builtin_mul_overflow(*number, 10, number) ||
		    __builtin_add_overflow(*number, (uint64_t)(str.p[i] - '0'), number))
			return false;
	return str.len;
}

bool lvm_next_item(struct lvm_items *items, struct lvm_item *item)
{
	const char *p = items->rest.p, *end = p + items->rest.len, *start;

	while (skip(&p, end) && (*p == '[' || *p == ',' || *p == ']'))
		p++;
	start = p;
	if (p == end || !skip_plain(&p, end))
		return false;
	*item = (struct lvm_item){ .str = { start, (size_t)(p - start) } };
	items->rest = (struct lvm_str){ p, (size_t)(end - p) };
	item->is_string = *start == '"';
	if (item->is_string)
		item->str = (struct lvm_str){ start + 1, item->str.len - 2 };
	else if (!to_number(item->str, &item->number))
		item->number = UINT64_MAX;
	return true;
}

bool lvm_number(const struct lvm_text *text, const struct lvm_node *in, const char *name,
		uint64_t *number)
{
	const struct lvm_node *child = lvm_child(text, in, name);

	return child && !child->is_section && to_number(child->value, number);
}

struct lvm_str lvm_string(const struct lvm_text *text, const struct lvm_node *in,
			  const char *name)
{
	const struct lvm_node *child = lvm_child(text, in, name);

	if (!child || child->value.len < 2 || *child->value.p != '"')
		return (struct lvm_str){ "", 0 };
	return (struct lvm_str){ child->value.p + 1, child->value.len - 2 };
}
