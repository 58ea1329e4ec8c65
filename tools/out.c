/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON on stdout. */
#include "tools/out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_list(const struct cli *cli)
{
	return cli_is_json(cli) && cli->command->is_each && cli->argc > 1;
}

void out_begin(const struct cli *cli)
{
	if (is_list(cli))
		puts("[");
}

void out_end(const struct cli *cli)
{
	if (is_list(cli))
		puts(cli->items ? "\n]" : "]");
}

void out_item(struct cli *cli)
{
	if (cli->items++)
		puts(",");
}

void out_item_end(const struct cli *cli)
{
	if (!is_list(cli))
		putchar('\n');
}

/* Length of the character that text begins with, 0 if it is none. jansson knows best what jansson
 * takes, and four bytes at most make a character. */
static size_t character(const char *text)
{
	for (size_t len = 1; len <= 4 && text[len - 1]; len++) {
		json_t *probe = json_stringn(text, len);

		json_decref(probe);
		if (probe)
			return len;
	}
	return 0;
}

/* A copy of text in which each byte that does not fit into UTF-8 is U+FFFD. */
static char *mend(const char *text)
{
	char *copy = malloc(3 * strlen(text) + 1), *to = copy;

	while (copy && *text) {
		size_t len = character(text);

		if (len)
			to = mempcpy(to, text, len);
		else
			to = mempcpy(to, "\xef\xbf\xbd", 3);
		text += len ? len : 1;
	}
	if (copy)
		*to = '\0';
	return copy;
}

json_t *out_text(const char *text)
{
	json_t *value = json_string(text);
	char *mended;

	if (value)
		return value;
	mended = mend(text);
	if (mended)
		value = json_string(mended);
	free(mended);
	return value;
}

void out_string(const char *text)
{
	json_t *value = out_text(text);

	if (value)
		json_dumpf(value, stdout, JSON_ENCODE_ANY);
	else
		fputs("null", stdout);
	json_decref(value);
}
