#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# NTFS: what the reader calls free is free, whatever the layout; what is dirty, asleep or damaged is
# told apart and left alone. The volumes are made by mkntfs and filled by ntfs-3g; those that only
# Windows makes are made from them by hand, and ntfs-3g's own opinion of each is asked, too.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires mkntfs ntfs-3g ntfs-3g.probe ntfsfix ntfsresize ntfsinfo ntfscluster openssl sha256sum
requires_fuse
requires_root
grep -q 'define HAVE_NTFS 1' "$top_builddir/config.h" || skip "built without libntfs-3g"

# --- reading and changing what is on the disk ------------------------------------------------------

# number FILE OFF LEN: little-endian.
number() {
	od -An -v -tu"$3" -j"$2" -N"$3" "$1" | tr -d ' '
}

# patch FILE OFF HEX
patch() {
	local bytes='' i
	for ((i = 0; i < ${#3}; i += 2)); do
		bytes+="\\x${3:i:2}"
	done
	# shellcheck disable=SC2059 # it is a format
	printf "$bytes" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# geometry FILE: sets SECTOR, CLUSTER, RECORD (bytes), SECTORS, CLUSTERS, and MFT and MIRROR (bytes).
geometry() {
	local per_cluster per_record
	SECTOR=$(number "$1" 11 2)
	per_cluster=$(number "$1" 13 1)
	test "$per_cluster" -le 128 || per_cluster=$((1 << (256 - per_cluster)))
	CLUSTER=$((SECTOR * per_cluster))
	per_record=$(number "$1" 64 1)
	RECORD=$((per_record * CLUSTER))
	test "$per_record" -le 128 || RECORD=$((1 << (256 - per_record)))
	SECTORS=$(number "$1" 40 8)
	CLUSTERS=$((SECTORS * SECTOR / CLUSTER))
	MFT=$(($(number "$1" 48 8) * CLUSTER))
	MIRROR=$(($(number "$1" 56 8) * CLUSTER))
}

# attribute FILE RECORD TYPE: where it is from the beginning of its record on.
attribute() {
	local record=$((MFT + $2 * RECORD)) off
	off=$(number "$1" $((record + 20)) 2)
	while test "$(number "$1" $((record + off)) 4)" != $(($3)); do
		off=$((off + $(number "$1" $((record + off + 4)) 4)))
		test $off -lt $RECORD || fail "record $2 has no attribute $3"
	done
	echo $off
}

# patch_record FILE RECORD OFF HEX: in the mirror, too.
patch_record() {
	patch "$1" $((MFT + $2 * RECORD + $3)) "$4"
	test "$2" -ge 4 || patch "$1" $((MIRROR + $2 * RECORD + $3)) "$4"
}

# place FILE RECORD: where its data begins.
place() {
	local attr runs head lcn=0 i
	attr=$((MFT + $2 * RECORD + $(attribute "$1" "$2" 0x80)))
	runs=$((attr + $(number "$1" $((attr + 32)) 2)))
	head=$(number "$1" $runs 1)
	for ((i = head >> 4; i; i--)); do
		lcn=$((lcn << 8 | $(number "$1" $((runs + (head & 15) + i)) 1)))
	done
	echo $((lcn * CLUSTER))
}

# flip_bit FILE CLUSTER: in $Bitmap.
flip_bit() {
	local at=$(($(place "$1" 6) + $2 / 8))
	patch "$1" $at "$(printf %02x $(($(number "$1" $at 1) ^ 1 << $2 % 8)))"
}

# --- the filesystem, through ntfs-3g ---------------------------------------------------------------

# in_ntfs FILE OPTIONS COMMAND...: COMMAND with the mount's folder appended.
in_ntfs() {
	local file=$1 options=$2 pid
	shift 2
	mkdir -p "$TMP/in"
	ntfs-3g -o "no_detach${options:+,$options}" "$file" "$TMP/in" 2>"$TMP/ntfs-3g.err" &
	pid=$!
	cleanup_process $pid
	cleanup "umount_lazy '$TMP/in'"
	wait_mounted 20 "$TMP/in" || fail "ntfs-3g: $(cat "$TMP/ntfs-3g.err")"
	"$@" "$TMP/in"
	wait_for 20 umount "$TMP/in" || fail "the NTFS cannot be unmounted"
	cleanup_done "umount_lazy '$TMP/in'"
	wait $pid || fail "ntfs-3g: $(cat "$TMP/ntfs-3g.err")"
}

# mkfs FILE SIZE [OPTION...]
mkfs() {
	local file=$1 size=$2
	shift 2
	rm -f "$file"
	truncate -s "$size" "$file"
	mkntfs -q -F -Q "$@" "$file" >"$TMP/mkntfs.out" 2>&1 || fail "mkntfs: $(cat "$TMP/mkntfs.out")"
}

# ntfsfix looks at $MFT against its mirror and at both boot sectors, ntfsresize at every cluster of
# every file against $Bitmap. That the mirror and the second boot sector are copies is compared here,
# byte for byte, too; and what lies past the last cluster has to be what it was.
check_ntfs() {
	local end
	ntfsfix -n "$1" && ntfsresize -i -f -P "$1" || return 1
	geometry "$1"
	end=$((CLUSTERS * CLUSTER))
	cmp -n 512 "$1" "$1" 0 $((SECTORS * SECTOR)) &&
		cmp -n $((4 * RECORD)) "$1" "$1" $MFT $MIRROR &&
		cmp "$TMP/fs.img" "$1" $end $end
}

verify_ntfs() {
	in_ntfs "$1" ro same_tree
}

# What other programs count: ntfsinfo the bits of $Bitmap; ntfscluster the clusters of the files.
free_is_right() {
	local counted
	geometry "$1"
	counted=$(ntfsinfo -m "$1" | sed -n 's/.*Free Clusters: \([0-9]*\) .*/\1/p')
	is_clean ntfs "$1"
	expect_equal "$FREE" $((counted * CLUSTER)) "free, by ntfsinfo"
	counted=$(ntfscluster -i "$1" 2>/dev/null | sed -n 's/^clusters of free space *: *//p')
	expect_equal "$FREE" $((counted * CLUSTER)) "free, by ntfscluster"
}

# layout NAME SIZE MKNTFS-OPTIONS [FILL] [MOUNT-OPTIONS]
layout() {
	eval "make_$1() { mkfs \"\$1\" $2 $3; }
		fill_$1() { in_ntfs \"\$1\" '${5-}' ${4-filled}; }
		fsck_$1() { check_ntfs \"\$1\"; }
		verify_$1() { verify_ntfs \"\$1\"; }"
	try_layout ntfs "$1"
	free_is_right "$TMP/fs.img"
}

filled() {
	make_tree "$1" 25
	remember_tree "$1"
}

# Compressed where it helps, and holes.
squeezed() {
	make_tree "$1" 10
	yes "the same over and over" | head -c 2000000 >"$1/keep/text" || true
	truncate -s 10M "$1/keep/hole"
	printf 'not a hole' | dd of="$1/keep/hole" bs=1 seek=5000000 conv=notrunc status=none
	remember_tree "$1"
}

# write_until_full FILE: a cluster.
write_until_full() {
	printf '%s' "$BLOCK" 2>/dev/null >"$1"
}

# Full of files of one cluster, every other one then deleted; and more files that need no cluster, but
# records, so that $MFT has to grow from gap to gap until its runs need a list of attributes.
shattered() {
	local i left
	printf -v BLOCK '%04096d' 0
	mkdir "$1/keep" "$1/gone" "$1/small"
	left=$(df --output=avail -B4096 "$1" | tail -1)
	fill "$1/large" $(((left - 1200) * 4096)) large
	for ((i = 0; i < 2000; i++)); do
		write_until_full "$1/keep/$i" || break
		write_until_full "$1/gone/$i" || break
	done 2>/dev/null
	rm -r "$1/gone"
	for ((i = 0; i < 1330; i++)); do
		echo "$i" >"$1/small/$i"
	done
	rm "$1/small/"*[02468]
	remember_tree "$1"
}

# $Bitmap in two runs, which mkntfs never makes: its second half is moved 128 clusters down.
make_split() {
	local attr runs first half i
	mkfs "$1" 48M -c 512
	geometry "$1"
	attr=$((MFT + 6 * RECORD + $(attribute "$1" 6 0x80)))
	runs=$((attr + $(number "$1" $((attr + 32)) 2)))
	first=$(($(place "$1" 6) / CLUSTER))
	half=$(($(number "$1" $((runs + 1)) 1) / 2))
	expect_equal "$(number "$1" $((runs + 1)) 1)" $((2 * half)) "an even number of clusters"
	dd if="$1" of="$1" bs=$CLUSTER count=$half skip=$((first + half)) seek=$((first - 128)) \
		conv=notrunc status=none
	# Twice a length of one byte: with a place of two bytes, and with a distance of one.
	patch "$1" "$runs" "$(printf '21%02x%02x%02x11%02x80' \
		$half $((first & 255)) $((first >> 8)) $half)"
	for ((i = 0; i < half; i++)); do
		flip_bit "$1" $((first + half + i))
		flip_bit "$1" $((first - 128 + i))
	done
}
fill_split() { in_ntfs "$1" '' filled; }
fsck_split() { check_ntfs "$1"; }
verify_split() { verify_ntfs "$1"; }

# inode_has NUMBER PATTERN: that what the layout is for is there.
inode_has() {
	ntfsinfo -i "$1" -v "$TMP/fs.img" >"$TMP/inode" 2>&1 || fail "$(cat "$TMP/inode")"
	grep -q "$2" "$TMP/inode" || fail "file $1 has no $2"
}

layout c512 48M '-c 512'
layout c1k 48M '-c 1024'
layout c4k 48M '-c 4096'
layout c64k 64M '-c 65536'
layout c2m 200M '-c 2097152'
layout sector4k 48M '-s 4096'
layout squeezed 48M '-C' squeezed compression
layout shattered 16M '-c 4096' shattered
inode_has 0 ATTRIBUTE_LIST
try_layout ntfs split
free_is_right "$TMP/fs.img"
inode_has 6 'Total runs: 2 '

say "resized: the copy of the boot sector is in the partition's last sector"
mkfs "$TMP/fs.img" 16M
truncate -s 64M "$TMP/fs.img"
ntfsresize -f -f -P "$TMP/fs.img" </dev/null >"$TMP/resize.out" 2>&1 || fail "$(cat "$TMP/resize.out")"
is_refused ntfs "$TMP/fs.img" unclean 'dirty \(flags 0x0001\)'
ntfsfix -d "$TMP/fs.img" >/dev/null
free_is_right "$TMP/fs.img"
test $((SECTORS * SECTOR + SECTOR)) -lt $((64 << 20)) || fail "ntfsresize does not do that any more"

# --- what is not clean -----------------------------------------------------------------------------

# refused FILE STATE PATTERN: and nothing is written to it.
refused() {
	local before
	before=$(sha "$1")
	is_refused ntfs "$@"
	refuses "$FREEMAP" ntfs "$1" fill
	expect_equal "$(sha "$1")" "$before" "what was refused was changed"
}

# opinion FILE: what ntfs-3g makes of it, which mounts nothing that may be lost by it.
opinion() {
	local status=0
	ntfs-3g.probe --readwrite "$1" >/dev/null 2>&1 || status=$?
	case $status in
	0) echo clean ;;
	14) echo hibernated ;;
	15) echo unclean ;;
	*) echo damaged ;;
	esac
}

# Sets ONE to a new copy of a volume with some files.
mkfs "$TMP/base.img" 12304K	# 3075 clusters: most of the last word of $Bitmap is past the end
few_files() {
	local i
	for ((i = 0; i < 150; i++)); do
		echo "$i" >"$1/file with a long name $i"
	done
	for i in A B; do
		fill "$1/$i" 20000 $i
	done
	FILE_A=$(stat -c %i "$1/A")
	FILE_B=$(stat -c %i "$1/B")
}
in_ntfs "$TMP/base.img" '' few_files
geometry "$TMP/base.img"
LOG=$(place "$TMP/base.img" 2)
ONE=$TMP/one.img
again() {
	cp --sparse=always "$TMP/base.img" "$ONE"
}
again
is_clean ntfs "$ONE"

say "dirty flags"
again
ntfsfix "$ONE" >/dev/null || fail "ntfsfix"
refused "$ONE" unclean 'dirty \(flags 0x0001\)'
flags=$(($(attribute "$TMP/base.img" 3 0x70) + 24 + 10))
for bits in 0400 0040 0080; do
	again
	patch_record "$ONE" 3 $flags $bits
	refused "$ONE" unclean dirty
done
# What Windows sets on volumes in good order.
for bits in 8000 0800; do
	again
	patch_record "$ONE" 3 $flags $bits
	is_clean ntfs "$ONE"
done

say "the log"
# As Windows has them at the head of a log of 2 MiB.
PAGE=$TMP/page
truncate -s 4096 "$PAGE"
patch "$PAGE" 0 525354521e0009000000000000000000001000000010000030000100010001
patch "$PAGE" 48 00000000000000000100ffff000000002d000000e0004000
patch "$PAGE" 72 00002000000000000000000030004000
patch "$PAGE" 128 ffffffff0000000000000000080000004e00540046005300
for ((i = 1; i <= 8; i++)); do
	patch "$PAGE" $((i * 512 - 2)) 0100
done

# restart_page NUMBER LSN CLIENT FLAGS [MAJOR]; hex.
restart_page() {
	patch "$PAGE" 48 "$2"
	patch "$PAGE" 60 "$3$4"
	patch "$PAGE" 26 "$(test "${5-01}" = 01 && echo 01000100 || echo "0000${5}00")"
	dd if="$PAGE" of="$ONE" bs=4096 seek=$((LOG / 4096 + $1)) conv=notrunc status=none
}

# log STATE PAGE PAGE: and ntfs-3g is of the same opinion.
log() {
	again
	# shellcheck disable=SC2086 # they are lists of arguments
	restart_page 0 $2
	# shellcheck disable=SC2086
	restart_page 1 $3
	expect_equal "$(opinion "$ONE")" "$1" "ntfs-3g of pages $2 and $3"
	case $1 in
	clean) is_clean ntfs "$ONE" ;;
	unclean) refused "$ONE" unclean 'log has to be replayed' ;;
	hibernated) refused "$ONE" hibernated 'keeps a part of it in memory' ;;
	esac
}
expect_equal "$(number "$TMP/base.img" \
	$((MFT + 2 * RECORD + $(attribute "$TMP/base.img" 2 0x80) + 48)) 4)" $((2 << 20)) "log's size"
