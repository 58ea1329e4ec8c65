#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# -o partitions shows linear logical volumes as files, where LVM's own tools say that they lie, and
# says which it does not show. They are coherent with the partitions and the disk.
. "$(dirname "$0")/support/lib.sh"

requires_fuse
. "$top_srcdir/tests/support/lvm.sh"
requires findmnt flock openssl sfdisk mkfs.ext4 e2fsck cmp

M=$((1 << 20))
mkdir "$TMP/mnt" "$TMP/in"
LV=$TMP/mnt/lv

# mount_lvs [OPTIONS]: what is said is in $TMP/err.
mount_lvs() {
	expect_status 0 "$VHDFUSE" "$TMP/a.vhd" "$TMP/mnt" -o "partitions${1:+,$1}"
	cleanup "umount_lazy '$TMP/mnt'"
}
# new_pv FILE: attached as a physical volume.
new_pv() {
	attach "$TMP/mnt/$1"
	tool pvcreate -q "$DEV"
}
# new_disk SCRIPT: an image with these partitions, mounted.
new_disk() {
	rm -f "$TMP/a.vhd"
	make_image "$TMP/a.vhd" 256M
	mount_vhd "$TMP/a.vhd" "$TMP/mnt"
	printf '%b' "$1" | sfdisk -q "$TMP/mnt/disk.raw" >"$TMP/sfdisk" 2>&1 || fail "$(cat "$TMP/sfdisk")"
	umount_vhd "$TMP/mnt"
	mount_lvs
}
shown() {
	(cd "$LV" && find . -type f -printf '%P %s\n') | sort | tr '\n' ' '
}
said_of() {
	grep -Fq -- "$1" "$TMP/err" || fail "'$1' was not said: $(cat "$TMP/err")"
}

say "what reads filesystems is not in the driver"
if command -v nm >/dev/null && nm "$VHDFUSE" 2>/dev/null | grep ' T lvm_read_part$' >/dev/null; then
	refuses grep -E ' (veto_ask|scan_everything|fs_(ext|ntfs|fat|exfat|xfs|btrfs|swap))$' <(nm "$VHDFUSE")
	nm "$top_builddir/tools/vhdimg" | grep ' T scan_everything$' >/dev/null || fail "this check sees nothing"
fi

