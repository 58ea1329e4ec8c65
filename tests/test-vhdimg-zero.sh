#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg zero on whole disks: a GPT with a filesystem of every kind, what is chosen, what is left alone and
# why, what refuses, how it is stopped. What each reader knows is in tests/test-guest-*.sh.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires jq qemu-img sfdisk mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.vfat mkfs.exfat mkfs.ntfs mkswap
requires e2fsck xfs_repair btrfs fsck.vfat fsck.exfat ntfsfix ntfs-3g mount.exfat-fuse mcopy mdel swaplabel
requires_loop

M=$((1024 * 1024))

# --- a disk with all of them ------------------------------------------------------------------------

# number, size in MiB, kind
parts="1 64 ext4
2 300 xfs
3 120 btrfs
4 64 fat
5 64 exfat
6 64 ntfs
7 32 swap"

mkfs_of() {
	case $1 in
	ext4) mkfs.ext4 -q "$2" ;;
	xfs) mkfs.xfs -q "$2" ;;
	btrfs) mkfs.btrfs -q "$2" ;;
	fat) mkfs.vfat -F 16 "$2" ;;
	exfat) mkfs.exfat "$2" ;;
	ntfs) mkfs.ntfs -q -F -p 2048 "$2" ;;
	swap) mkswap -L swapped "$2" ;;
	esac >"$TMP/mkfs.out" 2>&1 || fail "mkfs of $1: $(cat "$TMP/mkfs.out")"
}

# by_fuse PROGRAM FILE OPTIONS COMMAND...: COMMAND with the mount's folder appended. On a block device
# umount comes back when the driver has written all.
by_fuse() {
	local program=$1 file=$2 options=$3
	shift 3
	mkdir -p "$TMP/in"
	loop_attach "$file"
	"$program" ${options:+-o "$options"} "$LOOP" "$TMP/in" >"$TMP/fuse.out" 2>&1 ||
		fail "$program: $(cat "$TMP/fuse.out")"
	cleanup "umount_lazy '$TMP/in'"
	"$@" "$TMP/in"
	umount "$TMP/in"
	loop_detach "$LOOP"
}
with_mount_of() {
	local kind=$1 file=$2 options=$3
	shift 3
	case $kind in
	ext4 | xfs | btrfs) in_loop_mount "$file" "$options" "$@" ;;
	exfat) by_fuse mount.exfat-fuse "$file" "$options" "$@" ;;
	ntfs) by_fuse ntfs-3g "$file" "$options" "$@" ;;
	esac
}

mkdir "$TMP/tree"
make_tree "$TMP/tree" 40
remember_tree "$TMP/tree"
fill "$TMP/garbage" $((9 * M)) garbage

fill_one() {
	cp -r "$TMP/tree/keep" "$1/"
	cp "$TMP/garbage" "$1/gone"
	sync -f "$1"
	rm "$1/gone"
}
fill_of() {
	case $1 in
	fat)
		mcopy -s -i "$2" "$TMP/tree/keep" ::keep
		mcopy -i "$2" "$TMP/garbage" ::gone
		mdel -i "$2" ::gone
		;;
	swap) dd if="$TMP/garbage" of="$2" bs=1M seek=1 conv=notrunc status=none ;;
	*) with_mount_of "$1" "$2" "" fill_one ;;
	esac
}
verify_of() {
	case $1 in
	fat)
		rm -rf "$TMP/copied"
		mkdir "$TMP/copied"
		mcopy -s -i "$2" ::keep "$TMP/copied/"
		same_tree "$TMP/copied"
		;;
	swap) grep -q "swapped" <<<"$(swaplabel "$2")" ;;
	*) with_mount_of "$1" "$2" ro same_tree ;;
	esac
}
fsck_of() {
	case $1 in
	ext4) e2fsck -fn "$2" ;;
	xfs) xfs_repair -n "$2" ;;
	btrfs) btrfs check --check-data-csum --readonly "$2" ;;
	fat) fsck.vfat -n "$2" ;;
	exfat) fsck.exfat -n "$2" ;;
	ntfs) ntfsfix -n "$2" ;;
	swap) : ;;
	esac >"$TMP/fsck.out" 2>&1 || fail "$1: $(tail -5 "$TMP/fsck.out")"
}
reader_of() {
	case $1 in
	ext4) echo ext ;;
	*) echo "$1" ;;
	esac
}

