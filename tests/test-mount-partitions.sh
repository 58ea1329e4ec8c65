#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# -o partitions: a file for each partition, and all of them coherent from close to open.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl sfdisk mkfs.ext4 mkfs.ntfs ntfs-3g dd cmp
requires_fuse
requires_loop

mkdir "$TMP/mnt" "$TMP/in"
M=$((1024 * 1024))

# disk_with SCRIPT OPTIONS: an image with the partitions that sfdisk's script says, mounted.
disk_with() {
	rm -f "$TMP/a.vhd"
	make_image "$TMP/a.vhd" 256M
	mount_vhd "$TMP/a.vhd" "$TMP/mnt"
	printf '%b' "$1" | sfdisk -q "$DISK" >"$TMP/sfdisk.out" 2>&1 || fail "$(cat "$TMP/sfdisk.out")"
	umount_vhd "$TMP/mnt"
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" "partitions${2:+,$2}"
}

files() {
	(cd "$TMP/mnt" && stat -c '%n %s' ./*) | tr '\n' ' '
}

say "GPT"
disk_with 'label: gpt\n1M,64M\n65M,100M\n200M,32M\n'
expect_equal "$(files)" "./disk.raw $((256 * M)) ./p1 $((64 * M)) ./p2 $((100 * M)) ./p3 $((32 * M)) "

say "one is where it is on the disk, and all are coherent from close to open"
fill "$TMP/noise" $M partitions
for ((round = 0; round < 20; round++)); do
	cmp -s -n 4096 "$TMP/mnt/p2" /dev/null || true	# cached
	dd if="$TMP/noise" of="$TMP/mnt/disk.raw" bs=4096 skip=$round seek=$((65 * 256)) count=1 conv=notrunc status=none
	dd if="$TMP/mnt/p2" of="$TMP/read" bs=4096 count=1 status=none
	cmp "$TMP/read" <(dd if="$TMP/noise" bs=4096 skip=$round count=1 status=none) || fail "p2 shows what was there before"
	dd if="$TMP/noise" of="$TMP/mnt/p2" bs=4096 skip=$((round + 50)) seek=9 count=1 conv=notrunc status=none
	dd if="$TMP/mnt/disk.raw" of="$TMP/read" bs=4096 skip=$((65 * 256 + 9)) count=1 status=none
	cmp "$TMP/read" <(dd if="$TMP/noise" bs=4096 skip=$((round + 50)) count=1 status=none) ||
		fail "disk.raw shows what was there before"
done

say "what overlaps what is written is busy, what does not is not"
opens_for_reading() {
	head -c 1 "$TMP/mnt/$1" >/dev/null 2>&1
}
opens_for_writing() {
	{ : 5<>"$TMP/mnt/$1"; } 2>/dev/null
}
exec 6<>"$TMP/mnt/p1"
expect_status 1 head -c 1 "$TMP/mnt/disk.raw"
expect_said "busy"
refuses opens_for_writing disk.raw
opens_for_reading p1
opens_for_writing p1
opens_for_writing p2
exec 6<&-
opens_for_reading disk.raw
exec 6<"$TMP/mnt/disk.raw"
opens_for_reading p1
refuses opens_for_writing p1
opens_for_writing disk.raw
exec 6<&-
opens_for_writing p1

say "a partition ends where it ends"
expect_status 1 dd if="$TMP/noise" of="$TMP/mnt/p3" bs=$M seek=32 count=1 conv=notrunc
expect_status 0 fallocate -p -o 0 -l $((32 * M)) "$TMP/mnt/p3"
expect_equal "$(stat -c %b "$TMP/mnt/p3")" 0
dd if="$TMP/noise" of="$TMP/mnt/p3" bs=$M seek=31 count=1 conv=notrunc status=none
expect_equal "$(($(stat -c %b "$TMP/mnt/p3") * 512))" $((2 * M))
expect_equal "$(python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
print(os.lseek(f, 0, os.SEEK_DATA), os.lseek(f, 31 << 20, os.SEEK_HOLE))' "$TMP/mnt/p3")" "$((30 * M)) $((32 * M))"

say "filesystems on them, through a loop device and by ntfs-3g, at once"
mkfs.ext4 -q "$TMP/mnt/p1"
mkfs.ntfs -q -F -p $((65 * 2048)) "$TMP/mnt/p2" >"$TMP/mkfs.out" 2>&1 || fail "$(cat "$TMP/mkfs.out")"
loop_attach "$TMP/mnt/p1"
mount "$LOOP" "$TMP/in"
cleanup "umount '$TMP/in'"
mkdir "$TMP/win"
ntfs-3g "$TMP/mnt/p2" "$TMP/win"
cleanup "umount '$TMP/win'"
for dir in in win; do
	fill "$TMP/$dir/a file" $((5 * M)) $dir
done
umount "$TMP/win"
umount "$TMP/in"
loop_detach "$LOOP"
e2fsck -fn "$TMP/mnt/p1" >"$TMP/fsck.out" 2>&1 || fail "$(cat "$TMP/fsck.out")"
umount_vhd "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
loop_attach "$DISK" --read-only --offset $((65 * M)) --sizelimit $((100 * M))
ntfs-3g -o ro "$LOOP" "$TMP/win"
fill "$TMP/want" $((5 * M)) win
same "$TMP/win/a file" "$TMP/want"
umount "$TMP/win"
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd"

say "logical ones count from 5; an extended one overlaps them"
disk_with 'label: dos\n1M,32M,83\n40M,200M,5\n42M,64M,83\n110M,64M,83\n'
expect_equal "$(files)" "./disk.raw $((256 * M)) ./p1 $((32 * M)) ./p2 $((200 * M)) ./p5 $((64 * M)) ./p6 $((64 * M)) "
exec 6<>"$TMP/mnt/p6"
refuses opens_for_reading p2
opens_for_writing p5
exec 6<&-
umount_vhd "$TMP/mnt"

say "one thread, and read-only"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" partitions,ro
refuses opens_for_writing p1
opens_for_reading p1
umount_vhd "$TMP/mnt"
"$VHDFUSE" -s "$TMP/a.vhd" "$TMP/mnt" -o partitions
cleanup "umount_lazy '$TMP/mnt'"
exec 6<>"$TMP/mnt/p1"
refuses opens_for_reading disk.raw
exec 6<&-
opens_for_reading disk.raw
umount_vhd "$TMP/mnt"

say "no partitions, a broken table, a file for a mountpoint"
make_image "$TMP/none.vhd" 16M
expect_status 0 "$VHDFUSE" "$TMP/none.vhd" "$TMP/mnt" -o partitions
expect_said "no partitions"
expect_equal "$(ls "$TMP/mnt")" disk.raw
umount_vhd "$TMP/mnt"
python3 - "$TMP/a.vhd" <<-'END'
	import sys
	f = open(sys.argv[1], "r+b")
	data = f.read()
	at = data.index(b"\x55\xaa", 4096) - 510	# the disk's first sector
	f.seek(at + 446 + 16 + 12)
	f.write(b"\xff\xff\xff\x0f")		# the second partition goes on for a terabyte
END
expect_status 32 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt" -o partitions
expect_said "a.vhd" "table"
refuses is_mounted "$TMP/mnt"
: >"$TMP/file"
expect_status 1 "$VHDFUSE" "$TMP/none.vhd" "$TMP/file" -o partitions
expect_said "directory"
