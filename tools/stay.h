/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why blocks stay in an image that is shrunk: counted by reason. */
#ifndef TOOLS_STAY_H
#define TOOLS_STAY_H

#include "vhd/guest.h"

struct stay {
	const struct guest *guest;	/* NULL: nothing is known of the inside */
	const bool *is_selected;
	uint64_t live, sparse;	/* blocks with live data; of them, less than 5 % used */
	uint64_t outside;	/* in no partition, or in the table's own room */
	uint64_t *by_volume;	/* [guest_volumes] in one that is left alone */
};

/* 0 or -ENOMEM. */
int stay_begin(struct stay *stay, const struct guest *guest, const bool *is_selected);
void stay_end(struct stay *stay);
/* A vhd_live_fn; arg is a struct stay. */
void stay_count(void *arg, uint64_t off, uint64_t len, uint64_t used);
/* One line on stdout. */
void stay_print(const struct stay *stay);

#endif
