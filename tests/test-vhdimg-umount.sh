#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg umount comes back when the daemon has ended, with its last status; what is busy says by
# whom; what is no mount of ours is left alone. And the same as the helper of umount(8).
. "$(dirname "$0")/support/lib.sh"

requires jq openssl findmnt flock
requires_fuse

# In a mount namespace of its own root can let every user open /dev/fuse.
if test "$(id -u)" = 0 && test -z "${IN_NAMESPACE:-}" && command -v unshare >/dev/null; then
	status=0
	IN_NAMESPACE=1 unshare --mount --propagation private "$BASH" "$0" || status=$?
	exit $status
elif test -n "${IN_NAMESPACE:-}"; then
	mknod "$TMP/fuse" c 10 229
	chmod 666 "$TMP/fuse"
	mount --bind "$TMP/fuse" /dev/fuse
	cleanup "umount /dev/fuse"
fi

mkdir "$TMP/mnt" "$TMP/other" "$TMP/bin"
ln -s "$VHDIMG" "$TMP/bin/umount.fuse.vhdfuse"
HELPER=$TMP/bin/umount.fuse.vhdfuse
make_image "$TMP/a.vhd" 64M
fill "$TMP/noise" 20000000 umount

# is_running PID: not gone, and no zombie. One look, so that nothing can happen between two.
is_running() {
	grep -q "^State:.[^ZX]" "/proc/$1/status" 2>/dev/null
}

# has_word FILE PID: the file by which that daemon tells its end is there. Another test's daemon may
# have got the name by now.
has_word() {
	grep -q "^pid=$2 " "$1" 2>/dev/null
}

# is_gone_or_waits PID: for a lock.
is_gone_or_waits() {
	is_gone "$1" || grep -q "^[0-9]*: -> FLOCK .* $1 " /proc/locks
}

# ended: the daemon of the last mount_vhd is gone at this very moment, its file too, and the image
# is sound and free.
ended() {
	refuses is_running "$DAEMON"
	refuses has_word "$WORD" "$DAEMON"
	is_unmounted "${1:-$TMP/mnt}" || fail "still mounted"
	check_image "$TMP/a.vhd"
}

# mounted [MOUNTPOINT]: as mount_vhd, and sets WORD, the file by which the daemon tells its end.
mounted() {
	mount_vhd "$TMP/a.vhd" "${1:-$TMP/mnt}"
	WORD=$(status_file_of "${1:-$TMP/mnt}")
	has_word "$WORD" "$DAEMON" || fail "no $WORD"
}

say "it waits"
for round in 1 2 3; do
	mounted
	dd if="$TMP/noise" of="$DISK" bs=1M conv=notrunc seek=$round status=none
	expect_status 0 "$VHDIMG" umount "$TMP/mnt"
	ended
	expect_equal "$(cat "$TMP/out" "$TMP/err")" "" "what it said"
done

say "a file as mountpoint, a path with spaces, relative, and through a link"
mkdir "$TMP/with space"
: >"$TMP/with space/the disk"
mounted "$TMP/with space/the disk"
cd "$TMP/with space"
expect_status 0 "$VHDIMG" umount "./the disk"
cd /
ended "$TMP/with space/the disk"
mounted
ln -s mnt "$TMP/link"
expect_status 0 "$VHDIMG" umount "$TMP/link/"
ended

say "busy"
mounted
exec 6<"$DISK"
expect_status 75 "$VHDIMG" umount "$TMP/mnt"
expect_said "$TMP/mnt is in use by .*process $$"
is_mounted "$TMP/mnt" || fail "unmounted though busy"
has_word "$WORD" "$DAEMON" || fail "the daemon's file is gone"
exec 6<&-
if (requires_loop) >/dev/null; then
	# A filesystem inside is a mount of the loop device, which is what holds the file.
	loop_attach "$DISK"
	expect_status 75 "$VHDIMG" umount "$TMP/mnt"
	expect_said "$TMP/mnt is in use by $LOOP"
	loop_detach "$LOOP"
