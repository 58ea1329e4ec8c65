#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg compact and shrink with --output-file: the copy is what was told, and reads as the image
# does; the image is not touched; whatever goes wrong leaves nothing behind.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img mkfs.ext4 e2fsck debugfs openssl
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
M=$((1 << 20))
mkdir "$TMP/to"
out=$TMP/to/copy.vhd

vhd() {
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" "$@"
}

# leaves_nothing: neither under its name nor under another.
leaves_nothing() {
	test -z "$(ls -A "$TMP/to")" || fail "left behind: $(ls -A "$TMP/to")"
}

# copies VERB IMAGE [OPTION...]: to $out, as told before; the image is as it was, to its time.
copies() {
	local verb=$1 image=$2 size before
	shift 2
	rm -f "$out"
	before=$(sha "$image")$(stat -c ' %Y %s' "$image")
	expect_status 0 "$VHDIMG" "$verb" -n --output=json --output-file="$out" "$@" "$image"
	size=$(jq '."file-size-after"' "$TMP/out")
	leaves_nothing
	expect_status 0 "$VHDIMG" "$verb" --output=json --output-file="$out" "$@" "$image"
	expect_equal "$(jq -c '[."file-size-after", .status, ."output-file"]' "$TMP/out")" \
		"[$size,\"done\",\"$out\"]"
	expect_equal "$(stat -c %s "$out")" "$size" "the size, and what the dry run said"
	expect_equal "$(sha "$image")$(stat -c ' %Y %s' "$image")" "$before" "the image was touched"
	check_image "$out"
}

say "an image of ours: the copy is what compacting leaves"
make_image "$TMP/a.vhd" 64M
fill "$TMP/noise" $((20 * M)) output
mkdir "$TMP/mnt"
if (requires_fuse); then
	mount_vhd "$TMP/a.vhd" "$TMP/mnt"
	dd if="$TMP/noise" of="$DISK" bs=1M seek=10 conv=notrunc status=none
	dd if=/dev/zero of="$DISK" bs=1M seek=12 count=11 conv=notrunc status=none
	umount_vhd "$TMP/mnt"
fi
copies compact "$TMP/a.vhd"
expect_equal "$(vhd sha "$out")" "$(vhd sha "$TMP/a.vhd")" "the contents"
cp "$TMP/a.vhd" "$TMP/b.vhd"
"$VHDIMG" compact -q "$TMP/b.vhd"
expect_equal "$(stat -c %s "$out")" "$(stat -c %s "$TMP/b.vhd")" "the size in place"
expect_equal "$("$VHDIMG" info --output=json "$out" | jq -c '[.uuid, .creator, .created]')" \
	"$("$VHDIMG" info --output=json "$TMP/a.vhd" | jq -c '[.uuid, .creator, .created]')"
expect_equal "$(qemu-img compare -f vpc -F vpc "$TMP/a.vhd" "$out")" "Images are identical."
test $(($(stat -c '%b * 512' "$out"))) -lt "$(stat -c %s "$out")" || fail "no holes in the copy"

say "--no-holes"
copies compact "$TMP/a.vhd" --no-holes
test $(($(stat -c '%b * 512' "$out"))) -ge "$(stat -c %s "$out")" || fail "holes in the copy"
expect_equal "$(vhd sha "$out")" "$(vhd sha "$TMP/a.vhd")" "the contents"

say "shrink: what a filesystem does not use is left out"
truncate -s 60M "$TMP/fs"
mkfs.ext4 -q -F "$TMP/fs"
head -c $((12 * M)) "$TMP/noise" >"$TMP/file"
debugfs -w -R "write $TMP/file kept" "$TMP/fs" >/dev/null 2>&1
debugfs -w -R "write $TMP/file gone" "$TMP/fs" >/dev/null 2>&1
debugfs -w -R "rm gone" "$TMP/fs" >/dev/null 2>&1
qemu-img convert -f raw -O vpc -o force_size=on "$TMP/fs" "$TMP/fs.vhd"
copies shrink "$TMP/fs.vhd"
qemu-img convert -f vpc -O raw "$out" "$TMP/fs.out"
e2fsck -fn "$TMP/fs.out" >"$TMP/fsck" 2>&1 || fail "not clean: $(cat "$TMP/fsck")"
debugfs -R "dump kept $TMP/kept" "$TMP/fs.out" >/dev/null 2>&1
same "$TMP/kept" "$TMP/file"
test "$(stat -c %s "$out")" -lt $(($(stat -c %s "$TMP/fs.vhd") - 8 * M)) || fail "nothing was left out"

