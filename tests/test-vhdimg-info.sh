#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg info: every key with its true value, for images of our own and of other programs; a lock
# never refuses it, what cannot be opened has its status.
. "$(dirname "$0")/support/lib.sh"

requires jq qemu-img qemu-io
requires_corpus

# json FILTER: of the last output.
json() {
	jq -c "$1" "$TMP/out"
}

# info STATUS IMAGE...
info() {
	local status=$1
	shift
	expect_status "$status" "$VHDIMG" info --output=json "$@"
}

say "a dynamic image of ours"
before=$(date -u +%s)
make_image "$TMP/dynamic.vhd" 100M --block-size=1M
qemu-io -f vpc -c "write -P 7 3M 2M" -c "write -P 8 50M 512" "$TMP/dynamic.vhd" >/dev/null
info 0 "$TMP/dynamic.vhd"
expect_equal "$(json 'keys_unsorted')" "$(jq -nc '["filename", "format", "type", "virtual-size",
	"file-size", "actual-size", "block-size", "blocks-total", "blocks-allocated", "creator",
	"uuid", "created", "in-use", "saved-state", "parent", "chain", "reclaimable-bytes", "partitions"]')"
expect_equal "$(json '[.format, .type, ."virtual-size", ."block-size", ."blocks-total",
	."blocks-allocated", ."in-use", ."saved-state", .parent]')" \
	'["vhd","dynamic",104857600,1048576,100,3,false,false,null]'
expect_equal "$(json '."file-size"')" "$(stat -c %s "$TMP/dynamic.vhd")"
expect_equal "$(json '."actual-size"')" $(($(stat -c %b "$TMP/dynamic.vhd") * 512))
created=$(date -u -d "$(json .created | tr -d '"')" +%s)
test "$created" -ge "$before" && test "$created" -le "$(date -u +%s)" || fail "created $created"
grep -Eqx '"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"' <<<"$(json .created)" || fail created
# The unique id is the 16 bytes at offset 68 of the footer.
expect_equal "$(json .uuid | tr -d '"-')" \
	"$(tail -c 512 "$TMP/dynamic.vhd" | od -An -v -tx1 -j68 -N16 | tr -d ' \n')"
grep -Eqx '"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"' <<<"$(json .uuid)" || fail uuid

say "a fixed image has no blocks"
make_image "$TMP/fixed.vhd" 5M --type=fixed
info 0 "$TMP/fixed.vhd"
expect_equal "$(json '[.type, ."virtual-size", ."file-size", ."block-size", ."blocks-total",
	."blocks-allocated"]')" '["fixed",5242880,5243392,null,null,null]'

say "for people"
expect_status 0 "$VHDIMG" info "$TMP/dynamic.vhd" "$TMP/fixed.vhd"
for line in "image: $TMP/dynamic.vhd" "type: dynamic VHD" "type: fixed VHD" \
	"virtual size: 100.0 MiB (104857600 bytes)" "blocks allocated: 3 of 100" "in use: no"; do
	grep -Fqx "$line" "$TMP/out" || fail "no '$line' in: $(cat "$TMP/out")"
done
expect_equal "$(wc -c <"$TMP/err")" 0 "stderr"

say "a child and its parent"
corpus_image govhd-win8 "$TMP/win8.vhd"
corpus_image govhd-win8-child "$TMP/child.vhd"
cd "$TMP"
info 0 child.vhd
expect_equal "$(json '[.type, .parent.uuid, .parent.path]')" \
	"[\"differencing\",\"adb71975-4b5b-0b40-b025-d06dab31b26f\",\"$TMP/win8.vhd\"]"
expect_equal "$(json '.parent | keys')" '["filename","name","path","uuid"]'
expect_equal "$(json '.parent.name')" "$(jq -n '"C:\\Users\\sergi\\Downloads\\win8.vhd"')"
cd /
mv "$TMP/win8.vhd" "$TMP/away.vhd"
expect_status 66 "$VHDIMG" info "$TMP/child.vhd"
expect_said child.vhd win8.vhd

say "an image in use"
hold_with_qemu "$TMP/dynamic.vhd"
info 0 "$TMP/dynamic.vhd"
expect_equal "$(json '[."in-use", ."blocks-allocated"]')" "[true,3]"
# With -U no lock is looked at, so it is not known.
info 0 -U "$TMP/dynamic.vhd"
expect_equal "$(json '."in-use"')" null
let_go
info 0 "$TMP/dynamic.vhd"
expect_equal "$(json '."in-use"')" false

say "every image of the corpus: type and size as the manifest has them"
seen=0
while IFS='|' read -r name type size block; do
	case $name in
	dfvfs-image.vhd | *differential* | *child* | m08-* | m11-* | m13-* | m26-*) continue ;;
	esac
	corpus_image "${name%.vhd}" "$TMP/image.vhd"
	info 0 -q "$TMP/image.vhd"
	expect_equal "$(json '"\(.type)|\(."virtual-size")|\(."block-size" // "")"')" \
		"\"$type|$size|$block\"" "$name"
	seen=$((seen + 1))
	rm "$TMP/image.vhd"
done < <(awk -F'\t' -v OFS='|' '$1 ~ /vhd$/ && $8 ~ /^[0-9a-f]+$/ { print $1, $3, $5, $6 }' "$CORPUS/manifest.tsv")
test "$seen" -ge 50 || fail "only $seen images of the corpus were looked at"

say "what is odd is said, and not with -q"
corpus_image m03-no-trailing-footer "$TMP/m03.vhd"
info 0 "$TMP/m03.vhd"
expect_said "m03.vhd" "trailing footer is missing"
expect_equal "$(json '."virtual-size"')" 10485760
info 0 -q "$TMP/m03.vhd"
expect_equal "$(wc -c <"$TMP/err")" 0 "stderr with -q"

say "what is refused"
expect_status 66 "$VHDIMG" info "$TMP/none.vhd"
expect_said none.vhd
expect_status 66 "$VHDIMG" info "$TMP/m03.vhd/x"
expect_status 65 "$VHDIMG" info "$TMP"
: >"$TMP/empty"
expect_status 65 "$VHDIMG" info "$TMP/empty"
expect_said empty
for format in vhdx qcow2 vmdk; do
	qemu-img create -q -f $format "$TMP/foreign" 10M
	expect_status 65 "$VHDIMG" info "$TMP/foreign"
	expect_said "foreign" "${format^^}|$format"
	rm "$TMP/foreign"
done
if test "$(id -u)" = 0 && command -v setpriv >/dev/null; then
	chmod 755 "$TMP"
	chmod 600 "$TMP/fixed.vhd"
	expect_status 77 setpriv --reuid=65534 --clear-groups "$VHDIMG" info "$TMP/fixed.vhd"
	expect_said fixed.vhd
fi
