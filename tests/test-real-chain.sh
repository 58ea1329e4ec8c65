#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ext4 on a loop device over a chain of three: filled, kept, filled, kept, files deleted and the room
# trimmed, then merged down; at each step every file is right, the ext4 clean, the chain sound, and
# what was kept is as it was when it was kept.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4 e2fsck openssl sha256sum fstrim jq
requires_fuse
requires_loop
mkdir "$TMP/mnt" "$TMP/ext4"
cd "$TMP"

# start IMAGE [OPTIONS]: the ext4 in it is at $TMP/ext4.
start() {
	mount_vhd "$1" "$TMP/mnt" "${2:-rw}"
	loop_attach "$DISK"
	mount "$LOOP" "$TMP/ext4"
	cleanup "umount_lazy '$TMP/ext4'"
}

stop() {
	umount "$TMP/ext4"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
}

sums() {
	(cd "$TMP/ext4" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

# right IMAGE SUMS: every file is right, read-only and by a scratch child, and the ext4 clean.
right() {
	mount_vhd "$1" "$TMP/mnt" ro
	loop_attach "$DISK" --read-only
	e2fsck -fn "$LOOP" >"$TMP/e2fsck" 2>&1 || fail "e2fsck of $1: $(cat "$TMP/e2fsck")"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
	start "$1" snapshot
	sums | cmp - "$2" || fail "the files of $1 are not those of $2"
	rm -rf "${TMP:?}/ext4"/*	# thrown away
	stop
	check_image "$1" 3
}

say "filled, kept, filled, kept"
make_image disk.vhd 256M
mount_vhd disk.vhd "$TMP/mnt"
loop_attach "$DISK"
mkfs.ext4 -q "$LOOP"
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"
start disk.vhd
for i in 1 2 3 4; do
	fill "$TMP/ext4/first $i" $((6 << 20)) "first $i"
done
sums >sums-1
stop
"$VHDIMG" snapshot -q disk.vhd
start disk.vhd
for i in 1 2 3; do
	fill "$TMP/ext4/second $i" $((5 << 20)) "second $i"
done
printf 'changed' | dd of="$TMP/ext4/first 2" bs=1 seek=3456789 conv=notrunc status=none
fallocate -p -o 1000001 -l 3000000 "$TMP/ext4/first 3"
sums >sums-2
stop
"$VHDIMG" snapshot -q disk.vhd
expect_equal "$("$VHDIMG" info --output=json disk.vhd | jq '.chain | length')" 2
one=$(sha disk-1.vhd) two=$(sha disk-2.vhd)
right disk.vhd sums-2

say "deleted, and the room trimmed"
start disk.vhd
rm "$TMP/ext4/first 1" "$TMP/ext4/second 1"
fill "$TMP/ext4/third" $((4 << 20)) third
sync -f "$TMP/ext4"
fstrim "$TMP/ext4"
sums >sums-3
stop
right disk.vhd sums-3
right disk-2.vhd sums-2
right disk-1.vhd sums-1
expect_equal "$(sha disk-1.vhd) $(sha disk-2.vhd)" "$one $two" "the parents' bytes"

say "merged down, one by one"
"$VHDIMG" commit -q disk.vhd
right disk.vhd sums-3
right disk-2.vhd sums-3
expect_equal "$(sha disk-1.vhd)" "$one" "the base, while the level above it is written"
right disk-1.vhd sums-1
"$VHDIMG" commit -q disk-2.vhd
right disk-1.vhd sums-3
right disk-2.vhd sums-3
