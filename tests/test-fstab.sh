#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The manual page's line of fstab and its service work as they are printed: mount DIR, umount DIR,
# mount -a, and systemctl with a systemd of its own. Everything is in namespaces of this test's, with
# an /etc, /sbin, /srv and /mnt that nobody else sees.
if test -z "${IN_NAMESPACE-}" && test "$(id -u)" = 0 && command -v unshare >/dev/null; then
	IN_NAMESPACE=1 exec unshare --mount --propagation private "$BASH" "$0" "$@"
fi
. "$(dirname "$0")/support/lib.sh"

requires mount.fuse3 findmnt systemd-analyze
requires_root
requires_fuse

# printed N: the Nth block under FSTAB AND SYSTEMD.
printed() {
	sed -n '/^# FSTAB AND SYSTEMD/,/^# [^F]/p' "$top_srcdir/docs/vhdfuse.1.scd" |
		awk -v n="$1" '/^```/ { count++; next } count == 2 * n - 1'
}

sbin=$(readlink -f /sbin)
mkdir -p "$TMP/etc/vhdfuse" "$TMP/sbin"
printed 1 >"$TMP/etc/fstab"
printed 2 >"$TMP/etc/vhdfuse/NAME.conf"
grep -q '^/srv/disk.vhd  */mnt/disk  *fuse.vhdfuse' "$TMP/etc/fstab" || fail "the page has no line of fstab"
grep -q '^IMAGE=/srv/disk.vhd' "$TMP/etc/vhdfuse/NAME.conf" || fail "the page has no file for the service"
ln -s "$VHDIMG" "$TMP/sbin/umount.fuse.vhdfuse"
ln -s "$VHDFUSE" "$TMP/sbin/vhdfuse"	# mount(8) looks for it in the usual places alone
# An overlay need not see what changes below it.
lay_etc() {
	test -z "${LAID-}" || umount /etc
	mount -t overlay none -o "lowerdir=$TMP/etc:/etc" /etc && LAID=1
}
lay_etc || skip "no overlay filesystem here"
mount -t overlay none -o "lowerdir=$TMP/sbin:$sbin" "$sbin"
cleanup "umount '$sbin'; umount /etc; umount -l /mnt; umount -l /srv"
mount -t tmpfs tmpfs /srv
mount -t tmpfs tmpfs /mnt
mkdir /mnt/disk
make_image /srv/disk.vhd 16M

# expect_left: nothing is mounted, and the driver has ended already.
expect_left() {
	is_unmounted /mnt/disk || fail "$1: still mounted"
	is_gone "$DAEMON" 2>/dev/null || fail "$1 came back before the driver ended"
	check_image /srv/disk.vhd
}

for command in "mount /mnt/disk" "mount /srv/disk.vhd" "mount -a -t fuse.vhdfuse"; do
	say "$command, with the line that is printed"
	$command
	expect_equal "$(findmnt -no FSTYPE,SOURCE,VFS-OPTIONS /mnt/disk | xargs)" "fuse.vhdfuse /srv/disk.vhd ro,relatime"
	expect_equal "$(stat -c %s /mnt/disk/disk.raw)" $((16 << 20))
	DAEMON=$(daemon_of /mnt/disk)
	cleanup_process "$DAEMON"
	umount /mnt/disk
	expect_left "$command"
done

say "written to, and compacted when it leaves, which umount waits for"
sed -i 's/ro,nofail/rw,compact,x-systemd.requires=network.target,_netdev/' "$TMP/etc/fstab"
lay_etc
mount /mnt/disk
DAEMON=$(daemon_of /mnt/disk)
cleanup_process "$DAEMON"
dd if=/dev/urandom of=/mnt/disk/disk.raw bs=1M count=9 conv=notrunc status=none
dd if=/dev/zero of=/mnt/disk/disk.raw bs=1M count=8 conv=notrunc status=none
umount /mnt/disk
expect_left umount
expect_equal "$(blocks_of /srv/disk.vhd)" 1

say "an image that is not there: nofail is for boot, the status tells"
mv /srv/disk.vhd /srv/away.vhd
expect_status 32 mount /mnt/disk
mv /srv/away.vhd /srv/disk.vhd

printed 1 >"$TMP/etc/fstab"
lay_etc

