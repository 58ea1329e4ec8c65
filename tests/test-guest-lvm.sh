#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Physical volumes of LVM2, made by its own tools without the kernel's device-mapper: free extents
# and the places of linear volumes are what the tools say, all that is free can be overwritten, and
# whatever is not plain stays used and is named.
. "$(dirname "$0")/support/lib.sh"

requires mkfs.ext4 e2fsck cmp

LVM=${LVM:-$(find_program tests/guest/lvm)}
PV=$TMP/pv.img

. "$top_srcdir/tests/support/lvm.sh"

# new_pv SIZE [PVCREATE OPTION...]: $PV, attached.
new_pv() {
	rm -f "$PV"
	truncate -s "$1" "$PV"
	attach "$PV"
	tool pvcreate -q "${@:2}" "$DEV"
}

# by_tools: free extents as "START LENGTH" in bytes of the volume; neighbours are one.
by_tools() {
	local base unit
	read -r base unit <<<"$(field pvs pe_start,vg_extent_size "$DEV")"
	field pvs pvseg_start,pvseg_size,segtype --segments "$DEV" | awk -v base="$base" -v unit="$unit" '
		$3 == "free" && $2 { if ($1 == end) len += $2
			else { if (len) print base + start * unit, len * unit; start = $1; len = $2 }
			end = $1 + $2 }
		END { if (len) print base + start * unit, len * unit }'
}

# agrees: what is free, and how much of it.
agrees() {
	local free count
	sync "$LOOP"
	"$LVM" "$PV" >"$TMP/said" || fail "refused: $(cat "$TMP/said")"
	read -r _ _ count free <"$TMP/said"
	expect_equal "$count $free" "$(field vgs vg_extent_count,vg_free_count)" "extents, and free ones"
	by_tools >"$TMP/tools"
	"$LVM" "$PV" free | diff - "$TMP/tools" >"$TMP/diff" || fail "free extents: $(cat "$TMP/diff")"
}

# lv_says NAME SIZE-IN-EXTENTS linear|other
lv_says() {
	local unit
	read -r _ unit _ <"$TMP/said"
	grep -Fqx "vg/$1 $(($2 * unit)) $3" "$TMP/said" || fail "not 'vg/$1 $2 $3': $(cat "$TMP/said")"
}

# is_refused STATE PATTERN
is_refused() {
	test -z "${LOOP-}" || ! losetup "$LOOP" >/dev/null 2>&1 || sync "$LOOP"
	! "$LVM" "$PV" >"$TMP/said" || fail "accepted, instead of $1 $2: $(cat "$TMP/said")"
	grep -Eq "^$1: .*$2" "$TMP/said" || fail "not '$1 $2': $(cat "$TMP/said")"
}

