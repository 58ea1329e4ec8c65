/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linux swap space: a header page, and pages of which none means anything once the system is down,
 * unless it sleeps in them. How large a page is only shows by where the signature is: at its end.
 */
#include <errno.h>
#include <string.h>

#include "vhd/guest/fs.h"

#define PAGE_MIN 4096u
#define PAGE_MAX 65536u
#define SIGNATURE 10u

#define VERSION 1024u		/* and behind it the last page's number and how many are bad */
#define BAD_PAGES 1536u		/* their numbers, as far as the signature */

/* The first page, and zeros where the volume is shorter than the largest page. */
struct head {
	uint8_t bytes[PAGE_MAX];
};

static int read_head(const struct window *window, struct head *head)
{
	size_t len = window->size < PAGE_MAX ? (size_t)window->size : PAGE_MAX;

	memset(head, 0, sizeof(*head));
	return window_read(window, head->bytes, len, 0);
}

/* The smallest page size with that signature, as larger ones' places are pages with any content. */
static uint32_t page_of(const struct head *head, const char *signature)
{
	for (uint32_t page = PAGE_MIN; page <= PAGE_MAX; page *= 2)
		if (memcmp(head->bytes + page - SIGNATURE, signature, SIGNATURE) == 0)
			return page;
	return 0;
}

/* Who puts a system to sleep puts a signature of its own in the place of swap's. */
static bool is_asleep(const struct head *head)
{
	static const char signatures[][SIGNATURE + 1] = {
		"S1SUSPEND\0", "S2SUSPEND\0", "ULSUSPEND\0", "LINHIB0001",
	};
	static const uint8_t tuxonice[] = { 0xed, 0xc3, 0x02, 0xe9, 0x98, 0x56, 0xe5, 0x0c };

	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
		if (page_of(head, signatures[i]))
			return true;
	return memcmp(head->bytes, tuxonice, sizeof(tuxonice)) == 0;
}

static bool is_swap(const struct head *head)
{
	return page_of(head, "SWAPSPACE2") || page_of(head, "SWAP-SPACE") || is_asleep(head);
}

static bool probe(const struct window *window, struct verdict *verdict)
{
	struct head head;

	if (read_head(window, &head) || !is_swap(&head))
		return false;
	strcpy(verdict->filesystem, "swap");
	return true;
}

/* All pages but the header's and the bad ones. */
static int fill_map(const struct head *head, uint32_t page, struct freemap *map,
		    struct verdict *verdict)
{
	uint32_t last = le32(head->bytes + VERSION + 4), bad = le32(head->bytes + VERSION + 8);
	int rc = freemap_init(map, 0, page, (uint64_t)last + 1);

	if (rc)
		return rc;
	freemap_give(map, 1, last);
	for (uint32_t i = 0; i < bad; i++) {
		uint32_t number = le32(head->bytes + BAD_PAGES + 4 * i);

		if (!number || number > last)
			return verdict_set(verdict, GUEST_DAMAGED,
					   "its list of bad pages has page %u of %u", number, last);
		freemap_take(map, number, 1);
	}
	return verdict_set(verdict, GUEST_CLEAN, "%s", "");
}

static int scan(const struct window *window, struct freemap *map, struct verdict *verdict)
{
	struct head head;
	uint32_t page, version;
	int rc = read_head(window, &head);

	if (rc)
		return rc;
	if (is_asleep(&head))
		return verdict_set(verdict, GUEST_HIBERNATED,
				   "a Linux sleeps in it: start the guest and shut it down");
	page = page_of(&head, "SWAPSPACE2");
	if (!page)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "it is of the oldest format");
	version = le32(head.bytes + VERSION);
	if (version != 1)
		return verdict_set(verdict, GUEST_UNSUPPORTED, "its version %u is not known",
				   version);
	if (!le32(head.bytes + VERSION + 4) ||
	    le32(head.bytes + VERSION + 4) >= window->size / page)
		return verdict_set(verdict, GUEST_DAMAGED,
				   "it has %u pages, which is not what the volume has room for",
				   le32(head.bytes + VERSION + 4));
	if (le32(head.bytes + VERSION + 8) > (page - SIGNATURE - BAD_PAGES) / 4)
		return verdict_set(verdict, GUEST_DAMAGED,
				   "its list of bad pages is longer than its room");
	return fill_map(&head, page, map, verdict);
}

const struct fs_reader fs_swap = { "swap", probe, scan };
