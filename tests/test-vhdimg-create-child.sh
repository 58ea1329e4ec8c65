#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg create --parent: children that read as their parents do, eight levels and more, through a
# mount too; what cannot be a parent is refused with a status of its own.
. "$(dirname "$0")/support/lib.sh"

requires jq

mkdir "$TMP/d"
cd "$TMP"

say "of a real parent with something in it, nine levels deep, each in a folder of its own"
requires_corpus
corpus_image dfvfs-ext2 0.vhd
before=$(sha 0.vhd)
mtime=$(stat -c %Y.%y 0.vhd)
last=0.vhd
for level in 1 2 3 4 5 6 7 8 9; do
	mkdir "level $level ü"
	expect_status 0 "$VHDIMG" create --parent="$last" "level $level ü/child.vhd"
	expect_equal "$(cat out err)" "" "what create said"
	last="level $level ü/child.vhd"
	check_image "$last"
done
for key in virtual-size block-size; do
	expect_equal "$("$VHDIMG" info --output=json "$last" | jq ".\"$key\"")" \
		"$("$VHDIMG" info --output=json 0.vhd | jq ".\"$key\"")" "$key"
done
expect_equal "$("$VHDIMG" info --output=json "$last" | jq -r '.type, .parent.path')" \
	"differencing
$TMP/level 8 ü/child.vhd"
if (requires_fuse) >/dev/null; then
	mkdir m n
	mount_vhd 0.vhd m ro
	wanted=$(sha "$DISK")
	umount_vhd m
	mount_vhd "$last" n ro
	expect_equal "$(sha "$DISK")" "$wanted" "what the ninth child reads"
	umount_vhd n
fi
expect_equal "$(sha 0.vhd)" "$before"
expect_equal "$(stat -c %Y.%y 0.vhd)" "$mtime" "the parent's time"

say "the folder is moved, and nothing is lost; the child alone is moved, and is told where it is"
mkdir together
"$VHDIMG" create together/p.vhd 10M
"$VHDIMG" create --parent=together/p.vhd together/c.vhd
mv together elsewhere
"$VHDIMG" info elsewhere/c.vhd >/dev/null
mv elsewhere/c.vhd .
expect_status 66 "$VHDIMG" info c.vhd
expect_said "c\.vhd: its parent \"p\.vhd\" is not found" "$TMP/p\.vhd"

say "a raw parent"
head -c 3M /dev/zero | tr '\0' x >raw.img
expect_status 0 "$VHDIMG" create --parent=raw.img of-raw.vhd
expect_equal "$("$VHDIMG" info --output=json of-raw.vhd | jq -r '."virtual-size", .parent.path')" \
	"3145728
$TMP/raw.img"
check_image of-raw.vhd

# wrong STATUS PATTERN ARGUMENT...: and nothing is left in d.
wrong() {
	local status=$1 pattern=$2
	shift 2
	expect_status "$status" "$VHDIMG" create "$@"
	grep -Eq -- "$pattern" <<<"$(head -1 err)" || fail "'$pattern' not in: $(cat err)"
	expect_equal "$(ls -A d)" "" "left behind by create $*"
}

say "what is refused"
"$VHDIMG" create p.vhd 10M
printf 'vhdxfile' >x.vhdx
truncate -s 1M x.vhdx
head -c 1000 p.vhd >cut.vhd
wrong 66 "none\.vhd" --parent=none.vhd d/a.vhd
wrong 65 "VHDX" --parent=x.vhdx d/a.vhd
wrong 65 "cut\.vhd" --parent=cut.vhd d/a.vhd
wrong 65 "p\.vhd has the unique id" --parent=c.vhd d/a.vhd 10M	# its parent is there now, by name
wrong 64 "size of its parent.*10485760" --parent=p.vhd d/a.vhd 11M
wrong 64 "0 bytes" --parent=p.vhd d/a.vhd 0
wrong 64 "type=fixed" --parent=p.vhd --type=fixed d/a.vhd
wrong 64 "type=dynamic" --parent=p.vhd --type=dynamic d/a.vhd
wrong 64 "block size" --parent=p.vhd --block-size=3M d/a.vhd
wrong 73 "none/a\.vhd" --parent=p.vhd none/a.vhd
expect_status 0 "$VHDIMG" create --parent=p.vhd --block-size=512K d/a.vhd 10M
check_image d/a.vhd
expect_equal "$("$VHDIMG" info --output=json d/a.vhd | jq '."block-size"')" 524288
expect_status 73 "$VHDIMG" create --parent=p.vhd d/a.vhd
expect_said "d/a\.vhd"
