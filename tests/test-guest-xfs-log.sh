#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The log of XFS: the reader and xfs_logprint are of one opinion whether it is clean, at any moment
# of a filesystem's life; and what was synced before a crash is never given away.
. "$(dirname "$0")/support/lib.sh"
. "$top_srcdir/tests/support/guest.sh"

requires mkfs.xfs xfs_copy xfs_repair xfs_io xfs_freeze xfs_logprint openssl python3
requires_loop

# log_state FILE: what xfs_logprint says of its log: CLEAN or DIRTY.
log_state() {
	xfs_logprint -t "$1" 2>/dev/null | sed -n 's/.*state: <\(.*\)>/\1/p'
}

# same_verdict FILE [WANTED]: clean if its log is clean by xfs_logprint, else left as it is.
same_verdict() {
	local state sum
	state=$(log_state "$1")
	test -z "${2-}" || expect_equal "$state" "$2" "xfs_logprint"
	case $state in
	CLEAN)
		is_clean xfs "$1"
		"$FREEMAP" xfs "$1" fill >/dev/null
		;;
	DIRTY)
		sum=$(sha "$1")
		! "$FREEMAP" xfs "$1" fill >"$TMP/verdict" || fail "a log to replay is taken for clean"
		grep -Eq '^unclean xfs: its log has to be replayed: mount' "$TMP/verdict" ||
			fail "not unclean: $(cat "$TMP/verdict")"
		expect_equal "$(sha "$1")" "$sum" "left as it was"
		;;
	*) fail "xfs_logprint has no opinion of $1" ;;
	esac
}

# crash [WANTED]: the disk as it is at this moment. What was synced is all there once it is mounted.
crash() {
	rm -f "$TMP/crash.img"
	cp --sparse=always "$TMP/fs.img" "$TMP/crash.img"
	same_verdict "$TMP/crash.img" "${1-}"
	(cd "$TMP/live" && find . -name 'synced*' -print0 | sort -z | xargs -0r sha256sum) >"$TMP/synced"
	mkdir -p "$TMP/after"
	loop_attach "$TMP/crash.img"
	mount -o nouuid "$LOOP" "$TMP/after"
	cleanup "umount '$TMP/after'"
	test ! -s "$TMP/synced" || (cd "$TMP/after" && sha256sum --quiet -c "$TMP/synced") ||
		fail "a synced file was lost"
	umount "$TMP/after"
	cleanup_done "umount '$TMP/after'"
	loop_detach "$LOOP"
	same_verdict "$TMP/crash.img" CLEAN
	xfs_repair -n "$TMP/crash.img" >"$TMP/fsck.out" 2>&1 || fail "fsck: $(tail -3 "$TMP/fsck.out")"
}

start_live() {
	mkdir -p "$TMP/live"
	loop_attach "$TMP/fs.img"
	LIVE=$LOOP
	mount "$LIVE" "$TMP/live"
	cleanup "umount '$TMP/live'"
}
stop_live() {
	umount "$TMP/live"
	cleanup_done "umount '$TMP/live'"
	loop_detach "$LIVE"
}

say "crashes"
truncate -s 64M "$TMP/fs.img"
mkfs.xfs -q --unsupported -l size=6m "$TMP/fs.img" >"$TMP/mkfs.out"
start_live
crash
for ((round = 0; round < 4; round++)); do
	fill "$TMP/live/synced$round" $((round * 70001 + 1)) "$round"
	fill "$TMP/live/not$round" 300000 "$round"
	sync "$TMP/live/synced$round"	# the file alone: an fsync
	rm -f "$TMP/live/not$((round - 1))"
	crash DIRTY
done
sync -f "$TMP/live"
crash DIRTY

say "frozen, read only, shut down"
xfs_freeze -f "$TMP/live"
cp --sparse=always "$TMP/fs.img" "$TMP/frozen.img"
xfs_freeze -u "$TMP/live"
same_verdict "$TMP/frozen.img" DIRTY
mount -o remount,ro "$TMP/live"
crash CLEAN
mount -o remount,rw "$TMP/live"
fill "$TMP/live/synced" 100000 last
sync "$TMP/live/synced"
xfs_io -x -c shutdown "$TMP/live"
stop_live
same_verdict "$TMP/fs.img" DIRTY
start_live
crash
fill "$TMP/live/more" 100000 more
xfs_io -x -c 'shutdown -f' "$TMP/live"
stop_live
same_verdict "$TMP/fs.img" DIRTY
xfs_repair -L "$TMP/fs.img" >"$TMP/fsck.out" 2>&1	# which makes the log anew
same_verdict "$TMP/fs.img" CLEAN
in_loop_mount "$TMP/fs.img" "" true
same_verdict "$TMP/fs.img" CLEAN
xfs_copy "$TMP/fs.img" "$TMP/copy.img" >"$TMP/copy.out" 2>&1	# anew, too, for its new name
same_verdict "$TMP/copy.img" CLEAN

