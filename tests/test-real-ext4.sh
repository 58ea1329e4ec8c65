#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A new image, ext4 on a loop device on it, buffered and with direct I/O: files written and deleted
# over remounts, and read elsewhere: every file is right and the filesystem clean.
. "$(dirname "$0")/support/lib.sh"

requires qemu-img mkfs.ext4 e2fsck openssl sha256sum
requires_fuse
requires_loop
mkdir "$TMP/mnt" "$TMP/ext4"

start() {
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" "$1"
	loop_attach "$DISK" --direct-io="$2"
}

mount_ext4() {
	mount "$LOOP" "$TMP/ext4" "$@"
	cleanup "umount_lazy '$TMP/ext4'"
}

stop() {
	umount "$TMP/ext4"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
	check_image "$TMP/a.vhd" 3 # what was discarded is room for later
}

for direct in off on; do
	say "files are written and deleted, direct I/O $direct"
	rm -f "$TMP/a.vhd"
	make_image "$TMP/a.vhd" 1G
	start rw $direct
	mkfs.ext4 -q "$LOOP"
	mount_ext4
	mkdir -p "$TMP/ext4/dir/deep"
	for i in 1 2 3 4; do
		fill "$TMP/ext4/dir/big $i" $((30 << 20)) "big $i"
	done
	for ((i = 0; i < 200; i++)); do
		head -c $((i * 517 + 1)) "$TMP/ext4/dir/big 1" >"$TMP/ext4/dir/deep/small $i"
	done
	stop

	say "and again, with what was deleted discarded at once"
	start commit=1 $direct
	mount_ext4 -o discard
	rm "$TMP/ext4/dir/big 2" "$TMP/ext4/dir/deep/small "*7
	fill "$TMP/ext4/again" $((20 << 20)) again
	printf 'changed' |
		dd of="$TMP/ext4/dir/big 3" bs=1 seek=12345678 conv=notrunc status=none
	fallocate -p -o 1000000 -l 7000000 "$TMP/ext4/dir/big 4"
	(cd "$TMP/ext4" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$TMP/sums"
	stop

	say "elsewhere every file is right, and the ext4 clean"
	qemu-img convert -f vpc -O raw "$TMP/a.vhd" "$TMP/raw"
	qemu-img compare -q -f vpc -F raw "$TMP/a.vhd" "$TMP/raw"
	loop_attach "$TMP/raw"
	e2fsck -fn "$LOOP" >"$TMP/e2fsck" 2>&1 || fail "e2fsck: $(cat "$TMP/e2fsck")"
	mount_ext4 -o ro
	(cd "$TMP/ext4" && sha256sum --quiet -c "$TMP/sums") || fail "a file is not what was written"
	expect_equal "$(find "$TMP/ext4" -type f | wc -l)" "$(wc -l <"$TMP/sums")" "files"
	umount "$TMP/ext4"
	loop_detach "$LOOP"
done
