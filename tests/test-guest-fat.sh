#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is free in FAT12, FAT16 and FAT32: filled by mtools, overwritten, and still whole; unclean,
# damaged and odd ones are refused. There is no way here to crash one, since Linux's own driver may
# not be there; the marks that it and Windows leave are set by hand, as the checker knows them, too.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires mkfs.fat fsck.fat mformat mattrib mcopy mmd mdel mdeltree mshowfat openssl sha256sum
export MTOOLSRC=/dev/null

# --- files: no more than a floppy has room for, each named for who it is ---------------------------

mkdir -p "$TMP/tree/dir" "$TMP/gone"
for ((i = 0; i < 50; i++)); do
	fill "$TMP/tree/dir/a file to keep, $i" $((i * i * 3 + i % 2)) "keep $i"
	fill "$TMP/gone/a file to delete, $i" $((i * i * 4 + 1)) "gone $i"
	between+=("$TMP/tree/dir/a file to keep, $i" "$TMP/gone/a file to delete, $i")
done
fill "$TMP/tree/large" 300001 large
mkdir -p "$TMP/tree/deep/1/2/3/4/5/6/7/8"
fill "$TMP/tree/deep/1/2/3/4/5/6/7/8/bottom" 70000 bottom
fill "$TMP/tree/hiberfil.sys" 5000 'not asleep'

# Every other file is deleted again, and what comes then is in pieces.
fill_fat() {
	mmd -i "$1" ::dir ::gone
	mcopy -i "$1" "$TMP/gone/a file to delete, 49" ::gone
	mcopy -i "$1" "${between[@]}" ::dir
	mdel -i "$1" "::dir/a file to delete*"
	mdeltree -i "$1" ::gone
	mcopy -s -i "$1" "$TMP/tree/large" "$TMP/tree/deep" "$TMP/tree/hiberfil.sys" ::
	mattrib -i "$1" +h +s ::hiberfil.sys
	remember_tree "$TMP/tree"
}

fsck_fat() {
	fsck.fat -vn "$1"
}

# The files, and all that is before the first cluster: both boot sectors, what is in the sectors
# beside them, every copy of the table.
verify_fat() {
	rm -rf "$TMP/out"
	mkdir "$TMP/out"
	mcopy -s -i "$1" ::dir ::large ::deep ::hiberfil.sys "$TMP/out"
	same_tree "$TMP/out"
	cmp -n "$(said_by_fsck 'Data area starts at byte')" "$1" "$TMP/fs.img" ||
		fail "a boot sector or a table changed"
}

# said_by_fsck WORDS [WORDS BEHIND]: the number there, in what fsck.fat -v said last.
said_by_fsck() {
	sed -n "s/^ *$1 *\([0-9]*\)${2:-}.*/\1/p" "$TMP/fsck.out"
}

# By the checker, whose count has nothing to do with ours.
agree_on_free() {
	local used clusters unit
	unit=$(said_by_fsck '' ' bytes per cluster')
	IFS=' /' read -r used clusters < <(
		sed -n 's,.* files\, \([0-9]*\)/\([0-9]*\) clusters.*,\1 \2,p' "$TMP/fsck.out")
	expect_equal "$FREE" $(((clusters - used) * unit)) "bytes free"
}

make_fat() {
	if test "${MKFS[0]}" = mkfs.fat; then
		truncate -s "$SIZE" "$1"
	fi
	"${MKFS[@]}" "$1" >"$TMP/mkfs.out"
}

# layout KIND SIZE COMMAND...
layout() {
	local kind=$1
	SIZE=$2
	shift 2
	MKFS=("$@")
	say "$kind $SIZE: $*"
	try_layout fat fat
	grep -q "^clean $kind " "$TMP/verdict" || fail "not $kind: $(cat "$TMP/verdict")"
	agree_on_free
}

