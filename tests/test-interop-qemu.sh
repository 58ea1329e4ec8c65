#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu and libvhdi: what we make and write they open at the exact size and read alike, and locks keep
# their programs and ours apart, in both directions.
. "$(dirname "$0")/support/lib.sh"

requires qemu-img qemu-io openssl python3
requires_fuse
# The interpreter itself: what is first in the PATH may be a slow script that looks for it.
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
mkdir "$TMP/mnt"

# json FILE KEY: of qemu-img info.
qemu_says() {
	qemu-img info -f vpc --output=json "$1" | "$PYTHON" -c 'import json, sys
print(json.load(sys.stdin)[sys.argv[1]])' "$2"
}

vhdi_size() {
	vhdiinfo "$1" | sed -n 's/.*Media size.*(\([0-9]*\) bytes).*/\1/p; s/.*Media size[^0-9]*\([0-9]*\) bytes$/\1/p'
}

say "sizes, to the byte"
G=$((1 << 30))
for size in 512 1024 34816 $((100 << 20)) $(((100 << 20) + 512)) $((G + 512)) \
	$((127 * G)) $((2040 * G)); do
	make_image "$TMP/a.vhd" "$size"
	expect_equal "$(qemu-img info "$TMP/a.vhd" | sed -n "s/^file format: //p")" vpc
	expect_equal "$(qemu_says "$TMP/a.vhd" virtual-size)" "$size" "qemu's size, dynamic"
	if command -v vhdiinfo >/dev/null; then
		expect_equal "$(vhdi_size "$TMP/a.vhd")" "$size" "libvhdi's size, dynamic"
	fi
	rm "$TMP/a.vhd"
	# A fixed image of 127 GiB may be more than the host's filesystem holds, holes or not.
	test "$size" -le $((2 * G)) || continue
	make_image "$TMP/f.vhd" "$size" --type=fixed
	expect_equal "$(qemu_says "$TMP/f.vhd" virtual-size)" "$size" "qemu's size, fixed"
	expect_equal "$(stat -c %s "$TMP/f.vhd")" $((size + 512))
	rm "$TMP/f.vhd"
done

# scribble FILE SIZE: noise at the ends and at odd places between.
scribble() {
	"$PYTHON" - "$1" "$2" "$TMP/noise" <<'END'
import os, random, sys

size = int(sys.argv[2])
noise = open(sys.argv[3], "rb").read()
fd = os.open(sys.argv[1], os.O_RDWR)
rnd = random.Random(size)
places = [(0, 700), (size, -700)]
places += [(rnd.randrange(size), rnd.randrange(1, len(noise))) for i in range(12)]
for off, count in places:
    count = min(abs(count), size) if count < 0 else min(count, size - off)
    if off == size:
        off = size - count
    start = rnd.randrange(len(noise) - count + 1)
    done = 0
    while done < count:
        done += os.pwrite(fd, noise[start + done:start + count], off + done)
os.fsync(fd)
END
}

say "what is written through a mount qemu reads alike"
fill "$TMP/noise" 3000000 interop
large=
test -z "${VHD_LONG:-}" || large=$((G + 512))
for kind in dynamic fixed; do
	for size in 512 $(((5 << 20) + 1536)) $((40 << 20)) $large; do
		make_image "$TMP/a.vhd" "$size" --type=$kind
		mount_vhd "$TMP/a.vhd" "$TMP/mnt"
		scribble "$DISK" "$size"
		umount_vhd "$TMP/mnt"
		check_image "$TMP/a.vhd"
		qemu-img check -q "$TMP/a.vhd" 2>/dev/null || test $? = 63 ||
			fail "qemu finds damage in $kind $size"
		mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
		# also: a read-only holder lets others read
		qemu-img compare -q -f raw -F vpc "$DISK" "$TMP/a.vhd" ||
			fail "qemu reads $kind $size differently"
		sum=$(sha "$DISK")
		umount_vhd "$TMP/mnt"
		if test $kind = dynamic && command -v vhdimount >/dev/null && test "$size" -lt $((10 << 20)); then
			mkdir "$TMP/vhdi"
			vhdimount "$TMP/a.vhd" "$TMP/vhdi" >/dev/null
			cleanup "umount_lazy '$TMP/vhdi'"
			expect_equal "$(sha "$TMP/vhdi/vhdi1")" "$sum" "libvhdi's content"
			wait_for 10 umount "$TMP/vhdi"
			rmdir "$TMP/vhdi"
		fi
		rm "$TMP/a.vhd"
	done
