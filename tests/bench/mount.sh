#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How fast the mounted disk is, beside the raw file and qemu-storage-daemon's FUSE export of the same
# image, in one run: tests/bench/mount.sh [ROUNDS]. Prints a table for docs/performance.md.
#
# Figures of one machine and minute: the ratios to the raw file of the same round are what lasts.
. "$(dirname "$0")/../support/lib.sh"

requires_root
requires_fuse
requires qemu-storage-daemon python3
rounds=${1:-3}
BENCH=$top_builddir/tests/bench/diskbench
test -x "$BENCH" || skip "diskbench was not built: make tests/bench/diskbench"
MiB=$((1 << 20))
mkdir "$TMP/mnt"

# name | what the table says | job | offset, length in MiB | operations | cold or warm
jobs="
seq-alloc|sequential write, unallocated|seqwrite|0|256|256|warm
seq-rewrite|sequential rewrite|seqwrite|0|256|256|warm
seq-read-cold|sequential read, cold|seqread|0|256|256|cold
seq-read-warm|sequential read, warm|seqread|0|256|512|warm
rand-read-cold|random 4k read, cold|randread|0|256|3000|cold
rand-read-direct|random 4k read, O_DIRECT|randread-direct|0|256|3000|warm
rand-write|random 4k write, allocated|randwrite|0|256|8000|warm
rand-alloc|random 4k write, unallocated|randwrite|400|256|4000|warm
stride-alloc|one 4k write per new 2 MiB block|stridewrite|700|320|160|warm
sync-write|4k write + fdatasync|syncwrite|0|256|200|warm
"

# Each makes a new, empty disk of 1 GiB and sets DISK.
start_raw() {
	truncate -s 1G "$TMP/raw"
	DISK=$TMP/raw
}
stop_raw() {
	rm "$TMP/raw"
}

start_vhdfuse() {
	make_image "$TMP/a.vhd" 1G
	mount_vhd "$TMP/a.vhd" "$TMP/mnt"
}
stop_vhdfuse() {
	umount_vhd "$TMP/mnt"
	rm "$TMP/a.vhd"
}

start_qemu() {
	make_image "$TMP/q.vhd" 1G
	: >"$TMP/q"
	qemu-storage-daemon --blockdev driver=file,node-name=f,filename="$TMP/q.vhd" \
		--blockdev driver=vpc,node-name=v,file=f \
		--export type=fuse,id=e,node-name=v,mountpoint="$TMP/q",writable=on &
	QSD=$!
	cleanup_process "$QSD"
	cleanup "umount_lazy '$TMP/q'"
	wait_mounted 10 "$TMP/q" || fail "qemu-storage-daemon does not mount"
	DISK=$TMP/q
}
stop_qemu() {
	kill "$QSD"
	wait_gone 20 "$QSD" || fail "qemu-storage-daemon does not end"
	rm "$TMP/q" "$TMP/q.vhd"
}

run_jobs() {
	local name _ job off len count cache
	while IFS='|' read -r name _ job off len count cache; do
		test -n "$name" || continue
		test "$cache" = warm || echo 3 >/proc/sys/vm/drop_caches
		echo "$1 $2 $name $("$BENCH" "$job" "$DISK" $((off * MiB)) $((len * MiB)) "$count")"
	done <<<"$jobs" >>"$TMP/results"
}

for ((round = 1; round <= rounds; round++)); do
	for target in raw vhdfuse qemu; do
		echo "round $round of $rounds: $target" >&2
		start_$target
		run_jobs $round $target
		stop_$target
	done
done

echo "$(date -u +%Y-%m-%d), kernel $(uname -r), $(nproc) cores, $(df --output=fstype "$TMP" | tail -1);" \
	"$("$VHDFUSE" -V 2>/dev/null | head -1), qemu $(qemu-storage-daemon --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')," \
	"$rounds rounds."
echo
JOBS=$jobs python3 - "$TMP/results" <<'END'
import os, statistics, sys

rates = {}
for line in open(sys.argv[1]):
    turn, target, job, rate = line.split()
    rates.setdefault((job, target), {})[turn] = float(rate)

def cell(job, target):
    rate = rates[job, target]
    text = "%.4g" % (statistics.median(rate.values()) / 1e6)
    if target == "raw":
        return text
    raw = rates[job, "raw"]
    return "%s (%.2f)" % (text, statistics.median(rate[t] / raw[t] for t in rate))

print("| MB/s | raw file | vhdfuse | qemu-storage-daemon |")
print("|--|--|--|--|")
for line in os.environ["JOBS"].split("\n"):
    if line:
        name, title = line.split("|")[:2]
        print("| %s | %s |" % (title, " | ".join(cell(name, t) for t in ("raw", "vhdfuse", "qemu"))))
END