# part_of NUMBER: sets START and LENGTH, in MiB, and KIND.
part_of() {
	local number size kind
	START=1
	while read -r number size kind; do
		LENGTH=$size KIND=$kind
		test "$number" != "$1" || return 0
		START=$((START + size + 2))	# a gap
	done <<<"$parts"
	fail "no partition $1"
}
# get_part NUMBER FILE, put_part NUMBER FILE: between a raw disk, $TMP/disk.raw, and a file.
get_part() {
	part_of "$1"
	dd if="$TMP/disk.raw" of="$2" bs=1M skip=$START count="$LENGTH" conv=sparse status=none
	truncate -s "${LENGTH}M" "$2"
}
put_part() {
	part_of "$1"
	dd if="$2" of="$TMP/disk.raw" bs=1M seek=$START conv=sparse,notrunc status=none
}
to_vhd() {
	rm -f "$1"
	qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$TMP/disk.raw" "$1"
}
from_vhd() {
	rm -f "$TMP/disk.raw"
	qemu-img convert -f vpc -O raw "$1" "$TMP/disk.raw"
}

say "a disk with all of them"
truncate -s 768M "$TMP/disk.raw"
while read -r number size kind; do
	part_of "$number"
	echo "${START}M,${size}M,$(test "$kind" = swap && echo S || echo L)"
done <<<"$parts" >"$TMP/script"
{ echo 'label: gpt'; cat "$TMP/script"; } | sfdisk -q "$TMP/disk.raw"
dd if="$TMP/garbage" of="$TMP/disk.raw" bs=1M seek=65 count=2 conv=notrunc status=none	# in a gap
while read -r number size kind <&8; do
	truncate -s "${size}M" "$TMP/part"
	mkfs_of "$kind" "$TMP/part"
	fill_of "$kind" "$TMP/part"
	put_part "$number" "$TMP/part"
	rm "$TMP/part"
done 8<<<"$parts"
to_vhd "$TMP/all.vhd"
cp --sparse=always "$TMP/disk.raw" "$TMP/all.raw"

# whole_disk_is_good: every partition of $TMP/disk.raw is clean, complete, and its free room zeros.
whole_disk_is_good() {
	local number size kind
	while read -r number size kind <&8; do
		get_part "$number" "$TMP/part"
		fsck_of "$kind" "$TMP/part"
		verify_of "$kind" "$TMP/part"
		"$FREEMAP" "$(reader_of "$kind")" "$TMP/part" zeros >"$TMP/verdict" ||
			fail "$kind: $(cat "$TMP/verdict")"
		rm "$TMP/part"
	done 8<<<"$parts"
}
cp "$TMP/all.vhd" "$TMP/a.vhd"
zero_image "$TMP/a.vhd"
expect_equal "$STATUS" 0 "$(cat "$TMP/err")"
expect_equal "$(json '[.status, .skipped]' "$TMP/wet.json")" '["done",[]]'
test "$(json '."zeroed-bytes"' "$TMP/wet.json")" -ge $((7 * 8 * M)) || fail "only $(json '."zeroed-bytes"' "$TMP/wet.json") bytes zeroed"
check_image "$TMP/a.vhd" 3
from_vhd "$TMP/a.vhd"
whole_disk_is_good
cmp -n $((2 * M)) "$TMP/garbage" <(dd if="$TMP/disk.raw" bs=1M skip=65 count=2 status=none) || fail "a gap was touched"

say "the same disk as a raw file"
cp --sparse=always "$TMP/all.raw" "$TMP/disk.raw"
zero_image "$TMP/disk.raw"
expect_equal "$STATUS" 0 "$(cat "$TMP/err")"
whole_disk_is_good

say "the closing line, and what is told of each"
cp "$TMP/all.vhd" "$TMP/a.vhd"
expect_status 0 "$VHDIMG" zero -n "$TMP/a.vhd"
expect_equal "$(wc -c <"$TMP/err")" 0 "stderr"
for number in 1 2 3 4 5 6 7; do
	grep -Eq "^partition $number \([a-z0-9]+\): .* used, .* free$" "$TMP/out" || fail "$(cat "$TMP/out")"
done
size='[0-9.]+ (bytes|[KMG]iB)'
grep -Eqx "$TMP/a.vhd: $size -> $size, $size would be freed \([0-9]+ blocks\), [0-9]+:[0-9]{2}" <<<"$(tail -1 "$TMP/out")" ||
	fail "$(tail -1 "$TMP/out")"
host=$(stat -c %b "$TMP/a.vhd")
expect_status 0 "$VHDIMG" zero "$TMP/a.vhd"
grep -Eqx "$TMP/a.vhd: $size -> $size, $size freed \([0-9]+ blocks\), [0-9]+:[0-9]{2}" <<<"$(tail -1 "$TMP/out")" ||
	fail "$(tail -1 "$TMP/out")"