layout fat12 1440K mformat -C -f 1440 :: -i
layout fat12 6M mkfs.fat -F 12 -f 1 -s 4
layout fat12 20M mkfs.fat -F 12 -s 128
layout fat16 20M mkfs.fat -F 16 -s 1
layout fat16 20M mformat -C -T 40960 -h 16 -s 63 :: -i
layout fat16 17M mkfs.fat -F 16 -s 4
layout fat16 20M mkfs.fat -F 16 -S 4096 -s 1
layout fat32 34M mkfs.fat -F 32 -s 1 -f 1
layout fat32 35M mformat -C -F -T 71680 -h 16 -s 63 -c 1 :: -i
layout fat32 67M mkfs.fat -F 32 -s 2

# The larger ones are not overwritten, but every cluster of every file is looked for in what is free.
clusters_of() {
	local path
	for path in ::large ::dir '::dir/a file to keep, 49' '::dir/a file to keep, 7' \
		::deep/1/2/3/4/5/6/7/8 ::deep/1/2/3/4/5/6/7/8/bottom; do
		mshowfat -i "$1" "$path"
	done | grep -o '<[^>]*>' | tr -d '<>' | sed 's/^\([0-9]*\)$/\1-\1/' | tr '-' ' '
}
for cluster in '512 4' '512 8' '512 16' '512 32' '512 64' '512 128' '4096 1' '4096 128'; do
	read -r sector sectors <<<"$cluster"
	SIZE=$((sectors * sector / 512 * 34))M MKFS=(mkfs.fat -F 32 -S "$sector" -s "$sectors")
	say "fat32 $SIZE: ${MKFS[*]}"
	rm -f "$TMP/fs.img"
	make_fat "$TMP/fs.img"
	fill_fat "$TMP/fs.img"
	fsck_fat "$TMP/fs.img" >"$TMP/fsck.out"
	is_clean fat "$TMP/fs.img"
	agree_on_free
	"$FREEMAP" fat "$TMP/fs.img" list | sed 1d >"$TMP/free"
	clusters_of "$TMP/fs.img" >"$TMP/clusters"
	test "$(wc -l <"$TMP/clusters")" -ge 6 || fail "the clusters of files are not known"
	awk -v base="$(said_by_fsck 'Data area starts at byte')" -v unit=$((sectors * sector)) '
		NR == FNR { start[NR] = $1; end[NR] = $1 + $2; n = NR; next }
		{
			from = base + ($1 - 2) * unit; to = base + ($2 - 1) * unit
			for (i = 1; i <= n; i++)
				if (from < end[i] && start[i] < to) { print; bad = 1 }
		}
		END { exit bad }' "$TMP/free" "$TMP/clusters" ||
		fail "a file's clusters are free"
done

# --- what is refused ------------------------------------------------------------------------------

