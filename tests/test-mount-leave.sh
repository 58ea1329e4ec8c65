#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Leaving: umount loses nothing, a signal detaches and serves on those who hold the file, the
# second one ends, and whoever waits for the driver's end gets its last word.
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl perl
requires_fuse

mkdir "$TMP/mnt"
make_image "$TMP/a.vhd" 64M
make_image "$TMP/b.vhd" 32M
fill "$TMP/noise" 4000000 leave
truncate -s 64M "$TMP/shadow"

# What the image holds must be what the shadow holds.
expect_contents() {
	check_image "$TMP/a.vhd" "${1:-0}"
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
	same "$DISK" "$TMP/shadow"
	umount_vhd "$TMP/mnt"
}

write_at() {
	dd if="$TMP/noise" of="$1" bs=64k oflag=seek_bytes seek="$2" conv=notrunc status=none
}

# Holds $DISK open; writes 1000 bytes at 40000000 + OFF after each SIGUSR1, when told on HOLD.
# Sets HOLDER; the holder writes "ok" or the error of each write to $TMP/said.
start_holder() {
	rm -f "$TMP/hold" "$TMP/said"
	mkfifo "$TMP/hold" "$TMP/said"
	perl -e '$| = 1; open(F, "+<", $ARGV[0]) or die; open(S, ">", $ARGV[2]) or die;
		open(H, "<", $ARGV[1]) or die; select(S); $| = 1; print "open\n";
		while (<H>) { sysseek(F, $_, 0); $n = syswrite(F, "h" x 1000);
			print defined $n ? "ok\n" : "$!\n"; }' "$DISK" "$TMP/hold" "$TMP/said" 2>/dev/null &
	HOLDER=$!
	cleanup_process "$HOLDER"
	exec 5<"$TMP/said" 6>"$TMP/hold"
	expect_holder open
}
expect_holder() {
	local word
	read -r -t 10 word <&5 || fail "the holder says nothing"
	expect_equal "$word" "$1" "what the holder says"
}
holder_writes() {
	echo "$1" >&6
	expect_holder ok
	perl -e 'print "h" x 1000' | dd of="$TMP/shadow" bs=1000 oflag=seek_bytes seek="$1" \
		conv=notrunc status=none
}
end_holder() {
	exec 6>&- 5<&-
	wait "$HOLDER" || true
}

# Before something ends the driver: opens its status file, for expect_end.
watch_end() {
	exec 8<"$(status_file_of "$TMP/mnt")"
}
expect_end() {
	flock -s -w 15 8 || fail "the driver does not end"
	expect_equal "$(sed -n 's/^status=//p' <&8)" "$1" "the driver's last status"
	exec 8<&-
	wait_gone 5 "$DAEMON" || fail "the driver is still there"
}

say "umount, and a copy as soon as the driver has ended"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
write_at "$DISK" 1000
write_at "$TMP/shadow" 1000
file=$(status_file_of "$TMP/mnt")
grep -Eqx "pid=$DAEMON start=$(cut -d' ' -f22 "/proc/$DAEMON/stat")" "$file"
umount_vhd "$TMP/mnt"
cp "$TMP/a.vhd" "$TMP/copy.vhd"
cmp "$TMP/a.vhd" "$TMP/copy.vhd"
check_image "$TMP/copy.vhd"
test ! -e "$file" || fail "a status file is left behind"

for signal in TERM INT HUP; do
	say "SIG$signal when nobody holds the file: the mount goes, then the driver"
	mount_vhd "$TMP/a.vhd" "$TMP/mnt"
	write_at "$DISK" 5000001
	write_at "$TMP/shadow" 5000001
	watch_end
	kill "-$signal" "$DAEMON"
	expect_end 0
	is_unmounted "$TMP/mnt" || fail "still mounted"
done
expect_contents

say "SIGTERM while a file is held: detached at once, served on, ended with the last close"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
start_holder
holder_writes 40000000
watch_end
kill "$DAEMON"
wait_for 5 is_unmounted "$TMP/mnt" || fail "not detached"
test ! -e "$TMP/mnt/disk.raw" || fail "not detached"
cp "$TMP/a.vhd" "$TMP/copy.vhd"
check_image "$TMP/copy.vhd" 3
holder_writes 50000000
is_gone "$DAEMON" && fail "ended while the file was held"

