#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# XFS as its own mkfs and the kernel make it: what the reader calls free is free, in every layout;
# with damage and with features not known it says so. Its log has a test of its own.
#
# The kernel no longer mounts version 4. Its files are put in by mkfs, and read by xfs_db.
. "$(dirname "$0")/support/lib.sh"
. "$top_srcdir/tests/support/guest.sh"

requires mkfs.xfs xfs_repair xfs_db xfs_io xfs_admin xfs_growfs openssl python3 qemu-img jq
requires_loop

# --- layouts --------------------------------------------------------------------------------------

# make_xfs FILE SIZE [OPTION...]: smaller than mkfs thinks right.
make_xfs() {
	truncate -s "$2" "$1"
	mkfs.xfs -q --unsupported "${@:3}" "$1" >"$TMP/mkfs.out" 2>&1 || fail "$(cat "$TMP/mkfs.out")"
}

fill_xfs() { fill_by_kernel "$@"; }
verify_xfs() { verify_by_kernel "$@"; }

# field FILE NAME: of the superblock.
field() {
	xfs_db -r -c 'sb 0' -c "print $2" "$1" 2>"$TMP/db.out" | sed 's/.* //'
}

# The checker, and the superblock's copies, which it does not look at as long as the first is right.
fsck_xfs() {
	local group groups commands=()
	xfs_repair -n "$1" || return
	groups=$(field "$1" agcount)
	for ((group = 0; group < groups; group++)); do
		commands+=(-c "sb $group" -c 'print dblocks agblocks logstart uuid crc')
	done
	xfs_db -r "${commands[@]}" "$1" | sort | uniq -c >"$TMP/copies"
	test "$(awk -v n="$groups" '$2 != "crc" && $1 == n' "$TMP/copies" | wc -l)" = 4 &&
		! grep -qF '(bad' "$TMP/copies"
}

# free_by_db FILE UNIT: "START LEN" of each free extent, and of each block in an AGFL.
free_by_db() {
	local unit=$2 group
	group=$(field "$1" agblocks)
	xfs_db -r -c 'freesp -d' "$1" 2>"$TMP/db.out" | awk -v unit="$unit" -v group="$group" '
		NF == 3 && $1 ~ /^[0-9]+$/ { printf "%.0f %.0f\n", ($1 * group + $2) * unit, $3 * unit }
		/from +to/ { exit }'
}

# The free extents are those of xfs_db, which also lists the AGFLs' single blocks.
same_free_room() {
	local commands=() group groups listed unit
	groups=$(field "$1" agcount) unit=$(field "$1" blocksize)
	for ((group = 0; group < groups; group++)); do
		commands+=(-c "agf $group" -c 'print flcount')
	done
	listed=$(xfs_db -r "${commands[@]}" "$1" 2>"$TMP/db.out" | awk '{ n += $3 } END { print n }')
	"$FREEMAP" xfs "$1" list | sed 1d | sort >"$TMP/ours"
	free_by_db "$1" "$unit" | sort >"$TMP/theirs"
	test -s "$TMP/ours" || fail "nothing is free"
	expect_equal "$(comm -23 "$TMP/ours" "$TMP/theirs")" "" "free for us alone"
	expect_equal "$(comm -13 "$TMP/ours" "$TMP/theirs" | awk -v unit="$unit" '
		$2 != unit { print "not a single block:", $0 } END { print NR }')" "$listed" "AGFL"
}

# layout NAME [COMMAND]: try_layout, or COMMAND, with what is not a layout's own.
layout() {
	local name=$1 how=${2:-try_layout}
	for function in fill verify fsck; do
		declare -F "${function}_$name" >/dev/null ||
			eval "${function}_$name() { ${function}_xfs \"\$@\"; }"
	done
	"$how" xfs "$name"
	same_free_room "$TMP/fs.img"
}

make_default() {
	make_xfs "$1" 64M
}

# Small blocks, every tree there is, and files that share extents.
make_rmap() {
	make_xfs "$1" 64M -b size=1k -m rmapbt=1,reflink=1 -i nrext64=1
}
fill_rmap() {
	in_loop_mount "$1" "" make_shared
}
make_shared() {
	make_tree "$1"
	cp --reflink=always "$1/keep/large" "$1/keep/shared"
	printf changed | dd of="$1/keep/shared" bs=1 seek=1500000 conv=notrunc status=none
	remember_tree "$1"
}

