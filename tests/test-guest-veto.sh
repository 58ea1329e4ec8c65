#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# libblkid agrees with our name for each filesystem that is read, and with no other; has something
# against two filesystems in one place, and against partitions; and says the same where no file can
# be opened.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.fat mkfs.ntfs mkfs.exfat mkswap sfdisk python3
requires_root # pvcreate
VETO=${VETO:-$(find_program tests/guest/veto)}
grep -q 'define HAVE_BLKID 1' "$top_builddir/config.h" || skip "built without libblkid"
F=$TMP/f.img

new() {
	rm -f "$F"
	truncate -s "${1:-64M}" "$F"
}

# poke OFFSET BYTES: BYTES as printf has them.
poke() {
	printf '%b' "$2" | dd of="$F" bs=1 seek="$1" conv=notrunc status=none
}

# says NAME WORDS: of the file, called NAME.
says() {
	local status=0 locked
	expect_equal "$("$VETO" "$F" "$1")" "$2" "of $1"
	locked=$("$VETO" "$F" "$1" locked) || status=$?
	test "$status" = 77 || expect_equal "$locked ($status)" "$2 (0)" "locked in, of $1"
}

# knows TYPE NAME COMMAND...: the file made by COMMAND is a TYPE to libblkid, which is our NAME.
knows() {
	local type=$1 name=$2
	shift 2
	new "${SIZE:-64M}"
	"$@" "$F" >"$TMP/make.out" 2>&1 || fail "$*: $(cat "$TMP/make.out")"
	says "$name" agrees
	says zfs "libblkid takes it for $type"
}

say "each filesystem by its name, and by no other"
knows ext2 ext2 mkfs.ext2 -q
knows ext3 ext3 mkfs.ext3 -q
knows ext4 ext4 mkfs.ext4 -q
says ext2 agrees	# what of the family it is, is not for libblkid to say
says xfs "libblkid takes it for ext4"
SIZE=600M knows xfs xfs mkfs.xfs -q
SIZE=128M knows btrfs btrfs mkfs.btrfs -q
knows vfat fat12 mkfs.fat -F 12 -s 64
knows vfat fat16 mkfs.fat -F 16 -s 4
knows vfat fat32 mkfs.fat -F 32
says ntfs "libblkid takes it for vfat"
knows exfat exfat mkfs.exfat
knows swap swap mkswap
poke 4086 'S1SUSPEND\0'
says swap agrees
says ext4 "libblkid takes it for swsuspend"
knows ntfs ntfs mkfs.ntfs -q -F

say "an NTFS whose file table lies far from the start, as Windows puts it"
cluster=$(od -A n -t u1 -j 13 -N 1 "$F") mft=$(od -A n -t u8 -j 48 -N 8 "$F")
dd if="$F" of="$F" bs=$((cluster * 512)) skip="$((mft))" seek=8000 count=16 conv=notrunc status=none
dd if=/dev/zero of="$F" bs=$((cluster * 512)) seek="$((mft))" count=16 conv=notrunc status=none
poke 48 '\x40\x1f\0\0\0\0\0\0'
says ntfs agrees
says ext4 "libblkid takes it for ntfs"

say "a physical volume of LVM"
new
mkdir -p "$TMP/lvm/dev" "$TMP/lvm/run"
loop_attach "$F"
cp -a "$LOOP" "$TMP/lvm/dev/"
LVM_SYSTEM_DIR=$TMP/lvm LVM_SUPPRESS_FD_WARNINGS=1 pvcreate -q --driverloaded n \
	--config "devices { dir = \"$TMP/lvm/dev\" scan = [ \"$TMP/lvm/dev\" ] use_devicesfile = 0 sysfs_scan = 0 hints = \"none\"
		obtain_device_list_from_udev = 0 } global { locking_dir = \"$TMP/lvm/run\" } activation { udev_sync = 0 }" \
	"$TMP/lvm/dev/${LOOP##*/}" >/dev/null 2>&1
loop_detach "$LOOP"
says lvm2 agrees
says ext4 "libblkid takes it for LVM2_member"

say "nothing, and noise"
new
says ext4 agrees
new 100
says ext4 agrees
fill "$F" 5000000 noise
says ext4 agrees

say "two at once"
new 128M
mkfs.btrfs -q "$F"
dd if="$F" of="$TMP/super" bs=4096 skip=16 count=1 status=none
for make in 'mkfs.ext4 -q' mkswap; do
	new 128M
	$make "$F" >/dev/null 2>&1
	dd if="$TMP/super" of="$F" bs=4096 seek=16 conv=notrunc status=none
	says ext4 "libblkid finds more than one filesystem in it"
done
# A RAID's part, which has its mark at the end.
new
python3 - "$F" <<'END'
import struct, sys
b = bytearray(4096); struct.pack_into("<IIIII", b, 0, 0xa92b4efc, 0, 90, 0, 1)
struct.pack_into("<IIII", b, 28, 1, 65000, 2, 2)
struct.pack_into("<I", b, 38 * 4, sum(struct.unpack("<1024I", b)) % 0xffffffff)
f = open(sys.argv[1], "r+b"); f.seek((64 << 20) - 65536); f.write(b)
END
says ext4 "libblkid takes it for linux_raid_member"

new
poke $((2 * 1024 * 1024)) '\x5e\xf1\xab\x2f'
says ext4 "libblkid takes it for VMFS"

say "a table with partitions, and a boot sector that only looks like one"
mkfs.ext4 -q -F "$F"
poke 510 '\x55\xaa'
says ext4 agrees
new
mkfs.ext4 -q "$F"
printf 'label: dos\nstart=2048, size=2048, type=83\n' | sfdisk -q --wipe=never "$F"
says ext4 "libblkid finds partitions in it"
