#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How fast room is given back: tests/bench/compact.sh [ROUNDS] [GIB]. An image with an ext4 inside, most of
# which was deleted: vhdimg shrink beside what people do without it (zerofree through a mount, then
# qemu-img convert to a second file), and vhdimg compact alone on what zerofree has zeroed beside
# qemu-img convert; and the bytes that compact reads and writes beside those that it must. Prints
# tables for docs/performance.md.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/guest.sh"

requires_root
requires_loop
requires_fuse
requires zerofree mkfs.ext4 qemu-img e2fsck python3 bc
rounds=${1:-3} gib=${2:-2}

mkdir "$TMP/mnt"
make_image "$TMP/image.vhd" $((2 * gib))G
fill_tree() {
	local i
	mkdir "$1/keep" "$1/gone"
	for ((i = 0; i < 16 * gib; i++)); do
		fill "$1/gone/$i" $((48 << 20)) "gone $i"
		fill "$1/keep/$i" $((16 << 20)) "keep $i"
	done
	rm -r "$1/gone"
	remember_tree "$1"
}
mount_vhd "$TMP/image.vhd" "$TMP/mnt"
mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$DISK"
in_loop_mount "$DISK" "" fill_tree
umount_vhd "$TMP/mnt"
cp --sparse=always "$TMP/image.vhd" "$TMP/zeroed.vhd"
mount_vhd "$TMP/zeroed.vhd" "$TMP/mnt"
zerofree "$DISK"
umount_vhd "$TMP/mnt"

drop_caches() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
# timed NAME COMMAND...: seconds, with cold caches, kept under NAME.
declare -A took
timed() {
	local name=$1 begun
	shift
	drop_caches
	begun=$(date +%s.%N)
	"$@" >"$TMP/out" 2>&1 || fail "$* failed: $(cat "$TMP/out")"
	took[$name]+=" $(echo "$(date +%s.%N) - $begun" | bc)"
}
ours() {
	"$VHDIMG" "$1" "$2"
	sync -f "$2"
}
convert() {
	qemu-img convert -f vpc -O vpc -o force_size=on "$1" "$2"
	sync -f "$2"
}
by_hand() {
	mount_vhd "$1" "$TMP/mnt"
	zerofree "$DISK"
	umount_vhd "$TMP/mnt"
	convert "$1" "$2"
}

for ((round = 0; round < rounds; round++)); do
	for name in a b c; do
		cp --sparse=always "$TMP/image.vhd" "$TMP/$name.vhd"
	done
	cp --sparse=never "$TMP/zeroed.vhd" "$TMP/z.vhd"	# as the one that is converted
	rm -f "$TMP"/new?.vhd
	timed shrink ours shrink "$TMP/a.vhd"
	timed by-hand by_hand "$TMP/b.vhd" "$TMP/new1.vhd"
	timed convert convert "$TMP/zeroed.vhd" "$TMP/new2.vhd"
	timed compact ours compact "$TMP/z.vhd"
done

# counted COMMAND...: prints rchar and wchar of the process.
counted() {
	python3 - "$@" <<-'END'
		import os, subprocess, sys
		job = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
		os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOWAIT)
		io = dict(line.split(": ") for line in open("/proc/%d/io" % job.pid).read().splitlines())
		sys.exit(1) if job.wait() else None
		print(io["rchar"], io["wchar"])
	END
}
cp "$TMP/zeroed.vhd" "$TMP/c.vhd"
bytes=$(counted "$VHDIMG" compact "$TMP/c.vhd")
needed=$(python3 "$top_srcdir/tests/support/vhd.py" needed "$TMP/zeroed.vhd" "$(stat -c %s "$TMP/c.vhd")")

# What was timed did its job.
for file in a z new1 new2; do
	mount_vhd "$TMP/$file.vhd" "$TMP/mnt" ro
	e2fsck -fn "$DISK" >"$TMP/fsck.out" 2>&1 || fail "$file: $(cat "$TMP/fsck.out")"
	in_loop_mount "$DISK" ro same_tree
	umount_vhd "$TMP/mnt"
done
qemu-img compare -q -f vpc -F vpc "$TMP/z.vhd" "$TMP/zeroed.vhd" || fail "compact changed the disk"

{
	for key in shrink by-hand convert compact; do
		echo "$key ${took[$key]}"
	done
	echo "bytes $bytes $needed"
	stat -c 'size %s %n' "$TMP/image.vhd" "$TMP/a.vhd" "$TMP/new1.vhd" "$TMP/new2.vhd"
} | python3 -c '
import os, statistics, sys
took, size, count = {}, {}, []
for line in sys.stdin:
    key, *rest = line.split()
    if key == "bytes":
        count = [int(n) for n in rest]
    elif key == "size":
        size[os.path.basename(rest[1])] = int(rest[0])
    else:
        took[key] = [float(s) for s in rest]
def row(what, key, beside=""):
    s = took[key]
    print("| %s | %.2f | %.2f ... %.2f | %s |" % (what, statistics.median(s), min(s), max(s), beside))
def ratio(a, b):
    return statistics.median(x / y for x, y in zip(took[a], took[b]))
mib = 1 << 20
print("An image of %d MiB, of which %d stay; in place, or with %d MiB for a second file.\n" %
      (size["image.vhd"] / mib, size["a.vhd"] / mib, size["new1.vhd"] / mib))
print("| seconds, cold caches, synced | median | range | |")
print("|--|--|--|--|")
row("zerofree through a mount, then qemu-img convert", "by-hand")
row("vhdimg shrink", "shrink", "%.1f times as fast" % ratio("by-hand", "shrink"))
row("qemu-img convert of an image that zerofree has zeroed", "convert")
row("vhdimg compact of the same", "compact", "%.2f times as fast" % ratio("convert", "compact"))
print("\n| MiB, of vhdimg compact | done | must be | |")
print("|--|--|--|--|")
for what, i in (("read", 0), ("written", 1)):
    print("| %s | %.1f | %.1f | %.2f |" % (what, count[i] / mib, count[i + 2] / mib, count[i] / count[i + 2]))
'
