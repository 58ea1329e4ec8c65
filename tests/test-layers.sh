#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Dependencies run down only: docs/architecture.md. Then each rule is broken once in a copy of the
# tree, and the check must say so: a rule that cannot fail is none.
set -euo pipefail
export LC_ALL=C

top_srcdir=${top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
TMP=$(mktemp -d "${TMPDIR:-/tmp}/vhd-layers.XXXXXX")
trap 'rm -rf "$TMP"' EXIT

# offences PATTERN FILE...: "file:line: text" for each line of code that matches, comments and the
# insides of strings left out. What is not there is passed over.
offences() {
	local pattern=$1 file present=()
	shift
	for file; do
		test ! -f "$file" || present+=("$file")
	done
	test ${#present[@]} -gt 0 || return 0
	PATTERN=$pattern awk '
	FNR == 1 { comment = 0 }
	{
		out = ""; n = length($0); in_str = ""
		for (i = 1; i <= n; i++) {
			c = substr($0, i, 1); d = substr($0, i, 2)
			if (comment) { if (d == "*/") { comment = 0; i++ } continue }
			if (in_str != "") {
				if (c == "\\") { i++; continue }
				if (c == in_str) { in_str = ""; out = out c }
				continue
			}
			if (d == "/*") { comment = 1; i++; continue }
			if (d == "//") break
			if (c == "\"" || c == "\047") in_str = c
			out = out c
		}
		if (out ~ ENVIRON["PATTERN"])
			print FILENAME ":" FNR ": " $0
	}' "${present[@]}"
}

# includes FILE...: "file: included" for every #include, <> and "" kept.
includes() {
	local file present=()
	for file; do
		test ! -f "$file" || present+=("$file")
	done
	test ${#present[@]} -gt 0 || return 0
	awk '/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
		match($0, /[<"][^>"]*[>"]/)
		print FILENAME ": " substr($0, RSTART, RLENGTH)
	}' "${present[@]}"
}

# A call of one of these names: not a member's, nor part of a longer name.
calls() {
	echo "(^|[^A-Za-z0-9_>.])($1)(64)?[ \t]*[(]"
}

storage='open|openat|creat|close|read|write|pread|pwrite|readv|writev|preadv2?|pwritev2?|lseek'
storage+='|f?data_?sync|fsync|syncfs|sync|sync_file_range|f?truncate|(posix_)?fallocate'
storage+='|posix_fadvise|readahead|fcntl|flock|lockf|ioctl|mmap|munmap|msync|f?l?statx?|fstatat'
storage+='|access|faccessat|link|linkat|symlink|unlink|unlinkat|remove|rename(at2?)?|mkstemps?'
storage+='|mkostemps?|tmpfile|fopen|fdopen|freopen|fread|fwrite|fclose|fflush|opendir|readdir'
storage+='|copy_file_range|sendfile|splice|getline|fgets|dup[23]?'
speech='printf|vprintf|fprintf|vfprintf|dprintf|vdprintf|puts|fputs|putc|fputc|putchar|perror'
speech+='|syslog|vsyslog|psignal|exit|_exit|_Exit|quick_exit|abort|kill|raise'

# Each rule prints its offences and nothing else.
rule_programs_include_public() {
	includes fs/*.[ch] | grep -vE ': (<|"(config\.h|fs/[a-z0-9_]+\.h|vhd/(vhd|units|guest)\.h)")' || true
	includes tools/*.[ch] | grep -vE ': (<|"(config\.h|tools/[a-z0-9_]+\.h|vhd/(vhd|units|guest)\.h)")' || true
}
rule_engine_includes_engine() {
	includes vhd/*.[ch] | grep -E ': "' | grep -vE ': "(config\.h|vhd/[a-z0-9_]+\.h)"' || true
}
# What looks into the disk stands on the public interface alone, and the engine knows nothing of it.
rule_guest_stands_on_the_engine() {
	includes vhd/guest.h vhd/guest/*.[ch] | grep -E ': "' |
		grep -vE ': "(config\.h|vhd/(vhd|err|guest)\.h|vhd/guest/[a-z0-9_]+\.h)"' || true
}
rule_engine_knows_no_fuse_json_cunit() {
	includes vhd/*.[ch] vhd/guest/*.[ch] | grep -E ': <(fuse|jansson|CUnit|linux/fuse)' || true
}
rule_engine_does_not_print_or_exit() {
	local file files=()
	includes vhd/*.[ch] vhd/guest/*.[ch] | grep -E ': <(err|error|syslog)\.h>' || true
	for file in vhd/*.[ch] vhd/guest/*.[ch]; do	# the child's two files are a process, not a library
		case $file in
		vhd/guest/sandbox.c | vhd/guest/serve.c) ;;
		*) files+=("$file") ;;
		esac
	done
	offences "$(calls "$speech")|(^|[^A-Za-z0-9_])(stdout|stderr|stdin)([^A-Za-z0-9_]|\$)" "${files[@]}"
}
rule_only_io_file_calls_storage() {
	local file files=()
	for file in vhd/*.[ch] vhd/guest/*.[ch]; do
		case $file in
		vhd/io_file.[ch] | vhd/io_file_lock.c | vhd/io_file_name.c) ;;
		# a socket to the child, and a memory file for libblkid
		vhd/guest/sandbox.c | vhd/guest/serve.c | vhd/guest/veto.c) ;;
		*) files+=("$file") ;;
		esac
	done
	offences "$(calls "$storage")" "${files[@]}"
}
# What the lower files may know: what stands below them.
rule_low_files_look_down() {
	includes vhd/units.[ch] | grep -vE ': (<|"vhd/units\.h")' || true
	includes vhd/format.[ch] | grep -vE ': (<|"vhd/(format|vhd)\.h")' || true
	includes vhd/map.[ch] | grep -vE ': (<|"vhd/(map|format)\.h")' || true
	includes vhd/io.[ch] | grep -vE ': (<|"vhd/(io|err|vhd)\.h")' || true
	includes vhd/io_file*.[ch] | grep -vE ': (<|"vhd/(io|io_file|err|vhd)\.h")' || true
	includes vhd/err.[ch] | grep -vE ': (<|"vhd/(err|vhd)\.h")' || true
	includes vhd/vhd.h vhd/units.h | grep -vE ': <' || true
	includes vhd/commit.[ch] | grep -E '"vhd/(chain|check|create|rw|extent)\.h"' || true
}
# How an open file looks is the backend's own affair.
rule_the_backend_is_private() {
	includes vhd/*.[ch] | grep -E '"vhd/io_file\.h"' | grep -vE '^vhd/io_file[a-z_]*\.c: ' || true
}
rule_no_test_in_programs() {
	includes vhd/*.[ch] fs/*.[ch] tools/*.[ch] | grep -E '"tests/' || true
}
# Entries of the table on disk: the commit and the resize's rewriting, and create for a new file.
rule_one_writer_of_the_table() {
	local file files=()
	for file in vhd/*.c; do
		case $file in
		vhd/commit.c | vhd/rewrite.c | vhd/convert.c | vhd/create.c | vhd/copy.c | vhd/format.c) ;;
		*) files+=("$file") ;;
		esac
	done
	# The checksum of a tap batmap's header is a big-endian number too.
	offences "$(calls 'fmt_entry_put')" "${files[@]}" |
		grep -vE '^vhd/recover\.c:[0-9]+: *	*fmt_entry_put\(head ' || true
}
# A header says all that it needs itself.
rule_headers_stand_alone() {
	local header
	for header in vhd/*.h vhd/guest/*.h tools/*.h; do
		test -f "$header" || continue
		echo "#include \"$header\"" |
			${CC:-cc} -std=gnu11 -D_GNU_SOURCE -I. -I"$TMP/include" -fsyntax-only -x c - 2>&1 |
			grep -E 'error' || true
	done
}

mkdir "$TMP/include"
: >"$TMP/include/config.h"

rules=$(declare -F | sed -n 's/^declare -f \(rule_.*\)/\1/p')

# Sets $said to the offences against $1 in the current folder.
judge() {
	said=$("$1")
}

cd "$top_srcdir"
test -f vhd/vhd.h || { echo "FAIL: no engine under $top_srcdir"; exit 1; }
bad=0
for rule in $rules; do
	judge "$rule"
	if test -n "$said"; then
		echo "FAIL: $rule:"
		echo "$said"
		bad=1
	fi
done

# plant RULE FILE LINE: LINE added to FILE in a copy must offend against RULE.
planted=
plant() {
	local rule=$1 file=$2 line=$3
	rm -rf "$TMP/tree"
	mkdir "$TMP/tree"
	cp -r "$top_srcdir"/vhd "$top_srcdir"/fs "$top_srcdir"/tools "$TMP/tree/"
	chmod -R u+w "$TMP/tree"
	cd "$TMP/tree"
	touch "$file"
	printf '%s\n' "$line" >>"$file"
	judge "$rule"
	if ! grep -Fq "${file%.*}" <<<"$said"; then
		echo "FAIL: not caught by $rule: $line in $file"
		bad=1
	fi
	planted+=" $rule "
}

plant rule_programs_include_public fs/ops.c '#include "vhd/image.h"'
plant rule_programs_include_public fs/ops.c '#include "tools/cli.h"'
plant rule_programs_include_public tools/main.c '#include "vhd/format.h"'
plant rule_programs_include_public tools/main.c '#include "fs/opts.h"'
plant rule_engine_includes_engine vhd/rw.c '#include "fs/opts.h"'
plant rule_engine_includes_engine vhd/rw.c '#include "vhd/guest/scan.h"'
plant rule_guest_stands_on_the_engine vhd/guest/table.c '#include "vhd/image.h"'
plant rule_engine_knows_no_fuse_json_cunit vhd/rw.c '#include <fuse_lowlevel.h>'
plant rule_engine_knows_no_fuse_json_cunit vhd/rw.c '# include <jansson.h>'
plant rule_engine_does_not_print_or_exit vhd/map.c 'static void f(void) { printf("x"); }'
plant rule_engine_does_not_print_or_exit vhd/map.c 'static void f(void) { exit (1); }'
plant rule_engine_does_not_print_or_exit vhd/map.c 'static FILE *f(void) { return stderr; }'
plant rule_engine_does_not_print_or_exit vhd/map.c '#include <err.h>'
plant rule_only_io_file_calls_storage vhd/commit.c 'static int f(int fd) { return fdatasync(fd); }'
plant rule_only_io_file_calls_storage vhd/io.c 'static int f(int fd) { return pwrite64(fd, "", 1, 0); }'
plant rule_only_io_file_calls_storage vhd/image.h 'static inline int f(int fd) { return close(fd); }'
plant rule_only_io_file_calls_storage vhd/guest/table.c 'static int f(void) { return open("x", 0); }'
plant rule_engine_does_not_print_or_exit vhd/guest/table.c 'static void f(void) { puts("x"); }'
plant rule_low_files_look_down vhd/format.c '#include "vhd/image.h"'
plant rule_low_files_look_down vhd/map.c '#include "vhd/io.h"'
plant rule_low_files_look_down vhd/map.h '#include "vhd/image.h"'
plant rule_low_files_look_down vhd/io_file.c '#include "vhd/format.h"'
plant rule_low_files_look_down vhd/io_file_name.c '#include "vhd/image.h"'
plant rule_low_files_look_down vhd/io.c '#include "vhd/io_file.h"'
plant rule_the_backend_is_private vhd/image.c '#include "vhd/io_file.h"'
plant rule_low_files_look_down vhd/units.c '#include "vhd/vhd.h"'
plant rule_low_files_look_down vhd/err.c '#include "vhd/image.h"'
plant rule_low_files_look_down vhd/vhd.h '#include "vhd/io.h"'
plant rule_low_files_look_down vhd/commit.c '#include "vhd/chain.h"'
plant rule_no_test_in_programs vhd/rw.c '#include "tests/support/io_fault.h"'
plant rule_one_writer_of_the_table vhd/rw.c 'static void f(uint8_t *r) { fmt_entry_put(r, 1); }'
plant rule_headers_stand_alone vhd/map.h 'struct needs { undeclared_t it; };'

for rule in $rules; do
	if [[ $planted != *" $rule "* ]]; then
		echo "FAIL: $rule was never broken on purpose"
		bad=1
	fi
done

# What is no offence must not be taken for one.
rm -rf "$TMP/tree"
mkdir -p "$TMP/tree/vhd"
cd "$TMP/tree"
cat >vhd/fine.c <<-'FINE'
	/* open(it), printf() */
	static int f(struct vhd_io *io)
	{
		const char *text = "close(1) exit(2)"; // read(3)

		return io->ops->close(io) + io_pread(io) + vhd_open(io) + file_barrier(text);
	}
FINE
for rule in rule_only_io_file_calls_storage rule_engine_does_not_print_or_exit; do
	judge "$rule"
	if test -n "$said"; then
		echo "FAIL: $rule sees what is not there: $said"
		bad=1
	fi
done
exit $bad