log clean '05 0000 0200' '05 0000 0200'
log clean '05 ffff 0000' '05 ffff 0000'
log clean '06 0000 0200' '05 0000 0000'
log clean '05 0000 0000' '06 0000 0200'
log unclean '05 0000 0000' '05 0000 0000'
log unclean '06 0000 0000' '05 0000 0200'
log unclean '05 0000 0200' '06 0000 0000'
log hibernated '05 0000 0200 02' '05 0000 0200 02'
log hibernated '05 0000 0000 02' '05 0000 0000 02'
log hibernated '05 0000 0200' '06 0000 0200 02'

# Of two that are equally new neither is the better: if one is unclean, so is the volume.
for pages in 0200:0000 0000:0200; do
	again
	restart_page 0 05 0000 ${pages%:*}
	restart_page 1 05 0000 ${pages#*:}
	refused "$ONE" unclean 'log has to be replayed'
done

say "a log of which a page is torn, or that is no log"
for page in 0 1; do
	log clean '05 0000 0200' '05 0000 0200'
	patch "$ONE" $((LOG + page * 4096 + 1022)) 0200
	refused "$ONE" damaged 'restart page'
done
again
head -c 300000 /dev/zero | dd of="$ONE" bs=4096 seek=$((LOG / 4096)) conv=notrunc status=none
refused "$ONE" damaged 'restart page'
again
patch "$ONE" $((LOG + 100000)) 00
refused "$ONE" damaged 'restart page'

say "hibernated"
# asleep STATE COMMAND: run in the root folder.
asleep() {
	again
	in_ntfs "$ONE" '' in_folder "$2"
	case $1 in
	clean) is_clean ntfs "$ONE" ;;
	*) refused "$ONE" hibernated 'hiberfil.sys.*shutdown /s /t 0' ;;
	esac
}
in_folder() {
	(cd "$2" && eval "$1")
}
sleeps() {
	head -c 5000 /dev/zero >"$1"
	printf '%s' "$2" | dd of="$1" conv=notrunc status=none
}
asleep hibernated 'sleeps hiberfil.sys hibr'
expect_equal "$(opinion "$ONE")" hibernated "ntfs-3g of hibr"
asleep hibernated 'sleeps hiberfil.sys HIBR'
expect_equal "$(opinion "$ONE")" hibernated "ntfs-3g of HIBR"
asleep hibernated 'sleeps HIBERFIL.SYS hibr'
asleep hibernated 'sleeps Hiberfil.Sys RSTR'
asleep hibernated 'sleeps hiberfil.sys wake; sleeps HIBERFIL.SYS HIBR'
asleep hibernated 'sleeps hiberfil.sys HIBR; sleeps HIBERFIL.SYS wake'
asleep hibernated 'printf hibr >hiberfil.sys'
asleep hibernated ': >hiberfil.sys'
asleep hibernated 'mkdir hiberfil.sys'
asleep clean 'sleeps hiberfil.sys wake'
asleep clean 'sleeps hiberfil.sys ""'
asleep clean 'mkdir a; sleeps a/hiberfil.sys hibr; sleeps hiberfil.sy hibr; sleeps hiberfil.sys2 hibr'

