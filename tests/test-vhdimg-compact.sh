#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg compact: what an image holds is the same afterwards, and its size what the dry run said, for
# images of every maker, block size and stride. VHD_SEED repeats the random ones.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
M=$((1 << 20))
seed=${VHD_SEED:-$RANDOM}
echo "seed=$seed"
rounds=8
test -z "${VHD_LONG:-}" || rounds=150

vhd() {
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" "$@"
}

# compacts IMAGE [OPTION...]: as told before, and with the same contents; then there is nothing more.
compacts() {
	local image=$1 before size blocks
	shift
	before=$(vhd sha "$image")
	cp --sparse=always "$image" "$TMP/before.vhd"
	expect_status 0 "$VHDIMG" compact -n --output=json "$@" "$image"
	cmp "$image" "$TMP/before.vhd" || fail "the dry run changed the image"
	size=$(jq '."file-size-after"' "$TMP/out")
	blocks=$(jq '."blocks-after"' "$TMP/out")
	expect_status 0 "$VHDIMG" compact --output=json "$@" "$image"
	expect_equal "$(jq -c '[."file-size-after", ."blocks-after", .status]' "$TMP/out")" "[$size,$blocks,\"done\"]"
	expect_equal "$(stat -c %s "$image")" "$size" "the size, and what the dry run said"
	test "$size" -le "$(stat -c %s "$TMP/before.vhd")" || test "$*" = --align || test -n "${HAS_NO_FOOTER:-}" ||
		fail "$image grew: $(stat -c %s "$TMP/before.vhd") to $size"
	expect_equal "$(vhd sha "$image")" "$before" "the contents"
	check_image "$image" "$WASTE"
	cp --sparse=always "$image" "$TMP/after.vhd"
	expect_status 0 "$VHDIMG" compact "$@" "$image"
	grep -q "nothing freed: " "$TMP/out" || fail "a second run: $(cat "$TMP/out")"
	cmp "$image" "$TMP/after.vhd" || fail "a second run changed the image"
}
# Gaps smaller than a slot stay, and are no waste.
WASTE=0

corpus=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
if (CORPUS=$corpus requires_corpus); then
	CORPUS=$corpus
	say "the corpus"
	done=0 refused=0
	for file in "$CORPUS"/*.xz; do
		name=${file##*/}
		case $name in
		*.vhd.xz) corpus_image "${name%.vhd.xz}" "$TMP/a.vhd" ;;
		*) continue ;;
		esac
		status=0
		type=$("$VHDIMG" info --output=json "$TMP/a.vhd" 2>/dev/null | jq -r .type) || type=none
		before=$(sha "$TMP/a.vhd")
		"$VHDIMG" compact -q -n "$TMP/a.vhd" 2>"$TMP/err" || status=$?
		case $type.$status in
		dynamic.0)
			HAS_NO_FOOTER=	# at the end, where opening it writes one
			case $name in m03-* | m15-*) HAS_NO_FOOTER=1 ;; esac
			(compacts "$TMP/a.vhd") || fail "$name"
			done=$((done + 1))
			continue
			;;
		fixed.69 | none.66) ;;
		differencing.66) ;;
		*.65) ;;
		*) fail "$name, $type: status $status: $(cat "$TMP/err")" ;;
		esac
		expect_equal "$(wc -l <"$TMP/err")" 1 "$name: $(cat "$TMP/err")"
		expect_equal "$(sha "$TMP/a.vhd")" "$before" "$name is refused, and changed"
		refused=$((refused + 1))
	done
	corpus_image govhd-win8 "$TMP/win8.vhd"
	corpus_image govhd-win8-child "$TMP/a.vhd"
	before=$(sha "$TMP/win8.vhd")
	read_chain "$TMP/before.raw" "$TMP/a.vhd" "$TMP/win8.vhd"
	expect_status 0 "$VHDIMG" compact "$TMP/a.vhd"
	read_chain "$TMP/after.raw" "$TMP/a.vhd" "$TMP/win8.vhd"
	same "$TMP/before.raw" "$TMP/after.raw"
	expect_equal "$(sha "$TMP/win8.vhd")" "$before" "a parent was changed"
	rm "$TMP/win8.vhd" "$TMP/before.raw" "$TMP/after.raw"
	say "$done compacted, $refused refused"
	test $done -gt 20 && test $refused -gt 10 || fail "few of the corpus"
fi