test $((host - $(stat -c %b "$TMP/a.vhd"))) -gt $((40 * 2048)) || fail "the host has no room back"
expect_status 0 "$VHDIMG" zero -q "$TMP/a.vhd"
expect_equal "$(wc -c <"$TMP/out")" 0 "stdout with -q"
expect_status 0 "$VHDIMG" zero "$TMP/a.vhd"
grep -Eq "nothing freed: [a-z ]+, [0-9]+:[0-9]{2}$" <<<"$(tail -1 "$TMP/out")" || fail "$(tail -1 "$TMP/out")"

say "some of them alone"
# free_is_zero NUMBER: in the disk that $TMP/a.vhd is.
free_is_zero() {
	get_part "$1" "$TMP/part"
	"$FREEMAP" "$(reader_of "$KIND")" "$TMP/part" zeros >/dev/null
}
cp "$TMP/all.vhd" "$TMP/a.vhd"
expect_status 0 "$VHDIMG" zero --output=json --only=4,ntfs "$TMP/a.vhd"
expect_equal "$(jq -c '[.skipped[] | .number]' "$TMP/out")" '[1,2,3,5,7]'
from_vhd "$TMP/a.vhd"
for number in 1 2 3 5 7; do
	refuses free_is_zero $number
done
free_is_zero 4
free_is_zero 6
expect_status 0 "$VHDIMG" zero --only 1,2 --ignore=ext "$TMP/a.vhd"
from_vhd "$TMP/a.vhd"
refuses free_is_zero 1
free_is_zero 2
expect_status 0 "$VHDIMG" zero --ignore=swap "$TMP/a.vhd"
from_vhd "$TMP/a.vhd"
free_is_zero 1
refuses free_is_zero 7
before=$(sha "$TMP/a.vhd")
for list in 9 reiserfs "1," ""; do
	expect_status 64 "$VHDIMG" zero --only="$list" "$TMP/a.vhd"
	grep -q "there is no" "$TMP/err"
done
expect_equal "$(sha "$TMP/a.vhd")" "$before" "a wrong word changed the image"

say "the gaps, when told to"
expect_status 0 "$VHDIMG" zero --gaps "$TMP/a.vhd"
grep -q "^between the partitions: " "$TMP/out" || fail "$(cat "$TMP/out")"
from_vhd "$TMP/a.vhd"
cmp -n $((2 * M)) <(dd if="$TMP/disk.raw" bs=1M skip=65 count=2 status=none) /dev/zero || fail "the gap is not zero"
whole_disk_is_good
sfdisk -q -V "$TMP/disk.raw" >"$TMP/sfdisk.out" 2>&1 || fail "$(cat "$TMP/sfdisk.out")"

say "by the copy of a table whose first one is gone"
cp --sparse=always "$TMP/all.raw" "$TMP/disk.raw"
dd if=/dev/zero of="$TMP/disk.raw" bs=512 seek=1 count=1 conv=notrunc status=none
expect_status 0 "$VHDIMG" zero "$TMP/disk.raw"
grep -Eq "^the disk: .*(backup|copy)" "$TMP/out" || fail "$(cat "$TMP/out")"
whole_disk_is_good

say "zeros instead of holes, and the old contents overwritten"
has_old_contents() {	# any sector of the deleted garbage in the image's file?
	python3 - "$1" "$TMP/garbage" <<-'END'
		import sys
		image = open(sys.argv[1], "rb").read()
		garbage = open(sys.argv[2], "rb").read()
		image = {image[i:i + 512] for i in range(0, len(image), 512)}
		found = sum(garbage[i:i + 512] in image for i in range(0, len(garbage), 512))
		sys.exit(found == 0)
	END
}
has_old_contents "$TMP/all.vhd"
for option in --write --scrub; do
	cp "$TMP/all.vhd" "$TMP/a.vhd"
	host=$(stat -c %b "$TMP/a.vhd")
	expect_status 0 "$VHDIMG" zero --gaps $option "$TMP/a.vhd"
	from_vhd "$TMP/a.vhd"
	whole_disk_is_good
	refuses has_old_contents "$TMP/a.vhd"
done

say "a dirty filesystem is left alone and named, the rest is done"
cp --sparse=always "$TMP/all.raw" "$TMP/disk.raw"
crash_one() {
	cp "$TMP/garbage" "$1/not synced"
	sync -f "$1"
	rm "$1/not synced"
	fill "$1/keep/one more" 100000 more
	sync "$1/keep/one more"
	cp --sparse=always "$TMP/part" "$TMP/crashed"
}
for number in 1 2 3; do
	get_part $number "$TMP/part"
	in_loop_mount "$TMP/part" "" crash_one
	put_part $number "$TMP/crashed"
	cp --sparse=always "$TMP/crashed" "$TMP/crashed$number"
