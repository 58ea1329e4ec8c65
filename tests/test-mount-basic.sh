#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The mounted disk is a file like any other: names, sizes, reads, writes, closes, both kinds of
# mountpoint, and what a disk does that a file does not (it never changes its size).
. "$(dirname "$0")/support/lib.sh"

requires perl python3 openssl findmnt flock
requires_fuse

mkdir "$TMP/mnt"
: >"$TMP/file"
fill "$TMP/noise" 3000000 basic

say "a directory as mountpoint"
make_image "$TMP/a.vhd" 64M
chmod 640 "$TMP/a.vhd"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
expect_equal "$(ls -A "$TMP/mnt")" disk.raw
expect_equal "$(stat -c '%s %a %U %F %o' "$DISK")" "67108864 600 $(id -un) regular file 4096"
expect_equal "$(findmnt -t fuse.vhdfuse -no SOURCE --mountpoint "$TMP/mnt")" "$TMP/a.vhd"
expect_equal "$(stat -f -c '%s %b' "$TMP/mnt")" "4096 16384"
refuses stat "$TMP/mnt/disk"
refuses touch "$TMP/mnt/other"
refuses rm "$DISK"
refuses mkdir "$TMP/mnt/dir"

say "writes at odd places are read back, also from the image's own blocks"
truncate -s 64M "$TMP/shadow"
write_at() {
	dd if="$TMP/noise" of="$1" bs=64k oflag=seek_bytes seek="$2" conv=notrunc status=none
}
for off in 0 12345 2097151 30000001; do
	write_at "$DISK" "$off"
	write_at "$TMP/shadow" "$off"
done
same "$DISK" "$TMP/shadow"
# 0 to 3012345, 2097151 to 5097151, 30000001 to 33000001: blocks 0, 1, 2, 14 and 15 of 2 MiB
expect_equal "$(stat -c %b "$DISK")" $((5 * 2097152 / 512)) "st_blocks right after a write"

say "what was closed is published, without an unmount"
cp "$TMP/a.vhd" "$TMP/copy.vhd"
check_image "$TMP/copy.vhd" 3
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd"
mount_vhd "$TMP/copy.vhd" "$TMP/mnt"
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"

say "a regular file as mountpoint: it is the disk"
mount_vhd "$TMP/a.vhd" "$TMP/file"
expect_equal "$(stat -c '%s %F' "$TMP/file")" "67108864 regular file"
same "$TMP/file" "$TMP/shadow"
write_at "$TMP/file" 50000000
write_at "$TMP/shadow" 50000000
umount_vhd "$TMP/file"
expect_equal "$(stat -c %s "$TMP/file")" 0
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
same "$DISK" "$TMP/shadow"

say "the size stays: O_TRUNC is ignored, another size refused, the end is the end"
dd if="$TMP/noise" of="$DISK" bs=1M count=1 status=none
dd if="$TMP/noise" of="$TMP/shadow" bs=1M count=1 conv=notrunc status=none
same "$DISK" "$TMP/shadow"
truncate -s 64M "$DISK"
refuses truncate -s 63M "$DISK"
refuses truncate -s 65M "$DISK"
refuses truncate -s 0 "$DISK"
same "$DISK" "$TMP/shadow"
tail -c 65536 "$TMP/noise" >>"$TMP/shadow.tail"
refuses dd if="$TMP/noise" of="$DISK" bs=1M oflag=append conv=notrunc status=none
write_past() {
	perl -e 'open(F, "+<", $ARGV[0]) && sysseek(F, (64 << 20) - 100, 0) or die;
		$n = syswrite(F, "x" x 200); die unless $n == 100;
		$n = syswrite(F, "x"); die if defined $n; die $! unless $!{ENOSPC}' "$1"
}
write_past "$DISK"
dd if=<(head -c 100 /dev/zero | tr '\0' x) of="$TMP/shadow" bs=100 \
	oflag=seek_bytes seek=$(((64 << 20) - 100)) conv=notrunc status=none
