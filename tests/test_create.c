/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/create.c: the size asked is the size made, as other software sees it too. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/runner.h"
#include "vhd/format.h"
#include "vhd/io.h"
#include "vhd/vhd.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static char folder[64];
static const char *image;	/* the one path that the tests use */

/* Runs a command; what it prints is in out. Its exit status. */
__attribute__((format(printf, 3, 4))) static int run(char *out, size_t size, const char *fmt, ...)
{
	char command[1024];
	va_list ap;
	FILE *from;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	fflush(stdout);
	from = popen(command, "re");
	if (!from)
		return -1;
	n = fread(out, 1, size - 1, from);
	out[n] = '\0';
	return pclose(from);
}

static bool has_program(const char *name)
{
	char out[64];

	if (!run(out, sizeof(out), "command -v %s", name))
		return true;
	printf("(no %s here) ", name);
	return false;
}

static int make(enum vhd_type type, uint64_t size, uint32_t block_size, struct vhd_err *err)
{
	struct vhd_create_opts opts = { .type = type, .size = size, .block_size = block_size };

	unlink(image);
	return vhd_create(image, &opts, err);
}

static void make_ok(enum vhd_type type, uint64_t size, uint32_t block_size)
{
	struct vhd_err err = { 0 };
	int rc = make(type, size, block_size, &err);

	if (rc)
		printf("\n%s\n", err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static void read_image(void *buf, size_t len, uint64_t off)
{
	struct vhd_io *io;

	CU_ASSERT_EQUAL_FATAL(io_file_open(&io, image, true, NULL), 0);
	CU_ASSERT_EQUAL(io_pread(io, buf, len, off), 0);
	io->ops->close(io);
}

static uint64_t file_size(void)
{
	struct stat sb;

	CU_ASSERT_EQUAL_FATAL(stat(image, &sb), 0);
	return (uint64_t)sb.st_size;
}

static void expect_qemu_reads(uint64_t size)
{
	static const char key[] = "\"virtual-size\": ";
	char out[4096], *at;

	CU_ASSERT_EQUAL(run(out, sizeof(out), "qemu-img info -f vpc --output=json '%s'", image), 0);
	at = strstr(out, key);
	if (!at || strtoull(at + strlen(key), NULL, 10) != size)
		printf("\n%llu: %s\n", (unsigned long long)size, out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	CU_ASSERT_EQUAL(strtoull(at + strlen(key), NULL, 10), size);
}

static const uint64_t sizes[] = {
	512, 1024, 34816, 34816 - 512, MIB, 2 * MIB - 512, 2 * MIB, 2 * MIB + 512, 3 * MIB,
	40 * MIB, 100 * MIB, 136 * MIB, 504 * MIB, GIB, GIB + 512, 66059279ull * 512,
	66059280ull * 512, 127 * GIB, 255 * GIB / 2, 255 * GIB / 2 + 512, 1024 * GIB,
	FMT_MAX_DYNAMIC - 512, FMT_MAX_DYNAMIC,
};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* qemu 7.2 cuts most creators' images to the geometry. */
static void qemu_reads_the_exact_size(void)
{
	if (!has_program("qemu-img"))
		return;
	for (size_t i = 0; i < SIZES; i++) {
		make_ok(VHD_DYNAMIC, sizes[i], 0);
		expect_qemu_reads(sizes[i]);
		make_ok(VHD_FIXED, sizes[i], 0);
		expect_qemu_reads(sizes[i]);
	}
}

static void libvhdi_reads_the_exact_size(void)
{
	char out[4096], *at;

	if (!has_program("vhdiinfo"))
		return;
	for (size_t i = 0; i < SIZES; i++) {
		make_ok(i % 2 ? VHD_FIXED : VHD_DYNAMIC, sizes[i], 0);
		CU_ASSERT_EQUAL(run(out, sizeof(out), "vhdiinfo '%s'", image), 0);
		at = strstr(out, "Media size");
		CU_ASSERT_PTR_NOT_NULL_FATAL(at);
		at = strchr(at, '(') ? strchr(at, '(') + 1 : strchr(at, ':') + 1;
		CU_ASSERT_EQUAL(strtoull(at, NULL, 10), sizes[i]);
	}
}

static void qemu_finds_our_images_sound_and_empty(void)
{
	char out[4096];

	if (!has_program("qemu-img"))
		return;
	for (uint64_t size = 512; size <= 64 * MIB; size = size * 5 / 512 * 512 + 512) {
		make_ok(VHD_DYNAMIC, size, 0);
		CU_ASSERT_EQUAL(run(out, sizeof(out), "cd '%s' && truncate -s %llu raw && "
				    "qemu-img compare -f vpc -F raw '%s' raw", folder,
				    (unsigned long long)size, image), 0);
		make_ok(VHD_FIXED, size, 0);
		CU_ASSERT_EQUAL(run(out, sizeof(out), "cd '%s' && qemu-img compare -f vpc -F raw "
				    "'%s' raw", folder, image), 0);
	}
}

static void our_engine_opens_what_it_made(void)
{
	struct vhd_open_opts opts = { .is_readonly = true };
	struct vhd_info info;
	vhd_image *img;
	uint8_t buf[1024];

	for (size_t i = 0; i < SIZES; i++) {
		uint32_t len = sizes[i] < sizeof(buf) ? 512 : sizeof(buf);

		make_ok(i % 2 ? VHD_FIXED : VHD_DYNAMIC, sizes[i], 0);
		CU_ASSERT_EQUAL_FATAL(vhd_open(&img, image, &opts, NULL), 0);
		CU_ASSERT_EQUAL(vhd_size(img), sizes[i]);
		CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
		CU_ASSERT_EQUAL(info.type, i % 2 ? VHD_FIXED : VHD_DYNAMIC);
		CU_ASSERT_STRING_EQUAL(info.creator, "win ");
		memset(buf, 0xee, sizeof(buf));
		CU_ASSERT_EQUAL(vhd_pread(img, buf, len, sizes[i] - len, NULL), 0);
		CU_ASSERT_TRUE(!buf[0] && !memcmp(buf, buf + 1, len - 1));
		CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	}
}

static void dynamic_image_is_laid_out_as_windows_does(void)
{
	uint8_t file[8192], *footer = file + 0x1e00;
	struct fmt_footer decoded;
	struct fmt_header header;

	make_ok(VHD_DYNAMIC, 40 * MIB, 0);
	CU_ASSERT_EQUAL_FATAL(file_size(), sizeof(file));
	read_image(file, sizeof(file), 0);
	CU_ASSERT_EQUAL(memcmp(file, footer, FMT_SECTOR), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_footer_decode(&decoded, footer));
	CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(&header, file + 512));
	CU_ASSERT_EQUAL(decoded.features, 2);
	CU_ASSERT_EQUAL(decoded.data_offset, 512);
	CU_ASSERT_EQUAL(decoded.original_size, 40 * MIB);
	CU_ASSERT_EQUAL(decoded.geometry.cylinders, 963);
	CU_ASSERT_EQUAL(header.next, FMT_NO_OFFSET);
	CU_ASSERT_EQUAL(header.table_offset, 1536);
	CU_ASSERT_EQUAL(header.entries, 20);
	CU_ASSERT_EQUAL(header.block_size, 2 * MIB);
	for (size_t i = 1536; i < 4096; i++)
		CU_ASSERT_EQUAL(file[i], 0xff);
	for (size_t i = 4096; i < 0x1e00; i++)
		CU_ASSERT_EQUAL(file[i], 0);
}

static void fixed_image_is_a_hole_and_a_footer(void)
{
	struct fmt_footer footer;
	uint8_t raw[FMT_SECTOR];
	struct stat sb;

	make_ok(VHD_FIXED, 100 * MIB, 0);
	CU_ASSERT_EQUAL(file_size(), 100 * MIB + 512);
	CU_ASSERT_EQUAL(stat(image, &sb), 0);
	CU_ASSERT_TRUE(sb.st_blocks * 512 < 1 << 20);
	read_image(raw, sizeof(raw), 100 * MIB);
	CU_ASSERT_PTR_NULL_FATAL(fmt_footer_decode(&footer, raw));
	CU_ASSERT_EQUAL(footer.type, 2);
	CU_ASSERT_EQUAL(footer.data_offset, FMT_NO_OFFSET);
}

static void table_has_as_many_entries_as_blocks(void)
{
	static const uint32_t blocks[] = { 4096, 65536, 512u << 10, 2u << 20, 256u << 20 };
	struct fmt_header header;
	uint8_t raw[FMT_HEADER_SIZE];

	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		for (uint64_t size = 512; size < 200 * MIB; size = size * 7 / 512 * 512) {
			uint64_t entries = (size + blocks[i] - 1) / blocks[i];

			make_ok(VHD_DYNAMIC, size, blocks[i]);
			read_image(raw, sizeof(raw), 512);
			CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(&header, raw));
			CU_ASSERT_EQUAL(header.entries, entries);
			CU_ASSERT_EQUAL(file_size() % 4096, 0);
			CU_ASSERT_TRUE(file_size() >= 1536 + 4 * entries + 512);
		}
	}
}