# Blocks larger than a page: headers share the first.
make_block64k() {
	make_xfs "$1" 160M -b size=65536
}

# 32 groups, the last shorter, with as few trees as can be; most of the room is taken, so that little
# is to be overwritten.
make_groups() {
	make_xfs "$1" 510M -d agsize=16m -m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0
}
fill_groups() {
	in_loop_mount "$1" "" take_room
}
take_room() {
	fallocate -l 390M "$1/room"
	make_tree "$1" 20
	sync -f "$1"
	rm "$1/room"
	fallocate -l 380M "$1/room"
	(cd "$1" && find . -type f ! -name room -print0 | sort -z | xargs -0 sha256sum) >"$TMP/tree.sums"
}
verify_groups() {
	in_loop_mount "$1" ro same_but_room
}
same_but_room() {
	(cd "$1" && sha256sum --quiet -c "$TMP/tree.sums") || fail "files differ"
}

# Every other block free: the trees have three levels.
make_deep() {
	make_xfs "$1" 64M -b size=1k -d agcount=2 -l size=7m
}
fill_deep() {
	in_loop_mount "$1" "" make_holes
	expect_equal "$(xfs_db -r -c 'agf 0' -c 'print bnolevel cntlevel' "$1" | paste -sd' ')" \
		"bnolevel = 3 cntlevel = 3"
}
make_holes() {
	make_tree "$1" 10
	fill "$1/holes" 24000000 holes
	sync -f "$1"
	seq 0 2 23300 | sed 's/.*/fpunch &k 1k/' | xfs_io "$1/holes" >/dev/null
	remember_tree "$1"
}

# Its id was changed, so that the metadata has another; and it was grown.
make_grown() {
	make_xfs "$1" 70M -d size=40m,agsize=16m -l size=7m
	xfs_admin -U generate "$1" >/dev/null
}
fill_grown() {
	in_loop_mount "$1" "" grow_and_fill
	expect_equal "$(field "$1" agcount)" 5 "groups"
}
grow_and_fill() {
	xfs_growfs "$1" >/dev/null
	make_and_remember "$1"
}

# The log is written round and round, in records of the largest size; sectors are of 4 KiB.
make_wrapped() {
	make_xfs "$1" 64M -d agcount=2 -l size=26m,su=256k -s size=4096
}
fill_wrapped() {
	in_loop_mount "$1" logbsize=256k,wsync touch_often
	fill_by_kernel "$1" logbsize=256k,wsync
	(($(xfs_db -r -c 'agf 0' -c 'print lsn' "$1" | sed 's/.* //') >> 32 > 1)) ||
		fail "the log was not written round"
}
touch_often() {
	local i
	for ((i = 0; i < 120; i++)); do
		: >"$1/touched$((i % 40))"
		rm -f "$1/touched$((i % 7))"
	done
}

# v4_tree FILE COUNT: a list for mkfs of COUNT small files and a large one, all told apart.
v4_tree() {
	local i
	mkdir -p "$TMP/v4"
	printf '/boot\n0 0\nd--755 0 0\n' >"$TMP/v4.list"
	fill "$TMP/v4/large" 700001 large
	echo "large ---644 0 0 $TMP/v4/large" >>"$TMP/v4.list"
	for ((i = 0; i < $1; i++)); do
		echo "this is file $i" >"$TMP/v4/file$i"
		echo "file$i ---644 0 0 $TMP/v4/file$i" >>"$TMP/v4.list"
	done
	echo '$' >>"$TMP/v4.list"
}

# The files of a version 4, with their contents, as xfs_db finds them.
verify_v4() {
	local unit group name ag block count size inode
	unit=$(field "$1" blocksize) group=$(field "$1" agblocks)
	rm -rf "$TMP/read"
	mkdir "$TMP/read"
	xfs_db -r -c 'path /' -c ls "$1" | awk '$3 == "regular" { print $2, $6 }' >"$TMP/names"
	while read -r inode name; do
		echo "inode $inode"; echo 'print core.size'; echo bmap
	done <"$TMP/names" | xfs_db -r "$1" | awk '
		/^core.size/ { size = $3 }
		/^data/ { split($6, at, /[(\/)]/); print at[2], at[3], $8, size }' >"$TMP/places"
	expect_equal "$(wc -l <"$TMP/places")" "$(wc -l <"$TMP/names")" "extents"
	while read -r _ name && read -r ag block count size <&3; do
		dd if="$1" bs="$unit" skip=$((ag * group + block)) count="$count" status=none |
			head -c "$size" >"$TMP/read/$name"
	done <"$TMP/names" 3<"$TMP/places"
	same_tree "$TMP/read"
}
fsck_v4() {
	xfs_repair -n "$1"
}
fill_v4() {
	remember_tree "$TMP/v4"
	verify_v4 "$1"
}
make_v4() {
	v4_tree 20
	make_xfs "$1" 64M -m crc=0 -p "$TMP/v4.list"
}