done
get_part 4 "$TMP/part"
printf '\x00' | dd of="$TMP/part" bs=1 seek=$(($(od -An -tu2 -j14 -N2 "$TMP/part") * 512 + 3)) conv=notrunc status=none
put_part 4 "$TMP/part"
to_vhd "$TMP/a.vhd"
cp "$TMP/a.vhd" "$TMP/dirty.vhd"
expect_status 4 "$VHDIMG" zero --output=json "$TMP/a.vhd"
expect_equal "$(jq -c '[.status, [.skipped[] | .number]]' "$TMP/out")" '["skipped",[1,2,3,4]]'
jq -e '[.skipped[].reason | startswith("unclean: ")] | all' "$TMP/out" >/dev/null || fail "$(cat "$TMP/out")"
for number in 1 2 3 4; do
	grep -Eq "left alone: partition $number \([a-z0-9]+\) is unclean: " "$TMP/err" || fail "$(cat "$TMP/err")"
done
from_vhd "$TMP/a.vhd"
for number in 1 2 3; do
	get_part $number "$TMP/part"
	cmp "$TMP/part" "$TMP/crashed$number" || fail "an unclean partition was touched"
done
for number in 5 6 7; do
	free_is_zero $number
done
expect_status 0 "$VHDIMG" zero --only=5 "$TMP/a.vhd"
expect_status 4 "$VHDIMG" zero -q --only=1,5 "$TMP/a.vhd"
test -s "$TMP/err" || fail "-q says nothing of what is unclean"

say "where a system sleeps the whole disk is left alone"
cp --sparse=always "$TMP/all.raw" "$TMP/disk.raw"
part_of 7
printf 'S1SUSPEND\0' | dd of="$TMP/disk.raw" bs=1 seek=$((START * M + 4086)) conv=notrunc status=none
to_vhd "$TMP/a.vhd"
before=$(sha "$TMP/a.vhd")
expect_status 4 "$VHDIMG" zero "$TMP/a.vhd"
grep -q "the whole disk is left alone: partition 7 (swap) is hibernated" "$TMP/err" || fail "$(cat "$TMP/err")"
grep -q "nothing freed" <<<"$(tail -1 "$TMP/out")" || fail "$(cat "$TMP/out")"
expect_status 4 "$VHDIMG" zero --ignore=swap "$TMP/a.vhd"
expect_equal "$(sha "$TMP/a.vhd")" "$before" "the disk of a system that sleeps was touched"
expect_status 0 "$VHDIMG" info --output=json "$TMP/a.vhd"
expect_equal "$(jq -c '[.partitions[6].filesystem.state, ."reclaimable-bytes"]' "$TMP/out")" '["hibernated",0]'

say "what info tells of the inside"
expect_status 0 "$VHDIMG" info --output=json "$TMP/dirty.vhd"
expect_equal "$(jq -c '[.partitions[].filesystem | [.type, .state]]' "$TMP/out")" \
	'[["ext4","unclean"],["xfs","unclean"],["btrfs","unclean"],["fat16","unclean"],["exfat","clean"],["ntfs","clean"],["swap","clean"]]'
expect_status 0 "$VHDIMG" info --output=json "$TMP/all.vhd"
expect_equal "$(jq -c '[.partitions[] | [.number, .start, .length]]' "$TMP/out")" \
	"$(sfdisk --json "$TMP/all.raw" | jq -c '[.partitiontable.partitions[] | [(.node | capture("(?<n>[0-9]+)$").n | tonumber), .start * 512, .size * 512]]')"
jq -e '.partitions | all(.filesystem.used + .filesystem.free == .length)' "$TMP/out" >/dev/null || fail "used and free"
reclaimable=$(jq '."reclaimable-bytes"' "$TMP/out")
cp "$TMP/all.vhd" "$TMP/a.vhd"
expect_status 0 "$VHDIMG" zero -n --output=json "$TMP/a.vhd"
freed=$(($(jq '."blocks-before" - ."blocks-after"' "$TMP/out") * 2 * M))
test "$reclaimable" -gt $((20 * M)) && test "$reclaimable" -le "$freed" ||
	fail "reclaimable: $reclaimable of $freed"

