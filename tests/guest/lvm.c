/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What lvm_read says of a raw file.
 *
 *	lvm FILE			"STATE: why"; or "clean UNIT UNITS FREE", UNIT in bytes, and
 *					"NAME SIZE linear" or "NAME SIZE other" for each volume
 *	lvm FILE free			"START LENGTH" of what is free
 *	lvm FILE fill			what is free is overwritten with 0xAA
 *	lvm FILE segments NAME		"LV_OFF PV_OFF LENGTH" of a linear one
 *	lvm FILE read NAME		its content, to stdout
 *	lvm FILE fuzz SEED ROUNDS	the metadata is changed ROUNDS times, in memory, with its
 *					checksums made right, and what is said must hold together
 *
 * Status 0 for clean, 1 for another verdict, 2 for an error. What is fuzzed need not be clean.
 */
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/guest/raw.h"
#include "vhd/guest/crc32.h"
#include "vhd/guest/lvm.h"
#include "vhd/guest/scan.h"

static struct raw raw;
static struct window pv;
static struct lvm lvm;

static const char *const states[] = {
	[GUEST_NOTHING] = "nothing", [GUEST_CLEAN] = "clean", [GUEST_UNCLEAN] = "unclean",
	[GUEST_HIBERNATED] = "hibernated", [GUEST_DAMAGED] = "damaged",
	[GUEST_UNSUPPORTED] = "unsupported",
};

static int show(void)
{
	printf("clean %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", lvm.free.unit, lvm.free.units,
	       freemap_count(&lvm.free, 0, lvm.free.units));
	for (size_t i = 0; i < lvm.lvs_len; i++)
		printf("%s %" PRIu64 " %s\n", lvm.lvs[i].name, lvm.lvs[i].size,
		       lvm.lvs[i].is_linear ? "linear" : "other");
	return 0;
}

static int each_free(bool is_filling)
{
	static char buf[1 << 20];
	uint64_t off = 0, len;

	memset(buf, 0xaa, sizeof(buf));
	for (; freemap_next(&lvm.free, off, &off, &len); off += len) {
		if (!is_filling)
			printf("%" PRIu64 " %" PRIu64 "\n", off, len);
		for (uint64_t done = 0; is_filling && done < len;) {
			size_t n = len - done < sizeof(buf) ? (size_t)(len - done) : sizeof(buf);

			if (pwrite(raw.fd, buf, n, (off_t)(off + done)) != (ssize_t)n)
				return 2;
			done += n;
		}
	}
	return 0;
}

static const struct lvm_lv *find(const char *name)
{
	for (size_t i = 0; i < lvm.lvs_len; i++)
		if (strcmp(lvm.lvs[i].name, name) == 0)
			return &lvm.lvs[i];
	return NULL;
}

static int show_segments(const struct lvm_lv *lv)
{
	for (size_t i = 0; lv && i < lv->segments_len; i++)
		printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", lv->segments[i].lv_off,
		       lv->segments[i].pv_off, lv->segments[i].len);
	return lv ? 0 : 2;
}

static int write_content(const struct lvm_lv *lv)
{
	static char buf[1000003];	/* so that reads cross the segments' ends */
	struct window window;

	if (!lv || lvm_window(&window, lv, &pv))
		return 2;
	for (uint64_t off = 0; off < window.size; off += sizeof(buf)) {
		size_t n = window.size - off < sizeof(buf) ? window.size - off : sizeof(buf);

		if (window_read(&window, buf, n, off) || fwrite(buf, 1, n, stdout) != n)
			return 2;
	}
	assert(window_read(&window, buf, 2, window.size - 1));
	return 0;
}

/* Aborts unless linear volumes are whole, on the volume, and share no extent with what is free. */
static void check(void)
{
	for (size_t i = 0; i < lvm.lvs_len; i++) {
		const struct lvm_lv *lv = &lvm.lvs[i];
		uint64_t off = 0;

		for (size_t k = 0; lv->is_linear && k < lv->segments_len; k++) {
			const struct lvm_segment *s = &lv->segments[k];
			uint64_t unit = (s->pv_off - lvm.free.base) / lvm.free.unit;

			assert(lv->is_partial ? s->lv_off >= off : s->lv_off == off);
			assert(s->len && s->pv_off >= lvm.free.base);
			assert(s->pv_off <= pv.size && s->len <= pv.size - s->pv_off);
			assert(!freemap_count(&lvm.free, unit, s->len / lvm.free.unit));
			off = s->lv_off + s->len;
		}
		assert(!lv->is_linear || off == lv->size || (lv->is_partial && off < lv->size));
	}
	assert(lvm.free.base + lvm.free.units * lvm.free.unit <= pv.size);
}

