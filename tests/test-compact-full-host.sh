#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Compacting where the host has no room at all: it goes as far as it can, the image is valid and shorter
# than before, what it says is wanted is enough, and a second run finishes.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img qemu-io openssl mkfs.ext4
requires_loop
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
M=$((1 << 20))
mkdir "$TMP/host"

vhd() {
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" "$@"
}

# Twelve blocks of noise; some are zeros, and the host has the room of some in holes already.
fill "$TMP/raw" $((24 * M)) full
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$TMP/raw" "$TMP/plain.vhd"
qemu-io -f vpc -c "write -P 0 2M 2M" -c "write -P 0 16M 2M" "$TMP/plain.vhd" >/dev/null
# A disk whose block 0 was given up, so that its slot is a hole that nobody owns.
"$PYTHON" - "$TMP/plain.vhd" <<-'END'
	import struct, sys
	f = open(sys.argv[1], "r+b")
	f.seek(1536)
	entry, = struct.unpack(">I", f.read(4))
	f.seek(1536)
	f.write(b"\xff" * 4)
	f.seek(entry * 512)
	f.write(bytes((2 << 20) + 512))
END
check_image "$TMP/plain.vhd" 3
# Slots 0 and 4 in holes, nothing to drop: each move needs room before it gives any.
cp "$TMP/plain.vhd" "$TMP/moves.vhd"
cp "$TMP/plain.vhd" "$TMP/drops.vhd"
qemu-io -f vpc -c "write -P 0x55 2M 2M" -c "write -P 0x55 16M 2M" "$TMP/moves.vhd" >/dev/null

# exhaust: not a block is left.
exhaust() {
	local size
	for size in 1M 64K 4K 1K; do
		dd if="$TMP/raw" of="$TMP/host/filler" bs=$size oflag=append conv=notrunc iflag=fullblock status=none 2>/dev/null || true
		while dd if=/dev/zero of="$TMP/host/filler" bs=$size count=64 oflag=append conv=notrunc status=none 2>/dev/null; do
			:
		done
	done
	sync -f "$TMP/host"
	expect_equal "$(stat -fc %a "$TMP/host")" 0 "room on the host"
}

# try KIND COMMAND...: to work on a copy of KIND.vhd on the full host. Sets STATUS.
try() {
	local kind=$1 image=$TMP/host/$1.vhd before contents size wanted
	shift
	case $kind in	# a zero block that is a hole gives the host nothing
	drops) cp --sparse=never "$TMP/$kind.vhd" "$image" ;;
	moves) cp --sparse=always "$TMP/$kind.vhd" "$image" ;;
	esac
	contents=$(vhd sha "$image")
	before=$(stat -c %s "$image")
	size=$("$VHDIMG" "$@" -n --output=json "$image" | jq '."file-size-after"')
	exhaust
	STATUS=0
	"$VHDIMG" "$@" "$image" >"$TMP/out" 2>"$TMP/err" || STATUS=$?
	test $STATUS = 0 || test $STATUS = 6 || fail "$kind: status $STATUS: $(cat "$TMP/err")"
	check_image "$image" 3
	expect_equal "$(vhd sha "$image")" "$contents" "$kind on a full host"
	if test "$kind" = drops; then
		test "$(stat -c %s "$image")" -lt "$before" || fail "$kind: not shorter: $(cat "$TMP/out" "$TMP/err")"
	else
		test "$(stat -c %s "$image")" -le "$before" || fail "$kind: longer"
	fi
	if test $STATUS = 0; then
		expect_equal "$(stat -c %s "$image")" "$size" "$kind: done on a full host"
	else
		expect_said "$kind\.vhd: .*full" "with [0-9]+ bytes of room"
		wanted=$(grep -o 'with [0-9]*' "$TMP/err" | grep -o '[0-9]*')
		test "$wanted" -gt 0 || fail "$kind: it wants nothing: $(cat "$TMP/err")"
		truncate -s -$(((wanted + 4095) / 4096 * 4096)) "$TMP/host/filler"
		sync -f "$TMP/host"
	fi
	"$VHDIMG" "$@" -q "$image" || fail "$kind: with the room that was wanted it does not finish"
	expect_equal "$(stat -c %s "$image")" "$size" "$kind: the second run"
	expect_equal "$(vhd sha "$image")" "$contents" "$kind: the second run"
	check_image "$image"
	rm -f "$image" "$TMP/host/filler"
}

exercise() {
	try drops compact
	say "with drops: status $STATUS"
	try moves compact
	expect_equal $STATUS 6 "moves into holes on a full host"
	try drops shrink
	try drops compact --align
	say "aligned: status $STATUS"
}

say "a tmpfs"
mount -t tmpfs -o size=34M none "$TMP/host"
cleanup "umount_lazy '$TMP/host'"
exercise
umount "$TMP/host"

say "an ext4 without reserved blocks"
truncate -s 48M "$TMP/ext4"
mkfs.ext4 -q -m 0 "$TMP/ext4"
loop_attach "$TMP/ext4"
mount "$LOOP" "$TMP/host"
exercise
umount "$TMP/host"
loop_detach "$LOOP"
