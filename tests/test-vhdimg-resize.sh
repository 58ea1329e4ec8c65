#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg resize: a disk with partitions grows and its filesystem with it; nothing that is in use is cut
# off unless told; qemu reads the new size; an end by kill -9 leaves one of the two sizes.
. "$(dirname "$0")/support/lib.sh"

requires jq qemu-img sfdisk sgdisk mkfs.ext4 resize2fs e2fsck partx
requires_fuse
requires_loop
mkdir "$TMP/mnt" "$TMP/fs" "$TMP/w"
cd "$TMP/w"
M=$((1 << 20))

size_of() {
	"$VHDIMG" info --output=json "$1" | jq '."virtual-size"'
}
resize() {
	expect_status 0 "$VHDIMG" resize "$@"
}

# inside COMMAND...: with partition 1 of disk.vhd as $LOOP.
inside() {
	mount_vhd disk.vhd "$TMP/mnt" partitions
	loop_attach "$TMP/mnt/p1"
	"$@"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
}
fill_fs() {
	mkfs.ext4 -q "$LOOP"
	mount "$LOOP" "$TMP/fs"
	fill "$TMP/fs/file" $((20 * M)) resize
	umount "$TMP/fs"
}
grow_fs() {
	e2fsck -fp "$LOOP" >"$TMP/fsck" || fail "before: $(cat "$TMP/fsck")"
	resize2fs "$LOOP" >"$TMP/resized" 2>&1 || fail "$(cat "$TMP/resized")"
	e2fsck -fn "$LOOP" >"$TMP/fsck" 2>&1 || fail "after: $(cat "$TMP/fsck")"
	mount "$LOOP" "$TMP/fs"
	fill "$TMP/want" $((20 * M)) resize
	same "$TMP/fs/file" "$TMP/want"
	test "$(df -k --output=size "$TMP/fs" | tail -1)" -gt 150000 || fail "it did not grow"
	umount "$TMP/fs"
}
partition() {
	mount_vhd disk.vhd "$TMP/mnt"
	"$@" "$DISK" >"$TMP/said" 2>&1 || fail "$(cat "$TMP/said")"
	umount_vhd "$TMP/mnt"
}

say "an MBR disk grows, and what is in it"
make_image disk.vhd 100M
printf '2048,98M,L\n' >layout
partition sfdisk -q --no-reread <layout
inside fill_fs
resize disk.vhd 300M
grep -q '^disk\.vhd: the disk had 100.0 MiB, and has 300.0 MiB$' "$TMP/out" || fail "$(cat "$TMP/out")"
grep -q growpart "$TMP/out" || fail "not told what is next"
check_image disk.vhd
expect_equal "$(qemu-img info --output=json disk.vhd | jq '."virtual-size"')" $((300 * M))
partition sfdisk -q --no-reread -N 1 <<<',298M'
inside grow_fs

say "more, by a plus; the size it has; nothing by a dry run"
resize disk.vhd +1G
expect_equal "$(size_of disk.vhd)" $((1324 * M))
resize -q disk.vhd 1324M
test ! -s "$TMP/out" || fail "-q said: $(cat "$TMP/out")"
before=$(sha disk.vhd)
resize -n disk.vhd 400M
expect_equal "$(sha disk.vhd)" "$before"
resize disk.vhd 300M
check_image disk.vhd 3	# where the longer table was

say "no partition is cut, and no filesystem, and no data that nobody claims"
expect_status 1 "$VHDIMG" resize disk.vhd 200M
expect_said "^vhdimg: disk\.vhd: 99\.0 MiB of partition 1 \(ext4\) would be cut off"
expect_status 1 "$VHDIMG" resize -n disk.vhd 200M
expect_equal "$(size_of disk.vhd)" $((300 * M))
make_image whole.vhd 64M
mount_vhd whole.vhd "$TMP/mnt"
mkfs.ext4 -q -F "$DISK"
umount_vhd "$TMP/mnt"
expect_status 1 "$VHDIMG" resize whole.vhd 32M
expect_said 'of the whole disk \(ext4\) would be cut off'
for type in dynamic fixed; do
	"$VHDIMG" create -q --type=$type $type.vhd 40M
	resize $type.vhd 30M
	mount_vhd $type.vhd "$TMP/mnt"
	echo data | dd of="$DISK" bs=1M seek=20 conv=notrunc status=none
	umount_vhd "$TMP/mnt"
	resize $type.vhd 25M
	expect_status 1 "$VHDIMG" resize $type.vhd 20M
	expect_said 'there is data behind the new end'
	resize --force $type.vhd 20M
	resize $type.vhd 50M
	check_image $type.vhd
	qemu-img convert -f vpc -O raw $type.vhd raw
	expect_equal "$(stat -c %s raw)" $((50 * M))
	cmp -n $((50 * M)) raw /dev/zero
done
resize --force disk.vhd 10M
check_image disk.vhd 3

say "a GPT disk: its second table is to be moved"
make_image gpt.vhd 50M
mount_vhd gpt.vhd "$TMP/mnt"
sgdisk -n 1:0:+20M "$DISK" >/dev/null
umount_vhd "$TMP/mnt"
resize gpt.vhd 80M
grep -q 'sgdisk -e' "$TMP/out" || fail "not told what is next"
mount_vhd gpt.vhd "$TMP/mnt"
sgdisk -e "$DISK" >/dev/null
grep -q 'No problems found' <<<"$(sgdisk -v "$DISK")" || fail "$(sgdisk -v "$DISK")"
umount_vhd "$TMP/mnt"
resize gpt.vhd 40M

say "who is somebody's parent, in use, or no VHD"
"$VHDIMG" create -q --parent=gpt.vhd child.vhd
expect_status 75 "$VHDIMG" resize gpt.vhd 90M
expect_said 'it is the parent of .*child\.vhd'
resize child.vhd 60M
expect_equal "$(size_of child.vhd)" $((60 * M))
mount_vhd whole.vhd "$TMP/mnt"
expect_status 75 "$VHDIMG" resize whole.vhd 90M
umount_vhd "$TMP/mnt"
head -c 1M /dev/zero >raw.img
expect_status 65 "$VHDIMG" resize raw.img 2M
expect_status 66 "$VHDIMG" resize none.vhd 2M
for size in 0 1000 x 3T; do
	expect_status 64 "$VHDIMG" resize whole.vhd $size
done
expect_status 64 "$VHDIMG" resize whole.vhd

say "killed at any time it has one of the two sizes"
make_image killed.vhd 2G
for ((i = 0; i < 20; i++)); do
	to=$((i % 2 ? 2 : 2000))
	"$VHDIMG" resize -q killed.vhd ${to}G &
	sleep "0.00$((i % 10))"
	kill -9 $! 2>/dev/null || true
	wait $! 2>/dev/null || true
	check_image killed.vhd 3
	size=$(size_of killed.vhd)
	test "$size" = $((2 << 30)) || test "$size" = $((2000 << 30)) || fail "a size of $size"
done