static void largest_table_is_whole(void)
{
	const size_t len = 1044480 * 4;
	uint8_t *table = malloc(len);

	CU_ASSERT_PTR_NOT_NULL_FATAL(table);
	make_ok(VHD_DYNAMIC, FMT_MAX_DYNAMIC, 0);
	read_image(table, len, 1536);
	CU_ASSERT_TRUE(table[0] == 0xff && !memcmp(table, table + 1, len - 1));
	free(table);
	CU_ASSERT_TRUE(file_size() < 5 * MIB);
}

static void expect_refused(enum vhd_type type, uint64_t size, uint32_t block_size, int rc,
			   const char *word)
{
	struct vhd_err err = { 0 };

	CU_ASSERT_EQUAL(make(type, size, block_size, &err), rc);
	CU_ASSERT_EQUAL(err.code, rc);
	if (!strstr(err.msg, word))
		printf("\n%s\n", err.msg);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, image));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, word));
	CU_ASSERT_NOT_EQUAL(access(image, F_OK), 0);
}

static void what_the_format_has_not_is_refused_and_leaves_nothing(void)
{
	char out[256];

	expect_refused(VHD_DYNAMIC, 0, 0, -EINVAL, "0 bytes");
	expect_refused(VHD_FIXED, 0, 0, -EINVAL, "0 bytes");
	expect_refused(VHD_DYNAMIC, 513, 0, -EINVAL, "512");
	expect_refused(VHD_FIXED, 1000, 0, -EINVAL, "512");
	expect_refused(VHD_DYNAMIC, FMT_MAX_DYNAMIC + 512, 0, -EINVAL, "2040 GiB");
	expect_refused(VHD_DYNAMIC, MIB, 2048, -EINVAL, "block size");
	expect_refused(VHD_DYNAMIC, MIB, 3 * MIB, -EINVAL, "block size");
	expect_refused(VHD_DYNAMIC, MIB, 512 * MIB, -EINVAL, "block size");
	/* 512 KiB blocks on 4 KiB boundaries need more than 2 TiB for 2040 GiB. */
	expect_refused(VHD_DYNAMIC, FMT_MAX_DYNAMIC, 512u << 10, -EINVAL, "larger blocks");
	expect_refused(VHD_DYNAMIC, FMT_MAX_DYNAMIC, 4096, -EINVAL, "larger blocks");
	expect_refused(VHD_DIFFERENCING, MIB, 0, -EINVAL, "none is named");
	expect_refused((enum vhd_type)7, MIB, 0, -EINVAL, "type 7");
	CU_ASSERT_EQUAL(run(out, sizeof(out), "ls -A '%s' | grep -v raw", folder), 1 << 8);
}

