#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How fast the mounted disk is, beside the raw file, a pass-through of the raw file by FUSE (which is
# the ceiling for any driver of this kind) and qemu-storage-daemon's FUSE export of the same image;
# vhdfuse and the pass-through without and with the kernel's write-back cache:
#
#	tests/bench/mount.sh [ROUNDS [PART...]]
#
# PART is one or more of io, sparse, tree, tree-direct, huge, memory; all without it. In a round each
# program does all the jobs of a part before the next one does; what is printed, for
# docs/performance.md, is made of the ratios within a round.
. "$(dirname "$0")/../support/lib.sh"

requires_root
requires_fuse
requires_loop
requires qemu-storage-daemon python3 mkfs.ext4 fstrim tar bc
rounds=${1:-3}
shift || true
parts=${*:-io sparse tree tree-direct huge memory}
BENCH=$top_builddir/tests/bench/diskbench
PASS=$top_builddir/tests/bench/passthrough
for program in "$BENCH" "$PASS"; do
	test -x "$program" || skip "it was not built: make tests/bench/diskbench tests/bench/passthrough"
done
MiB=$((1 << 20))
mkdir "$TMP/fs" "$TMP/folder"

# name | what the table says | job | offset, length in MiB | operations | cold or warm | depth
io_jobs="
seq-alloc|sequential write, unallocated|seqwrite|0|256|256|warm|1
seq-rewrite|sequential rewrite|seqwrite|0|256|256|warm|1
seq-read-cold|sequential read, cold|seqread|0|256|256|cold|1
seq-read-warm|sequential read, warm|seqread|0|256|512|warm|1
rand-read-cold|random 4k read, cold|randread|0|256|3000|cold|1
rand-read-cold-16|the same, 16 at a time|randread|0|256|12000|cold|16
rand-read-direct|random 4k read, O_DIRECT|randread-direct|0|256|6000|warm|1
rand-read-direct-16|the same, 16 at a time|randread-direct|0|256|16000|warm|16
rand-write|random 4k write, allocated|randwrite|0|256|8000|warm|1
rand-write-16|the same, 16 at a time|randwrite|0|256|16000|warm|16
rand-write-direct|random 4k write, O_DIRECT|randwrite-direct|0|256|3000|warm|1
rand-write-direct-16|the same, 16 at a time|randwrite-direct|0|256|8000|warm|16
rand-alloc|random 4k write, unallocated|randwrite|400|256|4000|warm|1
stride-alloc|one 4k write per new 2 MiB block|stridewrite|700|320|160|warm|1
sync-write|4k write + fdatasync|syncwrite|0|256|200|warm|1
"

# name | what the table says; what is measured is in seconds, or KiB, so less is better
other_jobs="
cp-in|cp of a sparse file onto the disk, and fsync
cp-out|cp of the disk to a sparse file, cold, and fsync
mkfs|mkfs.ext4 of 64 GiB
tree-mkfs|loop: mkfs.ext4
tree-untar|loop: untar, and unmount
tree-read|loop: read all files, cold
tree-delete|loop: delete them, and unmount
tree-fstrim|loop: fstrim
tree-direct-mkfs|loop with direct I/O: mkfs.ext4
tree-direct-untar|the same: untar, and unmount
tree-direct-read|the same: read all files, cold
tree-direct-delete|the same: delete them, and unmount
tree-direct-fstrim|the same: fstrim
tree-left|loop: KiB of the file that are left
huge-mount|2040 GiB: mount
huge-umount|2040 GiB: unmount
memory-start|KiB of memory held by the driver of 2040 GiB, at first
memory-per-gib|KiB more per GiB allocated
"

drop_caches() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

# wait_quickly COMMAND...: what is waited for is timed, too.
wait_quickly() {
	local deadline=$((SECONDS + 20))
	until "$@" 2>/dev/null; do
		test "$SECONDS" -lt "$deadline" || fail "in vain: $*"
		sleep 0.002
	done
}

# --- the programs ---------------------------------------------------------------------------------
# mount_TARGET serves $FILE as $DISK, mounted on $MOUNT, by $PROCESS (none for raw), umount_TARGET
# ends it. Each is in a session of its own, as vhdfuse is in the background: where sessions are
# scheduled as groups, one in the session of those who read has a quarter more in some jobs.

mount_raw() {
	DISK=$FILE PROCESS=
}
umount_raw() {
	:
}

# mount_pass [OPTION]
mount_pass() {
	: >"$TMP/ready"
	setsid "$PASS" "$@" "$FILE" "$MOUNT" >"$TMP/ready" &
	PROCESS=$!
	wait_quickly test -s "$TMP/ready"
}
umount_pass() {
	umount "$MOUNT" && wait_quickly is_gone "$PROCESS"
}
mount_passw() {
	mount_pass -w
}
umount_passw() {
	umount_pass
}

