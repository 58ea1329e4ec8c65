/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/chain.c: which parents are found, which are not to be, and chains made to do harm. */
#include "vhd/chain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/runner.h"

#define SIZE (4u << 20)
#define BLOB_OFF 4096u
#define BLOB_STEP 1024u
#define W2RU 0x57327275u
#define W2KU 0x57326b75u
#define WI2R 0x57693272u
#define WI2K 0x5769326bu
#define MACX 0x4d616358u

static char folder[64];

/* What a child says of its parent; unset members are left out. */
struct child {
	uint8_t id, parent_id;		/* every byte of the unique id */
	uint32_t parent_time;
	uint64_t size;			/* 0: SIZE */
	const char *creator;		/* NULL: "win " */
	const char *name;
	struct {
		uint32_t platform;
		const char *text;
		size_t len;		/* 0: of the text */
	} locators[FMT_LOCATORS];
};

__attribute__((format(printf, 1, 2))) static int run(const char *fmt, ...)
{
	char command[1024];
	int n = snprintf(command, sizeof(command), "cd '%s' && ", folder);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	fflush(stdout);
	return system(command);
}

static const char *in_folder(const char *name)
{
	static char path[4][512];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
	return path[turn];
}

/* Each test begins with nothing. */
static void clear(void)
{
	CU_ASSERT_EQUAL(run("rm -rf -- *"), 0);
}

static struct vhd_io *new_file(const char *name)
{
	struct vhd_io *io;
	struct vhd_err err;

	unlink(in_folder(name));
	if (io_file_create(&io, in_folder(name), &err)) {
		printf("\n%s\n", err.msg);
		CU_FAIL_FATAL("no file");
	}
	return io;
}

static void publish(struct vhd_io *io)
{
	CU_ASSERT_EQUAL(io_file_publish(io, NULL), 0);
	io->ops->close(io);
}

static void make_base(const char *name, uint8_t id, uint64_t size)
{
	uint8_t uuid[16];
	struct vhd_create_opts opts = { .size = size, .uuid = uuid };
	struct vhd_io *io = new_file(name);

	memset(uuid, id, sizeof(uuid));
	CU_ASSERT_EQUAL(vhd_create_io(io, name, &opts, NULL), 0);
	publish(io);
}

/* ASCII as UTF-16; '\1' stands for an unpaired surrogate. */
static size_t to_utf16(uint8_t *to, const char *text, size_t len, bool is_big)
{
	for (size_t i = 0; i < len; i++) {
		uint16_t c = text[i] == 1 ? 0xd800 : (uint8_t)text[i];

		to[2 * i + !is_big] = (uint8_t)(c >> 8);
		to[2 * i + is_big] = (uint8_t)c;
	}
	return 2 * len;
}

static void write_blobs(struct vhd_io *io, struct fmt_header *header, const struct child *c)
{
	uint8_t blob[BLOB_STEP] = { 0 };

	for (uint32_t i = 0; i < FMT_LOCATORS && c->locators[i].platform; i++) {
		const char *text = c->locators[i].text;
		size_t len = c->locators[i].len ? c->locators[i].len : strlen(text);
		struct fmt_locator *l = &header->locators[i];

		l->platform = c->locators[i].platform;
		l->space = BLOB_STEP;
		l->offset = BLOB_OFF + i * BLOB_STEP;
		if (l->platform == W2RU || l->platform == W2KU)
			len = to_utf16(blob, text, len, false);
		else
			memcpy(blob, text, len);
		l->length = (uint32_t)len;
		CU_ASSERT_EQUAL(io_pwrite(io, blob, len, l->offset), 0);
	}
}

