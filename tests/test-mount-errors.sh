#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What goes wrong gets mount(8)'s status and one sentence that names the image and the cause; a
# full host hurts the writer alone.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl perl
requires_fuse

mkdir "$TMP/mnt" "$TMP/other"
make_image "$TMP/a disk.vhd" 64M
IMAGE="$TMP/a disk.vhd"
fill "$TMP/noise" 10000000 errors

# fails STATUS IMAGE MOUNTPOINT [ARGUMENT...]
fails() {
	expect_status "$1" "$VHDFUSE" "${@:2}"
	is_unmounted "$TMP/mnt" || fail "mounted all the same"
}

say "wrong usage is 1"
fails 1
fails 1 "$IMAGE"
fails 1 "$IMAGE" "$TMP/mnt" extra
expect_said extra
for option in bogus commit=0 commit=x commit= commit=-1 term_timeout=1h uid=root umask=999 \
	detect_zeroes=maybe discards parent; do
	fails 1 "$IMAGE" "$TMP/mnt" -o "ro,$option"
	expect_said "'$option'"
done
fails 1 "$IMAGE" "$TMP/mnt" -x
expect_said "'-x'"

say "options that exclude each other"
for options in "snapshot,cow=$TMP/cow.vhd" "snapshot,parent=$TMP/p.vhd" "snapshot,compact" \
	"cow=$TMP/cow.vhd,parent=$TMP/p.vhd"; do
	fails 1 "$IMAGE" "$TMP/mnt" -o "$options"
	expect_said "exclude each other"
done
fails 1 "$IMAGE" "$TMP/mnt" -o cow=
expect_said "no file is named"
refuses test -e "$TMP/cow.vhd"

say "a mountpoint that is none is 1"
fails 1 "$IMAGE" "$TMP/nowhere"
expect_said "a disk.vhd" "nowhere: No such file"
fails 1 "$IMAGE" /dev/null
expect_said "a disk.vhd" "neither a directory nor a regular file"

say "names do not drive the terminal"
fails 1 "$IMAGE" "$TMP/"$'esc\e[31m\nnew\xc2\x9b1m'
expect_said 'esc\?\[31m\?new\?1m: No such file'
fails 1 "$IMAGE" "$TMP/mnt" -o $'bog\rus'
expect_said "'bog\?us'"

say "anything about the image is 32"
fails 32 "$TMP/no disk.vhd" "$TMP/mnt"
expect_said "no disk.vhd" "No such file"
fails 32 "$TMP/noise" "$TMP/mnt"
expect_said "$TMP/noise"
: >"$TMP/empty"
fails 32 "$TMP/empty" "$TMP/mnt"
expect_said "$TMP/empty"
fails 32 "$TMP" "$TMP/mnt"
expect_said "$TMP"

if command -v qemu-img >/dev/null; then
	say "other formats by their names"
	for format in vhdx qcow2; do
		qemu-img create -q -f "$format" "$TMP/x.$format" 10M
		fails 32 "$TMP/x.$format" "$TMP/mnt"
		expect_said "x.$format" "$format|VHDX"
	done
fi

say "an image in use is 32, after waiting a little; to readers of one image more can come"
mount_vhd "$IMAGE" "$TMP/other"
begin=$(date +%s%N)
fails 32 "$IMAGE" "$TMP/mnt"
expect_said "a disk.vhd" "in use"
waited=$((($(date +%s%N) - begin) / 1000000))
test "$waited" -ge 2500 && test "$waited" -lt 6000 || fail "waited $waited ms"
fails 32 "$IMAGE" "$TMP/mnt" -o ro

umount_vhd "$TMP/other"

say "a lock that goes meanwhile is waited for"
# In memory, or a busy disk could hold up the driver that leaves for longer than it is waited for.
QUICK=$TMP/quick.vhd
if test -w /dev/shm; then
	QUICK=$(mktemp -u /dev/shm/vhd-test.XXXXXX.vhd)
	cleanup "rm -f '$QUICK'"
fi
make_image "$QUICK" 10M
mount_vhd "$QUICK" "$TMP/other"
(
	sleep 0.5
	umount "$TMP/other" || fusermount3 -u "$TMP/other"
) &
mount_vhd "$QUICK" "$TMP/mnt"
wait $!
umount_vhd "$TMP/mnt"
mount_vhd "$IMAGE" "$TMP/mnt" ro
mount_vhd "$IMAGE" "$TMP/other" ro
cmp -n 1000000 "$TMP/mnt/disk.raw" "$TMP/other/disk.raw"
umount_vhd "$TMP/mnt"
umount_vhd "$TMP/other"

requires_root

say "an image that cannot be written is 32, never a silent read-only mount"
mkdir "$TMP/ro"
mount -t tmpfs -o size=10M tmpfs "$TMP/ro"
cleanup "umount -l '$TMP/ro'"
cp "$IMAGE" "$TMP/ro/a.vhd"
mount -o remount,ro "$TMP/ro"
fails 32 "$TMP/ro/a.vhd" "$TMP/mnt"
expect_said "$TMP/ro/a.vhd" "Read-only"
mount_vhd "$TMP/ro/a.vhd" "$TMP/mnt" ro
umount_vhd "$TMP/mnt"
if command -v setpriv >/dev/null; then
	chmod 755 "$TMP"
	chmod 644 "$IMAGE"
	mkdir -m 777 "$TMP/theirs"
	expect_status 32 setpriv --reuid=65534 --regid=65534 --clear-groups -- \
		"$VHDFUSE" "$IMAGE" "$TMP/theirs"
	expect_said "a disk.vhd" "Permission denied"
