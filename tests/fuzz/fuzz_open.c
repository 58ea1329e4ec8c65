/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz target: the input is an image file; it is checked, opened read-only and read, repaired, and
 * opened for writing, written, closed and read again.
 *
 * Beside crashes it looks for lies, and aborts on one: an image that was opened for writing must
 * read back what was written, leave the rest alone, and have no damage afterwards.
 *
 * Nearly all changes of a byte break a checksum and go no further than that, so the mutator makes
 * the checksums right again, most of the time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/support/io_mem.h"
#include "vhd/vhd.h"

#define NAME "no-such-folder/fuzz.vhd"
#define MAX_INPUT (1u << 20)
#define MAX_EXTENTS 256
#define MAX_BLOCK (4u << 20)	/* bytes; a new block takes as much memory */
#define PART 1500		/* bytes of one write, so that it covers parts of sectors */

#define PROMISE(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "broken: %s (line %d)\n", #what, __LINE__); \
			abort(); \
		} \
	} while (0)

static vhd_image *open_image(struct mem_file *file, bool is_readonly, struct vhd_err *err)
{
	struct vhd_open_opts opts = { .is_readonly = is_readonly };
	vhd_image *img = NULL;
	int rc = vhd_open_io(&img, mem_open(file), NAME, &opts, err);

	if (rc)		/* a refusal has its reason, in one line */
		PROMISE(err->code == rc && err->msg[0] && !strchr(err->msg, '\n'));
	return rc ? NULL : img;
}

static int check(struct mem_file *file, bool repair, bool lossy, struct vhd_check_result *result)
{
	struct vhd_check_opts opts = { .repair = repair, .lossy = lossy };
	struct vhd_err err = { 0 };

	memset(result, 0, sizeof(*result));
	return vhd_check_io(mem_open(file), NAME, &opts, result, &err);
}

/* Reads at both ends of every extent; what is not data must be zeros. */
static void read_extents(vhd_image *img)
{
	struct vhd_extent ext;
	uint8_t buf[PART];
	uint64_t off = 0;
	int rc = 0;

	for (int i = 0; i < MAX_EXTENTS; i++) {
		size_t len;

		rc = vhd_next_extent(img, off, UINT64_MAX, &ext, NULL);
		if (rc != 1)
			break;
		PROMISE(ext.off == off && ext.len && ext.len <= vhd_size(img) - off);
		off += ext.len;
		len = ext.len < sizeof(buf) ? (size_t)ext.len : sizeof(buf);
		PROMISE(!vhd_pread(img, buf, len, ext.off, NULL));
		PROMISE(!vhd_pread(img, buf, len, off - len, NULL));
		for (size_t j = 0; !ext.is_data && j < len; j++)
			PROMISE(!buf[j]);
	}
	PROMISE(rc == 1 || off == vhd_size(img));
	PROMISE(vhd_pread(img, buf, 1, vhd_size(img), NULL) == -EINVAL);
}

static void read_only(struct mem_file *file)
{
	struct vhd_err err = { 0 };
	vhd_image *img = open_image(file, true, &err);
	struct vhd_info info;

	if (!img)
		return;
	PROMISE(!vhd_get_info(img, &info, &err));
	read_extents(img);
	PROMISE(!vhd_close(img, &err));
}

struct part {
	uint64_t off;
	size_t len;
	uint8_t old[PART], new[PART];
};

/* Where to write: the ends of the disk, and places that the input's length and the turn decide. */
static void choose_part(struct part *part, uint64_t size, unsigned turn, uint64_t seed)
{
	uint64_t room;

	part->len = size < PART ? (size_t)size : PART;
	room = size - part->len;
	switch (turn) {
	case 0:
		part->off = 0;
		break;
	case 1:
		part->off = room;
		break;
	default:
		part->off = (seed * 0x9e3779b97f4a7c15u * turn) % (room + 1);
	}
}

static void write_parts(vhd_image *img, struct part *last, uint64_t seed)
{
	for (unsigned turn = 0; turn < 5; turn++) {
		choose_part(last, vhd_size(img), turn, seed);
		memset(last->new, (int)(turn * 31 + 1), last->len);
		PROMISE(!vhd_pwrite(img, last->new, last->len, last->off, NULL));
	}
}

