#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg map: the extents cover the disk once and in order, data is where the offset says, the keys
# are those of qemu-img map, and what qemu calls data or zero is called so here. A picture is XML
# whatever the name, small whatever the image, and its counts are those of the extents and of the
# host; a terminal gets letters or blocks as it can show them.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img qemu-io script xmllint
requires_corpus

# map IMAGE OUTPUT
map() {
	expect_status 0 "$VHDIMG" map --output=json "$1"
	cp "$TMP/out" "$2"
}

# tiles FILE SIZE: the extents follow each other from 0 to SIZE, and no two that could be one do.
tiles() {
	jq -e --argjson size "$2" '
		(map(.length > 0) | all) and .[0].start == 0 and
		(.[-1] | .start + .length) == $size and
		([.[:-1], .[1:]] | transpose | map(
			(.[0].start + .[0].length == .[1].start) and
			(.[0].data or .[1].data) and
			((.[0].data and .[1].data and
			  .[0].offset + .[0].length == .[1].offset) | not)) | all)' \
		"$1" >/dev/null || fail "does not tile: $(head -c 600 "$1")"
}

# kinds FILE: where the disk changes between data and zero, as "start kind" lines.
kinds() {
	jq -r '.[] | "\(.start) \(.data)"' "$1" | awk '$2 != last { print; last = $2 }'
}

# data_of FILE: "start length offset" of each extent that is data.
data_of() {
	jq -r '.[] | select(.data) | "\(.start) \(.length) \(.offset)"' "$1"
}

say "data where it was written"
make_image "$TMP/a.vhd" 64M
qemu-io -f vpc -c "write -P 0xa1 2M 4M" -c "write -P 0xa2 20M 2M" -c "write -P 0xa3 62M 2M" \
	"$TMP/a.vhd" >/dev/null
map "$TMP/a.vhd" "$TMP/a.json"
tiles "$TMP/a.json" 67108864
expect_equal "$(kinds "$TMP/a.json" | tr '\n' ' ')" \
	"0 false 2097152 true 6291456 false 20971520 true 23068672 false 65011712 true "
expect_equal "$(jq -c '.[0] | keys_unsorted' "$TMP/a.json")" \
	'["start","length","depth","present","zero","data"]'
expect_equal "$(jq -c '.[1] | keys_unsorted' "$TMP/a.json")" \
	'["start","length","depth","present","zero","data","offset"]'
jq -e 'map(.zero != .data and .present == .data and .depth == 0) | all' "$TMP/a.json" >/dev/null ||
	fail "zero, data, present or depth: $(cat "$TMP/a.json")"
# The bytes of the file at the offset are those of the disk.
qemu-img convert -f vpc -O raw "$TMP/a.vhd" "$TMP/a.raw"
data_of "$TMP/a.json" >"$TMP/extents"
test "$(wc -l <"$TMP/extents")" -ge 3 || fail "extents: $(cat "$TMP/extents")"
while read -r start length offset; do
	cmp -s --ignore-initial="$start:$offset" --bytes="$length" "$TMP/a.raw" "$TMP/a.vhd" ||
		fail "the data of $start is not at $offset"
done <"$TMP/extents"

say "as qemu-img map has it"
# within A B: each extent of data of A lies in one of B, at the same place of the file.
within() {
	data_of "$1" | while read -r start length offset; do
		data_of "$2" | awk -v start="$start" -v len="$length" -v offset="$offset" '
			start >= $1 && start + len <= $1 + $2 && offset - start == $3 - $1 { ok = 1 }
			END { exit !ok }' || fail "$1 has data at $start, $2 has not"
	done
}

for name in m01-bitmap-zeroed-block m20-block-512K m22-block-16M m25-block-4M nodevhd-dynamic \
	qemu-130G-dynamic-force_off qemu-8G-dynamic-force_on qemu-2M-fixed-force_on; do
	corpus_image $name "$TMP/image.vhd"
	map "$TMP/image.vhd" "$TMP/ours.json"
	tiles "$TMP/ours.json" "$("$VHDIMG" info --output=json "$TMP/image.vhd" | jq '."virtual-size"')"
	qemu-img map -f vpc --output=json "$TMP/image.vhd" >"$TMP/qemu.json" 2>/dev/null
	# qemu knows no bitmaps, so that it calls more data; in a fixed image it looks for holes of
	# the host, and calls less.
	case $name in
	*fixed*) within "$TMP/qemu.json" "$TMP/ours.json" ;;
	*) within "$TMP/ours.json" "$TMP/qemu.json" ;;
	esac
	test -n "$(data_of "$TMP/ours.json")" || fail "$name has no data"
	rm "$TMP/image.vhd"