static void make_child(const char *name, const struct child *c)
{
	struct fmt_footer footer = {
		.features = 2, .version = 0x10000, .data_offset = 512, .type = VHD_DIFFERENCING,
		.original_size = SIZE, .current_size = c->size ? c->size : SIZE,
	};
	struct fmt_header header = {
		.next = FMT_NO_OFFSET, .table_offset = 1536, .version = 0x10000, .entries = 2,
		.block_size = FMT_DEFAULT_BLOCK, .parent_timestamp = c->parent_time,
	};
	struct vhd_io *io = new_file(name);
	uint8_t raw[FMT_HEADER_SIZE];

	memset(footer.uuid, c->id, 16);
	memset(header.parent_uuid, c->parent_id, 16);
	memcpy(footer.creator, c->creator ? c->creator : "win ", 4);
	if (c->name)
		to_utf16(header.parent_name, c->name, strlen(c->name), true);
	write_blobs(io, &header, c);
	fmt_header_encode(raw, &header);
	CU_ASSERT_EQUAL(io_pwrite(io, raw, FMT_HEADER_SIZE, 512), 0);
	CU_ASSERT_EQUAL(io_pwrite(io, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 1536), 0);
	fmt_footer_encode(raw, &footer);
	CU_ASSERT_EQUAL(io_pwrite(io, raw, FMT_SECTOR, BLOB_OFF + 8 * BLOB_STEP), 0);
	CU_ASSERT_EQUAL(io_pwrite(io, raw, FMT_SECTOR, 0), 0);
	publish(io);
}

/* Warnings, one behind the other. */
static char warned[4096];

static void keep_warning(void *arg, const char *sentence)
{
	size_t len = strlen(warned);

	(void)arg;
	snprintf(warned + len, sizeof(warned) - len, "%s\n", sentence);
}

static struct vhd_err err;

static int open_chain(vhd_image **img, const char *name, const char *parent)
{
	struct vhd_open_opts opts = {
		.is_readonly = true, .parent = parent, .warn = keep_warning,
	};

	warned[0] = '\0';
	memset(&err, 0, sizeof(err));
	return vhd_open(img, in_folder(name), &opts, &err);
}

/* Opens name and wants its parent to be the file `parent` in the folder. */
static void expect_found(const char *name, const char *parent)
{
	struct stat wanted, got;
	struct vhd_info info;
	vhd_image *img;
	int rc = open_chain(&img, name, NULL);

	if (rc)
		printf("\n%s\n", err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(vhd_parent(img));
	CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
	CU_ASSERT_EQUAL(stat(in_folder(parent), &wanted), 0);
	CU_ASSERT_EQUAL(stat(info.parent_path, &got), 0);
	if (wanted.st_ino != got.st_ino)
		printf("\n%s instead of %s\n", info.parent_path, parent);
	CU_ASSERT_EQUAL(wanted.st_ino, got.st_ino);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

static void expect_fails(const char *name, const char *parent, int rc, const char *word)
{
	vhd_image *img;
	int got = open_chain(&img, name, parent);

	if (got != rc || !strstr(err.msg, word))
		printf("\n%d: %s\n", got, err.msg);
	CU_ASSERT_EQUAL_FATAL(got, rc);
	CU_ASSERT_EQUAL(err.code, rc);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, name));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, word));
}

