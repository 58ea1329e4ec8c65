#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The main job once: an image made, mounted, edited through a filesystem on it, unmounted, its free room
# zeroed, compacted, checked, and read back by qemu. Started by ./bootstrap demo; needs root for the
# loop device.
set -euo pipefail
export LC_ALL=C

if test "$(id -u)" != 0; then
	exec sudo env PATH="$PATH" "$0" "$@"
fi

tmp=$(mktemp -d "${TMPDIR:-/tmp}/vhd-demo.XXXXXX")
image=$tmp/disk.vhd
disk=$tmp/mnt/disk.raw
loop=

is_mounted() {
	mountpoint -q "$1"
}

clean_up() {
	local status=$?
	trap - EXIT
	set +e
	is_mounted "$tmp/fs" && umount "$tmp/fs"
	test -n "$loop" && losetup -d "$loop"
	is_mounted "$tmp/mnt" && vhdimg umount "$tmp/mnt"
	if is_mounted "$tmp/mnt"; then
		umount -l "$tmp/mnt"
	fi
	rm -rf --one-file-system "$tmp"
	test $status = 0 || echo "demo: failed with status $status" >&2
	exit $status
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
	printf '\n== %s\n' "$*"
}

run() {
	printf '$ %s\n' "$*" | sed "s|$tmp/||g"
	"$@"
}

human() {
	numfmt --to=iec-i --suffix=B "$1"
}

# more_or_less CHANGE: in bytes.
more_or_less() {
	if test "$1" -lt 0; then
		echo "$(human $((-$1))) less"
	elif test "$1" = 0; then
		echo "as before"
	else
		echo "$(human "$1") more"
	fi
}

# How long the image's file is, what it takes of the host, and what the step before made of that.
last_size=0 last_room=0
tell_size() {
	local size room
	sync -f "$image"
	size=$(stat -c %s "$image")
	room=$(($(stat -c '%b * %B' "$image")))
	echo "   the file is $(human "$size") long ($(more_or_less $((size - last_size))))" \
		"and takes $(human "$room") of the host ($(more_or_less $((room - last_room))))"
	last_size=$size last_room=$room
}

detach_loop() {
	losetup -d "$loop"
	while losetup "$loop" >/dev/null 2>&1; do
		sleep 0.05
	done
	loop=
}

mkdir "$tmp/mnt" "$tmp/fs"

step "a dynamic VHD of 1 GiB"
run vhdimg create "$image" 1G
tell_size

step "mounted: the disk inside is a file"
run vhdfuse "$image" "$tmp/mnt"
ls -ls "$disk" | sed "s|$tmp/||g"

step "an ext4 on it, through a loop device"
loop=$(losetup --find --show "$disk")
run mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$loop"
run mount "$loop" "$tmp/fs"
tell_size

step "300 MiB of files"
for i in 1 2 3 4 5 6; do
	head -c 50M /dev/urandom >"$tmp/fs/file$i"
done
run sync -f "$tmp/fs"
(cd "$tmp/fs" && sha256sum file5 file6 >"$tmp/sums")
tell_size

step "four of the six deleted: the image does not know yet"
run rm "$tmp/fs/file1" "$tmp/fs/file2" "$tmp/fs/file3" "$tmp/fs/file4"
run sync -f "$tmp/fs"
tell_size

step "unmounted; vhdimg umount comes back when all is on disk"
umount "$tmp/fs"
detach_loop
run vhdimg umount "$tmp/mnt"
tell_size

step "what is inside, and what could be given back"
run vhdimg info "$image" | tail -n 3
run vhdimg shrink -n "$image"

step "zeroed: what the filesystem does not use reads as zeros, and the host has its room back"
run vhdimg zero "$image"
tell_size

step "compacted, in place: the file itself is short again"
run vhdimg compact "$image"
tell_size

step "sound?"
run vhdimg check "$image"

step "read back by qemu, without us"
qemu-img convert -f vpc -O raw "$image" "$tmp/disk.raw"
run e2fsck -fn "$tmp/disk.raw"
loop=$(losetup --find --show --read-only "$tmp/disk.raw")
mount -o ro "$loop" "$tmp/fs"
(cd "$tmp/fs" && sha256sum -c "$tmp/sums")
umount "$tmp/fs"
detach_loop

printf '\ndemo: done, nothing left behind\n'