done

say "what qemu writes into our image a mount reads alike"
make_image "$TMP/a.vhd" 100M
qemu-io -f vpc -c 'write -P 0x5a 1000k 5M' -c 'write -P 0xa5 99M 1M' "$TMP/a.vhd" >/dev/null
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
qemu-img convert -f vpc -O raw -U "$TMP/a.vhd" "$TMP/raw"
same "$DISK" "$TMP/raw"

say "while we hold an image for writing, qemu refuses it"
for command in "qemu-img info" "qemu-img check -f vpc" "qemu-io -r -f vpc -c quit" \
	"qemu-io -f vpc -c quit"; do
	expect_status 1 $command "$TMP/a.vhd"
	grep -q 'lock' "$TMP/err" || fail "$command: not for the lock: $(cat "$TMP/err")"
done
if command -v qemu-nbd >/dev/null; then
	expect_status 1 timeout 10 qemu-nbd -f vpc -k "$TMP/nbd.sock" "$TMP/a.vhd"
	grep -q 'lock' "$TMP/err" || fail "qemu-nbd: not for the lock: $(cat "$TMP/err")"
fi
qemu-img info -U "$TMP/a.vhd" >/dev/null || fail "qemu-img info -U"
expect_status 32 "$VHDFUSE" "$TMP/a.vhd" "$TMP" -o ro
expect_status 75 "$VHDIMG" check "$TMP/a.vhd"
umount_vhd "$TMP/mnt"
qemu-io -f vpc -c quit "$TMP/a.vhd" || fail "the lock outlives the mount"

say "while we hold it for reading, qemu may read it and not write"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
qemu-img info "$TMP/a.vhd" >/dev/null || fail "a reader keeps qemu-img info out"
qemu-io -r -f vpc -c 'read 0 1M' "$TMP/a.vhd" >/dev/null || fail "a reader keeps qemu-io -r out"
expect_status 1 qemu-io -f vpc -c quit "$TMP/a.vhd"
umount_vhd "$TMP/mnt"

say "while qemu holds it for writing, we refuse it"
hold_with_qemu "$TMP/a.vhd"
expect_status 32 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt"
expect_said 'a\.vhd' 'in use'
expect_status 32 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt" -o ro
expect_said 'in use'
expect_status 75 "$VHDIMG" check "$TMP/a.vhd"
let_go

say "while qemu holds it for reading, we may read it and not write"
hold_with_qemu "$TMP/a.vhd" -r
expect_status 32 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
same "$DISK" "$TMP/raw"
umount_vhd "$TMP/mnt"
let_go

if command -v qemu-nbd >/dev/null; then
	say "qemu-nbd holds it"
	qemu-nbd -t -f vpc -k "$TMP/nbd.sock" "$TMP/a.vhd" &
	HOLDER=$!
	cleanup_process "$HOLDER"
	# A look at the image takes a lock of its own, which would refuse qemu-nbd its.
	wait_for 20 qemu-img info "nbd+unix:///?socket=$TMP/nbd.sock" >/dev/null ||
		fail "qemu-nbd does not start"
	expect_status 32 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt"
	expect_said 'in use'
	kill "$HOLDER"
	wait_gone 10 "$HOLDER"
fi
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
same "$DISK" "$TMP/raw"
umount_vhd "$TMP/mnt"
