#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What cannot be looked into is known by name: made by its own tools where these are here, else by
# its mark alone. What can be looked into, and noise, is not taken for it.
. "$(dirname "$0")/support/lib.sh"

requires cryptsetup mkfs.f2fs mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.fat mkfs.ntfs mkfs.exfat blkid python3

OTHER=${OTHER:-$(find_program tests/guest/other)}
F=$TMP/f.img

new() {
	rm -f "$F"
	truncate -s "${1:-64M}" "$F"
}

# poke OFFSET BYTES: BYTES as printf has them.
poke() {
	printf '%b' "$2" | dd of="$F" bs=1 seek="$1" conv=notrunc status=none
}

# is NAME PATTERN
is() {
	"$OTHER" "$F" >"$TMP/said" || fail "$1 is not known"
	grep -Eq "^$1: .*$2.*: cannot be looked into$" "$TMP/said" || fail "not $1: $(cat "$TMP/said")"
}
is_none() {
	! "$OTHER" "$F" >"$TMP/said" || fail "${1-} is taken for $(cat "$TMP/said")"
	expect_equal "$(cat "$TMP/said")" no
}
blkid_says() {
	expect_equal "$(blkid -p -s TYPE -o value "$F")" "$1" "libblkid"
}

say "made by their own tools"
for type in luks1 luks2; do
	new
	printf secret | cryptsetup -q luksFormat --type $type --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$F" -
	blkid_says crypto_LUKS
	is luks 'encrypted by LUKS'
done
new
mkfs.f2fs -q "$F" >/dev/null
blkid_says f2fs
is f2fs F2FS
poke 1024 '\0\0\0\0'	# the second copy remains
is f2fs F2FS
if command -v mkfs.cramfs >/dev/null; then
	mkdir "$TMP/tree"
	echo text >"$TMP/tree/file"
	mkfs.cramfs "$TMP/tree" "$F"
	blkid_says cramfs
	is cramfs cramfs
fi

