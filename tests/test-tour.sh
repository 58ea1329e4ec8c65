#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The README's tour works as it is printed, line by line.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4
requires_fuse
requires_loop
test -d /usr/share/doc || skip "no /usr/share/doc to copy"

cleanup "umount_lazy '$TMP/mnt'"
cleanup 'test -z "${loop-}" || losetup -d "$loop"'
cleanup "umount_lazy '$TMP/in'"
PATH=$(dirname "$VHDFUSE"):$(dirname "$VHDIMG"):$PATH
cd "$TMP"

# Its first line goes to the build and sets the PATH, which is done.
sed -n '/^A tour/,/^Installing/s/^    //p' "$top_srcdir/README" | tail -n +2 >"$TMP/lines"
test "$(wc -l <"$TMP/lines")" -ge 8 || fail "the README has no tour"
while read -r line <&3; do
	say "$line"
	eval "$line" 3<&- >"$TMP/out" || fail "status $?: $line"
done 3<"$TMP/lines"
grep -Fqx "disk.vhd: no problem found" "$TMP/out" || fail "the tour ends with $(cat "$TMP/out")"
is_unmounted "$TMP/mnt" || fail "something is left mounted"
