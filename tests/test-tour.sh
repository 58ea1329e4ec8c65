#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every command of the README works as it is printed, line by line, and every page and number that it points
# at is there. Installing goes to a folder; bootstrap itself, which installs packages, is only asked whether
# it knows the word.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4 xmllint make
requires_fuse
requires_loop
test -d /usr/share/doc || skip "no /usr/share/doc to copy"

cleanup "umount_lazy '$TMP/mnt'"
cleanup 'test -z "${loop-}" || losetup -d "$loop"'
cleanup "umount_lazy '$TMP/in'"
PATH=$(dirname "$VHDFUSE"):$(dirname "$VHDIMG"):$PATH
cd "$TMP"

# knows WORD: whether bootstrap serves it, by the line of its words.
knows() {
	grep -qx -- "$1" <<<"$(sed -n 's/^"" | \(.*\)) ;;$/\1/p' "$top_srcdir/bootstrap" | tr -d ' ' | tr '|' '\n')"
}

# install_here: what is built goes below $TMP/root.
install_here() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$top_builddir" install DESTDIR="$TMP/root" >/dev/null 2>&1
	test -n "$(find "$TMP/root" -name vhdimg -type f)" && test -n "$(find "$TMP/root" -name vhdfuse -type f)"
}

run() {
	case $1 in
	"./bootstrap && sudo make -C build install") install_here ;;
	"./bootstrap "*) knows "$(cut -d' ' -f2 <<<"$1")" ;;
	*) eval "$1" ;;
	esac
}

sed -n 's/^    //p' "$top_srcdir/README" >"$TMP/lines"
test "$(wc -l <"$TMP/lines")" -ge 18 || fail "the README has few commands"
while read -r line <&3; do
	say "$line"
	run "$line" 3<&- >"$TMP/out" || fail "status $?: $line"
	if [[ $line = "vhdimg create"*" KiB, "* ]]; then
		expect_equal "$(stat -c %s disk.vhd)" $((1024 * $(grep -oE '[0-9]+ KiB' <<<"$line" | cut -d' ' -f1)))
	fi
	if [[ $line = "vhdimg check"* ]]; then
		grep -Fqx "base.vhd: no problem found" "$TMP/out" || fail "check says $(cat "$TMP/out")"
		checked=yes
	fi
done 3<"$TMP/lines"
expect_equal "${checked-}" yes "the README checks the image"
is_unmounted "$TMP/mnt" || fail "something is left mounted"

say "links"
grep -oE '\]\([^)]*\)' "$top_srcdir/README" | tr -d ']()' >"$TMP/links"
test "$(wc -l <"$TMP/links")" -ge 8 || fail "few links: $(cat "$TMP/links")"
while read -r page; do
	test -f "$top_srcdir/$page" || fail "the README points at $page"
done <"$TMP/links"

say "the picture has the sizes that its caption has"
sed -n 's/^!\[\(.*\)\].*/\1/p' "$top_srcdir/README" | grep -oE '[0-9.]+ MiB' >"$TMP/sizes"
expect_equal "$(wc -l <"$TMP/sizes")" 2
while read -r size; do
	grep -Fq ">$size</text>" "$top_srcdir/docs/map.svg" || fail "the picture does not have $size"
done <"$TMP/sizes"