say "made by hand, as libblkid knows them"
# md SIZE VERSION: its block where that version has it, with the right checksum.
md() {
	new "$1"
	python3 - "$F" "$2" <<-'END'
		import os, struct, sys
		f = open(sys.argv[1], "r+b"); size = os.path.getsize(sys.argv[1]); version = sys.argv[2]
		if version == "0.90":
		    b = bytearray(4096); struct.pack_into("<IIIII", b, 0, 0xa92b4efc, 0, 90, 0, 1)
		    struct.pack_into("<IIII", b, 28, 1, (size - 131072) // 1024, 2, 2)
		    struct.pack_into("<I", b, 38 * 4, 0); at = (size & ~65535) - 65536
		    struct.pack_into("<I", b, 38 * 4, sum(struct.unpack("<1024I", b)) % 0xffffffff)
		else:
		    at = {"1.0": (size - 8192) & ~4095, "1.1": 0, "1.2": 4096}[version]
		    b = bytearray(256 + 4); struct.pack_into("<II", b, 0, 0xa92b4efc, 1)
		    b[16:32] = bytes(range(16)); struct.pack_into("<Q", b, 128, 2048)
		    struct.pack_into("<QQ", b, 80, (size // 512) - 4096, 0); struct.pack_into("<i", b, 72, 1)
		    struct.pack_into("<I", b, 92, 2); struct.pack_into("<Q", b, 144, at // 512)
		    struct.pack_into("<I", b, 220, 2)
		    s = sum(struct.unpack("<65I", b)); s = (s & 0xffffffff) + (s >> 32)
		    struct.pack_into("<I", b, 216, s & 0xffffffff)
		f.seek(at); f.write(b)
	END
	blkid_says linux_raid_member
	is md 'part of a RAID \(md\)'
}
for version in 0.90 1.0 1.1 1.2; do
	md 64M $version
	md $((64 * 1024 * 1024 + 31 * 512)) $version
done

# marked NAME PATTERN [OFFSET BYTES]...
marked() {
	local name=$1 pattern=$2
	shift 2
	new
	while test $# != 0; do
		poke "$1" "$2"
		shift 2
	done
	is "$name" "$pattern"
}
marked bitlocker BitLocker 3 '-FVE-FS-'
marked refs ReFS 0 '\0\0\0ReFS\0'
marked apfs APFS 32 NXSB
marked hfsplus 'HFS\+' 1024 'H+\0\x04' 1064 '\0\0\x10\0'
marked hfsplus 'HFS\+' 1024 'HX\0\x05' 1064 '\0\0\x10\0'
marked hfsplus HFS 1024 BD 1044 '\0\0\x10\0'
marked bcache bcache $((4096 + 24)) '\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81'
marked bcachefs bcachefs $((4096 + 24)) '\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef'
marked squashfs squashfs 0 hsqs
marked romfs romfs 0 '-rom1fs-'
marked erofs EROFS 1024 '\xe2\xe1\xf5\xe0'
marked reiserfs ReiserFS $((65536 + 52)) ReIsEr2Fs
marked jfs JFS 32768 JFS1
marked gfs2 GFS2 65536 '\x01\x16\x19\x70'
marked ocfs2 OCFS2 4096 OCFSV2
marked ufs UFS $((8192 + 1372)) '\x54\x19\x01\0'
marked ufs UFS $((65536 + 1372)) '\x19\x01\x54\x19'
marked nilfs2 NILFS2 1024 '\x02\0\0\0\0\0\x34\x34\x18\x01'
marked ceph Ceph 0 'bluestore block device'
marked asm ASM 32 ORCLDISK
marked vdo VDO 0 dmvdo001
marked lvm1 'first version' 0 'HM\x01\0'
marked stratis Stratis 516 '!Stra0tis\x86\xff\x02^\x41rh'
marked iso9660 'ISO 9660' 32769 CD001
marked udf UDF 32769 BEA01 $((32769 + 2048)) NSR03 $((32769 + 4096)) TEA01
marked udf UDF 32769 CD001 $((32769 + 2048)) BEA01 $((32769 + 4096)) NSR02
uberblocks=()
for i in 0 1 2 3; do
	uberblocks+=($((128 * 1024 + i * 4096)) '\x0c\xb1\xba\0\0\0\0\0')
done
marked zfs ZFS "${uberblocks[@]}"
for i in 0 1 2 3; do
	uberblocks[i * 2]=$((384 * 1024 + i * 1024))
	uberblocks[i * 2 + 1]='\0\0\0\0\0\xba\xb1\x0c'
done
marked zfs ZFS "${uberblocks[@]}"
marked vmfs VMFS $((1024 * 1024)) '\x0d\xd0\x01\xc0'
marked vmfs VMFS $((2 * 1024 * 1024)) '\x5e\xf1\xab\x2f'
marked drbd DRBD $((64 * 1024 * 1024 - 4096 + 60)) '\x83\x74\x02\x6d'
marked isw Intel $((64 * 1024 * 1024 - 1024)) 'Intel Raid ISM Cfg Sig. '
marked ddf DDF $((64 * 1024 * 1024 - 512)) '\xde\x11\xde\x11'

say "BitLocker for removable disks, which looks like FAT32"
new
mkfs.fat -F 32 "$F" >/dev/null
is_none
poke 3 MSWIN4.1
is_none
poke 424 '\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01'
is bitlocker BitLocker

say "the end of the disk is not that of a RAID's part that ends there as well"
md 64M 1.0
mv "$F" "$TMP/part.img"
new 65M
dd if="$TMP/part.img" of="$F" bs=1M seek=1 conv=notrunc status=none
is_none
rm "$TMP/part.img"

say "what can be looked into, and nothing at all"
new
is_none
new 600M
mkfs.xfs -q "$F"
is_none xfs
for make in 'mkfs.ext4 -q' 'mkfs.ext4 -q -b 1024' 'mkfs.ext2 -q -N 70000' 'mkfs.btrfs -q' 'mkfs.fat -F 12' \
	'mkfs.fat -F 16 -s 4' 'mkfs.fat -F 32' 'mkfs.ntfs -q -F' 'mkfs.exfat' mkswap; do
	new 128M
	$make "$F" >"$TMP/make.out" 2>&1 || fail "$make: $(cat "$TMP/make.out")"
	is_none "$make"
done
# As many inodes as make HFS+'s two letters, at their place.
new
mkfs.ext4 -q -N 16384 "$F"
poke 1024 'H+\0\0'
is_none "inodes"
poke 1024 'BD\0\0'
is_none "inodes"
for size in 0 1 511 4096 8191 8192 65536 100000; do
	fill "$TMP/noise" $size "$size"
	mv "$TMP/noise" "$F"
	is_none "noise"
done
