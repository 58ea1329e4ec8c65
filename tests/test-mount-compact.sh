#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# -o compact: the image is compacted when it is unmounted, by umount and by SIGTERM; whoever waits gets
# the status; what cannot be compacted is refused at the mount.
. "$(dirname "$0")/support/lib.sh"

requires jq openssl findmnt flock python3 qemu-img
requires_fuse

MiB=$((1 << 20))
mkdir "$TMP/mnt"
fill "$TMP/noise" $((20 * MiB)) compact

# A disk of 64 MiB, 20 MiB of noise on it; then 12 MiB of that are zeros, and allocated all the same.
make_image "$TMP/new.vhd" 64M
mount_vhd "$TMP/new.vhd" "$TMP/mnt"
dd if="$TMP/noise" of="$DISK" bs=1M seek=10 conv=notrunc status=none
dd if=/dev/zero of="$DISK" bs=1M seek=12 count=12 conv=notrunc status=none
umount_vhd "$TMP/mnt"
contents=$(qemu-img convert -f vpc -O raw "$TMP/new.vhd" "$TMP/new.raw" && sha "$TMP/new.raw")

# predicted IMAGE: what compacting would make of it.
predicted() {
	"$VHDIMG" compact -n --output=json "$1" | jq '."file-size-after"'
}
size=$(predicted "$TMP/new.vhd")
test "$size" -lt $(($(stat -c %s "$TMP/new.vhd") - 11 * MiB)) || fail "nothing to be gained: $size"

# is_compacted IMAGE [SIZE]
is_compacted() {
	expect_equal "$(stat -c %s "$1")" "${2:-$size}" "the size of $1"
	check_image "$1"
	qemu-img convert -f vpc -O raw "$1" "$TMP/a.raw"
	expect_equal "$(sha "$TMP/a.raw")" "$contents" "the contents of $1"
}

# mounted [OPTIONS]: a copy of the image, with descriptor 8 on the driver's last word.
mounted() {
	cp "$TMP/new.vhd" "$TMP/a.vhd"
	mount_vhd "$TMP/a.vhd" "$TMP/mnt" "${1:-compact}"
	exec 8<"$(status_file_of "$TMP/mnt")"
}
# ended STATUS: by itself, whatever made it.
ended() {
	flock -s -w 30 8 || fail "the driver does not end"
	STATUS=$(sed -n 's/^status=//p' <&8)
	exec 8<&-
	wait_gone 10 "$DAEMON" || fail "the driver does not end"
	test -z "${1:-}" || expect_equal "$STATUS" "$1" "the driver's last status"
}

say "umount waits for it"
mounted
expect_status 0 "$VHDIMG" umount "$TMP/mnt"
is_compacted "$TMP/a.vhd"
exec 8<&-

say "not unless it is wanted"
mounted rw
expect_status 0 "$VHDIMG" umount "$TMP/mnt"
is_compacted "$TMP/a.vhd" "$(stat -c %s "$TMP/new.vhd")"
exec 8<&-

say "what was written last and not flushed is in it"
make_image "$TMP/b.vhd" 64M
mount_vhd "$TMP/b.vhd" "$TMP/mnt" "compact,commit=1000"
dd if="$TMP/noise" of="$DISK" bs=1M seek=10 conv=notrunc status=none
dd if=/dev/zero of="$DISK" bs=1M seek=12 count=12 conv=notrunc status=none
umount_vhd "$TMP/mnt" 0
is_compacted "$TMP/b.vhd"

say "in the foreground, too"
cp "$TMP/new.vhd" "$TMP/a.vhd"
"$VHDFUSE" -f "$TMP/a.vhd" "$TMP/mnt" -o compact 2>"$TMP/err" &
DAEMON=$!
cleanup_process "$DAEMON"
cleanup "umount_lazy '$TMP/mnt'"
wait_for 20 test -e "$TMP/mnt/disk.raw" || fail "no mount: $(cat "$TMP/err")"
expect_status 0 "$VHDIMG" umount "$TMP/mnt"
wait "$DAEMON" || fail "status $?"
is_compacted "$TMP/a.vhd"

say "SIGTERM"
mounted
kill "$DAEMON"
ended 0
is_compacted "$TMP/a.vhd"

say "whoever does not wait for those who hold the disk does not wait for this"
mounted
exec 6<"$DISK"
kill "$DAEMON"
wait_for 10 is_unmounted "$TMP/mnt" || fail "still mounted"
kill "$DAEMON"
ended 143
exec 6<&-
is_compacted "$TMP/a.vhd" "$(stat -c %s "$TMP/new.vhd")"
mounted compact,term_timeout=0
exec 6<"$DISK"
kill "$DAEMON"
ended 143
exec 6<&-
is_compacted "$TMP/a.vhd" "$(stat -c %s "$TMP/new.vhd")"

