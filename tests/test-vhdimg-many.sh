#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Several images: one after the other and at once, with what is said whole and in order, a total, JSON
# as an array; a failure of one stops no other; signals reach all; --min-gain leaves alone what is not
# worth it.
. "$(dirname "$0")/support/lib.sh"

requires jq openssl python3
requires_fuse
mkdir "$TMP/mnt" "$TMP/w"
cd "$TMP/w"
M=$((1 << 20))

# make NAME FULL ZERO: an image with so many MiB of data, and so many of written zeros.
make() {
	make_image "$1" 512M
	mount_vhd "$1" "$TMP/mnt" detect_zeroes=off
	fill noise $(($2 * M)) "$1"
	dd if=noise of="$DISK" bs=1M conv=notrunc status=none
	dd if=/dev/zero of="$DISK" bs=1M count="$3" seek="$2" conv=notrunc status=none
	umount_vhd "$TMP/mnt"
}
make a.vhd 16 8
make b.vhd 30 2
make c.vhd 6 40
for image in a b c; do
	cp $image.vhd $image.kept
done
again() {
	for image in a b c; do
		cp $image.kept $image.vhd
	done
}
sizes() {
	stat -c %s a.vhd b.vhd c.vhd | paste -sd' '
}

say "a line each in the order given, and a total"
expect_status 0 "$VHDIMG" compact -n a.vhd b.vhd c.vhd
cp "$TMP/out" in-turn
expect_equal "$(sed 's/:.*//' in-turn | paste -sd' ')" "a.vhd b.vhd c.vhd 3 images"
grep -Eq '^3 images: .* MiB -> .* MiB, .* MiB would be freed$' in-turn || fail "$(cat in-turn)"
expect_status 0 "$VHDIMG" compact -n -j 3 a.vhd b.vhd c.vhd
same <(sed 's/, 0:.*//' "$TMP/out") <(sed 's/, 0:.*//' in-turn)
expect_status 0 "$VHDIMG" compact a.vhd b.vhd c.vhd
want=$(sizes)
again
expect_status 0 "$VHDIMG" compact -j2 a.vhd b.vhd c.vhd
expect_equal "$(sizes)" "$want"
for image in a b c; do
	check_image $image.vhd
done
expect_status 0 "$VHDIMG" compact -q a.vhd b.vhd
test ! -s "$TMP/out" || fail "-q said: $(cat "$TMP/out")"
expect_status 0 "$VHDIMG" compact a.vhd
expect_equal "$(wc -l <"$TMP/out")" 1 "lines for one image"

say "JSON is one array"
for jobs in 1 3; do
	expect_status 0 "$VHDIMG" info -j $jobs --output=json a.vhd b.vhd c.vhd
	expect_equal "$(jq -r '.[].filename' "$TMP/out" | paste -sd' ')" "a.vhd b.vhd c.vhd"
	expect_status 66 "$VHDIMG" check -j $jobs --output=json a.vhd none.vhd c.vhd
	expect_equal "$(jq -r '.[].filename' "$TMP/out" | paste -sd' ')" "a.vhd c.vhd"
	expect_status 66 "$VHDIMG" check -j $jobs --output=json none.vhd none.vhd
	expect_equal "$(jq length "$TMP/out")" 0
done

say "a picture is of both"
"$VHDIMG" map --output=svg a.vhd b.vhd >want.svg
same <("$VHDIMG" map -j 2 --output=svg a.vhd b.vhd) want.svg

say "what is wrong with one stops no other, and counts"
head -c 1M /dev/zero >broken.vhd
mount_vhd b.vhd "$TMP/mnt"
for jobs in 1 4; do
	again
	expect_status 65 "$VHDIMG" compact -j $jobs a.vhd broken.vhd none.vhd b.vhd c.vhd
	expect_equal "$(wc -l <"$TMP/err")" 3 "sentences"
	for image in broken none b; do
		grep -q "^vhdimg: $image\.vhd: " "$TMP/err" || fail "$image: $(cat "$TMP/err")"
	done
	grep -Eq '^2 images: .*, 3 failed$' "$TMP/out" || fail "$(cat "$TMP/out")"
	test "$(stat -c %s c.vhd)" -lt "$(stat -c %s c.kept)" || fail "the last one was not served"
done
umount_vhd "$TMP/mnt"
cp b.kept b.vhd

say "--min-gain: what gains less is left alone"
again
expect_status 0 "$VHDIMG" compact --min-gain=20 a.vhd b.vhd c.vhd
same b.vhd b.kept
grep -Eq '^b\.vhd: .* left alone: 2\.0 MiB to be gained are less than 20 %$' "$TMP/out" ||
	fail "$(cat "$TMP/out")"
for image in a c; do
	test "$(stat -c %s $image.vhd)" -lt "$(stat -c %s $image.kept)" || fail "$image was left alone"
done
again
expect_status 0 "$VHDIMG" shrink --min-gain=5 --output=json b.vhd
expect_equal "$(jq -r .status "$TMP/out")" "done"
again
expect_status 0 "$VHDIMG" shrink --min-gain=90 --output=json c.vhd
expect_equal "$(jq -r .status "$TMP/out")" skipped
same c.vhd c.kept
expect_status 0 "$VHDIMG" shrink -n a.vhd
sed 's/, 0:.*//' "$TMP/out" >want
expect_status 0 "$VHDIMG" shrink -n --min-gain=5 a.vhd
same <(sed 's/, 0:.*//' "$TMP/out") want
expect_status 0 "$VHDIMG" compact --min-gain=90 --output-file=copy.vhd c.vhd
test ! -e copy.vhd || fail "a copy was made"
for wrong in 0 101 x; do
	expect_status 64 "$VHDIMG" compact --min-gain=$wrong a.vhd
	expect_status 64 "$VHDIMG" compact -j $wrong a.vhd b.vhd
done
expect_status 64 "$VHDIMG" compact -p -j 2 a.vhd b.vhd

say "a signal stops all, at a consistent point, and nothing is begun after it"
for jobs in 1 2; do
	for signal in TERM INT; do
		expect_stopped $signal again "$VHDIMG" compact -j $jobs a.vhd b.vhd c.vhd
		for image in a b c; do
			check_image $image.vhd 3
		done
	done
	! grep -v 'stopped; running it again goes on from there$' "$TMP/err" ||
		fail "said of an end by a signal: $(cat "$TMP/err")"
done

say "an image and its parent, and one image twice: locks decide"
"$VHDIMG" create -q --parent=a.vhd child.vhd
again
expect_status 0 "$VHDIMG" check -j 2 a.vhd child.vhd a.vhd