# Blocks of 512 bytes, counters that are not lazy, and every other file gone.
make_v4holes() {
	v4_tree 160
	make_xfs "$1" 64M -m crc=0 -b size=512 -l lazy-count=0,size=7m -d agcount=2 -p "$TMP/v4.list"
}
fill_v4holes() {
	xfs_db -r -c 'path /' -c ls "$1" | awk '
		$3 == "regular" && n++ % 2 { print "inode", $2; print "write core.mode 0" }' |
		xfs_db -x "$1" >/dev/null
	xfs_repair "$1" >"$TMP/fsck.out" 2>&1
	for ((i = 0; i < 160; i += 2)); do
		rm "$TMP/v4/file$i"
	done
	fill_v4 "$1"
	expect_equal "$(xfs_db -r -c 'agf 0' -c 'print bnolevel cntlevel' "$1" | paste -sd' ')" \
		"bnolevel = 2 cntlevel = 2"
}
verify_v4holes() { verify_v4 "$@"; }
fsck_v4holes() { fsck_v4 "$@"; }

# What later versions of mkfs can switch on, and is nothing to free room: exchange of ranges, and
# parent pointers. The checker of today does not know them; the kernel does from 6.10 on.
make_later() {
	make_xfs "$1" 64M -l size=10m
	for ((group = 0; group < 4; group++)); do
		xfs_db -x -c "sb $group" -c 'write -d features_incompat 0xcb' "$1" >/dev/null 2>&1
	done
}
fsck_later() {
	is_clean xfs "$1"
}

for name in default wrapped rmap; do
	layout "$name"
done
mv "$TMP/fs.img" "$TMP/rmap.img"
for name in block64k groups grown later v4; do
	layout "$name" try_map
done
layout deep
mv "$TMP/fs.img" "$TMP/deep.img"
layout v4holes
mv "$TMP/fs.img" "$TMP/v4holes.img"

# --- damage ---------------------------------------------------------------------------------------

# broken FILE PATTERN COMMAND...: by xfs_db, which makes the checksums right again. As it is FILE is
# clean: a command that does nothing is noticed.
broken() {
	local file=$1 pattern=$2 commands=() command
	shift 2
	for command; do
		commands+=(-c "$command")
	done
	cp --sparse=always "$file" "$TMP/broken.img"
	xfs_db -x "${commands[@]}" "$TMP/broken.img" >"$TMP/db.out" 2>&1 || true
	is_refused xfs "$TMP/broken.img" "${STATE:-damaged}" "$pattern"
}

# of FILE FIELD COMMAND...: the field where the commands lead.
of() {
	local commands=() command
	for command in "${@:3}" "print $2"; do
		commands+=(-c "$command")
	done
	xfs_db -r "${commands[@]}" "$1" | sed 's/.* //'
}

# flipped OFFSET PATTERN: one bit, and nothing else.
flipped() {
	cp --sparse=always "$TMP/deep.img" "$TMP/broken.img"
	python3 - "$TMP/broken.img" "$1" <<-'FLIP'
		import sys
		with open(sys.argv[1], 'r+b') as f:
		    f.seek(int(sys.argv[2]))
		    byte = f.read(1)[0]
		    f.seek(int(sys.argv[2]))
		    f.write(bytes([byte ^ 0x10]))
	FLIP
	is_refused xfs "$TMP/broken.img" damaged "$2"
}

