/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/create.c and vhd/naming.c: children that find their parents, whatever those are called. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/chain.h"
#include "vhd/naming.h"

#define MIB (1ull << 20)
#define SIZE (4 * MIB + 1536)

static char folder[64];
static struct vhd_err err;

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

static void clear(void)
{
	CU_ASSERT_EQUAL(run("rm -rf -- *"), 0);
}

static void expect_ok(int rc)
{
	if (rc)
		printf("\n%s\n", err.msg);
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

static int create(const char *name, const char *parent, uint64_t size)
{
	struct vhd_create_opts opts = { .type = VHD_DIFFERENCING, .parent = parent, .size = size };

	err = (struct vhd_err){ 0 };
	return vhd_create(name, &opts, &err);
}

static void make_base(const char *name, enum vhd_type type, uint32_t block_size)
{
	struct vhd_create_opts opts = { .type = type, .size = SIZE, .block_size = block_size };
	uint8_t sector[512];
	vhd_image *img;

	expect_ok(vhd_create(name, &opts, &err));
	expect_ok(vhd_open(&img, name, NULL, &err));
	for (uint64_t s = 0; s < SIZE / 512; s += 97) {
		gen_sector(sector, s, 1);
		expect_ok(vhd_pwrite(img, sector, 512, s * 512, &err));
	}
	expect_ok(vhd_close(img, &err));
}

/* The image at name reads as the base does, and through as many parents. */
static void expect_reads_as_base(const char *name, unsigned depth)
{
	struct vhd_open_opts opts = { .is_readonly = true };
	uint8_t is[512], wanted[512];
	vhd_image *img;
	unsigned parents = 0;

	expect_ok(vhd_open(&img, name, &opts, &err));
	CU_ASSERT_EQUAL(vhd_size(img), SIZE);
	for (vhd_image *p = vhd_parent(img); p; p = vhd_parent(p))
		parents++;
	CU_ASSERT_EQUAL(parents, depth);
	for (uint64_t s = 0; s < SIZE / 512; s++) {
		memset(wanted, 0, sizeof(wanted));
		if (s % 97 == 0)
			gen_sector(wanted, s, 1);
		CU_ASSERT_EQUAL(vhd_pread(img, is, 512, s * 512, NULL), 0);
		CU_ASSERT_EQUAL(memcmp(is, wanted, 512), 0);
	}
	expect_ok(vhd_close(img, &err));
}

static void parents_of_every_type_are_taken(void)
{
	struct vhd_open_opts opts = { .is_readonly = true };
	struct vhd_info info;
	vhd_image *img;

	clear();
	make_base("fixed.vhd", VHD_FIXED, 0);
	make_base("dynamic.vhd", VHD_DYNAMIC, 65536);
	CU_ASSERT_EQUAL(run("head -c %llu fixed.vhd >raw.img", SIZE), 0);
	expect_ok(create("of-fixed.vhd", "fixed.vhd", 0));
	expect_reads_as_base("of-fixed.vhd", 1);
	expect_ok(create("of-dynamic.vhd", "dynamic.vhd", SIZE));
	expect_reads_as_base("of-dynamic.vhd", 1);
	expect_ok(create("of-raw.vhd", "raw.img", 0));
	expect_reads_as_base("of-raw.vhd", 1);
	expect_ok(create("of-child.vhd", "of-dynamic.vhd", 0));
	expect_reads_as_base("of-child.vhd", 2);
	expect_ok(vhd_open(&img, "of-child.vhd", &opts, &err));
	expect_ok(vhd_get_info(img, &info, &err));
	CU_ASSERT_EQUAL(info.block_size, 65536);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	expect_ok(vhd_open(&img, "of-fixed.vhd", &opts, &err));
	expect_ok(vhd_get_info(img, &info, &err));
	CU_ASSERT_EQUAL(info.block_size, 2 * MIB);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

static void note_child(void *arg, const char *path)
{
	char *names = arg;

	strcat(strcat(names, strrchr(path, '/') + 1), " ");
}

/* It has no id, and neither has another raw disk in the folder. */
static void children_of_a_raw_disk_are_told_by_its_name(void)
{
	struct vhd_open_opts opts = { .is_readonly = true, .allow_raw = true };
	char names[128] = "";
	vhd_image *img;

	clear();
	CU_ASSERT_EQUAL(run("head -c %llu /dev/zero | tee a.img >b.img", SIZE), 0);
	expect_ok(create("of-a.vhd", "a.img", 0));
	expect_ok(create("of-b.vhd", "b.img", 0));
	expect_ok(create("of-of-a.vhd", "of-a.vhd", 0));
	expect_ok(vhd_open(&img, "a.img", &opts, &err));
	expect_ok(vhd_find_children(img, note_child, names, &err));
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	CU_ASSERT_STRING_EQUAL(names, "of-a.vhd ");
}

static void read_header(const char *name, struct fmt_header *header)
{
	uint8_t raw[FMT_HEADER_SIZE];
	struct vhd_io *io;

	expect_ok(io_file_open(&io, name, true, &err));
	CU_ASSERT_EQUAL(io_pread(io, raw, sizeof(raw), 512), 0);
	CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(header, raw));
	io->ops->close(io);
}

static void the_parent_s_id_time_and_name_are_kept(void)
{
	struct fmt_header header;
	char name[64];

	clear();
	make_base("p.vhd", VHD_DYNAMIC, 0);
	CU_ASSERT_EQUAL(run("touch -d '2001-02-03 04:05:06.7 UTC' p.vhd"), 0);
	expect_ok(create("c.vhd", "p.vhd", 0));
	read_header("c.vhd", &header);
	CU_ASSERT_EQUAL(header.parent_timestamp, 981173106 - FMT_EPOCH);
	chain_parent_name(&header, name, sizeof(name));
	CU_ASSERT_STRING_EQUAL(name, "p.vhd");
	CU_ASSERT_EQUAL(header.locators[0].platform, FMT_W2KU);
	CU_ASSERT_EQUAL(header.locators[1].platform, FMT_W2RU);
	CU_ASSERT_EQUAL(header.locators[2].platform, 0);
	CU_ASSERT_EQUAL(header.locators[1].length, 2 * strlen("./p.vhd"));
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(header.locators[i].space, NAMING_ROOM);
		CU_ASSERT_EQUAL(header.locators[i].offset % 4096, 0);
	}
	/* What the format cannot tell is left out. */
	CU_ASSERT_EQUAL(run("touch -d '1999-01-01' p.vhd"), 0);
	expect_ok(create("d.vhd", "p.vhd", 0));
	read_header("d.vhd", &header);
	CU_ASSERT_EQUAL(header.parent_timestamp, 0);
}

