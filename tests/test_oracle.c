/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The second reader and the image maker, against each other, the engine and qemu-img: what the
 * other tests lean on has to stand.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/imagegen.h"
#include "tests/support/oracle.h"
#include "tests/support/runner.h"
#include "vhd/vhd.h"

#define SECTOR 512u

static const struct gen_block blocks[] = { { .blk = 2 }, { .blk = 0, .gap = 1024 },
					   { .blk = 3 } };
static const struct gen_block exact[] = { { .blk = 1, .bits = GEN_BITS_EXACT }, { .blk = 4 } };
static const struct gen_block junk[] = { { .blk = 1, .bits = GEN_BITS_JUNK }, { .blk = 0 } };

static const struct {
	const char *name;
	struct gen_opts gen;
} layouts[] = {
	{ "empty", { .size = 5 * 4096 + 512, .block_size = 4096 } },
	{ "fixed", { .size = 100 * 512, .block_size = 4096, .type = 2 } },
	{ "fixed, 511-byte footer", { .size = 100 * 512, .block_size = 4096, .type = 2,
				      .is_short_footer = true } },
	{ "packed", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks, .blocks_len = 3 } },
	{ "aligned", { .size = 4 * 65536 + 512, .block_size = 65536, .blocks = blocks,
		       .blocks_len = 3, .align = 4096, .footer_align = 4096, .padding = 0xff } },
	{ "two bitmap sectors", { .size = 16 << 20, .block_size = 4 << 20, .blocks = blocks,
				  .blocks_len = 3 } },
	{ "exact bits", { .size = 5 * 4096, .block_size = 4096, .blocks = exact,
			  .blocks_len = 2 } },
	{ "junk under clear bits", { .size = 5 * 4096, .block_size = 4096, .blocks = junk,
				     .blocks_len = 2 } },
	{ "BAT behind", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
			  .blocks_len = 3, .is_table_behind = true } },
	{ "header elsewhere", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
				.blocks_len = 3, .header = 0x4000, .table = 0x8000 } },
	{ "BAT before the header", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
				     .blocks_len = 3, .header = 0x4000, .table = 0x1000 } },
	{ "no trailing footer", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
				  .blocks_len = 3, .has_no_trailer = true } },
	{ "511-byte footer", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
			       .blocks_len = 3, .is_short_footer = true } },
	{ "garbage behind", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
			      .blocks_len = 3, .garbage = 700 } },
	{ "leak", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks, .blocks_len = 3,
		    .leak = 20000 } },
	{ "short last block", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
				.blocks_len = 3, .short_last = 1024 } },
	{ "more entries than blocks", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
					.blocks_len = 3, .extra_entries = 200 } },
	{ "batmap", { .size = 5 * 4096, .block_size = 4096, .blocks = blocks, .blocks_len = 3,
		      .has_batmap = true, .creator = "tap" } },
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

/* Whether every sector is what gen_make says it put there. */
static bool is_as_made(const struct oracle *o, const struct gen_opts *gen)
{
	for (uint64_t s = 0; s < gen->size / SECTOR; s++) {
		uint8_t is[SECTOR], should[SECTOR] = { 0 };

		if (gen_has_data(gen, s))
			gen_sector(should, s, GEN_VERSION(gen->marker));
		oracle_read(o, is, SECTOR, s * SECTOR);
		if (memcmp(is, should, SECTOR) != 0)
			return false;
	}
	return true;
}

static void test_oracle_reads_what_was_made(void)
{
	for (size_t i = 0; i < LAYOUTS; i++) {
		struct mem_file *file = gen_make(&layouts[i].gen);
		const char *why = NULL;
		struct oracle *o = oracle_open_mem(file, &why);

		CU_ASSERT_PTR_NOT_NULL(o);
		if (o) {
			CU_ASSERT_EQUAL(oracle_size(o), layouts[i].gen.size);
			CU_ASSERT(is_as_made(o, &layouts[i].gen));
		} else {
			printf("%s: %s\n", layouts[i].name, why);
		}
		oracle_close(o);
		mem_free(file);
	}
}

static bool is_as_oracle(vhd_image *img, const struct oracle *o)
{
	size_t size = (size_t)oracle_size(o);
	uint8_t *a = malloc(size), *b = malloc(size);
	bool is_same = a && b && vhd_size(img) == size && !vhd_pread(img, a, size, 0, NULL);

	if (is_same) {
		oracle_read(o, b, size, 0);
		is_same = memcmp(a, b, size) == 0;
	}
	free(a);
	free(b);
	return is_same;
}

