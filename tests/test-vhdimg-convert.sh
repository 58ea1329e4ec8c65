#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg convert and compare: raw, dynamic and fixed disks into each other and back, as qemu reads them
# too; what differs is found, what is refused is left alone, what is stopped leaves nothing.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img openssl cmp
M=$((1 << 20))
mkdir "$TMP/w"
cd "$TMP/w"

info() {
	"$VHDIMG" info --output=json "$1" | jq -r "$2"
}

# A disk with data at both ends, of a size that is no multiple of much.
fill noise $((3 * M)) convert
truncate -s $((37 * M + 5 * 512)) disk.raw
dd if=noise of=disk.raw bs=1M seek=4 conv=notrunc status=none
tail -c 70000 noise | dd of=disk.raw bs=512 seek=$(((37 * M + 5 * 512 - 70000 - 144) / 512)) conv=notrunc status=none

say "from each type to each, and back"
expect_status 0 "$VHDIMG" convert disk.raw dynamic.vhd
grep -Eq '^disk\.raw: made dynamic\.vhd: ' "$TMP/out" || fail "$(cat "$TMP/out")"
expect_status 0 "$VHDIMG" convert --type=fixed disk.raw fixed.vhd
for from in dynamic fixed; do
	expect_equal "$(info $from.vhd .type)" $from
	check_image $from.vhd
	for to in dynamic fixed raw; do
		rm -f out
		expect_status 0 "$VHDIMG" convert -q --type=$to $from.vhd out
		test ! -s "$TMP/out" || fail "-q said: $(cat "$TMP/out")"
		case $to in
		raw) same out disk.raw ;;
		*)
			expect_equal "$(info out .type)" $to
			check_image out
			qemu-img convert -f vpc -O raw out qemu.raw
			same qemu.raw disk.raw
			;;
		esac
		expect_status 0 "$VHDIMG" compare out disk.raw
		test $(($(stat -c '%b * 512' out))) -lt $((9 * M)) || fail "$from to $to: no holes"
	done
done
expect_status 0 "$VHDIMG" convert fixed.vhd by-name.img
same by-name.img disk.raw
test "$(info dynamic.vhd .uuid)" != "$(info fixed.vhd .uuid)" || fail "two images with one id"

say "a size for Azure: whole MiB, fixed"
expect_status 0 "$VHDIMG" convert --type=fixed --align-size=1M dynamic.vhd azure.vhd
expect_equal "$(info azure.vhd '."virtual-size"')" $((38 * M))
expect_equal "$(stat -c %s azure.vhd)" $((38 * M + 512))
expect_status 0 "$VHDIMG" compare azure.vhd disk.raw
expect_status 64 "$VHDIMG" convert --align-size=much dynamic.vhd no.vhd
expect_status 64 "$VHDIMG" convert --align-size=1000 dynamic.vhd no.vhd
test ! -e no.vhd

say "a raw disk that ends within a sector, and one that is one hole"
head -c 70001 noise >odd.raw
expect_status 0 "$VHDIMG" convert odd.raw odd.vhd
expect_status 0 "$VHDIMG" compare odd.vhd odd.raw
truncate -s 5M hole.raw
expect_status 0 "$VHDIMG" convert hole.raw hole.vhd
expect_equal "$(info hole.vhd '."blocks-allocated"')" 0
expect_status 0 "$VHDIMG" convert --type=raw hole.vhd hole.out
same hole.out hole.raw
test "$(stat -c %b hole.out)" -le 16 || fail "a hole takes room"
expect_status 0 "$VHDIMG" convert --type=raw --no-holes hole.vhd full.out
test $(($(stat -c '%b * 512' full.out))) -ge $((5 * M)) || fail "there are holes"

say "a dry run makes nothing, and knows the size"
for type in dynamic fixed raw; do
	expect_status 0 "$VHDIMG" convert -n --type=$type disk.raw dry
	test ! -e dry || fail "a dry run made a file"
	would=$(sed -n 's/^disk\.raw: would make dry: \(.*\), .*/\1/p' "$TMP/out")
	expect_status 0 "$VHDIMG" convert --type=$type disk.raw dry
	expect_equal "$would" "$(sed -n 's/^disk\.raw: made dry: \(.*\), .*/\1/p' "$TMP/out")" "$type"
	test -n "$would" || fail "no size: $(cat "$TMP/out")"
	rm dry
done

say "a chain as one"
"$VHDIMG" create --parent=dynamic.vhd kid.vhd
expect_status 0 "$VHDIMG" convert kid.vhd alone.vhd
expect_equal "$(info alone.vhd '.type, .parent')" "dynamic
null"
expect_status 0 "$VHDIMG" compare alone.vhd kid.vhd

