/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the crash enumerator has to say: the violation, and all that led to it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crash_private.h"

static const char *const kind_names[] = {
	[RECORD_WRITE] = "write", [RECORD_TRUNCATE] = "truncate", [RECORD_PUNCH] = "punch",
	[RECORD_BARRIER] = "| barrier", [RECORD_DROP_CACHE] = "drop cache",
};

static void print_entry(FILE *out, const struct log_entry *e)
{
	if (e->note) {
		fprintf(out, "\n  %s:", e->note);
		return;
	}
	fprintf(out, "\n    %3u %s", e->number, kind_names[e->kind]);
	if (e->kind == RECORD_WRITE || e->kind == RECORD_PUNCH) {
		fprintf(out, " sector %llu", (unsigned long long)e->off / SECTOR);
		if (e->off % SECTOR || e->len != SECTOR)
			fprintf(out, "+%llu, %llu bytes", (unsigned long long)e->off % SECTOR,
				(unsigned long long)e->len);
	} else if (e->kind == RECORD_TRUNCATE) {
		fprintf(out, " to %llu bytes", (unsigned long long)e->off);
	}
	if (e->rc)
		fprintf(out, " failed (%d)", e->rc);
}

static void violate_list(struct crash *c, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));

static void violate_list(struct crash *c, const char *fmt, va_list args)
{
	size_t len;
	FILE *out;

	if (c->violation)
		return;
	out = must(open_memstream(&c->violation, &len));
	fprintf(out, "%s: crash after call %u%s: ", c->label ? c->label : "crash",
		c->recorder.calls, c->depth ? " of the recovery" : "");
	vfprintf(out, fmt, args);
	for (unsigned i = 0; i < c->log_len; i++)
		print_entry(out, &c->log[i]);
	fputc('\n', out);
	fclose(out);
}

void report(struct crash *c, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	violate_list(c, fmt, args);
	va_end(args);
}

void crash_violate(struct crash *c, const char *fmt, ...)
{
	va_list args;

	crash_lock(c);
	va_start(args, fmt);
	violate_list(c, fmt, args);
	va_end(args);
	crash_unlock(c);
}

void report_log(struct crash *c, struct log_entry entry)
{
	if (c->log_len < MAX_LOG)
		c->log[c->log_len++] = entry;
}

void crash_note(struct crash *c, const char *text)
{
	crash_lock(c);
	report_log(c, (struct log_entry){ .note = text });
	crash_unlock(c);
}
