/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a command came to over several images. */
#include "tools/totals.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include "vhd/units.h"

struct totals {
	atomic_uint_fast64_t from, to;	/* bytes */
	atomic_uint images, failed;	/* images that have sizes; that were not served */
};

void totals_begin(struct cli *cli)
{
	void *shared;

	if (cli->argc < 2 || cli_is_json(cli) || cli_has(cli, CLI_QUIET))
		return;
	shared = mmap(NULL, sizeof(struct totals), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cli->totals = shared == MAP_FAILED ? NULL : shared;
}

void totals_add(const struct cli *cli, uint64_t from, uint64_t to)
{
	if (!cli->totals)
		return;
	atomic_fetch_add(&cli->totals->from, from);
	atomic_fetch_add(&cli->totals->to, to);
	atomic_fetch_add(&cli->totals->images, 1);
}

void totals_count(const struct cli *cli, enum status status)
{
	if (cli->totals && status != STATUS_DONE && status != STATUS_SKIPPED)
		atomic_fetch_add(&cli->totals->failed, 1);
}

static void print(const struct cli *cli, const struct totals *totals)
{
	uint64_t from = totals->from, to = totals->to;
	char from_text[32], to_text[32], gain_text[32];

	units_format(from, from_text, sizeof(from_text));
	units_format(to, to_text, sizeof(to_text));
	units_format(from > to ? from - to : 0, gain_text, sizeof(gain_text));
	printf("%u images: %s -> %s, %s %sfreed", totals->images, from_text, to_text, gain_text,
	       cli_has(cli, CLI_DRY_RUN) ? "would be " : "");
	if (totals->failed)
		printf(", %u failed", totals->failed);
	putchar('\n');
}

void totals_end(struct cli *cli)
{
	if (!cli->totals)
		return;
	if (cli->totals->images)
		print(cli, cli->totals);
	munmap(cli->totals, sizeof(*cli->totals));
	cli->totals = NULL;
}