say "random layouts"
for ((round = 0; round < rounds; round++)); do
	vhd make "$TMP/a.vhd" $((seed + round)) >"$TMP/layout"
	was=$(vhd layout "$TMP/a.vhd")
	cp "$TMP/a.vhd" "$TMP/random.vhd"
	(compacts "$TMP/a.vhd") || fail "seed $((seed + round)): $(cat "$TMP/layout")"
	test "$was" = packed || expect_equal "$(vhd layout "$TMP/a.vhd")" aligned \
		"the layout, seed $((seed + round)): $(cat "$TMP/layout")"
	cp "$TMP/random.vhd" "$TMP/a.vhd"
	(compacts "$TMP/a.vhd" --align) || fail "--align, seed $((seed + round)): $(cat "$TMP/layout")"
	expect_equal "$(vhd layout "$TMP/a.vhd")" aligned "--align, seed $((seed + round))"
done

# A disk of noise, zeros and holes, the zeros allocated.
"$PYTHON" - "$TMP/raw" <<-'END'
	import random, sys
	rnd = random.Random(1)
	f = open(sys.argv[1], "wb")
	for block in range(20):
	    f.seek(block << 20)
	    if block % 3:
	        f.write(rnd.randbytes(1 << 20))
	f.truncate(20 << 20)
END
contents=$(sha "$TMP/raw")

# zeroes IMAGE: in the middle, and allocated.
zeroes() {
	requires qemu-io
	qemu-io -f vpc -c "write -P 0xaa 6M 5M" -c "write -P 0 6M 5M" "$1" >"$TMP/qemu.out" 2>&1 ||
		fail "$(cat "$TMP/qemu.out")"
}
dd if=/dev/zero of="$TMP/raw" bs=1M seek=6 count=5 conv=notrunc status=none
contents=$(sha "$TMP/raw")

# is_read IMAGE: by those who have nothing to do with us.
is_read() {
	qemu-img check -q -f vpc "$1" 2>"$TMP/err" || grep -q "does not support checks" "$TMP/err" ||
		fail "qemu-img check: $(cat "$TMP/err")"
	qemu-img convert -f vpc -O raw "$1" "$TMP/qemu.raw"
	expect_equal "$(sha "$TMP/qemu.raw")" "$contents" "as qemu-img reads it"
	if command -v vhdiinfo >/dev/null; then
		vhdiinfo "$1" >"$TMP/vhdi.out" 2>&1 || fail "vhdiinfo: $(cat "$TMP/vhdi.out")"
		grep -q "Disk type.*Dynamic" "$TMP/vhdi.out" || fail "vhdiinfo: $(cat "$TMP/vhdi.out")"
	fi
	if command -v vhdimount >/dev/null && test -e /dev/fuse && test "$(id -u)" = 0; then
		mkdir -p "$TMP/vhdi"
		cleanup "umount_lazy '$TMP/vhdi'"
		vhdimount "$1" "$TMP/vhdi" >"$TMP/vhdi.out" 2>&1 || fail "vhdimount: $(cat "$TMP/vhdi.out")"
		expect_equal "$(head -c $((20 * M)) "$TMP/vhdi/vhdi1" | sha256sum | cut -d' ' -f1)" "$contents" \
			"as libvhdi reads it"
		umount "$TMP/vhdi"
	fi
}

say "made by qemu-img"
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$TMP/raw" "$TMP/qemu.vhd"
zeroes "$TMP/qemu.vhd"
cp "$TMP/qemu.vhd" "$TMP/a.vhd"
compacts "$TMP/a.vhd"
test "$(stat -c %s "$TMP/a.vhd")" -le $(($(stat -c %s "$TMP/qemu.vhd") - 3 * M)) ||
	fail "nothing gained: $(stat -c %s "$TMP/qemu.vhd") to $(stat -c %s "$TMP/a.vhd")"
is_read "$TMP/a.vhd"

say "made by us, in several block sizes"
for size in 512K 1M 2M 4M; do
	rm -f "$TMP/a.vhd"
	make_image "$TMP/a.vhd" 20M --block-size=$size
	qemu-img convert -n -f raw -O vpc -t writethrough "$TMP/raw" "$TMP/a.vhd"
	zeroes "$TMP/a.vhd"
	was=$(vhd layout "$TMP/a.vhd")
	compacts "$TMP/a.vhd"
	expect_equal "$(vhd layout "$TMP/a.vhd")" "$was"
	is_read "$TMP/a.vhd"
done

say "--no-holes leaves none"
cp --sparse=always "$TMP/qemu.vhd" "$TMP/a.vhd"
compacts "$TMP/a.vhd" --no-holes
test $(($(stat -c %b "$TMP/a.vhd") * 512)) -ge "$(stat -c %s "$TMP/a.vhd")" || fail "holes are left"
is_read "$TMP/a.vhd"