# poke FILE OFFSET HEX
poke() {
	printf '%b' "$(sed 's/../\\x&/g' <<<"$3")" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

little_endian() {
	printf "%0$(($2 * 2))x" "$1" | fold -w2 | tac | tr -d '\n'
}

# Makes good.img, and knows where its tables are.
begin() {
	SIZE=$1
	shift
	MKFS=(mkfs.fat "$@")
	rm -f "$TMP/good.img"
	make_fat "$TMP/good.img"
	fill_fat "$TMP/good.img"
	fsck_fat "$TMP/good.img" >"$TMP/fsck.out"
	TABLE=$(said_by_fsck 'First FAT starts at byte')
	TABLE_LEN=$(said_by_fsck '' ' bytes per FAT.*')
	TABLES=$(said_by_fsck '' ' FATs\?, .*')
	BASE=$(said_by_fsck 'Data area starts at byte')
	UNIT=$(said_by_fsck '' ' bytes per cluster')
	is_clean fat "$TMP/good.img"
	GOOD_FREE=$FREE
}

again() {
	cp --sparse=always "$TMP/good.img" "$TMP/bad.img"
}

# set_entry WIDTH CLUSTER VALUE: in every copy of the table of bad.img.
set_entry() {
	local i
	for ((i = 0; i < TABLES; i++)); do
		poke "$TMP/bad.img" $((TABLE + i * TABLE_LEN + $2 * $1 / 8)) \
			"$(little_endian "$3" $(($1 / 8)))"
	done
}

# refused STATE PATTERN: bad.img is, and asking to overwrite what is free does not change it.
refused() {
	local before
	before=$(stat -c %y "$TMP/bad.img")
	is_refused fat "$TMP/bad.img" "$1" "$2"
	refuses "$FREEMAP" fat "$TMP/bad.img" fill
	expect_equal "$(stat -c %y "$TMP/bad.img")" "$before" "when a refused one was written to"
	again
}

checker_says() {
	local said
	said=$(fsck.fat -n "$TMP/bad.img" 2>&1) || true
	grep -q "$1" <<<"$said" || fail "fsck.fat does not say '$1': $said"
}

# first_of PATH, last_of PATH: of its clusters.
first_of() {
	mshowfat -i "$TMP/good.img" "$1" | grep -o '<[0-9]*' | head -1 | tr -d '<'
}
last_of() {
	mshowfat -i "$TMP/good.img" "$1" | grep -o '[0-9]*>' | tail -1 | tr -d '>'
}

# damage WIDTH END: what can happen to the table of every kind that ends on bytes.
damage() {
	local width=$1 end=$2 large bottom mid last
	large=$(first_of ::large)
	bottom=$(first_of ::deep/1/2/3/4/5/6/7/8/bottom)
	last=$(last_of ::large) mid=$((last - 2))
	grep -q "<[0-9]*-$last>$" <<<"$(mshowfat -i "$TMP/good.img" ::large)" || fail "not in one piece"
	say "the table of $width bits is damaged"
	again
	set_entry "$width" "$large" 0
	refused damaged 'free'
	set_entry "$width" "$mid" 0
	refused damaged 'leads to a free one'
	set_entry "$width" "$last" 0
	refused damaged 'leads to a free one'
	set_entry "$width" "$mid" "$end"
	refused damaged 'belong to no file'
	set_entry "$width" "$last" "$bottom"
	refused damaged 'belongs to two'
	set_entry "$width" "$last" "$mid"
	refused damaged 'meet at'
	set_entry "$width" "$last" 1
	refused damaged 'means nothing'
	set_entry "$width" "$last" $((end - 0x100))
	refused damaged 'means nothing'
	set_entry "$width" "$mid" $((end - 8))
	refused damaged 'meet at'
	set_entry "$width" "$((last + 1000))" "$end"
	refused damaged 'belong to no file'
	set_entry "$width" "$((last + 1000))" $((last + 1001))
	set_entry "$width" "$((last + 1001))" $((last + 1000))
	refused damaged 'clusters, and its table'
	set_entry "$width" 0 $((end & ~0xff))
	refused damaged 'does not begin as one does'
	poke "$TMP/bad.img" $((TABLE + TABLE_LEN + (last + 1000) * width / 8)) ff
	refused damaged 'copies .* differ'
	poke "$TMP/bad.img" $((TABLE + TABLE_LEN + large * width / 8)) 00
	refused damaged 'copies .* differ'

	say "bad clusters stay used"
	set_entry "$width" "$((last + 1000))" $((end - 8))
	set_entry "$width" "$((last + 1001))" $((end - 8))
	is_clean fat "$TMP/bad.img"
	expect_equal "$FREE" $((GOOD_FREE - 2 * UNIT)) "bytes free beside bad clusters"
	again
}

# entry_of NAME: where the directory's entry with the short name (11 letters) is.
entry_of() {
	grep -aobF "$1" "$TMP/good.img" | head -1 | cut -d: -f1
}

# What can happen to directories.
damage_tree() {
	local large bottom dots
	large=$(entry_of 'LARGE      ')
	bottom=$(entry_of 'BOTTOM     ')
	dots=$((BASE + ($(first_of ::deep/1) - 2) * UNIT))
	say "directories are damaged"
	again
	poke "$TMP/bad.img" $((large + 26)) 0100
	refused damaged 'that the volume has not'
	poke "$TMP/bad.img" $((large + 26)) ffff
	refused damaged 'that the volume has not|marked free'
	poke "$TMP/bad.img" $((large + 26)) \
		"$(little_endian "$(first_of ::deep/1/2/3/4/5/6/7/8/bottom)" 2)"
	refused damaged 'belongs to two'
	poke "$TMP/bad.img" $((large + 28)) 00000000
	refused damaged 'clusters, and its table'
	poke "$TMP/bad.img" $((bottom + 28)) 01000080
	refused damaged 'clusters, and its table'
	poke "$TMP/bad.img" "$bottom" 00
	refused damaged 'belong to no file'
	poke "$TMP/bad.img" "$dots" 41
	refused damaged 'does not begin as one does'
	poke "$TMP/bad.img" $((dots + 26)) ffff
	refused damaged 'does not begin as one does'
}

# What may not be in a boot sector: OFFSET HEX STATE PATTERN each; the state "no" is that of none.
odd_boot() {
	say "boot sectors that make no sense"
	again
	while read -r off hex state pattern; do
		poke "$TMP/bad.img" "$off" "$hex"
		if test "$state" = no; then
			expect_equal "$("$FREEMAP" fat "$TMP/bad.img")" no "a broken boot sector"
			again
		else
			refused "$state" "$pattern"
		fi
	done
}

hibernate() {
	poke "$TMP/bad.img" $((BASE + ($(first_of ::hiberfil.sys) - 2) * UNIT)) "$1"
}

say "FAT32: marks of a system that did not end"
begin 36M -F 32 -s 1
again
poke "$TMP/bad.img" $((0x41)) 01
checker_says 'Dirty bit is set'
refused unclean 'not unmounted'
poke "$TMP/bad.img" $((0x41)) 02
refused damaged 'error was met'
for copy in 0 1; do
	poke "$TMP/bad.img" $((TABLE + copy * TABLE_LEN + 7)) 07
	refused unclean 'not unmounted'
	poke "$TMP/bad.img" $((TABLE + copy * TABLE_LEN + 7)) 0b
	refused damaged 'error was met'
done
for magic in 68696272 48494252 72737472; do
	hibernate $magic
	refused hibernated 'Windows is hibernated'
done
hibernate 77616b65 # "wake": it has woken up
is_clean fat "$TMP/bad.img"

damage 32 $((0x0fffffff))
damage_tree
say "FAT32: its two boot sectors differ"
again
poke "$TMP/bad.img" $((6 * 512 + 13)) 02
refused damaged 'backup'
poke "$TMP/bad.img" $((6 * 512 + 510)) 00
refused damaged 'backup'
poke "$TMP/bad.img" 44 03
refused damaged 'backup'
odd_boot <<-EOT
	510 0000 no
	11 0003 no
	13 03 no
	13 00 no
	14 0000 no
	16 00 no
	16 04 damaged backup
	21 00 no
	32 ffffffff damaged and.what.it.is.in
	32 01000000 damaged no.room
	36 ffffffff damaged no.room
	36 01000000 damaged too.small
	17 0002 damaged no.room
	42 0100 unsupported version
	44 ffffffff damaged table.or.root
	40 8200 damaged table.or.root
	3 2d4656452d46532d unsupported BitLocker
	424 3bd66749292ed84a8399f6a339e3d001 unsupported BitLocker
EOT
expect_equal "$("$FREEMAP" fat /dev/null)" no "a reader of nothing"

say "FAT32: only one table is kept up to date"
again
for sector in 0 6; do
	poke "$TMP/bad.img" $((sector * 512 + 40)) 81
done
dd if=/dev/zero of="$TMP/bad.img" bs=512 seek=$((TABLE / 512)) count=$((TABLE_LEN / 512)) \
	conv=notrunc status=none
is_clean fat "$TMP/bad.img"
expect_equal "$FREE" "$GOOD_FREE" "bytes free by the second table"
poke "$TMP/bad.img" 40 80
poke "$TMP/bad.img" $((6 * 512 + 40)) 80
refused damaged 'does not begin as one does'

say "FAT32: its count of what is free is a hint"
poke "$TMP/bad.img" $((512 + 488)) 01000000
is_clean fat "$TMP/bad.img"
expect_equal "$FREE" "$GOOD_FREE" "bytes free beside a wrong hint"

say "FAT32 by layout, and too small for one"
rm -f "$TMP/bad.img"
truncate -s 20M "$TMP/bad.img"
mkfs.fat -F 32 "$TMP/bad.img" >/dev/null 2>&1
is_refused fat "$TMP/bad.img" unsupported 'systems disagree'

say "FAT16: marks of a system that did not end"
begin 18M -F 16 -s 4
again
poke "$TMP/bad.img" $((0x25)) 01
checker_says 'Dirty bit is set'
refused unclean 'not unmounted'
poke "$TMP/bad.img" $((0x25)) 02
refused damaged 'error was met'
for copy in 0 1; do
	poke "$TMP/bad.img" $((TABLE + copy * TABLE_LEN + 3)) 7f
	refused unclean 'not unmounted'
	poke "$TMP/bad.img" $((TABLE + copy * TABLE_LEN + 3)) bf
	refused damaged 'error was met'
done
damage 16 $((0xffff))
damage_tree
say "FAT16: the label does not say what it is"
poke "$TMP/bad.img" 54 4641543132202020
is_clean fat "$TMP/bad.img"
expect_equal "$FREE" "$GOOD_FREE" "bytes free under another label"

say "FAT16: four copies of the table"
rm -f "$TMP/bad.img"
truncate -s 18M "$TMP/bad.img"
mkfs.fat -F 16 -s 4 -f 4 "$TMP/bad.img" >/dev/null
fill_fat "$TMP/bad.img"
is_clean fat "$TMP/bad.img"
poke "$TMP/bad.img" $((TABLE + 3 * TABLE_LEN + 100)) ee
is_refused fat "$TMP/bad.img" damaged 'copies .* differ'

say "what kind it is, by the number of clusters alone"
# has_clusters COUNT: bad.img, which is empty; FAT32 has that number in the second boot sector, too.
has_clusters() {
	local sectors=$((BASE / 512 + $1))
	poke "$TMP/bad.img" 19 0000
	poke "$TMP/bad.img" 32 "$(little_endian $sectors 4)"
	if test "${2:-}" = 32; then
		poke "$TMP/bad.img" $((6 * 512 + 32)) "$(little_endian $sectors 4)"
	fi
}
is_kind() {
	is_clean fat "$TMP/bad.img"
	grep -q "^clean $1 " "$TMP/verdict" || fail "not $1: $(cat "$TMP/verdict")"
	expect_equal "$FREE" $((($2) * 512)) "bytes free"
}
make_empty() {
	rm -f "$TMP/bad.img"
	truncate -s "$1" "$TMP/bad.img"
	mkfs.fat "${@:2}" -s 1 "$TMP/bad.img" >/dev/null
	fsck_fat "$TMP/bad.img" >"$TMP/fsck.out"
	TABLE=$(said_by_fsck 'First FAT starts at byte')
	TABLE_LEN=$(said_by_fsck '' ' bytes per FAT.*')
	BASE=$(said_by_fsck 'Data area starts at byte')
}
make_empty 3M -F 16
has_clusters 4085
is_kind fat16 4085
has_clusters 4084
is_refused fat "$TMP/bad.img" damaged 'fat12: '
for ((i = 0; i < 2; i++)); do
	poke "$TMP/bad.img" $((TABLE + i * TABLE_LEN)) f8ffff00
done
is_kind fat12 4084
make_empty 33000K -F 16
truncate -s 34M "$TMP/bad.img"
has_clusters 65525
is_refused fat "$TMP/bad.img" damaged 'more clusters than there can be'
has_clusters 65524
is_kind fat16 65524
make_empty 34M -F 32
has_clusters 65525 32
is_kind fat32 65525-1
has_clusters 65524 32
is_refused fat "$TMP/bad.img" unsupported 'systems disagree'

say "FAT12"
begin 4M -F 12 -s 4
again
poke "$TMP/bad.img" $((0x25)) 01
refused unclean 'not unmounted'
damage_tree
large=$(first_of ::large)
poke "$TMP/bad.img" $((TABLE + TABLE_LEN + large * 12 / 8)) 00
refused damaged 'copies .* differ'
for ((i = 0; i < TABLES; i++)); do # two entries are in it, at least
	poke "$TMP/bad.img" $((TABLE + i * TABLE_LEN + large * 12 / 8)) 000000
done
refused damaged 'free'
