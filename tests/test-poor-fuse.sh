#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# An image on a FUSE filesystem: one that has next to nothing (tests/support/poorfs.c), one without
# locks, one that refuses to write, one whose driver is killed under us, and our own. Each time a
# sentence with a way out, and a sound image.
. "$(dirname "$0")/support/lib.sh"

requires_root
requires_fuse
requires openssl fallocate findmnt flock
POORFS=$(find_program tests/support/poorfs)
test -x "$POORFS" || skip "there is no built poorfs"

mkdir "$TMP/back" "$TMP/host" "$TMP/mnt" "$TMP/scratch"
fill "$TMP/noise" $((16 << 20)) noise
cp "$TMP/noise" "$TMP/want"
dd if=/dev/zero of="$TMP/want" bs=1M seek=1 count=8 conv=notrunc status=none

# serve [WORD...]: the poor host is there. Sets HOST.
serve() {
	"$POORFS" "$TMP/back" "$TMP/host" "$@" &
	HOST=$!
	cleanup_process "$HOST"
	cleanup "umount_lazy '$TMP/host'"
	wait_mounted 10 "$TMP/host" || fail "no host"
}
unserve() {
	umount "$TMP/host"
	wait_gone 10 "$HOST" || fail "the host does not end"
}

say "no holes, no second names, no modes: images are made, and replace nothing"
serve
for type in dynamic fixed; do
	expect_status 0 "$VHDIMG" create --type=$type "$TMP/host/$type.vhd" 32M
	check_image "$TMP/host/$type.vhd"
	before=$(sha "$TMP/host/$type.vhd")
	expect_status 73 "$VHDIMG" create --type=$type "$TMP/host/$type.vhd" 8M
	expect_equal "$(sha "$TMP/host/$type.vhd")" "$before" "an image that was there"
done
expect_equal "$(ls -A "$TMP/host")" "$(printf 'dynamic.vhd\nfixed.vhd')"

say "zeros stand for holes, and the sentence is said once"
for type in dynamic fixed; do
	"$VHDFUSE" -f "$TMP/host/$type.vhd" "$TMP/mnt" 2>"$TMP/said" &
	DRIVER=$!
	cleanup_process "$DRIVER"
	cleanup "umount_lazy '$TMP/mnt'"
	wait_mounted 10 "$TMP/mnt" || fail "not mounted: $(cat "$TMP/said")"
	for round in 1 2; do
		dd if="$TMP/noise" of="$TMP/mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
		fallocate -p -o $((1 << 20)) -l $((8 << 20)) "$TMP/mnt/disk.raw"
		cmp -n $((16 << 20)) "$TMP/mnt/disk.raw" "$TMP/want" || fail "round $round"
	done
	expect_equal "$(grep -c 'punch holes' "$TMP/said")" 1 "sentences"
	umount "$TMP/mnt"
	wait "$DRIVER" || fail "ended with $?"
	check_image "$TMP/host/$type.vhd" 3
done
expect_status 0 "$VHDIMG" compact "$TMP/host/dynamic.vhd"
check_image "$TMP/host/dynamic.vhd"
expect_equal "$(blocks_of "$TMP/host/dynamic.vhd")" 5
expect_status 0 "$VHDIMG" convert "$TMP/host/dynamic.vhd" "$TMP/host/new.raw"
expect_status 0 "$VHDIMG" compare "$TMP/host/fixed.vhd" "$TMP/host/new.raw"
rm "$TMP/host/new.raw"

say "the scratch file of a snapshot goes"
TMPDIR=$TMP/host mount_vhd "$TMP/host/dynamic.vhd" "$TMP/mnt" snapshot
dd if=/dev/zero of="$DISK" bs=1M count=16 conv=notrunc,fsync status=none
umount_vhd "$TMP/mnt"
expect_equal "$(ls -A "$TMP/host")" "$(printf 'dynamic.vhd\nfixed.vhd')"

say "a child, by hand: the image cannot have two names for the moment that it takes"
expect_status 73 "$VHDIMG" snapshot "$TMP/host/dynamic.vhd"
expect_said "give the image that name yourself, and create a child"
mv "$TMP/host/dynamic.vhd" "$TMP/host/parent.vhd"
expect_status 0 "$VHDIMG" create --parent="$TMP/host/parent.vhd" "$TMP/host/dynamic.vhd"
mount_vhd "$TMP/host/dynamic.vhd" "$TMP/mnt"
dd if="$TMP/noise" of="$DISK" bs=1M count=8 conv=notrunc,fsync status=none
umount_vhd "$TMP/mnt"
expect_status 0 "$VHDIMG" commit "$TMP/host/dynamic.vhd"
check_image "$TMP/host/parent.vhd" 3
expect_status 0 "$VHDIMG" convert "$TMP/host/parent.vhd" "$TMP/parent.raw"
cmp -n $((8 << 20)) "$TMP/parent.raw" "$TMP/noise"
unserve
mv "$TMP/back/parent.vhd" "$TMP/back/a.vhd"
rm "$TMP/back/dynamic.vhd"

