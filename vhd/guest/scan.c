/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What was found on a disk, and its free ranges in the order of the disk. */
#include "vhd/guest/scan.h"

#include <stdlib.h>
#include <errno.h>
#include <string.h>

void scan_destroy(struct scan *scan)
{
	for (size_t i = 0; i < scan->maps_len; i++)
		freemap_destroy(&scan->maps[i]);
	free(scan->maps);
	free(scan->sources);
	free(scan->places);
	free(scan->volumes);
	free(scan->is_selected);
	*scan = (struct scan){ .memfd = -1 };
}

struct guest_volume *scan_add_volume(struct scan *scan)
{
	struct guest_volume *volumes;
	bool *is_selected;

	if (scan->volumes_len >= SCAN_MAX_VOLUMES)
		return NULL;
	volumes = reallocarray(scan->volumes, scan->volumes_len + 1, sizeof(*volumes));
	if (!volumes)
		return NULL;
	scan->volumes = volumes;
	is_selected = reallocarray(scan->is_selected, scan->volumes_len + 1, sizeof(*is_selected));
	if (!is_selected)
		return NULL;
	scan->is_selected = is_selected;
	is_selected[scan->volumes_len] = true;
	volumes[scan->volumes_len] = (struct guest_volume){ 0 };
	return &volumes[scan->volumes_len++];
}

int scan_add_map(struct scan *scan, struct freemap freemap, size_t *map)
{
	struct freemap *maps = reallocarray(scan->maps, scan->maps_len + 1, sizeof(*maps));

	if (!maps) {
		freemap_destroy(&freemap);
		return -ENOMEM;
	}
	scan->maps = maps;
	maps[scan->maps_len] = freemap;
	*map = scan->maps_len++;
	return 0;
}

int scan_add_source(struct scan *scan, const struct scan_source *source)
{
	struct scan_source *sources = reallocarray(scan->sources, scan->sources_len + 1,
						   sizeof(*sources));

	if (!sources)
		return -ENOMEM;
	scan->sources = sources;
	sources[scan->sources_len] = *source;
	sources[scan->sources_len++].volume = scan->volumes_len - 1;
	return 0;
}

int scan_add_place(struct scan *scan, uint64_t start, uint64_t len)
{
	struct scan_place *places = reallocarray(scan->places, scan->places_len + 1,
						 sizeof(*places));

	if (!places)
		return -ENOMEM;
	scan->places = places;
	places[scan->places_len++] = (struct scan_place){
		.volume = scan->volumes_len - 1, .range = { .start = start, .len = len },
	};
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct scan_source *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

void scan_settle(struct scan *scan)
{
	uint64_t end = 0;

	if (scan->sources_len)
		qsort(scan->sources, scan->sources_len, sizeof(*scan->sources), by_start);
	for (size_t i = 0; i < scan->sources_len; i++) {
		struct scan_source *s = &scan->sources[i];

		if (s->start + s->len > end) {
			bool is_over = i && s->start < end;

			end = s->start + s->len;
			if (!is_over)
				continue;
		} else if (s->start >= end) {
			continue;
		}
		for (size_t j = 0; j <= i; j++)	/* rare: damage, or somebody's malice */
			if (scan->sources[j].start + scan->sources[j].len > s->start)
				scan->sources[j].len = 0;
	}
}

static bool next_of(const struct scan *scan, const struct scan_source *s, uint64_t off,
		    uint64_t *start, uint64_t *len)
{
	uint64_t in = off > s->start ? off - s->start : 0;

	if (s->map == SCAN_ALL_FREE) {
		*start = s->start + in;
		*len = s->len - in;
		return true;
	}
	if (!freemap_next_below(&scan->maps[s->map], s->in_map + in, s->in_map + s->len, start,
				len))
		return false;
	*start = *start - s->in_map + s->start;
	return true;
}

bool scan_next(const struct scan *scan, uint64_t off, uint64_t *start, uint64_t *len)
{
	size_t low = 0, high = scan->sources_len;

	if (scan->info.is_hibernated)
		return false;
	while (low < high) {	/* the first source that ends behind off, or is empty before it */
		size_t middle = low + (high - low) / 2;

		if (scan->sources[middle].start + scan->sources[middle].len > off)
			high = middle;
		else
			low = middle + 1;
	}
	for (; low < scan->sources_len; low++) {
		const struct scan_source *s = &scan->sources[low];

		if (s->len && s->start + s->len > off && scan->is_selected[s->volume] &&
		    next_of(scan, s, off, start, len))
			return true;
	}
	return false;
}