static void test_engine_reads_the_same(void)
{
	for (int is_readonly = 0; is_readonly < 2; is_readonly++) {
		for (size_t i = 0; i < LAYOUTS; i++) {
			struct vhd_open_opts opts = { .is_readonly = is_readonly };
			struct mem_file *file = gen_make(&layouts[i].gen);
			struct oracle *o = oracle_open_mem(file, NULL);
			struct vhd_err err = { 0 };
			vhd_image *img;

			if (vhd_open_io(&img, mem_open(file), layouts[i].name, &opts, &err)) {
				printf("%s\n", err.msg);
				CU_FAIL("the engine does not open it");
			} else {
				CU_ASSERT(is_as_oracle(img, o));
				CU_ASSERT_EQUAL(vhd_close(img, &err), 0);
			}
			oracle_close(o);
			mem_free(file);
		}
	}
}

static void test_child_reads_through_to_its_parent(void)
{
	struct gen_opts top = { .size = 5 * 4096, .block_size = 4096, .blocks = exact,
				.blocks_len = 2, .type = 4, .marker = 1, .parent_marker = 2,
				.parent_name = "base.vhd" };
	struct gen_opts base = { .size = 5 * 4096, .block_size = 4096, .blocks = blocks,
				 .blocks_len = 3, .marker = 2 };
	struct mem_file *child_file = gen_make(&top), *parent_file = gen_make(&base);
	struct oracle *child = oracle_open_mem(child_file, NULL);
	struct oracle *parent = oracle_open_mem(parent_file, NULL);

	CU_ASSERT_FATAL(child && parent);
	CU_ASSERT_EQUAL(memcmp(oracle_parent_uuid(child), oracle_uuid(parent), 16), 0);
	oracle_set_parent(child, parent);
	for (uint64_t s = 0; s < top.size / SECTOR; s++) {
		uint8_t is[SECTOR], should[SECTOR] = { 0 };

		if (gen_has_data(&top, s))
			gen_sector(should, s, GEN_VERSION(1));
		else if (gen_has_data(&base, s))
			gen_sector(should, s, GEN_VERSION(2));
		oracle_read(child, is, SECTOR, s * SECTOR);
		CU_ASSERT_EQUAL(memcmp(is, should, SECTOR), 0);
	}
	oracle_close(child);
	oracle_close(parent);
	mem_free(child_file);
	mem_free(parent_file);
}

static void cut_block(struct mem_file *file) { gen_damage_cut(file, 2048); }
static void block_size_zero(struct mem_file *file) { gen_damage_block_size(file, 0); }
static void block_size_odd(struct mem_file *file) { gen_damage_block_size(file, 12288); }
static void entry_past_end(struct mem_file *file) { gen_damage_entry_past_end(file, 0); }
static void entry_in_metadata(struct mem_file *file) { gen_damage_entry_in_metadata(file, 2); }
static void duplicate(struct mem_file *file) { gen_damage_duplicate_entry(file, 2, 0); }
static void overlap(struct mem_file *file) { gen_damage_overlap(file, 2, 0); }
static void garbage(struct mem_file *file) { gen_damage_trailing_garbage(file, 512); }

enum verdict { REFUSED, DAMAGED, WASTED, SOUND };

static const struct {
	const char *name;
	void (*damage)(struct mem_file *file);
	enum verdict oracle, engine;	/* what a check comes to */
} damages[] = {
	{ "trailer missing", gen_damage_trailer_missing, WASTED, WASTED },
	{ "trailer checksum", gen_damage_trailer_checksum, WASTED, WASTED },
	{ "leading missing", gen_damage_leading_missing, SOUND, WASTED },
	{ "leading differs", gen_damage_leading_differs, SOUND, WASTED },
	{ "both footers", gen_damage_both_footers, REFUSED, REFUSED },
	{ "header checksum", gen_damage_header_checksum, REFUSED, REFUSED },
	{ "header past the end", gen_damage_header_past_end, REFUSED, REFUSED },
	{ "table past the end", gen_damage_table_past_end, REFUSED, REFUSED },
	{ "table too small", gen_damage_table_too_small, REFUSED, REFUSED },
	{ "block size 0", block_size_zero, REFUSED, REFUSED },
	{ "block size 12288", block_size_odd, REFUSED, REFUSED },
	{ "entry past the end", entry_past_end, DAMAGED, DAMAGED },
	{ "entry in the metadata", entry_in_metadata, DAMAGED, DAMAGED },
	{ "duplicate entry", duplicate, DAMAGED, DAMAGED },
	{ "overlapping blocks", overlap, DAMAGED, DAMAGED },
	{ "last block cut", cut_block, DAMAGED, WASTED },
	{ "trailing garbage", garbage, WASTED, WASTED },
	{ "poison", gen_damage_poison, REFUSED, REFUSED },
};