static void relative_windows_names_are_found(void)
{
	clear();
	CU_ASSERT_EQUAL(run("mkdir a b a/deep"), 0);
	make_base("a/base.vhd", 1, SIZE);
	make_child("a/same.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, ".\\base.vhd", 0 } } });
	expect_found("a/same.vhd", "a/base.vhd");
	make_child("b/sibling.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, "..\\a\\base.vhd", 0 } } });
	expect_found("b/sibling.vhd", "a/base.vhd");
	make_child("a/deep/up.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, "..\\base.vhd", 0 } } });
	expect_found("a/deep/up.vhd", "a/base.vhd");
	make_child("ansi.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { WI2R, ".\\a\\base.vhd", 0 } } });
	expect_found("ansi.vhd", "a/base.vhd");
	/* The folder is that of the real file. */
	CU_ASSERT_EQUAL(run("ln -s ../a/same.vhd b/link.vhd"), 0);
	expect_found("b/link.vhd", "a/base.vhd");
}

static void names_with_padding_are_found(void)
{
	clear();
	make_base("base.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, ".\\base.vhd\0\0\0", 13 } } });
	expect_found("child.vhd", "base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { MACX, "file://./base.vhd\0", 18 } } });
	expect_found("child.vhd", "base.vhd");
}

static void mac_urls_are_found(void)
{
	clear();
	make_base("the base.vhd", 1, SIZE);
	make_base("100%.vhd", 3, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { MACX, "file://./the%20base.vhd", 0 } } });
	expect_found("child.vhd", "the base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { MACX, "file://localhost/Users/me/the%20base.vhd", 0 } } });
	expect_found("child.vhd", "the base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 3,
		   .locators = { { MACX, "file:///x/100%.vhd", 0 } } });
	expect_found("child.vhd", "100%.vhd");
}

static void absolute_names_lead_only_into_the_childs_folder(void)
{
	char text[128];

	clear();
	CU_ASSERT_EQUAL(run("mkdir away"), 0);
	make_base("away/base.vhd", 1, SIZE);
	snprintf(text, sizeof(text), "%s/away/base.vhd", folder);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = text,
		   .locators = { { W2KU, text, 0 }, { WI2K, text, 0 }, { MACX, text, 0 },
				 { W2RU, text, 0 } } });
	expect_fails("child.vhd", NULL, -ENOENT, "/base.vhd");
	make_base("base.vhd", 1, SIZE);
	expect_found("child.vhd", "base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2KU, "C:\\Users\\me\\base.vhd", 0 } } });
	expect_found("child.vhd", "base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { WI2K, "\\\\server\\share\\base.vhd", 0 } } });
	expect_found("child.vhd", "base.vhd");
	/* blktap has a relative path where an absolute one belongs. */
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2KU, "./away/base.vhd", 0 } } });
	expect_found("child.vhd", "away/base.vhd");
}

static void the_header_s_name_is_the_last_resort(void)
{
	clear();
	make_base("base.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .name = "D:\\disks\\base.vhd" });
	expect_found("child.vhd", "base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd",
		   .locators = { { W2RU, ".\\gone.vhd", 0 } } });
	expect_found("child.vhd", "base.vhd");
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .name = "old/base.vhd" });
	expect_found("child.vhd", "base.vhd");
}

static void relative_names_come_before_absolute_ones(void)
{
	clear();
	CU_ASSERT_EQUAL(run("mkdir sub"), 0);
	make_base("base.vhd", 1, SIZE);
	make_base("sub/base.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd",
		   .locators = { { W2KU, "C:\\base.vhd", 0 }, { W2RU, ".\\sub\\base.vhd", 0 } } });
	expect_found("child.vhd", "sub/base.vhd");
}

static void a_file_with_another_id_is_passed_over(void)
{
	clear();
	make_base("wrong.vhd", 9, SIZE);
	make_base("right.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, ".\\wrong.vhd", 0 }, { W2RU, ".\\right.vhd", 0 } } });
	expect_found("child.vhd", "right.vhd");
	CU_ASSERT_EQUAL(run("rm right.vhd"), 0);
	expect_fails("child.vhd", NULL, -EILSEQ, "wrong.vhd has the unique id 09090909-");
	CU_ASSERT_EQUAL(run("echo junk > wrong.vhd"), 0);
	expect_fails("child.vhd", NULL, -EILSEQ, "wrong.vhd");
	make_base("right.vhd", 1, SIZE);
	expect_found("child.vhd", "right.vhd");
}

static void what_was_tried_is_told_when_nothing_is_found(void)
{
	clear();
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "one.vhd",
		   .locators = { { W2KU, "C:\\x\\two.vhd", 0 },
				 { W2RU, "..\\y\\three.vhd", 0 } } });
	expect_fails("child.vhd", NULL, -ENOENT, "/one.vhd");
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "/two.vhd"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "/../y/three.vhd"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "\"one.vhd\""));
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1 });
	expect_fails("child.vhd", NULL, -ENOENT, "names none");
	/* The right one of the first step, whose own parent is missing. */
	make_child("middle.vhd", &(struct child) { .id = 3, .parent_id = 1, .name = "gone.vhd" });
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 3, .name = "middle.vhd" });
	expect_fails("child.vhd", NULL, -ENOENT, "middle.vhd: its parent \"gone.vhd\"");
}

