#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the pages say must be so: every file they name is there, every option of the programs is in
# its manual page and the other way round, and every function of the engine that writes to an image
# has its rule in docs/crash-safety.md. Then each check is shown something wrong, and must see it.
set -euo pipefail
export LC_ALL=C

top_srcdir=${top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
top_builddir=${top_builddir:-$PWD}
TMP=$(mktemp -d "${TMPDIR:-/tmp}/vhd-docs.XXXXXX")
trap 'rm -rf "$TMP"' EXIT

# Names of files of the tree in backquotes, or in the README's map, that are not there.
lost_files() {
	local page name
	for page; do
		grep -oE '`(vhd|fs|tools|tests|docs|\.ci)/[A-Za-z0-9_./*-]*`' "$page" | tr -d '`' | grep -v '[A-Z][A-Z]' | sort -u |
			while read -r name; do
				compgen -G "$name" >/dev/null || echo "$page names $name, which is not there"
			done
	done
}

# Long options that a program's --help, or a page's text, has.
options_of_help() {
	grep -oE -- '--[a-z][a-z-]+' | sort -u
}
# In a page an option is what stands at the head of its paragraph: *--name*.
options_of_page() {
	grep -E '^\*-' "$1" | grep -oE -- '--[a-z][a-z-]+' | sort -u
}
# Names of -o options at the heads of the page's paragraphs, and those at the head of a help's lines.
names_of_page() {
	sed -n '/^# MOUNT OPTIONS/,/^# LEAVING/p' "$1" | grep -E '^\*' | grep -oE '\*[a-z\\][a-z_-]+' |
		tr -d '*\\' | grep -vx 'off' | sort -u
}
names_of_help() {
	sed -nE 's/^ +-o (.*)/\1/p' | sed -E 's/  .*//' | tr ',' '\n' |
		sed -nE 's/^ *([a-z_-]+)(=[^ ]*)?( .*)?$/\1/p' | grep -vx 'and' | sort -u
}

# "file:function" of every place in the engine that changes a file or waits for it.
writers() {
	awk '
	/^[a-z].*\(/ && !/;$/ { line = $0; sub(/\(.*/, "", line); sub(/.*[ *]/, "", line); name = line }
	/^[ \t]+\*/ { next }
	/[^a-z_](io_pwrite|io_write_zeros|store_zero|store_write_zeros|store_punch)\(|ops->(pwrite|truncate|punch|allocate)\(/ \
		&& /^[ \t]/ { print FILENAME ":" name }
	' "$@" | sort -u
}

# writers_unruled PAGE FILE...: those that the page's table does not have, and the other way round.
writers_unruled() {
	local page=$1
	shift
	writers "$@" >"$TMP/writers"
	grep -E '^\|' "$page" | grep -oE '`vhd/[a-z_]+\.c:[a-z_0-9]+`' | tr -d '`' | sort -u >"$TMP/ruled"
	comm -23 "$TMP/writers" "$TMP/ruled" | sed 's/$/ writes, and has no rule in '"${page##*/}"'/'
	comm -13 "$TMP/writers" "$TMP/ruled" | sed 's/$/ is in '"${page##*/}"' and writes nothing/'
}

bad=0
complain() {
	if test -n "$1"; then
		echo "FAIL:"
		echo "$1"
		bad=1
	fi
}
# must_say WHAT SAID
must_say() {
	grep -Fq -- "$1" <<<"$2" || { echo "FAIL: not caught: $1"; bad=1; }
}

cd "$top_srcdir"

complain "$(lost_files README docs/*.md)"
echo 'See `vhd/nothing.c`.' >"$TMP/page"
must_say vhd/nothing.c "$(lost_files "$TMP/page")"

complain "$(writers_unruled docs/crash-safety.md vhd/*.c)"
test "$(wc -l <"$TMP/writers")" -ge 8 || complain "only $(wc -l <"$TMP/writers") functions that write were found"
printf 'static int sneak(struct vhd_image *img)\n{\n\treturn io_pwrite(img->io, "", 1, 0);\n}\n' >"$TMP/rw.c"
must_say "$TMP/rw.c:sneak writes" "$(writers_unruled docs/crash-safety.md "$TMP/rw.c")"
echo '| x | `vhd/rw.c:does_not` |' >"$TMP/page"
must_say 'vhd/rw.c:does_not is in' "$(writers_unruled "$TMP/page" "$TMP/rw.c")"

# compare_options PROGRAM PAGE COMMAND...: help against page.
compare_options() {
	local program=$1 page=$2 command
	shift 2
	{
		"$program" --help
		for command; do
			"$program" "$command" --help
		done
	} | options_of_help >"$TMP/help"
	options_of_page "$page" >"$TMP/page"
	comm -23 "$TMP/help" "$TMP/page" | sed "s|^|${program##*/} has, and ${page##*/} has not: |"
	comm -13 "$TMP/help" "$TMP/page" | sed "s|^|${page##*/} has, and ${program##*/} has not: |"
}

vhdimg=$top_builddir/tools/vhdimg
if test -x "$vhdimg"; then
	commands="info map check zero compact shrink create convert resize compare snapshot commit rebase umount"
	# shellcheck disable=SC2086 # a list of words
	complain "$(compare_options "$vhdimg" docs/vhdimg.1.scd $commands)"
	sed '/^\*.*--type/d' docs/vhdimg.1.scd >"$TMP/vhdimg.1.scd"
	# shellcheck disable=SC2086
	must_say '--type' "$(compare_options "$vhdimg" "$TMP/vhdimg.1.scd" $commands)"
	for command in $commands; do
		grep -q "^## .*$command" docs/vhdimg.1.scd || complain "vhdimg.1.scd has no section on $command"
	done
else
	echo "no vhdimg here: its options were not compared"
fi

# undistributed LIST: files of git that the tarball would lack, by the list of what it has.
undistributed() {
	comm -23 <(git ls-files | sort -u) <(sort -u "$1") | sed 's/$/ is in git, and not in the tarball/'
}
if git rev-parse --git-dir >/dev/null 2>&1 && test -e .git && test -f "$top_builddir/Makefile"; then
	make -s --no-print-directory -C "$top_builddir" list-dist >"$TMP/dist" 2>/dev/null
	complain "$(undistributed "$TMP/dist")"
	grep -v '^vhd/rw.c$' "$TMP/dist" >"$TMP/less"
	must_say 'vhd/rw.c is in git' "$(undistributed "$TMP/less")"
fi

# Whether the driver knows a -o option, with a value or without.
knows_name() {
	local said name
	for name in "$1" "$1=1" "$1=on"; do
		said=$("$vhdfuse" -o "$name" "$TMP/no-image" "$TMP/no-mountpoint" 2>&1 || true)
		grep -qE 'unknown option|does not serve' <<<"$said" || return 0
	done
	return 1
}

# Every -o option that the driver's help has is in its page, and the driver knows what the page has.
vhdfuse=$top_builddir/fs/vhdfuse
compare_names() {
	local name
	"$vhdfuse" --help 2>&1 | names_of_help >"$TMP/help"
	names_of_page "$1" >"$TMP/page"
	test -s "$TMP/help" || echo "vhdfuse --help names no -o option"
	comm -23 "$TMP/help" "$TMP/page" | sed "s|^|vhdfuse has, and vhdfuse.1.scd has not: |"
	while read -r name; do
		knows_name "$name" || echo "vhdfuse.1.scd has, and vhdfuse has not: $name"
	done <"$TMP/page"
}
if test -x "$vhdfuse"; then
	complain "$(compare_names docs/vhdfuse.1.scd)"
	sed '/^\*commit/d' docs/vhdfuse.1.scd >"$TMP/vhdfuse.1.scd"
	must_say 'has not: commit' "$(compare_names "$TMP/vhdfuse.1.scd")"
	sed 's/^\*nodiscard\|^\*no-lock\*/*frobnicate*/' docs/vhdfuse.1.scd >"$TMP/vhdfuse.1.scd"
	must_say 'vhdfuse has not: frobnicate' "$(compare_names "$TMP/vhdfuse.1.scd")"
else
	echo "no vhdfuse here: its options were not compared"
fi

if command -v scdoc >/dev/null; then
	for page in docs/*.scd; do
		scdoc <"$page" >/dev/null || complain "$page does not build"
	done
fi
for page in docs/*.1.scd; do
	for section in NAME SYNOPSIS DESCRIPTION OPTIONS "EXIT STATUS" SIGNALS EXAMPLES "SEE ALSO"; do
		grep -qE "^# (MOUNT )?$section\$" "$page" || complain "$page has no section $section"
	done
done
exit $bad
