/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the crash enumerator share; see crash.c for the model. */
#ifndef TESTS_SUPPORT_CRASH_PRIVATE_H
#define TESTS_SUPPORT_CRASH_PRIVATE_H

#include <stdlib.h>

#include "tests/support/content.h"
#include "tests/support/crash.h"

#define UNUSED 0xffffffffu
#define NEVER UINT64_MAX
#define MAX_OPTIONS 48
#define MAX_SIZES 256
#define MAX_GUEST 32
#define MAX_LOG 4096
#define MAX_MEMO 512

struct option {
	uint32_t id;
	uint32_t epoch;		/* only with a length of this epoch or later; 0: with any */
	unsigned call;		/* that issued it */
	uint64_t returned;	/* the clock then; 0: not yet */
	bool is_lost;		/* a barrier that covered it failed */
};

struct cell {
	uint32_t n;
	bool is_listed;		/* in c->dirty */
	struct option v[MAX_OPTIONS];	/* v[0] is durable */
};

struct length {
	uint64_t size;
	uint32_t epoch;
	unsigned call;
	uint64_t returned;
	bool is_live;		/* the file had this length at some time */
	bool is_lost;
};

/* One value of a guest sector; begun and ended are the clock's at the guest's call. */
struct given {
	uint32_t id;
	uint64_t begun, ended;
};

struct guest {
	uint32_t n;
	struct given v[MAX_GUEST];
};

struct log_entry {
	const char *note;	/* or an event: */
	enum record_kind kind;
	uint64_t off, len;
	int rc;
	unsigned number;
};

struct memo {
	uint64_t key;
	uint32_t blk, entry;
};

struct crash {
	struct recorder recorder;
	struct crash_image image;
	struct mem_file *file;
	char *label;
	bool is_checking, must_adopt;
	bool was_killed;	/* data may lie under bits that were never published: readers that
				 * ignore the bitmap see it, which the format cannot help */
	struct fault *fault;		/* over the recorder; or NULL */
	crash_use_fn use;		/* of sampled states; or NULL */
	void *use_arg;
	struct vhd_err err;		/* the last failure's */
	enum crash_lost lost;
	unsigned sample_every, depth;
	uint64_t random;

	struct cell *cells;
	uint64_t cells_len;
	uint32_t *dirty;	/* cells with more than one value */
	uint32_t dirty_len, dirty_max;
	struct length sizes[MAX_SIZES];
	unsigned sizes_len;
	uint64_t live_size;
	uint32_t epoch;

	struct guest *guests;
	uint32_t *below;	/* [sectors] what a sector reads that the image does not own */
	uint64_t sectors;	/* of the disk */
	uint32_t block_sectors, bitmap_sectors;
	uint32_t short_entry;

	struct log_entry log[MAX_LOG];
	unsigned log_len;
	char *violation;
	struct crash_stats stats;

	struct memo memo[MAX_MEMO];	/* of the state that is being checked */
	unsigned memo_len;
};

/* For the guest's marks; the engine's calls come with the lock held. */
static inline void crash_lock(struct crash *c)
{
	pthread_mutex_lock(&c->recorder.lock);
}

static inline void crash_unlock(struct crash *c)
{
	pthread_mutex_unlock(&c->recorder.lock);
}

static inline void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* crash_report.c: the first violation makes the report; what happened is in its log. */
void report(struct crash *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_log(struct crash *c, struct log_entry entry);

/* crash_model.c: what is durable, and what may be there instead. */
void model_start(struct crash *c);
void model_apply(struct crash *c, const struct record_event *ev);
/* The contents that a sector may have with a length of that epoch: how many, each once. */
unsigned model_options(struct crash *c, uint64_t sector, uint32_t epoch, uint32_t *out);

/* crash_state.c: whether all that a cut now can leave is sound. */
void state_check_all(struct crash *c);
/* That a guest sector may read so; how is for the report. */
void state_check_value(struct crash *c, uint64_t sector, uint32_t blk, uint32_t id,
		       const char *how);

/* crash_sample.c: one state, chosen by chance, made into a file, recovered and used. */
void sample_one(struct crash *c);

#endif
