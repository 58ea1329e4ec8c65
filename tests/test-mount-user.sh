#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# An ordinary user mounts, uses and unmounts; who else gets in is his and /etc/fuse.conf's to say; and
# where he may not mount, a sentence tells why. All of it in a mount namespace, where /dev/fuse and
# /etc/fuse.conf are ours.
if test "$(id -u)" = 0 && test -z "${IN_NAMESPACE-}"; then
	IN_NAMESPACE=1 exec unshare --mount --propagation private "$BASH" "$0" "$@"
fi
. "$(dirname "$0")/support/lib.sh"

requires_root
requires_fuse
requires_loop
requires unshare setpriv flock openssl sfdisk mkfs.ext4 findmnt

test -e /etc/fuse.conf || skip "no /etc/fuse.conf to put ours over"
HELPER=$(command -v fusermount3)

ID=65534
u() {
	setpriv --reuid=$ID --regid=$ID --clear-groups -- \
		env XDG_RUNTIME_DIR="$TMP/user/run" TMPDIR="$TMP/user/tmp" "$@" 5<&- 6<&- 7<&- 8<&- 9<&-
}
mkdir -p "$TMP/user/mnt" "$TMP/user/run" "$TMP/user/tmp" "$TMP/theirs"
chmod 755 "$TMP"
make_image "$TMP/user/a.vhd" 64M
cp "$TMP/user/a.vhd" "$TMP/root.vhd"
chmod 644 "$TMP/root.vhd"
chown -R $ID:$ID "$TMP/user"
fill "$TMP/noise" 3000000 user
M=$TMP/user/mnt
DISK=$M/disk.raw

mknod -m 600 "$TMP/fuse" c 10 229
mount --bind "$TMP/fuse" /dev/fuse
: >"$TMP/fuse.conf"
mount --bind "$TMP/fuse.conf" /etc/fuse.conf

