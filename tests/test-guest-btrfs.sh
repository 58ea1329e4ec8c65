#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# btrfs: what its reader calls free is free, in every copy, and what it cannot vouch for it refuses.
#
# btrfs check reads the trees and all data by their checksums, and the same from the superblock's
# copy; a scrub reads both copies of everything; dump-tree says independently what is free.
. "$(dirname "$0")/support/lib.sh"
. "$top_srcdir/tests/support/guest.sh"

requires mkfs.btrfs btrfs btrfs-convert btrfstune mkfs.ext4 e2fsck openssl python3
requires_loop
BTRFS="python3 -IS $top_srcdir/tests/support/btrfs.py"

# --- a layout: options of mkfs, of mount, and a function that does more with the mounted one ---

make_btrfs() {
	truncate -s "${SIZE:-128M}" "$1"
	# shellcheck disable=SC2086
	mkfs.btrfs -q $MKFS "$1" >"$TMP/mkfs" 2>&1 || fail "mkfs: $(cat "$TMP/mkfs")"
}

fill_btrfs() {
	in_loop_mount "$1" "$MOUNT" fill_mounted
}

# Files that stay, between files that do not.
fill_mounted() {
	mkdir "$1/keep" "$1/gone"
	for i in 0 2 4 6 8; do
		cp "$TMP/tree/keep/"*[$i$((i + 1))] "$1/keep"
		cp "$TMP/tree/keep/"*[$i$((i + 1))] "$1/gone"
		sync -f "$1"
	done
	cp "$TMP/tree/keep/large" "$1/keep"
	rm -r "$1/gone"
	$MORE "$1"
	remember_tree "$1"
}

fsck_btrfs() {
	btrfs check --readonly --check-data-csum "$1" && btrfs check --readonly --super 1 "$1"
}

# A layout that this kernel may not mount.
make_unmounted() {
	make_btrfs "$1"
}
fsck_unmounted() {
	fsck_btrfs "$1"
}
fill_unmounted() {
	remember_tree "$TMP/tree"
}
verify_unmounted() {
	mkdir "$TMP/restored"
	btrfs restore "$1" "$TMP/restored" >/dev/null
	same_tree "$TMP/restored"
	rm -r "$TMP/restored"
}

# same_free FILE: the same is free by dump-tree.
same_free() {
	$BTRFS "$1" free >"$TMP/free.theirs"
	"$FREEMAP" btrfs "$1" list | tail -n +2 | diff - "$TMP/free.theirs" >"$TMP/free.diff" ||
		fail "not what dump-tree tells: $(head -5 "$TMP/free.diff")"
}

# The kernel would read, and quietly mend, one copy: so both are looked at.
verify_btrfs() {
	in_loop_mount "$1" "ro${MOUNT:+,$MOUNT}" verify_mounted
	if test "$(stat -c %s "$1")" -gt $((64 << 20)); then
		grep -Fq '[match]' <<<"$(btrfs inspect-internal dump-super -s 1 "$1")" ||
			fail "the superblock's copy is lost"
	fi
}

verify_mounted() {
	same_tree "$1"
	btrfs scrub start -B -r "$1" >"$TMP/scrub" 2>&1 || fail "scrub: $(cat "$TMP/scrub")"
	grep -q 'no errors found' "$TMP/scrub" || fail "scrub: $(cat "$TMP/scrub")"
}

# layout NAME MKFS [MOUNT [MORE]]; whole_layout, with zeroing, for those that lie differently.
layout() {
	MKFS=$2 MOUNT=${3:-} MORE=${4:-:}
	say "$1"
	${TRY:-try_map} btrfs btrfs
	same_free "$TMP/fs.img"
}
whole_layout() {
	TRY=try_layout layout "$@"
}

mkdir "$TMP/tree"
make_tree "$TMP/tree"

# Keeps the filesystem that a layout has made, and what is in it, to be recalled.
keep() {
	mv "$TMP/fs.img" "$TMP/$1.img"
	mv "$TMP/tree.sums" "$TMP/$1.sums"
}
recall() {
	cp --sparse=always "$TMP/$1.img" "$TMP/fs.img"
	cp "$TMP/$1.sums" "$TMP/tree.sums"
}