say "two volumes, one of them in two segments"
new_disk 'label: dos\n1M,64M,8e\n66M,64M,8e\n131M,64M,8e\n'
expect_equal "$(cat "$TMP/err")" ""
refuses test -e "$LV"
new_pv p1
tool vgcreate -q -s 1m vg "$DEV"
new_lv root 16
new_lv other 8
tool lvextend -q -l 24 vg/root
fill "$TMP/root.img" $((24 * M)) root
# By the places that LVM tells.
read -r base unit <<<"$(field pvs pe_start,vg_extent_size "$DEV")"
field lvs seg_start_pe,seg_pe_ranges --segments vg/root >"$TMP/segments"
expect_equal "$(wc -l <"$TMP/segments")" 2
while read -r start ranges; do
	first=${ranges##*:} last=${first#*-} first=${first%-*}
	dd if="$TMP/root.img" of="$LOOP" bs=1M iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
		skip=$((start * unit)) seek=$((base + first * unit)) count=$(((last - first + 1) * unit))
done <"$TMP/segments"
detach "$LOOP"
umount_vhd "$TMP/mnt"
mount_lvs
expect_equal "$(cat "$TMP/err")" ""
expect_equal "$(ls "$TMP/mnt")" "$(printf 'disk.raw\nlv\np1\np2\np3')"
expect_equal "$(shown)" "vg/other $((8 * M)) vg/root $((24 * M)) "
expect_equal "$(cd "$TMP/mnt" && find . -printf '%y %n %P\n' | sort | tr '\n' ,)" \
	"d 2 lv/vg,d 3 ,d 3 lv,f 1 disk.raw,f 1 lv/vg/other,f 1 lv/vg/root,f 1 p1,f 1 p2,f 1 p3,"
expect_equal "$(find "$TMP/mnt" -printf '%i\n' | sort | uniq -d)" ""
expect_equal "$(ls -ia "$LV/vg/.." | awk '$2 == "vg" { print $1 }')" "$(stat -c %i "$LV/vg")"
refuses stat "$LV/root"
refuses stat "$LV/vg/root/x"
refuses touch "$LV/vg/new"
refuses head -c 1 "$LV/vg"
same "$LV/vg/root" "$TMP/root.img"

say "over the segments' border: writes, holes, zeros, what is data; and nothing past the end"
cp "$TMP/root.img" "$TMP/want"
fill "$TMP/noise" $((2 * M)) noise
for file in "$LV/vg/root" "$TMP/want"; do
	dd if="$TMP/noise" of="$file" bs=64k oflag=seek_bytes seek=$((15 * M + 12345)) conv=notrunc status=none
done
same "$LV/vg/root" "$TMP/want"
expect_status 1 dd if="$TMP/noise" of="$LV/vg/root" bs=1M seek=24 count=1 conv=notrunc
for file in "$LV/vg/root" "$TMP/want"; do
	fallocate -p -o $((13 * M)) -l $((7 * M)) "$file"
	fallocate -z -o $((22 * M + 512)) -l 5000 "$file"
done
same "$LV/vg/root" "$TMP/want"
# The second segment begins 8 MiB later on the disk, where other is: that is untouched.
cmp -n $((8 * M)) "$LV/vg/other" /dev/zero
expect_equal "$(python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
hole = os.lseek(f, 0, os.SEEK_HOLE)
print(hole >> 20, os.lseek(f, hole, os.SEEK_DATA) >> 20, os.lseek(f, 20 << 20, os.SEEK_HOLE) >> 20)' "$LV/vg/root")" "14 20 24"	# whole blocks of the image
test "$(stat -c %b "$LV/vg/root")" -le $((18 * M / 512)) || fail "holes are counted"

say "a filesystem on one, through a loop device; busy against what it overlaps"
mkfs.ext4 -q -F "$LV/vg/root"
loop_attach "$LV/vg/root"
mount "$LOOP" "$TMP/in"
cleanup "umount '$TMP/in'"
expect_status 1 head -c 1 "$TMP/mnt/p1"
expect_said busy
dd if="$TMP/noise" of="$LV/vg/other" bs=1M conv=notrunc status=none
dd if="$TMP/noise" of="$TMP/mnt/p2" bs=1M seek=8 conv=notrunc status=none
fill "$TMP/in/a file" $((9 * M)) file
cp "$TMP/in/a file" "$TMP/a file"
umount "$TMP/in"
loop_detach "$LOOP"
e2fsck -fn "$LV/vg/root" >"$TMP/fsck" 2>&1 || fail "$(cat "$TMP/fsck")"
exec 6<"$TMP/mnt/disk.raw"
expect_status 1 dd if="$TMP/noise" of="$LV/vg/root" count=1 conv=notrunc
expect_status 0 head -c 1 "$LV/vg/root"
exec 6<&-

say "what is written through p1 is read through the volume, and the other way round"
dd if="$TMP/noise" of="$LV/vg/other" bs=4096 count=1 seek=3 conv=notrunc status=none
cmp -n 4096 "$TMP/noise" "$TMP/mnt/p1" -i 0:$((M + 16 * M + 3 * 4096))
dd if="$TMP/noise" of="$TMP/mnt/p1" bs=4096 skip=9 count=1 seek=$(((M + 16 * M) / 4096 + 3)) conv=notrunc status=none
cmp -n 4096 "$TMP/noise" "$LV/vg/other" -i $((9 * 4096)):$((3 * 4096))
umount_vhd "$TMP/mnt"
check_image "$TMP/a.vhd" 3

say "again, read-only, by one thread"
"$VHDFUSE" -s "$TMP/a.vhd" "$TMP/mnt" -o partitions,ro
cleanup "umount_lazy '$TMP/mnt'"
refuses dd if="$TMP/noise" of="$LV/vg/root" count=1 conv=notrunc
loop_attach "$LV/vg/root" --read-only
mount -o ro "$LOOP" "$TMP/in"
same "$TMP/in/a file" "$TMP/a file"
umount "$TMP/in"
loop_detach "$LOOP"
umount_vhd "$TMP/mnt"

say "one that is read-only for LVM; a group of the same name in another partition"
mount_lvs
new_pv p2
tool vgcreate -q -s 1m vg "$DEV"
new_lv root 5
tool lvchange -q -pr vg/root
detach "$LOOP"
umount_vhd "$TMP/mnt"
mount_lvs
expect_equal "$(shown)" "vg@p1/other $((8 * M)) vg@p1/root $((24 * M)) vg@p2/root $((5 * M)) "
expect_equal "$(stat -c %a "$LV/vg@p2/root" "$LV/vg@p1/root" | tr '\n' ' ')" "400 600 "
expect_status 1 dd if="$TMP/noise" of="$LV/vg@p2/root" count=1 conv=notrunc
grep -q "Read-only" "$TMP/err" || fail "$(cat "$TMP/err")"
head -c 1 "$LV/vg@p2/root" >"$TMP/out"

say "a group over two partitions"
dd if=/dev/zero of="$TMP/mnt/p2" bs=1M count=1 conv=notrunc status=none
attach "$TMP/mnt/p2"
second=$LOOP second_dev=$DEV
tool pvcreate -q "$DEV"
new_pv p3
tool vgcreate -q -s 1m two "$second_dev" "$DEV"
new_lv near 10 two
new_lv wide 80 two
detach "$LOOP"
detach "$second"
umount_vhd "$TMP/mnt"
mount_lvs
expect_equal "$(cat "$TMP/err")" ""
expect_equal "$(shown)" "two/near $((10 * M)) two/wide $((80 * M)) vg/other $((8 * M)) vg/root $((24 * M)) "
fill "$TMP/wide.img" $((80 * M)) wide
dd if="$TMP/wide.img" of="$LV/two/wide" bs=1M conv=notrunc status=none
exec 6<>"$LV/two/wide"
for file in p2 p3; do	# each is waited for a second
	expect_status 1 head -c 1 "$TMP/mnt/$file"
	expect_said busy
done
head -c 1 "$TMP/mnt/p1" >"$TMP/out"
exec 6<&-
umount_vhd "$TMP/mnt"
mount_lvs ro
same "$TMP/wide.img" "$LV/two/wide"
for n in 2 3; do
	cmp -s -n $((20 * M)) "$TMP/mnt/p$n" /dev/zero && fail "nothing of it is on p$n"
done
umount_vhd "$TMP/mnt"

say "a partition that was copied over the other: each half twice is no whole"
cp --sparse=always "$TMP/a.vhd" "$TMP/copy.vhd"
mount_lvs
attach "$TMP/mnt/p2"
second=$LOOP second_dev=$DEV
attach "$TMP/mnt/p3"
tool lvremove -q -y two/wide
tool lvcreate -q -an -Zn -Wn -n even -l 10 two "$second_dev"
tool lvextend -q -l 20 two/even "$DEV"
detach "$LOOP"
detach "$second"
umount_vhd "$TMP/mnt"
mount_lvs
expect_equal "$(shown)" "two/even $((20 * M)) two/near $((10 * M)) vg/other $((8 * M)) vg/root $((24 * M)) "
dd if="$TMP/mnt/p2" of="$TMP/mnt/p3" bs=1M conv=notrunc 2>"$TMP/dd" || fail "$(cat "$TMP/dd")"
umount_vhd "$TMP/mnt"
mount_lvs
expect_said "no file for the logical volumes (two/even, two/near|two/near, two/even): in this image more than once"
expect_equal "$(shown)" "vg/other $((8 * M)) vg/root $((24 * M)) "
umount_vhd "$TMP/mnt"
mv "$TMP/copy.vhd" "$TMP/a.vhd"

say "half of it, and halves of two times"
mount_vhd "$TMP/a.vhd" "$TMP/mnt" partitions
cp --sparse=always "$TMP/mnt/p3" "$TMP/p3.img"
dd if=/dev/zero of="$TMP/mnt/p3" bs=64k count=1 conv=notrunc status=none
umount_vhd "$TMP/mnt"
mount_lvs
expect_said "a.vhd: .*two/wide: not all in this image"
expect_equal "$(shown)" "two/near $((10 * M)) vg/other $((8 * M)) vg/root $((24 * M)) "
# The same group, but of another time.
dd if="$TMP/p3.img" of="$TMP/mnt/p3" bs=1M count=1 conv=notrunc status=none
attach "$TMP/mnt/p2"
second=$LOOP
attach "$TMP/mnt/p3"
tool lvremove -q -y two/near
detach "$LOOP"
detach "$second"
dd if="$TMP/p3.img" of="$TMP/mnt/p3" bs=1M count=1 conv=notrunc status=none
umount_vhd "$TMP/mnt"
mount_lvs
said_of "on p2, a physical volume of LVM: the copies of its group's metadata are not the same"
said_of "on p3, a physical volume of LVM: the copies"
expect_equal "$(wc -l <"$TMP/err")" 2
expect_equal "$(shown)" "vg/other $((8 * M)) vg/root $((24 * M)) "
umount_vhd "$TMP/mnt"

say "the whole disk as a physical volume; what is not linear has no file, and it is said once"
rm "$TMP/a.vhd"
make_image "$TMP/a.vhd" 64M
mount_lvs
new_pv disk.raw
tool vgcreate -q -s 1m vg "$DEV"
new_lv plain-1 6
new_lv lv 8
new_lv other 8
for n in 2 3 4 5 6 7 8; do
	new_lv plain-$n 1
done
tool vgcfgbackup -q -f "$TMP/plain.vg" vg
hide='lv=pool_tdata other=pool_tmeta' add_to_group "$TMP/plain.vg" "$TMP/new.vg" \
	"$(lv pool "$hidden" 'extent_count = 8
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
	device_id = 1')" "$(lv striped "$all" 'extent_count = 6
	type = "striped"
	stripe_count = 2
	stripe_size = 128
	stripes = [
		"pv0", 40,
		"pv0", 50
	]')"
tool vgcfgrestore -q --force -y -f "$TMP/new.vg" vg
detach "$LOOP"
umount_vhd "$TMP/mnt"
mount_lvs
expect_said "a.vhd: no file for the logical volumes (vg/striped, vg/thin|vg/thin, vg/striped): not linear"
expect_equal "$(ls "$LV/vg" | tr '\n' ' ')" "$(printf 'plain-%d ' {1..8})"
expect_equal "$(ls "$TMP/mnt")" "$(printf 'disk.raw\nlv')"
umount_vhd "$TMP/mnt"

say "names that are to lead elsewhere"
# In the text, of the same length, with its checksums made right again.
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
evil=(../../x '.      ' '..     ' $'a\x01b\x1b\x7fmm' 'a/b/c/d' '-rf    ' 'a@p7   ')
python3 - "$DISK" "${evil[@]}" <<-'END'
	import struct, sys, zlib
	crc = lambda b: zlib.crc32(b, 0xf597a6cf ^ 0xffffffff) ^ 0xffffffff
	with open(sys.argv[1], "r+b") as f:
	    f.seek(4096); head = bytearray(f.read(512)); off, len_ = struct.unpack_from("<QQ", head, 40)
	    f.seek(4096 + off); text = f.read(len_).decode()
	    for i, name in enumerate(sys.argv[2:]):
	        assert "plain-%d {" % (i + 2) in text, text
	        text = text.replace("plain-%d {" % (i + 2), name + " {")
	    new = text.encode(); f.seek(4096 + off); f.write(new)
	    assert len(new) == len_
	    struct.pack_into("<I", head, 56, crc(new)); struct.pack_into("<I", head, 0, crc(head[4:]))
	    f.seek(4096); f.write(head)
END
umount_vhd "$TMP/mnt"
mount_lvs
for name in vg/../../x vg/. vg/.. 'vg/a\?b\?\?mm' vg/a/b/c/d vg/-rf vg/a@p7; do
	grep -Eq "no file for the logical volumes .*$name(,.*)?: a name that LVM does not give$" "$TMP/err" ||
		fail "$name: $(cat "$TMP/err")"
done
refuses grep -q '[^ -~]' "$TMP/err"
expect_equal "$(shown)" "vg/plain-1 $((6 * M)) "
expect_equal "$(find "$TMP/mnt" | wc -l)" 5
umount_vhd "$TMP/mnt"

say "metadata that is damaged: a sentence, and the disk is there"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
printf x | dd of="$DISK" bs=1 seek=4100 conv=notrunc status=none
umount_vhd "$TMP/mnt"
mount_lvs
expect_said "disk.raw, a physical volume of LVM: its metadata area's header is wrong"
expect_equal "$(ls "$TMP/mnt")" disk.raw
umount_vhd "$TMP/mnt"
