#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg shrink from one end to the other: an ext4 and an NTFS, most of their files deleted, beside a
# filesystem that is unclean. It is as small as was told, sound by its own checker, and nothing is missed.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires jq qemu-img sfdisk mkfs.ext4 e2fsck mkfs.ntfs ntfsfix ntfs-3g openssl python3
requires_loop
M=$((1 << 20))
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
vhd() {
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" "$@"
}

# Partitions: 1 an ext4, 2 an NTFS, 3 an ext4 that is not clean.
truncate -s 260M "$TMP/raw"
sfdisk -q "$TMP/raw" >/dev/null <<-'END'
	label: gpt
	start=2048, size=96M
	start=198656, size=96M
	start=395264, size=60M
END
start_of_part() {
	echo $((1 + ($1 - 1) * 96))
}
put_part() {
	dd if="$2" of="$TMP/raw" bs=1M seek="$(start_of_part "$1")" conv=notrunc,sparse status=none
}
get_part() {
	local len=96
	test "$1" != 3 || len=60
	dd if="$TMP/disk.raw" of="$2" bs=1M skip="$(start_of_part "$1")" count=$len conv=sparse status=none
}
fill "$TMP/gone" $((50 * M)) gone
most_is_deleted() {
	make_tree "$1" 30
	cp "$TMP/gone" "$1/gone"
	sync -f "$1"
	rm "$1/gone"
	remember_tree "$1"
}
by_ntfs() {
	loop_attach "$1"
	mkdir -p "$TMP/in"
	ntfs-3g "$LOOP" "$TMP/in" >"$TMP/fuse.out" 2>&1 || fail "ntfs-3g: $(cat "$TMP/fuse.out")"
	cleanup "umount_lazy '$TMP/in'"
	shift
	"$@" "$TMP/in"
	umount "$TMP/in"
	loop_detach "$LOOP"
}
truncate -s 96M "$TMP/part"
mkfs.ext4 -q "$TMP/part"
in_loop_mount "$TMP/part" "" most_is_deleted
put_part 1 "$TMP/part"
cp "$TMP/tree.sums" "$TMP/ext4.sums"
rm "$TMP/part"
truncate -s 96M "$TMP/part"
mkfs.ntfs -q -F -p 198656 "$TMP/part" >/dev/null 2>&1
by_ntfs "$TMP/part" most_is_deleted
put_part 2 "$TMP/part"
cp "$TMP/tree.sums" "$TMP/ntfs.sums"
rm "$TMP/part"
truncate -s 60M "$TMP/part"
mkfs.ext4 -q "$TMP/part"
crash() {
	cp "$TMP/noise/large" "$1/large"
	sync -f "$1"
	cp --sparse=always "$TMP/part" "$TMP/crashed"
}
in_loop_mount "$TMP/part" "" crash
put_part 3 "$TMP/crashed"
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$TMP/raw" "$TMP/new.vhd"

is_whole() {
	qemu-img convert -f vpc -O raw "$1" "$TMP/disk.raw"
	get_part 1 "$TMP/part"
	e2fsck -fn "$TMP/part" >"$TMP/fsck.out" 2>&1 || fail "e2fsck: $(tail -3 "$TMP/fsck.out")"
	cp "$TMP/ext4.sums" "$TMP/tree.sums"
	in_loop_mount "$TMP/part" ro same_tree
	get_part 2 "$TMP/part"
	ntfsfix -n "$TMP/part" >"$TMP/fsck.out" 2>&1 || fail "ntfsfix: $(tail -3 "$TMP/fsck.out")"
	cp "$TMP/ntfs.sums" "$TMP/tree.sums"
	by_ntfs "$TMP/part" same_tree
	get_part 3 "$TMP/part"
	same "$TMP/part" "$TMP/crashed"
}

say "what it would do, and what stays"
before=$(sha "$TMP/new.vhd")
expect_status 4 "$VHDIMG" shrink -n "$TMP/new.vhd"
grep -Eq "^what stays: [0-9]+ blocks hold live data, [0-9]+ of them less than 5 %; [0-9]+ belong to an unclean ext4 on p3" "$TMP/out" ||
	fail "$(cat "$TMP/out")"
grep -Eq "new\.vhd: [0-9.]+ MiB -> [0-9.]+ MiB, [0-9.]+ MiB would be freed \([0-9]+ blocks\)" <<<"$(tail -1 "$TMP/out")" || fail "$(cat "$TMP/out")"
counted=$(grep "^what stays" "$TMP/out" | sed 's/, [0-9]* of them less than 5 %//' | grep -Eo '[0-9]+ (blocks|belong|to|are)' | awk '{ n += $1 } END { print n }')
expect_status 4 "$VHDIMG" shrink -n --output=json "$TMP/new.vhd"
size=$(jq '."file-size-after"' "$TMP/out")
blocks=$(jq '."blocks-after"' "$TMP/out")
expect_equal "$counted" "$blocks" "the blocks of 'what stays', and those that stay"
expect_equal "$(sha "$TMP/new.vhd")" "$before" "the dry run changed the image"

for options in "" --align --no-holes --write --scrub; do
	say "shrink $options"
	cp "$TMP/new.vhd" "$TMP/a.vhd"
	told=$size
	if test "$options" = --align; then
		expect_status 4 "$VHDIMG" shrink -n --align --output=json "$TMP/a.vhd"
		told=$(jq '."file-size-after"' "$TMP/out")
	fi
	expect_status 4 "$VHDIMG" shrink --output=json ${options:+"$options"} "$TMP/a.vhd"
	expect_equal "$(jq -c '[."file-size-after", ."blocks-after", .status, [.skipped[].number]]' "$TMP/out")" "[$told,$blocks,\"skipped\",[3]]"
	expect_said 'a\.vhd: left alone: partition 3 \(ext4\) is unclean'
	expect_equal "$(stat -c %s "$TMP/a.vhd")" "$told"
	test "$told" -lt $(($(stat -c %s "$TMP/new.vhd") - 80 * M)) || fail "100 MiB were deleted, and it is still $told"
	check_image "$TMP/a.vhd"
	case $options in
	"" | --align) is_whole "$TMP/a.vhd" ;;
	esac
	case $options in
	"") reference=$(vhd sha "$TMP/a.vhd") ;;
	*) expect_equal "$(vhd sha "$TMP/a.vhd")" "$reference" "the contents after shrink $options" ;;
	esac
	cp "$TMP/a.vhd" "$TMP/b.vhd"
	expect_status 4 "$VHDIMG" shrink ${options:+"$options"} "$TMP/a.vhd"
	grep -q "nothing freed: " <<<"$(tail -1 "$TMP/out")" || fail "a second run: $(cat "$TMP/out")"
	same "$TMP/a.vhd" "$TMP/b.vhd"
done