/* The same of what all physical volumes together say: clean ones are whole, and on the disk. */
static int check_all(void)
{
	struct scan scan = { .disk = &pv, .memfd = -1 };
	int rc = scan_volumes(&scan);

	for (size_t i = 0; i < scan.volumes_len; i++) {
		const struct guest_volume *volume = &scan.volumes[i];
		uint64_t len = 0;

		assert(volume->state == GUEST_CLEAN || volume->why[0]);
		for (size_t k = 0; k < scan.places_len; k++) {
			const struct guest_range *range = &scan.places[k].range;

			if (scan.places[k].volume != i)
				continue;
			assert(range->len && range->start <= pv.size);
			assert(range->len <= pv.size - range->start);
			len += range->len;
		}
		if (volume->is_logical)
			assert(len == (volume->state == GUEST_CLEAN ? volume->length : 0));
	}
	scan_destroy(&scan);
	return rc;
}

static void put32(uint64_t off, uint32_t value)
{
	uint8_t bytes[4] = { (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
			     (uint8_t)(value >> 24) };

	raw_change(&raw, off, bytes, 4);
}

/* The checksums of the text and of the area's header; the label is left as it is. */
static void mend(uint64_t area, char *text)
{
	uint8_t header[512];
	uint64_t off, len;

	if (window_read(&pv, header, 512, area))
		return;
	off = le64(header + 40);
	len = le64(header + 48);
	if (off >= 1 << 20 || len > 1 << 20 || window_read(&pv, text, len, area + off))
		return;
	put32(area + 56, crc32_update(0xf597a6cf, text, len));
	if (!window_read(&pv, header, 512, area))
		put32(area, crc32_update(0xf597a6cf, header + 4, 508));
}

static void mutate(uint64_t *seed, uint64_t area, uint64_t off, uint64_t len)
{
	static const char *const odd[] = {
		"{", "}", "[", "]", "\"", "=", ",", "#", "\\", "0", "1", "9", "pv0", "99999",
		" ", "\n",
	};

	for (unsigned n = 1 + raw_random(seed) % 5; n; n--) {
		uint64_t at = area + off + raw_random(seed) % len, r = raw_random(seed);
		const char *word = odd[(r >> 16) % 16];
		char copied[64];

		if (r % 16 == 0)
			raw_change(&raw, area + r / 16 % 512, &r, 1 + r / 8192 % 8);
		else if (r % 16 < 4)
			raw_change(&raw, at, &r, 1);
		else if (r % 16 < 11)
			raw_change(&raw, at, word, strlen(word));
		else if (!window_read(&pv, copied, 64, area + off + (r >> 8) % len))
			raw_change(&raw, at, copied, 1 + (r >> 32) % 64);
	}
}

static int fuzz(uint64_t seed, unsigned long rounds)
{
	static char text[1 << 20];
	unsigned long counts[6] = { 0 };
	const uint64_t area = 4096;
	uint8_t header[512];

	if (window_read(&pv, header, 512, area))
		return 2;
	for (unsigned long i = 0; i < rounds; i++) {
		struct verdict verdict = { 0 };

		raw.len = 0;
		mutate(&seed, area, le64(header + 40), le64(header + 48));
		if (raw_random(&seed) % 8)
			mend(area, text);
		lvm_destroy(&lvm);
		if (lvm_read_part(&lvm, &pv, &verdict))
			return 2;
		if (verdict.state == GUEST_CLEAN)
			check();
		lvm_destroy(&lvm);
		verdict = (struct verdict){ 0 };
		if (check_all() || lvm_read(&lvm, &pv, &verdict))
			return 2;
		if (verdict.state == GUEST_CLEAN)
			check();
		else
			assert(verdict.why[0]);
		counts[verdict.state]++;
	}
	for (unsigned i = 0; i < 6; i++)
		printf("%s %lu\n", states[i], counts[i]);
	return 0;
}

static int run(int argc, char **argv)
{
	const char *job = argc > 2 ? argv[2] : "";

	check();
	if (strcmp(job, "free") == 0 || strcmp(job, "fill") == 0)
		return each_free(job[1] == 'i');
	if (argc > 3 && strcmp(job, "segments") == 0)
		return show_segments(find(argv[3]));
	if (argc > 3 && strcmp(job, "read") == 0)
		return write_content(find(argv[3]));
	if (argc > 4 && strcmp(job, "fuzz") == 0)
		return fuzz(strtoull(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
	return show();
}

int main(int argc, char **argv)
{
	struct verdict verdict = { 0 };
	int status = 1;

	if (argc < 2 || raw_open(&raw, &pv, argv[1], O_RDWR))
		return 2;
	if (!lvm_probe(&pv, &verdict)) {
		puts("no");
		return 1;
	}
	assert(strcmp(verdict.filesystem, LVM_NAME) == 0);
	if (lvm_read(&lvm, &pv, &verdict))
		status = 2;
	else if (verdict.state == GUEST_CLEAN || (argc > 4 && strcmp(argv[2], "fuzz") == 0))
		status = run(argc, argv);
	else
		printf("%s: %s\n", states[verdict.state], verdict.why);
	lvm_destroy(&lvm);
	return status;
}
