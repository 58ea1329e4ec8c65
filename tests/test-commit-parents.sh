#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg commit into parents of other types than dynamic, into one that another program made, into
# one that is shorter; and stopped by a signal.
. "$(dirname "$0")/support/lib.sh"

requires openssl qemu-img xz
requires_fuse
requires_corpus
M=$((1 << 20))
mkdir "$TMP/mnt" "$TMP/w"
cd "$TMP/w"
fill "$TMP/noise" $((24 * M)) parents

# alter DISK MIB COUNT: noise, and inside of that zeros and a hole, none of them whole blocks.
alter() {
	dd if="$TMP/noise" of="$1" bs=1M seek="$2" count="$3" conv=notrunc status=none
	dd if=/dev/zero of="$1" bs=1000 seek=$((($2 + 1) * 1048 + 1)) count=900 conv=notrunc status=none
	fallocate -p -o $((($2 + 3) * M + 5001)) -l $((2 * M + 777)) "$1"
}

# change IMAGE MIB COUNT: the same to the disk inside.
change() {
	mount_vhd "$PWD/$1" "$TMP/mnt"
	alter "$DISK" "$2" "$3"
	umount_vhd "$TMP/mnt"
}

# merged CHILD: nothing is said when the chain is opened again, and the child has no blocks.
merged() {
	expect_status 0 "$VHDIMG" commit "$1"
	expect_status 0 "$VHDIMG" check "$1"
	expect_equal "$(cat "$TMP/err")" ""
	grep -q '^blocks allocated: 0 of' <<<"$("$VHDIMG" info "$1")" || fail "$("$VHDIMG" info "$1")"
}

say "a raw disk: written in place, and no byte longer"
dd if="$TMP/noise" of=base.raw bs=1M skip=8 count=16 status=none
cp base.raw other.raw
cp base.raw "$TMP/want"
"$VHDIMG" create -q --parent=base.raw kid.vhd
"$VHDIMG" create -q --parent=other.raw stranger.vhd
change kid.vhd 6 7
alter "$TMP/want" 6 7
merged kid.vhd
same base.raw "$TMP/want"
rm ./*

say "a fixed image: it gets another id, and nothing else behind the disk"
"$VHDIMG" create -q --type=fixed base.vhd 16M
change base.vhd 0 9
"$VHDIMG" create -q --parent=base.vhd kid.vhd
change kid.vhd 3 11
read_chain "$TMP/want" kid.vhd base.vhd
size=$(stat -c %s base.vhd)
cp base.vhd "$TMP/was"
expect_status 0 "$VHDIMG" commit -n kid.vhd
same base.vhd "$TMP/was"
merged kid.vhd
expect_equal "$(stat -c %s base.vhd)" "$size"
cmp -n $((16 * M)) base.vhd "$TMP/want" || fail "the disk in the fixed image"
check_image base.vhd
read_chain "$TMP/is" kid.vhd base.vhd
same "$TMP/is" "$TMP/want"
rm ./*

say "a chain that Windows made"
corpus_image govhd-win8 win8.vhd
corpus_image govhd-win8-child kid.vhd
change win8.vhd 1 9
change kid.vhd 5 10
read_chain "$TMP/want" kid.vhd win8.vhd
merged kid.vhd
check_image win8.vhd
qemu-img convert -f vpc -O raw win8.vhd "$TMP/is"
same "$TMP/is" "$TMP/want"
read_chain "$TMP/is" kid.vhd win8.vhd
same "$TMP/is" "$TMP/want"
rm ./*

say "a parent that has become shorter has no room for the disk"
truncate -s 16M base.raw
"$VHDIMG" create -q --parent=base.raw kid.vhd
change kid.vhd 6 7
truncate -s 8M base.raw
cp kid.vhd "$TMP/was"
cp base.raw "$TMP/is"
expect_status 1 "$VHDIMG" commit kid.vhd
grep -q 'kid\.vhd: the disk has 16777216 bytes, and that of its parent .* only 8388608' "$TMP/err" ||
	fail "$(cat "$TMP/err")"
same kid.vhd "$TMP/was"
same base.raw "$TMP/is"
rm ./*

say "stopped by a signal, it reads the same, and a second run goes on"
"$VHDIMG" create -q base.vhd 512M
"$VHDIMG" create -q --parent=base.vhd kid.vhd
mount_vhd "$PWD/kid.vhd" "$TMP/mnt"
for ((i = 0; i < 10; i++)); do
	dd if="$TMP/noise" of="$DISK" bs=1M seek=$((i * 40 + 3)) conv=notrunc status=none
done
umount_vhd "$TMP/mnt"
read_chain "$TMP/want" kid.vhd base.vhd
mkdir "$TMP/pair"
cp --preserve=timestamps base.vhd kid.vhd "$TMP/pair"
expect_stopped TERM 'cp --preserve=timestamps "$TMP/pair"/* .' "$VHDIMG" commit kid.vhd
expect_said 'kid\.vhd: stopped; running it again goes on from there'
grep -q 'stopped early' "$TMP/out" || fail "$(cat "$TMP/out")"
check_image kid.vhd 3	# room between what is left
check_image base.vhd
read_chain "$TMP/is" kid.vhd base.vhd
same "$TMP/is" "$TMP/want"
merged kid.vhd
read_chain "$TMP/is" base.vhd
same "$TMP/is" "$TMP/want"
