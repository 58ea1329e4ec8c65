/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhd/relink.c, and rule 13: whatever a power cut or a failing call leaves, the image is sound, has
 * its data, and names the old parent or the new one with all that belongs to it.
 */
#include "vhd/relink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cuts.h"
#include "tests/support/imagegen.h"
#include "tests/support/io_fault.h"
#include "tests/support/io_mem.h"
#include "tests/support/io_record.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/naming.h"

#define SIZE (64u << 10)	/* bytes of the disk */
#define BLOCK 4096u
#define SAYS 20000

static char folder[64];
static char child_path[128], old_path[128], near_path[128], far_path[512];

/* All that an image says of its parent, as one text. */
struct says {
	char text[SAYS];
};

struct trial {
	struct cuts cuts;
	uint8_t disk[SIZE];	/* what the image owns, zeros elsewhere */
	struct says before, after;
	unsigned errors_before;	/* a hostile image has some by the oracle's strict measure */
	unsigned names_old, names_new;
	const char *target;	/* the path of the new parent */
};

static void complain(struct trial *t, const char *what)
{
	cuts_complain(&t->cuts, what);
}

static void put_hex(struct says *says, const void *data, size_t len)
{
	size_t at = strlen(says->text);
	const uint8_t *p = data;

	for (size_t i = 0; i < len && at + 3 < sizeof(says->text); i++)
		at += (size_t)sprintf(says->text + at, "%02x", p[i]);
	if (at + 2 < sizeof(says->text))
		strcpy(says->text + at, " ");
}

static int load(struct vhd_image **img, struct mem_file *file, bool is_readonly)
{
	const struct vhd_open_opts opts = { .is_readonly = is_readonly };

	return image_load(img, mem_open(file), child_path, &opts, NULL);
}

static bool listen(struct mem_file *file, struct says *says)
{
	struct vhd_image *img;
	uint8_t text[8192];

	says->text[0] = '\0';
	if (load(&img, file, true))
		return false;
	put_hex(says, img->header.parent_uuid, sizeof(img->header.parent_uuid));
	put_hex(says, img->header.parent_name, sizeof(img->header.parent_name));
	for (unsigned i = 0; i < FMT_LOCATORS; i++) {
		const struct fmt_locator *l = &img->header.locators[i];

		if (!l->platform || l->length > sizeof(text))
			continue;
		mem_read(file, text, l->length, l->offset);
		put_hex(says, &l->platform, sizeof(l->platform));
		put_hex(says, text, l->length);
	}
	image_free(img);
	return true;
}

static bool is_sound(struct trial *t, struct mem_file *file)
{
	struct oracle_result result = { 0 };
	const char *why = NULL;
	struct oracle *o = oracle_open_mem(file, &why);
	uint8_t disk[SIZE];
	bool is_same;

	if (!o) {
		complain(t, why);
		return false;
	}
	oracle_check(o, &result);
	oracle_read(o, disk, sizeof(disk), 0);
	is_same = memcmp(disk, t->disk, sizeof(disk)) == 0;
	oracle_close(o);
	if (result.errors > t->errors_before)
		complain(t, result.first);
	if (!is_same)
		complain(t, "the disk's contents changed");
	return result.errors <= t->errors_before && is_same;
}

static int start(struct vhd_image **img, struct vhd_io *io)
{
	const struct vhd_open_opts opts = { 0 };
	int rc = image_load(img, io, child_path, &opts, NULL);

	if (rc)
		return rc;
	rc = image_judge_table(*img, NULL);
	if (!rc)
		rc = image_start_writing(*img, NULL);
	if (rc)
		image_free(*img);
	return rc;
}

static int relink_over(struct vhd_io *io, const char *path, struct vhd_err *err)
{
	struct relink_to to = { .timestamp = 1234, .path = path };
	struct vhd_image *img;
	int rc = start(&img, io), closed;

	if (rc)
		return vhd_err_set(err, rc, "cannot be opened for writing");
	gen_uuid(to.uuid, 77);
	rc = relink(img, &to, err);
	closed = vhd_close(img, NULL);
	return rc ? rc : closed;
}

