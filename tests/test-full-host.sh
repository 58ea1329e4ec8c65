#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A full host: the writer hears ENOSPC, what was written before stays, the image is sound, and the
# same mount goes on once there is room. And the other things that are wrong with a host or an image
# at mount: the right status and one sentence each.
. "$(dirname "$0")/support/lib.sh"

requires openssl mkfs.ext4
requires_fuse
requires_loop
mkdir "$TMP/mnt" "$TMP/host"
MiB=$((1 << 20))
fill "$TMP/noise" $((40 * MiB)) full

# write_noise MIB SEEK: fails as the writer fails.
write_noise() {
	dd if="$TMP/noise" of="$DISK" bs=1M count="$1" seek="$2" conv=notrunc,fsync 2>"$TMP/err"
}
holds_noise() {
	cmp -n $(($1 * MiB)) -i 0:$(($2 * MiB)) "$TMP/noise" "$DISK"
}

exercise() {
	make_image "$TMP/host/a.vhd" 200M
	fallocate -l 12M "$TMP/host/room" 2>/dev/null || head -c 12M "$TMP/noise" >"$TMP/host/room"
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" commit=1
	write_noise 8 0 || fail "there is room: $(cat "$TMP/err")"
	if write_noise 40 50; then
		fail "40 MiB fit where there is no room for them"
	fi
	grep -q 'No space left on device' "$TMP/err" || fail "not ENOSPC: $(cat "$TMP/err")"
	# Again, and a small one in a new block: no less an error, and nothing is poisoned.
	refuses write_noise 40 50
	holds_noise 8 0 || fail "what was written before is gone"
	write_noise 1 2 || fail "a block that is there cannot be written: $(cat "$TMP/err")"
	write_noise 8 0

	say "the image is sound meanwhile, and after kill -9 too"
	cp "$TMP/host/a.vhd" "$TMP/copy.vhd"
	check_image "$TMP/copy.vhd" 3

	say "there is room again: the same mount goes on"
	rm "$TMP/host/room"
	write_noise 10 100 || fail "the mount does not go on: $(cat "$TMP/err")"
	holds_noise 10 100 || fail "what was written after is not there"
	holds_noise 8 0 || fail "what was written before is gone"
	umount_vhd "$TMP/mnt"
	check_image "$TMP/host/a.vhd" 3
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" ro
	holds_noise 10 100 && holds_noise 8 0 || fail "not there after a remount"
	umount_vhd "$TMP/mnt"

	say "an unmount while it is full loses nothing that was acknowledged"
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt"
	refuses write_noise 40 20
	head -c 60M /dev/zero >"$TMP/host/filler" 2>/dev/null || true
	umount "$TMP/mnt"
	wait_gone 20 "$DAEMON" || fail "the driver does not end on a full host"
	rm -f "$TMP/host/filler"
	check_image "$TMP/host/a.vhd" 3
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" ro
	holds_noise 10 100 && holds_noise 8 0 || fail "not there after the full host"
	umount_vhd "$TMP/mnt"
}

say "a small tmpfs"
mount -t tmpfs -o size=30M none "$TMP/host"
cleanup "umount_lazy '$TMP/host'"
exercise
umount "$TMP/host"

say "a small ext4 without reserved blocks"
truncate -s 36M "$TMP/ext4"
mkfs.ext4 -q -m 0 -O ^has_journal "$TMP/ext4"
loop_attach "$TMP/ext4"
mount "$LOOP" "$TMP/host"
exercise
umount "$TMP/host"
loop_detach "$LOOP"

# refused STATUS WORDS IMAGE [OPTIONS]
refused() {
	expect_status "$1" "$VHDFUSE" "$3" "$TMP/mnt" ${4:+-o "$4"}
	expect_said "$2"
	refuses is_mounted "$TMP/mnt"
}

say "what cannot be mounted"
mkdir "$TMP/a folder"
make_image "$TMP/a folder/an image.vhd" 10M
mount -t tmpfs none "$TMP/host"
cp "$TMP/a folder/an image.vhd" "$TMP/host/ro.vhd"
mount -o remount,ro "$TMP/host"
refused 32 'ro\.vhd.*[Rr]ead-only' "$TMP/host/ro.vhd"
mount_vhd "$TMP/host/ro.vhd" "$TMP/mnt" ro
refuses write_noise 1 0
umount_vhd "$TMP/mnt"
umount "$TMP/host"

mkdir "$TMP/other"
mount_vhd "$TMP/a folder/an image.vhd" "$TMP/other"
refused 32 'an image\.vhd.*in use' "$TMP/a folder/an image.vhd"
refused 32 'an image\.vhd.*in use' "$TMP/a folder/an image.vhd" ro
umount_vhd "$TMP/other"
mount_vhd "$TMP/a folder/an image.vhd" "$TMP/mnt"
write_noise 1 0
umount_vhd "$TMP/mnt"

refused 32 'no such\.vhd.*No such file' "$TMP/no such.vhd"
refused 32 'a folder.*folder' "$TMP/a folder"
: >"$TMP/empty.vhd"
refused 32 'empty\.vhd.*not a VHD' "$TMP/empty.vhd"
head -c 100000 "$TMP/noise" >"$TMP/noise.vhd"
refused 32 'noise\.vhd.*not a VHD' "$TMP/noise.vhd"
gzip -c "$TMP/a folder/an image.vhd" >"$TMP/g.vhd"
refused 32 'g\.vhd.*gzip' "$TMP/g.vhd"
if command -v qemu-img >/dev/null; then
	for format in VHDX qcow2 VMDK; do
		qemu-img create -q -f "${format,,}" "$TMP/q.vhd" 10M
		refused 32 "q\.vhd.*$format" "$TMP/q.vhd"
		rm "$TMP/q.vhd"
	done
fi
