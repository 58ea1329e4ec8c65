#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# -o writeback: small writes reach the driver in large pieces, nothing that was flushed or closed is
# missing, holes are sought right while the kernel still keeps data, and a full host is heard of.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl python3
requires_fuse

mkdir "$TMP/mnt" "$TMP/host"
fill "$TMP/noise" 8388608 writeback
make_image "$TMP/a.vhd" 64M
truncate -s 64M "$TMP/shadow"

# The system calls with which the driver wrote, to the image or the kernel.
writes() {
	awk '/^syscw/ { print $2 }' "/proc/$DAEMON/io"
}
# write_small: 2048 pieces of 4 KiB, closed.
write_small() {
	dd if="$TMP/noise" of="$DISK" bs=4k conv=notrunc status=none
}
both() {
	"${@//@/$DISK}"
	"${@//@/$TMP/shadow}"
}

say "small writes come in large pieces, and only with the option"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
before=$(writes)
write_small
test $(($(writes) - before)) -gt 2048 || fail "without the option they did, too"
umount_vhd "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" writeback
before=$(writes)
write_small
test $(($(writes) - before)) -lt 1024 || fail "$(($(writes) - before)) calls for 2048 writes"
both dd if="$TMP/noise" of=@ bs=4k conv=notrunc status=none

say "the file's time goes on, in steps that do not cost each fsync a request"
python3 - "$DISK" "$TMP/noise" <<'END'
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
def written():
    os.pwrite(fd, b"now", 0)
    os.fsync(fd)
    return os.fstat(fd).st_mtime_ns
was = written()
assert abs(was / 1e9 - time.time()) < 3600, was
while (now := written()) == was:
    pass
assert now > was and was % 100000000 == now % 100000000 == 0, (was, now)
os.pwrite(fd, os.pread(os.open(sys.argv[2], os.O_RDONLY), 3, 0), 0)
os.close(fd)
END

say "parts of pages, and behind one another"
both dd if="$TMP/noise" of=@ bs=777 count=3001 seek=9001 conv=notrunc status=none
both dd if="$TMP/noise" of=@ bs=1 count=5 seek=33554431 conv=notrunc status=none
same "$DISK" "$TMP/shadow"

say "what is closed is published, whoever reads"
read_chain "$TMP/read" "$TMP/a.vhd"
same "$TMP/read" "$TMP/shadow"

say "data that the kernel still keeps is no hole"
python3 - "$DISK" <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
assert os.lseek(fd, 40 << 20, os.SEEK_HOLE) == 40 << 20
os.close(fd)
fd = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(fd, b"kept", 50 << 20)
at = 40 << 20
while True:
    at = os.lseek(fd, at, os.SEEK_DATA)
    end = os.lseek(fd, at, os.SEEK_HOLE)
    assert at <= 50 << 20, "a hole up to %d" % at
    if end > 50 << 20:
        break
    at = end
os.close(fd)
END
printf kept | dd of="$TMP/shadow" bs=1M seek=50 conv=notrunc status=none
same "$DISK" "$TMP/shadow"

say "a killed driver: what was flushed is there"
exec 5<>"$DISK"
dd if="$TMP/noise" of="$DISK" bs=4k count=100 seek=5000 conv=notrunc,fsync status=none
kill -9 "$DAEMON"
exec 5>&-
umount "$TMP/mnt"
wait_gone 5 "$DAEMON"
dd if="$TMP/noise" of="$TMP/shadow" bs=4k count=100 seek=5000 conv=notrunc status=none
check_image "$TMP/a.vhd" 3
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro,writeback
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"

say "a full host is heard of at the latest when it is flushed"
requires_root
mount -t tmpfs -o size=6M none "$TMP/host"
cleanup "umount_lazy '$TMP/host'"
make_image "$TMP/host/b.vhd" 64M
mount_vhd "$TMP/host/b.vhd" "$TMP/mnt" writeback
expect_status 1 dd if="$TMP/noise" of="$DISK" bs=4k conv=notrunc,fsync status=none
grep -q 'No space left on device' "$TMP/err" || fail "not ENOSPC: $(cat "$TMP/err")"
mount -o remount,size=12M "$TMP/host"
umount_vhd "$TMP/mnt"
check_image "$TMP/host/b.vhd" 3

say "a file cannot be mounted so"
: >"$TMP/file"
expect_status 1 "$VHDFUSE" "$TMP/a.vhd" "$TMP/file" -o writeback
expect_said "-o writeback wants a directory"