same "$DISK" "$TMP/shadow"
expect_equal "$(stat -c %s "$DISK")" 67108864

say "times and modes are kept while it is mounted"
touch -d 2001-02-03 "$DISK"
chmod 400 "$DISK"
expect_equal "$(stat -c '%a %y' "$DISK" | cut -c1-14)" "400 2001-02-03"
chmod 600 "$DISK"
printf x | dd of="$DISK" conv=notrunc status=none
printf x | dd of="$TMP/shadow" conv=notrunc status=none
test "$(stat -c %Y "$DISK")" -gt $(($(date +%s) - 100)) || fail "a write left the old mtime"

say "a mapping; what it has dirtied outlives somebody else's O_TRUNC"
python3 - "$DISK" <<'END'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)
m[4000:4010] = b"0123456789"
m[60000000:60000003] = b"abc"
os.close(os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC))
assert m[4000:4010] == b"0123456789" and m[60000000:60000003] == b"abc"
m.close()
END
printf 0123456789 | dd of="$TMP/shadow" oflag=seek_bytes seek=4000 conv=notrunc status=none
printf abc | dd of="$TMP/shadow" oflag=seek_bytes seek=60000000 conv=notrunc status=none
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd"

say "sizes that no page divides: one sector, and a sector more than a MiB"
for size in 512 1049088; do
	make_image "$TMP/odd-$size.vhd" "$size"
	mount_vhd "$TMP/odd-$size.vhd" "$TMP/mnt"
	head -c "$size" "$TMP/noise" >"$TMP/odd"
	dd if="$TMP/odd" of="$DISK" bs=64k conv=notrunc status=none
	umount_vhd "$TMP/mnt"
	mount_vhd "$TMP/odd-$size.vhd" "$TMP/file" ro
	same "$TMP/file" "$TMP/odd"
	umount_vhd "$TMP/file"
done

say "a fixed image"
make_image "$TMP/fixed.vhd" 5M --type=fixed
mount_vhd "$TMP/fixed.vhd" "$TMP/mnt"
write_at "$DISK" 1000001
umount_vhd "$TMP/mnt"
cmp -n 3000000 "$TMP/noise" "$TMP/fixed.vhd" -i 0:1000001 || fail "a fixed image is not raw"
check_image "$TMP/fixed.vhd"

say "room for new blocks is made before a write needs it"
make_image "$TMP/grows.vhd" 1G
mount_vhd "$TMP/grows.vhd" "$TMP/mnt" commit=3600
python3 - "$DISK" "$TMP/grows.vhd" <<'END'
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
def write(blk):
    os.pwrite(fd, b"new", blk << 21)
write(0)
first = os.stat(sys.argv[2]).st_size
for blk in range(1, 40):    # of 64 that the first chunk has room for
    write(blk)
deadline = time.time() + 20
while os.stat(sys.argv[2]).st_size <= first:
    assert time.time() < deadline, "the file has %d bytes still" % first
    time.sleep(0.01)
os.close(fd)
END
umount_vhd "$TMP/mnt"
check_image "$TMP/grows.vhd"
test "$(stat -c %s "$TMP/grows.vhd")" -lt $((41 << 21)) || fail "what is left of it was not cut off"

say "two mounts of two images, and names with spaces and commas"
make_image "$TMP/a disk, with names.vhd" 10M
mkdir "$TMP/a folder, too" "$TMP/two"
mount_vhd "$TMP/a disk, with names.vhd" "$TMP/a folder, too"
mount_vhd "$TMP/fixed.vhd" "$TMP/two"
write_at "$TMP/a folder, too/disk.raw" 777
cmp -n 3000000 "$TMP/noise" "$TMP/a folder, too/disk.raw" -i 0:777
umount_vhd "$TMP/a folder, too"
cmp -n 3000000 "$TMP/noise" "$TMP/two/disk.raw" -i 0:1000001
umount_vhd "$TMP/two"
check_image "$TMP/a disk, with names.vhd"