static void the_parent_that_the_user_names_is_tried_alone(void)
{
	vhd_image *img;

	clear();
	CU_ASSERT_EQUAL(run("mkdir away"), 0);
	make_base("base.vhd", 1, SIZE);
	make_base("away/moved.vhd", 1, SIZE);
	make_base("other.vhd", 4, SIZE);
	make_child("middle.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd" });
	make_child("child.vhd", &(struct child) { .id = 3, .parent_id = 2, .name = "gone.vhd" });
	CU_ASSERT_EQUAL_FATAL(open_chain(&img, "middle.vhd", in_folder("away/moved.vhd")), 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	expect_fails("middle.vhd", in_folder("other.vhd"), -EILSEQ, "other.vhd");
	expect_fails("middle.vhd", in_folder("none.vhd"), -ENOENT, "none.vhd");
	/* It is the parent of the image opened, not of each in the chain. */
	CU_ASSERT_EQUAL_FATAL(open_chain(&img, "child.vhd", in_folder("middle.vhd")), 0);
	CU_ASSERT_PTR_NOT_NULL(vhd_parent(vhd_parent(img)));
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

static void circles_are_refused(void)
{
	clear();
	make_child("self.vhd", &(struct child) { .id = 1, .parent_id = 1, .name = "self.vhd" });
	expect_fails("self.vhd", NULL, -ELOOP, "chain");
	make_child("a.vhd", &(struct child) { .id = 1, .parent_id = 2, .name = "b.vhd" });
	make_child("b.vhd", &(struct child) { .id = 2, .parent_id = 3, .name = "c.vhd" });
	make_child("c.vhd", &(struct child) { .id = 3, .parent_id = 1, .name = "a.vhd" });
	expect_fails("a.vhd", NULL, -ELOOP, "a.vhd");
	/* A name that leads back is passed over where another one does not. */
	make_base("base.vhd", 5, SIZE);
	make_child("f.vhd", &(struct child) { .id = 5, .parent_id = 5, .name = "base.vhd",
		   .locators = { { W2RU, ".\\f.vhd", 0 } } });
	expect_found("f.vhd", "base.vhd");
	/* By another name it is the same file. */
	make_child("d.vhd", &(struct child) { .id = 1, .parent_id = 1, .name = "e.vhd" });
	CU_ASSERT_EQUAL(run("ln d.vhd e.vhd"), 0);
	expect_fails("d.vhd", NULL, -ELOOP, "e.vhd");
}

static void make_chain(unsigned depth)
{
	char name[32], parent[32] = "0.vhd";

	clear();
	make_base("0.vhd", 1, SIZE);
	for (unsigned i = 1; i <= depth; i++) {
		snprintf(name, sizeof(name), "%u.vhd", i);
		make_child(name, &(struct child) { .id = (uint8_t)(i + 1), .parent_id = (uint8_t)i,
			   .name = parent });
		memcpy(parent, name, sizeof(parent));
	}
}

static void chains_are_bounded(void)
{
	vhd_image *img, *at;
	char name[32];
	unsigned depth = 0;

	make_chain(CHAIN_MAX_DEPTH + 2);
	snprintf(name, sizeof(name), "%d.vhd", CHAIN_MAX_DEPTH);
	CU_ASSERT_EQUAL_FATAL(open_chain(&img, name, NULL), 0);
	for (at = img; vhd_parent(at); at = vhd_parent(at))
		depth++;
	CU_ASSERT_EQUAL(depth, CHAIN_MAX_DEPTH);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	snprintf(name, sizeof(name), "%d.vhd", CHAIN_MAX_DEPTH + 2);
	expect_fails(name, NULL, -ELOOP, "deeper than 64");
}

/* Each level has nine candidates that are images and wrong or broken deeper down: followed each to
 * its end, they would be nine to the power of the depth. */
static void hostile_chains_end_soon(void)
{
	double start = runner_clock();
	char text[FMT_LOCATORS][32];

	clear();
	for (unsigned level = 0; level < 12; level++) {
		for (unsigned i = 0; i < FMT_LOCATORS; i++)
			snprintf(text[i], sizeof(text[i]), "%u-%u.vhd", level + 1, i);
		for (unsigned i = 0; i < FMT_LOCATORS; i++) {
			struct child c = {
				.id = (uint8_t)(level + 1), .parent_id = (uint8_t)(level + 2),
			};
			char name[32];

			for (unsigned j = 0; j < FMT_LOCATORS; j++) {
				c.locators[j].platform = W2RU;
				c.locators[j].text = text[j];
			}
			if (i % 2)
				c.id = 99;
			snprintf(name, sizeof(name), "%u-%u.vhd", level, i);
			make_child(name, &c);
		}
	}
	expect_fails("0-0.vhd", NULL, -ENOENT, "12-7.vhd");
	CU_ASSERT_TRUE(runner_clock() - start < 10);
}

static void an_id_of_zeros_names_no_parent(void)
{
	clear();
	make_base("base.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .name = "base.vhd" });
	expect_fails("child.vhd", NULL, -EILSEQ, "all zeros");
	make_child("child.vhd", &(struct child) { .id = 2, .name = "base.vhd", .creator = "tap" });
	/* Of tap, it means a raw parent. */
	expect_fails("child.vhd", NULL, -EILSEQ, "raw");
}

/* There is no id to tell a raw disk by: only the user leads out of the child's folder. */
static void a_raw_parent_is_found_beside_the_child_alone(void)
{
	struct child c = {
		.id = 2, .creator = "tap", .locators = { { W2RU, "..\\a\\disk.img", 0 } },
	};

	clear();
	CU_ASSERT_EQUAL(run("mkdir a b && head -c 4M /dev/zero | tr '\\0' r >a/disk.img"), 0);
	make_child("a/child.vhd", &c);
	expect_found("a/child.vhd", "a/disk.img");
	make_child("b/child.vhd", &c);
	expect_fails("b/child.vhd", NULL, -ENOENT, "b/disk.img");
	CU_ASSERT_EQUAL(run("cp a/disk.img b"), 0);
	expect_found("b/child.vhd", "b/disk.img");
	CU_ASSERT_EQUAL(run("echo junk >b/disk.img && cp a/child.vhd b/disk.img"), 0);
	expect_fails("b/child.vhd", NULL, -EILSEQ, "is a VHD");
	c.creator = "win ";
	make_child("a/child.vhd", &c);
	expect_fails("a/child.vhd", NULL, -EILSEQ, "all zeros");
}

static void names_made_to_do_harm_are_not_followed(void)
{
	static const char *const bad[] = {
		"", ".", "..", "..\\..", ".\\", "C:\\", "\\", "/", "\\\\", ".\\\1.vhd",
	};

	clear();
	make_base("base.vhd", 1, SIZE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = bad[i],
			   .locators = { { W2RU, bad[i], 0 }, { W2KU, bad[i], 0 },
					 { WI2K, bad[i], 0 }, { MACX, bad[i], 0 } } });
		expect_fails("child.vhd", NULL, -ENOENT, "not found");
	}
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, ".\\base.vhd\0x", 12 }, { WI2R, "base.vhd\0x", 10 },
				 { MACX, "file://base.vhd%00x", 0 } } });
	expect_fails("child.vhd", NULL, -ENOENT, "not found");
	CU_ASSERT_EQUAL(run("mkfifo pipe && mkdir dir"), 0);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1,
		   .locators = { { W2RU, ".\\pipe", 0 }, { W2RU, ".\\dir", 0 } } });
	expect_fails("child.vhd", NULL, -EILSEQ, "pipe");
}

