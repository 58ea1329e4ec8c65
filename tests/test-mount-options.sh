#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every option does what the manual page says, through vhdfuse and through mount(8).
. "$(dirname "$0")/support/lib.sh"

requires findmnt flock openssl perl
requires_fuse

mkdir "$TMP/mnt"
make_image "$TMP/a.vhd" 64M
fill "$TMP/noise" 2097152 options

options_of() {
	findmnt -no OPTIONS --mountpoint "$TMP/mnt"
}

# mounted_with OPTIONS COMMAND...
mounted_with() {
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" "$1"
	shift
	"$@"
	umount_vhd "$TMP/mnt"
}

say "-h and -V"
expect_status 0 "$VHDFUSE" -h
grep -q "Usage: vhdfuse IMAGE MOUNTPOINT" "$TMP/out"
expect_status 0 "$VHDFUSE" -V
grep -Eq "^vhdfuse [0-9]" "$TMP/out"

say "ro"
is_read_only() {
	grep -Eq "(^|,)ro(,|$)" <<<"$(options_of)"
	expect_equal "$(stat -c %a "$DISK")" 400
	refuses dd if="$TMP/noise" of="$DISK" conv=notrunc
	refuses fallocate -p -o 0 -l 4096 "$DISK"
	refuses touch "$DISK"
}
before=$(sha "$TMP/a.vhd")
mounted_with ro is_read_only
mounted_with rw,ro is_read_only
expect_equal "$(sha "$TMP/a.vhd")" "$before" "a read-only mount changed the image"

say "uid, gid, umask"
has_owner() {
	expect_equal "$(stat -c '%u %g %a' "$DISK")" "$1"
	expect_equal "$(stat -c '%u %g %a' "$TMP/mnt")" "$2"
}
mounted_with uid=1234,gid=4321 has_owner "1234 4321 600" "1234 4321 755"
mounted_with umask=027 has_owner "$(id -u) $(id -g) 640" "$(id -u) $(id -g) 750"
mounted_with umask=027,ro has_owner "$(id -u) $(id -g) 440" "$(id -u) $(id -g) 550"

say "what fstab lines carry"
mounted_with nofail,noauto,user,users,_netdev,defaults,x-systemd.automount,x-gvfs-show true
mounted_with rw,sync,noexec,nosuid,nodev,noatime,atime,relatime,strictatime,diratime,lazytime true
sees_flags() {
	grep -q noexec <<<"$(options_of)"
	grep -q noatime <<<"$(options_of)"
}
mounted_with noexec,noatime sees_flags
has_name() {
	expect_equal "$(findmnt -no SOURCE --mountpoint "$TMP/mnt")" "a name"
}
mounted_with "fsname=a name" has_name

say "detect_zeroes"
writes_zeros() {
	dd if=/dev/zero of="$DISK" bs=2M count=3 conv=notrunc status=none
	expect_equal "$(stat -c %b "$DISK")" "$1"
}
mounted_with detect_zeroes=on writes_zeros 0
mounted_with detect_zeroes=off writes_zeros $((3 * 4096))
expect_equal "$(blocks_of "$TMP/a.vhd")" 3

say "discard, nodiscard"
punches() {
	dd if="$TMP/noise" of="$DISK" bs=2M count=1 conv=notrunc status=none
	fallocate -p -o 0 -l 2M "$DISK"
	cmp -n 2097152 "$DISK" /dev/zero
	expect_equal "$(stat -c %b "$DISK")" "$1"
}
mounted_with nodiscard punches $((3 * 4096))
mounted_with discard punches $((2 * 4096))

say "commit: what nobody flushes is published in time"
# Published is what a copy of the file has, not what another descriptor sees.
published() {
	cp "$TMP/a.vhd" "$TMP/copy.vhd"
	blocks_of "$TMP/copy.vhd"
}
is_published() {
	test "$(published)" = "$1"
}
# A writer that closes nothing (a shell's redirections do): it writes a block, and fsyncs when it is
# told to. It waits for a word and for no time: on a busy host a copy may take longer than any.
start_writer() {
	rm -f "$TMP/words"
	mkfifo "$TMP/words"
	perl -e '$| = 1; require IO::Handle;
		open(F, "+<", $ARGV[0]) && sysseek(F, $ARGV[2] << 21, 0) or die;
		open(N, "<", $ARGV[1]) && sysread(N, $x, 1 << 21) or die;
		syswrite(F, $x) == 1 << 21 or die;
		print "wrote\n";
		<STDIN>; F->sync or die;
		print "synced\n";
		<STDIN>' "$DISK" "$TMP/noise" "$1" <"$TMP/words" >"$TMP/writer.out" &
	WRITER=$!
	cleanup_process "$WRITER"
	exec 7>"$TMP/words"
	wait_for 60 grep -q wrote "$TMP/writer.out" || fail "the writer does not write"
}
end_writer() {
	kill "$WRITER"
	wait "$WRITER" || true
	exec 7>&-
}
commits() {
	start_writer 0
	wait_for 30 is_published 3 || fail "not published within the time of the timer"
	end_writer
}
mounted_with commit=1 commits
# And it is the timer that did it: where that is slow, nothing else does.
waits() {
	start_writer 4
	sleep 1.5
	expect_equal "$(published)" 3 "published before its time"
	echo sync >&7
	wait_for 60 grep -q synced "$TMP/writer.out" || fail "no fsync"
	expect_equal "$(published)" 4 "fsync did not publish"
	end_writer
}
mounted_with commit=600 waits