say "hibernated is told before all else"
asleep hibernated 'sleeps hiberfil.sys hibr'
patch_record "$ONE" 3 $flags 0100
refused "$ONE" hibernated
restart_page 0 05 0000 0000
restart_page 1 05 0000 0000
refused "$ONE" hibernated

say "damaged"
# damaged PATTERN COMMAND: the command is applied to a copy.
damaged() {
	again
	eval "$2"
	is_refused ntfs "$ONE" damaged "$1"
}
end=$((SECTORS * SECTOR))
damaged 'sector size' 'patch "$ONE" 11 0000'
damaged 'sector size' 'patch "$ONE" 11 0003'
damaged 'cluster size' 'patch "$ONE" 13 00'
damaged 'cluster size' 'patch "$ONE" 13 07'
damaged 'cluster size' 'patch "$ONE" 13 90'
damaged 'cluster size' 'patch "$ONE" 13 f1'
damaged 'file records' 'patch "$ONE" 64 c0'
damaged 'index records' 'patch "$ONE" 68 00'
damaged 'number of sectors' 'patch "$ONE" 40 0000000000000000'
damaged 'number of sectors' 'patch "$ONE" 47 7f'
damaged 'place of the master file table' 'patch "$ONE" 48 ffffffff'
damaged 'place of the master file table' 'patch "$ONE" 56 ffffffff'
damaged 'outside the volume' 'patch "$ONE" 40 2060' # one sector more
damaged 'outside the volume' 'truncate -s -512 "$ONE"'
damaged 'copy of its boot sector' 'patch "$ONE" 48 05'
damaged 'copy of its boot sector' 'patch "$ONE" $((end + 13)) 04'
damaged 'copy of its boot sector' 'patch "$ONE" $((end + 40)) 00'
damaged 'copy of its boot sector' 'patch "$ONE" $((end + 72)) 0102030405060708'
damaged 'copy of its boot sector' 'patch "$ONE" $((end + 510)) 0000'
for record in 0 1 2 3; do
	damaged 'master file table, or the mirror' 'patch "$ONE" $((MFT + record * RECORD)) 4241'
	damaged 'master file table, or the mirror' 'patch "$ONE" $((MIRROR + record * RECORD)) 4241'
	damaged 'master file table, or the mirror' 'patch "$ONE" $((MFT + record * RECORD + 510)) 7777'