say "another mount at the same place is not touched by what the first one does"
first=$DAEMON
mount_vhd "$TMP/b.vhd" "$TMP/mnt"
second=$DAEMON
holder_writes 60000000
end_holder
DAEMON=$first
expect_end 0
is_mounted "$TMP/mnt" || fail "the second mount went with the first"
write_at "$TMP/mnt/disk.raw" 777
DAEMON=$second
umount_vhd "$TMP/mnt"
expect_contents

say "the second SIGTERM ends, with all that was written"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" term_timeout=100
start_holder
watch_end
kill "$DAEMON"
wait_for 5 is_unmounted "$TMP/mnt"
holder_writes 41000000
kill "$DAEMON"
expect_end 0
echo 0 >&6
expect_holder "Transport endpoint is not connected"
end_holder
expect_contents

say "term_timeout ends too, and does not take another's mount with it"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" term_timeout=2
start_holder
watch_end
kill "$DAEMON"
wait_for 5 is_unmounted "$TMP/mnt"
holder_writes 42000000
first=$DAEMON
mount_vhd "$TMP/b.vhd" "$TMP/mnt"
second=$DAEMON
DAEMON=$first
expect_end 0
end_holder
is_mounted "$TMP/mnt" || fail "the second mount went with the first"
DAEMON=$second
umount_vhd "$TMP/mnt"
expect_contents

say "a lazy umount: served until the last close"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
start_holder
watch_end
umount_lazy "$TMP/mnt"
holder_writes 43000000
end_holder
expect_end 0
expect_contents

say "kill -9: what was closed is there, and the next mount is not confused"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
write_at "$DISK" 20000000
write_at "$TMP/shadow" 20000000
kill -9 "$DAEMON"
wait_gone 5 "$DAEMON"
umount_lazy "$TMP/mnt"
check_image "$TMP/a.vhd" 3
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
expect_equal "$(daemon_of "$TMP/mnt")" "$DAEMON"
same "$DISK" "$TMP/shadow"
umount_vhd "$TMP/mnt"
expect_contents

say "auto_unmount: a killed driver's mount goes, each time"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" auto_unmount
umount_vhd "$TMP/mnt"
for i in {1..60}; do
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" auto_unmount
	kill -9 "$DAEMON"
	wait_for 10 is_unmounted "$TMP/mnt" || fail "the dead mount stays (round $i)"
done

say "a driver that is stopped before it is ready leaves no mount"
for i in 1 2 3 4 5; do
	"$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt" -o term_timeout=1 &
	starter=$!
	sleep "0.0$i"
	kill "$starter" 2>/dev/null || true
	wait "$starter" || true
	if is_mounted "$TMP/mnt"; then
		wait_for 5 test -e "$TMP/mnt/disk.raw" || fail "a mount that does not answer"
		umount_vhd "$TMP/mnt"
	fi
done
expect_contents 3

test "$(id -u)" = 0 || exit 0
requires_loop
requires mkfs.ext4 e2fsck

say "SIGTERM with a loop device on the file: nothing lost, the driver ends when the loop goes"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" term_timeout=100
loop_attach "$DISK"
mkfs.ext4 -q -F "$LOOP"
mkdir "$TMP/guest"
mount "$LOOP" "$TMP/guest"
cleanup "umount -l '$TMP/guest'"
cp "$TMP/noise" "$TMP/guest/before"
watch_end
kill "$DAEMON"
wait_for 5 is_unmounted "$TMP/mnt" || fail "not detached"
cp "$TMP/noise" "$TMP/guest/after"
sync -f "$TMP/guest/after"
umount "$TMP/guest"
is_gone "$DAEMON" && fail "ended under a loop device"
loop_detach "$LOOP"
expect_end 0
check_image "$TMP/a.vhd"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
loop_attach "$DISK"
e2fsck -fn "$LOOP" >"$TMP/fsck" 2>&1 || fail "not clean: $(cat "$TMP/fsck")"
mount "$LOOP" "$TMP/guest"
same "$TMP/noise" "$TMP/guest/before"
same "$TMP/noise" "$TMP/guest/after"
umount "$TMP/guest"
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"
