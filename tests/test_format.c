/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/format.c: every field, every refusal, and footers that other software wrote. */
#include "vhd/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/runner.h"

static struct fmt_footer some_footer(void)
{
	return (struct fmt_footer) {
		.features = 2,
		.version = 0x00010000,
		.data_offset = 0x0102030405060708,
		.timestamp = 0x11121314,
		.creator = { 't', 'e', 's', 't' },
		.creator_version = 0x00060003,
		.creator_os = { 'W', 'i', '2', 'k' },
		.original_size = 0x0000012345678a00,
		.current_size = 0x0000012345678c00,
		.geometry = { 0x1234, 0x56, 0x78 },
		.type = 3,
		.uuid = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
		.saved_state = 1,
		.hidden = 1,
	};
}

static struct fmt_header some_header(void)
{
	struct fmt_header header = {
		.next = FMT_NO_OFFSET,
		.table_offset = 0x0102030405060700,
		.version = 0x00010000,
		.entries = 0x01020304,
		.block_size = FMT_DEFAULT_BLOCK,
		.parent_uuid = { 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1 },
		.parent_timestamp = 0x21222324,
	};

	for (size_t i = 0; i < sizeof(header.parent_name); i++)
		header.parent_name[i] = (uint8_t)(i * 7);
	for (uint32_t i = 0; i < FMT_LOCATORS; i++)
		header.locators[i] = (struct fmt_locator) {
			.platform = 0x57327275 + i,
			.space = 512 * (i + 1),
			.length = 100 + i,
			.offset = 0x0123456789abcd00 + i,
		};
	return header;
}

static void checksum_skips_its_own_field_and_counts_bytes_unsigned(void)
{
	uint8_t raw[16] = { 0xff, 1, 2, 3, 9, 9, 9, 9, 4, 5 };

	CU_ASSERT_EQUAL(fmt_checksum(raw, sizeof(raw), 4), ~(0xffu + 1 + 2 + 3 + 4 + 5));
	CU_ASSERT_EQUAL(fmt_checksum(raw, sizeof(raw), 0), ~(9u * 4 + 4 + 5));
}

static void footer_comes_back_as_it_was(void)
{
	struct fmt_footer footer = some_footer(), back;
	uint8_t raw[FMT_SECTOR], again[FMT_SECTOR];

	memset(&back, 0, sizeof(back));
	fmt_footer_encode(raw, &footer);
	CU_ASSERT_PTR_NULL(fmt_footer_decode(&back, raw));
	CU_ASSERT_EQUAL(back.data_offset, footer.data_offset);
	CU_ASSERT_EQUAL(back.current_size, footer.current_size);
	CU_ASSERT_EQUAL(back.geometry.cylinders, 0x1234);
	CU_ASSERT_EQUAL(back.geometry.heads, 0x56);
	CU_ASSERT_EQUAL(back.geometry.sectors, 0x78);
	CU_ASSERT_EQUAL(back.saved_state, 1);
	fmt_footer_encode(again, &back);
	CU_ASSERT_EQUAL(memcmp(raw, again, sizeof(raw)), 0);
}

/* The offsets, once more and by hand: a mistake made twice in the same way would come back. */
static void footer_fields_lie_where_the_format_has_them(void)
{
	static const uint8_t start[] = {
		'c', 'o', 'n', 'e', 'c', 't', 'i', 'x', 0, 0, 0, 2, 0, 1, 0, 0,
		1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 't', 'e', 's', 't',
		0, 6, 0, 3, 'W', 'i', '2', 'k', 0, 0, 1, 0x23, 0x45, 0x67, 0x8a, 0,
		0, 0, 1, 0x23, 0x45, 0x67, 0x8c, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 3,
	};
	struct fmt_footer footer = some_footer();
	uint8_t raw[FMT_SECTOR];

	fmt_footer_encode(raw, &footer);
	CU_ASSERT_EQUAL(memcmp(raw, start, sizeof(start)), 0);
	CU_ASSERT_EQUAL(memcmp(raw + 68, footer.uuid, 16), 0);
	CU_ASSERT_EQUAL(raw[84], 1);
	CU_ASSERT_EQUAL(raw[85], 1);
	for (size_t i = 86; i < sizeof(raw); i++)
		CU_ASSERT_EQUAL(raw[i], 0);
}

static void expect_footer_refused(const uint8_t raw[FMT_SECTOR], const char *word)
{
	struct fmt_footer footer;
	const char *why = fmt_footer_decode(&footer, raw);

	CU_ASSERT_PTR_NOT_NULL_FATAL(why);
	if (!strstr(why, word))
		printf("\n\"%s\" does not speak of \"%s\"\n", why, word);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, word));
}

