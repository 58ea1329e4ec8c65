/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A physical volume of LVM2, and windows over the linear logical volumes on it. */
#include "vhd/guest/lvm_private.h"

#include <errno.h>
#include <stdlib.h>

static int read_pv(struct lvm *lvm, const struct window *pv, bool is_part, struct verdict *verdict)
{
	struct lvm_label label;
	struct lvm_text text = { 0 };
	struct lvm_group group = {
		.text = &text, .lvm = lvm, .verdict = verdict, .is_part = is_part,
	};
	int rc = lvm_read_label(&label, pv, verdict);

	*lvm = (struct lvm){ .text_crc = label.text_crc };
	if (rc > 0) {
		rc = lvm_parse(&text, label.text, label.text_len);
		if (!rc)
			lvm_not_understood(&group, "the metadata");
	}
	if (rc > 0)
		rc = lvm_read_group(&group, &label, pv);
	free(text.nodes);
	free(label.text);
	return rc;
}

int lvm_read(struct lvm *lvm, const struct window *pv, struct verdict *verdict)
{
	return read_pv(lvm, pv, false, verdict);
}

int lvm_read_part(struct lvm *lvm, const struct window *pv, struct verdict *verdict)
{
	return read_pv(lvm, pv, true, verdict);
}

void lvm_destroy(struct lvm *lvm)
{
	freemap_destroy(&lvm->free);
	for (size_t i = 0; i < lvm->lvs_len; i++)
		free(lvm->lvs[i].segments);
	free(lvm->lvs);
	*lvm = (struct lvm){ 0 };
}

/* The segment that off is in; there is one. */
static const struct lvm_segment *find_segment(const struct lvm_lv *lv, uint64_t off)
{
	size_t low = 0, high = lv->segments_len - 1;

	while (low < high) {
		size_t middle = high - (high - low) / 2;

		if (lv->segments[middle].lv_off <= off)
			low = middle;
		else
			high = middle - 1;
	}
	return &lv->segments[low];
}

static int read_linear(const struct window *window, void *buf, size_t len, uint64_t off)
{
	const struct lvm_lv *lv = window->arg;
	char *p = buf;

	while (len) {
		const struct lvm_segment *segment = find_segment(lv, off);
		uint64_t in = off - segment->lv_off;
		size_t n = len < segment->len - in ? len : (size_t)(segment->len - in);
		int rc = window_read(window->outer, p, n, segment->pv_off + in);

		if (rc)
			return rc;
		p += n;
		off += n;
		len -= n;
	}
	return 0;
}

int lvm_window(struct window *window, const struct lvm_lv *lv, const struct window *pv)
{
	if (!lv->is_linear || lv->is_partial || !lv->segments_len)
		return -EINVAL;
	*window = (struct window){
		.read = read_linear, .size = lv->size, .outer = pv,
		.arg = (void *)(uintptr_t)lv,
	};
	return 0;
}