/* The names are found also when the folder of both is another. */
static void parents_with_odd_names_are_found_and_can_move(void)
{
	static const char *const names[] = {
		"with space", "ümläut", "雪", "\xf0\x9f\x92\xbe", "back\\slash", "latin\xfc",
		"per%cent",
		"a:b", ".hidden", "-dash", "\xed\xa0\x80", "\xc0\xaf", "new\nline", "quote'", "\\",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char parent[512], child[512];

		clear();
		CU_ASSERT_EQUAL(run("mkdir -p t/a t/b"), 0);
		snprintf(parent, sizeof(parent), "t/a/%s", names[i]);
		CU_ASSERT_EQUAL(mkdir(parent, 0777), 0);
		snprintf(parent, sizeof(parent), "t/a/%s/%s", names[i], names[i]);
		make_base(parent, VHD_DYNAMIC, 0);
		snprintf(child, sizeof(child), "t/b/%s", names[i]);
		expect_ok(create(child, parent, 0));
		expect_reads_as_base(child, 1);
		snprintf(child, sizeof(child), "t/a/%s/child", names[i]);
		expect_ok(create(child, parent, 0));
		expect_reads_as_base(child, 1);
		CU_ASSERT_EQUAL(run("mkdir 'moved here' && mv t 'moved here'"), 0);
		snprintf(child, sizeof(child), "moved here/t/b/%s", names[i]);
		expect_reads_as_base(child, 1);
	}
}