static void locators_outside_the_file_are_passed_over(void)
{
	static const struct fmt_locator bad[] = {
		{ W2RU, 512, 20, 1u << 30 }, { W2RU, 512, 20, UINT64_MAX - 4 },
		{ W2RU, 512, UINT32_MAX, 4096 }, { MACX, 512, 70000, 0 }, { W2KU, 512, 0, 4096 },
		{ W2RU, 512, 1, 4096 },
	};
	struct fmt_header header;
	uint8_t raw[FMT_HEADER_SIZE];
	struct vhd_io *io;

	clear();
	make_base("base.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd" });
	CU_ASSERT_EQUAL_FATAL(io_file_open(&io, in_folder("child.vhd"), false, NULL), 0);
	CU_ASSERT_EQUAL(io_pread(io, raw, sizeof(raw), 512), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(&header, raw));
	memcpy(header.locators, bad, sizeof(bad));
	fmt_header_encode(raw, &header);
	CU_ASSERT_EQUAL(io_pwrite(io, raw, sizeof(raw), 512), 0);
	io->ops->close(io);
	expect_found("child.vhd", "base.vhd");
}

static void what_is_odd_of_a_parent_is_told(void)
{
	clear();
	make_base("base.vhd", 1, SIZE);
	CU_ASSERT_EQUAL(run("touch -d @1000000000 base.vhd"), 0);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd",
		   .parent_time = 1000000000 - FMT_EPOCH });
	expect_found("child.vhd", "base.vhd");
	CU_ASSERT_STRING_EQUAL(warned, "");
	CU_ASSERT_EQUAL(run("touch -d @1000000001 base.vhd"), 0);
	expect_found("child.vhd", "base.vhd");
	CU_ASSERT_PTR_NOT_NULL(strstr(warned, "changed"));
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd" });
	expect_found("child.vhd", "base.vhd");
	CU_ASSERT_STRING_EQUAL(warned, "");
	make_base("base.vhd", 1, SIZE / 2);
	expect_found("child.vhd", "base.vhd");
	CU_ASSERT_PTR_NOT_NULL(strstr(warned, "another size"));
}

