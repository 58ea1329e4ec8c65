/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vhd/units.c: sizes as people write them. */
#include "vhd/units.h"

#include <errno.h>
#include <stdio.h>

#include "tests/support/runner.h"

static void expect_parse(const char *text, int rc, uint64_t bytes)
{
	uint64_t got = 0;
	int got_rc = units_parse(text, &got);

	if (got_rc != rc || (!rc && got != bytes))
		printf("\n%s: %d, %llu\n", text, got_rc, (unsigned long long)got);
	CU_ASSERT_EQUAL(got_rc, rc);
	if (!rc)
		CU_ASSERT_EQUAL(got, bytes);
}

static void whole_numbers_and_units(void)
{
	expect_parse("0", 0, 0);
	expect_parse("512", 0, 512);
	expect_parse("512B", 0, 512);
	expect_parse("100M", 0, 100ull << 20);
	expect_parse("2040G", 0, 2040ull << 30);
	expect_parse("2040GiB", 0, 2040ull << 30);
	expect_parse("2040gb", 0, 2040ull << 30);
	expect_parse("1K", 0, 1024);
	expect_parse("2T", 0, 2ull << 40);
	expect_parse("18446744073709551615", 0, UINT64_MAX);
}

static void fractions(void)
{
	expect_parse("1.5G", 0, 3ull << 29);
	expect_parse("0.5K", 0, 512);
	expect_parse("1.000001T", 0, (1ull << 40) + 1099511);
	expect_parse("1.25MiB", 0, 5ull << 18);
	expect_parse("1.5", -EINVAL, 0);
	expect_parse("1.5B", -EINVAL, 0);
	expect_parse("1.G", -EINVAL, 0);
	expect_parse(".5G", -EINVAL, 0);
	expect_parse("1.0000001T", -EINVAL, 0);
}

static void what_is_no_size_is_refused(void)
{
	static const char *const bad[] = {
		"", "G", "-1", "+1", " 1", "1 ", "1 G", "0x10", "1GG", "1iB", "1KB1", "1P", "1Gi",
		"ten", "1e9", "1,5G",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_parse(bad[i], -EINVAL, 0);
}

static void what_does_not_fit_is_out_of_range(void)
{
	expect_parse("18446744073709551616", -ERANGE, 0);
	expect_parse("16777216T", -ERANGE, 0);
	expect_parse("99999999999999999999999G", -ERANGE, 0);
	expect_parse("16777215.999999T", 0, (16777215ull << 40) + (999999ull << 40) / 1000000);
}

static void expect_format(uint64_t bytes, const char *text)
{
	char buf[32];

	CU_ASSERT_STRING_EQUAL(units_format(bytes, buf, sizeof(buf)), text);
}

static void formats_with_one_digit(void)
{
	expect_format(0, "0 bytes");
	expect_format(1, "1 byte");
	expect_format(512, "512 bytes");
	expect_format(1023, "1023 bytes");
	expect_format(1024, "1.0 KiB");
	expect_format(1536, "1.5 KiB");
	expect_format(2040ull << 30, "2.0 TiB");
	expect_format(13529146982ull, "12.6 GiB");
	expect_format(UINT64_MAX, "16.0 EiB");
}

static void rounding_up_reaches_the_next_unit(void)
{
	expect_format((1ull << 20) - 1, "1.0 MiB");
	expect_format((1ull << 30) - 1, "1.0 GiB");
	expect_format(1023ull << 10, "1023.0 KiB");
}

static void short_buffers_are_terminated(void)
{
	char buf[4] = "xxx";

	units_format(1ull << 30, buf, sizeof(buf));
	CU_ASSERT_STRING_EQUAL(buf, "1.0");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "whole_numbers_and_units", whole_numbers_and_units },
		{ "fractions", fractions },
		{ "what_is_no_size_is_refused", what_is_no_size_is_refused },
		{ "what_does_not_fit_is_out_of_range", what_does_not_fit_is_out_of_range },
		{ "formats_with_one_digit", formats_with_one_digit },
		{ "rounding_up_reaches_the_next_unit", rounding_up_reaches_the_next_unit },
		{ "short_buffers_are_terminated", short_buffers_are_terminated },
		{ NULL, NULL },
	};

	return run_suite(argc, argv, "units", tests);
}