say "the unit"
unit=$top_builddir/fs/vhdfuse@.service
test -f "$unit" || fail "no unit was made"
mkdir "$TMP/units"
sed -E "s|^ExecStart=[^ ]*/vhdfuse|ExecStart=$VHDFUSE|" "$unit" >"$TMP/units/vhdfuse@.service"
grep -q "^ExecStart=$VHDFUSE " "$TMP/units/vhdfuse@.service" || fail "the unit starts something else"
systemd-analyze verify --man=no "$TMP/units/vhdfuse@.service" >"$TMP/out" 2>&1 || fail "$(cat "$TMP/out")"
expect_equal "$(grep vhdfuse "$TMP/out")" "" "systemd-analyze"

# What systemd itself is asked to run, as the one service of its boot.
cat >"$TMP/inside" <<END
set -x
cd "$TMP"
systemctl start vhdfuse@NAME.service && systemctl is-active vhdfuse@NAME.service >active
stat -c %s /mnt/disk/disk.raw >size
grep ' /mnt/disk ' /proc/self/mounts >mounted
systemctl stop vhdfuse@NAME.service; systemctl is-active vhdfuse@NAME.service >stopped
grep ' /mnt/disk ' /proc/self/mounts >left
systemctl start mnt-disk.mount && systemctl is-active mnt-disk.mount >active-mount
grep ' /mnt/disk ' /proc/self/mounts >mounted-by-line
systemctl stop mnt-disk.mount; systemctl is-active mnt-disk.mount >stopped-mount
grep ' /mnt/disk ' /proc/self/mounts >left-by-line
systemctl start vhdfuse@other.service; echo \$? >other
touch done
END
for target in sysinit basic local-fs remote-fs multi-user shutdown umount; do
	printf '[Unit]\nDefaultDependencies=no\n' >"$TMP/units/$target.target"
done
printf '%s\n' '[Unit]' 'DefaultDependencies=no' '[Service]' 'Type=oneshot' \
	"ExecStart=/bin/bash $TMP/inside" "StandardError=file:$TMP/trace" >"$TMP/units/trial.service"

systemd=
for place in /lib/systemd/systemd /usr/lib/systemd/systemd; do
	test ! -x "$place" || systemd=$place
done
mkdir "$TMP/cgroups"
if test -n "$systemd" && mount -t cgroup2 none "$TMP/cgroups" 2>/dev/null; then
	say "systemd starts and stops it"
	# In a group of its own, whose branches go with it.
	group=$TMP/cgroups/${TMP##*/}
	mkdir "$group"
	cleanup "wait_for 5 grep -qx 'populated 0' '$group/cgroup.events'; find '$group' -depth -type d -exec rmdir {} +; umount '$TMP/cgroups'"
	(
		echo "$BASHPID" >"$group/cgroup.procs"
		exec unshare --mount --pid --fork --cgroup --kill-child --mount-proc --propagation private bash -euc '
			mount -t tmpfs tmpfs /run
			umount -l /sys/fs/cgroup || :
			mount -t cgroup2 none /sys/fs/cgroup
			exec env -i PATH=/usr/sbin:/usr/bin container=trial SYSTEMD_UNIT_PATH="$1:/run/systemd/generator" \
				"$2" --system --unit=trial.service --log-target=console --show-status=no' \
			bash "$TMP/units" "$systemd"
	) </dev/null >"$TMP/systemd.log" 2>&1 &
	BOOT=$!
	cleanup_process "$BOOT"
	wait_for 20 test -e "$TMP/done" || fail "$(tail -n 20 "$TMP/systemd.log" "$TMP/trace")"
	kill -9 "$BOOT"	# and by --kill-child all that is in there
	wait "$BOOT" 2>/dev/null || :
	expect_equal "$(cat "$TMP/active")" active "$(cat "$TMP/trace")"
	expect_equal "$(cat "$TMP/size")" $((16 << 20))
	grep -q 'fuse.vhdfuse ro,' "$TMP/mounted" || fail "not read-only: $(cat "$TMP/mounted")"
	expect_equal "$(cat "$TMP/stopped")" inactive
	expect_equal "$(cat "$TMP/left")" ""
	refuses test "$(cat "$TMP/other")" = 0
	# What systemd makes of the line of fstab.
	expect_equal "$(cat "$TMP/active-mount")" active "$(cat "$TMP/trace")"
	grep -q 'fuse.vhdfuse ro,' "$TMP/mounted-by-line" || fail "not mounted: $(cat "$TMP/trace")"
	expect_equal "$(cat "$TMP/stopped-mount")" inactive
	expect_equal "$(cat "$TMP/left-by-line")" ""
	check_image /srv/disk.vhd
else
	say "no systemd that could run here: left out"
fi