say "damage with right checksums"
for file in "$TMP/deep.img" "$TMP/v4holes.img"; do
	bno=('agf 0' 'addr bnoroot' 'addr ptrs[1]')
	cnt=('agf 0' 'addr cntroot' 'addr ptrs[1]')
	if test "$file" = "$TMP/deep.img"; then	# one level more to a leaf
		bno+=('addr ptrs[2]')
		cnt+=('addr ptrs[2]')
	fi
	broken "$file" 'counts . free blocks' 'sb 0' 'write -d fdblocks 7'
	broken "$file" 'was not finished' 'sb 0' 'write -d inprogress 1'
	broken "$file" 'larger than its volume' 'sb 0' 'write -d dblocks 99999999'
	broken "$file" 'size of its allocation groups' 'sb 0' 'write -d agblklog 20'
	for odd in 'agblocks 32' 'agblocks 0xffffffff' 'agblklog 5' 'agblklog 6' 'agblklog 40' \
		'inopblog 60'; do
		broken "$file" 'size of its allocation groups' 'sb 0' "write -d $odd"
	done
	for odd in 'blocklog 30' 'sectlog 12' 'sectsize 0' 'sectsize 513' 'blocksize 256' \
		'blocksize 0x80000000'; do
		broken "$file" 'block or sector size' 'sb 0' "write -d $odd"
	done
	for odd in 'agcount 0' 'agcount 1' 'agcount 3' 'dblocks 70'; do
		broken "$file" 'do not make up its size' 'sb 0' "write -d $odd"
	done
	broken "$file" 'its log lies where' 'sb 0' 'write -d logblocks 99999999'
	broken "$file" 'its log lies where' 'sb 0' 'write -d logblocks 5'
	broken "$file" 'its log lies where' 'sb 0' 'write -d logstart 0xffffff0'
	broken "$file" 'root folder lies where' 'sb 0' 'write -d rootino 0xffffffffff'
	broken "$file" 'copy in group 1 differs' 'sb 1' 'write -d dblocks 8'
	broken "$file" 'AGF of group 1 is none' 'agf 1' 'write -d seqno 0'
	broken "$file" 'AGF of group 1 is none' 'agf 1' 'write -d length 99'
	broken "$file" 'AGF of group 1 is none' 'agf 1' 'write -d versionnum 2'
	broken "$file" 'AGI of group 1 is none' 'agi 1' 'write -d magicnum 0'
	broken "$file" 'root of a tree of group 1' 'agi 1' 'write -d root 99999999'
	broken "$file" 'counts of group 0' 'agf 0' 'write -d freeblks 7'
	broken "$file" 'counts of group 0' 'agf 0' 'write -d longest 7'
	broken "$file" 'AGFL of group 0 is not as long' 'agf 0' 'write -d flcount 0x6f'
	broken "$file" 'AGFL of group 0 is not as long' 'agf 0' 'write -d flfirst 999'
	broken "$file" 'AGFL of group 0 is not as long' 'agf 0' 'write -d fllast 999'
	broken "$file" 'AGFL of group 1 lists' 'agfl 1' 'write -d bno[1] 0' 'write -d bno[2] 0' \
		'write -d bno[3] 0' 'write -d bno[4] 0'
	broken "$file" 'bnobt of group 0 has 99 levels' 'agf 0' 'write -d bnolevel 99'
	broken "$file" 'cntbt of group 0 has 0 levels' 'agf 0' 'write -d cntlevel 0'
	broken "$file" '\(cntbt\) is no node' 'agf 0' 'write -d cntlevel 1'
	broken "$file" '\(bnobt\) cannot be' 'agf 0' 'write -d bnoroot 99999999'
	broken "$file" '\(bnobt\) is no node' "${bno[@]}" 'write -d magic 0'
	broken "$file" '\(bnobt\) is no node' "${bno[@]}" 'write -d numrecs 5'
	broken "$file" '\(bnobt\) is no node' "${bno[@]}" 'write -d numrecs 999'
	broken "$file" '\(bnobt\) is not beside' "${bno[@]}" 'write -d leftsib 77'
	broken "$file" '\(bnobt\) is not beside' "${bno[@]}" 'write -d rightsib 77'
	broken "$file" '\(bnobt\) has a neighbour' 'agf 0' 'addr bnoroot' 'write -d rightsib 77'
	broken "$file" '\(bnobt\) does not begin as' 'agf 0' 'addr bnoroot' 'write -d keys[2].startblock 77'
	broken "$file" '\(bnobt\) lists what' "${bno[@]}" 'write -d recs[3].startblock 77'
	broken "$file" '\(bnobt\) lists what' "${bno[@]}" 'write -d recs[3].blockcount 0'
	broken "$file" '\(bnobt\) lists what' "${bno[@]}" 'write -d recs[3].blockcount 999'
	broken "$file" '\(bnobt\) lists what' "${bno[@]}" 'write -d recs[3].blockcount 0xffffffff'
	broken "$file" '\(bnobt\) lists what' 'agf 1' 'addr bnoroot' 'write -d recs[1].startblock 0'
	broken "$file" '\(bnobt\) lists what' 'agf 1' 'addr bnoroot' \
		'write -d recs[1].blockcount 0x7fffff'
	broken "$file" '\(cntbt\) is no node' "${cnt[@]}" 'write -d level 5'
	broken "$file" '\(cntbt\) lists what' "${cnt[@]}" 'write -d recs[3].startblock 0xffffff'
	broken "$file" '\(cntbt\) lists what' "${cnt[@]}" 'write -d recs[3].blockcount 999'
	# The last extent of group 1 shorter at either end, and longer; and not there.
	root=('agf 1' 'addr cntroot')
	last=$(of "$file" numrecs "${root[@]}")
	start=$(of "$file" "recs[$last].startblock" "${root[@]}")
	count=$(of "$file" "recs[$last].blockcount" "${root[@]}")
	for other in "$start $((count - 1))" "$((start + 1)) $((count - 1))" "$((start - 1)) $((count + 1))" \
		"$start 0" "0 $count"; do
		broken "$file" '\(cntbt\) lists what' "${root[@]}" \
			"write -d recs[$last].startblock ${other% *}" "write -d recs[$last].blockcount ${other#* }"
	done
	broken "$file" '\(cntbt\) is not the bnobt in another order' "${root[@]}" \
		"write -d numrecs $((last - 1))"
	# The same extent twice, in the place of one of its size: no count tells.
	twice=$(of "$file" 'recs[3].startblock' "${cnt[@]}")
	broken "$file" '\(cntbt\) lists what' "${cnt[@]}" "write -d recs[4].startblock $twice"