static enum verdict ask_oracle(struct mem_file *file)
{
	struct oracle_result result;
	const char *why;
	struct oracle *o = oracle_open_mem(file, &why);

	if (!o)
		return REFUSED;
	oracle_check(o, &result);
	oracle_close(o);
	return result.errors ? DAMAGED : result.leaks ? WASTED : SOUND;
}

static enum verdict ask_engine(struct mem_file *file)
{
	struct vhd_check_opts opts = { 0 };
	struct vhd_check_result result = { 0 };
	struct vhd_err err = { 0 };

	if (vhd_check_io(mem_open(file), "damaged.vhd", &opts, &result, &err)) {
		CU_ASSERT(err.code < 0 && strlen(err.msg) > 10);
		return REFUSED;
	}
	return result.errors ? DAMAGED : result.leaks ? WASTED : SOUND;
}

static void test_every_damage_is_seen(void)
{
	const struct gen_opts gen = { .size = 5 * 4096, .block_size = 4096, .blocks = blocks + 0,
				      .blocks_len = 3 };

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct mem_file *file = gen_make(&gen);
		enum verdict oracle, engine;

		damages[i].damage(file);
		oracle = ask_oracle(file);
		engine = ask_engine(file);
		if (oracle != damages[i].oracle || engine != damages[i].engine)
			printf("%s: oracle %d, engine %d\n", damages[i].name, oracle, engine);
		CU_ASSERT_EQUAL(oracle, damages[i].oracle);
		CU_ASSERT_EQUAL(engine, damages[i].engine);
		mem_free(file);
	}
}

/* qemu-img's idea of an image, as raw bytes in a file; false without qemu-img. */
static bool convert(const char *vhd, const char *raw)
{
	char command[512];
	int status;

	if (system("command -v qemu-img >/dev/null 2>&1") != 0)
		return false;
	snprintf(command, sizeof(command), "qemu-img convert -f vpc -O raw %s %s", vhd, raw);
	status = system(command);
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return true;
}

static void test_qemu_reads_the_same(void)
{
	static const size_t chosen[] = { 1, 3, 4, 5, 8, 9, 14 };
	char dir[] = "/tmp/vhd-oracle-XXXXXX", vhd[64], raw[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(vhd, sizeof(vhd), "%s/a.vhd", dir);
	snprintf(raw, sizeof(raw), "%s/a.raw", dir);
	for (size_t i = 0; i < sizeof(chosen) / sizeof(chosen[0]); i++) {
		struct gen_opts gen = layouts[chosen[i]].gen;
		struct mem_file *file, *is;
		struct oracle *o;
		uint8_t a[SECTOR], b[SECTOR];

		gen.creator = "win ";	/* qemu 7.2 believes its current size */
		file = gen_make(&gen);
		CU_ASSERT_EQUAL(mem_save(file, vhd), 0);
		if (!convert(vhd, raw)) {
			mem_free(file);
			printf("no qemu-img here ... ");
			break;
		}
		is = mem_load(raw);
		o = oracle_open_mem(file, NULL);
		CU_ASSERT_FATAL(is && o);
		CU_ASSERT_EQUAL(mem_size(is), gen.size);
		for (uint64_t off = 0; off < gen.size; off += SECTOR) {
			mem_read(is, a, SECTOR, off);
			oracle_read(o, b, SECTOR, off);
			CU_ASSERT_EQUAL(memcmp(a, b, SECTOR), 0);
		}
		oracle_close(o);
		mem_free(is);
		mem_free(file);
	}
	unlink(vhd);
	unlink(raw);
	rmdir(dir);
}

static const struct test tests[] = {
	{ "oracle_reads_what_was_made", test_oracle_reads_what_was_made },
	{ "engine_reads_the_same", test_engine_reads_the_same },
	{ "child_reads_through_to_its_parent", test_child_reads_through_to_its_parent },
	{ "every_damage_is_seen", test_every_damage_is_seen },
	{ "qemu_reads_the_same", test_qemu_reads_the_same },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	return run_suite(argc, argv, "oracle", tests);
}