fi
expect_status 0 "$VHDIMG" umount "$TMP/mnt"
ended

if test "$(id -u)" = 0; then
	say "one of several mounts of the same filesystem: the daemon serves on"
	mounted
	mount --bind "$TMP/mnt" "$TMP/other"
	cleanup "umount -l '$TMP/other'"
	expect_status 0 timeout 20 "$VHDIMG" umount "$TMP/mnt"
	is_running "$DAEMON" || fail "the daemon is gone"
	test -e "$TMP/other/disk.raw" || fail "it does not serve"
	# This one is the last.
	expect_status 0 "$VHDIMG" umount "$TMP/other"
	ended "$TMP/other"
fi

say "a daemon that died without a word"
mounted
kill -9 "$DAEMON"
wait_gone 10 "$DAEMON"
expect_status 1 "$VHDIMG" umount "$TMP/mnt"
expect_said "$TMP/mnt is unmounted, but its daemon died without a word"
ended

if test "$(id -u)" = 0 && losetup -f >/dev/null 2>&1; then
	say "the same, with a loop device on what it served"
	mounted
	loop_attach "$DISK"
	kill -9 "$DAEMON"
	wait_gone 10 "$DAEMON"
	expect_status 75 "$VHDIMG" umount "$TMP/mnt"
	expect_said "$TMP/mnt is in use by $LOOP"
	expect_status 1 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt"
	expect_said "was killed; vhdimg umount $TMP/mnt clears it away"
	loop_detach "$LOOP"
	expect_status 1 "$VHDIMG" umount "$TMP/mnt"
	ended
fi

say "a daemon whose last status is not 0"
if test "$(id -u)" = 0; then
	# A host that is full keeps what was written last from being published: 6.
	mkdir "$TMP/small"
	mount -t tmpfs -o size=8M none "$TMP/small"
	cleanup "umount '$TMP/small'"
	make_image "$TMP/small/full.vhd" 64M
	mount_vhd "$TMP/small/full.vhd" "$TMP/mnt"
	refuses dd if="$TMP/noise" of="$DISK" bs=1M conv=notrunc status=none
	status=0
	"$VHDIMG" umount "$TMP/mnt" 2>"$TMP/err" || status=$?
	refuses is_running "$DAEMON"
	case $status in
	0) test ! -s "$TMP/err" || fail "$(cat "$TMP/err")" ;;
	6) expect_said "$TMP/mnt is unmounted" "status 6" "no space" ;;
	*) fail "status $status: $(cat "$TMP/err")" ;;
	esac
fi

say "the daemon's word is believed, whoever writes it"
# A stand-in for a daemon that ends with 74: the real mount, whose file is replaced by one that we
# hold and finish.
mounted
pid=$DAEMON
word=$WORD
(
	exec 5>"$TMP/word"
	flock 5
	echo "pid=$pid start=1" >&5
	mv "$TMP/word" "$word"
	: >"$TMP/ready"
	wait_gone 30 "$pid"
	echo "status=74" >&5
) &
standin=$!
cleanup_process "$standin"
wait_for 10 test -e "$TMP/ready" || fail "no stand-in"
expect_status 74 "$VHDIMG" umount "$TMP/mnt"
expect_said "status 74" "input/output error"
refuses has_word "$word" "$pid"
wait "$standin"

say "as the helper of umount(8)"
mounted
expect_status 0 "$HELPER" "$TMP/mnt" -n -v -r -t fuse.vhdfuse
ended
grep -q "$TMP/mnt is unmounted" "$TMP/err" || fail "-v says nothing"
mounted
exec 6<"$DISK"
expect_status 75 "$HELPER" "$TMP/mnt"
# Lazily it goes at once, and is not waited for.
expect_status 0 timeout 10 "$HELPER" "$TMP/mnt" -l
is_unmounted "$TMP/mnt" || fail "still mounted"
is_running "$DAEMON" || fail "the daemon is gone"
exec 6<&-
wait_gone 20 "$DAEMON" || fail "the daemon does not end"
expect_status 64 "$HELPER" "$TMP/mnt" --lazy
expect_status 64 "$HELPER"

