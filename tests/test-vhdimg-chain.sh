#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg info and check on chains: every level is told, each fault by its own sentence and status,
# what is only odd by a warning; and no parent is ever changed by it.
. "$(dirname "$0")/support/lib.sh"

requires jq

cd "$TMP"
mkdir w

# chain FOLDER: base.vhd, 1.vhd and top.vhd, anew.
chain() {
	rm -rf "$1"
	mkdir "$1"
	make_image "$1/base.vhd" 10M
	"$VHDIMG" create --parent="$1/base.vhd" "$1/1.vhd"
	"$VHDIMG" create --parent="$1/1.vhd" "$1/top.vhd"
}

# damage FILE: its first block is where no file is.
damage() {
	printf '\x7f\xff\xff\xf0' | dd of="$1" bs=1 seek=1536 conv=notrunc status=none
}

say "info tells every level"
chain w
expect_status 0 "$VHDIMG" info --output=json w/top.vhd
expect_equal "$(jq -c '[.chain[] | [.filename, .type, ."virtual-size", ."blocks-allocated"]]' "$TMP/out")" \
	"[[\"$TMP/w/1.vhd\",\"differencing\",10485760,0],[\"$TMP/w/base.vhd\",\"dynamic\",10485760,0]]"
expect_equal "$(jq -r '.chain[0].uuid == .parent.uuid' "$TMP/out")" true
expect_equal "$(jq -r '.parent | keys | join(" ")' "$TMP/out")" "filename name path uuid"
expect_status 0 "$VHDIMG" info --output=json w/base.vhd
expect_equal "$(jq -c .chain "$TMP/out")" "[]"
expect_status 0 "$VHDIMG" info w/top.vhd
expect_equal "$(grep '^chain' "$TMP/out")" \
	"chain, level 1: $TMP/w/1.vhd (differencing, $("$VHDIMG" info w/1.vhd | sed -nE 's/^file size: (.*) \(.*/\1/p'), 0 of 5 blocks)
chain, level 2: $TMP/w/base.vhd (dynamic, 8.0 KiB, 0 of 5 blocks)"
truncate -s 1000001 w/disk.img
"$VHDIMG" create --parent=w/disk.img w/raw.vhd
expect_status 0 "$VHDIMG" info --output=json w/raw.vhd
expect_equal "$(cat "$TMP/err")" "" "of a raw parent that ends within a sector"
expect_equal "$(jq -c '[.chain[] | [.type, .uuid, ."blocks-total"]]' "$TMP/out")" '[["raw",null,null]]'

say "check walks it"
expect_status 0 "$VHDIMG" check w/top.vhd
expect_equal "$(cat "$TMP/out" "$TMP/err")" "w/top.vhd and 2 parents: no problem found"
expect_status 0 "$VHDIMG" check w/raw.vhd
expect_equal "$(cat "$TMP/out")" "w/raw.vhd and 1 parent: no problem found"
for level in 1 base; do
	chain w
	damage w/$level.vhd
	before=$(sha w/$level.vhd)
	expect_status 2 "$VHDIMG" check --output=json w/top.vhd
	expect_equal "$(jq -c '[.errors, .parents, .problems[0].kind]' "$TMP/out")" \
		'[1,2,"bat-entry-past-end"]'
	grep -q "w/$level.vhd" <<<"$(jq -r '.problems[0].message' "$TMP/out")" || fail "not named: $level"
	expect_status 2 "$VHDIMG" check --repair=lossy w/top.vhd
	expect_equal "$(sha w/$level.vhd)" "$before" "a parent after the child's repair"
	expect_status 0 "$VHDIMG" check --repair=lossy w/$level.vhd
	expect_status 0 "$VHDIMG" check w/top.vhd
done
chain w
truncate -s -512 w/1.vhd	# no trailing footer: the last sector is padding
expect_status 3 "$VHDIMG" check w/top.vhd

say "missing, another id, a circle: each its own sentence and status"
chain w
mv w/base.vhd w/away.vhd
expect_status 66 "$VHDIMG" check w/top.vhd
expect_said '1.vhd: its parent "base.vhd" is not found; tried: .*/w/base.vhd'
expect_status 66 "$VHDIMG" info w/top.vhd
expect_said 'tried: .*/w/base.vhd'
make_image w/base.vhd 10M
expect_status 65 "$VHDIMG" check w/top.vhd
expect_said "base.vhd has the unique id [0-9a-f-]{36}, and the parent's is [0-9a-f-]{36}"
expect_status 65 "$VHDIMG" info w/top.vhd
chain w
cp w/top.vhd w/base.vhd		# 1.vhd is sought where top.vhd's copy is; of itself it is none
expect_status 65 "$VHDIMG" check w/top.vhd
# Two that have each other's id for their parent's.
make_image w/away.vhd 10M
for name in a b; do
	"$VHDIMG" create --parent=w/away.vhd w/$name.vhd
done
python3 - w/a.vhd w/b.vhd <<'PY'
import struct, sys
names = sys.argv[1:]
ids = [open(n, "rb").read(84)[68:84] for n in names]
for n, parent, uuid in ((names[0], "b.vhd", ids[1]), (names[1], "a.vhd", ids[0])):
    with open(n, "r+b") as f:
        f.seek(512)
        h = bytearray(f.read(1024))
        h[40:56] = uuid
        h[56:60] = bytes(4)
        h[64:576] = parent.encode("utf-16-be").ljust(512, b"\0")
        h[576:768] = bytes(192)
        h[36:40] = bytes(4)
        h[36:40] = struct.pack(">I", ~sum(h) & 0xffffffff)
        f.seek(512)
        f.write(h)
PY
expect_status 66 "$VHDIMG" check w/a.vhd
expect_said "a.vhd is a child itself in this chain"
expect_status 66 "$VHDIMG" info w/a.vhd

say "changed, or of another size: warnings"
chain w
touch -d '+1 hour' w/base.vhd
expect_status 0 "$VHDIMG" check w/top.vhd
expect_said "1.vhd: its parent .*/w/base.vhd was changed after"
expect_status 0 "$VHDIMG" check -q w/top.vhd
expect_equal "$(cat "$TMP/out" "$TMP/err")" ""
truncate -s 1M w/disk.img
expect_status 0 "$VHDIMG" create --parent=w/disk.img w/raw.vhd
truncate -s 2M w/disk.img
expect_status 0 "$VHDIMG" check w/raw.vhd
grep -q "disk.img has another size" "$TMP/err" || fail "not told: $(cat "$TMP/err")"

if (requires_fuse) >/dev/null; then
	say "a parent that is being written"
	chain w
	mkdir m
	mount_vhd w/base.vhd m
	expect_status 75 "$VHDIMG" check w/top.vhd
	expect_said "base.vhd: in use"
	expect_status 0 "$VHDIMG" check -U w/top.vhd
	expect_equal "$(cat "$TMP/out")" "w/top.vhd and 2 parents: no problem found"
	umount_vhd m
fi
