#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How fast free room is zeroed: tests/bench/zero.sh [ROUNDS]. A disk of 64 GiB with an ext4 that has
# 2 GiB on it and held twice as much, in a VHD and as a raw file. Reading the map through the VHD and its
# sandbox stands beside the same reader on the raw file, and the whole of vhdimg zero beside zerofree,
# which is what people use on the same filesystem. Prints a table for docs/performance.md.
. "$(dirname "$0")/../support/lib.sh"
. "$(dirname "$0")/../support/guest.sh"

requires_root
requires_loop
requires zerofree mkfs.ext4 qemu-img e2fsck python3 bc
rounds=${1:-3}
test -x "$FREEMAP" || skip "it was not built: make tests/guest/freemap"

truncate -s 64G "$TMP/raw"
mkfs.ext4 -q "$TMP/raw"
fill_tree() {
	local i
	mkdir "$1/keep" "$1/gone"
	for i in {0..127}; do
		fill "$1/keep/$i" $((16 << 20)) "keep $i"
		fill "$1/gone/$i" $((16 << 20)) "gone $i"
	done
	rm -r "$1/gone"
	remember_tree "$1"
}
in_loop_mount "$TMP/raw" "" fill_tree
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$TMP/raw" "$TMP/image.vhd"
sync

drop_caches() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}
# timed COMMAND...: seconds, the last sync in it.
timed() {
	local begun
	begun=$(date +%s.%N)
	"$@" >"$TMP/out" 2>&1 || fail "$* failed: $(cat "$TMP/out")"
	echo "$(date +%s.%N) - $begun" | bc
}
zero_and_sync() {
	"$VHDIMG" zero "$1"
	sync -f "$1"
}
zerofree_and_sync() {
	zerofree "$1"
	sync -f "$1"
}
read_map() {
	"$VHDIMG" info "$1"
}

declare -A took
for ((round = 0; round < rounds; round++)); do
	for job in map zero; do
		cp --sparse=always "$TMP/raw" "$TMP/a.raw"
		cp --sparse=always "$TMP/image.vhd" "$TMP/a.vhd"
		drop_caches
		case $job in
		map)
			took[map-raw]+=" $(timed "$FREEMAP" ext "$TMP/a.raw")"
			drop_caches
			took[map-vhd]+=" $(timed read_map "$TMP/a.vhd")"
			;;
		zero)
			took[zerofree]+=" $(timed zerofree_and_sync "$TMP/a.raw")"
			drop_caches
			took[zero-raw]+=" $(cp --sparse=always "$TMP/raw" "$TMP/b.raw"; drop_caches
				timed zero_and_sync "$TMP/b.raw")"
			took[zero]+=" $(timed zero_and_sync "$TMP/a.vhd")"
			;;
		esac
	done
done

# What was timed did its job.
qemu-img convert -f vpc -O raw "$TMP/a.vhd" "$TMP/c.raw"
for file in a b c; do
	"$FREEMAP" ext "$TMP/$file.raw" zeros >"$TMP/verdict" || fail "$file: $(cat "$TMP/verdict")"
	e2fsck -fn "$TMP/$file.raw" >"$TMP/fsck.out" 2>&1 || fail "$file: $(cat "$TMP/fsck.out")"
	in_loop_mount "$TMP/$file.raw" ro same_tree
done

for key in map-raw map-vhd zerofree zero-raw zero; do
	echo "$key ${took[$key]}"
done | python3 -c '
import statistics, sys
took = {}
for line in sys.stdin:
    key, *seconds = line.split()
    took[key] = [float(s) for s in seconds]
def ratio(a, b):
    return statistics.median(x / y for x, y in zip(took[a], took[b]))
def row(what, key, beside):
    s = took[key]
    print("| %s | %.3f | %.3f ... %.3f | %s |" % (what, statistics.median(s), min(s), max(s), beside))
print("| seconds, cold caches | median | range | |")
print("|--|--|--|--|")
row("the map, by the same reader on the raw file", "map-raw", "")
row("the map, through the VHD (vhdimg info)", "map-vhd", "%.2f times the raw file" % ratio("map-vhd", "map-raw"))
row("zerofree on the raw file, and sync", "zerofree", "")
row("vhdimg zero on the raw file, and sync", "zero-raw", "%.1f times as fast as zerofree" % ratio("zerofree", "zero-raw"))
row("vhdimg zero on the VHD, and sync", "zero", "%.1f times as fast as zerofree" % ratio("zerofree", "zero"))
'