use_quota() {
	btrfs quota enable "$1" >/dev/null
	btrfs qgroup limit 100M "$1"
	cp "$1/keep/large" "$1/keep/again"
}

use_snapshots() {
	btrfs -q subvolume create "$1/a"
	cp -r "$1/keep" "$1/a"
	btrfs -q subvolume snapshot -r "$1/a" "$1/b"
	rm "$1/a/keep/"*5
	btrfs -q subvolume snapshot "$1/a" "$1/c"
	cp --reflink=always "$1/c/keep/large" "$1/c/clone"
	fill "$1/c/keep/new" 700001 new
}

# The first is cleaned up while mounted; of the second the cleaner may leave all for another day.
delete_subvolumes() {
	use_snapshots "$1"
	btrfs -q subvolume delete --commit-after "$1/a"
	btrfs subvolume sync "$1" >/dev/null
	btrfs -q subvolume delete "$1/c"
}

# So many holes that the free space tree turns to bitmaps.
make_holes() {
	split -a 3 -b 5000 "$1/keep/large" "$1/keep/part "
	sync -f "$1"
	rm "$1/keep/part "*[acegikmoqsuwy]
}

# Chunks not in the order of their addresses, and device room between them.
move_chunks() {
	fill "$1/keep/moved" 30000000 moved
	btrfs -q balance start --full-balance "$1" >/dev/null
	btrfs -q filesystem resize -40M "$1" >/dev/null
}

whole_layout "as mkfs makes it" ""
keep default
SIZE=80M layout "one copy of the metadata" "-m single -d single"
SIZE=80M whole_layout "data and metadata mixed" "--mixed"
SIZE=160M layout "mixed, twice" "--mixed -m dup -d dup"
SIZE=240M layout "data twice" "-d dup"
layout "nodes of 4 KiB" "-n 4096"
keep small
layout "nodes of 64 KiB" "-n 65536"
layout "quota" "" "" use_quota
layout "xxhash64" "--csum xxhash"
layout "SHA-256" "--csum sha256"
layout "BLAKE2b" "--csum blake2"
layout "compressed" "" compress-force=zstd
layout "compressed otherwise" "" compress-force=lzo
layout "snapshots" "" "" use_snapshots
layout "deleted subvolumes" "" "" delete_subvolumes
layout "holes told by items" "-O ^no-holes -R ^free-space-tree" space_cache=v1
layout "no record of free space" "-R ^free-space-tree" nospace_cache
layout "free space in bitmaps" "" "" make_holes
keep holes
btrfs inspect-internal dump-tree -t 10 "$TMP/holes.img" | grep FREE_SPACE_BITMAP >/dev/null ||
	fail "no bitmaps were made"
SIZE=320M layout "moved and shrunk" "-d single" "" move_chunks

say "sectors that this kernel may not have"
# btrfs restore 6.2 has room for 4 KiB of a file that is kept in its item, and sectors allow more.
find "$TMP/tree" -size +4096c -size -16385c -delete
MKFS="-s 16384 --rootdir $TMP/tree"
try_map btrfs unmounted
same_free "$TMP/fs.img"

say "another id for the metadata"
recall default
btrfstune -m "$TMP/fs.img" >/dev/null
same_free "$TMP/fs.img"
aa_test btrfs btrfs "$TMP/fs.img"

# has_tree DIR: what is remembered, maybe among other files.
has_tree() {
	(cd "$1" && sha256sum --quiet -c "$TMP/tree.sums") || fail "files are lost"
}

say "converted from ext4, and back after all that is free was overwritten"
truncate -s 0 "$TMP/fs.img"
truncate -s 300M "$TMP/fs.img"
mkfs.ext4 -q -b 4096 "$TMP/fs.img"
fill_by_kernel "$TMP/fs.img"
btrfs-convert "$TMP/fs.img" >"$TMP/convert" 2>&1 || fail "$(cat "$TMP/convert")"
"$FREEMAP" btrfs "$TMP/fs.img" fill >"$TMP/verdict" || fail "$(cat "$TMP/verdict")"
fsck_btrfs "$TMP/fs.img" >/dev/null 2>&1 || fail "overwriting what is free broke it"
in_loop_mount "$TMP/fs.img" ro has_tree
btrfs-convert -r "$TMP/fs.img" >/dev/null
e2fsck -fn "$TMP/fs.img" >/dev/null 2>&1 || fail "the ext4 is lost"
verify_by_kernel "$TMP/fs.img"