say "in the foreground, with one thread"
"$VHDFUSE" -f -s "$TMP/a.vhd" "$TMP/mnt" 2>"$TMP/err" &
driver=$!
cleanup_process "$driver"
cleanup "umount_lazy '$TMP/mnt'"
wait_for 10 test -e "$TMP/mnt/disk.raw" || fail "not mounted"
expect_equal "$(daemon_of "$TMP/mnt")" "$driver"
cmp -n 2097152 "$TMP/noise" "$TMP/mnt/disk.raw"
umount_vhd "$TMP/mnt"
wait "$driver" || fail "ended with $?"
expect_equal "$(cat "$TMP/err")" ""

say "-d tells of requests, and stays in front"
"$VHDFUSE" -d "$TMP/a.vhd" "$TMP/mnt" 2>"$TMP/err" &
driver=$!
cleanup_process "$driver"
cleanup "umount_lazy '$TMP/mnt'"
wait_for 10 test -e "$TMP/mnt/disk.raw" || fail "not mounted"
umount_vhd "$TMP/mnt"
wait "$driver"
grep -q LOOKUP "$TMP/err"

say "no descriptors 0 to 2, and a relative path from a folder that is left"
(
	cd "$TMP"
	"$VHDFUSE" a.vhd mnt <&- >&- 2>&-
)
cmp -n 2097152 "$TMP/noise" "$TMP/mnt/disk.raw"
umount_vhd "$TMP/mnt"

test "$(id -u)" = 0 || exit 0

say "mount -t fuse.vhdfuse, as an fstab line does it"
# mount(8) looks for us in the usual places alone; in a namespace of our own we are there.
requires mount.fuse3 unshare setpriv
mkdir "$TMP/bin"
cat >"$TMP/bin/vhdfuse" <<END
#!/bin/sh
exec '$VHDFUSE' "\$@"
END
chmod +x "$TMP/bin/vhdfuse"
cp "$TMP/a.vhd" "$TMP/with space.vhd"
cat >"$TMP/in-namespace" <<'END'
set -e
mount --bind "$1/bin" /usr/local/bin
mount -t fuse.vhdfuse "$1/a.vhd" "$1/mnt" -o ro,nofail,commit=7
grep -Eq "(^|,)ro(,|$)" <<<"$(findmnt -t fuse.vhdfuse -no OPTIONS --mountpoint "$1/mnt")"
cmp -n 2097152 "$1/noise" "$1/mnt/disk.raw"
umount -i "$1/mnt"
mount -t fuse.vhdfuse "$1/with space.vhd" "$1/mnt"
cmp -n 2097152 "$1/noise" "$1/mnt/disk.raw"
umount -i "$1/mnt"
st=0
mount -t fuse.vhdfuse "$1/noise" "$1/mnt" || st=$?
test "$st" = 32
END
expect_status 0 unshare -m bash "$TMP/in-namespace" "$TMP"
grep -q "^vhdfuse: .*$TMP/noise" "$TMP/err"

say "allow_other: others come in, as far as the modes let them"
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
}
chmod 755 "$TMP"
lets_nobody_read() {
	as_nobody cmp -n 2097152 "$TMP/noise" "$DISK"
	refuses as_nobody dd if="$TMP/noise" of="$DISK" conv=notrunc
}
lets_nobody_look() {
	as_nobody stat "$DISK" >/dev/null
	refuses as_nobody head -c 1 "$DISK"
}
keeps_nobody_out() {
	refuses as_nobody stat "$DISK"
}
mounted_with allow_other,umask=022 lets_nobody_read
mounted_with allow_other lets_nobody_look
mounted_with umask=0 keeps_nobody_out
mounted_with allow_other,uid=65534 as_nobody cmp -n 2097152 "$TMP/noise" "$TMP/mnt/disk.raw"

say "without root"
# In a namespace of our own, where /dev/fuse is everybody's as it is on most machines.
mkdir -p "$TMP/user/mnt" "$TMP/user/run"
cp "$TMP/a.vhd" "$TMP/user"
mknod -m 666 "$TMP/fuse" c 10 229
chown -R 65534:65534 "$TMP/user"
cat >"$TMP/in-namespace" <<'END'
set -e
as_user() {
	setpriv --reuid=65534 --regid=65534 --clear-groups -- env XDG_RUNTIME_DIR="$dir/run" "$@"
}
wait_for_end() {
	flock -s -w 10 8
	grep -q "^status=0$" <&8
	test "$(ls -A "$dir/run/vhdfuse")" = ""
}
dir=$1/user disk=$1/user/mnt/disk.raw
mount --bind "$1/fuse" /dev/fuse
as_user "$2" "$dir/a.vhd" "$dir/mnt"
as_user cmp -n 2097152 "$1/noise" "$disk"
test "$(as_user stat -c '%u %g %a' "$disk")" = "65534 65534 600"
as_user dd if="$1/noise" of="$disk" bs=1M seek=20 conv=notrunc status=none
exec 8<"$(echo "$dir"/run/vhdfuse/*)"
as_user fusermount3 -u "$dir/mnt"
wait_for_end

# SIGTERM has to ask fusermount3, too.
as_user "$2" "$dir/a.vhd" "$dir/mnt"
exec 8<"$(echo "$dir"/run/vhdfuse/*)"
kill "$(sed -n 's/^pid=\([0-9]*\) .*/\1/p' "$dir"/run/vhdfuse/*)"
wait_for_end
test "$(as_user ls -A "$dir/mnt")" = ""

st=0
as_user "$2" -o allow_other "$dir/a.vhd" "$dir/mnt" 2>"$1/said" || st=$?
test "$st" = 1
END
expect_status 0 unshare -m bash "$TMP/in-namespace" "$TMP" "$VHDFUSE"
cp "$TMP/said" "$TMP/err"
expect_said "$TMP/user/a.vhd" "allow_other"
check_image "$TMP/user/a.vhd"
