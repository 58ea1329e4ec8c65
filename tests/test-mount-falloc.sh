#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Holes: punched, zeroed, found. What is punched reads as zeros at once, whatever is cached, and
# gives its blocks back; what is sought is there.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl perl fallocate
requires_fuse

mkdir "$TMP/mnt"
make_image "$TMP/a.vhd" 64M
fill "$TMP/noise" 20000000 falloc
truncate -s 64M "$TMP/shadow"

# both COMMAND...: on the disk and on the shadow, with @ for the file.
both() {
	"${@//@/$DISK}"
	"${@//@/$TMP/shadow}"
}
blocks() {
	echo $(($(stat -c %b "$DISK") / 4096))
}

# extents FILE: "data START END" for each, by SEEK_DATA and SEEK_HOLE.
extents() {
	perl -e 'open(F, "<", $ARGV[0]) or die; $p = 0;
		while (defined($d = sysseek(F, $p, 3))) {
			$h = sysseek(F, $d, 4); print "data ", $d + 0, " ", $h + 0, "\n"; $p = $h + 0; }
		die $! unless $!{ENXIO}' "$1"
}

mount_vhd "$TMP/a.vhd" "$TMP/mnt"

say "an empty disk is one hole"
expect_equal "$(extents "$DISK")" ""

say "data and holes between them"
both dd if="$TMP/noise" of=@ bs=1M conv=notrunc seek=10 status=none
both dd if="$TMP/noise" of=@ bs=1M count=1 conv=notrunc seek=50 status=none
expect_equal "$(blocks)" 11
expect_equal "$(extents "$DISK")" "data 10485760 31457280
data 52428800 54525952"
cp --sparse=auto "$DISK" "$TMP/copy"
same "$TMP/copy" "$TMP/shadow"

say "a hole is zeros at once: cached, by mapping, and with O_DIRECT"
cat "$DISK" >/dev/null
both fallocate -p -o 10485760 -l 4194304 @
same "$DISK" "$TMP/shadow"
cmp -n 4194304 <(dd if="$DISK" iflag=direct bs=1M skip=10 count=4 status=none) /dev/zero
expect_equal "$(blocks)" 9
expect_equal "$(extents "$DISK" | head -1)" "data 14680064 31457280"

say "odd holes: parts of blocks, parts of sectors, over the end"
both fallocate -p -o 15000001 -l 5000001 @
both fallocate -p -o 20500000 -l 1 @
both fallocate -p -o 25165824 -l 4096 @
both fallocate -p -o 25165824 -l 600 @
both fallocate -p -o 52428800 -l 100000000 @
same "$DISK" "$TMP/shadow"
expect_equal "$(blocks)" 7
expect_equal "$(stat -c %s "$DISK")" 67108864

say "a zeroed range keeps its blocks and takes no new ones"
both fallocate -z -n -o 20971520 -l 4194304 @
both fallocate -z -o 22222222 -l 33333 @
both fallocate -z -n -o 40000000 -l 4000000 @
same "$DISK" "$TMP/shadow"
expect_equal "$(blocks)" 7
refuses fallocate -z -o 67000000 -l 200000 "$DISK"
expect_equal "$(stat -c %s "$DISK")" 67108864

say "room cannot be set aside, nor ranges moved"
refuses fallocate -l 1M "$DISK"
refuses fallocate -n -l 100M "$DISK"
refuses fallocate -c -o 0 -l 1M "$DISK"
refuses fallocate -i -o 0 -l 1M "$DISK"
expect_status 1 fallocate -l 1M "$DISK"
expect_said "not supported"

say "freed blocks are used again before the file grows, also before they are published"
# Growth is taken in advance and given back at the end, so it is then that sizes are compared.
umount_vhd "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=600
both dd if="$TMP/noise" of=@ bs=2M count=5 conv=notrunc seek=25 status=none
expect_equal "$(blocks)" 12
umount_vhd "$TMP/mnt"
size=$((12 * 2101248 + 8192))	# with each block's bitmap, and header, table and footers
expect_equal "$(stat -c %s "$TMP/a.vhd")" "$size" "the file grew beside free blocks"

mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=600
punch_and_write() {
	perl -e 'open(F, "+<", $ARGV[0]) or die; open(N, "<", $ARGV[1]) or die;
		sysread(N, $x, 2 << 20) == 2 << 20 or die;
		for (1 .. 12) {
			syscall(285, fileno(F), 3, 25 << 21, 5 << 21) == 0 or die $!;
			for (25 .. 29) { sysseek(F, $_ << 21, 0); syswrite(F, $x) == 2 << 20 or die $! } }' "$@"
}
if test "$(uname -m)" = x86_64; then	# 285 is fallocate
	both punch_and_write @ "$TMP/noise"
fi
expect_equal "$(blocks)" 12
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"
test "$(stat -c %s "$TMP/a.vhd")" -le $((size + (10 << 21))) ||
	fail "the file grew from $size to $(stat -c %s "$TMP/a.vhd") by punching and writing again"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"

umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd" 3	# freed blocks between used ones are room that nothing uses
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
same "$DISK" "$TMP/shadow"
expect_equal "$(blocks)" 12
umount_vhd "$TMP/mnt"

say "nodiscard zeroes and keeps"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" nodiscard
both fallocate -p -o 50000000 -l 10000000 @
both fallocate -p -o 0 -l 4096 @
same "$DISK" "$TMP/shadow"
expect_equal "$(blocks)" 12
umount_vhd "$TMP/mnt"

say "the holes of a fixed image are the host's"
make_image "$TMP/fixed.vhd" 20M --type=fixed
mount_vhd "$TMP/fixed.vhd" "$TMP/mnt"
truncate -s 0 "$TMP/shadow"
truncate -s 20M "$TMP/shadow"
both dd if="$TMP/noise" of=@ bs=1M conv=notrunc status=none
both fallocate -p -o 4194304 -l 8388608 @
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"
check_image "$TMP/fixed.vhd"
cmp -n 20971520 "$TMP/fixed.vhd" "$TMP/shadow"