/* What a cut left is sound and says one of the two; so it does when it was mended, and from there
 * the job can be done. */
static void judge(void *arg, struct mem_file *file)
{
	struct trial *t = arg;
	struct says says;
	struct vhd_image *img;
	bool is_old, is_new;

	if (!is_sound(t, file))
		return;
	if (!listen(file, &says))
		complain(t, "the engine does not open it");
	is_old = strcmp(says.text, t->before.text) == 0;
	is_new = strcmp(says.text, t->after.text) == 0;
	if (!is_old && !is_new)
		complain(t, "it names neither parent");
	t->names_old += is_old;
	t->names_new += is_new;
	if (start(&img, mem_open(file)) || vhd_close(img, NULL))
		complain(t, "it cannot be opened for writing");
	if (!is_sound(t, file))
		return;
	if (!listen(file, &says) || strcmp(says.text, (is_old ? &t->before : &t->after)->text))
		complain(t, "mended, it names another parent");
	if (relink_over(mem_open(file), t->target, NULL) || !listen(file, &says) ||
	    strcmp(says.text, t->after.text) || !is_sound(t, file))
		complain(t, "it cannot be done again from there");
}

static unsigned states;		/* of all trials */

/* The layouts. */

static struct mem_file *make_ours(void)
{
	struct vhd_create_opts opts = {
		.type = VHD_DIFFERENCING, .parent = old_path, .block_size = BLOCK,
	};
	struct vhd_open_opts open_opts = { .parent = old_path };
	struct mem_file *file = mem_new();
	struct vhd_io *io = mem_open(file);
	uint8_t sector[512];
	vhd_image *img;

	CU_ASSERT_EQUAL_FATAL(vhd_create_io(io, child_path, &opts, NULL), 0);
	io->ops->close(io);
	CU_ASSERT_EQUAL_FATAL(vhd_open_io(&img, mem_open(file), child_path, &open_opts, NULL), 0);
	for (uint64_t s = 0; s < SIZE / 512; s += 5) {
		gen_sector(sector, s, 1);
		CU_ASSERT_EQUAL(vhd_pwrite(img, sector, 512, s * 512, NULL), 0);
	}
	CU_ASSERT_EQUAL(vhd_close(img, NULL), 0);
	return file;
}

/* Gives the child in file other locators than it has. */
static void change_locators(struct mem_file *file,
			    void (*change)(struct fmt_locator *l, unsigned i))
{
	uint8_t raw[FMT_HEADER_SIZE];
	struct fmt_header header;

	mem_read(file, raw, sizeof(raw), 512);
	CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(&header, raw));
	for (unsigned i = 0; i < FMT_LOCATORS; i++)
		if (header.locators[i].platform)
			change(&header.locators[i], i);
	fmt_header_encode(raw, &header);
	mem_write(file, raw, sizeof(raw), 512);
}

static void narrow(struct fmt_locator *l, unsigned i)
{
	(void)i;
	l->space = 512;
}

/* Over the table, and over the first block. */
static void lay_over(struct fmt_locator *l, unsigned i)
{
	l->offset = i ? 24576 : 1536;
	l->length = 64;
	l->space = 8192;
}

static struct mem_file *make_narrow(void)
{
	struct mem_file *file = make_ours();

	change_locators(file, narrow);
	return file;
}

static struct mem_file *make_hostile(void)
{
	struct mem_file *file = make_ours();

	change_locators(file, lay_over);
	return file;
}

static struct mem_file *make_without_trailer(void)
{
	struct mem_file *file = make_ours();

	gen_damage_trailer_missing(file);
	return file;
}

static struct mem_file *make_foreign(const char *creator, uint64_t header)
{
	static const struct gen_block blocks[] = {
		{ .blk = 3, .bits = GEN_BITS_EXACT }, { .blk = 0, .bits = GEN_BITS_JUNK },
	};
	const struct gen_opts opts = {
		.size = SIZE, .block_size = BLOCK, .type = VHD_DIFFERENCING, .creator = creator,
		.blocks = blocks, .blocks_len = 2, .marker = 1, .parent_marker = 2,
		.parent_name = "old.vhd", .header = header, .has_batmap = !strcmp(creator, "tap"),
		.table = header ? 4096 : 0,
	};