mount_vhdfuse() {
	"$VHDFUSE" "$FILE" "$MOUNT" "$@"
}
umount_vhdfuse() {
	umount "$MOUNT" && wait_quickly is_gone "$PROCESS"
}

mount_vhdfusew() {
	MOUNT=$TMP/folder DISK=$TMP/folder/disk.raw
	mount_vhdfuse -o writeback
}
umount_vhdfusew() {
	umount_vhdfuse
}

mount_qemu() {
	setsid qemu-storage-daemon --blockdev driver=file,node-name=f,filename="$FILE",discard=unmap \
		--blockdev driver=vpc,node-name=v,file=f,discard=unmap \
		--export type=fuse,id=e,node-name=v,mountpoint="$MOUNT",writable=on &
	PROCESS=$!
	wait_quickly is_mounted "$MOUNT"
}
umount_qemu() {
	kill "$PROCESS" && wait_quickly is_gone "$PROCESS"
}

# make_disk SIZE: a new, empty one.
make_disk() {
	FILE=$TMP/disk MOUNT=$TMP/mountpoint DISK=$TMP/mountpoint
	: >"$MOUNT"
	case $target in
	vhdfuse* | qemu) make_image "$FILE" "$1" ;;
	*) truncate -s "$1" "$FILE" ;;
	esac
	sync
}
known_process() {
	case $target in vhdfuse*) PROCESS=$(daemon_of "$MOUNT") ;; esac
	test -z "$PROCESS" || cleanup_process "$PROCESS"
	test "$target" = raw || cleanup "umount_lazy '$MOUNT'"
}
# rm_disk [STATUS]: which check may have, beside 0.
rm_disk() {
	case $target in vhdfuse*) check_image "$FILE" "${1-}" ;; esac
	rm "$FILE" "$TMP/mountpoint"
}

start_disk() {
	make_disk "$1"
	mount_"$target"
	known_process
}
stop_disk() {
	umount_"$target"
	rm_disk "$@"
}

# --- the jobs -------------------------------------------------------------------------------------

# result NAME FIGURE
result() {
	echo "$round $target $1 $2" >>"$TMP/results"
}

# timed NAME COMMAND...: its seconds are the result; a program that cannot do it has none. A driver of
# ours must.
timed() {
	local name=$1 begun=$EPOCHREALTIME ended
	shift
	if "$@" >"$TMP/said" 2>&1; then
		ended=$EPOCHREALTIME
		result "$name" "$(bc <<<"scale=6; $ended - $begun")"
	elif test "$target" = qemu; then
		say "qemu does not: $*: $(tail -1 "$TMP/said")" >&2
		return 1
	else
		fail "$target: $*: $(cat "$TMP/said")"
	fi
}

part_io() {
	local name _ job off len count cache depth
	start_disk 1G
	while IFS='|' read -r name _ job off len count cache depth; do
		test -n "$name" || continue
		test "$cache" = warm || drop_caches
		result "$name" "$("$BENCH" "$job" "$DISK" $((off * MiB)) $((len * MiB)) "$count" "$depth")"
	done <<<"$io_jobs"
	stop_disk
}

cp_in() {
	cp "$TMP/sparse" "$DISK" && sync -d "$DISK"
}
cp_out() {
	cp "$DISK" "$TMP/sparse.out" && sync -d "$TMP/sparse.out"
}
part_sparse() {
	start_disk 1G
	sync
	if timed cp-in cp_in; then
		drop_caches
		timed cp-out cp_out
		same "$TMP/sparse" "$TMP/sparse.out"
		rm "$TMP/sparse.out"
	fi
	stop_disk
	start_disk 64G
	sync
	timed mkfs mkfs.ext4 -q -F "$DISK" || true
	stop_disk
}

untar() {
	mount "$LOOP" "$TMP/fs" &&
		tar -C "$TMP/fs" -xf "$TMP/tree.tar" &&
		umount "$TMP/fs"
}
read_tree() {
	mount "$LOOP" "$TMP/fs" &&
		tar -C "$TMP/fs" -cf - tree | cksum >"$TMP/sum" &&
		umount "$TMP/fs"
}
delete_tree() {
	mount "$LOOP" "$TMP/fs" &&
		rm -r "$TMP/fs/tree" &&
		umount "$TMP/fs"
}
trim_tree() {
	mount "$LOOP" "$TMP/fs" &&
		fstrim "$TMP/fs" &&
		umount "$TMP/fs"
}
# tree PREFIX [LOSETUP OPTION...]
tree() {
	local prefix=$1
	shift
	start_disk 4G
	loop_attach "$DISK" "$@"
	cleanup "umount_lazy '$TMP/fs'"
	sync
	timed "$prefix-mkfs" mkfs.ext4 -q -F "$LOOP"
	timed "$prefix-untar" untar
	drop_caches
	timed "$prefix-read" read_tree
	timed "$prefix-delete" delete_tree
	timed "$prefix-fstrim" trim_tree
	loop_detach "$LOOP"
	sync -d "$DISK"	# the loop device lets go of it when it likes
	result "$prefix-left" "$(du -k "$FILE" | cut -f1)"
	stop_disk 3	# what was trimmed leaves room in it
}
part_tree() {
	tree tree
}
# qemu's export corrupts data below a loop device with direct I/O: no figure to be compared with.
part_tree-direct() {
	test "$target" = qemu || tree tree-direct --direct-io=on
}

