/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libblkid's opinion of what is in a window, which can only ever make a verdict worse: it knows
 * more kinds of things than we, and takes a look at all the places where they leave marks.
 */
#ifndef VHD_GUEST_VETO_H
#define VHD_GUEST_VETO_H

#include "vhd/guest/fs.h"

/*
 * Makes verdict GUEST_UNSUPPORTED if libblkid finds something else in the window than filesystem,
 * something beside it, or partitions; leaves it alone otherwise, also if libblkid finds nothing.
 *
 * memfd is for a copy of the places where libblkid looks; it is emptied before and after. Without
 * one (-1), and in a build without libblkid, nobody is asked. 0, or -errno of reading the window
 * or writing the copy.
 *
 * No file is opened, no device asked: it works where nothing but reading, writing and memory is
 * allowed.
 */
int veto_ask(const struct window *window, int memfd, const char *filesystem,
	     struct verdict *verdict);

#endif
