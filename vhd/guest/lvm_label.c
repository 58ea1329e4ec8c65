/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The label of a physical volume, in one of its first four sectors; the metadata areas that it
 * leads to; and the text in them. Each of the three has its checksum, and where there are several
 * areas, all of them must hold the same text.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vhd/guest/crc32.h"
#include "vhd/guest/lvm_private.h"

#define LABEL_SECTORS 4
#define AREA_HEADER 512u
#define IS_IGNORED 1u		/* of a text's place: this area does not count */

struct area_text {
	uint64_t off, len;	/* of the text, in its area; off 0: none */
	uint32_t crc, flags;
};

static uint32_t crc(const void *buf, size_t len)
{
	return crc32_update(0xf597a6cf, buf, len);
}

static bool is_label(const uint8_t *sector)
{
	return memcmp(sector, "LABELONE", 8) == 0 && memcmp(sector + 24, "LVM2 001", 8) == 0;
}

/* The sector with the label: its number, or LABEL_SECTORS for none. */
static unsigned find_label(const uint8_t *head)
{
	unsigned i = 0;

	while (i < LABEL_SECTORS && !is_label(head + i * LVM_SECTOR))
		i++;
	return i;
}

static int read_head(const struct window *pv, uint8_t *head)
{
	return window_read(pv, head, LABEL_SECTORS * LVM_SECTOR, 0);
}

bool lvm_probe(const struct window *window, struct verdict *verdict)
{
	uint8_t head[LABEL_SECTORS * LVM_SECTOR];

	if (read_head(window, head) || find_label(head) == LABEL_SECTORS)
		return false;
	strcpy(verdict->filesystem, LVM_NAME);
	return true;
}

/* One list of areas, ended by one at 0. Moves *at behind it; false if it leaves the sector. */
static bool read_areas(struct lvm_label *label, const uint8_t *sector, size_t *at, bool is_kept)
{
	for (; *at + 16 <= LVM_SECTOR; *at += 16) {
		struct lvm_area area = { le64(sector + *at), le64(sector + *at + 8) };

		if (!area.off) {
			*at += 16;
			return true;
		}
		if (is_kept && label->areas_len < LVM_MAX_AREAS)
			label->areas[label->areas_len++] = area;
		else if (is_kept)
			return false;
	}
	return false;
}

/* The uuid, the device's size, and three lists: of data, of metadata, and of boot loaders'. */
static int parse_label(struct lvm_label *label, const uint8_t *sector, unsigned number,
		       size_t *metadata_len, struct verdict *verdict)
{
	size_t at = le32(sector + 20);

	if (le64(sector + 8) != number || crc(sector + 20, LVM_SECTOR - 20) != le32(sector + 16))
		return verdict_set(verdict, GUEST_DAMAGED, "its label's checksum is wrong");
	if (at < 32 || at > LVM_SECTOR - 40)
		return verdict_set(verdict, GUEST_DAMAGED, "its label is not well-formed");
	memcpy(label->uuid, sector + at, 32);
	at += 40;
	if (!read_areas(label, sector, &at, false) || !read_areas(label, sector, &at, true))
		return verdict_set(verdict, GUEST_DAMAGED, "its label is not well-formed");
	*metadata_len = label->areas_len;
	/* An extension of version 1 or 2 and flags; older volumes have zeros there. */
	if (at + 8 <= LVM_SECTOR && le32(sector + at)) {
		at += 8;
		if (!read_areas(label, sector, &at, true))
			return verdict_set(verdict, GUEST_DAMAGED, "its label is not well-formed");
	}
	return 1;
}

static bool parse_area(const uint8_t *header, const struct lvm_area *area, struct area_text *text)
{
	static const char magic[] = " LVM2 x[5A%r0N*>";

	*text = (struct area_text){
		.off = le64(header + 40), .len = le64(header + 48),
		.crc = le32(header + 56), .flags = le32(header + 60),
	};
	return crc(header + 4, AREA_HEADER - 4) == le32(header) &&
	       memcmp(header + 4, magic, sizeof(magic) - 1) == 0 && le32(header + 20) == 1 &&
	       le64(header + 24) == area->off && le64(header + 32) == area->len;
}