static void nothing_is_replaced(void)
{
	struct vhd_create_opts opts = { .size = MIB };
	struct vhd_err err;
	uint8_t raw[FMT_SECTOR], again[FMT_SECTOR];

	make_ok(VHD_DYNAMIC, 2 * MIB, 0);
	read_image(raw, sizeof(raw), 0);
	CU_ASSERT_EQUAL(vhd_create(image, &opts, &err), -EEXIST);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, image));
	read_image(again, sizeof(again), 0);
	CU_ASSERT_EQUAL(memcmp(raw, again, sizeof(raw)), 0);
}

static void io_that_is_not_empty_is_refused(void)
{
	struct vhd_create_opts opts = { .size = MIB };
	struct vhd_io *io;

	make_ok(VHD_DYNAMIC, 2 * MIB, 0);
	CU_ASSERT_EQUAL_FATAL(io_file_open(&io, image, false, NULL), 0);
	CU_ASSERT_EQUAL(vhd_create_io(io, image, &opts, NULL), -EEXIST);
	io->ops->close(io);
}

static void id_and_time_are_as_given_or_new(void)
{
	static const uint8_t id[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
	static const uint8_t none[16];
	struct vhd_create_opts opts = { .size = MIB, .uuid = id, .timestamp = 12345 };
	struct fmt_footer first, second;
	uint8_t raw[FMT_SECTOR];
	int64_t now = time(NULL);

	unlink(image);
	CU_ASSERT_EQUAL_FATAL(vhd_create(image, &opts, NULL), 0);
	read_image(raw, sizeof(raw), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_footer_decode(&first, raw));
	CU_ASSERT_EQUAL(memcmp(first.uuid, id, 16), 0);
	CU_ASSERT_EQUAL(first.timestamp, 12345);
	make_ok(VHD_DYNAMIC, MIB, 0);
	read_image(raw, sizeof(raw), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_footer_decode(&first, raw));
	CU_ASSERT_TRUE(FMT_EPOCH + (int64_t)first.timestamp - now < 100);
	CU_ASSERT_TRUE(FMT_EPOCH + (int64_t)first.timestamp >= now);
	CU_ASSERT_EQUAL(first.uuid[6] >> 4, 4);		/* a random one, by its version */
	make_ok(VHD_DYNAMIC, MIB, 0);
	read_image(raw, sizeof(raw), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_footer_decode(&second, raw));
	CU_ASSERT_NOT_EQUAL(memcmp(first.uuid, second.uuid, 16), 0);
	opts.uuid = none;
	unlink(image);
	CU_ASSERT_EQUAL(vhd_create(image, &opts, NULL), -EINVAL);
}

/* A backend that only counts and fails: every call of a creation fails once. */

struct failing {
	struct vhd_io io;
	int calls, fail_at;
	int writes_since_barrier;
	bool has_leading;
};

static int failing_count(struct failing *f)
{
	return ++f->calls == f->fail_at ? -EIO : 0;
}

static ssize_t failing_pwrite(struct vhd_io *io, const void *buf, size_t len, uint64_t off)
{
	struct failing *f = (struct failing *)io;

	(void)buf;
	f->writes_since_barrier++;
	if (off == 0 && !f->has_leading) {
		/* The leading copy is alone in flight: all else is durable. */
		CU_ASSERT_EQUAL(f->writes_since_barrier, 1);
		f->has_leading = true;
	}
	return failing_count(f) ? -EIO : (ssize_t)len;
}

static int failing_barrier(struct vhd_io *io)
{
	struct failing *f = (struct failing *)io;

	f->writes_since_barrier = 0;
	return failing_count(f);
}

static int failing_stat(struct vhd_io *io, struct vhd_io_stat *st)
{
	memset(st, 0, sizeof(*st));
	return failing_count((struct failing *)io);
}

static void every_failing_call_is_told(void)
{
	static const struct vhd_io_ops ops = {
		.pwrite = failing_pwrite, .barrier = failing_barrier, .stat = failing_stat,
	};
	struct vhd_create_opts opts = { .size = 100 * GIB };
	int fail_at = 0, rc = -EIO;

	while (rc == -EIO && fail_at < 1000) {
		struct failing f = { .io.ops = &ops, .fail_at = ++fail_at };
		struct vhd_err err = { 0 };

		rc = vhd_create_io(&f.io, "x.vhd", &opts, &err);
		CU_ASSERT_EQUAL(err.code, rc);
		if (rc)
			CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "x.vhd"));
		if (!rc)
			CU_ASSERT_EQUAL(f.writes_since_barrier, 0);
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_TRUE(fail_at > 6);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
#define T(name) { #name, name }
		T(qemu_reads_the_exact_size),
		T(libvhdi_reads_the_exact_size),
		T(qemu_finds_our_images_sound_and_empty),
		T(our_engine_opens_what_it_made),
		T(dynamic_image_is_laid_out_as_windows_does),
		T(fixed_image_is_a_hole_and_a_footer),
		T(table_has_as_many_entries_as_blocks),
		T(largest_table_is_whole),
		T(what_the_format_has_not_is_refused_and_leaves_nothing),
		T(nothing_is_replaced),
		T(io_that_is_not_empty_is_refused),
		T(id_and_time_are_as_given_or_new),
		T(every_failing_call_is_told),
		{ NULL, NULL },
	};
	const char *tmp = getenv("TMPDIR");
	char path[96], out[16];
	int status;

	snprintf(folder, sizeof(folder), "%.40s/vhd-create.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder))
		runner_skip("no folder for temporary files");
	snprintf(path, sizeof(path), "%s/a disk.vhd", folder);
	image = path;
	status = run_suite(argc, argv, "create", tests);
	run(out, sizeof(out), "rm -rf --one-file-system '%s'", folder);
	return status;
}
