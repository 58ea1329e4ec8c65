#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Differencing images written into through a mount: real Windows chains, what is zeroed and punched
# over a parent's data, chains of many levels. A second reader of the whole chain finds what was
# written, and the parents keep their bytes and their times. VHD_SEED repeats a run.
. "$(dirname "$0")/support/lib.sh"

requires python3 fallocate openssl
requires_fuse
requires_corpus
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
STRESS=$top_builddir/tests/stress/diskstress
test -x "$STRESS" || skip "diskstress was not built"
mkdir "$TMP/mnt"
MiB=$((1 << 20))
seed=${VHD_SEED:-$RANDOM}
echo "seed=$seed"
rounds=2 count=150
if test -n "${VHD_LONG:-}"; then
	rounds=12 count=2000
fi

turn=0
stress() {
	turn=$((turn + 1))
	"$STRESS" --seed=$((seed + turn)) --count=$count --threads=4 "$DISK" "$TMP/shadow" ||
		fail "the disk is not what was written (VHD_SEED=$seed, run $turn)"
}

# identity FILE...: what must not change of a parent.
identity() {
	stat -c '%n %s %y' "$@"
	sha256sum "$@"
}

# compare_chain IMAGE PARENT...: it is sound, and reads as the shadow.
compare_chain() {
	check_image "$1" 3
	read_chain "$TMP/raw" "$@"
	same "$TMP/raw" "$TMP/shadow"
}

say "a chain as Windows made it"
corpus_image govhd-win8 "$TMP/win8.vhd"
corpus_image govhd-win8-child "$TMP/child.vhd"
was=$(identity "$TMP/win8.vhd")
mount_vhd "$TMP/child.vhd" "$TMP/mnt" commit=1
stress
umount_vhd "$TMP/mnt"
expect_equal "$(identity "$TMP/win8.vhd")" "$was" "the parent"
compare_chain "$TMP/child.vhd" "$TMP/win8.vhd"

say "the same once its parent has data, with every way of zeroing"
rm "$TMP/shadow"
mount_vhd "$TMP/win8.vhd" "$TMP/mnt"
stress
umount_vhd "$TMP/mnt"
corpus_image govhd-win8-child "$TMP/child.vhd"
was=$(identity "$TMP/win8.vhd")
read_chain "$TMP/raw" "$TMP/child.vhd" "$TMP/win8.vhd"
same "$TMP/raw" "$TMP/shadow"
for ((round = 0; round < rounds; round++)); do
	options=commit=$((round % 2 * 4 + 1))
	test $((round % 3)) != 1 || options=$options,nodiscard
	test $((round % 4)) != 1 || options=$options,detect_zeroes=off
	mount_vhd "$TMP/child.vhd" "$TMP/mnt" $options
	stress
	umount_vhd "$TMP/mnt"
	expect_equal "$(identity "$TMP/win8.vhd")" "$was" "the parent"
	compare_chain "$TMP/child.vhd" "$TMP/win8.vhd"
done

say "zeros over a parent's data stay zeros"
make_image "$TMP/base.vhd" 16M
fill "$TMP/shadow" $((10 * MiB)) parent
mount_vhd "$TMP/base.vhd" "$TMP/mnt"
dd if="$TMP/shadow" of="$DISK" bs=1M conv=notrunc status=none
umount_vhd "$TMP/mnt"
truncate -s 16M "$TMP/shadow"
was=$(identity "$TMP/base.vhd")
"$PYTHON" "$top_srcdir/tests/support/vhd.py" child "$TMP/a.vhd" "$TMP/base.vhd"
# both COMMAND...: on the disk and on the shadow, with @ for the file.
both() {
	"${@//@/$DISK}"
	"${@//@/$TMP/shadow}"
}
free_of() {
	stat -f -c %f "$TMP/mnt"
}
mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=1
expect_equal "$(stat -c %b "$DISK")" $((10 * MiB / 512)) "blocks, the parent's too"
free=$(free_of)
both fallocate -p -o 0 -l 4M @
same "$DISK" "$TMP/shadow"
both fallocate -z -n -o $((4 * MiB)) -l 2M @
both dd if=/dev/zero of=@ bs=1M seek=6 count=2 conv=notrunc status=none
both fallocate -p -o $((9 * MiB + 100)) -l 100000 @
both fallocate -p -o $((12 * MiB)) -l 4M @
same "$DISK" "$TMP/shadow"
expect_equal "$(free_of)" $((free - 10 * MiB / 4096)) "free blocks, zeros taking room"
umount_vhd "$TMP/mnt"
expect_equal "$(blocks_of "$TMP/a.vhd")" 5 "blocks, those of which the parent has something"
compare_chain "$TMP/a.vhd" "$TMP/base.vhd"
expect_equal "$(identity "$TMP/base.vhd")" "$was" "the parent"

say "and what no parent has is given back"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
fill "$TMP/noise" $((3 * MiB)) child
both dd if="$TMP/noise" of=@ bs=1M seek=12 conv=notrunc status=none
umount_vhd "$TMP/mnt"
expect_equal "$(blocks_of "$TMP/a.vhd")" 7
compare_chain "$TMP/a.vhd" "$TMP/base.vhd"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
both fallocate -p -o $((12 * MiB)) -l 4M @
umount_vhd "$TMP/mnt"
expect_equal "$(blocks_of "$TMP/a.vhd")" 5
compare_chain "$TMP/a.vhd" "$TMP/base.vhd"

say "its parent is held against writers, not against readers"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
mkdir "$TMP/other"
expect_status 32 "$VHDFUSE" "$TMP/base.vhd" "$TMP/other"
expect_said "base\.vhd: in use"
expect_status 75 "$VHDIMG" compact "$TMP/base.vhd"
mount_vhd "$TMP/base.vhd" "$TMP/other" ro
umount_vhd "$TMP/other"
umount_vhd "$TMP/mnt"
expect_equal "$(identity "$TMP/base.vhd")" "$was" "the parent"

say "eight levels, with blocks of several sizes"
chain=("$TMP/a.vhd" "$TMP/base.vhd")
sizes=(2097152 4096 524288 65536 2097152 4194304)
for level in 0 1 2 3 4 5; do
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" child "$TMP/level$level.vhd" "${chain[0]}" \
		"${sizes[level]}"
	was=$(identity "${chain[@]}")
	mount_vhd "$TMP/level$level.vhd" "$TMP/mnt" commit=1
	count=$((count / 3)) stress
	umount_vhd "$TMP/mnt"
	expect_equal "$(identity "${chain[@]}")" "$was" "the parents"
	chain=("$TMP/level$level.vhd" "${chain[@]}")
done
compare_chain "${chain[@]}"
