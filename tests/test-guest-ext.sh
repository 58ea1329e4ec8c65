#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is free in ext2, ext3 and ext4, of all layouts that the kernel mounts: nothing that matters is
# called free, dumpe2fs names the same blocks, and what was not left in order is refused by name and
# left alone.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires mke2fs e2fsck dumpe2fs debugfs tune2fs resize2fs openssl sha256sum
requires_loop
test -x "$FREEMAP" || fail "no $FREEMAP"

# layout NAME SIZE MKE2FS-OPTION...: a filesystem that the kernel fills.
layout() {
	local name=$1
	shift
	eval "make_$name() { truncate -s $1 \"\$1\"; mke2fs -q -F ${*:2} \"\$@\" 2>\"\$TMP/mke2fs\" ||
		fail \"\$(cat \"\$TMP/mke2fs\")\"; }
	fill_$name() { fill_by_kernel \"\$1\"; same_as_dumpe2fs \"\$1\"; remember_backups \"\$1\"; }
	fsck_$name() { e2fsck -fn \"\$1\" && same_backups \"\$1\"; }
	verify_$name() { verify_by_kernel \"\$1\"; }"
}

# unmounted_layout NAME SIZE MKE2FS-OPTION...: one that not every kernel mounts; filled by mke2fs, and
# read by debugfs.
unmounted_layout() {
	layout "$@"
	eval "fill_$1() { make_tree \"\$TMP/tree\"; remember_tree \"\$TMP/tree\"
		make_$1 \"\$1\" -d \"\$TMP/tree\"; count_quotas \"\$1\"; same_as_dumpe2fs \"\$1\"; remember_backups \"\$1\"; }
	verify_$1() { verify_by_debugfs \"\$1\"; }"
}
# mke2fs leaves the files that it copied out of the quotas (1.47).
count_quotas() {
	e2fsck -fy "$1" >"$TMP/fsck.out" 2>&1 || test $? = 1 || fail "$(cat "$TMP/fsck.out")"
}
verify_by_debugfs() {
	rm -rf "$TMP/tree"
	mkdir "$TMP/tree"
	debugfs -R "rdump / $TMP/tree" "$1" >"$TMP/debugfs" 2>&1 || fail "$(cat "$TMP/debugfs")"
	same_tree "$TMP/tree"
}

super() {
	dumpe2fs -h "$1" 2>/dev/null | sed -n "s/^$2: *//p"
}

# The map's extents are those that dumpe2fs lists of each group, joined. Of a run of clusters it names
# the first block of the last one.
same_as_dumpe2fs() {
	local file=$1
	"$FREEMAP" ext "$file" list >"$TMP/list" || fail "$(cat "$TMP/list")"
	local size cluster
	size=$(super "$file" 'Block size')
	cluster=$(super "$file" 'Cluster size')
	dumpe2fs "$file" 2>/dev/null | awk -v size="$size" -v ratio=$((${cluster:-$size} / size)) '
		/^  Free blocks: / {
			gsub(/[^0-9 -]/, "")
			for (i = 1; i <= NF; i++) {
				if (split($i, run, "-") < 1 || run[1] == "") continue
				last = (run[2] == "" ? run[1] : run[2]) + ratio - 1
				if (have && run[1] == end + 1) { end = last; continue }
				if (have) print first * size, (end - first + 1) * size
				have = 1; first = run[1]; end = last
			}
		}
		END { if (have) print first * size, (end - first + 1) * size }' >"$TMP/list.dumpe2fs"
	sed 1d "$TMP/list" | diff - "$TMP/list.dumpe2fs" >"$TMP/list.diff" ||
		fail "not what dumpe2fs has free: $(head -5 "$TMP/list.diff")"
	is_clean ext "$file"
	expect_equal "$FREE" "$(($(super "$file" 'Free blocks') * $(super "$file" 'Block size')))" "free"
}

# What e2fsck finds starting from each backup of the superblock, with its own copy of the descriptors.
# It is not clean (the counts of a backup are as old as the filesystem), but it is always the same.
backups() {
	local block
	for block in $(dumpe2fs "$1" 2>/dev/null | sed -n 's/^  Backup superblock at \([0-9]*\),.*/\1/p'); do
		echo "backup at $block"
		e2fsck -fn -b "$block" -B "$(super "$1" 'Block size')" "$1" 2>&1 | sed "s|$1|FILE|g" || true
	done
}
remember_backups() {
	backups "$1" >"$TMP/backups"
	BACKUPS=$((BACKUPS + $(grep -c '^backup at' "$TMP/backups" || true)))
}
BACKUPS=0
same_backups() {
	backups "$1" | diff - "$TMP/backups"
}

# --- layouts --------------------------------------------------------------------------------------

layout ext2 64M -t ext2 -b 1024
layout ext2_old 48M -t ext2 -r 0 -b 1024
layout ext3 64M -t ext3 -b 4096 -g 2048
layout ext4 160M -t ext4 -b 4096
layout ext4_1k 64M -t ext4 -b 1024
layout ext4_2k 64M -t ext4 -b 2048
layout bigalloc 64M -t ext4 -b 4096 -O bigalloc,^resize_inode
layout bigalloc_1k 96M -t ext4 -b 1024 -C 4096 -O bigalloc
layout meta_bg 64M -t ext4 -b 4096 -g 2048 -O meta_bg,^resize_inode
layout meta_bg_1k 64M -t ext4 -b 1024 -g 2048 -O meta_bg,^resize_inode
layout not_64bit 48M -t ext4 -b 4096 -g 2048 -O ^64bit
layout sparse_super2 64M -t ext4 -b 1024 -O sparse_super2,^resize_inode
layout packed 64M -t ext4 -b 1024 -E packed_meta_blocks=1
layout no_flex_bg 64M -t ext4 -b 1024 -O ^flex_bg
layout uninit_bg 64M -t ext4 -b 1024 -O uninit_bg,^metadata_csum
layout no_csum 48M -t ext4 -b 1024 -O ^uninit_bg,^metadata_csum
layout no_resize 48M -t ext4 -b 1024 -O ^resize_inode
layout small_groups 64M -t ext4 -b 4096 -g 512 -G 4
layout no_journal 48M -t ext4 -b 4096 -O ^has_journal
layout mmp 48M -t ext4 -b 4096 -O mmp
layout orphan_file 48M -t ext4 -b 4096 -O orphan_file,fast_commit
layout odd_features 64M -t ext4 -b 4096 -I 512 -O inline_data,ea_inode,large_dir,metadata_csum_seed,stable_inodes,encrypt,verity
unmounted_layout quota 48M -t ext4 -b 1024 -O quota,project,casefold
unmounted_layout blocks_64k 64M -t ext4 -b 65536 -O ^has_journal

# Grown: groups that mke2fs did not make, but resize2fs at rest and the kernel while it is mounted.
# The latter needs CAP_SYS_RESOURCE (bit 24); without it all is done at rest.
layout grown 48M -t ext4 -b 1024 -E resize=1G
fill_grown() {
	local how='grow_mounted' caps
	caps=0x$(sed -n 's/^CapEff:\t//p' /proc/self/status)
	test $((caps >> 24 & 1)) = 1 || how=make_and_remember
	truncate -s 72M "$1"
	resize "$1"
	truncate -s 128M "$1"
	test $how = grow_mounted || resize "$1"
	in_loop_mount "$1" '' $how
	expect_equal "$(super "$1" 'Block count')" $((128 << 10)) blocks
	same_as_dumpe2fs "$1"
	remember_backups "$1"
}
resize() {
	resize2fs "$1" >"$TMP/resize" 2>&1 || fail "$(cat "$TMP/resize")"
}
grow_mounted() {
	resize "$LOOP"
	make_and_remember "$1"
}

for name in ext2 ext2_old ext3 ext4 ext4_1k ext4_2k bigalloc bigalloc_1k meta_bg meta_bg_1k \
	not_64bit sparse_super2 packed no_flex_bg uninit_bg no_csum no_resize small_groups no_journal \
	mmp orphan_file odd_features quota blocks_64k grown; do
	try_layout ext $name
done
test "$BACKUPS" -gt 50 || fail "no more than $BACKUPS backups of superblocks were looked at"

# --- not left in order ----------------------------------------------------------------------------

# refused FILE STATE PATTERN: by name, and not a byte of it is changed.
refused() {
	local before
	before=$(sha "$1")
	is_refused ext "$1" "$2" "$3"
	! "$FREEMAP" ext "$1" fill >"$TMP/verdict" || fail "what is $2 was filled"
	expect_equal "$(sha "$1")" "$before" "$1"
}

make_noise 20
mkdir "$TMP/few"
for ((i = 0; i < 20; i++)); do
	cp "$TMP/noise/file $i" "$TMP/few"
done

# crashed FILE MKE2FS-OPTION...: as a power cut leaves it: what the disk has while it is mounted, with
# a file that was deleted and is held open.
crashed() {
	local file=$1
	rm -f "$TMP/live.img"
	truncate -s 16M "$TMP/live.img"
	mke2fs -q -F "${@:2}" "$TMP/live.img"
	in_loop_mount "$TMP/live.img" '' copy_while_mounted "$file"
}
copy_while_mounted() {
	cp -r "$TMP/few" "$2/keep"
	exec 6>"$2/held"
	fill "$2/held" 100000 held
	sync -f "$2"
	rm "$2/held"
	sync -f "$2"
	cp --sparse=always "$TMP/live.img" "$1"
	exec 6>&-
}

# edit FILE COMMAND...: by debugfs, which says nothing when all is well.
edit() {
	printf '%s\n' "${@:2}" | debugfs -w -f - "$1" >"$TMP/out" 2>"$TMP/debugfs"
	! sed 1d "$TMP/debugfs" | grep . || fail "debugfs ${*:2}: $(cat "$TMP/debugfs")"
}

say "crashed ones, with a journal and without"
for options in '-t ext3' '-t ext4' '-t ext4 -O fast_commit,orphan_file' '-t ext4 -O bigalloc'; do
	# shellcheck disable=SC2086
	crashed "$TMP/fs.img" $options
	grep -q '^Filesystem state: *clean' <<<"$(dumpe2fs -h "$TMP/fs.img" 2>/dev/null)" || fail "no trap any more"
	refused "$TMP/fs.img" unclean 'its journal has to be replayed: mount and unmount it'

	# Without the bit the kernel would pass over the journal, and all that is in it.
	cp "$TMP/fs.img" "$TMP/bit.img"
	edit "$TMP/bit.img" 'feature -needs_recovery -orphan_present' 'set_super_value last_orphan 0'
	refused "$TMP/bit.img" unclean 'its journal is not empty'

	# Replayed, but neither the deleted file nor the superblock's counts were seen to.
	cp "$TMP/fs.img" "$TMP/replayed.img"
	e2fsck -y -E journal_only "$TMP/replayed.img" >/dev/null 2>&1 || test $? -le 1
	refused "$TMP/replayed.img" '(unclean|damaged)' '(deleted files wait|its superblock has)'

	in_loop_mount "$TMP/fs.img" ro test -d
	is_clean ext "$TMP/fs.img"
done
for options in '-t ext2' '-t ext4 -O ^has_journal'; do
	# shellcheck disable=SC2086
	crashed "$TMP/fs.img" $options
	refused "$TMP/fs.img" unclean 'it was not unmounted'
	e2fsck -fy "$TMP/fs.img" >/dev/null 2>&1 || test $? -le 1
	is_clean ext "$TMP/fs.img"
done

say "a frozen one, as a snapshot has it, is in order"
freeze() {
	rm -r "$1/keep"
	fsfreeze -f "$1"
	cp --sparse=always "$TMP/live.img" "$TMP/fs.img"
	fsfreeze -u "$1"
}
crashed "$TMP/fs.img" -t ext4
in_loop_mount "$TMP/live.img" '' freeze
is_clean ext "$TMP/fs.img"

# --- damaged --------------------------------------------------------------------------------------

# poke FILE OFF HEX: writes those bytes there. flip FILE OFF: turns one bit of the byte there.
poke() {
	printf "%b" "$(sed 's/../\\x&/g' <<<"$3")" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
flip() {
	poke "$1" "$2" "$(printf '%02x' $((0x$(od -An -tx1 -j "$2" -N 1 "$1" | tr -d " ") ^ 1)))"
}

# at FILE PLACE-OF-A-GROUP GROUP: where it is, in bytes; for example 'Block bitmap' 2.
at() {
	local block
	block=$(dumpe2fs "$1" 2>/dev/null | awk -v want="  $2 at " -v group="Group $3:" '
		index($0, "Group ") == 1 { is_it = index($0, group) == 1 }
		is_it && index($0, want) == 1 { sub(want, ""); print $1 + 0 }')
	echo $((block * $(super "$1" 'Block size')))
}
journal_at() {
	echo $(($(debugfs -R 'bmap <8> 0' "$1" 2>/dev/null) * $(super "$1" 'Block size')))
}

# broken BASE STATE PATTERN COMMAND...: a copy of BASE, with COMMAND done to it (FILE is appended).
broken() {
	cp "$TMP/$1.img" "$TMP/broken.img"
	"${@:4}" "$TMP/broken.img"
	refused "$TMP/broken.img" "$2" "$3"
}
poke_super() { poke "$3" $((1024 + $1)) "$2"; }
flip_super() { flip "$2" $((1024 + $1)); }
flip_place() { flip "$4" $(($(at "$4" "$1" "$2") + $3)); }
poke_place() { poke "$5" $(($(at "$5" "$1" "$2") + $3)) "$4"; }
poke_descriptor() { poke "$4" $((2048 + $1 * 32 + $2)) "$3"; }
flip_descriptor() { flip "$3" $((2048 + $1 * 64 + $2)); }
poke_journal() { poke "$3" $(($(journal_at "$3") + $1)) "$2"; }
poke_mmp() { poke "$3" $(($(super "$3" 'MMP block number') * 1024 + $1)) "$2"; }
debug() { edit "$2" "$1"; }
debug_group() { edit "$3" "set_bg $1 $2" "set_bg $1 checksum calc"; }
shorten() { truncate -s -512 "$1"; }

# Five groups of 1 MiB and a short one; the descriptors begin at byte 2048.
for base in 'plain -t ext2 -O ^resize_inode' 'journal -t ext3 -O ^resize_inode' \
	'sums -t ext4' 'mmp -t ext4 -O mmp,^metadata_csum,^uninit_bg,^64bit'; do
	truncate -s 5632K "$TMP/${base%% *}.img"
	# shellcheck disable=SC2086
	mke2fs -q -F -b 1024 -g 1024 ${base#* } -d "$TMP/few" "$TMP/${base%% *}.img"
	is_clean ext "$TMP/${base%% *}.img"
done

say "damaged ones, without checksums"
count='not as many blocks are free as the descriptor has'
bitmap=$(($(at "$TMP/plain.img" 'Block bitmap' 1) / 1024))
broken plain damaged "in group 3 $count" flip_place 'Block bitmap' 3 100
broken plain damaged "in group 2 $count" debug 'set_bg 2 free_blocks_count 77'
broken plain damaged 'in group 5 the block bitmap goes on behind its end' flip_place 'Block bitmap' 5 1023
broken plain damaged 'not as many blocks are free as its superblock' debug 'ssv free_blocks_count 7'
broken plain damaged 'not as many inodes are free as its superblock' debug 'ssv free_inodes_count 7'
broken plain damaged 'block [0-9]* belongs to two tables' debug "set_bg 1 inode_bitmap $bitmap"
broken plain damaged 'in group 1 a table lies in free blocks' debug 'set_bg 1 inode_bitmap 2040'
broken plain damaged 'in group 2 a table lies outside of it' debug 'set_bg 2 inode_bitmap 100'
broken mmp damaged 'in group 2 a table lies outside the filesystem' poke_descriptor 2 4 ffffff7f
broken plain damaged 'its superblock is not in order' poke_super 0x14 00
broken plain damaged 'its superblock is not in order' poke_super 0x18 07
broken plain damaged 'its superblock is not in order' poke_super 0x20 00000000
broken plain damaged 'its superblock is not in order' poke_super 0x28 01000000
broken plain damaged 'it has 5632 blocks of 1024 bytes, more than the volume holds' shorten
broken plain damaged 'it has .* more than the volume holds' poke_super 4 ffffffff
cp "$TMP/plain.img" "$TMP/broken.img"
truncate -s 33G "$TMP/broken.img"
poke_super 4 00000002 "$TMP/broken.img"
poke_super 0x20 08000000 "$TMP/broken.img"
is_refused ext "$TMP/broken.img" unsupported 'it has too many groups of blocks'

say "damaged ones, with checksums"
broken sums damaged 'the checksum of its superblock is wrong' flip_super 0x78
broken sums damaged 'in group 2 the checksum of the descriptor is wrong' flip_descriptor 2 0xe
broken sums damaged 'in group 0 the checksum of the block bitmap is wrong' flip_place 'Block bitmap' 0 100
broken sums damaged "the checksum of its journal's inode is wrong" flip_place 'Inode table' 0 $((7 * 256 + 4))
broken sums damaged "in group 4 $count" debug_group 4 'free_blocks_count 7'

say "journals and multiple mounts that are not in order"
broken journal damaged 'its journal is not in order' poke_journal 3 99
broken sums damaged 'its journal is not in order' poke_journal 12 00000800
broken journal unclean 'its journal is not empty' poke_journal 0x1c 00000001
broken journal damaged 'its journal was given up after an error' poke_journal 0x20 00000005
broken journal damaged 'its journal has no inode' debug 'ssv journal_inum 99999'
broken journal damaged 'its journal is empty' debug 'ssv journal_inum 5'
broken mmp damaged 'its journal is mapped by a tree that is too deep' \
	poke_place 'Inode table' 0 $((7 * 256 + 40 + 6)) 0600
broken journal unsupported 'its journal is on another device' debug 'ssv journal_inum 0'
broken mmp unclean 'it is mounted, or being checked' poke_mmp 4 05000000
broken mmp damaged 'its multiple mount protection is not in order' poke_mmp 0 05
broken mmp damaged 'its multiple mount protection lies outside' poke_super 0x168 ffffff7f

say "states, features, and what is none"
broken plain unclean 'it was not unmounted' debug 'ssv state 0'
broken plain damaged 'errors were found in it: it needs a run of e2fsck' debug 'ssv state 3'
broken sums damaged 'errors were found in it: it needs a run of e2fsck' debug 'ssv state 3'
broken sums unclean 'deleted files wait for their end' debug 'ssv last_orphan 12'
broken plain unsupported 'features that are not known .compat 0x80000000, ' poke_super 0x5f 80
broken plain unsupported 'features that are not known .*incompat 0x1,' poke_super 0x60 03
broken plain unsupported 'features that are not known .*ro_compat 0x4000.$' poke_super 0x65 40
truncate -s 16M "$TMP/external.img"
mke2fs -q -F -O journal_dev "$TMP/external.img"
refused "$TMP/external.img" unsupported 'jbd: it is the journal of another filesystem'
poke "$TMP/external.img" $((1024 + 0x38)) 0000
expect_status 1 "$FREEMAP" ext "$TMP/external.img"
grep -qx no "$TMP/out" || fail "something is known without its magic number"

# What a fresh group's bitmap has on the disk means nothing.
place=$(at "$TMP/sums.img" 'Block bitmap' 4)
test "$(dumpe2fs "$TMP/sums.img" 2>/dev/null | grep -c '^Group 4:.*BLOCK_UNINIT')" = 1 || fail "not fresh"
is_clean ext "$TMP/sums.img"
was=$FREE
poke "$TMP/sums.img" "$place" 00ff00ff
is_clean ext "$TMP/sums.img"
expect_equal "$FREE" "$was" "free, with a fresh group's bitmap in disorder"
