#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg commit and rebase: a child merged into its parent, whole, killed, and on a full host; a chain
# made one image; a parent that has moved. What is read is told by the second reader of chains.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 openssl qemu-img
requires_fuse
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
M=$((1 << 20))
mkdir "$TMP/mnt" "$TMP/w" "$TMP/was"
cd "$TMP/w"
fill "$TMP/noise" $((24 * M)) commit

info() {
	"$VHDIMG" info --output=json "$1" 2>/dev/null | jq -r "$2"
}

# write_at IMAGE MIB COUNT [SKIP]: noise, through a mount.
write_at() {
	mount_vhd "$PWD/$1" "$TMP/mnt"
	dd if="$TMP/noise" of="$DISK" bs=1M seek="$2" count="$3" skip="${4:-0}" conv=notrunc status=none
	umount_vhd "$TMP/mnt"
}

# make_pair: base.vhd and its child kid.vhd, which hides a part of it, in part by zeros.
make_pair() {
	rm -f ./*.vhd
	"$VHDIMG" create base.vhd 64M
	write_at base.vhd 1 16
	"$VHDIMG" create --parent=base.vhd kid.vhd
	write_at kid.vhd 9 10 3
	mount_vhd "$PWD/kid.vhd" "$TMP/mnt"
	dd if=/dev/zero of="$DISK" bs=1000 seek=3000 count=3100 conv=notrunc status=none
	fallocate -p -o $((14 * M + 5000)) -l $((3 * M)) "$DISK"
	umount_vhd "$TMP/mnt"
	read_chain "$TMP/want" kid.vhd base.vhd
}
expect_reads() {
	read_chain "$TMP/is" "$@"
	same "$TMP/is" "$TMP/want"
}

say "into the parent: the child is empty then, both read as the chain did, by ids of their own"
make_pair
old=$(info base.vhd .uuid)
cp base.vhd "$TMP/was/base"
expect_status 0 "$VHDIMG" commit -n kid.vhd
grep -Eq '^kid\.vhd: [0-9.]+ MiB -> [0-9.]+ KiB, .* would be freed' "$TMP/out" || fail "$(cat "$TMP/out")"
same base.vhd "$TMP/was/base"
expect_status 0 "$VHDIMG" commit kid.vhd
expect_equal "$(cat "$TMP/err")" ""
expect_reads base.vhd
expect_reads kid.vhd base.vhd
check_image base.vhd
check_image kid.vhd
expect_equal "$(info kid.vhd '."blocks-allocated"')" 0
test "$(info base.vhd .uuid)" != "$old" || fail "the parent kept its id"
expect_equal "$(info kid.vhd .parent.uuid)" "$(info base.vhd .uuid)"
qemu-img convert -f vpc -O raw base.vhd "$TMP/is"
same "$TMP/is" "$TMP/want"

say "what a removed child was is gone; the parent's id may be kept"
make_pair
old=$(info base.vhd .uuid)
expect_status 0 "$VHDIMG" commit --remove --keep-id kid.vhd
test ! -e kid.vhd || fail "the child is still there"
expect_equal "$(info base.vhd .uuid)" "$old"
expect_reads base.vhd

say "another child is refused, and then refuses to be read wrong"
make_pair
"$VHDIMG" create --parent=base.vhd other.vhd
expect_status 75 "$VHDIMG" commit kid.vhd
expect_said 'kid\.vhd: its parent is the parent of .*other\.vhd.*--force'
expect_reads kid.vhd base.vhd
expect_status 0 "$VHDIMG" commit --force kid.vhd
expect_status 65 "$VHDIMG" map other.vhd
expect_said 'other\.vhd: .*unique id'
rm other.vhd
"$VHDIMG" create --parent=kid.vhd grandchild.vhd
expect_status 75 "$VHDIMG" commit --remove kid.vhd
expect_said 'kid\.vhd: it is the parent of .*grandchild\.vhd'
expect_reads grandchild.vhd kid.vhd base.vhd

say "all of a chain as one new image"
make_pair
"$VHDIMG" create --parent=kid.vhd top.vhd
write_at top.vhd 40 3
read_chain "$TMP/want" top.vhd kid.vhd base.vhd
cp top.vhd "$TMP/was/top"
expect_status 0 "$VHDIMG" commit -n --into=flat.vhd top.vhd
test ! -e flat.vhd
size=$(sed -n 's/.*: //p' "$TMP/out")
expect_status 0 "$VHDIMG" commit --into=flat.vhd top.vhd
expect_equal "$(sed -n 's/.*: //p' "$TMP/out")" "$size"
same top.vhd "$TMP/was/top"
check_image flat.vhd
expect_equal "$(info flat.vhd '.type, .parent')" "dynamic
null"
expect_reads flat.vhd
qemu-img convert -f vpc -O raw flat.vhd "$TMP/is"
same "$TMP/is" "$TMP/want"
expect_status 73 "$VHDIMG" commit --into=flat.vhd top.vhd
expect_said 'flat\.vhd: .*exists'
expect_status 73 "$VHDIMG" commit -n --into=flat.vhd top.vhd
expect_said 'flat\.vhd: .*exists'
ln -s nowhere dangling.vhd
expect_status 73 "$VHDIMG" commit -n --into=dangling.vhd top.vhd
rm dangling.vhd
expect_status 64 "$VHDIMG" commit --into=new.vhd --remove top.vhd
test ! -e new.vhd

say "what is refused, and left alone"
make_pair
cp base.vhd "$TMP/was/base"
cp kid.vhd "$TMP/was/kid"
expect_status 69 "$VHDIMG" commit base.vhd
expect_said 'base\.vhd: .*no parent'
expect_status 66 "$VHDIMG" commit none.vhd
mount_vhd "$PWD/base.vhd" "$TMP/mnt" ro
expect_status 75 "$VHDIMG" commit kid.vhd
expect_said 'base\.vhd.*in use'
umount_vhd "$TMP/mnt"
mount_vhd "$PWD/kid.vhd" "$TMP/mnt" ro
expect_status 75 "$VHDIMG" commit kid.vhd
umount_vhd "$TMP/mnt"
same base.vhd "$TMP/was/base"
same kid.vhd "$TMP/was/kid"

say "killed at any time, it reads the same, and a second run finishes"
fill "$TMP/noise" $((24 * M)) kill
make_pair
cp base.vhd "$TMP/was/base"
cp kid.vhd "$TMP/was/kid"
rounds=6
test -z "${VHD_LONG:-}" || rounds=100
began=${EPOCHREALTIME/[.,]/}
expect_status 0 "$VHDIMG" commit kid.vhd
took=$((${EPOCHREALTIME/[.,]/} - began))	# microseconds
killed=0
for ((i = 1; killed < rounds && i <= 4 * rounds; i++)); do
	cp "$TMP/was/base" base.vhd
	cp "$TMP/was/kid" kid.vhd
	touch -r "$TMP/was/base" base.vhd
	status=0
	timeout -s KILL "$(((RANDOM << 15 | RANDOM) % took + 1))e-6" \
		"$VHDIMG" commit -q kid.vhd 2>/dev/null || status=$?
	test "$status" = 0 || killed=$((killed + 1))
	if test "$(info kid.vhd .parent.uuid)" = "$(info base.vhd .uuid)"; then
		expect_reads kid.vhd base.vhd
	else	# cut off between the two: all is in the parent
		expect_equal "$(info kid.vhd '."blocks-allocated"')" 0 "blocks of a child without parent"
		expect_reads base.vhd
	fi
	check_image kid.vhd 3
	check_image base.vhd 3
	expect_status 0 "$VHDIMG" commit -q kid.vhd
	expect_reads base.vhd
	expect_reads kid.vhd base.vhd
	expect_equal "$(info kid.vhd .parent.uuid)" "$(info base.vhd .uuid)" "round $i"
done
test $((2 * killed)) -ge "$rounds" || fail "only $killed of $((i - 1)) were killed"

say "cut off between the parent's new id and the child's link: it opens, and finishes"
"$PYTHON" - kid.vhd base.vhd "$top_srcdir/tests/support" <<'END'
import hashlib, struct, sys
def checksum(data, at):
    return ~sum(data[:at] + data[at + 4:]) & 0xffffffff
kid = open(sys.argv[1], "rb").read(2048)
link, own = kid[512 + 40:512 + 56], kid[68:84]
new = bytearray(hashlib.sha1(link + own).digest()[:16])
new[6] = new[6] & 0x0f | 0x50
new[8] = new[8] & 0x3f | 0x80
with open(sys.argv[2], "r+b") as f:
    for at, whence in ((0, 0), (-512, 2)):
        f.seek(at, whence)
        at = f.tell()
        data = bytearray(f.read(512))
        data[68:84] = new
        struct.pack_into(">I", data, 64, checksum(data, 64))
        f.seek(at)
        f.write(data)
END
test "$(info kid.vhd .parent.uuid)" != "$(info base.vhd .uuid)" || fail "the id was not changed"
expect_status 0 "$VHDIMG" map kid.vhd
expect_status 0 "$VHDIMG" commit -q kid.vhd
expect_equal "$(info kid.vhd .parent.uuid)" "$(info base.vhd .uuid)"
"$PYTHON" "$top_srcdir/tests/support/vhd.py" id base.vhd
expect_status 65 "$VHDIMG" commit kid.vhd

say "a parent that has moved"
make_pair
mkdir -p elsewhere
mv base.vhd "elsewhere/die Basis ü.vhd"
expect_status 66 "$VHDIMG" map kid.vhd
expect_status 66 "$VHDIMG" rebase --parent=base.vhd kid.vhd
expect_status 0 "$VHDIMG" rebase --parent="elsewhere/die Basis ü.vhd" kid.vhd
expect_equal "$(info kid.vhd .parent.path)" "$PWD/elsewhere/die Basis ü.vhd"
check_image kid.vhd
expect_reads kid.vhd "elsewhere/die Basis ü.vhd"
"$VHDIMG" create stranger.vhd 64M
expect_status 65 "$VHDIMG" rebase --parent=stranger.vhd kid.vhd
expect_said 'unique id'
expect_equal "$(info kid.vhd .parent.path)" "$PWD/elsewhere/die Basis ü.vhd"
expect_status 0 "$VHDIMG" rebase -u --parent=stranger.vhd kid.vhd
expect_equal "$(info kid.vhd '.parent.path, .parent.uuid')" "$PWD/stranger.vhd
$(info stranger.vhd .uuid)"
expect_status 69 "$VHDIMG" rebase --parent=kid.vhd stranger.vhd
expect_status 64 "$VHDIMG" rebase kid.vhd
rm -r elsewhere

test "$(id -u)" = 0 || exit 0
say "a full host: what was reached is kept, and with room it finishes"
make_pair
write_at kid.vhd 40 10
read_chain "$TMP/want" kid.vhd base.vhd
mkdir "$TMP/host"
mount -t tmpfs -o size=48M none "$TMP/host"
cleanup "umount '$TMP/host'"
cp base.vhd kid.vhd "$TMP/host"
"$VHDIMG" rebase -q --parent="$TMP/host/base.vhd" "$TMP/host/kid.vhd"
dd if=/dev/zero of="$TMP/host/ballast" bs=64k status=none 2>/dev/null || true
expect_status 6 "$VHDIMG" commit "$TMP/host/kid.vhd"
expect_reads "$TMP/host/kid.vhd" "$TMP/host/base.vhd"
check_image "$TMP/host/kid.vhd" 3
check_image "$TMP/host/base.vhd" 3
rm "$TMP/host/ballast"
expect_status 0 "$VHDIMG" commit "$TMP/host/kid.vhd"
expect_reads "$TMP/host/base.vhd"