	return gen_make(&opts);
}

static struct mem_file *make_packed(void)
{
	return make_foreign("tst ", 0);
}

static struct mem_file *make_with_batmap(void)
{
	return make_foreign("tap", 0);
}

/* As a cut in rule 13 leaves it: the header is not where everybody has it. */
static struct mem_file *make_away(void)
{
	return make_foreign("win ", 2048);
}

static const struct layout {
	const char *name;
	struct mem_file *(*make)(void);
} layouts[] = {
	{ "ours", make_ours },
	{ "rooms of a sector", make_narrow },
	{ "locators over others", make_hostile },
	{ "no trailing footer", make_without_trailer },
	{ "packed, without locators", make_packed },
	{ "blktap's", make_with_batmap },
	{ "header away", make_away },
};

static void begin(struct trial *t, const struct layout *layout, const char *path)
{
	struct oracle_result result = { 0 };
	struct mem_file *done;
	const char *why;
	struct oracle *o;

	*t = (struct trial){
		.cuts = { .name = layout->name, .live = layout->make(), .judge = judge, .arg = t },
		.target = path,
	};
	o = oracle_open_mem(t->cuts.live, &why);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	oracle_read(o, t->disk, sizeof(t->disk), 0);
	oracle_check(o, &result);
	oracle_close(o);
	CU_ASSERT_TRUE_FATAL(listen(t->cuts.live, &t->before));
	done = mem_clone(t->cuts.live);
	CU_ASSERT_EQUAL_FATAL(relink_over(mem_open(done), path, NULL), 0);
	CU_ASSERT_TRUE_FATAL(listen(done, &t->after));
	CU_ASSERT_TRUE(strcmp(t->before.text, t->after.text) != 0);
	CU_ASSERT_TRUE(is_sound(t, done));
	mem_free(done);
	t->errors_before = result.errors;
	cuts_begin(&t->cuts);
}

static void end(struct trial *t)
{
	cuts_end(&t->cuts);
	mem_free(t->cuts.live);
	CU_ASSERT_FALSE(t->cuts.is_failed);
}

static void cut_everywhere(const struct layout *layout, const char *path)
{
	static struct trial t;
	struct recorder recorder;
	struct vhd_err err = { 0 };

	begin(&t, layout, path);
	record_init(&recorder);
	recorder.observe = cuts_observe;
	recorder.arg = &t.cuts;
	CU_ASSERT_EQUAL(relink_over(record_open(mem_open(t.cuts.live), &recorder), path, &err), 0);
	cuts_try(&t.cuts);
	CU_ASSERT_TRUE(t.cuts.states > 20 && t.names_old && t.names_new);
	states += t.cuts.states;
	end(&t);
}

static void power_cuts_leave_the_old_parent_or_the_new_one(void)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		cut_everywhere(&layouts[i], near_path);
		cut_everywhere(&layouts[i], far_path);
	}
	printf("(%u states) ", states);
}

/* Whether the call was met; the image is judged as a crash would leave it. */
static bool fail_call(const struct layout *layout, unsigned mask, enum fault_how how, uint64_t nth)
{
	static struct trial t;
	struct fault fault;
	struct vhd_err err = { 0 };
	int rc;

	begin(&t, layout, far_path);
	fault_init(&fault);
	fault.mask = mask;
	fault.nth = nth;
	fault.error = EIO;
	fault.how = how;
	fault_arm(&fault);
	rc = relink_over(fault_open(mem_open(t.cuts.live), &fault), far_path, &err);
	if (fault.fired) {
		CU_ASSERT_TRUE(rc == 0 || rc == -EIO);	/* a trim at the end may pass over it */
		CU_ASSERT_TRUE(!rc || err.msg[0]);
	} else {
		CU_ASSERT_EQUAL(rc, 0);
	}
	t.cuts.call = (unsigned)nth;
	judge(&t, t.cuts.live);
	end(&t);
	return fault.fired;
}

