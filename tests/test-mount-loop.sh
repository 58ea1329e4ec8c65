#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A loop device on the mounted disk, buffered and with direct I/O: a filesystem on it is sound,
# fstrim gives blocks back, and a deep queue corrupts nothing.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl mkfs.ext4 e2fsck fstrim lsblk
requires_fuse
requires_loop

mkdir "$TMP/mnt" "$TMP/guest"
fill "$TMP/noise" 30000000 loop

# fstrim_gives_back DIRECT: the whole round with losetup's --direct-io=DIRECT.
fstrim_gives_back() {
	local image=$TMP/$1.vhd full trimmed i

	make_image "$image" 400M
	mount_vhd "$image" "$TMP/mnt"
	loop_attach "$DISK" --direct-io="$1"
	expect_equal "$(losetup -n -O DIO "$LOOP" | tr -d ' ')" "$(test "$1" = on && echo 1 || echo 0)"
	expect_equal "$(lsblk -bdno DISC-GRAN "$LOOP" | tr -d ' ')" 4096
	mkfs.ext4 -q "$LOOP"
	mount "$LOOP" "$TMP/guest"
	cleanup "umount -l '$TMP/guest'"
	for i in 1 2 3 4 5; do
		cp "$TMP/noise" "$TMP/guest/$i"
	done
	sync -f "$TMP/guest"
	full=$(stat -c %b "$DISK")
	rm "$TMP/guest"/[1-4]
	sync -f "$TMP/guest"
	fstrim "$TMP/guest"
	sync -f "$TMP/guest"
	trimmed=$(stat -c %b "$DISK")
	test "$trimmed" -le $((full - 80000000 / 512)) ||
		fail "fstrim gave back $(((full - trimmed) / 2048)) MiB of 115"

	for i in 6 7 8; do
		cp "$TMP/noise" "$TMP/guest/$i"
	done
	sync -f "$TMP/guest"
	test "$(stat -c %b "$DISK")" -le "$full" || fail "more blocks than before"
	for i in 5 6 7 8; do
		same "$TMP/noise" "$TMP/guest/$i"
	done
	umount "$TMP/guest"
	e2fsck -fn "$LOOP" >"$TMP/fsck" 2>&1 || fail "not clean: $(cat "$TMP/fsck")"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
	# A block is 2 MiB and 4 KiB with its bitmap; two more for the order in which they came.
	test "$(stat -c %s "$image")" -le $(((full / 4096 + 2) * 2101248 + 16384)) ||
		fail "the file grew to $(stat -c %s "$image") beside free blocks"
	check_image "$image" 3	# freed blocks between used ones are room that nothing uses

	mount_vhd "$image" "$TMP/mnt" ro
	loop_attach "$DISK" --read-only
	mount -o ro,noload "$LOOP" "$TMP/guest"
	for i in 5 6 7 8; do
		same "$TMP/noise" "$TMP/guest/$i"
	done
	umount "$TMP/guest"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
}

say "ext4 on a buffered loop device"
fstrim_gives_back off
say "ext4 on a loop device with direct I/O"
fstrim_gives_back on

say "blkdiscard and zeroing of the whole device"
mount_vhd "$TMP/on.vhd" "$TMP/mnt"
loop_attach "$DISK"
blkdiscard -f -z -o 0 -l 8M "$LOOP"
cmp -n 8388608 "$LOOP" /dev/zero
blkdiscard -f "$LOOP"
expect_equal "$(stat -c %b "$DISK")" 0
cmp -n 419430400 "$LOOP" /dev/zero
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"
check_image "$TMP/on.vhd"

requires fio
say "a deep queue with direct I/O, verified"
make_image "$TMP/fio.vhd" 64M
mount_vhd "$TMP/fio.vhd" "$TMP/mnt"
for direct in on off; do
	loop_attach "$DISK" --direct-io=$direct
	fio --name=verify --filename="$LOOP" --rw=randwrite --bsrange=512-64k --bs_unaligned=0 \
		--ioengine=libaio --iodepth=32 --direct=1 --size=64M --verify=crc32c \
		--do_verify=1 --verify_fatal=1 --verify_state_save=0 --randseed=17 \
		--numjobs=1 --output="$TMP/fio" >"$TMP/fio.out" 2>&1 ||
		fail "fio: $(cat "$TMP/fio" "$TMP/fio.out")"
	loop_detach "$LOOP"
done
umount_vhd "$TMP/mnt"
check_image "$TMP/fio.vhd"
