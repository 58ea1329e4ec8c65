#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every filesystem's reader, built with the address and undefined behaviour sanitizers, over small
# filesystems in which a few bytes are changed in each round: see tests/guest/fuzz.c. No sanitizer
# may complain, no reader may print, and where there are checksums nothing may be called free that
# was not. A round that fails is run again alone with: fuzz READER FILE SEED ROUND --one.
#
# Arguments: the readers to try; all of them by default. VHD_SEED (1) is the seed.
. "$(dirname "$0")/support/lib.sh"

makefile=$top_builddir/Makefile
test -f "$makefile" || skip "there is no build in $top_builddir"
requires mke2fs mkfs.fat mcopy mkfs.exfat mkntfs ntfscp mkfs.xfs mkfs.btrfs mkswap
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1

# setting NAME: what configure chose.
setting() {
	sed -n "s/^$1 = //p" "$makefile" | head -n 1
}
cc=$(setting CC)
sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'

# build_fuzz: with the sources, not the library: that has no sanitizers in it.
build_fuzz() {
	# shellcheck disable=SC2086,SC2046 # settings are lists of words
	printf '%s\n' "$top_srcdir"/vhd/guest/*.c "$top_srcdir/tests/guest/fuzz.c" |
		(cd "$TMP" && xargs -P 2 -n 4 $cc -std=gnu11 -g -O1 $sanitize $(setting DEFS) -D_GNU_SOURCE \
			-D_FILE_OFFSET_BITS=64 -I"$top_srcdir" -I"$top_builddir" $(setting GUEST_CFLAGS) -c)
	# shellcheck disable=SC2086,SC2046
	$cc $sanitize -pthread -o "$TMP/fuzz" "$TMP"/*.o "$top_builddir/vhd/libvhd.a" \
		$(setting GUEST_LIBS) $(setting UUID_LIBS)
}

# make_READER FILE SIZE [OPTION...]: by the real program, with the files of $TMP/tree in it.
make_ext() {
	mke2fs -q -F -d "$TMP/tree" "${@:3}" "$1" "$2"
}
make_fat() {
	mkfs.fat "${@:3}" "$1" && mcopy -i "$1" "$TMP/tree/"* ::
}
make_exfat() {
	mkfs.exfat "${@:3}" "$1"
}
make_ntfs() {
	mkntfs -q -F -f "${@:3}" "$1"
	local file
	for file in "$TMP/tree/"*; do
		ntfscp -f "$1" "$file" "${file##*/}"
	done
}
make_xfs() {
	local file
	{
		printf '%s\n' / '0 0' 'd--755 0 0'
		for file in "$TMP/tree/"*; do
			echo "${file##*/} ---644 0 0 $file"
		done
		echo '$'
	} >"$TMP/prototype"
	mkfs.xfs -q -f -p "$TMP/prototype" "${@:3}" "$1"
}
make_btrfs() {
	mkfs.btrfs -q --rootdir "$TMP/tree" "${@:3}" "$1"
}
make_swap() {
	mkswap "${@:3}" "$1"
}

# One line a filesystem: the reader, "strict" if checksums cover what says what is free, size, options.
table() {
	cat <<-'TABLE'
		ext -     64M  -t ext2 -b 1024
		ext -     64M  -t ext3 -b 1024 -O ^resize_inode
		ext -     100M -t ext4 -b 1024 -O ^metadata_csum,uninit_bg
		ext strict 100M -t ext4 -b 1024
		ext strict 300M -t ext4 -b 4096 -O mmp
		ext strict 200M -t ext4 -b 4096 -O bigalloc,^resize_inode
		ext strict 100M -t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg
		fat -      4M   -F 12
		fat -      32M  -F 16
		fat -      48M  -F 32 -s 1
		exfat -    48M
		ntfs -     32M
		ntfs -     32M  -c 1024
		xfs strict 320M -b size=4096
		xfs -      320M -m crc=0
		btrfs strict 128M
		btrfs strict 128M -m dup -d dup
		btrfs strict 64M  --mixed -m single -d single
		swap -     8M
	TABLE
}

printf 'int main(void) { return 0; }\n' >"$TMP/try.c"
# shellcheck disable=SC2086
$cc $sanitize -o "$TMP/try" "$TMP/try.c" 2>"$TMP/err" && "$TMP/try" || skip "$cc has no sanitizers"
build_fuzz

mkdir "$TMP/tree"
for ((i = 0; i < 12; i++)); do
	fill "$TMP/tree/file$i" $((i * i * 977 + 1)) "fuzz $i"
done

# No structure of a disk of that size is worth more.
export ASAN_OPTIONS=max_allocation_size_mb=600:detect_leaks=1
# libntfs-3g 2022.10.3 loses what it had when it gives up a mount half way: the child's end frees it.
echo leak:libntfs-3g >"$TMP/leaks"
export LSAN_OPTIONS=suppressions=$TMP/leaks:print_suppressions=0
seed=${VHD_SEED:-1} rounds=400
test -z "${VHD_LONG:-}" || rounds=5000
tried=0
while read -r reader strict size options; do
	test $# = 0 || grep -qw "$reader" <<<"$*" || continue
	say "$reader $options, seed $seed"
	rm -f "$TMP/fs.img"
	truncate -s "$size" "$TMP/fs.img"
	# shellcheck disable=SC2086
	"make_$reader" "$TMP/fs.img" "$size" $options >"$TMP/out" 2>&1 || fail "$(cat "$TMP/out")"
	"$TMP/fuzz" "$reader" "$TMP/fs.img" "$seed" "$rounds" "--$strict" >"$TMP/out" 2>"$TMP/err" ||
		fail "$(cat "$TMP/err")"
	cat "$TMP/out"
	grep -q ': clean as it is' "$TMP/out" || fail "it is not clean to begin with"
	test ! -s "$TMP/err" || fail "it prints: $(head -5 "$TMP/err")"
	tried=$((tried + 1))
done < <(table)
test "$tried" -gt 0 || fail "nothing was tried"
