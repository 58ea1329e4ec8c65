#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdfuse -o cow=FILE and -o snapshot: what is written is read again and kept, or gone; the image's
# bytes and time never change, whatever it is and however the driver ends.
. "$(dirname "$0")/support/lib.sh"

requires jq
requires_fuse

mkdir "$TMP/m" "$TMP/d" "$TMP/scratch"
export TMPDIR=$TMP/scratch
cd "$TMP/d"

fill "$TMP/raw" 6291456 1
fill "$TMP/new" 1000000 2

# Images of each kind with the same contents.
make_image fixed.vhd 6M --type=fixed
dd if="$TMP/raw" of=fixed.vhd conv=notrunc status=none
make_image dynamic.vhd 6M
mount_vhd dynamic.vhd "$TMP/m"
dd if="$TMP/raw" of="$DISK" bs=1M conv=notrunc status=none
umount_vhd "$TMP/m"
"$VHDIMG" create --parent=dynamic.vhd child.vhd
cp "$TMP/raw" disk.img

state() {
	echo "$(sha "$1") $(stat -c '%y %s %i' "$1")"
}

# changed: what the disk is after scribble.
cp "$TMP/raw" "$TMP/changed"
dd if="$TMP/new" of="$TMP/changed" bs=4096 oflag=seek_bytes seek=2000001 conv=notrunc status=none
dd if=/dev/zero of="$TMP/changed" bs=1M seek=4 count=1 conv=notrunc status=none
dd if=/dev/zero of="$TMP/changed" bs=512 seek=3 count=1 conv=notrunc status=none

# Data at odd places, zeros written, a hole.
scribble() {
	dd if="$TMP/new" of="$DISK" bs=4096 oflag=seek_bytes seek=2000001 conv=notrunc status=none
	fallocate -p -o 4194304 -l 1048576 "$DISK"
	dd if=/dev/zero of="$DISK" bs=512 seek=3 count=1 conv=notrunc status=none
}

# reads FILE RAW OPTION...
reads() {
	mount_vhd "$1" "$TMP/m" "$3"
	same "$DISK" "$2"
	umount_vhd "$TMP/m"
}

for image in fixed.vhd dynamic.vhd child.vhd disk.img; do
	say "cow in front of $image"
	before=$(state $image)
	chmod a-w $image
	mount_vhd $image "$TMP/m" cow=cow.vhd
	same "$DISK" "$TMP/raw"
	scribble
	same "$DISK" "$TMP/changed"
	umount_vhd "$TMP/m"
	chmod u+w $image
	expect_equal "$(state $image)" "$before" "$image"
	check_image cow.vhd
	expect_equal "$("$VHDIMG" info --output=json cow.vhd | jq -r '"\(.type) \(.parent.path)"')" \
		"differencing $PWD/$image"
	reads $image "$TMP/changed" cow=cow.vhd
	reads $image "$TMP/changed" cow=cow.vhd,ro
	reads cow.vhd "$TMP/changed" ro
	test $image = disk.img || reads $image "$TMP/raw" ro
	expect_equal "$(state $image)" "$before" "$image"
	mv cow.vhd $image.cow
done

say "another folder, odd names, a file that is there; the image moved"
mkdir "../elsewhere"
mount_vhd dynamic.vhd "$TMP/m" 'cow=../elsewhere/a b\,c é.vhd'
scribble
umount_vhd "$TMP/m"
mv dynamic.vhd moved.vhd
expect_status 32 "$VHDFUSE" "../elsewhere/a b,c é.vhd" "$TMP/m" -o ro
expect_said "dynamic.vhd"
reads moved.vhd "$TMP/changed" 'cow=../elsewhere/a b\,c é.vhd'
mv moved.vhd dynamic.vhd

