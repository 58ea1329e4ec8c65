#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Of a swap space everything is free but the header's page and the bad ones, with each size of page;
# it is the same swap space when all that is overwritten. One in which a system sleeps is refused,
# and left as it is.
. "$(dirname "$0")/support/lib.sh"
. "$(dirname "$0")/support/guest.sh"

requires mkswap swaplabel blkid

uuid=01234567-89ab-cdef-0123-456789abcdef

# What the pages have is of no account, even what looks like a header further on.
fill_swap() {
	fill "$TMP/noise" 3000000 swap
	dd if="$TMP/noise" of="$1" bs=65536 seek=2 conv=notrunc status=none
	identity "$1" >"$TMP/identity"
	grep -q "UUID=\"$uuid\"" "$TMP/identity" || fail "no UUID"
}
identity() {
	swaplabel "$1" && blkid -p -o full "$1" | sed 's/^[^:]*: //'
}
fsck_swap() {
	swaplabel "$1"
}
verify_swap() {
	identity "$1" | diff - "$TMP/identity" || fail "not the same swap space"
}

for page in 4096 8192 16384 32768 65536; do
	eval "make_swap$page() { truncate -s 20M \"\$1\"; mkswap -p $page -L 'a label' -U $uuid \"\$1\" >\"\$TMP/mkswap\" 2>&1; }"
	eval "fill_swap$page() { fill_swap \"\$1\"; }; fsck_swap$page() { fsck_swap \"\$1\"; }"
	eval "verify_swap$page() { verify_swap \"\$1\"; }"
	try_layout swap swap$page
	is_clean swap "$TMP/fs.img"
	expect_equal "$FREE" "$(sed -n 's/.*size = .*(\([0-9]*\) bytes)/\1/p' "$TMP/mkswap")" "free bytes"
	expect_equal "$("$FREEMAP" swap "$TMP/fs.img" list | tail -1)" "$page $((20 * 1024 * 1024 - page))"
done

new_swap() {
	rm -f "$TMP/fs.img"
	make_swap4096 "$TMP/fs.img"
}

# poke OFFSET BYTES: BYTES as printf has them.
poke() {
	printf '%b' "$2" | dd of="$TMP/fs.img" bs=1 seek="$1" conv=notrunc status=none
}

# is_left STATE PATTERN: refused so, and not a byte is overwritten.
is_left() {
	local before
	is_refused swap "$TMP/fs.img" "$@"
	before=$(sha "$TMP/fs.img")
	! "$FREEMAP" swap "$TMP/fs.img" fill >/dev/null || fail "fills what is $1"
	expect_equal "$(sha "$TMP/fs.img")" "$before" "the file"
}

say "bad pages and what lies behind the last page are used"
new_swap
poke $((1024 + 8)) '\x03'
poke 1536 '\x05\0\0\0\x06\0\0\0\xff\x13\0\0'	# the last one is 5119
truncate -s $((20 * 1024 * 1024 + 40000)) "$TMP/fs.img"
is_clean swap "$TMP/fs.img"
expect_equal "$FREE" $((5116 * 4096))
"$FREEMAP" swap "$TMP/fs.img" list >"$TMP/list"
expect_equal "$(tail -n +2 "$TMP/list")" "4096 16384"$'\n'"28672 $((5112 * 4096))"
"$FREEMAP" swap "$TMP/fs.img" zeros >/dev/null || fail "not zero"
poke 20480 'x'
"$FREEMAP" swap "$TMP/fs.img" zeros >/dev/null || fail "a bad page is free"

say "a system sleeps in it"
for page in 4096 8192 65536; do
	for signature in 'S1SUSPEND\0' 'S2SUSPEND\0' 'ULSUSPEND\0' LINHIB0001; do
		rm -f "$TMP/fs.img"
		make_swap$page "$TMP/fs.img"
		poke $((page - 10)) "$signature"
		grep -q swsuspend <<<"$(blkid -p -o full "$TMP/fs.img")" || fail "not what libblkid knows"
		is_left hibernated 'start the guest and shut it down'
	done
done
new_swap
poke 0 '\xed\xc3\x02\xe9\x98\x56\xe5\x0c'
is_left hibernated

say "damaged, and not known"
new_swap
poke 1024 '\x02'
is_left unsupported 'version 2'
new_swap
poke 4086 'SWAP-SPACE'
is_left unsupported 'oldest'
new_swap
poke $((1024 + 4)) '\0\0\0\0'
is_left damaged 'room'
new_swap
poke $((1024 + 4)) '\0\x14'	# 5120 and the header's: one more than there are
is_left damaged 'room'
new_swap
poke $((1024 + 4)) '\xff\xff\xff\xff'
is_left damaged 'room'
new_swap
poke $((1024 + 8)) '\x01'	# page 0
is_left damaged 'bad pages has page 0'
new_swap
poke $((1024 + 8)) '\x01'
poke 1536 '\0\x14'
is_left damaged 'bad pages has page 5120'
new_swap
poke $((1024 + 8)) '\x7e\x02'	# 638 of at most 637
is_left damaged 'longer than'

say "none at all"
poke 4086 'SWAPSPACE3'
expect_equal "$("$FREEMAP" swap "$TMP/fs.img" || true)" no
truncate -s 100 "$TMP/fs.img"
expect_equal "$("$FREEMAP" swap "$TMP/fs.img" || true)" no
