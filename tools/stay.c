/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why blocks stay in an image that is shrunk: counted by reason.
 *
 * A block counts once. If a part of it is in a volume that is left alone, that is why it stays;
 * else it holds live data, perhaps little of it.
 */
#include "tools/stay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/say.h"

#define SPARSE 20	/* 1 / 5 % */

int stay_begin(struct stay *stay, const struct guest *guest, const bool *is_selected)
{
	*stay = (struct stay){ .guest = guest, .is_selected = is_selected };
	stay->by_volume = calloc(guest ? guest_volumes(guest) + 1 : 1, sizeof(*stay->by_volume));
	return stay->by_volume ? 0 : -ENOMEM;
}

void stay_end(struct stay *stay)
{
	free(stay->by_volume);
}

/* A container's room is that of the volumes in it. */
static bool is_judged(const struct guest_volume *volume)
{
	return !volume->is_logical && volume->filesystem[0];
}

static bool is_left_alone(const struct stay *stay, size_t i)
{
	const struct guest_volume *volume = guest_volume(stay->guest, i);

	return volume->state != GUEST_CLEAN || guest_disk(stay->guest)->is_hibernated ||
	       !stay->is_selected[i];
}

void stay_count(void *arg, uint64_t off, uint64_t len, uint64_t used)
{
	struct stay *stay = arg;
	bool is_inside = false;

	for (size_t i = 0; stay->guest && i < guest_volumes(stay->guest); i++) {
		const struct guest_volume *volume = guest_volume(stay->guest, i);

		if (volume->is_logical || off >= volume->start + volume->length ||
		    volume->start >= off + len)
			continue;
		if (is_left_alone(stay, i) && (is_judged(volume) ||
					       volume->state == GUEST_UNSUPPORTED)) {
			stay->by_volume[i]++;
			return;
		}
		is_inside = true;
	}
	if (stay->guest && !is_inside) {
		stay->outside++;
		return;
	}
	stay->live++;
	stay->sparse += used < len / SPARSE;
}

static void print_volume(const struct guest_volume *volume, uint64_t blocks)
{
	const char *word = guest_state_word(volume->state);
	char where[32] = "the whole disk", text[128];

	if (volume->number)
		snprintf(where, sizeof(where), "p%u", volume->number);
	if (volume->state == GUEST_CLEAN)
		snprintf(text, sizeof(text), "; %" PRIu64 " to the %s on %s", blocks,
			 volume->filesystem, where);
	else if (volume->filesystem[0])
		snprintf(text, sizeof(text), "; %" PRIu64 " belong to %s %s %s on %s", blocks,
			 *word == 'u' ? "an" : "a", word, volume->filesystem, where);
	else
		snprintf(text, sizeof(text), "; %" PRIu64 " to an unknown filesystem on %s", blocks,
			 where);
	say_clean(stdout, text);
}

void stay_print(const struct stay *stay)
{
	printf("what stays: %" PRIu64 " blocks hold live data", stay->live);
	if (stay->guest)
		printf(", %" PRIu64 " of them less than 5 %%", stay->sparse);
	for (size_t i = 0; stay->guest && i < guest_volumes(stay->guest); i++)
		if (stay->by_volume[i])
			print_volume(guest_volume(stay->guest, i), stay->by_volume[i]);
	if (stay->outside)
		printf("; %" PRIu64 " are in no partition", stay->outside);
	putchar('\n');
}