static void expect_refused_as(struct fmt_footer footer, const char *word)
{
	uint8_t raw[FMT_SECTOR];

	fmt_footer_encode(raw, &footer);
	expect_footer_refused(raw, word);
}

static void footer_with_a_wrong_field_is_refused_by_its_name(void)
{
	struct fmt_footer good = some_footer(), bad;
	uint8_t raw[FMT_SECTOR];

	for (uint32_t type = 0; type < 8; type++) {
		bad = good;
		bad.type = type;
		if (type < 2 || type > 4)
			expect_refused_as(bad, "type");
	}
	bad = good;
	bad.version = 0x00020000;
	expect_refused_as(bad, "version");
	bad = good;
	bad.current_size = 0;
	expect_refused_as(bad, "size");
	bad.current_size = 513;
	expect_refused_as(bad, "512");
	bad.current_size = FMT_MAX_DYNAMIC + 512;
	expect_refused_as(bad, "2040 GiB");
	fmt_footer_encode(raw, &good);
	raw[0] = 'C';
	expect_footer_refused(raw, "cookie");
	memcpy(raw, "v_poison", 8);
	CU_ASSERT_TRUE(fmt_is_poison_cookie(raw));
	CU_ASSERT_FALSE(fmt_is_footer_cookie(raw));
	expect_footer_refused(raw, "blktap");
}

static void every_changed_byte_of_a_footer_is_noticed(void)
{
	struct fmt_footer footer = some_footer(), out;
	uint8_t raw[FMT_SECTOR];

	fmt_footer_encode(raw, &footer);
	for (size_t i = 0; i < sizeof(raw); i++) {
		raw[i] ^= 0x10;
		CU_ASSERT_PTR_NOT_NULL(fmt_footer_decode(&out, raw));
		raw[i] ^= 0x10;
	}
}

static void fixed_footer_may_be_larger_than_a_dynamic_one(void)
{
	struct fmt_footer footer = some_footer(), out;
	uint8_t raw[FMT_SECTOR];

	footer.type = 2;
	footer.current_size = FMT_MAX_DYNAMIC + 512;
	fmt_footer_encode(raw, &footer);
	CU_ASSERT_PTR_NULL(fmt_footer_decode(&out, raw));
	footer.type = 3;
	footer.current_size = FMT_MAX_DYNAMIC;
	fmt_footer_encode(raw, &footer);
	CU_ASSERT_PTR_NULL(fmt_footer_decode(&out, raw));
}

/* blktap 0.1 and 1.1 set the byte and left the checksum as it was. */
static void hidden_byte_without_a_new_checksum_is_believed(void)
{
	struct fmt_footer footer = some_footer(), out;
	uint8_t raw[FMT_SECTOR];

	footer.hidden = 0;
	fmt_footer_encode(raw, &footer);
	raw[85] = 1;
	CU_ASSERT_PTR_NULL(fmt_footer_decode(&out, raw));
	CU_ASSERT_EQUAL(out.hidden, 1);
	raw[86] = 1;
	CU_ASSERT_PTR_NOT_NULL(fmt_footer_decode(&out, raw));
}

static void header_comes_back_as_it_was(void)
{
	struct fmt_header header = some_header(), back;
	uint8_t raw[FMT_HEADER_SIZE], again[FMT_HEADER_SIZE];

	memset(&back, 0, sizeof(back));
	fmt_header_encode(raw, &header);
	CU_ASSERT_PTR_NULL(fmt_header_decode(&back, raw));
	CU_ASSERT_EQUAL(back.table_offset, header.table_offset);
	CU_ASSERT_EQUAL(back.entries, header.entries);
	CU_ASSERT_EQUAL(back.parent_timestamp, header.parent_timestamp);
	CU_ASSERT_EQUAL(back.locators[7].offset, header.locators[7].offset);
	CU_ASSERT_EQUAL(memcmp(back.parent_name, header.parent_name, 512), 0);
	fmt_header_encode(again, &back);
	CU_ASSERT_EQUAL(memcmp(raw, again, sizeof(raw)), 0);
	CU_ASSERT_EQUAL(memcmp(raw, "cxsparse\xff\xff\xff\xff\xff\xff\xff\xff\1\2\3\4\5\6\7\0",
			       24), 0);
	CU_ASSERT_EQUAL(memcmp(raw + 28, "\1\2\3\4\0\x20\0\0", 8), 0);
	CU_ASSERT_EQUAL(memcmp(raw + 576, "W2ru\0\0\2\0\0\0\0\x64\0\0\0\0\1\x23\x45\x67", 20), 0);
}