# mounts [OPTIONS]: his image, by him. Sets DAEMON.
mounts() {
	u "$VHDFUSE" "$TMP/user/a.vhd" "$M" ${1:+-o "$1"}
	DAEMON=$(sed -n 's/^pid=\([0-9]*\) .*/\1/p' "$TMP"/user/run/vhdfuse/*)
	cleanup_process "$DAEMON"
	cleanup "umount_lazy '$M'"
}
umounts() {
	expect_status 0 u "$VHDIMG" umount "$M"
	is_unmounted "$M" || fail "still mounted"
	is_gone "$DAEMON" || fail "the driver is still there"
	expect_equal "$(ls -A "$TMP/user/run/vhdfuse")" ""
}
# refused PATTERN [OPTIONS [MOUNTPOINT]]: wrong, with one sentence.
refused() {
	expect_status 1 u "$VHDFUSE" "$TMP/user/a.vhd" "${3:-$M}" ${2:+-o "$2"}
	expect_said "a.vhd: cannot be mounted on ${3:-$M}: " "$1"
}

say "where he may not mount"
refused "chmod 666 /dev/fuse"
chmod 666 "$TMP/fuse"
mount --bind /dev/null "$HELPER"
refused "package fuse3"
umount "$HELPER"
cp "$HELPER" "$TMP/fusermount3"	# not setuid
mount --bind "$TMP/fusermount3" "$HELPER"
refused "setuid root"
umount "$HELPER"
refused "no write access" "" "$TMP/theirs"
expect_status 2 setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin "$VHDFUSE" "$TMP/user/a.vhd" "$M"
expect_said "CAP_SYS_ADMIN"
is_unmounted "$M" || fail "mounted all the same"

say "written, unmounted by vhdimg, read again, unmounted by fusermount3"
mounts
expect_equal "$(u stat -c '%u %g %a' "$DISK")" "$ID $ID 600"
u dd if="$TMP/noise" of="$DISK" bs=64k conv=notrunc status=none
umounts
check_image "$TMP/user/a.vhd"
mounts ro
u cmp -n 3000000 "$TMP/noise" "$DISK"
exec 8<"$(echo "$TMP"/user/run/vhdfuse/*)"
u fusermount3 -u "$M"
flock -s -w 10 8
grep -qx "status=0" <&8
exec 8<&-
wait_gone 10 "$DAEMON"

say "root's image: not to be written, but in front of it"
expect_status 32 u "$VHDFUSE" "$TMP/root.vhd" "$M"
expect_said "root.vhd" "Permission denied"
before=$(sha "$TMP/root.vhd")
mv "$TMP/user/a.vhd" "$TMP/user/his.vhd"
ln -s "$TMP/root.vhd" "$TMP/user/a.vhd"
mounts ro
refuses u dd if="$TMP/noise" of="$DISK" count=1 conv=notrunc
umounts
for how in snapshot "cow=$TMP/user/cow.vhd"; do
	mounts "$how"
	u dd if="$TMP/noise" of="$DISK" bs=64k conv=notrunc,fsync status=none
	u cmp -n 3000000 "$TMP/noise" "$DISK"
	expect_equal "$(ls -A "$TMP/user/tmp")" "" "a scratch file has a name"
	umounts
done
expect_equal "$(sha "$TMP/root.vhd")" "$before"
check_image "$TMP/user/cow.vhd"
rm "$TMP/user/a.vhd"
mv "$TMP/user/his.vhd" "$TMP/user/a.vhd"

say "partitions, by a process that is locked in"
mounts
printf 'label: gpt\n1M,20M\n21M,20M\n' | u sfdisk -q "$DISK" >"$TMP/sfdisk" 2>&1 || fail "$(cat "$TMP/sfdisk")"
umounts
mounts partitions
expect_equal "$(u ls "$M")" "$(printf 'disk.raw\np1\np2')"
u mkfs.ext4 -q "$M/p2"

say "nobody else is in it, root neither, and losetup says so"
for file in disk.raw p2; do
	expect_status 1 losetup --find --show "$M/$file"
	grep -q "Permission denied" "$TMP/err" || fail "$(cat "$TMP/err")"
done
refuses stat "$M/p2"
umounts

say "allow_other and allow_root, where fuse.conf does not let him"
for option in allow_other allow_root; do
	refused "/etc/fuse.conf, which root can change, has the line user_allow_other" "$option"
done

say "and where it does"
echo user_allow_other >"$TMP/fuse.conf"
mounts allow_root,partitions
refuses setpriv --reuid=1234 --clear-groups stat "$M/p2"
mkdir "$TMP/in"
loop_attach "$M/p2"
mount "$LOOP" "$TMP/in"
cleanup "umount '$TMP/in'"
cp "$TMP/noise" "$TMP/in/file"
expect_status 75 u "$VHDIMG" umount "$M"
expect_said "in use by $LOOP"
umount "$TMP/in"
loop_detach "$LOOP"
umounts
mounts allow_other,umask=022
setpriv --reuid=1234 --clear-groups cmp -n 100 "$DISK" "$TMP/noise"
refuses setpriv --reuid=1234 --clear-groups dd if="$TMP/noise" of="$DISK" count=1 conv=notrunc
umounts
: >"$TMP/fuse.conf"

say "a driver that was killed: what is left is named, and goes"
mounts partitions
u dd if="$TMP/noise" of="$M/p2" bs=64k conv=notrunc status=none
kill -9 "$DAEMON"
wait_gone 10 "$DAEMON"
refused "was killed; vhdimg umount $M clears it away"
expect_status 1 u "$VHDIMG" umount "$M"
expect_said "died without a word: check the image"
is_unmounted "$M" || fail "the dead mount is still there"
check_image "$TMP/user/a.vhd" 3
mounts partitions
u cmp -n 3000000 "$TMP/noise" "$M/p2"
umounts partitions

say "root of a namespace of his own"
cat >"$TMP/in-namespace" <<'END'
set -e
test "$(id -u)" = 0
"$1" "$3/a.vhd" "$3/mnt" -o partitions
test "$(ls "$3/mnt")" = "$(printf 'disk.raw\np1\np2')"
dd if="$4" of="$3/mnt/p1" bs=64k conv=notrunc status=none
"$2" umount "$3/mnt"
"$1" "$3/a.vhd" "$3/mnt" -o allow_other
umount "$3/mnt"
END
if u unshare -Urm true 2>/dev/null; then
	expect_status 0 u unshare -Urm bash "$TMP/in-namespace" "$VHDFUSE" "$VHDIMG" "$TMP/user" "$TMP/noise"
	expect_equal "$(cat "$TMP/err")" ""
	wait_for 10 "$VHDIMG" check "$TMP/user/a.vhd"	# umount(8) waits for nobody there
	mounts ro,partitions
	u cmp -n 3000000 "$TMP/noise" "$M/p1"
	umounts partitions
else
	say "users have no namespaces here: left out"
fi