say "a disk with room for the last copy of the superblock"
truncate -s 0 "$TMP/fs.img"
truncate -s 257G "$TMP/fs.img"
mkfs.btrfs -q "$TMP/fs.img" >/dev/null 2>&1
same_free "$TMP/fs.img"
"$FREEMAP" btrfs "$TMP/fs.img" list | awk -v at=$((256 << 30)) '
	$1 + $2 == at { before = 1 } $1 == at + 65536 { behind = 1 }
	END { exit !(before && behind) }' || fail "the copy at 256 GiB is not kept"
echo super:2 0x50 1 ^1 | $BTRFS "$TMP/fs.img" edit >/dev/null
is_refused btrfs "$TMP/fs.img" damaged 'copy at 274877906944 differs'
rm "$TMP/fs.img"

# --- crashes, for real: the disk as it is while the filesystem is mounted ---

# refused_untouched FILE STATE PATTERN
refused_untouched() {
	local before
	before=$(sha "$1")
	is_refused btrfs "$1" "$2" "$3"
	refuses "$FREEMAP" btrfs "$1" fill
	expect_equal "$(sha "$1")" "$before" "a refused one was written to"
}

crash_with_log() {
	fill "$1/keep/synced" 300000 synced
	sync "$1/keep/synced"
	cp --sparse=always "$TMP/fs.img" "$TMP/crashed.img"
	remember_tree "$1"
}

crash_without_log() {
	remember_tree "$1"
	sync -f "$1"
	fill "$1/keep/lost" 300000 lost
	cp --sparse=always "$TMP/fs.img" "$TMP/crashed.img"
}

say "power is lost after a file was synced: its log must be replayed"
recall default
in_loop_mount "$TMP/fs.img" commit=300 crash_with_log
refused_untouched "$TMP/crashed.img" unclean 'log has to be replayed: mount and unmount it'
MOUNT=
in_loop_mount "$TMP/crashed.img" "" verify_mounted
is_clean btrfs "$TMP/crashed.img"

say "power is lost after a commit: nothing is to be replayed, and nothing of it is lost"
recall default
in_loop_mount "$TMP/fs.img" commit=300 crash_without_log
is_clean btrfs "$TMP/crashed.img"
aa_test btrfs btrfs "$TMP/crashed.img"

# --- damage: one thing wrong at a time, and the checksums right ---

# One editor for all: to start it takes longer than what it does.
coproc EDITOR { exec $BTRFS "$TMP/wrong.img" edit; }
cleanup_process "$EDITOR_PID"
edit() {
	local answer=
	echo "$*" >&"${EDITOR[1]}"
	read -r answer <&"${EDITOR[0]}" || :
	expect_equal "$answer" "done" "edit $*"
}

# wrong STATE PATTERN [PLACE OFF SIZE CHANGE]...: in the layout "nodes of 4 KiB", or in $FROM.
wrong() {
	local state=$1 pattern=$2
	shift 2
	cp --sparse=always "$TMP/${FROM:-small}.img" "$TMP/wrong.img"
	while test $# -gt 0; do
		edit "${@:1:4}"
		shift 4
	done
	is_refused btrfs "$TMP/wrong.img" "$state" "$pattern"
}
EXTENT=168 METADATA=169 GROUP=192