done
damaged 'cannot be read' 'patch "$ONE" $((MFT + 6 * RECORD)) 4241'
damaged 'cannot be read' 'patch "$ONE" $((MFT + 5 * RECORD + 510)) 7777'
damaged 'cannot be read' 'patch "$ONE" $((MFT + 5 * RECORD)) 4241'
index=$((MFT + 5 * RECORD + $(attribute "$ONE" 5 0xa0)))
index=$((index + $(number "$ONE" $((index + 32)) 2)))
damaged 'cannot be read' 'patch "$ONE" $(($(number "$ONE" $((index + 2)) 2) * CLUSTER + 1022)) 7777'

say "damaged \$Bitmap"
last=$((CLUSTERS - 1))
damaged 'past its end' 'flip_bit "$ONE" $((last + 1))'
damaged 'past its end' 'flip_bit "$ONE" $((last | 63))'
for record in 0 1 2 6 7 10; do
	damaged "file $record is" 'flip_bit "$ONE" $(($(place "$ONE" $record) / CLUSTER))'
done
damaged 'file 5 is' 'flip_bit "$ONE" "$(number "$ONE" $((index + 2)) 2)"'
bitmap=$((MFT + 6 * RECORD + $(attribute "$ONE" 6 0x80)))
damaged 'not whole' 'patch "$ONE" $((bitmap + 56)) 0801'
damaged 'not whole' 'patch "$ONE" $((bitmap + 48)) 4001; patch "$ONE" $((bitmap + 56)) 4001'
damaged 'not whole' 'patch "$ONE" $((bitmap + 64)) 010100'
damaged 'not whole' 'patch "$ONE" $((bitmap + 64)) 2101ff7f00'