static void parents_are_locked_against_writers(void)
{
	struct vhd_open_opts share = { .is_readonly = true };
	vhd_image *img, *other;

	clear();
	make_base("base.vhd", 1, SIZE);
	make_child("child.vhd", &(struct child) { .id = 2, .parent_id = 1, .name = "base.vhd" });
	CU_ASSERT_EQUAL_FATAL(open_chain(&img, "child.vhd", NULL), 0);
	CU_ASSERT_EQUAL(vhd_open(&other, in_folder("base.vhd"), NULL, NULL), -EBUSY);
	CU_ASSERT_EQUAL_FATAL(vhd_open(&other, in_folder("base.vhd"), &share, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(other, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(vhd_open(&other, in_folder("base.vhd"), NULL, NULL), 0);
	expect_fails("child.vhd", NULL, -EBUSY, "in use");
	share.force_share = true;
	CU_ASSERT_EQUAL_FATAL(vhd_open(&img, in_folder("child.vhd"), &share, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	CU_ASSERT_EQUAL(vhd_close(other, NULL), 0);
}

static void expect_name(const uint8_t *utf16, size_t len, const char *text)
{
	struct fmt_header header = { 0 };
	char buf[1024];

	memcpy(header.parent_name, utf16, len);
	chain_parent_name(&header, buf, sizeof(buf));
	CU_ASSERT_STRING_EQUAL(buf, text);
}

static void names_become_utf8(void)
{
	struct fmt_header header = { 0 };
	char buf[1024];

	expect_name((const uint8_t *)"", 0, "");
	expect_name((const uint8_t *)"\0a\0\xe9\x20\xac\xd8\x3d\xde\x00", 10,
		    "a\xc3\xa9\xe2\x82\xac"
		    "\xf0\x9f\x98\x80");
	expect_name((const uint8_t *)"\xd8\x3d\0b", 4, "\xef\xbf\xbd" "b");
	expect_name((const uint8_t *)"\xde\x00\0b", 4, "\xef\xbf\xbd" "b");
	expect_name((const uint8_t *)"\0a\xd8\x00", 4, "a\xef\xbf\xbd");
	/* All 256 units, with no end but the field's. */
	memset(header.parent_name, 0x20, sizeof(header.parent_name));
	chain_parent_name(&header, buf, sizeof(buf));
	CU_ASSERT_EQUAL(strlen(buf), 256 * 3);
	/* Cut between characters, never within one. */
	for (size_t size = 1; size < 20; size++) {
		memset(buf, 'x', sizeof(buf));
		chain_parent_name(&header, buf, size);
		CU_ASSERT_EQUAL(strlen(buf), (size - 1) / 3 * 3);
	}
}

static void a_real_child_of_windows_finds_its_parent(void)
{
	struct vhd_info info;
	vhd_image *img;

	if (!corpus_dir()) {
		printf("(no corpus here) ");
		return;
	}
	clear();
	CU_ASSERT_EQUAL_FATAL(run("xz -dc '%s/govhd-win8-child.vhd.xz' > child.vhd && "
				  "xz -dc '%s/govhd-win8.vhd.xz' > other.vhd", corpus_dir(),
				  corpus_dir()), 0);
	expect_fails("child.vhd", NULL, -ENOENT, "win8.vhd");
	CU_ASSERT_EQUAL_FATAL(run("mv other.vhd win8.vhd"), 0);
	expect_found("child.vhd", "win8.vhd");
	CU_ASSERT_EQUAL_FATAL(open_chain(&img, "child.vhd", NULL), 0);
	CU_ASSERT_EQUAL(vhd_get_info(img, &info, NULL), 0);
	CU_ASSERT_STRING_EQUAL(info.parent_name, "C:\\Users\\sergi\\Downloads\\win8.vhd");
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
#define T(name) { #name, name }
		T(relative_windows_names_are_found),
		T(names_with_padding_are_found),
		T(mac_urls_are_found),
		T(absolute_names_lead_only_into_the_childs_folder),
		T(the_header_s_name_is_the_last_resort),
		T(relative_names_come_before_absolute_ones),
		T(a_file_with_another_id_is_passed_over),
		T(what_was_tried_is_told_when_nothing_is_found),
		T(the_parent_that_the_user_names_is_tried_alone),
		T(circles_are_refused),
		T(chains_are_bounded),
		T(hostile_chains_end_soon),
		T(an_id_of_zeros_names_no_parent),
		T(a_raw_parent_is_found_beside_the_child_alone),
		T(names_made_to_do_harm_are_not_followed),
		T(locators_outside_the_file_are_passed_over),
		T(what_is_odd_of_a_parent_is_told),
		T(parents_are_locked_against_writers),
		T(names_become_utf8),
		T(a_real_child_of_windows_finds_its_parent),
		{ NULL, NULL },
	};
	const char *tmp = getenv("TMPDIR");
	int status;

	snprintf(folder, sizeof(folder), "%.40s/vhd-chain.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder))
		runner_skip("no folder for temporary files");
	status = run_suite(argc, argv, "chain", tests);
	run("rm -rf --one-file-system '%s'", folder);
	return status;
}
