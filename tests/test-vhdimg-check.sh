#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg check: the answer to every odd image of the corpus, its repair, and that a repair changes
# nothing that the disk reads as; foreign formats by their names; images in use.
. "$(dirname "$0")/support/lib.sh"

requires jq qemu-img qemu-io gzip
requires_corpus

IMAGE=$TMP/image.vhd

# check STATUS [OPTION...]: of $IMAGE, as JSON; sets COUNTS to "errors leaks repaired".
check() {
	local status=$1
	shift
	expect_status "$status" "$VHDIMG" check --output=json "$@" "$IMAGE"
	COUNTS=
	if test -s "$TMP/out"; then
		COUNTS=$(jq -r '"\(.errors) \(.leaks) \(.repaired)"' "$TMP/out")
		jq -e 'all(.problems[]; has("kind") and has("message"))' "$TMP/out" >/dev/null ||
			fail "problems: $(cat "$TMP/out")"
	fi
}

kinds() {
	jq -r '[.problems[].kind] | unique | join(" ")' "$TMP/out"
}

# damaged NAME: copies an image of the corpus to $IMAGE.
damaged() {
	say "$1"
	rm -f "$IMAGE"
	corpus_image "$1" "$IMAGE"
}

# raw_sum: of the whole disk, by the extents that our own map gives.
raw_sum() {
	local size start length offset
	"$VHDIMG" map -q --output=json "$IMAGE" >"$TMP/map"
	size=$(jq '.[-1] | .start + .length' "$TMP/map")
	rm -f "$TMP/raw"
	truncate -s "$size" "$TMP/raw"
	jq -r '.[] | select(.data) | "\(.start) \(.length) \(.offset)"' "$TMP/map" |
		while read -r start length offset; do
			dd if="$IMAGE" of="$TMP/raw" bs=64K iflag=skip_bytes,count_bytes \
				oflag=seek_bytes skip="$offset" seek="$start" count="$length" \
				conv=notrunc status=none
		done
	sha "$TMP/raw"
}

# mends KIND: $IMAGE has that and nothing else, it is waste only, --repair mends it, and the disk
# reads as before.
mends() {
	local sum
	sum=$(raw_sum)
	check 3
	expect_equal "$COUNTS" "0 1 0"
	expect_equal "$(kinds)" "$1"
	cp "$IMAGE" "$TMP/before"
	check 3
	cmp -s "$IMAGE" "$TMP/before" || fail "a check without --repair changed the image"
	check 0 --repair
	expect_equal "$COUNTS" "0 0 1"
	expect_equal "$(jq -c '[.problems[].repaired]' "$TMP/out")" "[true]"
	check 0
	expect_equal "$COUNTS" "0 0 0"
	expect_equal "$(raw_sum)" "$sum" "the disk after the repair"
}

# --- what the corpus' README says of its odd images ---------------------------------------------

corpus_image govhd-win8 "$TMP/win8.vhd"	# the parent of one of them
for name in m01-bitmap-zeroed-block m18-bat-padding-zero m20-block-512K m22-block-16M \
	m23-block-1M-exact-bitmap m25-block-4M govhd-win8-child qemu-hyperv2012r2-dynamic; do
	damaged $name
	check 0
	expect_equal "$COUNTS" "0 0 0"
done

damaged m03-no-trailing-footer
mends trailing-footer-missing
qemu-img check -q -f vpc "$IMAGE" 2>/dev/null || test $? = 63 || fail "qemu refuses the repaired one"
expect_equal "$(tail -c 512 "$IMAGE" | sha256sum)" "$(head -c 512 "$IMAGE" | sha256sum)" footers

damaged m15-dynamic-512-bytes-after-footer
mends trailing-footer-missing
expect_equal "$(tail -c 512 "$IMAGE" | sha256sum)" "$(head -c 512 "$IMAGE" | sha256sum)" footers

damaged m10-leading-cur8M-trailing-cur10M
mends footers-differ
expect_equal "$(tail -c 512 "$IMAGE" | sha256sum)" "$(head -c 512 "$IMAGE" | sha256sum)" footers
expect_equal "$("$VHDIMG" info --output=json "$IMAGE" | jq '."virtual-size"')" 10485760

damaged m14-fixed-512-bytes-after-footer
mends bytes-after-footer
expect_equal "$(stat -c %s "$IMAGE")" 10486272

damaged m07-fixed-footer511
mends trailing-footer-short
expect_equal "$(stat -c %s "$IMAGE")" 10486272

damaged m08-bat-beyond-eof
check 2
expect_equal "${COUNTS%% *}" 1
jq -e '.problems[] | select(.kind == "bat-entry-past-end") | .message | test("BAT entry 0 ")' \
	"$TMP/out" >/dev/null || fail "$(cat "$TMP/out")"
before=$(sha "$IMAGE")
check 2 --repair
expect_equal "$(jq .errors "$TMP/out")" 1
# What is not told to be given up is not.
expect_equal "$(dd if="$IMAGE" bs=1 skip=1536 count=4 status=none | od -An -tx1 | tr -d ' ')" 00ffff00
check 3 --repair=lossy
expect_equal "$(jq -c '[.errors, .repaired]' "$TMP/out")" "[0,1]"
expect_equal "$(dd if="$IMAGE" bs=1 skip=1536 count=4 status=none | od -An -tx1 | tr -d ' ')" ffffffff
# Room in the midst of the file is left to a compaction.
check 3
expect_equal "$(kinds)" leak
expect_status 0 "$VHDIMG" map "$IMAGE"
test "$before" != "$(sha "$IMAGE")" || fail "nothing was written"