say "damaged files"
a=$(($(place "$ONE" "$FILE_A") / CLUSTER)) b=$(($(place "$ONE" "$FILE_B") / CLUSTER))
for ((i = 0; i < 5; i++)); do
	damaged "file $FILE_A is" 'flip_bit "$ONE" $((a + i))'
done
runs=$((MFT + FILE_B * RECORD + $(attribute "$ONE" "$FILE_B" 0x80) + 64))
expect_equal "$(number "$ONE" $runs 2)" $((0x0521)) "runs of the second file"
free_b() {
	for ((i = 0; i < 5; i++)); do
		flip_bit "$ONE" $((b + i))
	done
}
damaged 'share clusters' 'free_b; patch "$ONE" $((runs + 2)) "$(printf %02x%02x $((a & 255)) $((a >> 8)))"'
damaged "file $FILE_B is" 'patch "$ONE" $((runs + 2)) ffff'
damaged "file $FILE_B is" 'patch "$ONE" $((runs + 2)) ff0b'	# it ends past the volume
damaged "file $FILE_B is" 'patch "$ONE" $((runs + 1)) 04'
damaged "file $FILE_B is" 'patch "$ONE" $((runs + 1)) 06'
damaged "file $FILE_B is" 'patch "$ONE" $runs 29'
damaged "file $FILE_B is" 'patch "$ONE" $runs 91'
damaged "file $FILE_B is" 'patch "$ONE" $((runs + 4)) 1111'
damaged "file $FILE_B is" 'patch "$ONE" $((runs - 60)) 00' # the attribute's length
damaged "file $FILE_B is" 'patch "$ONE" $((runs - 32)) 48' # where its runs begin
damaged "file $FILE_B is" 'patch "$ONE" $((MFT + FILE_B * RECORD + 510)) 7777'
damaged "file $FILE_B is" 'patch "$ONE" $((MFT + FILE_B * RECORD)) 42414144'
damaged "file $FILE_B is" 'patch "$ONE" $((MFT + FILE_B * RECORD + 24)) ffff'
again
free_b
patch "$ONE" $((MFT + FILE_B * RECORD + 22)) 00	# not in use: what it says does not count
is_clean ntfs "$ONE"

