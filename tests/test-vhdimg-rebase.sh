#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg rebase: a child whose parent went elsewhere finds it again and reads as before, whatever the
# name, as a real child of Windows' does; what is not its parent is refused, and -u refuses nothing.
. "$(dirname "$0")/support/lib.sh"

requires jq
requires_fuse

mkdir "$TMP/m" "$TMP/w" "$TMP/w/far away"
cd "$TMP/w"

parent_of() {
	"$VHDIMG" info --output=json "$1" 2>/dev/null | jq -r .parent.path
}

reads_as() {
	mount_vhd "$1" "$TMP/m" ro
	same "$DISK" "$2"
	umount_vhd "$TMP/m"
}

# A fixed parent with contents, a child with some of its own, and what that reads.
fill "$TMP/raw" 3145728 1
make_image base.vhd 3M --type=fixed
dd if="$TMP/raw" of=base.vhd conv=notrunc status=none
"$VHDIMG" create --parent=base.vhd child.vhd
mount_vhd child.vhd "$TMP/m"
fill "$TMP/new" 100000 2
dd if="$TMP/new" of="$DISK" bs=4096 oflag=seek_bytes seek=1234567 conv=notrunc status=none
cp "$DISK" "$TMP/disk"
umount_vhd "$TMP/m"

say "moved, by any name, to and fro, and the file no longer than before"
size=$(stat -c %s child.vhd)
at=base.vhd
for to in "far away/base.vhd" 'ché € 𝄞.vhd' 'back\slash.vhd' $'latin\xe9' "far away/100%" base.vhd; do
	mv "$at" "$to"
	at=$to
	expect_status 66 "$VHDIMG" info child.vhd
	expect_status 0 "$VHDIMG" rebase --parent="$to" child.vhd
	expect_equal "$(parent_of child.vhd)" "$(jq -rn --arg p "$(realpath "$to" | tr '\351' '?')" '$p' |
		sed 's/latin?/latin\xef\xbf\xbd/')" "after rebase to $to"
	check_image child.vhd
	reads_as child.vhd "$TMP/disk"
	expect_equal "$("$VHDIMG" check child.vhd 2>&1)" "child.vhd and 1 parent: no problem found"
done
expect_equal "$(stat -c %s child.vhd)" "$size" "bytes of the child"
before=$(sha base.vhd)

say "a parent that was only touched is warned of no more"
touch -d '+1 hour' base.vhd
expect_status 0 "$VHDIMG" check child.vhd
expect_said "was changed"
expect_status 0 "$VHDIMG" rebase --parent=base.vhd child.vhd
"$VHDIMG" check child.vhd >"$TMP/out" 2>&1
expect_equal "$(cat "$TMP/out")" "child.vhd and 1 parent: no problem found"

say "what is refused leaves the child as it was"
# wrong STATUS PATTERN ARGUMENT...
wrong() {
	local status=$1 pattern=$2 was
	was=$(sha child.vhd)
	shift 2
	expect_status "$status" "$VHDIMG" rebase "$@"
	grep -Eq -- "$pattern" "$TMP/err" || fail "'$pattern' not in: $(cat "$TMP/err")"
	expect_equal "$(sha child.vhd)" "$was" "the child after rebase $*"
}
make_image other.vhd 3M
"$VHDIMG" create --parent=child.vhd grandchild.vhd
wrong 65 "unique id" --parent=other.vhd child.vhd
wrong 66 "none.vhd" --parent=none.vhd child.vhd
wrong 66 "child" --parent=child.vhd child.vhd
wrong 64 "" child.vhd
wrong 69 "no differencing|has no parent" --parent=base.vhd other.vhd
mount_vhd child.vhd "$TMP/m"
wrong 75 "in use" --parent=base.vhd child.vhd
umount_vhd "$TMP/m"
expect_equal "$(sha base.vhd)" "$before" "the parent's bytes"

say "-u: whatever is there becomes the parent, and a name alone is enough"
cp child.vhd copy.vhd
expect_status 0 "$VHDIMG" rebase -u --parent=other.vhd copy.vhd
expect_equal "$(parent_of copy.vhd)" "$PWD/other.vhd"
cp child.vhd copy.vhd
expect_status 0 "$VHDIMG" rebase -u --parent=later.vhd copy.vhd
expect_status 66 "$VHDIMG" info copy.vhd
expect_said "later.vhd"
mv base.vhd later.vhd
reads_as copy.vhd "$TMP/disk"
mv later.vhd base.vhd

if (requires_corpus) >/dev/null; then
	say "a child that Windows made"
	requires_corpus
	corpus_image govhd-win8 win8.vhd
	corpus_image govhd-win8-child kid.vhd
	mount_vhd kid.vhd "$TMP/m" ro
	cp "$DISK" "$TMP/kid"
	umount_vhd "$TMP/m"
	mv win8.vhd "far away/other name.vhd"
	expect_status 66 "$VHDIMG" info kid.vhd
	expect_status 0 "$VHDIMG" rebase --parent="far away/other name.vhd" kid.vhd
	reads_as kid.vhd "$TMP/kid"
	check_image kid.vhd
fi