# write_lv NAME FILE: by the places that the tools tell.
write_lv() {
	local base unit start ranges first last
	read -r base unit <<<"$(field pvs pe_start,vg_extent_size "$DEV")"
	while read -r start ranges; do
		first=${ranges##*:} last=${first#*-} first=${first%-*}
		dd if="$2" of="$LOOP" bs=1M iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
			skip=$((start * unit)) seek=$((base + first * unit)) count=$(((last - first + 1) * unit))
	done < <(field lvs seg_start_pe,seg_pe_ranges --segments "vg/$1")
	sync "$LOOP"
}

# poke OFFSET BYTES: BYTES as printf has them.
poke() {
	printf '%b' "$2" | dd of="$PV" bs=1 seek="$1" conv=notrunc status=none
}

say "no volume group"
new_pv 64M
is_refused unsupported 'no volume group'
detach "$LOOP"
truncate -s 64M "$TMP/none"
expect_equal "$("$LVM" "$TMP/none" || true)" no

for options in '' '--metadatacopies 2' '--dataalignment 64k --dataalignmentoffset 7s' \
	'--bootloaderareasize 1m --metadatasize 3m' '--labelsector 3'; do
	say "volumes that come, grow and go; pvcreate ${options:-of the usual kind}"
	read -ra words <<<"$options"
	new_pv 100M "${words[@]}"
	tool vgcreate -q -s "$(test -n "$options" && echo 1m || echo 2m)" vg "$DEV"
	agrees
	new_lv a 10
	new_lv b 12
	agrees
	tool lvextend -q -l 15 vg/a
	new_lv c 3
	agrees
	lv_says a 15 linear
	tool lvremove -q -y vg/b
	new_lv d 20
	agrees
	lv_says d 20 linear
	expect_equal "$("$LVM" "$PV" segments vg/d | wc -l)" "$(field lvs seg_count vg/d)" "segments"
	expect_equal "$("$LVM" "$PV" segments vg/a | wc -l)" 2 "segments"

	truncate -s "$(field lvs lv_size vg/a)" "$TMP/a.img"
	mkdir -p "$TMP/tree"
	fill "$TMP/tree/file" 5000000 "$options"
	mkfs.ext4 -q -d "$TMP/tree" "$TMP/a.img"
	fill "$TMP/d.img" "$(field lvs lv_size vg/d)" d
	write_lv a "$TMP/a.img"
	write_lv d "$TMP/d.img"
	"$LVM" "$PV" read vg/a | cmp - "$TMP/a.img"
	"$LVM" "$PV" read vg/d | cmp - "$TMP/d.img"

	by_tools >"$TMP/before"
	field lvs lv_name,lv_size,seg_start_pe,seg_pe_ranges --segments >>"$TMP/before"
	"$LVM" "$PV" fill
	blockdev --flushbufs "$LOOP"
	by_tools >"$TMP/after"
	field lvs lv_name,lv_size,seg_start_pe,seg_pe_ranges --segments >>"$TMP/after"
	diff "$TMP/before" "$TMP/after" || fail "overwriting what is free changed the group"
	tool vgck vg
	case $options in *sector*) tool pvck --labelsector 3 "$DEV" ;; *) tool pvck "$DEV" ;; esac
	"$LVM" "$PV" read vg/d | cmp - "$TMP/d.img"
	"$LVM" "$PV" read vg/a >"$TMP/a2.img"
	same "$TMP/a.img" "$TMP/a2.img"
	e2fsck -fn "$TMP/a2.img" >"$TMP/fsck" 2>&1 || fail "e2fsck: $(cat "$TMP/fsck")"
	tool pvck --dump metadata "$DEV"
	case $options in *copies*) tool pvck --dump metadata --settings mda_num=2 "$DEV" ;; esac
	agrees
	detach "$LOOP"
done

say "volumes that take all there is"
new_pv 64M
tool vgcreate -q vg "$DEV"
new_lv all 100%FREE
agrees
expect_equal "$("$LVM" "$PV" free | wc -l)" 0
lv_says all 15 linear
detach "$LOOP"

say "a text that goes on at its area's start"
new_pv 64M --metadatasize 60k --dataalignment 64k
tool vgcreate -q -s 1m vg "$DEV"
new_lv a 9
goes_around() {
	sync "$LOOP"
	python3 - "$PV" <<-'END'
		import struct, sys
		f = open(sys.argv[1], "rb"); f.seek(4096 + 32)
		size, off, len = struct.unpack("<QQQ", f.read(24)); sys.exit(not off + len > size)
	END
}
for ((i = 0; i < 40; i++)); do
	! goes_around || break
	tags=()
	for ((k = 0; k < 8; k++)); do
		tags+=(--addtag "$(printf '%0100d' $((8 * i + k)))")
	done
	tool vgchange -q "${tags[@]}" vg
done
goes_around || fail "the text never reached the end of its area"
agrees
"$LVM" "$PV" fuzz 1 300 >"$TMP/fuzz" || fail "fuzz: $(cat "$TMP/fuzz")"
detach "$LOOP"

# Groups that the device-mapper would be needed to make are written by hand, from a plain one, and
# LVM's tools have to accept them. A line "-NAME" takes a volume out of the plain one.
new_pv 64M
tool vgcreate -q -s 1m vg "$DEV"
new_lv lv 8
new_lv other 8
tool vgcfgbackup -q -f "$TMP/plain.vg" vg

# restore EXTRA...: the plain group with these logical volumes added; see add_to_group.
restore() {
	add_to_group "$TMP/plain.vg" "$TMP/new.vg" "$@"
	tool vgcfgrestore -q --force -y -f "$TMP/new.vg" vg
	agrees
}

say "a snapshot, and what it is of"
hide='' restore "$(lv snapshot0 "$hidden" 'extent_count = 8
	type = "snapshot"
	chunk_size = 8
	origin = "lv"
	cow_store = "other"')"
lv_says lv 8 other
lv_says other 8 other

