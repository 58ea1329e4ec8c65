#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Little memory: more than fits is written through ext4 on a loop device on the mounted disk, by a
# writer in a small memory cgroup, and with the driver in a small one of its own; it finishes, and
# reads back. Written: 1 GiB a round, with VHD_LONG 4.
#
# Both in one group is left out: with version 1 of memory cgroups the kernel makes the driver wait
# for the writer's pages, which wait for the driver, unless it has CAP_SYS_RESOURCE to be declared
# an I/O flusher (docs/vhdfuse.1), which root in a container seldom has.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl mkfs.ext4 e2fsck
requires_fuse
requires_loop

BASE=/sys/fs/cgroup/memory
test -w "$BASE/cgroup.procs" && test -e "$BASE/memory.limit_in_bytes" ||
	skip "no memory cgroup (version 1) that can be written"
WRITER_GROUP=$BASE/vhd-test-$$-writer
DRIVER_GROUP=$BASE/vhd-test-$$-driver
mkdir "$WRITER_GROUP" 2>/dev/null || skip "no memory cgroup can be made"
cleanup "wait_for 5 rmdir '$WRITER_GROUP'"
mkdir "$DRIVER_GROUP"
cleanup "wait_for 5 rmdir '$DRIVER_GROUP'"
echo 48M >"$WRITER_GROUP/memory.limit_in_bytes"
echo 48M >"$DRIVER_GROUP/memory.limit_in_bytes"

FILES=$((${VHD_LONG:-0} ? 64 : 16))	# of 64 MiB
mkdir "$TMP/mnt" "$TMP/guest"
fill "$TMP/noise" 67108864 memory
NOISE=$(sha "$TMP/noise")

# What is locked up would hold up every sync of the machine: the driver's connection is cut. Its
# number is this mount's for as long as that is there, and then another test's. A stat of the mount
# could wait for ever.
cut_connection() {
	local number
	number=$(awk -v at="$TMP/mnt" '$5 == at { sub(".*:", "", $3); print $3 }' /proc/self/mountinfo)
	test -n "$number" || return 0
	mkdir "$TMP/connections"
	mount -t fusectl none "$TMP/connections"
	echo 1 >"$TMP/connections/$number/abort"
	umount "$TMP/connections"
}

# Writes the files from within the cgroup.
write_all() {
	bash -c 'echo $$ >"$1/cgroup.procs"
		for ((i = 0; i < $3; i++)); do cp "$4" "$2/$i" || exit 1; done; sync -f "$2"' \
		bash "$WRITER_GROUP" "$TMP/guest" "$FILES" "$TMP/noise" &
	writer=$!
	cleanup_process "$writer"
	wait_gone 120 "$writer" || fail "the writer does not finish: locked up"
	wait "$writer" || fail "the writer failed"
}

# round DIRECT DRIVER_GROUP: mounts, writes through a loop device, looks at what was written.
round() {
	local i

	make_image "$TMP/a.vhd" 6G
	mount_vhd "$TMP/a.vhd" "$TMP/mnt"
	test -z "$2" || echo "$DAEMON" >"$2/cgroup.procs"
	loop_attach "$DISK" --direct-io="$1"
	mkfs.ext4 -q "$LOOP"
	mount "$LOOP" "$TMP/guest"
	cleanup "umount -l '$TMP/guest'"
	cleanup cut_connection
	write_all
	umount "$TMP/guest"
	e2fsck -fn "$LOOP" >"$TMP/fsck" 2>&1 || fail "not clean: $(cat "$TMP/fsck")"
	mount "$LOOP" "$TMP/guest"
	for ((i = 0; i < FILES; i += 5)); do
		expect_equal "$(sha "$TMP/guest/$i")" "$NOISE" "file $i"
	done
	umount "$TMP/guest"
	loop_detach "$LOOP"
	umount_vhd "$TMP/mnt"
	check_image "$TMP/a.vhd"
	rm "$TMP/a.vhd"
}

say "the writer has 48 MiB"
round off ""
test "$(cat "$WRITER_GROUP/memory.failcnt")" -gt 0 || fail "memory was never short"

say "the driver has 48 MiB, too, and the loop device direct I/O"
round on "$DRIVER_GROUP"
test "$(cat "$DRIVER_GROUP/memory.failcnt")" -gt 0 || fail "memory was never short"
