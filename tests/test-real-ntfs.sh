#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The job itself: an image that Windows made, its NTFS mounted here by ntfs-3g on a loop device on our
# file, files written and deleted, everything unmounted, and the image read elsewhere: every file is
# right and the filesystem clean.
. "$(dirname "$0")/support/lib.sh"

requires qemu-img ntfs-3g ntfsfix openssl sha256sum partx fuser
requires_fuse
requires_loop
requires_corpus
mkdir "$TMP/mnt" "$TMP/ntfs"
xz -dc "$CORPUS/nodevhd-dynamic.vhd.xz" >"$TMP/win.vhd"

# attach FILE: its third partition, 189 MiB, as LOOP.
attach() {
	local start sectors
	read -r start sectors < <(partx -g -o START,SECTORS -n 3 "$1")
	loop_attach "$1" --offset $((start * 512)) --sizelimit $((sectors * 512))
}

mount_ntfs() {
	ntfs-3g "$@" "$LOOP" "$TMP/ntfs"
	cleanup "umount_lazy '$TMP/ntfs'"
}

umount_ntfs() {
	wait_for 20 umount "$TMP/ntfs" || fail "the NTFS cannot be unmounted"
	wait_for 20 loop_is_unused || fail "ntfs-3g does not end"
	loop_detach "$LOOP"
}

loop_is_unused() {
	! fuser -s "$LOOP"
}

say "files are written, changed and deleted"
mount_vhd "$TMP/win.vhd" "$TMP/mnt"
attach "$DISK"
mount_ntfs
mkdir -p "$TMP/ntfs/new folder/deep"
for i in 1 2 3 4; do
	fill "$TMP/ntfs/new folder/big $i" $((30 << 20)) "big $i"
done
for ((i = 0; i < 100; i++)); do
	head -c $((i * 517 + 1)) "$TMP/ntfs/new folder/big 1" >"$TMP/ntfs/new folder/deep/small $i"
done
sync -f "$TMP/ntfs"
rm "$TMP/ntfs/new folder/big 2" "$TMP/ntfs/new folder/deep/small "*7
fill "$TMP/ntfs/again" $((20 << 20)) again
printf 'changed' | dd of="$TMP/ntfs/new folder/big 3" bs=1 seek=12345678 conv=notrunc status=none
(cd "$TMP/ntfs" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$TMP/sums"
test "$(grep -c 'big\|small\|again' "$TMP/sums")" = 94 || fail "not all was written"
umount_ntfs
umount_vhd "$TMP/mnt"

say "the image is sound, and qemu reads of it what we do"
check_image "$TMP/win.vhd"
qemu-img convert -f vpc -O raw "$TMP/win.vhd" "$TMP/raw"
mount_vhd "$TMP/win.vhd" "$TMP/mnt" ro
same "$DISK" "$TMP/raw"
umount_vhd "$TMP/mnt"

say "elsewhere every file is right, and the NTFS clean"
attach "$TMP/raw"
ntfsfix -n "$LOOP" >"$TMP/ntfsfix" || fail "ntfsfix: $(cat "$TMP/ntfsfix")"
mount_ntfs -o ro
(cd "$TMP/ntfs" && sha256sum --quiet -c "$TMP/sums") || fail "a file is not what was written"
expect_equal "$(find "$TMP/ntfs" -type f | wc -l)" "$(wc -l <"$TMP/sums")" "files"
umount_ntfs