static void header_with_a_wrong_field_is_refused(void)
{
	static const uint32_t bad_blocks[] = { 0, 512, 2048, 4097, 3u << 20, 512u << 20, 1u << 31 };
	static const uint32_t good_blocks[] = { 4096, 512u << 10, 2u << 20, 256u << 20 };
	struct fmt_header header = some_header(), out;
	uint8_t raw[FMT_HEADER_SIZE];

	for (size_t i = 0; i < sizeof(bad_blocks) / sizeof(bad_blocks[0]); i++) {
		header.block_size = bad_blocks[i];
		fmt_header_encode(raw, &header);
		CU_ASSERT_PTR_NOT_NULL(fmt_header_decode(&out, raw));
	}
	for (size_t i = 0; i < sizeof(good_blocks) / sizeof(good_blocks[0]); i++) {
		header.block_size = good_blocks[i];
		fmt_header_encode(raw, &header);
		CU_ASSERT_PTR_NULL(fmt_header_decode(&out, raw));
	}
	for (size_t i = 0; i < sizeof(raw); i++) {
		raw[i] ^= 0x10;
		CU_ASSERT_PTR_NOT_NULL(fmt_header_decode(&out, raw));
		raw[i] ^= 0x10;
	}
	header.version = 0x00020000;
	fmt_header_encode(raw, &header);
	CU_ASSERT_PTR_NOT_NULL(fmt_header_decode(&out, raw));
}

static void locator_space_is_sectors_when_small_and_bytes_when_large(void)
{
	static const struct {
		uint32_t stored, bytes;
	} cases[] = {
		{ 0, 0 }, { 1, 512 }, { 511, 511 * 512 }, { 512, 512 }, { 513, 0 },
		{ 4096, 4096 }, { 65536, 65536 }, { UINT32_MAX, 0 },
	};
	struct fmt_header header = some_header(), out;
	uint8_t raw[FMT_HEADER_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		header.locators[3].space = cases[i].stored;
		fmt_header_encode(raw, &header);
		CU_ASSERT_PTR_NULL(fmt_header_decode(&out, raw));
		CU_ASSERT_EQUAL(out.locators[3].space, cases[i].bytes);
	}
}

static void expect_geometry(uint64_t size, unsigned cylinders, unsigned heads, unsigned sectors)
{
	struct fmt_geometry g = fmt_geometry_of(size);

	if (g.cylinders != cylinders || g.heads != heads || g.sectors != sectors)
		printf("\n%llu: %u,%u,%u\n", (unsigned long long)size, g.cylinders, g.heads,
		       g.sectors);
	CU_ASSERT_EQUAL(g.cylinders, cylinders);
	CU_ASSERT_EQUAL(g.heads, heads);
	CU_ASSERT_EQUAL(g.sectors, sectors);
}

static void geometry_is_the_specification_s(void)
{
	const uint64_t mib = 1u << 20, gib = 1u << 30;

	expect_geometry(512, 0, 4, 17);
	expect_geometry(3 * mib, 90, 4, 17);
	expect_geometry(4 * mib, 120, 4, 17);
	expect_geometry(40 * mib, 963, 5, 17);
	expect_geometry(64 * mib, 963, 8, 17);
	expect_geometry(100 * mib, 1003, 12, 17);
	expect_geometry(136 * mib, 561, 16, 31);
	expect_geometry(256 * mib, 520, 16, 63);
	expect_geometry(504 * mib, 1024, 16, 63);
	expect_geometry(gib, 2080, 16, 63);
	expect_geometry(66059279ull * 512, 65534, 16, 63);
	expect_geometry(66059280ull * 512, 16191, 16, 255);
	expect_geometry(127 * gib, 65278, 16, 255);
	expect_geometry(255 * gib / 2, 65535, 16, 255);
	expect_geometry(FMT_MAX_DYNAMIC, 65535, 16, 255);
	expect_geometry(UINT64_MAX, 65535, 16, 255);
	/* 4096 tracks: a multiple of heads * 1024 falls to the next row. */
	expect_geometry(69632ull * 512, 69632 / 31 / 16, 16, 31);
}

