#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# An image on a host that has no nameless files and cannot punch holes (NTFS by ntfs-3g): what is
# being made leaves nothing behind; one sentence says that zeros are written instead, and the image
# stays sound.
. "$(dirname "$0")/support/lib.sh"

requires mkntfs ntfs-3g openssl
requires_fuse
requires_loop
mkdir "$TMP/host" "$TMP/mnt"

truncate -s 300M "$TMP/ntfs"
loop_attach "$TMP/ntfs"
mkntfs -q -F -f "$LOOP" >/dev/null
ntfs-3g "$LOOP" "$TMP/host"
cleanup "umount_lazy '$TMP/host'"
: >"$TMP/host/probe"
if fallocate -p -o 0 -l 4096 "$TMP/host/probe" 2>/dev/null; then
	skip "this ntfs-3g punches holes"
fi

# has_passing_name: a file of an image that is being made, which only a host without nameless files
# shows.
has_passing_name() {
	compgen -G "$TMP/host/.vhd-*" >/dev/null
}
say "a creation that is ended leaves no half of an image behind"
for ((caught = 0; caught < 3; )); do
	test "$SECONDS" -lt 60 || fail "no creation was caught half done"
	"$VHDIMG" create "$TMP/host/large.vhd" 2040G &
	until has_passing_name || ! kill -0 $! 2>/dev/null; do :; done
	has_passing_name && kill $! && caught=$((caught + 1))
	wait $! || true
	refuses has_passing_name
	rm -f "$TMP/host/large.vhd"
done

make_image "$TMP/host/a.vhd" 256M
"$VHDFUSE" -f "$TMP/host/a.vhd" "$TMP/mnt" 2>"$TMP/said" &
DRIVER=$!
cleanup_process "$DRIVER"
cleanup "umount_lazy '$TMP/mnt'"
wait_mounted 10 "$TMP/mnt" || fail "not mounted: $(cat "$TMP/said")"
DISK=$TMP/mnt/disk.raw

say "parts and whole blocks are zeroed, and the sentence is said once"
fill "$TMP/noise" $((16 << 20)) noise
for round in 1 2 3; do
	dd if="$TMP/noise" of="$DISK" bs=1M conv=notrunc,fsync status=none
	fallocate -p -o $((1 << 20)) -l $((8 << 20)) "$DISK"
	cp "$TMP/noise" "$TMP/want"
	dd if=/dev/zero of="$TMP/want" bs=1M seek=1 count=8 conv=notrunc status=none
	cmp -n $((16 << 20)) "$DISK" "$TMP/want" || fail "round $round: not what it should read"
done
expect_equal "$(grep -c 'punch holes' "$TMP/said")" 1 "sentences"

umount "$TMP/mnt"
wait_gone 10 "$DRIVER" || fail "the driver does not end"
check_image "$TMP/host/a.vhd" 3
"$VHDFUSE" "$TMP/host/a.vhd" "$TMP/mnt" -o ro
cmp -n $((16 << 20)) "$DISK" "$TMP/want" || fail "not what it read before"
umount_vhd "$TMP/mnt"
umount "$TMP/host"

if ! command -v mount.exfat-fuse >/dev/null || ! command -v mkfs.exfat >/dev/null; then
	say "no exfat-fuse here: left out"
	exit 0
fi
say "exFAT, which has no second names and by exfat-fuse no rename that replaces nothing"
truncate -s 40M "$TMP/exfat"
loop_attach "$TMP/exfat"
mkfs.exfat "$LOOP" >/dev/null
mount.exfat-fuse "$LOOP" "$TMP/host" 2>/dev/null
cleanup "umount_lazy '$TMP/host'"
for type in dynamic fixed; do
	expect_status 0 "$VHDIMG" create --type=$type "$TMP/host/$type.vhd" 8M
	check_image "$TMP/host/$type.vhd"
	before=$(sha "$TMP/host/$type.vhd")
	expect_status 73 "$VHDIMG" create --type=$type "$TMP/host/$type.vhd" 8M
	expect_equal "$(sha "$TMP/host/$type.vhd")" "$before" "an image that was there"
done
expect_equal "$(ls -A "$TMP/host")" "$(printf 'dynamic.vhd\nfixed.vhd')" "names on the host"

say "written through a mount, with holes that are zeros, and compacted"
for type in dynamic fixed; do
	mount_vhd "$TMP/host/$type.vhd" "$TMP/mnt"
	dd if="$TMP/noise" of="$DISK" bs=1M count=8 conv=notrunc status=none
	fallocate -p -o $((1 << 20)) -l $((5 << 20)) "$DISK"
	umount_vhd "$TMP/mnt"
	check_image "$TMP/host/$type.vhd" 3
	mount_vhd "$TMP/host/$type.vhd" "$TMP/mnt" ro
	cmp -n $((1 << 20)) "$DISK" "$TMP/noise"
	cmp -n $((5 << 20)) "$DISK" /dev/zero -i $((1 << 20)):0
	cmp -n $((2 << 20)) "$DISK" "$TMP/noise" -i $((6 << 20))
	umount_vhd "$TMP/mnt"
done
expect_status 0 "$VHDIMG" compact "$TMP/host/dynamic.vhd"
check_image "$TMP/host/dynamic.vhd"
expect_equal "$(blocks_of "$TMP/host/dynamic.vhd")" 2
expect_status 0 "$VHDIMG" compare "$TMP/host/dynamic.vhd" "$TMP/host/fixed.vhd"

say "a full exFAT: the writer hears it, the image is sound"
expect_status 0 "$VHDIMG" create "$TMP/host/full.vhd" 100M
mount_vhd "$TMP/host/full.vhd" "$TMP/mnt"
expect_status 1 dd if=<(cat "$TMP/noise" "$TMP/noise" "$TMP/noise") of="$DISK" bs=1M conv=notrunc,fsync iflag=fullblock
grep -q "No space left" "$TMP/err" || fail "$(cat "$TMP/err")"
status=0
"$VHDIMG" umount "$TMP/mnt" 2>"$TMP/err" || status=$?
test "$status" = 0 || test "$status" = 6 || fail "status $status: $(cat "$TMP/err")"
check_image "$TMP/host/full.vhd" 3
umount "$TMP/host"
