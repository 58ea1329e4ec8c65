#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The main job once, as a story: an image made, mounted, used through a filesystem on it, unmounted, what was
# deleted in it given back, and the rest read by qemu. Started by ./bootstrap demo; needs root for the loop
# device.
#
#	docs/demo.sh [--picture=FILE.svg]	also draws the image before and after
#
# What follows a $ is what is run, in a folder of its own. After each step stands what the disk is, how long
# the image's file is, what it takes of the host and what the guest's filesystem uses, from stat(1).
set -euo pipefail

picture=
case ${1-} in
"") ;;
--picture=?*) picture=$(readlink -m -- "${1#*=}") ;;
*)
	echo "usage: docs/demo.sh [--picture=FILE.svg]" >&2
	exit 64
	;;
esac

if test "$(id -u)" != 0; then
	exec sudo env PATH="$PATH" "$0" "$@"
fi

# Characters as the terminal has them, all else the same everywhere.
characters=${LC_ALL:-${LC_CTYPE:-${LANG-}}}
unset "${!LC_@}"
export LANG=C LC_CTYPE=$characters

tmp=$(mktemp -d "${TMPDIR:-/tmp}/vhd-demo.XXXXXX")
image=disk.vhd
loop=
steps=() lengths=() rooms=() times=()

is_mounted() {
	mountpoint -q "$1"
}

clean_up() {
	local status=$?
	trap - EXIT
	set +e
	cd /
	is_mounted "$tmp/in" && umount "$tmp/in"
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

bold='' dim='' plain=''
if test -t 1 && test -z "${NO_COLOR-}" && test "${TERM:-dumb}" != dumb; then
	bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

# step NAME SENTENCE: NAME is its name in the table, SENTENCE says why.
step() {
	steps+=("$1")
	took=0
	printf '\n%s%d. %s%s\n   %s\n' "$bold" ${#steps[@]} "$1" "$plain" "$2"
}

# run LINE: shows and runs it, and adds its time to the step's.
run() {
	local begun=${EPOCHREALTIME/./} status=0
	printf '   %s$ %s%s\n' "$bold" "$1" "$plain"
	eval "$1" >said 2>&1 || status=$?
	took=$((took + ${EPOCHREALTIME/./} - begun))
	sed 's/^/   /' said
	return $status
}

# human BYTES: as vhdimg has them.
human() {
	awk -v n="$1" 'BEGIN {
		if (n < 1024) { printf "%d bytes", n; exit }
		while (n >= 1024 && i < 4) { n /= 1024; i++ }
		printf "%.1f %s", n, substr("KiBMiBGiBTiB", 3 * i - 2, 3)
	}'
}

# guest_uses DISK: what of the disk the guest's filesystem does not call free: the kernel's word while it is
# mounted, else vhdimg's. Tables and journal count.
guest_uses() {
	if is_mounted in; then
		echo $(($1 - $(stat -f -c '%f * %S' in)))
	else
		vhdimg info --output=json $image | jq '[.partitions[].filesystem.used // 0] | add // 0'
	fi
}

# The sizes that the step has led to.
tell_sizes() {
	local disk length room
	sync -f $image
	disk=$(vhdimg info --output=json $image | jq '."virtual-size"')
	length=$(stat -c %s $image)
	room=$(($(stat -c '%b * %B' $image)))
	printf '   %sdisk %s | file %s | on the host %s | used by the guest %s%s\n' "$dim" "$(human "$disk")" \
		"$(human "$length")" "$(human $room)" "$(human "$(guest_uses "$disk")")" "$plain"
	lengths+=("$length") rooms+=("$room") times+=("$took")
}

table() {
	local i
	printf '\n%s%-18s %12s %12s %9s%s\n' "$bold" step "file" "on the host" time "$plain"
	for i in "${!steps[@]}"; do
		printf '%-18s %12s %12s %6d.%02d s\n' "${steps[i]}" "$(human "${lengths[i]}")" \
			"$(human "${rooms[i]}")" $((times[i] / 1000000)) $((times[i] / 10000 % 100))
	done
}

attach_loop() {
	loop=$(losetup --find --show "$@")
}

detach_loop() {
	losetup -d "$loop"
	while losetup "$loop" >/dev/null 2>&1; do
		sleep 0.05
	done
	loop=
}

cd "$tmp"
mkdir mnt in

step "made" "A dynamic VHD is a few sectors, whatever the disk: blocks come when something is written."
run "vhdimg create $image 1G"
tell_sizes

step "mounted" "Now the disk inside is a file, which every program can use."
run "vhdfuse $image mnt"
run "ls -s --block-size=1 mnt/disk.raw"
tell_sizes

step "formatted" "A loop device makes a disk of that file, and the disk gets a filesystem."
attach_loop mnt/disk.raw
run "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $loop"
run "mount -o nodiscard $loop in"
tell_sizes

step "filled" "Some photographs, of 6 to 10 MiB: the image grows with them."
# shellcheck disable=SC2016 # it is shown, and then run
run 'for i in {01..48}; do head -c $((6 + 10#$i * 3 % 5))M /dev/urandom >in/photo-$i; done; sync -f in'
sha256sum in/photo-?[789] >sums
tell_sizes

step "deleted" "Most of them go again. The guest has its room back; the image does not know yet."
run "rm in/photo-?[0-6] && sync -f in"
tell_sizes

step "unmounted" "vhdimg umount comes back when all is on disk; the room for growth is cut off."
umount in
detach_loop
run "vhdimg umount mnt"
tell_sizes
cp --sparse=always $image before.vhd	# for the drawing

step "looked at" "vhdimg reads the filesystem's own tables, mounts nothing, and needs no root."
run "vhdimg info $image | tail -n 2"
run "vhdimg shrink -n $image"
tell_sizes

step "zeroed" "What the filesystem does not use reads as zeros now, and the host has its room back."
run "vhdimg zero $image"
tell_sizes

step "compacted" "The blocks move down, in place, and the file is cut: shrink would have done both at once."
run "vhdimg compact $image"
tell_sizes

step "checked" "Sound, and with nothing wasted?"
run "vhdimg check $image"
tell_sizes

step "read by qemu" "Without us: the disk by qemu-img, the filesystem by e2fsck, the photographs by their sums."
run "qemu-img convert -f vpc -O raw $image disk.raw"
run "e2fsck -fn disk.raw 2>&1 | tail -n 1"
attach_loop --read-only disk.raw
mount -o ro "$loop" in
run "sha256sum --quiet -c sums && echo \$(wc -l <sums) photographs are what they were"
umount in
detach_loop
tell_sizes

printf '\n%s$ vhdimg map --output=drawing before.vhd %s%s\n' "$bold" $image "$plain"
vhdimg map --output=drawing before.vhd $image
if test -n "$picture"; then
	vhdimg map --output=svg before.vhd $image >map.svg
	install -m 644 map.svg "$picture"
	chown --reference="$(dirname "$picture")" "$picture"
fi
table
printf '\ndemo: done, nothing left behind\n'