done

# free_block FILE: one in group 0 that is free, with much behind it.
free_block() {
	"$FREEMAP" xfs "$1" list | sed 1d | sort -k2n | tail -1 | {
		read -r start _
		echo $((start / $(field "$1" blocksize) + 1))
	}
}

# daddr FILE COMMAND...: the sector where the commands lead.
daddr() {
	local file=$1 commands=() command
	shift
	for command; do
		commands+=(-c "$command")
	done
	xfs_db -r "${commands[@]}" -c daddr "$file" | sed -n 's/.*current daddr is //p'
}

say "what is in use is marked free"
v4=$TMP/v4holes.img
free=$(free_block "$v4")
expect_equal "$(daddr "$v4" "fsblock $free")" "$free" "blocks are sectors"

# moved FROM COUNT TO: sectors copied to elsewhere.
moved() {
	dd if="$v4" of="$TMP/moved.img" bs=512 skip="$1" count="$2" seek="$3" conv=notrunc,sparse \
		status=none
}

for tree in bno cnt; do
	cp --sparse=always "$v4" "$TMP/moved.img"
	root=('agf 0' "addr ${tree}root")
	moved "$(daddr "$v4" "${root[@]}")" 1 "$free"
	moved "$(daddr "$v4" "${root[@]}" 'addr ptrs[1]')" 1 $((free + 1))
	broken "$TMP/moved.img" "block $free of group 0 \(${tree}bt\) is marked free" \
		'agf 0' "write -d ${tree}root $free"
	broken "$TMP/moved.img" "block $((free + 1)) of group 0 \(${tree}bt\) is marked free" \
		"${root[@]}" "write -d ptrs[1] $((free + 1))" \
		'addr ptrs[2]' "write -d leftsib $((free + 1))"
done
broken "$v4" 'root of a tree of group 0' 'agi 0' "write -d root $free"
broken "$v4" 'AGFL of group 0 lists' 'agf 0' 'write -d flfirst 5' 'write -d fllast 8' \
	'write -d flcount 4' 'agfl 0' "write -d bno[8] $free"
broken "$v4" 'root folder lies where' 'sb 0' "write -d rootino $((free << 1))"
cp --sparse=always "$v4" "$TMP/moved.img"
moved "$(daddr "$v4" "fsblock $(field "$v4" logstart)")" "$(field "$v4" logblocks)" "$free"
broken "$TMP/moved.img" 'blocks of its log are marked free' \
	'sb 0' "write -d logstart $free" 'sb 1' "write -d logstart $free"