say "damaged superblocks are refused"
wrong damaged 'superblock has a wrong checksum' flip:0:0 300 1 ^1
wrong damaged 'written for another place' super:0 0x30 8 +4096
wrong damaged 'an error was found' super 0x38 8 +4
wrong unsupported 'superblock flag seeding' super 0x3c 4 1
wrong unsupported 'superblock flag metadump' super 0x3c 4 2
wrong unsupported 'superblock flag changing-fsid' super 0x3c 4 8
wrong unsupported 'superblock flags 0x10000000000000 ' super 0x3c 4 0x100000
wrong unsupported 'feature zoned' super 0xbc 8 ^0x1000
wrong unsupported 'feature extent-tree-v2' super 0xbc 8 ^0x2000
wrong unsupported 'feature raid-stripe-tree' super 0xbc 8 ^0x4000
wrong unsupported 'features 0x20000 are not known' super 0xbc 8 ^0x20000
wrong unsupported 'feature block-group-tree' super 0xb4 8 ^8
wrong unsupported 'features 0x10 are not known' super 0xb4 8 ^0x10
wrong unsupported 'checksums of kind 4' super 0xc4 2 4
wrong unsupported 'spans 2 devices' super 0x88 8 2
wrong unclean 'log has to be replayed' super:0 0x60 8 30000000
wrong damaged 'sectors of 4097' super 0x90 4 4097
wrong damaged 'sectors of 2048' super 0x90 4 2048
wrong damaged 'sectors of 8192 and nodes of 4096' super 0x90 4 8192
wrong damaged 'nodes of 2048' super 0x94 4 2048
wrong damaged 'nodes of 131072' super 0x94 4 131072
wrong damaged 'and its volume only' super 0xd1 8 +4096
wrong damaged 'and its device' super 0x70 8 -4096
wrong damaged "superblock's device is another filesystem's" super 0x20 1 ^1
wrong damaged "copy at 67108864 is damaged" flip:0:1 300 1 ^1
wrong damaged "copy at 67108864 is damaged" super:1 0x30 8 0
wrong damaged "copy at 67108864 differs" super:1 0x80 1 ^1
wrong damaged "copy at 67108864 differs" super:1 0x20 1 ^1
wrong unclean "copy at 67108864 is not of the same time" super:1 0x48 8 -1
wrong damaged 'list of chunks is too long' super 0xa0 4 4000
wrong damaged 'list of chunks is cut off' super 0xa0 4 -1
wrong damaged 'list of chunks is cut off' super 0xa0 4 +17
wrong damaged 'list of chunks is cut off' super 0xa0 4 10
wrong damaged 'is no chunk' super 0x333 1 229
wrong damaged 'is another in the superblock' super 0x33c 8 +4096
wrong damaged 'is another in the superblock' super 0x354 8 +4
wrong damaged 'bytes are in use, and by the superblock' super 0x78 8 +4096
wrong damaged 'lies outside the metadata' super 0x50 8 +0x100000000
wrong damaged 'lies outside the metadata' super 0x50 8 +1
wrong damaged 'lies outside the metadata' super 0x50 8 13631488
wrong damaged 'root tree has 9 levels' super 0xc6 1 8
wrong damaged 'at another level' super 0xc6 1 +1
wrong damaged 'of another generation' super 0x48 8 +1
wrong damaged 'of another generation' super 0xa4 8 -1
cp --sparse=always "$TMP/small.img" "$TMP/wrong.img"
edit super:0 0x40 1 ^1
expect_equal "$("$FREEMAP" btrfs "$TMP/wrong.img" || :)" no "without its magic number"
cp --sparse=always "$TMP/small.img" "$TMP/wrong.img"
truncate -s -4096 "$TMP/wrong.img"
is_refused btrfs "$TMP/wrong.img" damaged 'and its volume only'

