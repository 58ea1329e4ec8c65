#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The Debian packages, as a user meets them: built from the tarball, looked at by lintian, installed
# into a clean Debian, used there, upgraded, removed and purged, with nothing left. `make deb-check`.
#
# The Debian is made by mmdebstrap in a folder and entered in namespaces of its own, so that what is
# mounted and started in it ends with it.
. "$(dirname "$0")/../support/lib.sh"

requires dpkg-buildpackage dh lintian mmdebstrap unshare make
requires_root
requires_fuse

suite=${DEB_SUITE:-bookworm}
root=$TMP/root

# The Debian comes over the network while the compiler has the processor.
make_root() {
	mmdebstrap --quiet --variant=apt --include=e2fsprogs,mount --aptopt='Acquire::Languages "none"' \
		"$suite" "$root" && cp /etc/resolv.conf "$root/etc/"
}
make_root >"$TMP/root.log" 2>&1 &
making=$!

say "built from the tarball"
make -s --no-print-directory -C "$top_builddir" dist >"$TMP/dist.log" 2>&1 || fail "$(tail -5 "$TMP/dist.log")"
mkdir "$TMP/source"
tar -xzf "$top_builddir"/vhdfuse-*.tar.gz -C "$TMP/source"
cd "$TMP"/source/vhdfuse-*
DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" dpkg-buildpackage -us -uc >"$TMP/build.log" 2>&1 ||
	fail "$(tail -20 "$TMP/build.log")"
! grep -E 'warning: ' "$TMP/build.log" || fail "the packages do not build in silence"

say "lintian"
lintian --fail-on error,warning ../*.changes >"$TMP/lintian.log" 2>&1 || fail "$(cat "$TMP/lintian.log")"

mkdir "$TMP/packages"
cp ../vhdfuse_*.deb ../vhdimg_*.deb "$TMP/packages/"
cp debian/tests/job "$TMP/job"
version=$(dpkg-parsechangelog -S Version)
higher=$version+later
for name in vhdfuse vhdimg; do
	dpkg-deb -R "$TMP/packages/${name}_${version}"_*.deb "$TMP/$name"
	sed -i "s/^Version: .*/Version: $higher/" "$TMP/$name/DEBIAN/control"
	dpkg-deb -b "$TMP/$name" "$TMP/packages/${name}_${higher}.deb" >/dev/null
done
! grep -q fuse <<<"$(dpkg-deb -f "$TMP"/packages/vhdimg_"$version"_*.deb Depends)" || fail "vhdimg wants libfuse"

say "a clean Debian"
if ! wait "$making"; then
	grep -q 'apt-get update .* failed' "$TMP/root.log" || fail "$(tail -5 "$TMP/root.log")"
	say "no mirror of Debian can be reached: built and looked at, and installed nowhere"
	echo "# PASS: 1"
	exit 0
fi
cp -r "$TMP/packages" "$TMP/job" "$root/root/"

# What runs inside. Its standard output is for people.
cat >"$root/root/inside" <<'END'
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt="apt-get -q -q -y -o Dpkg::Use-Pty=0"
cd /root
files() {
	find / -xdev \( -path /proc -o -path /dev -o -path /run -o -path /tmp -o -path /root -o -path /var/cache \
		-o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg \) -prune -o -print | sort >"$1"
}
is() {	# is PACKAGE VERSION
	test "$(dpkg-query -W -f '${Version} ${db:Status-Abbrev}' "$1")" = "$2 ii "
}

echo "-- vhdimg alone"
$apt update
files before
$apt install --no-install-recommends "./packages/vhdimg_$VERSION"_*.deb >log 2>&1
vhdimg create small.vhd 10M
vhdimg check small.vhd
! dpkg-query -W libfuse3-3 2>/dev/null || { echo "libfuse came with vhdimg"; exit 1; }

echo "-- the whole job"
$apt install --no-install-recommends "./packages/vhdfuse_$VERSION"_*.deb >log 2>&1
./job

echo "-- an upgrade, under a disk that is mounted"
mkdir mnt
vhdfuse small.vhd mnt
echo before | dd of=mnt/disk.raw conv=notrunc status=none
$apt install "./packages/vhdfuse_$HIGHER.deb" "./packages/vhdimg_$HIGHER.deb" >log 2>&1
is vhdfuse "$HIGHER"
is vhdimg "$HIGHER"
echo "behind" | dd of=mnt/disk.raw bs=1M seek=2 conv=notrunc status=none
umount mnt
vhdimg check small.vhd
vhdfuse small.vhd mnt -o ro
test "$(head -c 6 mnt/disk.raw)$(tail -c +2097153 mnt/disk.raw | head -c 6)" = beforebehind
umount mnt
./job

echo "-- removed: vhdfuse, vhdimg, and what came with them"
$apt remove vhdfuse >log 2>&1
vhdimg check small.vhd
$apt purge vhdimg vhdfuse >log 2>&1
$apt autoremove --purge >log 2>&1
files after
diff before after
! dpkg-query -W vhdfuse vhdimg 2>/dev/null
END

say "installed, used, upgraded, removed"
unshare --mount --pid --fork --kill-child bash -eu -c '
	mount --make-rprivate /
	mount -t proc proc "$1/proc"
	mount --rbind /dev "$1/dev"
	mount -t tmpfs tmpfs "$1/run"
	mount -t tmpfs tmpfs "$1/tmp"
	VERSION=$2 HIGHER=$3 chroot "$1" /bin/bash /root/inside' bash "$root" "$version" "$higher" \
	>"$TMP/inside.log" 2>&1 ||
	fail "$(tail -n 20 "$TMP/inside.log" "$root/root/log")"
cat "$TMP/inside.log"
echo "# PASS: 1"	# as automake counts