static void geometry_never_exceeds_the_disk(void)
{
	uint64_t state = runner_seed();

	for (int i = 0; i < 100000; i++) {
		uint64_t sectors = 1 + runner_below(&state, runner_below(&state, 300000000) + 1);
		struct fmt_geometry g = fmt_geometry_of(sectors * 512);

		if ((uint64_t)g.cylinders * g.heads * g.sectors > sectors) {
			CU_FAIL("the geometry has more sectors than the disk");
			return;
		}
	}
}

static void bitmap_is_padded_to_sectors(void)
{
	CU_ASSERT_EQUAL(fmt_bitmap_size(4096), 512);
	CU_ASSERT_EQUAL(fmt_bitmap_size(512u << 10), 512);
	CU_ASSERT_EQUAL(fmt_bitmap_size(2u << 20), 512);
	CU_ASSERT_EQUAL(fmt_bitmap_size(4u << 20), 1024);
	CU_ASSERT_EQUAL(fmt_bitmap_size(256u << 20), 65536);
}

static void bits_and_entries_are_most_significant_first(void)
{
	static const uint8_t bitmap[] = { 0x80, 0x01 };
	uint8_t raw[4];

	CU_ASSERT_TRUE(fmt_bit(bitmap, 0));
	CU_ASSERT_FALSE(fmt_bit(bitmap, 1));
	CU_ASSERT_FALSE(fmt_bit(bitmap, 7));
	CU_ASSERT_FALSE(fmt_bit(bitmap, 8));
	CU_ASSERT_TRUE(fmt_bit(bitmap, 15));
	fmt_entry_put(raw, 0xfedcba98);
	CU_ASSERT_EQUAL(memcmp(raw, "\xfe\xdc\xba\x98", 4), 0);
	CU_ASSERT_EQUAL(fmt_entry_get(raw), 0xfedcba98);
}

static void other_formats_are_known_by_name(void)
{
	static const struct {
		const char *head;
		size_t len;
		const char *word;
	} cases[] = {
		{ "vhdxfileM\0i\0", 12, "VHDX" },
		{ "QFI\xfb\0\0\0\3", 8, "qcow2" },
		{ "QFI\xfb\0\0\0\2", 8, "qcow2" },
		{ "QFI\xfb\0\0\0\1", 8, "qcow " },
		{ "KDMV\1\0\0\0", 8, "VMDK" },
		{ "COWD\1\0\0\0", 8, "VMDK" },
		{ "# Disk DescriptorFile\nversion=1", 31, "VMDK" },
		{ "\x1f\x8b\x08\x08\0\0\0\0", 8, "gzip" },
		{ "\xfd" "7zXZ\0\0\4", 8, "xz" },
		{ "\x28\xb5\x2f\xfd\4\0", 6, "zstd" },
		{ "BZh91AY&SY", 10, "bzip2" },
		{ "PK\3\4\x14\0", 6, "zip" },
		{ "QED\0\0\0\1\0", 8, "QED" },
	};
	uint8_t head[FMT_SECTOR];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *what;

		memset(head, 0, sizeof(head));
		memcpy(head, cases[i].head, cases[i].len);
		what = fmt_foreign(head, sizeof(head));
		CU_ASSERT_PTR_NOT_NULL_FATAL(what);
		CU_ASSERT_PTR_NOT_NULL(strstr(what, cases[i].word));
	}
	memset(head, 0, sizeof(head));
	CU_ASSERT_PTR_NULL(fmt_foreign(head, sizeof(head)));
	CU_ASSERT_PTR_NULL(fmt_foreign(head, 0));
	CU_ASSERT_PTR_NULL(fmt_foreign((const uint8_t *)"vhd", 3));
	memcpy(head + 64, "\x7f\x10\xda\xbe", 4);
	CU_ASSERT_PTR_NOT_NULL(fmt_foreign(head, sizeof(head)));
	CU_ASSERT_PTR_NULL(fmt_foreign(head, 66));
}

static size_t read_all(const char *command, uint8_t *buf, size_t len)
{
	FILE *from = popen(command, "r");
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(from);
	n = fread(buf, 1, len, from);
	CU_ASSERT_EQUAL(pclose(from), 0);
	return n;
}

