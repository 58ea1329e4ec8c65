#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 of the driver under a write load, after a random while, again and again on the same image:
# each time it is sound, all that fsync had acknowledged is there, and every other sector is old or
# new. VHD_SEED repeats the delays and the load.
. "$(dirname "$0")/support/lib.sh"

requires python3
requires_fuse
# The interpreter itself: what is first in the PATH may be a slow script that looks for it.
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
mkdir "$TMP/mnt"
seed=${VHD_SEED:-$RANDOM}
RANDOM=$seed
echo "seed=$seed"
rounds=10
test -z "${VHD_LONG:-}" || rounds=100

# The log has a line "w PLACE VERSION" before a place is written and "a PLACE VERSION" after an fsync
# that covers it. Version 0 is zeros, as is every version divided by 5, which is punched.
cat >"$TMP/load.py" <<'END'
import ctypes, os, random, sys, threading

PLACES, LEN = 96, 48 * 1024
libc = ctypes.CDLL(None, use_errno=True)

def content(place, version):
    if version % 5 == 0:
        return bytes(LEN)
    return b"".join(b"%08d:%08d:%08d;" % (place, version, i) + bytes([version % 251]) * 485
                    for i in range(LEN // 512))

# Neighbours in one block of 2 MiB, and some in blocks of their own; the odd ones are crooked.
def where(place):
    if place % 3:
        return (100 << 20) + place * (LEN + 3 * 512)
    return place * (1 << 20) + place % 2 * 512

def read_log(name):
    written, acked = {}, {}
    for line in open(name):
        what, place, version = line.split()
        (written if what == "w" else acked)[int(place)] = int(version)
    return written, acked

def put(fd, place, version):
    if version % 5 == 0:
        mode = 3  # PUNCH_HOLE | KEEP_SIZE
        if libc.fallocate(fd, mode, ctypes.c_long(where(place)), ctypes.c_long(LEN)):
            raise OSError(ctypes.get_errno(), "fallocate")
        return
    data = content(place, version)
    done = 0
    while done < LEN:
        done += os.pwrite(fd, data[done:], where(place) + done)

def load(disk, name, seed):
    written, acked = read_log(name)
    log = os.open(name, os.O_WRONLY | os.O_APPEND)
    errors = []

    fd = os.open(disk, os.O_RDWR)

    def work(number):
        rnd = random.Random(seed * 10 + number)
        mine = list(range(number, PLACES, 3))
        try:
            while True:
                batch = {p: written.get(p, 0) + 1 for p in rnd.sample(mine, rnd.randrange(1, 9))}
                for place, version in batch.items():
                    os.write(log, b"w %d %d\n" % (place, version))
                    written[place] = version
                    put(fd, place, version)
                os.fsync(fd)
                for place, version in batch.items():
                    os.write(log, b"a %d %d\n" % (place, version))
        except OSError as e:
            errors.append(e.errno)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    # ENOTCONN, ECONNABORTED, EIO: the driver is gone. Anything else is its answer.
    if not set(errors) <= {5, 103, 107}:
        sys.exit("the load met %s" % errors)

def verify(disk, name):
    written, acked = read_log(name)
    fd = os.open(disk, os.O_RDONLY)
    for place in range(PLACES):
        data = os.pread(fd, LEN, where(place))
        first, last = acked.get(place, 0), written.get(place, 0)
        allowed = [content(place, v) for v in range(first, last + 1)]
        for at in range(0, LEN, 512):
            if not any(data[at:at + 512] == c[at:at + 512] for c in allowed):
                sys.exit("place %d, byte %d: %r is no version from %d (acknowledged) to %d" %
                         (place, at, data[at:at + 32], first, last))
    print("%d places, %d acknowledged" % (len(written), len(acked)))

verify(sys.argv[1], sys.argv[2])
if len(sys.argv) > 3:
    load(sys.argv[1], sys.argv[2], int(sys.argv[3]))
END

dead_mount() {
	umount "$TMP/mnt" || umount -l "$TMP/mnt"
}

is_loading() {
	test "$(stat -c %s "$TMP/log")" -gt "$before" || ! kill -0 "$load"
}

new_image() {
	rm -f "$TMP/a.vhd"
	make_image "$TMP/a.vhd" 128M "$@"
	: >"$TMP/log"
}

new_image
for ((round = 1; round <= rounds; round++)); do
	if test $((round % 10)) = 6; then
		new_image --block-size=512K
	fi
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" commit=1
	before=$(stat -c %s "$TMP/log")
	"$PYTHON" "$TMP/load.py" "$DISK" "$TMP/log" $((seed + round)) >/dev/null &
	load=$!
	cleanup_process "$load"
	wait_for 20 is_loading || fail "round $round: lost, or no load (VHD_SEED=$seed)"
	sleep "0.$((RANDOM % 900 + 100))"
	kill -9 "$DAEMON"
	wait "$load" || fail "round $round: lost, or the load failed (VHD_SEED=$seed)"
	wait_gone 10 "$DAEMON"
	dead_mount
	check_image "$TMP/a.vhd" 3
done
acks=$(grep -c '^a' "$TMP/log")
test "$acks" -gt 0 || fail "no fsync came to its end: nothing was tested"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
"$PYTHON" "$TMP/load.py" "$DISK" "$TMP/log" || fail "the last round: lost (VHD_SEED=$seed)"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd"
say "$rounds times; $acks acknowledgements on the last image"