static void links_are_followed(void)
{
	clear();
	CU_ASSERT_EQUAL(run("mkdir -p x/deep y && ln -s x/deep in"), 0);
	CU_ASSERT_EQUAL(run("ln -s ../y/p.vhd x/link.vhd"), 0);
	make_base("y/p.vhd", VHD_DYNAMIC, 0);
	expect_ok(create("in/c.vhd", "x/link.vhd", 0));
	CU_ASSERT_EQUAL(run("rm x/link.vhd in"), 0);
	expect_reads_as_base("x/deep/c.vhd", 1);
}

static void long_paths_are_found_up_to_the_host_s_limit(void)
{
	char deep[3600] = "", *to = deep;
	char parent[4000], child[4000];

	clear();
	for (int i = 0; i < 14; i++) {
		memset(to, 'a' + i, 250);
		to[250] = '\0';
		CU_ASSERT_EQUAL_FATAL(mkdir(deep, 0777), 0);
		to[250] = '/';
		to += 251;
		*to = '\0';
	}
	snprintf(parent, sizeof(parent), "%sp.vhd", deep);
	make_base(parent, VHD_DYNAMIC, 0);
	expect_ok(create("c.vhd", parent, 0));
	expect_reads_as_base("c.vhd", 1);
	snprintf(child, sizeof(child), "%sc.vhd", deep);
	expect_ok(create(child, parent, 0));
	expect_reads_as_base(child, 1);
}

static void chains_are_made_as_deep_as_they_are_read(void)
{
	char child[32], parent[32];

	clear();
	make_base("0.vhd", VHD_FIXED, 0);
	for (int i = 1; i <= CHAIN_MAX_DEPTH + 1; i++) {
		snprintf(parent, sizeof(parent), "%d.vhd", i - 1);
		snprintf(child, sizeof(child), "%d.vhd", i);
		expect_ok(create(child, parent, 0));
	}
	expect_reads_as_base(child, CHAIN_MAX_DEPTH + 1);
	CU_ASSERT_EQUAL(create("more.vhd", child, 0), -ELOOP);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "deeper than"));
	CU_ASSERT_NOT_EQUAL(access("more.vhd", F_OK), 0);
}

static void expect_refused(const char *parent, uint64_t size, int rc, const char *word)
{
	CU_ASSERT_EQUAL(create("c.vhd", parent, size), rc);
	if (err.code != rc || !strstr(err.msg, word))
		printf("\n%d: %s\n", err.code, err.msg);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, word));
	CU_ASSERT_NOT_EQUAL(access("c.vhd", F_OK), 0);
}

