/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A mutation fuzzer of one filesystem's reader, over a raw file that is never written.
 *
 *	fuzz READER FILE SEED ROUNDS [--strict]
 *	fuzz READER FILE SEED ROUND --one	that round alone, and what is changed in it
 *
 * The file as it is comes first: what the reader reads of it is where the changes go, and what is
 * free in it is the truth. Each round then changes a few bytes (the same however often they are
 * read), now and then cuts the window short, and now and then has one read fail. Whatever happens,
 * the reader must come back, after a bounded number of reads, with an error or with a verdict that
 * is in order, and nothing it calls free may lie outside the window. Calling it clean with more
 * free than is true is counted; with --strict, for filesystems with checksums over their maps, it
 * is a failure. A round depends on the seed and its own number alone.
 *
 * Status 0, 1 for a failure, 2 for wrong arguments or a file that the reader does not know.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "vhd/guest/fs.h"

#define MAX_CHANGES 8
#define MAX_CHANGE_LEN 16
#define MAX_RANGES 65536
#define ROUND_SECONDS 60	/* of the processor's time: only a loop without an end takes that */

struct change {
	uint64_t off;
	size_t len;
	uint8_t bytes[MAX_CHANGE_LEN];
};

struct range {
	uint64_t off, len;
};

/* What is done to one round, and what came of it. */
struct round {
	uint64_t seed, number;
	struct change changes[MAX_CHANGES];
	size_t nr_changes;
	uint64_t size;		/* of the window */
	uint64_t fail_at;	/* this read fails; 0 for none */
	uint64_t reads;
	bool has_failed;
};

static const struct fs_reader *const readers[] = {
	&fs_ext, &fs_ntfs, &fs_fat, &fs_exfat, &fs_xfs, &fs_btrfs, &fs_swap,
};

static const char *const states[] = {
	[GUEST_NOTHING] = "nothing", [GUEST_CLEAN] = "clean", [GUEST_UNCLEAN] = "unclean",
	[GUEST_HIBERNATED] = "hibernated", [GUEST_DAMAGED] = "damaged",
	[GUEST_UNSUPPORTED] = "unsupported",
};
#define NR_STATES (sizeof(states) / sizeof(states[0]))

static const struct fs_reader *reader;
static const uint8_t *data;
static uint64_t data_size;
static struct range ranges[MAX_RANGES];	/* what is read of the file as it is */
static size_t nr_ranges;
static struct freemap truth;
static struct round now;
static uint64_t reads_max;
static uint64_t seen[NR_STATES], seen_no, seen_error, seen_wrong;

/* --- chance ----------------------------------------------------------------------------------- */

static uint64_t chance_state;