say "damage that only checksums and names show"
v5=$TMP/deep.img
other='write -d uuid 01234567-0123-0123-0123-0123456789ab'
second=$(($(daddr "$v5" 'sb 1') * 512))
flipped 108 'its superblock has a wrong checksum'
flipped $((second + 108)) 'copy in group 1 has a wrong checksum'
flipped $((second + 512 + 500)) 'the AGF of group 1 has a wrong checksum'
flipped $((second + 1024 + 60)) 'the AGI of group 1 has a wrong checksum'
flipped $((second + 1536 + 500)) 'the AGFL of group 1 has a wrong checksum'
for tree in bno cnt; do
	root=('agf 0' "addr ${tree}root")
	leaf=("${root[@]}" 'addr ptrs[1]' 'addr ptrs[2]')
	flipped $(($(daddr "$v5" "${root[@]}") * 512 + 1000)) "\(${tree}bt\) has a wrong checksum"
	flipped $(($(daddr "$v5" "${leaf[@]}") * 512 + 1020)) "\(${tree}bt\) has a wrong checksum"
	broken "$v5" "\(${tree}bt\) belongs elsewhere" "${leaf[@]}" 'write -d owner 1'
	broken "$v5" "\(${tree}bt\) belongs elsewhere" "${leaf[@]}" 'write -d bno 77'
	broken "$v5" "\(${tree}bt\) belongs elsewhere" "${leaf[@]}" "$other"
	broken "$v5" "\(${tree}bt\) is newer than the log" "${leaf[@]}" 'write -d lsn 0x77700000000'
done
for header in agf agi agfl; do
	broken "$v5" 'is another filesystem' "$header 0" "$other"
	broken "$v5" 'is newer than the log' "$header 0" 'write -d lsn 0x77700000000'
done
broken "$v5" 'superblock is newer than its log' 'sb 0' 'write -d lsn 0x77700000000'
broken "$v5" 'counts of group 0' 'agf 0' 'write -d btreeblks 77'
broken "$v5" 'root of a tree of group 1' 'agi 1' 'write -d free_root 99999999'
broken "$v5" 'root of a tree of group 1' 'agf 1' 'write -d refcntroot 99999999'
broken "$TMP/rmap.img" 'root of a tree of group 1' 'agf 1' 'write -d rmaproot 99999999'
broken "$TMP/rmap.img" 'counts of group 1' 'agf 1' 'write -d rmapblocks 7'
broken "$TMP/rmap.img" 'AGF of group 1 counts no owners' 'agf 1' 'write -d rmapblocks 0'
# Once around and back to where it should end: the sector has room for 119.
broken "$v5" 'AGFL of group 0 is not as long' 'agf 0' 'write -d flfirst 0' 'write -d fllast 3' \
	'write -d flcount 123'
broken "$v5" 'AGFL of group 0 is not as long' 'agf 0' 'write -d flfirst 120' 'write -d fllast 4' \
	'write -d flcount 4'

say "not served"
broken "$v5" 'in need of repair' 'sb 0' 'write -d features_incompat 0x1b'
STATE=unsupported
broken "$v5" 'features that are not known here .*0x10b' 'sb 0' 'write -d features_incompat 0x10b'
broken "$v5" 'features that are not known here' 'sb 0' 'write -d features_ro_compat 0x1d'
broken "$v5" 'features that are not known here' 'sb 0' 'write -d features_log_incompat 0x2'
broken "$v5" 'version 6 is not known' 'sb 0' 'write -d versionnum 0xb4a6'
broken "$v4" 'features that are not known here' 'sb 0' 'write -d features2 0x40a'
truncate -s 64M "$TMP/other" "$TMP/second"
mkfs.xfs -q -f --unsupported -l logdev="$TMP/second",size=6m "$TMP/other" >"$TMP/mkfs.out"
is_refused xfs "$TMP/other" unsupported 'its log is on another device'
mkfs.xfs -q -f --unsupported -r rtdev="$TMP/second" "$TMP/other" >"$TMP/mkfs.out"
is_refused xfs "$TMP/other" unsupported 'on a realtime device'

say "a volume that is too short, and none"
cp --sparse=always "$v5" "$TMP/broken.img"
truncate -s -1 "$TMP/broken.img"
is_refused xfs "$TMP/broken.img" damaged 'larger than its volume'
truncate -s 600 "$TMP/broken.img"
is_refused xfs "$TMP/broken.img" damaged 'larger than its volume'
truncate -s 100 "$TMP/broken.img"
expect_status 1 "$FREEMAP" xfs "$TMP/broken.img"
expect_equal "$(cat "$TMP/out")" no