/* The child has the rest of the sector as zeros. */
static void a_raw_disk_may_end_within_a_sector(void)
{
	uint8_t buf[1024], zeros[324] = { 0 };
	vhd_image *img;

	clear();
	CU_ASSERT_EQUAL(run("tr '\\0' x </dev/zero | head -c 700 >odd"), 0);
	expect_ok(create("c.vhd", "odd", 0));
	expect_ok(vhd_open(&img, "c.vhd", NULL, &err));
	CU_ASSERT_EQUAL(vhd_size(img), 1024);
	expect_ok(vhd_pread(img, buf, sizeof(buf), 0, &err));
	CU_ASSERT_EQUAL(buf[699], 'x');
	CU_ASSERT_EQUAL(memcmp(buf + 700, zeros, sizeof(zeros)), 0);
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

static void what_cannot_be_a_parent_is_refused(void)
{
	vhd_image *img;

	clear();
	make_base("p.vhd", VHD_DYNAMIC, 0);
	expect_refused("none.vhd", 0, -ENOENT, "none.vhd");
	expect_refused("p.vhd", SIZE + 512, -EINVAL, "size of its parent");
	expect_refused("p.vhd", SIZE - 512, -EINVAL, "size of its parent");
	CU_ASSERT_EQUAL(run("printf 'QFI\\373\\0\\0\\0\\3' >q.qcow2 && truncate -s 1M q.qcow2"), 0);
	expect_refused("q.qcow2", 0, -EILSEQ, "qcow2");
	CU_ASSERT_EQUAL(run("head -c 1000 p.vhd >cut.vhd && mkdir f"), 0);
	expect_refused("cut.vhd", 0, -EILSEQ, "cut.vhd");
	expect_refused("f", 0, -EILSEQ, "folder");
	/* The orphan's own parent is sought, too. */
	expect_ok(create("orphan.vhd", "p.vhd", 0));
	CU_ASSERT_EQUAL(run("mv p.vhd q.vhd"), 0);
	expect_refused("orphan.vhd", 0, -ENOENT, "p.vhd");
	/* In use by a writer, its id and time are not settled. */
	expect_ok(vhd_open(&img, "q.vhd", NULL, &err));
	expect_refused("q.vhd", 0, -EBUSY, "in use");
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
}

static void a_parent_stays_as_it_is(void)
{
	struct stat before, after;

	clear();
	make_base("p.vhd", VHD_DYNAMIC, 0);
	CU_ASSERT_EQUAL(run("cp -p p.vhd as-it-was"), 0);
	CU_ASSERT_EQUAL(stat("p.vhd", &before), 0);
	expect_ok(create("c.vhd", "p.vhd", 0));
	CU_ASSERT_EQUAL(stat("p.vhd", &after), 0);
	CU_ASSERT_EQUAL(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	CU_ASSERT_EQUAL(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	CU_ASSERT_EQUAL(run("cmp p.vhd as-it-was"), 0);
}

static void a_second_reader_agrees(void)
{
	const char *why = NULL;
	struct oracle_result result;
	struct oracle *child, *parent;
	uint8_t is[512], wanted[512];

	clear();
	make_base("p.vhd", VHD_DYNAMIC, 4096);
	expect_ok(create("c.vhd", "p.vhd", 0));
	parent = oracle_open_path("p.vhd", &why);
	child = oracle_open_path("c.vhd", &why);
	CU_ASSERT_PTR_NOT_NULL_FATAL(parent);
	CU_ASSERT_PTR_NOT_NULL_FATAL(child);
	CU_ASSERT_EQUAL(oracle_type(child), 4);
	CU_ASSERT_EQUAL(memcmp(oracle_parent_uuid(child), oracle_uuid(parent), 16), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(oracle_uuid(child), oracle_uuid(parent), 16), 0);
	oracle_check(child, &result);
	CU_ASSERT_EQUAL(result.errors, 0);
	oracle_set_parent(child, parent);
	gen_sector(wanted, 97, 1);
	oracle_read(child, is, 512, 97 * 512);
	CU_ASSERT_EQUAL(memcmp(is, wanted, 512), 0);
	oracle_close(child);
	oracle_close(parent);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
#define T(name) { #name, name }
		T(parents_of_every_type_are_taken),
		T(the_parent_s_id_time_and_name_are_kept),
		T(parents_with_odd_names_are_found_and_can_move),
		T(links_are_followed),
		T(long_paths_are_found_up_to_the_host_s_limit),
		T(chains_are_made_as_deep_as_they_are_read),
		T(children_of_a_raw_disk_are_told_by_its_name),
		T(a_raw_disk_may_end_within_a_sector),
		T(what_cannot_be_a_parent_is_refused),
		T(a_parent_stays_as_it_is),
		T(a_second_reader_agrees),
		{ NULL, NULL },
	};
	const char *tmp = getenv("TMPDIR");
	int status;

	snprintf(folder, sizeof(folder), "%.40s/vhd-children.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(folder) || chdir(folder))
		runner_skip("no folder for temporary files");
	status = run_suite(argc, argv, "children", tests);
	run("rm -rf --one-file-system '%s'", folder);
	return status;
}