# refused PATTERN IMAGE OPTIONS: status 32, and neither the image nor the folder is changed.
refused() {
	local before
	before=$(state dynamic.vhd)$(ls -lA --time-style=full-iso)
	expect_status 32 "$VHDFUSE" "$2" "$TMP/m" -o "$3"
	expect_said "$1"
	expect_equal "$(state dynamic.vhd)$(ls -lA --time-style=full-iso)" "$before"
}
say "what cannot keep it"
refused "unique id" dynamic.vhd cow=fixed.vhd.cow
refused "no differencing image" dynamic.vhd cow=fixed.vhd
refused "no differencing image" dynamic.vhd cow=dynamic.vhd
refused "child itself" child.vhd cow=child.vhd
refused "not a VHD" dynamic.vhd cow=disk.img
refused "No such file" dynamic.vhd cow=none/x.vhd
refused "No such file" dynamic.vhd cow=none.vhd,ro
refused "No such file" none.vhd cow=x.vhd
mount_vhd dynamic.vhd "$TMP/m"
mkdir "$TMP/m2"
expect_status 32 "$VHDFUSE" dynamic.vhd "$TMP/m2" -o cow=x.vhd
expect_said "in use"
refuses test -e x.vhd
umount_vhd "$TMP/m"

say "two in front of one image, while nobody may write to it"
mount_vhd dynamic.vhd "$TMP/m" cow=one.vhd
scribble
first=$DISK
mount_vhd dynamic.vhd "$TMP/m2" cow=two.vhd
same "$DISK" "$TMP/raw"
same "$first" "$TMP/changed"
expect_status 32 "$VHDFUSE" dynamic.vhd "$TMP/scratch" -o rw
expect_said "in use"
umount_vhd "$TMP/m2"
umount_vhd "$TMP/m"

say "compacted when it is unmounted"
mount_vhd dynamic.vhd "$TMP/m" cow=small.vhd,compact
dd if="$TMP/raw" of="$DISK" bs=1M conv=notrunc status=none
umount_vhd "$TMP/m"
expect_equal "$(blocks_of small.vhd)" 0 "blocks of a child that is as its parent"

for image in fixed.vhd dynamic.vhd child.vhd disk.img; do
	say "snapshot of $image"
	before=$(state $image)$(ls -A)
	chmod a-w $image
	mount_vhd $image "$TMP/m" snapshot
	scribble
	sync -f "$DISK"
	same "$DISK" "$TMP/changed"
	expect_equal "$(ls -A "$TMPDIR")" "" "names in the scratch folder"
	umount_vhd "$TMP/m"
	mount_vhd $image "$TMP/m" snapshot
	same "$DISK" "$TMP/raw"
	umount_vhd "$TMP/m"
	chmod u+w $image
	expect_equal "$(state $image)$(ls -A)" "$before" "$image"
done
expect_status 32 env TMPDIR="$TMP/none" "$VHDFUSE" fixed.vhd "$TMP/m" -o snapshot
expect_said "none: no scratch file"
TMPDIR=$TMP/none mount_vhd fixed.vhd "$TMP/m" snapshot,ro
same "$DISK" "$TMP/raw"
umount_vhd "$TMP/m"

say "a killed driver leaves nothing"
before=$(state dynamic.vhd)
mount_vhd dynamic.vhd "$TMP/m" snapshot
scribble
kill -9 "$DAEMON"
wait_gone 10 "$DAEMON" || fail "it was not killed"
umount -l "$TMP/m" 2>/dev/null || fusermount3 -u -z "$TMP/m"
expect_equal "$(ls -A "$TMPDIR")" ""
expect_equal "$(state dynamic.vhd)" "$before"
reads dynamic.vhd "$TMP/raw" ro

if test "$(id -u)" = 0; then
	say "a full scratch folder"
	mkdir "$TMP/small"
	if mount -t tmpfs -o size=1M none "$TMP/small" 2>/dev/null; then
		cleanup "umount '$TMP/small'"
		TMPDIR=$TMP/small mount_vhd fixed.vhd "$TMP/m" snapshot
		refuses dd if="$TMP/raw" of="$DISK" bs=64K conv=notrunc,fsync
		same <(dd if="$DISK" bs=1M skip=5 status=none) <(dd if="$TMP/raw" bs=1M skip=5 status=none)
		umount_vhd "$TMP/m" 6
	fi
fi