static void zero_some(vhd_image *img, uint64_t seed)
{
	uint64_t off = seed % vhd_size(img);
	uint8_t byte = 1;

	PROMISE(!vhd_zero(img, vhd_size(img) - off, off, VHD_ZERO_RELEASE, NULL));
	PROMISE(!vhd_pread(img, &byte, 1, off, NULL));
	PROMISE(!byte);
}

/* Writes, and what was not written stays. Returns whether the image could be opened. */
static bool read_write(struct mem_file *file, uint64_t seed)
{
	static struct part probe, last;		/* one thread */
	struct vhd_err err = { 0 };
	vhd_image *img = open_image(file, false, &err);
	struct vhd_info info;

	if (!img)
		return false;
	PROMISE(!vhd_get_info(img, &info, &err));
	if (info.block_size > MAX_BLOCK) {
		vhd_close(img, NULL);
		return false;
	}
	if (seed % 3 == 0)
		zero_some(img, seed);
	PROMISE(!vhd_flush(img, NULL));
	choose_part(&probe, vhd_size(img), 7, seed);
	PROMISE(!vhd_pread(img, probe.old, probe.len, probe.off, NULL));
	write_parts(img, &last, seed);
	/* The probe again, and what was written on it later wins: write it back to compare. */
	PROMISE(!vhd_pwrite(img, probe.old, probe.len, probe.off, NULL));
	PROMISE(!vhd_pread(img, last.old, last.len, last.off, NULL));
	PROMISE(!vhd_close(img, NULL));

	img = open_image(file, true, &err);
	PROMISE(img);
	PROMISE(!vhd_pread(img, probe.new, probe.len, probe.off, NULL));
	PROMISE(!memcmp(probe.new, probe.old, probe.len));
	PROMISE(!vhd_pread(img, last.new, last.len, last.off, NULL));
	PROMISE(!memcmp(last.new, last.old, last.len));
	read_extents(img);
	PROMISE(!vhd_close(img, NULL));
	return true;
}

/* A repair leaves no more damage than it says, and a second one finds no more. */
static void repair(struct mem_file *file, bool lossy)
{
	struct vhd_check_result first, second;

	if (check(file, true, lossy, &first))
		return;
	PROMISE(!check(file, true, lossy, &second));
	PROMISE(second.errors <= first.errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vhd_check_result before, after;
	struct mem_file *file, *copy;
	uint64_t seed = size;

	if (size > MAX_INPUT)
		return -1;
	for (size_t i = 0; i < size; i += 97)
		seed = seed * 31 + data[i];
	file = mem_new();
	mem_write(file, data, size, 0);
	for (int how = 0; how < 3; how++) {
		copy = mem_clone(file);
		if (how)
			repair(copy, how == 2);
		else
			read_only(copy);
		mem_free(copy);
	}
	check(file, false, false, &before);
	if (read_write(file, seed)) {
		PROMISE(!check(file, false, false, &after));
		PROMISE(after.errors <= before.errors);
	}
	mem_free(file);
	return 0;
}

/* --- the mutator ----------------------------------------------------------------------------- */

static uint64_t get_be(const uint8_t *p, int bytes)
{
	uint64_t n = 0;

	while (bytes--)
		n = n << 8 | *p++;
	return n;
}

static void fix_sum(uint8_t *raw, size_t len, size_t at)
{
	uint32_t sum = 0;

	memset(raw + at, 0, 4);
	for (size_t i = 0; i < len; i++)
		sum += raw[i];
	sum = ~sum;
	for (int i = 0; i < 4; i++)
		raw[at + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
}

/* The footer at off and the header that it names get their cookies and sums. */
static void fix_footer(uint8_t *data, size_t size, uint64_t off)
{
	uint64_t header;

	if (off > size || size - off < 512)
		return;
	memcpy(data + off, "conectix", 8);
	fix_sum(data + off, 512, 64);
	header = get_be(data + off + 16, 8);
	if (header > size || size - header < 1024)
		return;
	memcpy(data + header, "cxsparse", 8);
	fix_sum(data + header, 1024, 36);
}

void fuzz_fix_sums(uint8_t *data, size_t size, uint32_t seed)
{
	if (seed % 8 == 0)
		return;
	fix_footer(data, size, 0);
	if (seed % 4 && size >= 512)
		fix_footer(data, size, (size - 512) / 512 * 512);
}

/* libFuzzer's, where it is linked. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) __attribute__((weak));

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	fuzz_fix_sums(data, size, seed);
	return size;
}