done

say "empty and huge, fixed"
make_image "$TMP/huge.vhd" 2040G
map "$TMP/huge.vhd" "$TMP/huge.json"
expect_equal "$(jq -c 'map([.start, .length, .data])' "$TMP/huge.json")" "[[0,2190433320960,false]]"
make_image "$TMP/fixed.vhd" 5M --type=fixed
map "$TMP/fixed.vhd" "$TMP/fixed.json"
tiles "$TMP/fixed.json" 5242880

say "for people, and several"
expect_status 0 "$VHDIMG" map "$TMP/a.vhd"
expect_equal "$(head -1 "$TMP/out" | xargs)" "start length kind depth offset"
expect_equal "$(sed -n 2p "$TMP/out" | xargs)" "0 2097152 zero - -"
expect_equal "$(tail -n +2 "$TMP/out" | awk '$3 == "data"' | wc -l)" "$(wc -l <"$TMP/extents")"
expect_equal "$(grep -c 'a character' "$TMP/out" || true)" 0 "drawings where there is no terminal"
expect_status 0 "$VHDIMG" map --output=json "$TMP/a.vhd" "$TMP/huge.vhd"
expect_equal "$(jq -c 'map(.filename)' "$TMP/out")" "[\"$TMP/a.vhd\",\"$TMP/huge.vhd\"]"
expect_equal "$(jq -c '.[0].extents' "$TMP/out")" "$(jq -c . "$TMP/a.json")"

# picture OUTPUT ARGUMENT...: draws; the picture is XML, and what it says when it is pointed at is
# in OUTPUT.titles, a line each.
picture() {
	local output=$1
	shift
	expect_status 0 "$VHDIMG" map --output=svg "$@"
	cp "$TMP/out" "$output"
	xmllint --xpath '//*[local-name()="title"]/text()' "$output" >"$output.titles" ||
		fail "no XML: $*"
}

# count KIND FILE [PANEL]: bytes of that kind by the legend of the nth image; 0 where it has none.
count() {
	awk -v kind="$1: " -v panel="${3:-1}" '
		index($0, kind) == 1 && ++n == panel { bytes = substr($0, length(kind) + 1) + 0 }
		END { printf "%.0f\n", bytes }' "$2.titles"
}

# sum FILE [PANEL]: of all kinds.
sum() {
	local kind total=0
	for kind in metadata allocated "parent's" zero hole free; do
		total=$((total + $(count "$kind" "$1" "${2:-1}")))
	done
	echo $total
}

# covers FILE SIZE: the ranges of the cells of a picture of one image are all of SIZE, once.
covers() {
	sed -n 's/^bytes \([0-9]*\)-\([0-9]*\): .*/\1 \2/p' "$1.titles" | awk -v size="$2" '
		$1 != end { bad = 1 } { end = $2 + 1 } END { exit bad || end != size }' ||
		fail "the cells are not bytes 0 to $2"
}

# data_bytes IMAGE: what the image itself owns, by its extents.
data_bytes() {
	map "$1" "$TMP/extents.json"
	jq 'map(select(.data and .depth == 0) | .length) | add // 0' "$TMP/extents.json"
}

say "a picture counts what is there"
for name in m01-bitmap-zeroed-block m22-block-16M m03-no-trailing-footer m07-fixed-footer511 \
	m14-fixed-512-bytes-after-footer govhd-win8 qemu-130G-dynamic-force_off \
	qemu-2M-fixed-force_on qemu-unal-dynamic-force_off; do
	corpus_image $name "$TMP/image.vhd"
	data=$(data_bytes "$TMP/image.vhd")
	picture "$TMP/file.svg" "$TMP/image.vhd"
	expect_equal "$(sum "$TMP/file.svg")" "$(stat -c %s "$TMP/image.vhd")" "bytes of $name's file"
	covers "$TMP/file.svg" "$(stat -c %s "$TMP/image.vhd")"
	picture "$TMP/disk.svg" --by=disk "$TMP/image.vhd"
	size=$("$VHDIMG" info --output=json "$TMP/image.vhd" | jq '."virtual-size"')
	expect_equal "$(sum "$TMP/disk.svg")" "$size" "bytes of $name's disk"
	covers "$TMP/disk.svg" "$size"
	expect_equal "$(($(count allocated "$TMP/disk.svg") + $(count hole "$TMP/disk.svg")))" "$data" \
		"bytes of data of $name"
	rm "$TMP/image.vhd"
