#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How cost grows with the image: tests/bench/scale.sh [ROUNDS]. The engine's steps on images of 1, 32
# and 2040 GiB, each with an empty table of blocks and with one that is full but for the last 200
# blocks. Prints a table for docs/performance.md. What is in the blocks are holes of the host's file,
# so the image that is full takes no room; the host must have files of 2 TiB.
. "$(dirname "$0")/../support/lib.sh"

requires python3
rounds=${1:-3}
BENCH=$top_builddir/tests/bench/scalebench
test -x "$BENCH" || skip "it was not built: make tests/bench/scalebench"
free=200

# fill_table FILE BLOCKS: allocates the first of the disk's blocks, one behind the other; what is
# in them was not written yet.
fill_table() {
	python3 - "$@" <<'END'
import struct, sys
blocks = int(sys.argv[2])
slot = (2 << 20) + 4096	# what the bitmap leaves of a page keeps data on 4 KiB
with open(sys.argv[1], "r+b") as f:
    footer = f.read(512)
    head = f.read(1024)
    table, entries = struct.unpack_from(">QxxxxI", head, 16)
    end = -(-(table + 4 * entries) // 4096) * 4096
    first = end + 4096 - 512
    f.seek(table)
    f.write(struct.pack(">%dI" % blocks, *((first + i * slot) // 512 for i in range(blocks))))
    f.seek(end)
    f.truncate()
    f.seek(end + blocks * slot)
    f.write(footer)
END
}

for ((round = 1; round <= rounds; round++)); do
	for size in 1 32 2040; do
		blocks=$((size * 512 - free))
		for table in empty full; do
			echo "round $round of $rounds: $size GiB, $table" >&2
			make_image "$TMP/a.vhd" "${size}G"
			test "$table" = empty || fill_table "$TMP/a.vhd" $blocks
			test "$round" != 1 || check_image "$TMP/a.vhd" 3
			before=$(blocks_of "$TMP/a.vhd")
			test "$table" = empty || expect_equal "$before" $blocks "blocks of the image"
			sync -f "$TMP"
			echo "$size $table $("$BENCH" "$TMP/a.vhd" $blocks $free)" >>"$TMP/results"
			test "$round" != 1 || check_image "$TMP/a.vhd" 3
			expect_equal "$(blocks_of "$TMP/a.vhd")" "$before" "blocks of the image"
			rm "$TMP/a.vhd"
		done
	done
done

echo "$(date -u +%Y-%m-%d), kernel $(uname -r), $(nproc) cores," \
	"$(df --output=fstype "$TMP" | tail -1), $rounds rounds."
echo
python3 - "$TMP/results" <<'END'
import statistics, sys

steps = ("open, us", "first write to a block, us", "lookup, us", "flush of a new block, us",
         "discard of a block, us", "flush of a discard, us", "memory, KiB", "close, us")
found = {}
for line in open(sys.argv[1]):
    size, table, *figures = line.split()
    found.setdefault((size, table), []).append([float(f) for f in figures])

def cell(key, step):
    values = [figures[step] for figures in found[key]]
    return "%.4g (%.4g ... %.4g)" % (statistics.median(values), min(values), max(values))

print("| | %s |" % " | ".join("%s GiB, %s" % key for key in found))
print("|--" * (1 + len(found)) + "|")
for step, title in enumerate(steps):
    print("| %s | %s |" % (title, " | ".join(cell(key, step) for key in found)))
END
