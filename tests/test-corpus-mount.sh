#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images that other programs made, through a mount: each reads as the corpus' manifest has it, what
# SEEK_DATA and SEEK_HOLE tell of the large ones included, chains too; a bad one is refused.
. "$(dirname "$0")/support/lib.sh"

requires python3 sha256sum tar
requires_fuse
# The interpreter itself: what is first in the PATH may be a slow script that looks for it.
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
requires_corpus

mkdir "$TMP/mnt" "$TMP/img"
# Bytes of disk that are read with all their zeros; what is larger, by its data.
whole_max=$((12 << 20))
test -z "${VHD_LONG:-}" || whole_max=$((1 << 30))

# data_sha FILE: as the corpus has it, but only SEEK_DATA's extents are read.
data_sha() {
	"$PYTHON" - "$1" <<'END'
import errno, hashlib, os, struct, sys

CHUNK = 65536
fd = os.open(sys.argv[1], os.O_RDONLY)
size = os.lseek(fd, 0, os.SEEK_END)
sha = hashlib.sha256()
off = done = 0
while off < size:
    try:
        start = os.lseek(fd, off, os.SEEK_DATA)
    except OSError as e:
        if e.errno != errno.ENXIO:
            raise
        break
    off = os.lseek(fd, start, os.SEEK_HOLE)
    done = max(done, start // CHUNK * CHUNK)
    while done < off:
        data = os.pread(fd, CHUNK, done)
        if data.strip(b"\0"):
            sha.update(struct.pack("<QQ", done, len(data)) + data)
        done += CHUNK
print(sha.hexdigest())
END
}

# unpack NAME FILE
unpack() {
	xz -dc "$CORPUS/$1.vhd.xz" >"$2"
}

# The words that the sentence about a bad image has in it; nothing for the good ones.
refusal() {
	case $1 in
	m08-*) echo "past the end|beyond" ;;
	m11-* | dfvfs-image.vhd | dfvfs-image-differential.vhd) echo checksum ;;
	m13-*) echo "max table entries" ;;
	m26-*) echo "block size" ;;
	qemu-afl5.img) echo "footer|header|table|checksum|size" ;;
	nodevhd-footer.bin) echo "current size" ;;
	nodevhd-header.bin) echo "block table" ;;
	esac
}

# compare_disk SIZE RAW_SHA DATA_SHA
compare_disk() {
	expect_equal "$(stat -c %s "$DISK")" "$1" "the size of $image"
	if test "${#2}" = 64 && { test "$1" -le "$whole_max" || test "${#3}" != 64; }; then
		expect_equal "$(sha "$DISK")" "$2" "raw_sha256 of $image"
	else
		expect_equal "$(data_sha "$DISK")" "$3" "data_sha256 of $image"
	fi
}

# Those whose like is there too: the engine's test has them all, and check-long mounts them all.
is_for_long() {
	test -z "${VHD_LONG:-}" || return 1
	case $1 in
	mkimg-63x255-* | mkimg-1x1-4096-[bev]* | mkimg-1x1-512-* | vhdforensic-* | govhd-qemu.* | \
		qemu-empty-1-* | qemu-empty-1M-* | qemu-empty-17M-* | qemu-empty-100M-* | \
		qemu-empty-12* | qemu-zero-* | qemu-2M-* | qemu-10M-* | qemu-unal-*) ;;
	*) false ;;
	esac
}

good=0
bad=0
left=0
column() {
	head -1 "$CORPUS/manifest.tsv" | tr '\t' '\n' | grep -nx "$1" | cut -d: -f1
}
cut -f "$(column name),$(column type),$(column virtual_size),$(column raw_sha256),$(
	column data_sha256)" --output-delimiter='|' "$CORPUS/manifest.tsv" | tail -n +2 >"$TMP/rows"

