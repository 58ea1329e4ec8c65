#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg create: the size asked for is the size made, as we and qemu read it; nothing is ever
# replaced; what cannot be made leaves nothing behind.
. "$(dirname "$0")/support/lib.sh"

requires jq qemu-img

mkdir "$TMP/d"

# made FILE SIZE TYPE: sound, and of exactly that size to us and to qemu.
made() {
	expect_equal "$("$VHDIMG" info --output=json "$1" | jq -r '"\(.type) \(."virtual-size")"')" \
		"$3 $2"
	expect_equal "$(qemu-img info -f vpc --output=json "$1" | jq '."virtual-size"')" "$2" \
		"$1 as qemu reads it"
	check_image "$1"
}

say "sizes, exactly"
for size in 512 1024 1M 3145728 10M 100M 1073742336 127G 128G 2040G; do
	expect_status 0 "$VHDIMG" create "$TMP/d/a.vhd" $size
	expect_equal "$(cat "$TMP/out" "$TMP/err")" "" "what create $size said"
	made "$TMP/d/a.vhd" "$(numfmt --from=iec $size)" dynamic
	rm "$TMP/d/a.vhd"
done
for size in 512 1M 10M 1073742336; do
	"$VHDIMG" create --type=fixed "$TMP/d/a.vhd" $size
	made "$TMP/d/a.vhd" "$(numfmt --from=iec $size)" fixed
	expect_equal "$(stat -c %s "$TMP/d/a.vhd")" $(($(numfmt --from=iec $size) + 512))
	rm "$TMP/d/a.vhd"
done
"$VHDIMG" create --type=dynamic "$TMP/d/a.vhd" 1.5G
made "$TMP/d/a.vhd" 1610612736 dynamic
rm "$TMP/d/a.vhd"

say "block sizes"
for size in 4K 512K 1M 2097152 16M 256M; do
	"$VHDIMG" create --block-size=$size "$TMP/d/a.vhd" 300M
	expect_equal "$("$VHDIMG" info --output=json "$TMP/d/a.vhd" | jq '."block-size"')" \
		"$(numfmt --from=iec $size)"
	check_image "$TMP/d/a.vhd"
	rm "$TMP/d/a.vhd"
done
"$VHDIMG" create "$TMP/d/a.vhd" 10M
expect_equal "$("$VHDIMG" info --output=json "$TMP/d/a.vhd" | jq '."block-size"')" 2097152
rm "$TMP/d/a.vhd"

say "two images have two ids"
"$VHDIMG" create "$TMP/1.vhd" 10M
"$VHDIMG" create "$TMP/2.vhd" 10M
test "$("$VHDIMG" info --output=json "$TMP/1.vhd" | jq .uuid)" != \
	"$("$VHDIMG" info --output=json "$TMP/2.vhd" | jq .uuid)" || fail "the same unique id"

# wrong STATUS PATTERN ARGUMENT...: and the folder is as empty as before.
wrong() {
	local status=$1 pattern=$2
	shift 2
	expect_status "$status" "$VHDIMG" create "$@"
	grep -Eq -- "$pattern" <<<"$(head -1 "$TMP/err")" || fail "'$pattern' not in: $(cat "$TMP/err")"
	expect_equal "$(ls -A "$TMP/d")" "" "left behind by create $*"
}

say "wrong usage"
wrong 64 "wants IMAGE"
wrong 64 "size of .* is missing" "$TMP/d/a.vhd"
wrong 64 "too many" "$TMP/d/a.vhd" 10M 10M
for size in "" 0 513 10X 10.M -- 1e3 0x400 " 10M" 3000G 99999999999999999999; do
	wrong 64 "" -- "$TMP/d/a.vhd" "$size"
done
wrong 64 "unknown option -1" "$TMP/d/a.vhd" -10M
for size in 0 3M 2K 512M 5G 4097 x; do
	wrong 64 "" --block-size=$size "$TMP/d/a.vhd" 10M
done
wrong 64 "no blocks" --type=fixed --block-size=2M "$TMP/d/a.vhd" 10M
wrong 64 "type=differencing" --type=differencing "$TMP/d/a.vhd" 10M

say "nothing is replaced"
echo precious >"$TMP/file"
ln -s nowhere "$TMP/link"
mkdir "$TMP/folder"
mkfifo "$TMP/fifo"
for name in file link folder fifo 1.vhd; do
	expect_status 73 "$VHDIMG" create "$TMP/$name" 10M
	expect_said "$name"
done
expect_equal "$(cat "$TMP/file")" precious
expect_equal "$(readlink "$TMP/link")" nowhere
refuses test -e "$TMP/nowhere"

say "what cannot be made"
expect_status 73 "$VHDIMG" create "$TMP/none/a.vhd" 10M
expect_said none/a.vhd
expect_status 73 "$VHDIMG" create "$TMP/file/a.vhd" 10M
if test "$(id -u)" = 0 && command -v setpriv >/dev/null; then
	chmod 755 "$TMP" "$TMP/d"
	wrong_as_nobody() {
		expect_status 77 setpriv --reuid=65534 --clear-groups "$VHDIMG" create \
			"$TMP/d/a.vhd" 10M
		expect_said d/a.vhd
	}
	wrong_as_nobody
fi

if test "$(id -u)" = 0; then
	say "a full host"
	mkdir "$TMP/small"
	if mount -t tmpfs -o size=256k none "$TMP/small" 2>/dev/null; then
		cleanup "umount '$TMP/small'"
		# A BAT of 2 MiB does not fit.
		expect_status 6 "$VHDIMG" create --block-size=2M "$TMP/small/a.vhd" 1000G
		expect_said small/a.vhd
		expect_equal "$(ls -A "$TMP/small")" "" "left behind on a full host"
		mount -o remount,ro "$TMP/small"
		expect_status 77 "$VHDIMG" create "$TMP/small/a.vhd" 10M
		expect_said small/a.vhd
	fi
fi