say "no locks: an error that names the option, and with it all works"
serve nolocks
expect_status 32 "$VHDFUSE" "$TMP/host/a.vhd" "$TMP/mnt"
expect_said "a.vhd: .*no locks; no-lock goes on without"
expect_status 0 "$VHDIMG" info "$TMP/host/a.vhd"
refuses "$VHDIMG" compact "$TMP/host/a.vhd"
mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" no-lock
dd if="$TMP/noise" of="$DISK" bs=1M seek=16 conv=notrunc status=none
umount_vhd "$TMP/mnt"
expect_status 0 "$VHDIMG" check --no-lock "$TMP/host/a.vhd"
expect_status 0 "$VHDIMG" compact --no-lock "$TMP/host/a.vhd"
unserve

say "a host that refuses to write, whatever its mount says"
serve readonly
expect_status 32 "$VHDFUSE" "$TMP/host/a.vhd" "$TMP/mnt"
expect_said "a.vhd: cannot be opened for writing: Read-only file system"
expect_status 77 "$VHDIMG" compact "$TMP/host/a.vhd"
expect_status 77 "$VHDIMG" create "$TMP/host/new.vhd" 1M
check_image "$TMP/host/a.vhd"
for how in ro snapshot "cow=$TMP/cow.vhd"; do
	TMPDIR=$TMP/scratch mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" "$how"
	cmp -n $((8 << 20)) "$DISK" "$TMP/noise"
	test "$how" = ro || dd if="$TMP/want" of="$DISK" bs=1M conv=notrunc,fsync status=none
	umount_vhd "$TMP/mnt"
done
expect_equal "$(ls -A "$TMP/scratch")" ""
unserve

say "a host that dies: errors of input and output, the status says so, and the way out is named"
serve
mount_vhd "$TMP/host/a.vhd" "$TMP/mnt"
dd if="$TMP/want" of="$DISK" bs=1M conv=notrunc,fsync status=none
kill -9 "$HOST"
wait_gone 10 "$HOST"
expect_status 1 dd if="$DISK" bs=1M skip=20 count=1 iflag=direct
grep -q "Input/output error" "$TMP/err" || fail "$(cat "$TMP/err")"
expect_status 1 dd if="$TMP/noise" of="$DISK" bs=1M count=1 conv=notrunc
grep -q "Input/output error" "$TMP/err" || fail "$(cat "$TMP/err")"
expect_status 74 "$VHDIMG" umount "$TMP/mnt"
expect_said "$TMP/mnt is unmounted" "input/output error"
expect_status 32 "$VHDFUSE" "$TMP/host/a.vhd" "$TMP/mnt"
expect_said "a.vhd: .*on a mount whose driver was killed; unmount that first"
expect_status 74 "$VHDIMG" check "$TMP/host/a.vhd"
expect_said "a.vhd: .*on a mount whose driver was killed; unmount that first"
umount "$TMP/host"
check_image "$TMP/back/a.vhd" 3
serve
mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" ro
cmp -n $((16 << 20)) "$DISK" "$TMP/want"
umount_vhd "$TMP/mnt"
unserve

say "an image on a mount of our own"
"$VHDIMG" convert --type=fixed "$TMP/back/a.vhd" "$TMP/inner.vhd" >"$TMP/out" 2>&1
make_image "$TMP/outer.vhd" "$(stat -c %s "$TMP/inner.vhd")"
mount_vhd "$TMP/outer.vhd" "$TMP/host"
dd if="$TMP/inner.vhd" of="$DISK" bs=1M conv=notrunc status=none
mount_vhd "$TMP/host/disk.raw" "$TMP/mnt"
cmp -n $((16 << 20)) "$DISK" "$TMP/want"
dd if="$TMP/noise" of="$DISK" bs=1M conv=notrunc status=none
fallocate -p -o $((1 << 20)) -l $((8 << 20)) "$DISK"
expect_status 75 "$VHDIMG" umount "$TMP/host"
expect_said "$TMP/host is in use"
umount_vhd "$TMP/mnt"
umount_vhd "$TMP/host"
check_image "$TMP/outer.vhd"
mount_vhd "$TMP/outer.vhd" "$TMP/host" ro
check_image "$TMP/host/disk.raw"
mount_vhd "$TMP/host/disk.raw" "$TMP/mnt" ro
cmp -n $((16 << 20)) "$DISK" "$TMP/want"
umount_vhd "$TMP/mnt"
umount_vhd "$TMP/host"