done

say "what the host has not stored is a hole"
fill "$TMP/noise" 4194304 1
make_image "$TMP/h.vhd" 64M
qemu-io -f vpc -c "write -s $TMP/noise 8M 4M" "$TMP/h.vhd" >/dev/null
picture "$TMP/whole.svg" "$TMP/h.vhd"
expect_equal "$(count allocated "$TMP/whole.svg")" 4194304
cp "$TMP/h.vhd" "$TMP/holed.vhd"
map "$TMP/h.vhd" "$TMP/h.json"
offset=$(jq 'map(select(.data))[0].offset' "$TMP/h.json")
fallocate -p -o $(((offset + 65535) / 65536 * 65536)) -l 1M "$TMP/holed.vhd"
picture "$TMP/holed.svg" "$TMP/holed.vhd"
expect_equal "$(count allocated "$TMP/holed.svg")" $((4194304 - 1048576))
expect_equal "$(count hole "$TMP/holed.svg")" $(($(count hole "$TMP/whole.svg") + 1048576))
picture "$TMP/holed.svg" --by=disk "$TMP/holed.vhd"
expect_equal "$(count hole "$TMP/holed.svg") $(count zero "$TMP/holed.svg")" \
	"1048576 $((67108864 - 4194304))"

say "room that nothing uses, and sectors without a bit"
# The block of 10M is given up, as a program does that only clears its entry.
python3 - "$TMP/h.vhd" "$TMP/free.vhd" <<-'END'
	import sys
	data = bytearray(open(sys.argv[1], 'rb').read())
	table = int.from_bytes(data[528:536], 'big')
	data[table + 20:table + 24] = b'\xff' * 4
	open(sys.argv[2], 'wb').write(data)
END
picture "$TMP/free.svg" "$TMP/free.vhd"
freed=$(($(count free "$TMP/free.svg") - $(count free "$TMP/whole.svg")))
expect_equal $freed $((2097152 + 512)) "bytes of a block that was given up"
# Half of the bits of that block.
python3 - "$TMP/h.vhd" "$TMP/half.vhd" <<-'END'
	import sys
	data = bytearray(open(sys.argv[1], 'rb').read())
	table = int.from_bytes(data[528:536], 'big')
	block = int.from_bytes(data[table + 20:table + 24], 'big') * 512
	data[block:block + 256] = bytes(256)
	open(sys.argv[2], 'wb').write(data)
END
picture "$TMP/half.svg" "$TMP/half.vhd"
expect_equal "$(count zero "$TMP/half.svg") $(count allocated "$TMP/half.svg")" \
	"1048576 $((4194304 - 1048576))"

