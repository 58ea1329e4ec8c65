#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How fast disks are converted: tests/bench/convert.sh [ROUNDS] [GIB]. vhdimg convert beside qemu-img convert,
# raw to dynamic VHD and back, of a disk of which every other stretch of 8 MiB has data. Prints a table for
# docs/performance.md.
. "$(dirname "$0")/../support/lib.sh"

requires_root
requires qemu-img python3 bc
rounds=${1:-3} gib=${2:-2}

truncate -s "${gib}G" "$TMP/disk.raw"
for ((i = 0; i < 64 * gib; i++)); do
	fill "$TMP/piece" $((8 << 20)) "piece $i"
	dd if="$TMP/piece" of="$TMP/disk.raw" bs=8M seek=$((2 * i)) conv=notrunc status=none
done
rm "$TMP/piece"
"$VHDIMG" convert -q "$TMP/disk.raw" "$TMP/disk.vhd"

drop_caches() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
# timed NAME COMMAND...: seconds, with cold caches and its own sync, kept under NAME.
declare -A took
timed() {
	local name=$1 begun
	shift
	drop_caches
	begun=$(date +%s.%N)
	"$@" >"$TMP/out" 2>&1 || fail "$* failed: $(cat "$TMP/out")"
	took[$name]+=" $(echo "$(date +%s.%N) - $begun" | bc)"
}
ours_to_vhd() {
	"$VHDIMG" convert -q "$TMP/disk.raw" "$TMP/ours.vhd"
	sync -f "$TMP/ours.vhd"
}
qemu_to_vhd() {
	qemu-img convert -f raw -O vpc -o force_size=on "$TMP/disk.raw" "$TMP/qemu.vhd"
	sync -f "$TMP/qemu.vhd"
}
ours_to_raw() {
	"$VHDIMG" convert -q "$TMP/disk.vhd" "$TMP/ours.raw"
	sync -f "$TMP/ours.raw"
}
qemu_to_raw() {
	qemu-img convert -f vpc -O raw "$TMP/disk.vhd" "$TMP/qemu.raw"
	sync -f "$TMP/qemu.raw"
}

# What comes second finds the disk as the first has left it: they take turns.
for ((round = 0; round < rounds; round++)); do
	rm -f "$TMP"/{ours,qemu}.{vhd,raw}
	order="qemu ours"
	test $((round % 2)) = 0 || order="ours qemu"
	for who in $order; do
		timed "vhd-$who" "${who}_to_vhd"
	done
	for who in $order; do
		timed "raw-$who" "${who}_to_raw"
	done
done

# What was timed did its job, and left the holes holes.
for made in ours.vhd qemu.vhd ours.raw qemu.raw; do
	"$VHDIMG" compare -q "$TMP/disk.raw" "$TMP/$made" || fail "$made is another disk"
	test $(($(stat -c '%b * 512' "$TMP/$made"))) -lt $(((gib << 30) * 3 / 4)) || fail "$made is full"
done

qemu-img --version | head -1
for key in vhd-qemu vhd-ours raw-qemu raw-ours; do
	echo "$key ${took[$key]}"
done | python3 -c '
import statistics, sys
took = {}
for line in sys.stdin:
    key, *seconds = line.split()
    took[key] = [float(s) for s in seconds]
def row(what, key, beside=""):
    s = took[key]
    print("| %s | %.2f | %.2f ... %.2f | %s |" % (what, statistics.median(s), min(s), max(s), beside))
def ratio(a, b):
    return statistics.median(x / y for x, y in zip(took[a], took[b]))
print("| seconds, cold caches, synced | median | range | |")
print("|--|--|--|--|")
for what, key in (("raw to dynamic", "vhd"), ("dynamic to raw", "raw")):
    row("qemu-img convert, " + what, key + "-qemu")
    row("vhdimg convert, " + what, key + "-ours", "%.2f times as fast" % ratio(key + "-qemu", key + "-ours"))
'