say "what refuses, and leaves the image as it is"
before=$(sha "$TMP/a.vhd")
hold_with_qemu "$TMP/a.vhd"
expect_status 75 "$VHDIMG" zero "$TMP/a.vhd"
expect_said "a.vhd" "in use"
let_go
mkdir "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
expect_status 75 "$VHDIMG" zero "$TMP/a.vhd"
umount_vhd "$TMP/mnt"
python3 - "$TMP/a.vhd" <<-'END'
	import sys
	f = open(sys.argv[1], "r+b")
	data = f.read()
	footer = bytearray(data[-512:])
	footer[84] = 1
	footer[64:68] = bytes(4)
	footer[64:68] = (~sum(footer) & 0xffffffff).to_bytes(4, "big")
	f.seek(0)
	f.write(footer)
	f.seek(len(data) - 512)
	f.write(footer)
END
for option in "" -n; do
	expect_status 75 "$VHDIMG" zero $option "$TMP/a.vhd"
	expect_said "saved state"
done
expect_status 66 "$VHDIMG" zero "$TMP/nothing.vhd"
qemu-img create -q -f qcow2 "$TMP/a.qcow2" 1M
expect_status 65 "$VHDIMG" zero "$TMP/a.qcow2"
expect_said "qcow2"
expect_status 64 "$VHDIMG" zero --frobnicate "$TMP/a.vhd"
cp "$TMP/all.vhd" "$TMP/a.vhd"
chmod 444 "$TMP/a.vhd"
if test "$(id -u)" = 0; then
	chmod 755 "$TMP"
	expect_status 77 setpriv --reuid=65534 --regid=65534 --clear-groups "$VHDIMG" zero "$TMP/a.vhd"
else
	expect_status 77 "$VHDIMG" zero "$TMP/a.vhd"
fi
expect_status 0 "$VHDIMG" zero -n "$TMP/a.vhd"
expect_equal "$(sha "$TMP/a.vhd")" "$before" "a refused image was changed"
chmod 644 "$TMP/a.vhd"

say "a parent is refused unless forced, and keeps its time"
corpus=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
test -d "$corpus" || skip "no corpus of images at $corpus"
CORPUS=$corpus
mkdir "$TMP/chain"
corpus_image govhd-win8 "$TMP/chain/win8.vhd"
corpus_image govhd-win8-child "$TMP/chain/child.vhd"
touch -d '2012-01-02 03:04:05' "$TMP/chain/win8.vhd"
before=$(sha "$TMP/chain/win8.vhd")
expect_status 75 "$VHDIMG" zero "$TMP/chain/win8.vhd"
expect_said "win8.vhd" "child.vhd" "force"
expect_equal "$(sha "$TMP/chain/win8.vhd")" "$before"
expect_status 0 "$VHDIMG" zero --force "$TMP/chain/win8.vhd"
expect_equal "$(stat -c %Y "$TMP/chain/win8.vhd")" "$(date -d '2012-01-02 03:04:05' +%s)" "the parent's time"

say "a fixed image keeps its length, and gives the host its room"
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on "$TMP/all.raw" "$TMP/fixed.vhd"
cp --sparse=never "$TMP/fixed.vhd" "$TMP/a.vhd"
zero_image "$TMP/a.vhd"
expect_equal "$STATUS" 0
expect_equal "$(stat -c %s "$TMP/a.vhd")" "$(stat -c %s "$TMP/fixed.vhd")"
from_vhd "$TMP/a.vhd"
whole_disk_is_good

say "without privileges, and several at once"
cp "$TMP/all.vhd" "$TMP/a.vhd"
cp "$TMP/all.vhd" "$TMP/b.vhd"
if test "$(id -u)" = 0; then
	chown 65534 "$TMP/a.vhd" "$TMP/b.vhd"
	set -- setpriv --reuid=65534 --regid=65534 --clear-groups
fi
expect_status 66 "$@" "$VHDIMG" zero --output=json "$TMP/a.vhd" "$TMP/nothing.vhd" "$TMP/b.vhd"
expect_equal "$(jq -c '[.[].status]' "$TMP/out")" '["done","done"]'
same "$TMP/a.vhd" "$TMP/b.vhd"

say "stopped in the middle, it keeps what was gained and goes on from there"
expect_stopped TERM 'cp "$TMP/all.vhd" "$TMP/a.vhd"' "$VHDIMG" zero --write "$TMP/a.vhd"
expect_said 'a\.vhd: stopped; running it again goes on from there'
check_image "$TMP/a.vhd" 3
expect_status 0 "$VHDIMG" zero "$TMP/a.vhd"
from_vhd "$TMP/a.vhd"
whole_disk_is_good