# forge_log FILE CYCLE HEAD [FAULT]: a log written up to HEAD in round CYCLE, whose last record is
# an unmount's; with one fault.
forge_log() {
	python3 - "$@" <<-'FORGE'
		import struct, sys
		name, cycle, head = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
		fault = sys.argv[4] if len(sys.argv) > 4 else None
		f = open(name, 'r+b')
		sb = f.read(512)
		block, = struct.unpack_from('>I', sb, 4)
		start, = struct.unpack_from('>Q', sb, 48)
		ag_blocks, = struct.unpack_from('>I', sb, 84)
		blocks, = struct.unpack_from('>I', sb, 96)
		n = blocks * block // 512
		head %= n

		def due(i):
		    return cycle if i % n < head else cycle - 1

		def stamp(i, change=0):
		    log[i % n] = struct.pack('>I', due(i) + change) + bytes(508)

		def record(at, flags=0x20, ops=1, lsn=None, uuid=sb[32:48], crc=0, magic=b'Un',
		           client=0xaa, length=512, size=32768):
		    at %= n
		    if lsn is None:
		        lsn = due(at) << 32 | at
		    header = bytearray(512)
		    struct.pack_into('>IIIIQQIII', header, 0, 0xfeedbabe, due(at), 2, length, lsn, lsn,
		                     crc, 0, ops)
		    struct.pack_into('>I', header, 300, 1)
		    header[304:320] = uuid
		    struct.pack_into('>I', header, 320, size)
		    op = bytearray(512)
		    struct.pack_into('>IIBB', op, 0, due(at + 1), 8, client, flags)
		    op[12:14] = magic
		    log[at], log[(at + 1) % n] = header, op

		log = [None] * n
		for i in range(n):
		    stamp(i)
		record(head - 2)
		if fault == 'flags':
		    record(head - 2, flags=1)
		elif fault == 'ops':
		    record(head - 2, ops=2)
		elif fault == 'lsn':
		    record(head - 2, lsn=5)
		elif fault == 'uuid':
		    record(head - 2, uuid=bytes(range(16)))
		elif fault == 'magic':
		    record(head - 2, magic=b'xx')
		elif fault == 'client':
		    record(head - 2, client=0x69)
		elif fault == 'short':
		    record(head - 2, length=4)
		elif fault == 'long':	# once around the ring, and to the head
		    record(head - 2, length=512 * (n + 1))
		elif fault == 'size':	# the same, by sectors of its header
		    record(head - 2, size=32768 * (n + 1))
		elif fault == 'crc':
		    record(head - 2, crc=1)
		elif fault == 'none':
		    stamp(head - 2)
		elif fault == 'older':	# a record after it
		    record(head - 4)
		    record(head - 2, flags=1)
		elif fault == 'longer':	# a sector after it
		    record(head - 3)
		    stamp(head - 1)
		elif fault == 'hole':	# a sector before it, not written in its round
		    stamp(head - 99, -1)
		elif fault == 'torn':	# a sector after it, written already
		    stamp(head + 9, 1)
		elif fault == 'empty':
		    log = [bytes(512)] * n
		f.seek(((start >> sb[124]) * ag_blocks + (start & (1 << sb[124]) - 1)) * block)
		f.write(b''.join(log))
	FORGE
}

say "logs that end anywhere"
for head in 0 1 2 3 1000 -1; do
	forge_log "$TMP/fs.img" 9 "$head"
	same_verdict "$TMP/fs.img" CLEAN
done
say "logs that do not end with an unmount"
for fault in flags ops lsn magic client short long size crc none older longer hole torn empty; do
	forge_log "$TMP/fs.img" 9 1000 $fault
	is_refused xfs "$TMP/fs.img" unclean 'its log has to be replayed'
done
for fault in older hole torn; do	# around the ring's end
	forge_log "$TMP/fs.img" 9 1 $fault
	is_refused xfs "$TMP/fs.img" unclean 'its log has to be replayed'
done
forge_log "$TMP/fs.img" 9 1000 uuid
is_refused xfs "$TMP/fs.img" damaged "its log is another filesystem's"
forge_log "$TMP/fs.img" 1 2
is_refused xfs "$TMP/fs.img" damaged 'newer than (the|its) log'