say "a thin pool"
hide='lv=pool_tdata other=pool_tmeta' restore "$(lv pool "$hidden" 'extent_count = 8
	type = "thin-pool"
	metadata = "pool_tmeta"
	pool = "pool_tdata"
	transaction_id = 1
	chunk_size = 128
	discards = "passdown"
	zero_new_blocks = 1')" "$(lv thin "$all" 'extent_count = 30
	type = "thin"
	thin_pool = "pool"
	transaction_id = 0
	device_id = 1')"
lv_says pool_tdata 8 other
lv_says thin 30 other
lv_says pool 8 other

say "a mirror"
hide='lv=mirror_mimage_0 other=mirror_mimage_1' restore "$(lv mirror "$all" 'extent_count = 8
	type = "mirror"
	mirror_count = 2
	region_size = 1024
	mirrors = [
		"mirror_mimage_0", 0,
		"mirror_mimage_1", 0
	]')"
lv_says mirror 8 other
lv_says mirror_mimage_0 8 other

say "a RAID"
hide='lv=raid_rimage_0 other=raid_rimage_1' restore "$(lv raid_rmeta_0 "$hidden" 'extent_count = 1
	type = "striped"
	stripe_count = 1
	stripes = [ "pv0", 20 ]')" "$(lv raid_rmeta_1 "$hidden" 'extent_count = 1
	type = "striped"
	stripe_count = 1
	stripes = [ "pv0", 21 ]')" "$(lv raid "$all" 'extent_count = 8
	type = "raid1"
	device_count = 2
	region_size = 1024
	raids = [
		"raid_rmeta_0", "raid_rimage_0",
		"raid_rmeta_1", "raid_rimage_1"
	]')"
lv_says raid 8 other
lv_says raid_rmeta_0 1 other

say "extents that are being moved, and stripes on one volume"
hide='' restore "$(lv pvmove0 '"READ", "WRITE", "PVMOVE"' 'extent_count = 4
	type = "mirror"
	mirror_count = 2
	region_size = 1024
	extents_moved = 0
	mirrors = [
		"pv0", 30,
		"pv0", 40
	]')" "$(lv striped "$all" 'extent_count = 6
	type = "striped"
	stripe_count = 2
	stripe_size = 128
	stripes = [
		"pv0", 50,
		"pv0", 55
	]')" "$(lv moving "$all" 'extent_count = 4
	type = "striped"
	stripe_count = 1
	stripes = [ "pvmove0", 0 ]')"
lv_says striped 6 other
lv_says moving 4 other
lv_says pvmove0 4 other
lv_says lv 8 linear
"$LVM" "$PV" fuzz 2 3000 >"$TMP/fuzz" || fail "fuzz: $(cat "$TMP/fuzz")"
awk '{ n += $2; k += $2 > 100 } END { exit n != 3000 || k < 3 }' "$TMP/fuzz" || fail "fuzz: $(cat "$TMP/fuzz")"

say "volumes that are not wholly understood"
hide='' restore "$(lv error "$all" 'extent_count = 3
	type = "error"')" "$(lv zero "$all" 'extent_count = 3
	type = "zero"')"
lv_says zero 3 other
tool vgcfgrestore -q --force -y -f "$TMP/plain.vg" vg
agrees
lv_says lv 8 linear
detach "$LOOP"
cp "$PV" "$TMP/plain.img"