# The signal must come when the mount has ended and the work has not: tried until it does.
say "a signal while it compacts stops it, and the image is sound"
make_image "$TMP/large.vhd" 400M
mount_vhd "$TMP/large.vhd" "$TMP/mnt" detect_zeroes=off
dd if=/dev/zero of="$DISK" bs=4M count=100 conv=notrunc status=none
umount_vhd "$TMP/mnt"
large=$(predicted "$TMP/large.vhd")
for signal in INT TERM; do
	for ((tries = 0; tries < 100; tries++)); do
		mount_vhd "$TMP/large.vhd" "$TMP/mnt" compact
		exec 8<"$(status_file_of "$TMP/mnt")"
		fusermount3 -u "$TMP/mnt"
		sleep "0.0$((tries % 10))"
		kill -s "$signal" "$DAEMON" 2>/dev/null || true
		ended
		check_image "$TMP/large.vhd" 3
		test "$STATUS" = 0 || break
		expect_equal "$(stat -c %s "$TMP/large.vhd")" "$large" "compacted by one that was not stopped"
		mount_vhd "$TMP/large.vhd" "$TMP/mnt" detect_zeroes=off
		dd if=/dev/zero of="$DISK" bs=4M count=100 conv=notrunc status=none
		umount_vhd "$TMP/mnt"
	done
	case $signal in INT) want=130 ;; *) want=143 ;; esac
	expect_equal "$STATUS" "$want" "never stopped by SIG$signal"
done

say "what cannot be compacted is refused, and not touched"
refused() {
	local status=$1 words=$2 image=$3 before
	before=$(sha "$image")
	shift 3
	expect_status "$status" "$VHDFUSE" "$image" "$TMP/mnt" "$@"
	expect_said "$words"
	refuses is_mounted "$TMP/mnt"
	expect_equal "$(sha "$image")" "$before" "a refused image was changed"
}
refused 1 'new\.vhd: .*compact.* read-only' "$TMP/new.vhd" -o ro,compact
refused 1 'new\.vhd: .*compact.* read-only' "$TMP/new.vhd" -r -o compact
make_image "$TMP/fixed.vhd" 10M --type=fixed
refused 32 'fixed\.vhd: .*compact.* fixed' "$TMP/fixed.vhd" -o compact
mount_vhd "$TMP/fixed.vhd" "$TMP/mnt"
umount_vhd "$TMP/mnt"
cp "$TMP/new.vhd" "$TMP/saved.vhd"
python3 - "$TMP/saved.vhd" <<-'END'
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
refused 32 'saved\.vhd: .*saved state' "$TMP/saved.vhd" -o compact
if test "$(id -u)" != 0; then
	chmod 444 "$TMP/saved.vhd"
	refused 32 'saved\.vhd' "$TMP/saved.vhd" -o compact
fi

corpus=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
if test -d "$corpus"; then
	say "a parent keeps its time"
	CORPUS=$corpus
	mkdir "$TMP/chain"
	corpus_image govhd-win8 "$TMP/chain/win8.vhd"
	corpus_image govhd-win8-child "$TMP/chain/child.vhd"
	mount_vhd "$TMP/chain/win8.vhd" "$TMP/mnt" detect_zeroes=off
	dd if=/dev/zero of="$DISK" bs=1M count=4 conv=notrunc status=none
	umount_vhd "$TMP/mnt"
	touch -d '2012-01-02 03:04:05' "$TMP/chain/win8.vhd"
	chain=$(predicted "$TMP/chain/win8.vhd")
	test "$chain" -lt "$(stat -c %s "$TMP/chain/win8.vhd")" || fail "nothing to be gained of the parent"
	mount_vhd "$TMP/chain/win8.vhd" "$TMP/mnt" compact
	umount_vhd "$TMP/mnt"
	expect_equal "$(stat -c %s "$TMP/chain/win8.vhd")" "$chain"
	expect_equal "$(stat -c %Y "$TMP/chain/win8.vhd")" "$(date -d '2012-01-02 03:04:05' +%s)" "the parent's time"
fi

if test "$(id -u)" = 0; then
	say "on a full host: 6, and the rest once there is room"
	mkdir "$TMP/host"
	mount -t tmpfs -o size=40M none "$TMP/host"
	cleanup "umount '$TMP/host'"
	make_image "$TMP/host/a.vhd" 64M
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt"
	dd if="$TMP/noise" of="$DISK" bs=1M seek=10 conv=notrunc status=none
	fallocate -p -o $((12 * MiB)) -l $((12 * MiB)) "$DISK"
	umount_vhd "$TMP/mnt"
	test "$(predicted "$TMP/host/a.vhd")" = "$size" || fail "not of the same size"
	head -c 60M /dev/zero >"$TMP/host/filler" 2>/dev/null || true
	expect_equal "$(stat -fc %f "$TMP/host")" 0 "room on the host"
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" compact
	expect_status 6 "$VHDIMG" umount "$TMP/mnt"
	expect_said "$TMP/mnt is unmounted" "status 6" "no space"
	cp "$TMP/host/a.vhd" "$TMP/a.vhd"
	check_image "$TMP/a.vhd" 3
	rm "$TMP/host/filler"
	mount_vhd "$TMP/host/a.vhd" "$TMP/mnt" compact
	expect_status 0 "$VHDIMG" umount "$TMP/mnt"
	is_compacted "$TMP/host/a.vhd"
fi