static void failed_calls_leave_the_old_parent_or_the_new_one(void)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		uint64_t writes = 1, torn = 1, barriers = 1;

		while (fail_call(&layouts[i], FAULT_WRITE | FAULT_TRUNCATE, FAULT_ERROR, writes))
			writes++;
		while (fail_call(&layouts[i], FAULT_WRITE, FAULT_TORN, torn))
			torn++;
		while (fail_call(&layouts[i], FAULT_BARRIER, FAULT_ERROR, barriers))
			barriers++;
		CU_ASSERT_TRUE(writes > 8 && torn > 8 && barriers > 5);
	}
}

static struct mem_file *relinked(const struct layout *layout, const char *path,
				 struct fmt_header *header, uint64_t *header_off)
{
	struct mem_file *file = layout->make();
	struct vhd_image *img;

	CU_ASSERT_EQUAL_FATAL(relink_over(mem_open(file), path, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(load(&img, file, true), 0);
	*header = img->header;
	*header_off = img->footer.data_offset;
	image_free(img);
	return file;
}

static void header_is_where_everybody_seeks_it(void)
{
	struct fmt_header header;
	uint64_t off;

	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		mem_free(relinked(&layouts[i], near_path, &header, &off));
		CU_ASSERT_EQUAL(off, 512);
		CU_ASSERT_EQUAL(header.parent_timestamp, 1234);
	}
}

/* Texts that fit go where they were, and the file is as long as it was. */
static void file_becomes_no_longer_where_the_room_is_enough(void)
{
	struct mem_file *before = make_ours(), *file;
	struct fmt_header header;
	uint64_t off;

	file = relinked(&layouts[0], far_path, &header, &off);
	CU_ASSERT_EQUAL(mem_size(file), mem_size(before));
	CU_ASSERT_EQUAL(header.locators[0].offset, 4096);
	mem_free(file);
	mem_free(before);
}

static void room_that_is_somebody_elses_is_not_used(void)
{
	struct fmt_header header;
	uint64_t off, end;
	struct mem_file *file = make_hostile();

	end = mem_size(file) - 512;
	mem_free(file);
	file = relinked(&layouts[2], near_path, &header, &off);
	CU_ASSERT_TRUE(header.locators[0].offset >= end);
	CU_ASSERT_TRUE(header.locators[1].offset >= end);
	mem_free(file);
}

/* The other way round, and again: what stays behind everything does not pile up for ever. */
static void going_to_and_fro_does_not_lengthen_the_file(void)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
		struct mem_file *file = layouts[i].make();
		uint64_t size = 0;

		for (int turn = 0; turn < 6; turn++) {
			CU_ASSERT_EQUAL(relink_over(mem_open(file), turn % 2 ? near_path : far_path,
						    NULL), 0);
			if (turn == 1)
				size = mem_size(file);
		}
		if (mem_size(file) != size)
			printf("\n%s: %llu, then %llu bytes\n", layouts[i].name,
			       (unsigned long long)size, (unsigned long long)mem_size(file));
		CU_ASSERT_EQUAL(mem_size(file), size);
		mem_free(file);
	}
}

static bool make_paths(void)
{
	struct vhd_create_opts opts = { .size = SIZE };
	char name[250];

	snprintf(child_path, sizeof(child_path), "%s/child.vhd", folder);
	snprintf(old_path, sizeof(old_path), "%s/old.vhd", folder);
	snprintf(near_path, sizeof(near_path), "%s/new.vhd", folder);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(far_path, sizeof(far_path), "%s/%s", folder, name);
	return vhd_create(old_path, &opts, NULL) == 0;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(power_cuts_leave_the_old_parent_or_the_new_one),
		TEST(failed_calls_leave_the_old_parent_or_the_new_one),
		TEST(header_is_where_everybody_seeks_it),
		TEST(file_becomes_no_longer_where_the_room_is_enough),
		TEST(room_that_is_somebody_elses_is_not_used),
		TEST(going_to_and_fro_does_not_lengthen_the_file),
		{ NULL, NULL },
	};
	char command[128];
	int status;

	snprintf(folder, sizeof(folder), "/tmp/vhd-relink.XXXXXX");
	if (!mkdtemp(folder) || !make_paths())
		return 1;
	status = run_suite(argc, argv, "vhd/relink.c", tests);
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) ? 1 : status;
}