static uint64_t chance(void)
{
	uint64_t x = chance_state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t below(uint64_t n)
{
	return n ? chance() % n : 0;
}

/* --- failing ---------------------------------------------------------------------------------- */

static void print_round(FILE *to)
{
	fprintf(to, "%s: seed %" PRIu64 " round %" PRIu64 ": %" PRIu64 " of %" PRIu64 " bytes",
		reader->name, now.seed, now.number, now.size, data_size);
	if (now.fail_at)
		fprintf(to, ", read %" PRIu64 " fails", now.fail_at);
	for (size_t i = 0; i < now.nr_changes; i++) {
		fprintf(to, "\n\t%" PRIu64 ":", now.changes[i].off);
		for (size_t b = 0; b < now.changes[i].len; b++)
			fprintf(to, " %02x", now.changes[i].bytes[b]);
	}
	fputc('\n', to);
}

static void fail(const char *what, const char *more)
{
	fprintf(stderr, "FAIL: %s%s\n", what, more);
	print_round(stderr);
	exit(1);
}

static char too_long_text[100];	/* ready before the signal comes */

static void too_long(int sig)
{
	(void)sig;
	_exit(write(STDERR_FILENO, too_long_text, strlen(too_long_text)) < 0 ? 2 : 1);
}

/* --- the window ------------------------------------------------------------------------------- */

static void apply(const struct change *change, uint8_t *buf, size_t len, uint64_t off)
{
	for (size_t i = 0; i < change->len; i++) {
		uint64_t at = change->off + i;

		if (at >= off && at - off < len)
			buf[at - off] = change->bytes[i];
	}
}

static void record(uint64_t off, uint64_t len)
{
	if (nr_ranges < MAX_RANGES)
		ranges[nr_ranges++] = (struct range){ off, len };
}

static int read_changed(const struct window *window, void *buf, size_t len, uint64_t off)
{
	(void)window;
	now.reads++;
	if (!now.number)
		record(off, len);
	else if (now.reads > reads_max)
		fail("reads without an end", "");
	if (now.reads == now.fail_at) {
		now.has_failed = true;
		return -EIO;
	}
	memcpy(buf, data + off, len);
	for (size_t i = 0; i < now.nr_changes; i++)
		apply(&now.changes[i], buf, len, off);
	return 0;
}

/* --- changing --------------------------------------------------------------------------------- */

/* Mostly in what is read, small reads as likely as large ones, and rather at the head of one. */
static uint64_t choose_off(void)
{
	const struct range *range = &ranges[below(nr_ranges)];

	if (!nr_ranges || below(10) == 0)
		return below(data_size);
	return range->off + below(below(2) && range->len > 1024 ? 1024 : range->len);
}

/* A number of `width` bytes, in either order of bytes. */
static uint64_t get(const uint8_t *p, size_t width, bool is_big)
{
	uint64_t value = 0;

	for (size_t i = 0; i < width; i++)
		value = value << 8 | p[is_big ? i : width - 1 - i];
	return value;
}

static void put(uint8_t *p, size_t width, bool is_big, uint64_t value)
{
	for (size_t i = 0; i < width; i++, value >>= 8)
		p[is_big ? width - 1 - i : i] = (uint8_t)value;
}

/* What programs trip over. */
static uint64_t odd_number(uint64_t old)
{
	switch (below(8)) {
	case 0: return 0;
	case 1: return UINT64_MAX;
	case 2: return 1ull << below(64);
	case 3: return (1ull << below(64)) - 1;
	case 4: return old + 1 + below(16);
	case 5: return old - 1 - below(16);
	case 6: return old << 1 | below(2);
	default: return below(data_size) >> below(32);
	}
}

static void change_number(struct change *change)
{
	bool is_big = below(4) == 0;

	change->len = 1u << below(4);
	change->off -= change->off % change->len;
	if (change->off + change->len > data_size)
		change->len = 1;
	put(change->bytes, change->len, is_big,
	    odd_number(get(data + change->off, change->len, is_big)));
}

/* Bytes from elsewhere in what is read, or zeros. */
static void change_copy(struct change *change)
{
	uint64_t from = choose_off();

	change->len = 1 + below(MAX_CHANGE_LEN);
	if (change->len > data_size - change->off || change->len > data_size - from)
		change->len = 1;
	memset(change->bytes, 0, sizeof(change->bytes));
	if (below(4))
		memcpy(change->bytes, data + from, change->len);
}

static void change_one(struct change *change)
{
	*change = (struct change){ .off = choose_off(), .len = 1 };
	switch (below(4)) {
	case 0:
		change->bytes[0] = (uint8_t)(data[change->off] ^ 1u << below(8));
		break;
	case 1:
		change->bytes[0] = (uint8_t)chance();
		break;
	case 2:
		change_number(change);
		break;
	default:
		change_copy(change);
	}
}

static uint64_t cut(void)
{
	uint64_t tail = data_size < 1 << 20 ? data_size : 1 << 20;

	return below(2) ? below(data_size) : data_size - 1 - below(tail);
}

static void make_round(uint64_t seed, uint64_t number, uint64_t reads)
{
	chance_state = seed * 0xd1342543de82ef95 + number;
	now = (struct round){ .seed = seed, .number = number, .size = data_size };
	if (!number)
		return;
	now.nr_changes = 1 + below(below(2) ? 1 : MAX_CHANGES);
	for (size_t i = 0; i < now.nr_changes; i++)
		change_one(&now.changes[i]);
	if (below(16) == 0)
		now.size = cut();
	if (below(16) == 0)
		now.fail_at = 1 + below(reads);
}

/* --- judging ---------------------------------------------------------------------------------- */

static void check_sentence(const struct verdict *verdict)
{
	const char *why = verdict->why;

	if (!memchr(why, 0, sizeof(verdict->why)) ||
	    !memchr(verdict->filesystem, 0, sizeof(verdict->filesystem)))
		fail("a string without an end", "");
	if (!verdict->filesystem[0])
		fail("what filesystem it is is not said", "");
	if ((unsigned)verdict->state >= NR_STATES)
		fail("no such state", "");
	if (verdict->state != GUEST_CLEAN && !why[0])
		fail("no sentence for what is ", states[verdict->state]);
	for (const char *p = why; *p; p++)
		if ((unsigned char)*p < ' ')
			fail("not one line of text: ", why);
}

/* Whether all that map has as free is free in truth; and all must lie in the window. */
static bool is_true(const struct freemap *map)
{
	uint64_t off = 0, len, start, room;
	bool is_so = true;

	for (; freemap_next(map, off, &off, &len); off += len) {
		if (!len || off > now.size || len > now.size - off)
			fail("what is free lies outside the window", "");
		if (!freemap_next(&truth, off, &start, &room) || start != off || room < len)
			is_so = false;
	}
	return is_so;
}

static void judge(int rc, const struct verdict *verdict, const struct freemap *map, bool is_strict)
{
	if (rc > 0 || rc == -ERANGE)
		fail("neither a verdict nor an error", "");
	if (rc) {
		seen_error++;
		return;
	}
	check_sentence(verdict);
	seen[verdict->state]++;
	if (verdict->state != GUEST_CLEAN)
		return;
	if (now.has_failed)
		fail("clean, though a read failed", "");
	if (!is_true(map)) {
		seen_wrong++;
		printf("round %" PRIu64 ": free, and not so in truth\n", now.number);
		if (is_strict)
			fail("free, and not so in truth", "");
	}
}

/* One look at the window as `now` has it. */
static int look(struct verdict *verdict, struct freemap *map)
{
	struct window window = { .read = read_changed, .size = now.size };
	struct itimerval limit = { .it_value.tv_sec = ROUND_SECONDS };

	snprintf(too_long_text, sizeof(too_long_text),
		 "FAIL: %s: seed %" PRIu64 " round %" PRIu64 " does not end\n", reader->name,
		 now.seed, now.number);
	setitimer(ITIMER_VIRTUAL, &limit, NULL);
	*verdict = (struct verdict){ 0 };
	*map = (struct freemap){ 0 };
	if (!reader->probe(&window, verdict))
		return 1;
	now.has_failed = false;	/* probe may do without */
	return reader->scan(&window, map, verdict);
}

static void one_round(bool is_strict)
{
	struct verdict verdict;
	struct freemap map;
	int rc = look(&verdict, &map);

	if (rc == 1)
		seen_no++;
	else
		judge(rc, &verdict, &map, is_strict);
	freemap_destroy(&map);
}

/* The file as it is. How often it is read, or 0 when it is not the reader's. */
static uint64_t learn(uint64_t seed)
{
	struct verdict verdict;
	int rc;

	make_round(seed, 0, 0);
	rc = look(&verdict, &truth);
	if (rc) {
		fprintf(stderr, "%s: %s\n", reader->name, rc == 1 ? "not its own" : strerror(-rc));
		return 0;
	}
	check_sentence(&verdict);
	printf("%s: %s as it is, %" PRIu64 " reads\n", verdict.filesystem, states[verdict.state],
	       now.reads);
	if (verdict.state != GUEST_CLEAN)
		freemap_destroy(&truth);	/* then nothing is free in truth */
	is_true(&truth);
	return now.reads;
}

static void report(uint64_t rounds)
{
	printf("%" PRIu64 " rounds:", rounds);
	for (size_t i = 0; i < NR_STATES; i++)
		printf(" %s %" PRIu64, states[i], seen[i]);
	printf(" no %" PRIu64 " error %" PRIu64 "; wrongly free %" PRIu64 "\n", seen_no, seen_error,
	       seen_wrong);
}

static bool map_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	void *at = MAP_FAILED;

	if (size > 0)
		at = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at == MAP_FAILED)
		return false;
	data = at;
	data_size = (uint64_t)size;
	return true;
}

int main(int argc, char **argv)
{
	bool is_strict = argc > 5 && strcmp(argv[5], "--strict") == 0;
	bool is_one = argc > 5 && strcmp(argv[5], "--one") == 0;
	uint64_t seed, rounds, reads;

	for (size_t i = 0; argc > 4 && i < sizeof(readers) / sizeof(readers[0]); i++)
		if (strcmp(readers[i]->name, argv[1]) == 0)
			reader = readers[i];
	if (!reader || !map_file(argv[2]))
		return 2;
	signal(SIGVTALRM, too_long);
	seed = strtoull(argv[3], NULL, 0);
	rounds = strtoull(argv[4], NULL, 0);
	reads = learn(seed);
	if (!reads)
		return 2;
	reads_max = 100 * reads + 10000;
	for (uint64_t i = is_one ? rounds : 1; i <= rounds; i++) {
		make_round(seed, i, reads);
		if (is_one)
			print_round(stdout);
		one_round(is_strict);
	}
	report(rounds);
	freemap_destroy(&truth);
	munmap((void *)(uintptr_t)data, data_size);
	return 0;
}