# refused NAME PATTERN: 65, one sentence that names the field, and the image as it was.
refused() {
	damaged "$1"
	local before
	before=$(sha "$IMAGE")
	for option in "" --repair --repair=lossy; do
		# shellcheck disable=SC2086
		check 65 $option
		expect_said "image.vhd" "$2"
		expect_equal "$(wc -c <"$TMP/out")" 0
	done
	expect_equal "$(sha "$IMAGE")" "$before"
	expect_status 65 "$VHDIMG" info "$IMAGE"
	expect_said "image.vhd" "$2"
}
refused m11-bad-footer-checksum-both checksum
refused dfvfs-image checksum
refused dfvfs-image-differential checksum
refused m13-max-entries-too-small entries
refused m26-block-1.5M-not-pow2 "block size"

say qemu-afl5.img
xz -dc "$CORPUS/qemu-afl5.img.xz" >"$IMAGE"
check 65
expect_said image.vhd

# --- others ---------------------------------------------------------------------------------------

say "foreign formats"
for format in vhdx qcow2 vmdk gzip; do
	rm -f "$IMAGE"
	if test $format = gzip; then
		head -c 100000 /dev/zero | gzip >"$IMAGE"
	else
		qemu-img create -q -f $format "$IMAGE" 10M
	fi
	for option in "" --repair; do
		# shellcheck disable=SC2086
		check 65 $option
		expect_said image.vhd "${format^^}|$format"
	done
done
rm "$IMAGE"
check 66
expect_said image.vhd

say "leaked room at the end is given back"
make_image "$IMAGE" 20M
qemu-io -f vpc -c "write -P 5 0 2M" -c "write -P 6 4M 4M" "$IMAGE" >/dev/null
sum=$(raw_sum)
size=$(stat -c %s "$IMAGE")
tail -c 512 "$IMAGE" >"$TMP/footer"
{
	head -c -512 "$IMAGE"
	head -c $((6 << 20)) /dev/zero
	cat "$TMP/footer"
} >"$TMP/longer"
mv "$TMP/longer" "$IMAGE"
check 3
expect_equal "$(kinds)" leak
expect_equal "$(jq '.errors' "$TMP/out")" 0
check 0 --repair
check 0
test "$(stat -c %s "$IMAGE")" -le $((size + 4096)) || fail "$(stat -c %s "$IMAGE") is not cut"
expect_equal "$(raw_sum)" "$sum"

say "blocks over each other are damage that nothing mends"
entries=$((16#$(dd if="$IMAGE" bs=1 skip=528 count=8 status=none | od -An -tx1 | tr -d ' \n')))
first=$(dd if="$IMAGE" bs=1 skip=$entries count=4 status=none | od -An -tx1 | tr -d ' \n')
printf '%b' "$(sed 's/../\\x&/g' <<<"$first")" |
	dd of="$IMAGE" bs=1 seek=$((entries + 8)) conv=notrunc status=none
for option in "" --repair --repair=lossy; do
	# shellcheck disable=SC2086
	check 2 $option
	jq -e '.problems | any(.kind == "blocks-overlap" and (.repaired | not))' "$TMP/out" \
		>/dev/null || fail "$(cat "$TMP/out")"
done

say "several images: the worst counts, whatever the order"
make_image "$TMP/sound.vhd" 10M
corpus_image m03-no-trailing-footer "$TMP/waste.vhd"
corpus_image m08-bat-beyond-eof "$TMP/damaged.vhd"
worst() {
	local status=$1
	shift
	expect_status "$status" "$VHDIMG" check --output=json "$@"
	expect_equal "$(jq length "$TMP/out")" $#
}
worst 3 "$TMP/sound.vhd" "$TMP/waste.vhd"
worst 3 "$TMP/waste.vhd" "$TMP/sound.vhd"
worst 2 "$TMP/waste.vhd" "$TMP/damaged.vhd" "$TMP/sound.vhd"
expect_status 66 "$VHDIMG" check "$TMP/damaged.vhd" "$TMP/none.vhd" "$TMP/waste.vhd"

say "for people"
expect_status 0 "$VHDIMG" check "$TMP/sound.vhd"
expect_equal "$(cat "$TMP/out")" "$TMP/sound.vhd: no problem found"
expect_status 0 "$VHDIMG" check -q "$TMP/sound.vhd"
expect_equal "$(wc -c <"$TMP/out")" 0
expect_status 2 "$VHDIMG" check -q "$TMP/damaged.vhd"
expect_equal "$(grep -c '^error: ' "$TMP/out")" "$(wc -l <"$TMP/out")" "lines that are errors"
expect_status 2 "$VHDIMG" check "$TMP/damaged.vhd"
grep -Fqx "$TMP/damaged.vhd: errors 1, waste 1, repaired 0" "$TMP/out" || fail "$(cat "$TMP/out")"

say "an image in use"
hold_with_qemu "$TMP/sound.vhd"
expect_status 75 "$VHDIMG" check "$TMP/sound.vhd"
expect_said sound.vhd
expect_status 75 "$VHDIMG" check --repair "$TMP/sound.vhd"
# Sound is sound; damage may be the other program's work in progress.
expect_status 0 "$VHDIMG" check -U "$TMP/sound.vhd"
dd if=/dev/zero of="$TMP/sound.vhd" bs=1 seek=1539 count=1 conv=notrunc status=none
expect_status 75 "$VHDIMG" check -U --output=json "$TMP/sound.vhd"
expect_equal "$(jq .errors "$TMP/out")" 1
expect_said sound.vhd "advice only"
let_go
expect_status 2 "$VHDIMG" check -U "$TMP/sound.vhd"