fi

# On a host of so much room, and more of it later by GROW: the writer hears ENOSPC, the image is
# sound, and the same mount goes on.
full_host() {
	local host=$1 grow=$2 room

	make_image "$host/a.vhd" 200M
	mount_vhd "$host/a.vhd" "$TMP/mnt"
	dd if="$TMP/noise" of="$DISK" bs=1M count=4 conv=notrunc,fsync status=none
	expect_status 1 dd if=<(cat "$TMP/noise" "$TMP/noise" "$TMP/noise" "$TMP/noise") \
		of="$DISK" bs=1M seek=100 conv=notrunc,fsync iflag=fullblock
	grep -q "No space left on device" "$TMP/err" || fail "not ENOSPC: $(cat "$TMP/err")"
	cmp -n 4194304 "$TMP/noise" "$DISK"
	cp --sparse=always "$host/a.vhd" "$TMP/full.vhd"
	check_image "$TMP/full.vhd" 3

	room=$(stat -c %b "$DISK")
	dd if="$TMP/noise" of="$DISK" bs=1M count=4 conv=notrunc,fsync status=none
	expect_equal "$(stat -c %b "$DISK")" "$room" "rewriting needs no room"
	eval "$grow"
	dd if="$TMP/noise" of="$DISK" bs=1M seek=150 conv=notrunc,fsync status=none
	umount_vhd "$TMP/mnt"
	check_image "$host/a.vhd"
	mount_vhd "$host/a.vhd" "$TMP/mnt" ro
	cmp -n 4194304 "$TMP/noise" "$DISK"
	cmp -n 10000000 "$TMP/noise" "$DISK" -i 0:$((150 << 20))
	umount_vhd "$TMP/mnt"
}

say "a full tmpfs"
mkdir "$TMP/tmpfs"
mount -t tmpfs -o size=20M tmpfs "$TMP/tmpfs"
cleanup "umount -l '$TMP/tmpfs'"
full_host "$TMP/tmpfs" 'mount -o remount,size=60M "$TMP/tmpfs"'

if command -v mkfs.ext4 >/dev/null && losetup -f >/dev/null 2>&1; then
	say "a full ext4"
	truncate -s 60M "$TMP/ext4"
	mkfs.ext4 -q -m 0 -O ^has_journal "$TMP/ext4"
	loop_attach "$TMP/ext4"
	mkdir "$TMP/host"
	mount "$LOOP" "$TMP/host"
	cleanup "umount -l '$TMP/host'"
	free=$(df --output=avail -k "$TMP/host" | tail -1)
	head -c $(((free - 20000) << 10)) /dev/zero >"$TMP/host/ballast"
	full_host "$TMP/host" 'rm "$TMP/host/ballast"'
fi

if command -v mkfs.ext4 >/dev/null && losetup -f >/dev/null 2>&1; then
	say "a host that loses writes: told at fsync and ever after, reads go on, the status tells"
	# A disk of 200 MiB that has room for less: it shows when ext4 writes back, at the barrier.
	mkdir "$TMP/thin" "$TMP/lossy"
	mount -t tmpfs -o size=30M tmpfs "$TMP/thin"
	cleanup "umount -l '$TMP/thin'"
	truncate -s 200M "$TMP/thin/disk"
	mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1 "$TMP/thin/disk"
	loop_attach "$TMP/thin/disk"
	mount "$LOOP" "$TMP/lossy"
	cleanup "umount -l '$TMP/lossy'"
	make_image "$TMP/lossy/a.vhd" 150M
	mount_vhd "$TMP/lossy/a.vhd" "$TMP/mnt" commit=600
	dd if="$TMP/noise" of="$DISK" bs=1M count=4 conv=notrunc,fsync status=none
	expect_status 1 dd if=<(cat "$TMP/noise" "$TMP/noise" "$TMP/noise" "$TMP/noise") \
		of="$DISK" bs=1M seek=50 conv=notrunc,fsync iflag=fullblock
	grep -q "No space left" "$TMP/err" || fail "said $(cat "$TMP/err")"
	expect_status 1 dd if="$TMP/noise" of="$DISK" bs=1M count=1 conv=notrunc
	grep -q "No space left" "$TMP/err" || fail "said $(cat "$TMP/err")"
	cmp -n 4194304 "$TMP/noise" "$DISK"
	mount -o remount,size=150M "$TMP/thin"
	refuses dd if="$TMP/noise" of="$DISK" bs=1M count=1 conv=notrunc
	umount_vhd "$TMP/mnt" 6
	mount_vhd "$TMP/lossy/a.vhd" "$TMP/mnt"
	dd if="$TMP/noise" of="$DISK" bs=1M count=4 conv=notrunc,fsync status=none
	umount_vhd "$TMP/mnt"
	check_image "$TMP/lossy/a.vhd" 3
	umount "$TMP/lossy"
	loop_detach "$LOOP"
fi