if test "$(id -u)" = 0 && command -v unshare >/dev/null && command -v nsenter >/dev/null; then
	say "in another mount namespace, as umount -N has it"
	unshare --mount --propagation private sleep 100 &
	namespace=$!
	cleanup_process "$namespace"
	wait_for 10 bash -c "test \"\$(readlink /proc/$namespace/ns/mnt)\" != \
		\"\$(readlink /proc/self/ns/mnt)\" && grep -q sleep /proc/$namespace/comm" ||
		fail "no namespace"
	nsenter --mount="/proc/$namespace/ns/mnt" "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt"
	expect_status 64 "$HELPER" "$TMP/mnt"
	expect_status 0 "$HELPER" "$TMP/mnt" -N "/proc/$namespace/ns/mnt"
	refuses grep -q " $TMP/mnt " "/proc/$namespace/mounts"
	kill "$namespace"
	check_image "$TMP/a.vhd"
fi

# umount(8) looks for its helper in /sbin alone: so it gets one there, seen by nobody else. Given a
# folder by its absolute path it asks statfs(2) for the type (util-linux 2.38), hears "fuse" and looks
# for umount.fuse, which is not ours to install; not so when utab has an entry for the folder, with
# -c, which is how systemd calls it, and with a file as mountpoint.
if test "$(id -u)" = 0 && command -v unshare >/dev/null; then
	say "called by umount(8) itself"
	sbin=$(readlink -f /sbin)
	: >"$TMP/disk"
	# A daemon may end too fast for one to see that nobody waited: so the helper leaves a trace.
	mkdir "$TMP/sbin"
	cat >"$TMP/sbin/umount.fuse.vhdfuse" <<-END
		#!$BASH
		: >'$TMP/called'
		exec -a umount.fuse.vhdfuse '$VHDIMG' "\$@"
	END
	chmod +x "$TMP/sbin/umount.fuse.vhdfuse"
	# has_entry: utab has one for the folder.
	has_entry() {
		grep -q "TARGET=$TMP/mnt " /run/mount/utab 2>/dev/null
	}
	# by_umount MOUNTPOINT [OPTION]: by umount(8), which must not come back before the end.
	by_umount() {
		rm -f "$TMP/called"
		expect_status 0 unshare --mount --propagation private bash -euc '
			mount -t overlay none -o "lowerdir=$1:$2" "$2"
			"$3" "$4" "$5"
			word=/run/vhdfuse/$(findmnt -no MAJ:MIN --mountpoint "$5" | tr -d " ")
			daemon=$(sed -n "s/^pid=\([0-9]*\) .*/\1/p" "$word")
			status=0
			umount $6 "$5" || status=$?
			if grep -q "^State:.[^ZX]" "/proc/$daemon/status" 2>/dev/null; then
				echo "it did not wait"
			fi
			exit $status' bash "$TMP/sbin" "$sbin" "$VHDFUSE" "$TMP/a.vhd" "$1" "${2:-}"
		expect_equal "$(cat "$TMP/out" "$TMP/err")" "" "umount $*"
		test -e "$TMP/called" || fail "umount $*: the helper was not called"
		cp "$TMP/a.vhd" "$TMP/copy.vhd"
		check_image "$TMP/copy.vhd"
	}
	if unshare --mount --propagation private mount -t overlay none \
		-o "lowerdir=$TMP/sbin:$sbin" "$sbin" 2>/dev/null; then
		by_umount "$TMP/mnt" -c
		if grep -q "define HAVE_LIBMOUNT 1" "$top_builddir/config.h"; then
			by_umount "$TMP/mnt"
			refuses has_entry
			say "and where a driver that was killed has left its entry"
			mounted
			kill -9 "$DAEMON"
			wait_gone 10 "$DAEMON"
			expect_status 1 "$VHDIMG" umount "$TMP/mnt"
			has_entry || fail "no entry is left: this test shows nothing"
			by_umount "$TMP/mnt"
			refuses has_entry
			say "one that ends leaves alone the entry of another on the same folder"
			mounted
			former=$DAEMON
			exec 6<"$DISK"
			umount -l "$TMP/mnt"
			cp "$TMP/a.vhd" "$TMP/b.vhd"
			mount_vhd "$TMP/b.vhd" "$TMP/mnt"
			kill "$former"
			exec 6<&-
			wait_gone 20 "$former" || fail "the daemon does not end"
			has_entry || fail "the entry is gone"
			expect_status 0 "$VHDIMG" umount "$TMP/mnt"
			refuses has_entry
		fi
		by_umount "$TMP/disk"
	else
		say "no overlay filesystem here: left out"
	fi
