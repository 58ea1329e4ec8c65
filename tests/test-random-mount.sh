#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Long random runs on the mounted file against a shadow copy, over remounts; then the same through a
# loop device with direct I/O and many threads. VHD_SEED repeats a run.
. "$(dirname "$0")/support/lib.sh"

requires_fuse
STRESS=$top_builddir/tests/stress/diskstress
test -x "$STRESS" || skip "diskstress was not built"
mkdir "$TMP/mnt"
seed=${VHD_SEED:-$RANDOM}
echo "seed=$seed"
rounds=2
count=150
if test -n "${VHD_LONG:-}"; then
	rounds=6
	count=4000
fi

# stress [OPTION...]: on $DISK.
turn=0
stress() {
	turn=$((turn + 1))
	"$STRESS" --seed=$((seed + turn)) --count=$count "$@" ||
		fail "the disk is not what was written (VHD_SEED=$seed, run $turn)"
}

# The image as another program reads it; qemu, where it is here, cuts nothing off an image of ours.
compare_closed() {
	check_image "$1" 3	# what was punched in the middle is free room
	if command -v qemu-img >/dev/null; then
		qemu-img compare -q -f vpc -F raw "$1" "$TMP/shadow" ||
			fail "qemu reads something else (VHD_SEED=$seed)"
	fi
	mount_vhd "$1" "$TMP/mnt" ro
	same "$DISK" "$TMP/shadow"
	umount_vhd "$TMP/mnt"
}

for kind in "--type=dynamic" "--type=dynamic --block-size=512K" "--type=fixed"; do
	say "the mounted file, $kind"
	rm -f "$TMP/shadow" "$TMP/a.vhd"
	# The last block is short, and the last page of the file too.
	make_image "$TMP/a.vhd" $(((40 << 20) + 512)) $kind
	for ((round = 0; round < rounds; round++)); do
		options=commit=$((round % 2 * 4 + 1))
		test $((round % 3)) -lt 2 || options=$options,nodiscard
		mount_vhd "$TMP/a.vhd" "$TMP/mnt" $options
		stress --threads=4 --strip=$((100000 + round * 7777)) "$DISK" "$TMP/shadow"
		umount_vhd "$TMP/mnt"
	done
	compare_closed "$TMP/a.vhd"
done

say "images that others made, packed otherwise"
if command -v qemu-img >/dev/null; then
	rm "$TMP/shadow" "$TMP/a.vhd"
	qemu-img create -q -f vpc -o force_size=on "$TMP/a.vhd" 40M
	for ((round = 0; round < rounds; round++)); do
		mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=1
		stress --threads=4 "$DISK" "$TMP/shadow"
		umount_vhd "$TMP/mnt"
	done
	compare_closed "$TMP/a.vhd"
fi

if test "$(id -u)" = 0 && command -v losetup >/dev/null && losetup -f >/dev/null 2>&1; then
	for direct in on off; do
		say "a loop device, direct I/O $direct, 32 threads"
		rm -f "$TMP/shadow" "$TMP/a.vhd"
		make_image "$TMP/a.vhd" 64M
		for ((round = 0; round < rounds; round++)); do
			mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=1
			loop_attach "$DISK" --direct-io=$direct
			expect_equal "$(cat "/sys/block/${LOOP#/dev/}/loop/dio")" \
				"$(test $direct = on && echo 1 || echo 0)"
			count=$((count / 8)) stress --threads=32 --direct --strip=65536 "$LOOP" \
				"$TMP/shadow"
			loop_detach "$LOOP"
			umount_vhd "$TMP/mnt"
		done
		compare_closed "$TMP/a.vhd"
	done
else
	say "left out: loop devices"
fi