say "what differs is found, by content"
cp disk.raw other.raw
printf x | dd of=other.raw bs=1 seek=$((20 * M + 77)) conv=notrunc status=none
expect_status 1 "$VHDIMG" compare dynamic.vhd other.raw
expect_equal "$(cat "$TMP/out")" "dynamic.vhd and other.raw differ, first at byte $((20 * M + 77))"
last=$(($(stat -c %s disk.raw) - 1))
for at in $last $((5 * M - 1)) 0; do
	cp disk.raw last.raw
	printf '\001' | dd of=last.raw bs=1 seek=$at conv=notrunc status=none
	cmp -s last.raw disk.raw && continue	# noise had it
	expect_status 1 "$VHDIMG" compare last.raw dynamic.vhd
	grep -q "first at byte $at\$" "$TMP/out" || fail "$at: $(cat "$TMP/out")"
done
expect_status 1 "$VHDIMG" compare --output=json dynamic.vhd other.raw
expect_equal "$(jq -c '[.same, .offset]' "$TMP/out")" "[false,$((20 * M + 77))]"
expect_status 0 "$VHDIMG" compare --output=json dynamic.vhd disk.raw
expect_equal "$(jq -c '[.same, .offset]' "$TMP/out")" "[true,null]"
cp disk.raw longer.raw
truncate -s 50M longer.raw
expect_status 0 "$VHDIMG" compare -q longer.raw dynamic.vhd
test ! -s "$TMP/out" || fail "-q said: $(cat "$TMP/out")"
printf x | dd of=longer.raw bs=1 seek=$((45 * M)) conv=notrunc status=none
expect_status 1 "$VHDIMG" compare dynamic.vhd longer.raw
grep -q "byte $((45 * M))\$" "$TMP/out" || fail "$(cat "$TMP/out")"
expect_status 66 "$VHDIMG" compare none.vhd disk.raw
expect_status 64 "$VHDIMG" compare disk.raw

say "what is refused, and left alone"
: >there
for options in "" -n; do
	# shellcheck disable=SC2086
	expect_status 73 "$VHDIMG" convert $options disk.raw there
	expect_said 'there: .*exists'
done
test ! -s there || fail "a file was replaced"
expect_status 73 "$VHDIMG" convert disk.raw no/folder.vhd
expect_status 66 "$VHDIMG" convert none.raw no.vhd
expect_status 64 "$VHDIMG" convert --type=vmdk disk.raw no.vhd
expect_status 64 "$VHDIMG" convert disk.raw
qemu-img create -q -f qcow2 a.qcow2 1M
expect_status 65 "$VHDIMG" convert a.qcow2 no.vhd
expect_said 'qcow2'
truncate -s $((2040 * 1024 * M + M)) huge.raw
expect_status 1 "$VHDIMG" convert huge.raw no.vhd
expect_said '2040 GiB'
test ! -e no.vhd

corpus=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
if (CORPUS=$corpus requires_corpus); then
	CORPUS=$corpus
	say "images of other makers, as they read"
	done=0
	for file in "$CORPUS"/*.vhd.xz; do
		name=${file##*/}
		corpus_image "${name%.vhd.xz}" c.vhd
		size=$("$VHDIMG" info --output=json c.vhd 2>/dev/null | jq '."virtual-size"') || continue
		test "${size:-0}" -gt 0 && test "$size" -le $((1 << 28)) || continue
		"$VHDIMG" map -q c.vhd >/dev/null 2>&1 || continue
		rm -f c.out c.raw
		expect_status 0 "$VHDIMG" convert c.vhd c.out
		check_image c.out
		expect_status 0 "$VHDIMG" convert --type=raw c.vhd c.raw
		expect_status 0 "$VHDIMG" compare c.out c.raw
		expect_status 0 "$VHDIMG" compare c.vhd c.raw
		qemu-img convert -f vpc -O raw c.out qemu.raw
		same qemu.raw c.raw
		done=$((done + 1))
	done
	test "$done" -ge 10 || fail "only $done images of the corpus were converted"
fi

say "stopped, it leaves nothing"
mkdir to
fill large.raw $((160 * M)) large
for signal in INT TERM; do
	expect_stopped "$signal" 'rm -f to/*' "$VHDIMG" convert large.raw to/out.vhd
	expect_said 'large\.raw: stopped; to/out\.vhd was not written'
	test -z "$(ls -A to)" || fail "left behind: $(ls -A to)"
done