# edit FROM TO: in the metadata's text, of the same length, its checksums made right again.
edit() {
	cp "$TMP/plain.img" "$PV"
	python3 - "$PV" "$@" <<-'END'
		import re, struct, sys, zlib
		crc = lambda b: zlib.crc32(b, 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff
		with open(sys.argv[1], "r+b") as f:
		    f.seek(4096); head = bytearray(f.read(512)); off, len_ = struct.unpack_from("<QQ", head, 40)
		    f.seek(4096 + off); text = f.read(len_).decode()
		    new = text.replace(sys.argv[2], sys.argv[3].ljust(len(sys.argv[2])), 1)
		    assert new != text and len(new) == len(text), text
		    new = new.encode(); f.seek(4096 + off); f.write(new)
		    struct.pack_into("<I", head, 56, crc(new)); struct.pack_into("<I", head, 0, crc(head[4:]))
		    f.seek(4096); f.write(head)
	END
}

say "metadata that contradicts itself or the disk"
edit 'extent_count = 8' 'extent_count = 9'
is_refused damaged 'two logical volumes have the same extent'
edit 'pe_count = 63' 'pe_count = 64'
is_refused damaged 'more extents than there is room for'
edit '"pv0", 8' '"pv0",60'
is_refused damaged 'extents that there are not'
edit 'pe_start = 2048' 'pe_start = 1'
is_refused damaged 'over its metadata'
edit 'start_extent = 0' 'start_extent = 1'
is_refused unsupported 'order of segments'
edit 'segment_count = 1' 'segment_count = 2'
is_refused unsupported 'number of segments'
edit 'format = "lvm2"' 'format = "lvm3"'
is_refused unsupported 'the format'
edit 'flags = []' 'flags="X"'
is_refused unsupported 'a flag'
edit '"RESIZEABLE"' '"CLUSTERED"'
is_refused unsupported 'a flag'
edit '["ALLOCATABLE"]' '["ALLOCATABLY"]'
is_refused unsupported 'a flag'
edit 'max_pv = 0' 'max_pv = ]'
is_refused unsupported 'the metadata'
edit 'max_pv = 0' '} vh {'
is_refused unsupported 'the metadata'
edit $'max_lv = 0\nmax_pv = 0' 'a = ["pv0", 60]'
is_refused unsupported 'a list of extents'
edit $'max_lv = 0\nmax_pv = 0' 'lock_type = "dlm"'
is_refused unsupported 'shared with other machines'
uuid=$(sed -n '/pv0 {/,/}/s/.*id = "\(.\).*/\1/p' "$TMP/plain.vg" | head -1)
edit $'pv0 {\nid = "'"$uuid" $'pv0 {\nid = "-'
is_refused damaged 'another physical volume'
edit '"VISIBLE"' ''
"$LVM" "$PV" >"$TMP/said"
lv_says lv 8 other
edit '"WRITE", "VISIBLE"' '"VISIBLE", "NEW"'
"$LVM" "$PV" >"$TMP/said"
lv_says lv 8 other

say "wrong checksums"
broken() {
	cp "$TMP/plain.img" "$PV"
	poke "$1" "$2"
	is_refused "$3" "$4"
}
broken $((512 + 40)) '\x01' damaged "label's checksum"
broken $((512 + 300)) '\x01' damaged "label's checksum"
broken $((512 + 8)) '\x02' damaged "label's checksum"
broken $((4096 + 300)) '\x01' damaged "area's header"
broken $((4096 + 4)) '\x01' damaged "area's header"
text=$(od -A n -t u8 -j $((4096 + 40)) -N 8 "$TMP/plain.img")
broken $((4096 + text + 5)) '\x01' damaged "metadata's checksum"
cp "$TMP/plain.img" "$PV"
truncate -s 32M "$PV"
is_refused damaged 'more extents than there is room for'
truncate -s 100k "$PV"
is_refused damaged 'metadata area lies outside'

# A text that was written, and of which it was not yet said that it counts.
cp "$TMP/plain.img" "$PV"
python3 - "$PV" <<'END'
import struct, sys, zlib
with open(sys.argv[1], "r+b") as f:
    f.seek(4096); head = bytearray(f.read(512)); head[64:88] = head[40:64]
    struct.pack_into("<I", head, 0, zlib.crc32(head[4:], 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff)
    f.seek(4096); f.write(head)
END
is_refused unclean 'cut short'

say "two copies that are not the same, and none"
new_pv 64M --metadatacopies 2
tool vgcreate -q vg "$DEV"
agrees
detach "$LOOP"
cp "$PV" "$TMP/old.img"
attach "$PV"
new_lv a 3
detach "$LOOP"
"$LVM" "$PV" >/dev/null || fail "two copies"
dd if="$TMP/old.img" of="$PV" bs=1M count=1 conv=notrunc status=none
is_refused damaged 'copies of its metadata are not the same'
new_pv 64M --metadatacopies 0
is_refused unsupported 'no metadata of its own'
detach "$LOOP"

say "more than one physical volume"
truncate -s 64M "$TMP/second.img"
attach "$TMP/second.img"
second=$LOOP second_dev=$DEV
new_pv 64M
tool vgcreate -q vg "$DEV" "$second_dev"
new_lv a 20
is_refused unsupported 'more physical volumes than this one'
"$LVM" "$PV" fuzz 3 500 >"$TMP/fuzz" || fail "fuzz: $(cat "$TMP/fuzz")"
detach "$LOOP"
is_refused unsupported 'more physical volumes than this one'
detach "$second"

# --- on a disk: what vhdimg zero makes of it ------------------------------------------------------

. "$top_srcdir/tests/support/guest.sh"
requires sfdisk debugfs jq mkswap

say "a disk with a group, whose volumes are in pieces"
new_pv 64M
tool vgcreate -q -s 1m vg "$DEV"
new_lv root 16
new_lv swap 8
tool lvextend -q -l 24 vg/root
new_lv last 2
"$LVM" "$PV" fill
fill "$TMP/root.img" $((24 << 20)) root
mkfs.ext4 -q -F -E nodiscard -d "$TMP/tree" "$TMP/root.img"
fill "$TMP/swap.img" $((8 << 20)) swap
mkswap "$TMP/swap.img" >/dev/null 2>&1
fill "$TMP/last.img" $((2 << 20)) last
write_lv root "$TMP/root.img"
write_lv swap "$TMP/swap.img"
write_lv last "$TMP/last.img"
agrees
detach "$LOOP"

# new_disk: with what is in $PV as its partition. part: $PV as it is on the disk.
new_disk() {
	rm -f "$TMP/disk.img"
	truncate -s 66M "$TMP/disk.img"
	printf 'label: dos\nstart=2048, size=131072, type=8e\n' | sfdisk -q "$TMP/disk.img"
	dd if="$PV" of="$TMP/disk.img" bs=1M seek=1 conv=notrunc status=none
}
part() {
	dd if="$TMP/disk.img" of="$PV" bs=1M skip=1 count=64 status=none
	"$LVM" "$PV" >"$TMP/said" || fail "the group is broken: $(cat "$TMP/said")"
}
# is_zero LIST: of the volume.
is_zero() {
	local start len
	while read -r start len; do
		cmp -n "$len" "$PV" /dev/zero -i "$start:0" || return 1
	done <"$1"
}

cp "$PV" "$TMP/dirty.img"
new_disk
zero_image "$TMP/disk.img"
expect_equal "$STATUS" 0 "$(cat "$TMP/err")"
part
"$LVM" "$PV" free >"$TMP/free"
is_zero "$TMP/free" || fail "a free extent is not zero"
for lv in root swap; do
	"$LVM" "$PV" read vg/$lv >"$TMP/$lv.new"
done
"$LVM" "$PV" read vg/last | cmp - "$TMP/last.img"
e2fsck -fn "$TMP/root.new" >"$TMP/fsck" 2>&1 || fail "e2fsck: $(cat "$TMP/fsck")"
debugfs -R 'cat /file' "$TMP/root.new" 2>"$TMP/debugfs" | cmp - "$TMP/tree/file"
swaplabel "$TMP/swap.new" >/dev/null
"$FREEMAP" swap "$TMP/swap.new" zeros >/dev/null || fail "the swap space is not zero"
is_clean ext "$TMP/root.new"
expect_equal "$("$FREEMAP" ext "$TMP/root.new" zeros | wc -l)" 1 "lines about what is not zero"

say "one filesystem is unclean: the group may be half-way through a change"
cp "$TMP/root.img" "$TMP/unclean.img"
debugfs -w -R 'feature needs_recovery' "$TMP/unclean.img" >/dev/null 2>&1
cp "$TMP/dirty.img" "$PV"
attach "$PV"
write_lv root "$TMP/unclean.img"
detach "$LOOP"
new_disk
zero_image "$TMP/disk.img"
expect_equal "$STATUS" 4 "$(cat "$TMP/err")"
part
! is_zero "$TMP/free" 2>/dev/null || fail "the group's free room was taken"
"$LVM" "$PV" read vg/root | cmp - "$TMP/unclean.img"
"$LVM" "$PV" read vg/swap >"$TMP/swap.new"
"$FREEMAP" swap "$TMP/swap.new" zeros >/dev/null || fail "the swap space is not zero"

say "a system sleeps in one: nothing is touched"
cp "$TMP/dirty.img" "$PV"
printf 'S1SUSPEND\0' | dd of="$TMP/swap.img" bs=1 seek=4086 conv=notrunc status=none
attach "$PV"
write_lv swap "$TMP/swap.img"
detach "$LOOP"
new_disk
before=$(sha "$TMP/disk.img")
! "$VHDIMG" zero "$TMP/disk.img" >"$TMP/out" 2>"$TMP/err" || fail "a sleeping disk is zeroed"
grep -q 'is hibernated' "$TMP/err" || fail "$(cat "$TMP/err")"
expect_equal "$(sha "$TMP/disk.img")" "$before" "the disk"