part_huge() {
	test "$target" != raw || return 0
	make_disk 2040G
	timed huge-mount mount_"$target"
	known_process
	timed huge-umount umount_"$target"
	rm_disk
}

held() {
	awk '/^RssAnon/ { print $2 }' "/proc/$PROCESS/status"
}
part_memory() {
	local before
	test "$target" != raw || return 0
	start_disk 2040G
	"$BENCH" seqread "$DISK" 0 $((64 * MiB)) 64 >/dev/null	# buffers that it has in any case
	before=$(held)
	"$BENCH" stridewrite "$DISK" 0 $((4096 * MiB)) 2048 >/dev/null
	result memory-start "$before"
	result memory-per-gib "$((($(held) - before) / 4))"
	stop_disk
}

# --- what they work on ----------------------------------------------------------------------------

# 12000 files of 200 bytes to 200 KiB in 300 folders, and a sparse GiB with a third of it in pieces.
python3 - "$TMP" <<'END'
import os, random, sys
os.chdir(sys.argv[1])
rnd = random.Random(6)
noise = rnd.randbytes(4 << 20)
def piece(size):
    at = rnd.randrange(len(noise) - size)
    return noise[at:at + size]
for i in range(12000):
    folder = "tree/%d/%d" % (i % 20, i % 300)
    os.makedirs(folder, exist_ok=True)
    with open("%s/%d" % (folder, i), "wb") as f:
        f.write(piece(int(200 * 1000 ** rnd.random())))
with open("sparse", "wb") as f:
    f.truncate(1 << 30)
    for at in range(0, 1 << 30, 3 << 20):
        f.seek(at)
        f.write(piece(1 << 20))
END
tar -C "$TMP" -cf "$TMP/tree.tar" tree
rm -r "$TMP/tree"

for ((round = 1; round <= rounds; round++)); do
	for part in $parts; do
		for target in raw pass passw vhdfuse vhdfusew qemu; do
			echo "round $round of $rounds: $part, $target" >&2
			part_"$part"
		done
	done
done

echo "$(date -u +%Y-%m-%d), kernel $(uname -r), $(nproc) cores," \
	"$(df --output=fstype "$TMP" | tail -1); $("$VHDFUSE" -V 2>/dev/null | head -1)," \
	"qemu $(qemu-storage-daemon --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')," \
	"$rounds rounds."
echo
IO=$io_jobs OTHER=$other_jobs python3 - "$TMP/results" <<'END'
import os, statistics, sys

figures = {}
for line in open(sys.argv[1]):
    turn, target, job, figure = line.split()
    figures.setdefault((job, target), {})[turn] = float(figure)

def median(job, target):
    found = figures.get((job, target))
    return statistics.median(found.values()) if found else None

def figure(job, target, scale):
    found = median(job, target)
    return "--" if found is None else "%.4g" % (found / scale)

# One beside the other: above 1 it is the better one.
def ratio(job, one, other, more_is_better):
    ours, theirs = (figures.get((job, t), {}) for t in (one, other))
    pairs = [(ours[t], theirs[t]) if more_is_better else (theirs[t], ours[t])
             for t in ours if t in theirs]
    found = [a / b for a, b in pairs if b]
    if not found:
        return "--"
    return "%.2f (%.2f ... %.2f)" % (statistics.median(found), min(found), max(found))

def table(unit, jobs, scale, more_is_better):
    rows = [line.split("|")[:2] for line in jobs.split("\n") if line]
    rows = [row for row in rows if (row[0], "vhdfuse") in figures]
    if not rows:
        return
    print("| %s | raw | pass | pass w | vhdfuse | vhdfuse w | qemu | of raw | of pass | w of w "
          "| of qemu |" % unit)
    print("|--" * 11 + "|")
    for name, title in rows:
        cells = [title] + [figure(name, t, scale)
                           for t in ("raw", "pass", "passw", "vhdfuse", "vhdfusew", "qemu")]
        cells += [ratio(name, "vhdfuse", t, more_is_better) for t in ("raw", "pass")]
        cells += [ratio(name, "vhdfusew", "passw", more_is_better),
                  ratio(name, "vhdfuse", "qemu", more_is_better)]
        print("| %s |" % " | ".join(cells))
    print()

table("MB/s", os.environ["IO"], 1e6, True)
table("seconds, or as said", os.environ["OTHER"], 1, False)
END