/* A text goes on behind the header when it reaches the end of its area. */
static int read_text(const struct window *pv, const struct lvm_area *area,
		     const struct area_text *text, char *buf)
{
	uint64_t before = area->len - text->off;
	int rc;

	if (before > text->len)
		before = text->len;
	rc = window_read(pv, buf, before, area->off + text->off);
	if (rc)
		return rc;
	return window_read(pv, buf + before, text->len - before, area->off + AREA_HEADER);
}

static int load_text(struct lvm_label *label, const struct window *pv, const struct lvm_area *area,
		     const struct area_text *text, struct verdict *verdict)
{
	char *buf;
	int rc;

	if (text->len > LVM_MAX_TEXT)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "its metadata is too long");
	if (text->off < AREA_HEADER || text->off >= area->len ||
	    text->len > area->len - AREA_HEADER)
		return verdict_set(verdict, GUEST_DAMAGED, "its metadata has no possible place");
	buf = malloc(text->len + 1);
	if (!buf)
		return -ENOMEM;
	rc = read_text(pv, area, text, buf);
	if (rc || crc(buf, text->len) != text->crc) {
		free(buf);
		return rc ? verdict_of_read(verdict, rc, "its metadata") :
			    verdict_set(verdict, GUEST_DAMAGED, "its metadata's checksum is wrong");
	}
	buf[text->len] = '\0';
	if (label->text) {
		bool is_same = label->text_len == text->len &&
			       memcmp(label->text, buf, text->len) == 0;

		free(buf);
		return is_same ? 1 : verdict_set(verdict, GUEST_DAMAGED,
						 "the copies of its metadata are not the same");
	}
	label->text = buf;
	label->text_len = text->len;
	label->text_crc = text->crc;
	return 1;
}

static int read_area(struct lvm_label *label, const struct window *pv, const struct lvm_area *area,
		     struct verdict *verdict)
{
	uint8_t header[AREA_HEADER];
	struct area_text text;
	int rc = -ERANGE;

	if (area->off <= pv->size && area->len <= pv->size - area->off)
		rc = window_read(pv, header, sizeof(header), area->off);
	if (rc)
		return verdict_of_read(verdict, rc, "its metadata area");
	if (!parse_area(header, area, &text))
		return verdict_set(verdict, GUEST_DAMAGED, "its metadata area's header is wrong");
	if (text.flags & ~IS_IGNORED)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "its metadata has unknown flags");
	if (text.flags & IS_IGNORED || !text.off)
		return 1;
	/* A second text is one that was written, and not yet said to be the one. */
	if (le64(header + 64))
		return verdict_set(verdict, GUEST_UNCLEAN,
				   "a change of its volume group was cut short: start the guest");
	return load_text(label, pv, area, &text, verdict);
}

int lvm_read_label(struct lvm_label *label, const struct window *pv, struct verdict *verdict)
{
	uint8_t head[LABEL_SECTORS * LVM_SECTOR];
	size_t metadata_len = 0;
	unsigned number;
	int rc = read_head(pv, head);

	*label = (struct lvm_label){ 0 };
	if (rc)
		return verdict_of_read(verdict, rc, "its label");
	number = find_label(head);
	if (number == LABEL_SECTORS)
		return verdict_set(verdict, GUEST_DAMAGED, "it has no label");
	rc = parse_label(label, head + number * LVM_SECTOR, number, &metadata_len, verdict);
	if (rc > 0 && !metadata_len)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "it has no metadata of its own");
	for (size_t i = 0; rc > 0 && i < metadata_len; i++)
		rc = read_area(label, pv, &label->areas[i], verdict);
	if (rc > 0 && !label->text)
		return verdict_set(verdict, GUEST_UNSUPPORTED,
				   "it has no metadata, or belongs to no volume group");
	return rc;
}
