#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is free in exFAT: filled by exfat-fuse, overwritten, and still whole; one that is mounted,
# damaged ones and odd ones are refused.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires mkfs.exfat fsck.exfat dump.exfat mount.exfat-fuse openssl python3 sha256sum
requires_loop
test -c /dev/fuse || skip "no /dev/fuse here"
mkdir "$TMP/in"

# in_exfat FILE OPTIONS COMMAND...: COMMAND with the mount's folder appended.
in_exfat() {
	local file=$1 options=$2
	shift 2
	loop_attach "$file" --sector-size "$SECTOR"
	mount.exfat-fuse -o "$options" "$LOOP" "$TMP/in" >"$TMP/mount.out" 2>&1 ||
		fail "exfat-fuse: $(cat "$TMP/mount.out")"
	cleanup "umount_lazy '$TMP/in'"
	"$@" "$TMP/in"
	umount "$TMP/in" # fuseblk: back when the daemon has written all
	loop_detach "$LOOP"
}

# --- files ----------------------------------------------------------------------------------------

mkdir -p "$TMP/new/keep" "$TMP/new/gone"
for ((i = 0; i < 50; i++)); do
	fill "$TMP/new/keep/file $i of those that are to stay" $((i * i * 37 + i % 2)) "keep $i"
	fill "$TMP/new/gone/file $i of those that are to go" $((i * i * 41 + 1)) "gone $i"
done
fill "$TMP/new/large" 3000001 large

# Every other file is deleted again, and what comes then is in pieces. A directory outgrows its first
# cluster, and what was behind it is taken.
fill_tree() {
	local i
	mkdir -p "$1/keep" "$1/gone" "$1/deep/1/2/3/4/5/6/7/8"
	for ((i = 0; i < 50; i++)); do
		cp "$TMP/new/keep/file $i "* "$1/keep"
		cp "$TMP/new/gone/file $i "* "$1/gone"
	done
	rm -r "$1/gone"
	cp "$TMP/new/large" "$1/large"
	cp "$TMP/new/keep/file 49 "* "$1/deep/1/2/3/4/5/6/7/8/bottom"
	: >"$1/empty"
	echo two >"$1/seventeen-letters" # its name takes two entries
	remember_tree "$1"
}

fill_exfat() {
	in_exfat "$1" rw fill_tree
}

fsck_exfat() {
	loop_attach "$1" --sector-size "$SECTOR"
	fsck.exfat -n "$LOOP"
	dump.exfat "$LOOP" >"$TMP/dump"
	loop_detach "$LOOP"
}

# The files, and all that is before the first cluster: both boot regions, and the table.
verify_exfat() {
	in_exfat "$1" ro same_tree
	cmp -n $(($(said_by_dump 'Cluster Heap Offset.*') * SECTOR)) "$1" "$TMP/fs.img" ||
		fail "a boot region or the table changed"
}

# said_by_dump WORDS: the number there, in what dump.exfat said last.
said_by_dump() {
	sed -n "s/^$1:[[:space:]]*\([0-9]*\)$/\1/p" "$TMP/dump"
}

make_exfat() {
	truncate -s "$SIZE" "$1"
	loop_attach "$1" --sector-size "$SECTOR"
	mkfs.exfat "${OPTIONS[@]}" "$LOOP" >"$TMP/mkfs.out"
	loop_detach "$LOOP"
}

# layout SIZE SECTOR OPTION...
layout() {
	SIZE=$1 SECTOR=$2
	shift 2
	OPTIONS=("$@")
	say "$SIZE in sectors of $SECTOR: $*"
	try_layout exfat exfat
	expect_equal "$FREE" $(($(said_by_dump 'Free Clusters') * $(said_by_dump 'Cluster size'))) \
		"bytes free, which dump.exfat has from the bitmap"
}

layout 25M 512 -c 512
layout 40M 512 -c 4K
layout 32M 4096 -c 4K
layout 40M 512 -c 32K --pack-bitmap
layout 64M 512 -c 128K