/* Compares the footer of a real file with what is known of it, and with our own encoding. */
static void expect_real_footer(const char *name, const char *creator, uint64_t size, unsigned type)
{
	uint8_t raw[FMT_SECTOR], again[FMT_SECTOR];
	struct fmt_geometry geometry = fmt_geometry_of(size);
	struct fmt_footer footer;
	char command[1024];
	const char *why;

	snprintf(command, sizeof(command), "cat '%s/footers/%s.footer'", corpus_dir(), name);
	CU_ASSERT_EQUAL_FATAL(read_all(command, raw, sizeof(raw)), sizeof(raw));
	why = fmt_footer_decode(&footer, raw);
	if (why)
		printf("\n%s %s\n", name, why);
	CU_ASSERT_PTR_NULL_FATAL(why);
	CU_ASSERT_EQUAL(memcmp(footer.creator, creator, 4), 0);
	CU_ASSERT_EQUAL(footer.current_size, size);
	CU_ASSERT_EQUAL(footer.type, type);
	if (creator[0] == 'w') {	/* VirtualBox computes its own */
		CU_ASSERT_EQUAL(footer.geometry.cylinders, geometry.cylinders);
		CU_ASSERT_EQUAL(footer.geometry.heads, geometry.heads);
		CU_ASSERT_EQUAL(footer.geometry.sectors, geometry.sectors);
	}
	fmt_footer_encode(again, &footer);
	CU_ASSERT_EQUAL(memcmp(raw, again, sizeof(raw)), 0);
}

static void footers_of_other_software_are_read_and_rewritten_alike(void)
{
	if (!corpus_dir())
		return;
	expect_real_footer("gwacl-vbox4.2-fixed20M", "vbox", 20u << 20, 2);
	expect_real_footer("vhdattach-VhdFooter_Parse1", "win ", 3ull << 30, 2);
	expect_real_footer("vhdattach-VhdFooter_Parse2", "win ", 32ull << 30, 2);
	expect_real_footer("vhdattach-VhdFooter_Parse4", "vbox", 20ull << 30, 3);
	expect_real_footer("vhdattach-VhdFooter_Parse6", "win ", 0xee2f8d3000, 3);
}

static void headers_of_windows_are_read_and_rewritten_alike(void)
{
	uint8_t raw[FMT_SECTOR + FMT_HEADER_SIZE], again[FMT_HEADER_SIZE];
	struct fmt_header header;
	char command[1024];

	if (!corpus_dir())
		return;
	snprintf(command, sizeof(command), "xz -dc '%s/govhd-win8-child.vhd.xz' | head -c %zu",
		 corpus_dir(), sizeof(raw));
	CU_ASSERT_EQUAL_FATAL(read_all(command, raw, sizeof(raw)), sizeof(raw));
	CU_ASSERT_PTR_NULL_FATAL(fmt_header_decode(&header, raw + FMT_SECTOR));
	CU_ASSERT_EQUAL(header.table_offset, 0x2000);
	CU_ASSERT_EQUAL(header.entries, 20);
	CU_ASSERT_EQUAL(header.block_size, 2u << 20);
	CU_ASSERT_EQUAL(header.parent_timestamp, 0);
	CU_ASSERT_EQUAL(header.locators[0].platform, 0x57326b75);
	CU_ASSERT_EQUAL(header.locators[0].space, 4096);
	CU_ASSERT_EQUAL(header.locators[1].space, 65536);
	CU_ASSERT_EQUAL(header.locators[1].length, 20);
	CU_ASSERT_EQUAL(header.locators[1].offset, 0x3000);
	fmt_header_encode(again, &header);
	CU_ASSERT_EQUAL(memcmp(raw + FMT_SECTOR, again, sizeof(again)), 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
#define T(name) { #name, name }
		T(checksum_skips_its_own_field_and_counts_bytes_unsigned),
		T(footer_comes_back_as_it_was),
		T(footer_fields_lie_where_the_format_has_them),
		T(footer_with_a_wrong_field_is_refused_by_its_name),
		T(every_changed_byte_of_a_footer_is_noticed),
		T(fixed_footer_may_be_larger_than_a_dynamic_one),
		T(hidden_byte_without_a_new_checksum_is_believed),
		T(header_comes_back_as_it_was),
		T(header_with_a_wrong_field_is_refused),
		T(locator_space_is_sectors_when_small_and_bytes_when_large),
		T(geometry_is_the_specification_s),
		T(geometry_never_exceeds_the_disk),
		T(bitmap_is_padded_to_sectors),
		T(bits_and_entries_are_most_significant_first),
		T(other_formats_are_known_by_name),
		T(footers_of_other_software_are_read_and_rewritten_alike),
		T(headers_of_windows_are_read_and_rewritten_alike),
		{ NULL, NULL },
	};

	if (!corpus_dir())
		printf("no corpus of images: the tests of real footers do nothing\n");
	return run_suite(argc, argv, "format", tests);
}