fi

say "what is no mount of ours"
expect_status 66 "$VHDIMG" umount "$TMP/none"
expect_said none
expect_status 64 "$VHDIMG" umount "$TMP/other"
grep -q "not a mount of vhdfuse" <<<"$(head -1 "$TMP/err")" || fail "$(cat "$TMP/err")"
expect_status 64 "$VHDIMG" umount /proc
grep -q " /proc " /proc/self/mounts || fail "/proc was unmounted"

if test "$(id -u)" = 0 && command -v setpriv >/dev/null; then
	say "as another user"
	chmod 755 "$TMP"
	mounted
	# A mount of root is not his, though he may not even look at it.
	expect_status 77 setpriv --reuid=65534 --clear-groups "$VHDIMG" umount "$TMP/mnt"
	expect_said "$TMP/mnt"
	is_mounted "$TMP/mnt" || fail "another user unmounted it"
	expect_status 0 "$VHDIMG" umount "$TMP/mnt"
	ended
	# Nor may he keep root waiting: he would get the lock that root waits for.
	mounted
	setpriv --reuid=65534 --clear-groups flock -F "$WORD" sleep 60 2>/dev/null &
	cleanup_process $!
	wait_for 5 is_gone_or_waits $! || fail "the other user neither fails nor waits"
	expect_status 0 timeout 20 "$VHDIMG" umount "$TMP/mnt"
	ended
	# His own: through fusermount3, and the file where a user's is.
	mkdir "$TMP/his"
	cp "$TMP/a.vhd" "$TMP/his/a.vhd"
	mkdir "$TMP/his/mnt"
	chown -R 65534 "$TMP/his"
	as_user=(setpriv --reuid=65534 --clear-groups env -u XDG_RUNTIME_DIR)
	if "${as_user[@]}" "$VHDFUSE" "$TMP/his/a.vhd" "$TMP/his/mnt" 2>/dev/null; then
		cleanup "umount_lazy '$TMP/his/mnt'"
		word=/tmp/vhdfuse-65534/$(findmnt -no MAJ:MIN --mountpoint "$TMP/his/mnt" | tr -d ' ')
		daemon=$(sed -n 's/^pid=\([0-9]*\) .*/\1/p' "$word")
		exec 6<"$TMP/his"
		expect_status 0 "${as_user[@]}" "$VHDIMG" umount "$TMP/his/mnt"
		exec 6<&-
		refuses is_running "$daemon"
		refuses has_word "$word" "$daemon"
		check_image "$TMP/his/a.vhd"
		# Root waits for a user's daemon as well.
		"${as_user[@]}" "$VHDFUSE" "$TMP/his/a.vhd" "$TMP/his/mnt"
		daemon=$(sed -n 's/^pid=\([0-9]*\) .*/\1/p' "$word")
		expect_status 0 "$VHDIMG" umount "$TMP/his/mnt"
		refuses is_running "$daemon"
	else
		say "users cannot mount here: left out"
	fi
fi
