#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a filesystem on the disk discards goes back to the image: fewer blocks allocated, room on the
# host, and the freed ones used again before the file grows, also before any commit.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4 fstrim openssl fallocate
requires_fuse
requires_loop
mkdir "$TMP/mnt" "$TMP/ext4"
MiB=$((1 << 20))

file_size() {
	stat -c %s "$TMP/a.vhd"
}
allocated_mib() { # of the image on the host
	echo $(($(stat -c '%b * 512' "$TMP/a.vhd") / MiB))
}
disk_mib() { # that the mounted file says it has
	echo $(($(stat -c '%b * 512' "$DISK") / MiB))
}

say "fstrim of an ext4"
make_image "$TMP/a.vhd" 1G
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
loop_attach "$DISK"
expect_equal "$(cat "/sys/block/${LOOP#/dev/}/queue/discard_granularity")" 4096
mkfs.ext4 -q "$LOOP"
mount "$LOOP" "$TMP/ext4"
cleanup "umount_lazy '$TMP/ext4'"
fill "$TMP/ext4/keep" $((10 * MiB)) keep
sync -f "$TMP/ext4"
base=$(disk_mib)
fill "$TMP/ext4/big" $((120 * MiB)) big
sync -f "$TMP/ext4"
full=$(disk_mib)
test "$full" -ge $((base + 115)) || fail "writing 120 MiB made $base MiB $full MiB"
size=$(file_size)
host=$(allocated_mib)
rm "$TMP/ext4/big"
sync -f "$TMP/ext4"
fstrim "$TMP/ext4"
after=$(disk_mib)
test "$after" -le $((base + 8)) || fail "after fstrim the disk has $after MiB, before it $full"
sync "$DISK"
test "$(allocated_mib)" -le $((host - 100)) || fail "the host got nothing back: $host, now $(
	allocated_mib)"

say "what was freed is used again before the file grows"
fill "$TMP/ext4/other" $((110 * MiB)) other
sync -f "$TMP/ext4"
test "$(file_size)" -le "$size" || fail "the file grew from $size to $(file_size)"
sum=$(sha "$TMP/ext4/keep")$(sha "$TMP/ext4/other")
umount "$TMP/ext4"
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd"
blocks=$(blocks_of "$TMP/a.vhd")
test "$blocks" -ge 55 || fail "only $blocks blocks for 120 MiB"

say "and a closed image has fewer blocks"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
loop_attach "$DISK"
mount "$LOOP" "$TMP/ext4"
expect_equal "$(sha "$TMP/ext4/keep")$(sha "$TMP/ext4/other")" "$sum"
rm "$TMP/ext4/other"
sync -f "$TMP/ext4"
fstrim "$TMP/ext4"
umount "$TMP/ext4"
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd" 3
test "$(blocks_of "$TMP/a.vhd")" -le $((blocks - 50)) ||
	fail "fstrim took $blocks blocks to $(blocks_of "$TMP/a.vhd")"

say "within the commit interval: nothing was published in between"
rm "$TMP/a.vhd"
make_image "$TMP/a.vhd" 1G
mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=3600
fill "$TMP/noise" $((64 * MiB)) noise
exec 6<>"$DISK" # so that no close commits
dd if="$TMP/noise" of=/proc/self/fd/6 bs=1M conv=notrunc,fsync status=none
host=$(allocated_mib)
size=$(file_size)
for i in 1 2 3; do
	fallocate -p -o $(((i - 1) * 100 * MiB)) -l $((64 * MiB)) "$DISK"
	dd if="$TMP/noise" of=/proc/self/fd/6 bs=1M seek=$((i * 100)) conv=notrunc status=none
	test "$(file_size)" -le "$size" || fail "turn $i: the file grew from $size to $(file_size)"
	test "$(allocated_mib)" -le $((host + 2)) ||
		fail "turn $i: the image took $host MiB of the host, and $(allocated_mib) now"
done
exec 6<&-
expect_equal "$(dd if="$DISK" bs=1M skip=300 count=64 status=none | sha256sum)" \
	"$(sha256sum <"$TMP/noise")"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd" 3
expect_equal "$(blocks_of "$TMP/a.vhd")" 32
test "$(file_size)" -le $((68 * MiB)) || fail "32 blocks make a file of $(file_size)"

say "nodiscard: zeros, but the blocks stay"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" nodiscard
fallocate -p -o $((300 * MiB)) -l $((64 * MiB)) "$DISK"
cmp -n $((64 * MiB)) -i $((300 * MiB)):0 "$DISK" /dev/zero || fail "not zeros"
umount_vhd "$TMP/mnt"
expect_equal "$(blocks_of "$TMP/a.vhd")" 32