say "damaged tree blocks are refused, in either copy"
wrong damaged 'extent tree has a wrong checksum' flip:2:0 2000 1 ^1
wrong damaged 'extent tree has a wrong checksum' flip:2:1 2000 1 ^1
wrong damaged 'differs from its copy' raw:2:1 4095 1 ^1
wrong damaged "is another filesystem's" block:2 0x20 1 ^1
wrong damaged 'written for another place' block:2 0x30 8 +4096
wrong damaged 'never written' block:2 0x38 1 0
wrong damaged "another chunk tree's" block:2 0x40 1 ^1
wrong damaged 'of another generation' block:2 0x50 8 -1
wrong damaged "is another tree's" block:2 0x58 8 5
wrong damaged 'at another level' block:2 0x64 1 3
wrong damaged 'of another generation' block:2 126 8 +1000 leaf:2 0x50 8 +1000
wrong damaged 'cannot have as many children' block:2 0x60 4 0
wrong damaged 'cannot have as many children' block:2 0x60 4 122
wrong damaged 'another first key' block:2 101 8 +4096
wrong damaged 'extent tree is out of order' block:2 134 8 0
wrong damaged 'cannot have as many items' leaf:2 0x60 4 0
wrong damaged 'cannot have as many items' leaf:2 0x60 4 160
wrong damaged 'extent tree is out of order' key:2:$EXTENT:1 0 8 0
wrong damaged 'items that overlap' key:2:$EXTENT:1 17 4 +1
wrong damaged 'items that overlap' key:2:$EXTENT:1 21 4 0xfffffff0
wrong damaged 'items that overlap' key:4:204:-1 17 4 +64 key:4:204:-1 21 4 0xfffffff0
wrong damaged 'items that overlap' key:3:228:-1 17 4 -3500 key:3:228:-1 21 4 +3500

say "a tree that is missing, or whose root is not in use, is refused"
wrong damaged 'root of tree [0-9]* cannot be' key:1:132:-1 17 4 +300 key:1:132:-1 21 4 -300
wrong damaged 'root of tree [0-9]* cannot be' item:1:132:-1 238 1 8
wrong damaged 'root of tree [0-9]* cannot be' item:1:132:-1 160 8 +1000
wrong damaged 'has no free space tree' key:1:132:-2 0 8 11
wrong damaged 'listed tree is not marked as used' item:1:132:-1 176 8 +0x100000000
wrong damaged 'listed tree is not marked as used' item:1:132:-1 176 8 +1

say "chunks that cannot be are refused"
wrong damaged 'is no chunk' key:3:228:0 0 8 +1
wrong damaged 'cannot be' item:3:228:0 0 8 +1
wrong damaged 'cannot be' item:3:228:0 0 8 0
wrong damaged 'cannot be' item:3:228:0 8 8 3
wrong damaged 'cannot be' item:3:228:0 16 8 4096
wrong damaged 'cannot be' item:3:228:0 24 8 0
wrong unsupported 'profile of chunk [0-9]* is RAID1$' item:3:228:0 24 8 +16
wrong unsupported 'profile of chunk [0-9]* is RAID1C3' item:3:228:0 24 8 +512
wrong unsupported 'profile of chunk [0-9]* is not known' item:3:228:0 24 8 +4096
wrong damaged 'not as many copies' item:3:228:0 24 8 +32
wrong damaged 'not as many copies' item:3:228:-1 44 2 2
wrong damaged 'is no chunk' key:3:228:-1 17 4 +80 key:3:228:-1 21 4 -80
wrong damaged 'is on another device' item:3:228:0 48 8 2
wrong damaged 'is on another device' item:3:228:0 64 1 ^1
wrong damaged 'lies outside the device' item:3:228:0 56 8 +0x40000000
wrong damaged 'lies outside the device' item:3:228:0 56 8 +512
wrong damaged 'overlaps the one before it' item:3:228:0 0 8 +0x800000
wrong damaged 'shares its room' item:3:228:0 56 8 +0x800000
wrong damaged 'is another in the superblock' item:3:228:1 88 8 +4096
wrong damaged 'lists 1 system chunks of 2' item:3:228:0 24 8 3
wrong damaged 'the chunks have [0-9]* bytes of the device, not' item:3:228:0 0 8 -4096
wrong damaged 'another device than the superblock' item:3:216:0 16 8 +4096
wrong damaged 'another device than the superblock' super 0xd9 8 +4096
wrong damaged 'another device than the superblock' key:3:216:0 0 8 +1
wrong damaged 'another device than the superblock' key:3:216:0 9 8 +1
wrong unsupported 'spans several devices' key:3:228:0 0 8 1 key:3:228:0 8 1 216 key:3:216:1 9 8 2
wrong unsupported 'chunk tree, of type 217' key:3:216:0 8 1 217

