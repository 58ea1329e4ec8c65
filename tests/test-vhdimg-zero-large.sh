#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A disk of 2040 GiB, the largest there is, every block allocated: zero takes little memory, and does what
# it says. A long test, since mkfs alone writes some hundred MiB.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires jq mkfs.ext4 e2fsck python3 flock findmnt
requires_root
requires_fuse
test "${VHD_SANITIZERS:-no}" = no || skip "memory is measured without sanitizers"

mkdir "$TMP/mnt"
make_image "$TMP/a.vhd" 2040G
say "every block gets a slot, its bits all clear"
python3 - "$TMP/a.vhd" <<-'END'
	import array, sys
	blocks = 2040 * 512
	first, stride = 4096 * 1024 // 512 + 7, (2 * 1024 * 1024 + 4096) // 512
	f = open(sys.argv[1], "r+b")
	footer = f.read(512)
	f.seek(512)
	table = int.from_bytes(f.read(24)[16:24], "big")
	entries = array.array("I", (first + 1024 + i * stride for i in range(blocks)))
	entries.byteswap()
	f.seek(table)
	f.write(entries.tobytes())
	f.seek((first + 1024 + blocks * stride) * 512)
	f.write(footer)
	f.truncate()
END
check_image "$TMP/a.vhd" 3
expect_equal "$(blocks_of "$TMP/a.vhd")" $((2040 * 512))

say "with a filesystem on it"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=1,nodiscard "$DISK"
umount_vhd "$TMP/mnt"

say "what it takes"
# peak COMMAND...: sets PEAK, the most memory that it and its children had, in MiB.
peak() {
	python3 - "$@" <<-'END' >"$TMP/peak"
		import resource, subprocess, sys
		code = subprocess.call(sys.argv[1:], stdout=open("/dev/null", "w"))
		print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
	END
	read -r code PEAK <"$TMP/peak"
	expect_equal "$code" 0 "$*"
	echo "$PEAK MiB: ${*:2}"
	test "$PEAK" -lt 200 || fail "$PEAK MiB are too much"
}
before=$(stat -c %s "$TMP/a.vhd")
peak "$VHDIMG" info "$TMP/a.vhd"
peak "$VHDIMG" zero -n "$TMP/a.vhd"
peak "$VHDIMG" zero "$TMP/a.vhd"
test "$(stat -c %s "$TMP/a.vhd")" -le "$before" || fail "the file grew"
test "$(blocks_of "$TMP/a.vhd")" -lt 40000 || fail "$(blocks_of "$TMP/a.vhd") blocks are left"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
e2fsck -fn "$DISK" >"$TMP/fsck.out" 2>&1 || fail "$(tail -3 "$TMP/fsck.out")"
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd" 3
