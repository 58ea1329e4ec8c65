#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a parent costs: random 4 KiB writes and reads in a mounted child whose parent has data there,
# beside the same on a dynamic image, in one run: tests/bench/child.sh [ROUNDS]. Prints a table for
# docs/performance.md; the ratios are what lasts.
. "$(dirname "$0")/../support/lib.sh"

requires_root
requires_fuse
requires python3
rounds=${1:-5}
BENCH=$top_builddir/tests/bench/diskbench
test -x "$BENCH" || skip "diskbench was not built: make tests/bench/diskbench"
MiB=$((1 << 20))
mkdir "$TMP/mnt"

# name | what the table says | job | offset, length in MiB | operations | cold or warm
jobs="
first|random 4k write, nothing of its own there yet|randwrite|0|256|8000|warm
first-sync|4k write + fdatasync, the same|syncwrite|0|256|200|warm
fill|sequential write, nothing of its own there yet|seqwrite|256|256|256|warm
again|random 4k write of what is its own|randwrite|256|256|8000|warm
sync|4k write + fdatasync, the same|syncwrite|256|256|200|warm
read-direct|random 4k read of what is its own, O_DIRECT|randread-direct|256|256|6000|warm
read-cold|random 4k read, the same, cold|randread|256|256|3000|cold
below|random 4k read of what was there before, O_DIRECT|randread-direct|512|256|6000|warm
below-cold|random 4k read, the same, cold|randread|512|256|3000|cold
"

# Both have data in their second half; the child's is its parent's, and so is its first half's.
make_image "$TMP/base.vhd" 1G
mount_vhd "$TMP/base.vhd" "$TMP/mnt"
"$BENCH" seqwrite "$DISK" 0 $((1024 * MiB)) 1024 >/dev/null
umount_vhd "$TMP/mnt"
make_image "$TMP/half.vhd" 1G
mount_vhd "$TMP/half.vhd" "$TMP/mnt"
"$BENCH" seqwrite "$DISK" $((512 * MiB)) $((512 * MiB)) 512 >/dev/null
umount_vhd "$TMP/mnt"

start_dynamic() {
	cp --sparse=always "$TMP/half.vhd" "$TMP/image.vhd"
}
start_child() {
	"$VHDIMG" create --parent="$TMP/base.vhd" "$TMP/image.vhd"
}

for ((round = 1; round <= rounds; round++)); do
	for target in dynamic child; do
		echo "round $round of $rounds: $target" >&2
		start_$target
		sync
		mount_vhd "$TMP/image.vhd" "$TMP/mnt"
		while IFS='|' read -r name _ job off len count cache; do
			test -n "$name" || continue
			test "$cache" = warm || echo 3 >/proc/sys/vm/drop_caches
			echo "$target $round $name $("$BENCH" "$job" "$DISK" $((off * MiB)) $((len * MiB)) "$count")"
		done <<<"$jobs" >>"$TMP/results"
		umount_vhd "$TMP/mnt"
		rm "$TMP/image.vhd"
	done
done

echo "$(date -u +%Y-%m-%d), kernel $(uname -r), $(nproc) cores, $(df --output=fstype "$TMP" | tail -1), $rounds rounds."
echo
JOBS=$jobs python3 - "$TMP/results" <<'END'
import os, statistics, sys

rates = {}
for line in open(sys.argv[1]):
    target, turn, job, rate = line.split()
    rates.setdefault((job, target), {})[turn] = float(rate)
print("| MB/s | dynamic image | child | child / dynamic |")
print("|--|--|--|--|")
for line in os.environ["JOBS"].split("\n"):
    if not line:
        continue
    name, title = line.split("|")[:2]
    dynamic, child = rates[name, "dynamic"], rates[name, "child"]
    print("| %s | %.4g | %.4g | %.2f |" % (
        title, statistics.median(dynamic.values()) / 1e6, statistics.median(child.values()) / 1e6,
        statistics.median(child[t] / dynamic[t] for t in dynamic)))
END