say "a device tree that tells otherwise is refused"
wrong damaged "is another device's" key:4:204:-1 0 8 2
wrong damaged "is not its chunk's" key:4:204:-1 9 8 +4096
wrong damaged "is another device's" key:4:204:-1 17 4 +8 key:4:204:-1 21 4 -8
wrong damaged 'has no chunk' item:4:204:-1 0 8 +1
wrong damaged 'has no chunk' item:4:204:-1 8 8 +1
wrong damaged 'has no chunk' item:4:204:-1 16 8 0
wrong damaged 'has no chunk' item:4:204:-1 16 8 +4096
wrong damaged 'has no chunk' item:4:204:-1 24 8 +4096
wrong damaged 'has no device extent' leaf:4 0x60 4 -1
wrong unsupported 'device tree, of type 248' key:4:249:0 8 1 248
wrong unsupported 'being replaced' item:4:249:0 32 8 1 key:4:249:0 8 1 250
wrong unsupported 'being replaced' item:4:249:0 32 8 4 key:4:249:0 8 1 250

say "an extent tree that is not right by itself is refused"
wrong damaged 'neither data nor metadata' item:2:$EXTENT:0 16 8 3
wrong damaged 'chunk of another kind' item:2:$METADATA:1 16 8 1 \
	key:2:$METADATA:1 9 8 4096 key:2:$METADATA:1 8 1 $EXTENT
wrong damaged 'is no tree block' key:2:$METADATA:1 9 8 8
wrong damaged 'not as long as a tree block' item:2:$EXTENT:2 16 8 2
wrong damaged 'form no longer in use' key:2:$METADATA:-1 17 4 +12 key:2:$METADATA:-1 21 4 -12
wrong damaged 'is not made of sectors' key:2:$EXTENT:1 9 8 +1
wrong damaged 'is not made of sectors' key:2:$EXTENT:1 9 8 0
wrong damaged 'is not made of sectors' key:2:$EXTENT:1 0 8 +1
wrong damaged 'is referred to, and is not there' key:2:$EXTENT:1 8 1 178
wrong damaged 'overlaps the one before it' key:2:$EXTENT:1 9 8 +0x100000
wrong damaged 'lies outside the chunks' key:2:$EXTENT:-1 9 8 +0x40000000
wrong damaged 'has no references' item:2:$EXTENT:0 0 8 0
wrong damaged 'of the future' item:2:$EXTENT:0 8 8 +1000
wrong damaged 'not as its chunk' item:2:$GROUP:0 16 8 4
wrong damaged 'not as its chunk' key:2:$GROUP:0 9 8 -4096
wrong damaged 'not as its chunk' key:2:$GROUP:0 9 8 +0x40000000
wrong damaged 'not as its chunk' item:2:$GROUP:0 8 8 +1
wrong damaged 'block group [0-9]* has other bytes in use' item:2:$GROUP:0 0 8 +4096
wrong unsupported 'extent tree, of type 193' key:2:$GROUP:0 8 1 193
wrong damaged 'is not marked as used' key:2:$METADATA:-1 0 8 +4096

say "a free space tree that tells otherwise is refused"
wrong damaged 'calls free what is used' key:10:199:-1 0 8 -4096
wrong damaged 'does not have what is free' key:10:199:-1 9 8 -4096
wrong damaged 'does not have what is free' item:10:198:-1 0 4 +1
wrong damaged 'is not as the chunks' key:10:198:-1 9 8 -4096
wrong damaged 'lies outside the chunks' key:10:199:-1 9 8 +4096
wrong damaged 'lies outside the chunks' key:10:199:-1 9 8 0
wrong damaged 'lies outside the chunks' key:10:199:-1 9 8 -1
wrong damaged 'lies outside the chunks' key:10:199:-1 0 8 +1 key:10:199:-1 9 8 -4096
wrong damaged 'lies outside the chunks' key:10:198:0 9 8 0
wrong damaged 'a group that cannot be' key:10:199:-1 8 1 198
wrong damaged 'an item that is not known' key:10:199:-1 8 1 201
FROM=holes wrong damaged 'a bitmap that cannot be' key:10:200:0 9 8 +0x40000000
FROM=holes wrong damaged 'a bitmap that cannot be' key:10:200:0 9 8 -32768
FROM=holes wrong damaged 'calls free what is used' item:10:200:0 0 8 0xffffffffffffffff
