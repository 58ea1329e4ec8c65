#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg check --for: what is said of qemu is what qemu does, for each image of the corpus; images of a
# program are taken by that program; and what each of the others is known to refuse is named.
. "$(dirname "$0")/support/lib.sh"

requires jq qemu-img xz
requires_corpus
requires_fuse
mkdir "$TMP/w"
cd "$TMP/w"
M=$((1 << 20))

# takes IMAGE PROGRAM: "true" or "false".
takes() {
	{ "$VHDIMG" check --output=json --for="$2" "$1" 2>/dev/null || true; } |
		jq -r '.for[0].takes'
}
# refused PROGRAM IMAGE PATTERN: with one reason, and that.
refused() {
	expect_status 69 "$VHDIMG" check -q --for="$1" "$2"
	expect_equal "$(wc -l <"$TMP/out")" 1 "reasons: $(cat "$TMP/out")"
	grep -Eq -- "^$2: $1 does not take it: .*$3" "$TMP/out" || fail "$(cat "$TMP/out")"
}

say "qemu, as it is installed here"
asked=0 refused=0
for packed in "$CORPUS"/*.vhd.xz; do
	image=$(basename "$packed" .xz)
	xz -dc "$packed" >"$image"
	said=$(takes "$image" qemu)
	"$VHDIMG" check --for=qemu "$image" >"$TMP/said" 2>&1 || true
	test "$said" = true || test "$said" = false || continue
	size=$("$VHDIMG" info --output=json "$image" 2>/dev/null | jq '."virtual-size"')
	type=$("$VHDIMG" info --output=json "$image" 2>/dev/null | jq -r .type)
	is=false
	if test "$type" != differencing &&
		test "$( (qemu-img info -f vpc --output=json "$image" 2>/dev/null || true) |
			jq '."virtual-size"')" = "$size"; then
		is=true
	fi
	test "$said" = "$is" || fail "$image: $is, and not: $(cat "$TMP/said")"
	asked=$((asked + 1))
	test "$said" = true || refused=$((refused + 1))
done
test "$asked" -gt 20 || fail "only $asked images were asked about"
test "$refused" -gt 3 || fail "only $refused were refused"

say "Windows takes what Windows made"
for image in govhd-win8.1-1GB.vhd govhd-win8.vhd; do
	expect_equal "$(takes "$image" windows)" true "$image"
done

say "what is made here is taken by all, but dynamic by Azure"
"$VHDIMG" create -q dynamic.vhd 30M
expect_status 0 "$VHDIMG" check --for=windows,xen,virtualbox,qemu dynamic.vhd
expect_equal "$(grep -c ' takes it$' "$TMP/out")" 4
refused azure dynamic.vhd 'the type is dynamic'
"$VHDIMG" create -q --type=fixed fixed.vhd 30M
expect_status 0 "$VHDIMG" check --for=windows,azure,xen,virtualbox,qemu fixed.vhd

say "what each refuses"
"$VHDIMG" create -q --type=fixed odd.vhd $((30 * M + 512))
refused azure odd.vhd 'no whole number of MiB'
"$VHDIMG" create -q --type=fixed small.vhd 19M
refused azure small.vhd '20 MiB is the least'
"$VHDIMG" create -q tiny.vhd 2M
refused windows tiny.vhd '3 MiB is the least'
"$VHDIMG" create -q --block-size=1M blocks.vhd 30M
refused windows blocks.vhd 'the block size is 1048576'
refused xen blocks.vhd 'the block size is 1048576'
"$VHDIMG" create -q --parent=dynamic.vhd child.vhd
refused qemu child.vhd 'differencing'
expect_status 0 "$VHDIMG" check --for=windows,xen,virtualbox child.vhd
"$VHDIMG" resize -q child.vhd 40M 2>/dev/null
refused windows child.vhd 'they have to be equal'
truncate -s 30M raw.img
"$VHDIMG" create -q --parent=raw.img of-raw.vhd
refused windows of-raw.vhd 'raw disk'
refused virtualbox of-raw.vhd 'raw disk'
cp dynamic.vhd no-trailer.vhd
truncate -s -512 no-trailer.vhd
expect_status 3 "$VHDIMG" check --for=windows no-trailer.vhd
grep -q 'windows does not take it: the trailing footer is missing' "$TMP/out" || fail "$(cat "$TMP/out")"

say "a table that went behind the blocks is not for Xen"
"$VHDIMG" create -q --parent=fixed.vhd long.vhd
mkdir mnt
mount_vhd long.vhd "$PWD/mnt"
echo data | dd of="$DISK" conv=notrunc status=none
umount_vhd "$PWD/mnt"
expect_status 0 "$VHDIMG" check -q --for=xen long.vhd
"$VHDIMG" resize -q long.vhd 2000G 2>/dev/null
refused xen long.vhd 'block 0 lies before the end of the block table'

say "who is asked"
expect_status 64 "$VHDIMG" check --for=bochs dynamic.vhd
expect_status 64 "$VHDIMG" check --for=qemu,bochs dynamic.vhd