say "shadow copies"
# shadow OFF HEX: the header, its catalog at OFF (hex, little-endian; 0 for none), first entry's type.
shadow() {
	local id=6b87083876c1484eb7ae04046e6cc752 volume=05000000000000000000000000000000
	again
	patch "$ONE" $((0x1e00)) "${id}0100000001000000001e000000000000"
	patch "$ONE" $((0x1e00 + 48)) "${1}00000000"
	patch "$ONE" $((0x1e00 + 64)) "$volume$volume"
	patch "$ONE" $((0x400000)) "${id}010000000200000000000000000000000000400000000000"
	patch "$ONE" $((0x400000 + 256)) "$2"
}
shadow 00000000 00
is_clean ntfs "$ONE"
shadow 00004000 00
is_clean ntfs "$ONE"
shadow 00004000 01
is_clean ntfs "$ONE"
for type in 02 03 04; do
	shadow 00004000 $type
	refused "$ONE" unsupported 'shadow copies'
done
shadow 00004000 00
patch "$ONE" $((0x400000 + 40)) 00005000	# the next block of the catalog, which is none
refused "$ONE" unsupported 'shadow copies'
patch "$ONE" $((0x400000 + 40)) 00004000	# a catalog without an end
refused "$ONE" unsupported 'shadow copies'
shadow 00000000 00
patch "$ONE" $((0x1e00 + 80)) 06	# they are kept in another volume
refused "$ONE" unsupported 'shadow copies'
shadow ffffffff 00
refused "$ONE" damaged 'catalog'