# --- what is refused ------------------------------------------------------------------------------

# poke FILE OFFSET HEX
poke() {
	printf '%b' "$(sed 's/../\\x&/g' <<<"$3")" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

little_endian() {
	printf "%0$(($2 * 2))x" "$1" | fold -w2 | tac | tr -d '\n'
}

again() {
	cp --sparse=always "$TMP/good.img" "$TMP/bad.img"
}

# refused STATE PATTERN: bad.img is, and asking to overwrite what is free does not change it.
refused() {
	local before
	before=$(stat -c %y "$TMP/bad.img")
	is_refused exfat "$TMP/bad.img" "$1" "$2"
	refuses "$FREEMAP" exfat "$TMP/bad.img" fill
	expect_equal "$(stat -c %y "$TMP/bad.img")" "$before" "when a refused one was written to"
	again
}

SIZE=64M SECTOR=512 OPTIONS=(-c 4K)
make_exfat "$TMP/good.img"

# What is on it at the moment, as after a crash of the machine.
copy_as_is() {
	sync -f "$1"
	blockdev --flushbufs "$LOOP"
	cp --sparse=always "$TMP/good.img" "$TMP/bad.img"
}
fill_and_copy() {
	fill_tree "$1"
	copy_as_is "$1"
}
say "one that is mounted"
in_exfat "$TMP/good.img" rw fill_and_copy
refused unclean 'not unmounted'

fsck_exfat "$TMP/good.img" >"$TMP/fsck.out"
is_clean exfat "$TMP/good.img"
GOOD_FREE=$FREE
UNIT=$(said_by_dump 'Cluster size')
TABLE=$(($(said_by_dump 'FAT Offset(sector offset)') * SECTOR))
HEAP=$(($(said_by_dump 'Cluster Heap Offset (sector offset)') * SECTOR))
BITMAP=$((HEAP + ($(said_by_dump 'Bitmap start cluster') - 2) * UNIT))
UPCASE=$((HEAP + ($(said_by_dump 'Upcase table start cluster') - 2) * UNIT))
ROOT_CLUSTER=$(said_by_dump 'Root Cluster (cluster offset)')
ROOT=$((HEAP + (ROOT_CLUSTER - 2) * UNIT))
CLUSTERS=$(said_by_dump 'Total Clusters')

say "boot regions"
while read -r off hex state pattern; do
	if test "$state" = no; then
		poke "$TMP/bad.img" "$off" "$hex"
		expect_equal "$("$FREEMAP" exfat "$TMP/bad.img")" no "a broken boot sector"
		again
	else
		poke "$TMP/bad.img" "$off" "$hex"
		refused "$state" "$pattern"
	fi
done <<-EOT
	3 4e no
	510 00 no
	106 02 unclean not.unmounted
	106 04 damaged error.was.met
	106 01 unsupported TexFAT
	110 02 unsupported TexFAT
	105 02 unsupported version
	108 08 damaged impossible
	108 0d damaged impossible
	109 11 damaged impossible
	72 ffffffffffffffff damaged larger
	72 0000000001000000 damaged larger
	72 0001000000000000 damaged do.not.fit
	80 00000000 damaged do.not.fit
	80 ffffff7f damaged do.not.fit
	84 01000000 damaged do.not.fit
	88 ffffff7f damaged do.not.fit
	92 ffffffff unsupported more.clusters
	92 ffffff1f damaged do.not.fit
	92 00000000 damaged do.not.fit
	92 $(little_endian $((CLUSTERS + 1)) 4) damaged do.not.fit
	96 01000000 damaged do.not.fit
	96 ffffffff damaged do.not.fit
	100 5a damaged checksum
	700 5a damaged checksum
	5632 5a damaged checksum
	6143 5a damaged checksum
	6244 5a damaged backup
	12287 5a damaged backup
EOT
expect_equal "$("$FREEMAP" exfat /dev/null)" no "a reader of nothing"

# edit NAME [OFFSET HEX]...: in the entry set of the file, whose checksum is then right. The set's start.
edit() {
	python3 - "$TMP/bad.img" "$@" <<-'EOT'
		import sys
		image, name = sys.argv[1:3]
		changes = sys.argv[3:]
		f = open(image, "r+b")
		data = f.read()
		at = data.index(b"\xc1\0" + name.encode("utf-16-le")) - 64
		assert data[at] == 0x85 and data[at + 32] == 0xc0
		entries = bytearray(data[at:at + (data[at + 1] + 1) * 32])
		for off, new in zip(changes[::2], changes[1::2]):
		    new = bytes.fromhex(new)
		    entries[int(off):int(off) + len(new)] = new
		total = 0
		for i, byte in enumerate(entries):
		    if i not in (2, 3):
		        total = ((total << 15 | total >> 1) + byte) & 0xffff
		entries[2:4] = total.to_bytes(2, "little")
		f.seek(at)
		f.write(entries)
		print(at)
	EOT
}

# number FILE OFFSET SIZE: as it is kept there.
number() {
	od -An -v -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

# first_of NAME, flags_of NAME: of the file's clusters.
first_of() {
	number "$TMP/good.img" $(($(edit "$1") + 52)) 4
}
flags_of() {
	number "$TMP/good.img" $(($(edit "$1") + 33)) 1
}

# next_of CLUSTER; set_next CLUSTER NEXT.
next_of() {
	number "$TMP/good.img" $((TABLE + $1 * 4)) 4
}
set_next() {
	poke "$TMP/bad.img" $((TABLE + $1 * 4)) "$(little_endian "$2" 4)"
}

# flip CLUSTER: its bit in the bitmap.
flip() {
	local off=$((BITMAP + ($1 - 2) / 8)) byte
	byte=$(number "$TMP/bad.img" "$off" 1)
	poke "$TMP/bad.img" "$off" "$(little_endian $((byte ^ 1 << ($1 - 2) % 8)) 1)"
}

say "the bitmap"
large=$(first_of large) bottom=$(first_of bottom)
last=$((CLUSTERS + 1))
for cluster in 2 "$ROOT_CLUSTER" "$large" "$bottom"; do
	flip "$cluster"
	refused damaged 'marked free'
done
for cluster in "$last" $((last - 1000)); do
	flip "$cluster"
	refused damaged "cluster $cluster is marked used"
done
poke "$TMP/bad.img" "$ROOT" 03
poke "$TMP/bad.img" $((ROOT + 32)) 03
poke "$TMP/bad.img" $((ROOT + 64)) 03
refused damaged 'no bitmap|no table'

say "clusters that are bad stay used"
for cluster in "$last" $((last - 1000)); do
	flip "$cluster"
	set_next "$cluster" $((0xfffffff7))
done
is_clean exfat "$TMP/bad.img"
expect_equal "$FREE" $((GOOD_FREE - 2 * UNIT)) "bytes free beside bad clusters"
again

say "the table of capital letters"
poke "$TMP/bad.img" $((UPCASE + 1000)) 5a5a
refused damaged 'capital letters'

say "chains"
test $(($(flags_of large) & 2)) = 0 || fail "the large file is in one piece: no chain to damage"
test $(($(flags_of bottom) & 2)) = 2 || fail "the small file is not in one piece"
second=$(next_of "$large")
third=$(next_of "$second")
set_next "$second" $((0xffffffff))
refused damaged 'as long as the file'
set_next "$second" "$large"
refused damaged 'belongs to two'
set_next "$second" "$bottom"
refused damaged "through $bottom leads nowhere|belongs to two"
set_next "$second" $((CLUSTERS + 2))
refused damaged 'leads nowhere'
set_next "$second" 0
refused damaged 'leads nowhere'
set_next "$second" "$(next_of "$third")"
refused damaged 'as long as the file'
set_next "$ROOT_CLUSTER" "$last"
set_next "$last" $((0xffffffff))
refused damaged "cluster $last is a file's, and marked free"

say "what the root and other directories may have"
poke "$TMP/bad.img" "$ROOT" a1
refused unsupported 'not known .a1'
poke "$TMP/bad.img" "$ROOT" "a0$(little_endian 0 31)"
is_refused exfat "$TMP/bad.img" damaged 'id .* checksum'
poke "$TMP/bad.img" $((ROOT + 2)) 0005
is_clean exfat "$TMP/bad.img"
again
poke "$TMP/bad.img" $((HEAP + ($(first_of keep) - 2) * UNIT)) 83
refused damaged "no file's"
poke "$TMP/bad.img" "$ROOT" "8100$(little_endian 0 18)$(little_endian "$last" 4)c007000000000000"
set_next "$last" $((0xffffffff))
refused damaged 'two bitmaps'
poke "$TMP/bad.img" $((ROOT + 33)) 01
refused damaged 'two bitmaps'

say "entries"
entry=$(edit large)
for off in 1 2 6 20 36 52 56 66; do
	poke "$TMP/bad.img" $((entry + off)) 7b
	refused damaged 'checksum|cut short|makes no sense'
done
again
while read -r name state pattern edits; do
	# shellcheck disable=SC2086 # a list of words
	edit "$name" $edits >"$TMP/out"
	refused "$state" "$pattern"
done <<-EOT
	large damaged leads.nowhere 52 $(little_endian "$bottom" 4)
	large damaged marked.used 52 $(little_endian "$second" 4) 56 $(little_endian $((3000001 - UNIT)) 4) 40 00000000
	large damaged has.not 52 00000000
	large damaged has.not 52 ffffffff
	large damaged contradict 56 ffffffffffffffff
	large damaged contradict 40 0000000000000000 56 0000000000000000
	large damaged contradict 33 00
	large damaged marked.used 40 0000000000000000 52 000000000000000000000000
	large damaged as.long.as 40 00000000 56 $(little_endian $((3000001 - UNIT)) 4)
	large damaged as.long.as 56 $(little_endian $((3000001 + UNIT)) 4)
	large damaged belongs.to.two 33 03
	large damaged no.sense 56 01000000
	large damaged no.sense 35 00
	large damaged name.is.not 35 10
	large damaged name.is.not 64 c2
	large damaged no.sense 32 c1
	large damaged no.sense 1 01
	large damaged cut.short 64 41
	large damaged cut.short 64 85
	large damaged no.sense 4 30
	seventeen-lette damaged marked.free 56 $(little_endian $((4 + UNIT)) 4)
	bottom damaged marked.used 40 0000 56 $(little_endian $((49 * 49 * 37 + 1 - UNIT)) 4)
	bottom damaged has.not 52 ffff0000
	bottom damaged has.not 52 $(little_endian "$last" 4)
	deep damaged no.sense 56 01
	deep damaged no.sense 40 0000
	deep damaged belongs.to.two|marked.free|leads.nowhere 40 0020000000000000 56 0020000000000000
	seventeen-lette damaged name.is.not 35 0f
	seventeen-lette unsupported of.a.kind 35 0f 96 c2
	seventeen-lette damaged belongs.to.two 35 0f 96 e103 116 $(little_endian "$bottom" 4) 120 0100000000000000
EOT
entry=$(edit seventeen-lette 1 13)
for ((i = 4; i < 20; i++)); do # one entry more than a set can have
	poke "$TMP/bad.img" $((entry + i * 32)) c1
done
refused damaged 'no sense'
edit seventeen-lette 35 0f 96 e000 >"$TMP/out"
is_clean exfat "$TMP/bad.img" # a vendor's, without clusters
expect_equal "$FREE" "$GOOD_FREE" "bytes free beside a vendor's entry"