say "what is a parent's"
corpus_image govhd-win8 "$TMP/win8.vhd"
corpus_image govhd-win8-child "$TMP/child.vhd"
qemu-io -f vpc -c "write -s $TMP/noise 0 4M" "$TMP/win8.vhd" >/dev/null
# One block of the child's own, the upper half of which is the parent's.
python3 - "$TMP/child.vhd" <<-'END'
	import sys
	data = bytearray(open(sys.argv[1], 'rb').read())
	table = int.from_bytes(data[528:536], 'big')
	footer = data[-512:]
	data[table + 4:table + 8] = ((len(data) - 512) // 512).to_bytes(4, 'big')
	data[-512:] = b'\xff' * 256 + bytes(256) + b'\xaa' * 2097152 + footer
	open(sys.argv[1], 'wb').write(data)
END
picture "$TMP/child.svg" --by=disk "$TMP/child.vhd"
expect_equal "$(count allocated "$TMP/child.svg") $(count "parent's" "$TMP/child.svg")" \
	"1048576 $((4194304 - 1048576))"
picture "$TMP/child.svg" "$TMP/child.vhd"
expect_equal "$(count allocated "$TMP/child.svg") $(count "parent's" "$TMP/child.svg")" \
	"1048576 1048576"

say "before and after"
picture "$TMP/both.svg" "$TMP/h.vhd" "$TMP/huge.vhd"
expect_equal "$(sum "$TMP/both.svg" 1) $(sum "$TMP/both.svg" 2)" \
	"$(stat -c %s "$TMP/h.vhd") $(stat -c %s "$TMP/huge.vhd")"
texts=$(xmllint --xpath '//*[local-name()="text"]/text()' "$TMP/both.svg")
for text in BEFORE AFTER h.vhd huge.vhd; do
	grep -qx "$text" <<<"$texts" || fail "the picture does not have $text"
done
grep -Eq '^[0-9.]+ [A-Z]?i?B?(bytes)? (less|more) \([0-9]+ %\)$' <<<"$texts" || fail "no gain: $texts"
picture "$TMP/same.svg" "$TMP/h.vhd" "$TMP/huge.vhd"
cmp "$TMP/both.svg" "$TMP/same.svg" || fail "the same picture twice is not the same"
expect_equal "$(head -1 "$TMP/both.svg.titles")" "h.vhd and huge.vhd"

say "small, whatever the image"
make_image "$TMP/small.vhd" 30G --block-size=4096
"$VHDIMG" info --output=json "$TMP/small.vhd" | jq -e '."blocks-total" == 7864320' >/dev/null ||
	fail "not many blocks"
# Bits that change every 4 KiB make no long runs of cells.
python3 - "$TMP/h.vhd" "$TMP/mottled.vhd" <<-'END'
	import sys
	data = bytearray(open(sys.argv[1], 'rb').read())
	table = int.from_bytes(data[528:536], 'big')
	for entry in 4, 5:
	    at = int.from_bytes(data[table + 4 * entry:table + 4 * entry + 4], 'big') * 512
	    data[at:at + 512] = b'\xff\x00' * 256
	open(sys.argv[2], 'wb').write(data)
END
for image in "$TMP/small.vhd" "$TMP/huge.vhd" "$TMP/mottled.vhd"; do
	for by in file disk; do
		picture "$TMP/small.svg" --by=$by "$image" "$image"
		cells=$(grep -c '^bytes ' "$TMP/small.svg.titles")
		test "$cells" -ge 2 && test "$cells" -le 2048 && test "$(stat -c %s "$TMP/small.svg")" -lt 1000000 ||
			fail "$image by $by: $cells cells, $(stat -c %s "$TMP/small.svg") bytes"
		test "$(xmllint --xpath 'number(/*/@height)' "$TMP/small.svg")" -lt 700 ||
			fail "$image by $by: too high"
	done
done

say "names are text"
name=$'<b>&"\'\e[31m\xff\xef\xbf\xbe-'$(printf 'x%.0s' {1..120}).vhd
make_image "$TMP/$name" 1M
picture "$TMP/name.svg" "$TMP/$name"
expect_equal "$(xmllint --xpath 'string(/*/*[1])' "$TMP/name.svg")" \
	$'<b>&"\'?[31m\xef\xbf\xbd?-'"$(printf 'x%.0s' {1..120}).vhd"
grep -q '^.\{20,40\}…x\{20,40\}\.vhd$' <<<"$(xmllint --xpath 'string(//*[@class="name"]/text())' "$TMP/name.svg")" ||
	fail "a long name is not cut: $(grep 'class="name"' "$TMP/name.svg")"

# terminal WIDTH VARIABLE=VALUE... ARGUMENT...: map on a terminal; its lines in $TMP/screen.
terminal() {
	local width=$1 command
	shift
	command="stty cols $width; exec env -u COLUMNS -u NO_COLOR -u LC_ALL -u LC_CTYPE LANG=C.UTF-8"
	while [[ $1 = [A-Z]*=* ]]; do
		command+=" $1"
		shift
	done
	script -qec "$command '$VHDIMG' map $*" /dev/null </dev/null >"$TMP/screen.raw" ||
		fail "map on a terminal: $(cat "$TMP/screen.raw")"
	tr -d '\r' <"$TMP/screen.raw" >"$TMP/screen"
}

# rows: the cells of each row of the drawing.
rows() {
	sed -n '/ a character:$/,$p' "$TMP/screen" | sed -nE 's/^ *[0-9.]+ ([KMGT]iB|bytes) ([A-Za-z]+)$/\2/p'
}

say "drawn on a terminal"
terminal 80 TERM=xterm NO_COLOR=1 --by=disk "$TMP/h.vhd"
expect_equal "$(sed -n 1p "$TMP/screen" | xargs)" "start length kind depth offset"
grep -qx "$TMP/h.vhd, by the place on the disk, 64.0 KiB a character:" "$TMP/screen" ||
	fail "no drawing: $(cat "$TMP/screen")"
expect_equal "$(rows | tr -d '\n')" \
	"$(printf 'Z%.0s' {1..128})$(printf 'A%.0s' {1..64})$(printf 'Z%.0s' {1..832})"
expect_equal "$(rows | awk '{ print length }' | sort -u)" 64
grep -Eq '^A allocated 4.0 MiB +Z zero +60.0 MiB *$' "$TMP/screen" || fail "legend: $(tail -2 "$TMP/screen")"
if grep -q $'\e' "$TMP/screen"; then
	fail "colours that nobody wanted"
fi
terminal 120 TERM=dumb "$TMP/h.vhd"
expect_equal "$(rows | head -1 | cut -c 1-3) $(rows | awk '{ print length }' | head -1)" "mAA 104"
expect_equal "$(rows | tail -1 | tail -c 2)" m "the trailing footer"
grep -q 'by the place in the file' "$TMP/screen" || fail "by what: $(tail -20 "$TMP/screen")"
terminal 300 TERM=dumb COLUMNS=50 "$TMP/h.vhd"
expect_equal "$(rows | head -1 | wc -c)" 33
terminal 80 TERM=xterm LC_ALL=C "$TMP/h.vhd"
grep -q A <<<"$(rows)" || fail "blocks where only letters can be shown: $(tail -20 "$TMP/screen")"
terminal 80 TERM=xterm "$TMP/h.vhd"
grep -q $'\e\[94m█████' "$TMP/screen" || fail "no blocks: $(tail -20 "$TMP/screen")"
expect_equal "$(rows | wc -l)" 0 "rows of letters"
terminal 80 TERM=xterm --output=json "$TMP/h.vhd"
jq -e . "$TMP/screen" >/dev/null || fail "a drawing in JSON"

say "drawn where there is no terminal, two at one scale"
expect_status 0 env TERM=xterm LANG=C.UTF-8 "$VHDIMG" map --output=drawing --by=disk "$TMP/h.vhd" "$TMP/small.vhd"
cp "$TMP/out" "$TMP/screen"
expect_equal "$(grep -c ', 32.0 MiB a character:$' "$TMP/screen")" 2
expect_equal "$(rows | tr -d '\n')" "aZ$(printf 'Z%.0s' {1..960})"
if grep -q $'\e\|█' "$TMP/screen"; then
	fail "no letters: $(cat "$TMP/screen")"
fi
expect_status 66 "$VHDIMG" map --output=drawing "$TMP/a.vhd" "$TMP/none.vhd"
expect_equal "$(wc -c <"$TMP/out")" 0

say "what is refused"
expect_status 66 "$VHDIMG" map "$TMP/none.vhd"
corpus_image m08-bat-beyond-eof "$TMP/m08.vhd"
expect_status 65 "$VHDIMG" map --output=json "$TMP/m08.vhd"
expect_said "m08.vhd: BAT entry 0 .*past the end"
expect_equal "$(wc -c <"$TMP/out")" 0
# No half of a picture.
expect_status 66 "$VHDIMG" map --output=svg "$TMP/a.vhd" "$TMP/none.vhd"
expect_said none.vhd
expect_equal "$(wc -c <"$TMP/out")" 0
expect_status 65 "$VHDIMG" map --output=svg "$TMP/m08.vhd" "$TMP/a.vhd"
expect_equal "$(wc -c <"$TMP/out")" 0

say "an image in use"
hold_with_qemu "$TMP/a.vhd"
expect_status 75 "$VHDIMG" map --output=json "$TMP/a.vhd"
expect_said a.vhd "in use|another"
expect_status 0 "$VHDIMG" map -U --output=json "$TMP/a.vhd"
expect_equal "$(jq -c . "$TMP/out")" "$(jq -c . "$TMP/a.json")"
expect_status 75 "$VHDIMG" map --output=svg "$TMP/a.vhd"
picture "$TMP/held.svg" -U "$TMP/a.vhd"
let_go
expect_status 0 "$VHDIMG" map "$TMP/a.vhd"