corpus=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
if (CORPUS=$corpus requires_corpus); then
	CORPUS=$corpus
	say "the corpus, each image's copy"
	done=0
	for file in "$CORPUS"/*.vhd.xz; do
		name=${file##*/}
		corpus_image "${name%.vhd.xz}" "$TMP/c.vhd"
		grep -q '"type": "dynamic"' <<<"$("$VHDIMG" info --output=json "$TMP/c.vhd" 2>/dev/null)" || continue
		(vhd sha "$TMP/c.vhd" >"$TMP/was") 2>/dev/null || continue
		"$VHDIMG" compact -q -n "$TMP/c.vhd" 2>/dev/null || continue
		copies compact "$TMP/c.vhd"
		expect_equal "$(vhd sha "$out")" "$(cat "$TMP/was")" "$name: the contents"
		done=$((done + 1))
	done
	test "$done" -ge 10 || fail "only $done images of the corpus were copied"
fi
rm -f "$out"

say "it never replaces a file, and says what it cannot make"
: >"$out"
for options in "" -n; do
	# shellcheck disable=SC2086
	expect_status 73 "$VHDIMG" compact $options --output-file="$out" "$TMP/a.vhd"
	expect_said 'copy\.vhd: .*exists'
	test ! -s "$out" || fail "a file was replaced"
done
rm "$out"
ln -s nowhere "$out"
expect_status 73 "$VHDIMG" compact --output-file="$out" "$TMP/a.vhd"
rm "$out"
expect_status 73 "$VHDIMG" compact --output-file="$TMP/to/no/copy.vhd" "$TMP/a.vhd"
expect_said 'no/copy\.vhd: '
expect_status 73 "$VHDIMG" compact --output-file="$TMP/a.vhd" "$TMP/a.vhd"
expect_status 64 "$VHDIMG" compact --output-file="$out" "$TMP/a.vhd" "$TMP/b.vhd"
expect_status 64 "$VHDIMG" compact --output-file="$out" --max-time=5 "$TMP/a.vhd"
expect_status 64 "$VHDIMG" zero --output-file="$out" "$TMP/a.vhd"
make_image "$TMP/fixed.vhd" 4M --type=fixed
expect_status 69 "$VHDIMG" compact --output-file="$out" "$TMP/fixed.vhd"
expect_status 66 "$VHDIMG" compact --output-file="$out" "$TMP/none.vhd"
head -c 4096 "$TMP/noise" >"$TMP/junk.vhd"
expect_status 65 "$VHDIMG" compact --output-file="$out" "$TMP/junk.vhd"
leaves_nothing

say "an image that may only be read"
chmod 444 "$TMP/a.vhd"
copies compact "$TMP/a.vhd"
rm "$out"
chmod 644 "$TMP/a.vhd"

say "a host without room: status 6, and nothing is left"
if test "$(id -u)" = 0; then
	mount -t tmpfs -o size=4M none "$TMP/to"
	cleanup "umount '$TMP/to'"
	expect_status 6 "$VHDIMG" compact --output-file="$out" "$TMP/a.vhd"
	expect_said 'copy\.vhd: .*No space'
	leaves_nothing
	umount "$TMP/to"
fi

say "stopped by a signal, it leaves nothing"
truncate -s 200M "$TMP/large"
fill "$TMP/large" $((200 * M)) large
qemu-img convert -f raw -O vpc -o force_size=on "$TMP/large" "$TMP/large.vhd"
for signal in INT TERM; do
	expect_stopped "$signal" 'rm -f "$out"' "$VHDIMG" compact --output-file="$out" "$TMP/large.vhd"
	expect_said 'large\.vhd: stopped; .*copy\.vhd was not written'
	leaves_nothing
done

say "kill -9 leaves nothing under the name"
for ((tries = 0; tries < 5; tries++)); do
	timeout -s KILL "0.0$((tries + 3))" "$VHDIMG" compact -q --output-file="$out" "$TMP/large.vhd" || true
	test ! -e "$out" || check_image "$out"
	rm -f "$out"
done
