/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making chosen I/O calls fail. */
#ifndef TESTS_SUPPORT_IO_FAULT_H
#define TESTS_SUPPORT_IO_FAULT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhd/io.h"

enum fault_op {
	FAULT_READ = 1, FAULT_WRITE = 2, FAULT_BARRIER = 4, FAULT_TRUNCATE = 8, FAULT_PUNCH = 16,
	FAULT_STAT = 32, FAULT_LOCK = 64,
	FAULT_ALL = 127,
};

enum fault_how {
	FAULT_ERROR,	/* the call does nothing and returns the error */
	FAULT_TORN,	/* a write that writes its first half (whole sectors, unless it lengthens
			 * the file), then returns the error */
	FAULT_SHORT,	/* a read or write of the first half, at least a byte: its count */
};

/*
 * What is to fail. Set the first fields, then fault_arm. Calls that match the mask and the range
 * are counted from 1; call number nth fails, and all later ones too when is_forever. The struct is
 * the test's and outlives every io over it.
 */
struct fault {
	unsigned mask;		/* of enum fault_op */
	uint64_t nth;		/* 0: as 1 */
	int error;		/* positive errno */
	enum fault_how how;
	bool is_forever;
	uint64_t off, len;	/* only calls that touch the range; len 0: every call */

	pthread_mutex_t lock;
	bool is_armed;		/* lock */
	uint64_t calls, fired;	/* lock; since arming */
	enum fault_op last;	/* lock; what failed last */
	unsigned failed;	/* lock; a mask of all that did since arming */
};

/* Nothing fails yet. */
void fault_init(struct fault *fault);
void fault_arm(struct fault *fault);
void fault_disarm(struct fault *fault);

/* An io over below (which goes with it) that fails as *fault says. */
struct vhd_io *fault_open(struct vhd_io *below, struct fault *fault);

#endif
