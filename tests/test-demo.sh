#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The demo tells what is so: the sizes that it prints are those that stat finds after each command that
# leaves the image at rest, it ends with all that was kept, and nothing of it stays behind.
. "$(dirname "$0")/support/lib.sh"

requires jq mkfs.ext4 e2fsck qemu-img xmllint
requires_fuse
requires_loop

# The programs as the demo finds them; vhdimg's way also notes what stat finds once it has changed the image.
mkdir "$TMP/bin" "$TMP/tmp"
cat >"$TMP/bin/vhdimg" <<-END
	#!/bin/sh
	"$VHDIMG" "\$@" || exit
	case \$1 in
	create | umount | zero | compact)
		sync -f disk.vhd
		echo "\$1 \$(stat -c '%s %b %B' disk.vhd)" >>"$TMP/seen"
		;;
	esac
END
chmod +x "$TMP/bin/vhdimg"
ln -s "$VHDFUSE" "$TMP/bin/vhdfuse"

began=$SECONDS
env -u COLUMNS PATH="$TMP/bin:$PATH" TMPDIR="$TMP/tmp" \
	"$top_srcdir/docs/demo.sh" --picture="$TMP/map.svg" >"$TMP/out" 2>&1 ||
	fail "the demo ends with status $?: $(tail -5 "$TMP/out")"
test $((SECONDS - began)) -lt 60 || fail "it took $((SECONDS - began)) seconds"

# human BYTES: as the programs write it.
human() {
	python3 -c '
import sys
n, unit = int(sys.argv[1]), 0
if n < 1024:
    sys.exit(print(n, "bytes"))
while n >= 1024 and unit < 4:
    n, unit = n / 1024, unit + 1
print("%.1f %s" % (n, ("", "KiB", "MiB", "GiB", "TiB")[unit]))' "$1"
}

# row STEP: its row in the table, without the time.
row() {
	sed -n '/^step /,$p' "$TMP/out" | sed -nE "s/^$1  +([0-9.]+ [A-Za-z]+)  +([0-9.]+ [A-Za-z]+)  +[0-9.]+ s\$/\1 \2/p"
}

# line STEP: what stands below the step.
line() {
	sed -nE "/^[0-9]+\. $1\$/,/\| used by/s/^ +disk (.*) \| file (.*) \| on the host (.*) \| used by.*/\2 \3/p" "$TMP/out"
}

say "the sizes are those that stat finds"
while read -r command step; do
	read -r size blocks unit < <(sed -n "s/^$command //p" "$TMP/seen")
	want="$(human "$size") $(human $((blocks * unit)))"
	expect_equal "$(row "$step")" "$want" "the table's $step"
	expect_equal "$(line "$step")" "$want" "the story's $step"
done <<-'END'
	create made
	umount unmounted
	zero zeroed
	compact compacted
END
expect_equal "$(wc -l <"$TMP/seen")" 4 "commands that change the image"
expect_equal "$(grep -c ' | used by the guest ' "$TMP/out")" \
	"$(sed -n '/^step /,$p' "$TMP/out" | grep -c ' s$')" "steps in the story and in the table"

say "the guest's use goes down by what was deleted, and the rest is there"
# used STEP: by the guest, in tenths of a MiB.
used() {
	sed -nE "/^[0-9]+\. $1\$/,/\| used by/s/.* used by the guest ([0-9]+)\.([0-9]) MiB\$/\1\2/p" "$TMP/out"
}
deleted=$(($(used filled) - $(used deleted)))
test $deleted -gt 2000 || fail "used before and after: $(used filled), $(used deleted)"
# The kernel settles a few blocks when it unmounts.
apart=$(($(used compacted) - $(used deleted)))
test ${apart#-} -le 5 || fail "used, by the kernel and by vhdimg: $(used deleted), $(used compacted)"
grep -q '14 photographs are what they were' "$TMP/out" || fail "photographs: $(cat "$TMP/out")"

say "drawn, before and after at one scale"
expect_equal "$(grep -Eo 'vhd, by the place in the file, .* a character' "$TMP/out" | sort -u | wc -l)" 1
expect_equal "$(grep -c 'a character:$' "$TMP/out")" 2
xmllint --noout "$TMP/map.svg"
read -r size blocks unit < <(sed -n 's/^compact //p' "$TMP/seen")
test "$(grep -Fc ">$(human "$size")</text>" "$TMP/map.svg")" -ge 1 || fail "the picture has another size"

say "nothing stays behind"
expect_equal "$(ls -A "$TMP/tmp")" ""
expect_equal "$(losetup -a | grep -F "$TMP" || true)" ""
! grep -F "$TMP/tmp" /proc/self/mounts || fail "something is left mounted"
