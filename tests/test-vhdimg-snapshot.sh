#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg snapshot: the image's name leads at every instant to the same contents, whenever it is
# killed; links stay, nothing is replaced, what others hold or name is left alone.
. "$(dirname "$0")/support/lib.sh"

requires jq

mkdir "$TMP/w"
cd "$TMP/w"

info() {
	"$VHDIMG" info --output=json "$1" | jq -r "$2"
}

# An image with something in it, that changes no more.
make_disk() {
	python3 "$top_srcdir/tests/support/vhd.py" make "$1" 7 >/dev/null
	python3 "$top_srcdir/tests/support/vhd.py" id "$1"
	sha=$(sha "$1")
	uuid=$(info "$1" .uuid)
	mtime=$(stat -c %y "$1")
}

# expect_kept IMAGE PARENT: IMAGE is a child without data of PARENT, which is what IMAGE was.
expect_kept() {
	expect_equal "$(info "$1" '.type, ."blocks-allocated", .parent.uuid, .parent.path')" \
		"differencing
0
$uuid
$(realpath "$2")" "$1"
	expect_equal "$(sha "$2")" "$sha" "bytes of $2"
	expect_equal "$(stat -c %y "$2")" "$mtime" "time of $2"
	check_image "$1"
}

say "a name made up, then one given; a child, too, and a chain of ten"
make_disk disk.vhd
chmod 640 disk.vhd
expect_status 0 "$VHDIMG" snapshot disk.vhd
expect_equal "$(cat "$TMP/out" "$TMP/err")" "disk.vhd: what it was is kept in $TMP/w/disk-1.vhd"
expect_kept disk.vhd disk-1.vhd
expect_equal "$(stat -c %a disk.vhd disk-1.vhd)" "640
640"
make_disk "no extension ü"
expect_status 0 "$VHDIMG" snapshot -q "no extension ü" "./the parent's name.vhd"
expect_equal "$(cat "$TMP/out" "$TMP/err")" ""
expect_kept "no extension ü" "the parent's name.vhd"
for level in 2 3 4 5 6 7 8 9 10; do
	expect_status 0 "$VHDIMG" snapshot disk.vhd
	expect_equal "$(info disk.vhd .parent.path)" "$TMP/w/disk-$level.vhd"
done
mkdir elsewhere
make_disk a.vhd
expect_status 0 "$VHDIMG" snapshot a.vhd elsewhere/p.vhd
expect_kept a.vhd elsewhere/p.vhd

say "a fixed image; a link is followed, and stays"
"$VHDIMG" create --type=fixed f.vhd 1M
mkdir links
ln -s ../f.vhd links/l.vhd
"$VHDIMG" snapshot -q links/l.vhd
expect_equal "$(readlink links/l.vhd)" ../f.vhd
expect_equal "$(info f.vhd '.type, .parent.path')" "differencing
$TMP/w/f-1.vhd"
expect_equal "$(ls -A links)" l.vhd

say "what is refused leaves all as it was"
make_disk b.vhd
echo precious >taken.vhd
ln -s nowhere dangling.vhd
before=$(ls -lA --time-style=full-iso)
# unchanged STATUS PATTERN ARGUMENT...
unchanged() {
	local status=$1 pattern=$2
	shift 2
	expect_status "$status" "$VHDIMG" snapshot "$@"
	grep -Eq -- "$pattern" <<<"$(head -1 "$TMP/err")" || fail "'$pattern' not in: $(cat "$TMP/err")"
	expect_equal "$(ls -lA --time-style=full-iso)" "$before" "after snapshot $*"
}
unchanged 73 "taken\.vhd" b.vhd taken.vhd
unchanged 73 "dangling\.vhd" b.vhd dangling.vhd
unchanged 73 "links" b.vhd links
unchanged 73 "none/p\.vhd" b.vhd none/p.vhd
unchanged 66 "nothing\.vhd" nothing.vhd
unchanged 65 "taken\.vhd.*not a VHD" taken.vhd
unchanged 64 "another folder" disk.vhd elsewhere/d.vhd
unchanged 75 "parent of .*a\.vhd|parent of .*f\.vhd" f-1.vhd
unchanged 64 "wants IMAGE"
test ! -d /dev/shm || test "$(stat -c %d /dev/shm)" = "$(stat -c %d .)" ||
	unchanged 73 "second name" b.vhd "/dev/shm/vhd-test-snapshot.$$"
python3 "$top_srcdir/tests/support/vhd.py" state b.vhd
before=$(ls -lA --time-style=full-iso)
unchanged 75 "saved state" b.vhd
if (requires_fuse) >/dev/null; then
	for option in rw ro; do
		make_disk "held-$option.vhd"
		mkdir "m-$option"
		before=$(ls -lA --time-style=full-iso)
		mount_vhd "held-$option.vhd" "m-$option" "$option"
		before=$(ls -lA --time-style=full-iso)
		unchanged 75 "in use" "held-$option.vhd"
		umount_vhd "m-$option"
	done
fi
expect_status 0 "$VHDIMG" snapshot -q --force disk-3.vhd old-3.vhd
expect_status 65 "$VHDIMG" info disk-4.vhd	# as was said

say "killed before each call that changes something, and run again"
command -v strace >/dev/null || skip "no strace here (all else passed)"
strace -o "$TMP/trace" true 2>/dev/null || skip "strace may not trace here (all else passed)"
mkdir k template
cd k
make_disk ../template/d.vhd

# killed CALL N: the status of a snapshot that is killed before its Nth CALL.
killed() {
	strace -o "$TMP/trace" -e "trace=$1" -e "inject=$1:signal=KILL:when=$2" \
		"$VHDIMG" snapshot -q d.vhd
}

# Whether the image is the child by now, or the same as before.
judge() {
	if test "$(info d.vhd .uuid)" != "$uuid"; then
		expect_kept d.vhd d-1.vhd
		return
	fi
	expect_equal "$(sha d.vhd)" "$sha" "bytes of d.vhd, killed at $call $n"
	expect_status 0 "$VHDIMG" snapshot -q d.vhd
	expect_kept d.vhd d-1.vhd
	expect_equal "$(ls)" "d-1.vhd
d.vhd" "names, killed at $call $n and run again"
}

total=0
for call in linkat renameat fsync fdatasync pwrite64 fchmod; do
	for ((n = 1; n < 50; n++)); do
		rm -f -- * .vhd-*
		cp -p ../template/d.vhd .
		if killed $call $n 2>/dev/null; then
			break
		fi
		total=$((total + 1))
		judge
	done
done
test $total -gt 15 || fail "only $total calls"

say "in an order that a power failure leaves sound"
rm -f -- *
cp -p ../template/d.vhd .
strace -o "$TMP/trace" -e trace=linkat,renameat,renameat2,fsync,fdatasync \
	"$VHDIMG" snapshot -q d.vhd
order=$(grep -oE '^(linkat|renameat2?|fsync|fdatasync)' "$TMP/trace" | tr '\n' ' ')
expect_equal "$(sed -E 's/fdatasync//g; s/ +/ /g; s/^ //' <<<"$order")" \
	"fsync linkat fsync linkat renameat fsync " "calls that make names, and syncs"