# --- what Windows made -----------------------------------------------------------------------------

CORPUS=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
if ! test -d "$CORPUS"; then
	say "no corpus of images at $CORPUS: none of Windows' own volumes"
	exit 0
fi
requires xz qemu-img partx

# windows IMAGE PARTITION: sets up $TMP/fs.img.
windows() {
	local start sectors
	say "$1, partition $2"
	corpus_image "$1" "$TMP/win.vhd"
	qemu-img convert -f vpc -O raw "$TMP/win.vhd" "$TMP/win.raw"
	read -r start sectors < <(partx -g -o START,SECTORS -n "$2" "$TMP/win.raw")
	rm -f "$TMP/fs.img"
	dd if="$TMP/win.raw" of="$TMP/fs.img" bs=512 skip="$start" count="$sectors" conv=sparse status=none
	truncate -s $((sectors * 512)) "$TMP/fs.img"
	in_ntfs "$TMP/fs.img" ro remember_tree
	free_is_right "$TMP/fs.img"
	check_ntfs "$TMP/fs.img" >"$TMP/fsck.out" 2>&1 || fail "$(cat "$TMP/fsck.out")"
	LOG=$(place "$TMP/fs.img" 2)
}
fsck_windows() { check_ntfs "$1"; }
verify_windows() { verify_ntfs "$1"; }

windows nodevhd-dynamic 3
patch "$TMP/fs.img" $((LOG + 62)) 0000
is_refused ntfs "$TMP/fs.img" unclean 'log has to be replayed'
patch "$TMP/fs.img" $((LOG + 28)) 0200
is_refused ntfs "$TMP/fs.img" hibernated 'keeps a part of it in memory'

windows dissect-dynamic 1
aa_test ntfs windows "$TMP/fs.img"
patch "$TMP/fs.img" $((LOG + 62)) 0000
refused "$TMP/fs.img" unclean 'log has to be replayed'