say "the images of the corpus"
while IFS='|' read -r image type size raw data; do
	if is_for_long "$image"; then
		left=$((left + 1))
		continue
	fi
	xz -dc "$CORPUS/$image.xz" >"$TMP/img/$image"
	words=$(refusal "$image")
	if test -n "$words"; then
		for option in ro rw; do
			expect_status 32 "$VHDFUSE" "$TMP/img/$image" "$TMP/mnt" -o $option
			expect_said "$image" "$words"
			refuses is_mounted "$TMP/mnt"
		done
		bad=$((bad + 1))
	else
		test "$type" != differencing || unpack govhd-win8 "$TMP/img/win8.vhd"
		if test "$image" = m14-fixed-512-bytes-after-footer.vhd; then
			size=10485760 # the manifest was written by one that cannot open it
			raw=95e481fb2c175dca12f64c5acb239f5362be4a3894405a5b41efe94a79e2f0b7
		fi
		mount_vhd "$TMP/img/$image" "$TMP/mnt" rw 2>"$TMP/err"
		test "$(wc -l <"$TMP/err")" -le 1 || fail "$image: said too much: $(cat "$TMP/err")"
		compare_disk "$size" "$raw" "$data"
		umount_vhd "$TMP/mnt"
		good=$((good + 1))
	fi
	rm "$TMP/img/$image"
done <"$TMP/rows"
say "$good mounted, $bad refused, $left left to check-long"
test $((good + left)) -ge 60 && test "$bad" -ge 8 || fail "the corpus is not whole"

say "what was odd is said, and mended by the first mount for writing"
for image in m03-no-trailing-footer m15-dynamic-512-bytes-after-footer \
	m10-leading-cur8M-trailing-cur10M; do
	unpack $image "$TMP/img/odd.vhd"
	mount_vhd "$TMP/img/odd.vhd" "$TMP/mnt" 2>"$TMP/err"
	expect_said "odd.vhd" "footer"
	umount_vhd "$TMP/mnt"
	mount_vhd "$TMP/img/odd.vhd" "$TMP/mnt" 2>"$TMP/err"
	test ! -s "$TMP/err" || fail "$image: still says $(cat "$TMP/err")"
	umount_vhd "$TMP/mnt"
	check_image "$TMP/img/odd.vhd"
done

say "and once, though what refuses the image is tried again for three seconds"
unpack m03-no-trailing-footer "$TMP/img/odd.vhd"
"$PYTHON" - "$TMP/img/odd.vhd" <<'END'
import sys
with open(sys.argv[1], "r+b") as image:
    footer = bytearray(image.read(512))
    footer[84] = 1  # a saved state
    footer[64:68] = bytes(4)
    footer[64:68] = (~sum(footer) & 0xffffffff).to_bytes(4, "big")
    image.seek(0)
    image.write(footer)
END
expect_status 32 "$VHDFUSE" "$TMP/img/odd.vhd" "$TMP/mnt"
expect_equal "$(grep -c "trailing footer is missing" "$TMP/err")" 1 "warnings"
expect_equal "$(grep -c "saved state" "$TMP/err")" 1 "refusals"

say "a child whose parent is not where it says"
unpack govhd-win8-child "$TMP/img/child.vhd"
mv "$TMP/img/win8.vhd" "$TMP/moved.vhd"
expect_status 32 "$VHDFUSE" "$TMP/img/child.vhd" "$TMP/mnt" -o ro
expect_said "win8.vhd"
mount_vhd "$TMP/img/child.vhd" "$TMP/mnt" "ro,parent=$TMP/moved.vhd"
expect_equal "$(sha "$DISK")" \
	80a3721188e40218b08b26776bc53bdae81e4784fff71d71450a197319cba113
umount_vhd "$TMP/mnt"

say "what only the parent has counts as blocks: tar takes a file without any for one hole"
mv "$TMP/moved.vhd" "$TMP/img/win8.vhd"
mount_vhd "$TMP/img/win8.vhd" "$TMP/mnt"
printf 'of the parent' | dd of="$DISK" bs=1M seek=7 conv=notrunc status=none
umount_vhd "$TMP/mnt"
mount_vhd "$TMP/img/child.vhd" "$TMP/mnt" ro 2>/dev/null
expect_equal "$(stat -c %b "$DISK")" $(((2 << 20) / 512)) "blocks of the child"
mkdir "$TMP/tar"
tar -C "$TMP/mnt" -cSf - disk.raw | tar -C "$TMP/tar" -xf -
same "$TMP/tar/disk.raw" "$DISK"
umount_vhd "$TMP/mnt"
unpack govhd-vbox "$TMP/img/win8.vhd"
expect_status 32 "$VHDFUSE" "$TMP/img/child.vhd" "$TMP/mnt" -o ro
expect_said "win8.vhd"
