#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The manual pages' EXAMPLES work as they are printed: each page's blocks are run line by line, one
# after the other, in one folder that has a disk.vhd, and an lvm.vhd. And --help fits a screen.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4 debugfs mkswap sfdisk jq fstrim

# blocks PAGE: the printed lines under EXAMPLES, a line of "#" before each block.
blocks() {
	sed -n '/^# EXAMPLES/,/^# [^E]/p' "$1" | awk '/^```/ { in_block = !in_block
		if (in_block) print "#"; next } in_block'
}

# A disk of 256 MiB: an ext4 with one file of two still there, swap, and room behind both.
make_disk() {
	mkdir "$1" "$1/files"
	head -c 20M /dev/urandom >"$1/files/kept"
	head -c 20M /dev/urandom >"$1/files/gone"
	truncate -s 256M "$1/raw"
	printf '%s\n' 'label: dos' 'start=2048, size=262144, type=83' 'start=264192, size=131072, type=82' |
		sfdisk -q "$1/raw"
	mkfs.ext4 -q -E lazy_itable_init=0 -d "$1/files" "$1/ext4" 128M
	debugfs -w -R 'rm gone' "$1/ext4" 2>/dev/null
	truncate -s 64M "$1/swap"
	mkswap "$1/swap" >/dev/null 2>&1
	dd if="$1/ext4" of="$1/raw" bs=1M seek=1 conv=notrunc,sparse status=none
	dd if="$1/swap" of="$1/raw" bs=1M seek=129 conv=notrunc,sparse status=none
	"$VHDIMG" convert "$1/raw" "$1/disk.vhd" >/dev/null
	rm -r "$1/files" "$1/raw" "$1/ext4" "$1/swap"
	MADE=$(stat -c %b "$1/disk.vhd")
}

# A disk whose one partition is LVM's, with an ext4 in the volume "root" of the group "vg".
make_lvm_disk() {
	truncate -s 64M "$1/raw"
	echo 'start=2048, type=8e' | sfdisk -q "$1/raw"
	attach "$1/raw" --offset 1M
	tool pvcreate -q "$DEV"
	tool vgcreate -q -s 1m vg "$DEV"
	new_lv root 16
	detach "$LOOP"
	mkfs.ext4 -q -F -E "offset=$((2 << 20))" "$1/raw" 16M	# LVM's area of data begins at 1 MiB
	"$VHDIMG" convert "$1/raw" "$1/lvm.vhd" >/dev/null
	rm "$1/raw"
}

# run_page PAGE: in a folder of its own; a line that fails ends the test.
run_page() {
	local page=$1 line
	blocks "$top_srcdir/docs/$page" >"$TMP/lines"
	test "$(grep -c '^#$' "$TMP/lines")" -ge 5 || fail "$page has no examples"
	make_disk "$TMP/$page"
	! grep -q lvm.vhd "$TMP/lines" || make_lvm_disk "$TMP/$page"
	cd "$TMP/$page"
	while read -r line <&3; do
		test "$line" != "#" || continue
		say "$line"
		eval "$line" 3<&- >"$TMP/out" 2>&1 || fail "$page: status $?: $line: $(cat "$TMP/out")"
	done 3<"$TMP/lines"
	cd /
}

fits_a_screen() {
	local lines columns
	"$@" --help >"$TMP/help"
	lines=$(wc -l <"$TMP/help") columns=$(wc -L <"$TMP/help")
	test "$lines" -gt 2 || fail "${*##*/} --help says nothing"
	test "$lines" -le 24 || fail "${*##*/} --help has $lines lines, and a screen 24"
	test "$columns" -le 80 || fail "${*##*/} --help has $columns columns, and a screen 80"
}

say "--help on one screen"
fits_a_screen "$VHDIMG"
mapfile -t commands < <("$VHDIMG" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
test ${#commands[@]} -ge 14 || fail "commands are missing: ${commands[*]}"
for command in "${commands[@]}"; do
	fits_a_screen "$VHDIMG" "$command"
done
if test "${VHD_HAVE_FUSE:-yes}" != no; then
	fits_a_screen "$VHDFUSE"
fi

say "examples"
requires_fuse
. "$top_srcdir/tests/support/lvm.sh"
cleanup "umount_lazy '$TMP/vhdfuse.1.scd/mnt'; umount_lazy '$TMP/vhdfuse.1.scd/disk.raw'"
cleanup "umount_lazy '$TMP/vhdfuse.1.scd/fs'; umount_lazy '$TMP/vhdimg.1.scd/mnt'"
PATH=$(dirname "$VHDFUSE"):$(dirname "$VHDIMG"):$PATH

run_page vhdfuse.1.scd
run_page vhdimg.1.scd
check_image "$TMP/vhdfuse.1.scd/disk.vhd"
check_image "$TMP/vhdimg.1.scd/archive/base.vhd"
same "$TMP/vhdimg.1.scd/archive/base.vhd" "$TMP/vhdimg.1.scd/backup.vhd"

say "what the examples promise"
after=$(stat -c %b "$TMP/vhdimg.1.scd/archive/base.vhd")
test "$after" -lt $((MADE - 30000)) || fail "nothing was shrunk: $MADE, then $after"
test ! -e "$TMP/vhdimg.1.scd/disk.vhd" || fail "the child was not removed"
test -s "$TMP/vhdimg.1.scd/map.svg" || fail "no picture"

say "an example that does not work is seen"
mkdir -p "$TMP/planted/docs"
sed 's/^vhdimg map disk.vhd/vhdimg map none.vhd/' "$top_srcdir/docs/vhdimg.1.scd" >"$TMP/planted/docs/bad.scd"
if (top_srcdir=$TMP/planted && run_page bad.scd) >"$TMP/said" 2>&1; then
	fail "a page with an example that fails was taken for good"
fi
grep -q 'status 66: vhdimg map none.vhd' "$TMP/said" || fail "$(tail -3 "$TMP/said")"
