#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What all commands of vhdimg share: wrong usage is 64 and says one line and where help is, help
# and version go to stdout, several images are served whatever becomes of the first, warnings go
# where they do not disturb, output that cannot be written is an error.
. "$(dirname "$0")/support/lib.sh"

requires jq

# usage PATTERN ARGUMENT...: refused as wrong usage with that sentence, and nothing on stdout.
usage() {
	local pattern=$1
	shift
	expect_status 64 "$VHDIMG" "$@"
	expect_equal "$(wc -c <"$TMP/out")" 0 "stdout of vhdimg $*"
	expect_equal "$(wc -l <"$TMP/err")" 2 "lines that vhdimg $* said"
	grep -Eq -- "^vhdimg: .*$pattern" <<<"$(sed -n 1p "$TMP/err")" || fail "$(cat "$TMP/err")"
	grep -Eq "^Try '.*--help'" <<<"$(sed -n 2p "$TMP/err")" || fail "$(cat "$TMP/err")"
}

make_image "$TMP/a.vhd" 10M
make_image "$TMP/b.vhd" 20M
make_image "$TMP/-c.vhd" 30M

say "wrong usage"
usage "no command"
usage "unknown command 'bogus'" bogus "$TMP/a.vhd"
usage "unknown option '-q'" -q info "$TMP/a.vhd"
# A later command is not half there.
usage "unknown command 'enlarge'" enlarge "$TMP/a.vhd"
# What umount(8) calls is reached by its name alone.
usage "unknown command" umount.fuse.vhdfuse "$TMP"
for command in info map check; do
	usage "wants IMAGE" "$command"
	usage "unknown option --bogus" "$command" --bogus "$TMP/a.vhd"
	usage "unknown option -Z" "$command" -qZ "$TMP/a.vhd"
	usage "takes no value" "$command" --quiet=yes "$TMP/a.vhd"
	usage "wants a value" "$command" "$TMP/a.vhd" --output
	usage "output=xml" "$command" --output=xml "$TMP/a.vhd"
	usage "output=: " "$command" --output= "$TMP/a.vhd"
	usage "output=human.json: " "$command" '--output=human|json' "$TMP/a.vhd"
	# No abbreviations: --force would come to mean --force-share.
	usage "unknown option --force" "$command" --force "$TMP/a.vhd"
	usage "unknown option --out" "$command" --out=json "$TMP/a.vhd"
done
usage "output=svg" info --output=svg "$TMP/a.vhd"
usage "output=svg" check --output=svg "$TMP/a.vhd"
usage "by=size: it is one of file.disk" map --by=size "$TMP/a.vhd"
usage "unknown option --by" check --by=file "$TMP/a.vhd"
usage "one image, or two" map --output=svg "$TMP/a.vhd" "$TMP/a.vhd" "$TMP/a.vhd"
usage "output=drawing" info --output=drawing "$TMP/a.vhd"
usage "unknown option --repair" info --repair "$TMP/a.vhd"
usage "repair=all" check --repair=all "$TMP/a.vhd"
usage "exclude each other" check --repair -U "$TMP/a.vhd"
usage "unknown option --output" create --output=json "$TMP/x.vhd" 10M
usage "wants MOUNTPOINT" umount
usage "one argument too many" umount "$TMP" "$TMP"

say "help and version"
for arguments in --help -h "info --help" "map -h" "check --help" "create --help" "umount -h"; do
	# shellcheck disable=SC2086
	expect_status 0 "$VHDIMG" $arguments
	grep -q "^Usage: vhdimg" "$TMP/out" || fail "no usage: $arguments"
	expect_equal "$(wc -c <"$TMP/err")" 0 "stderr of $arguments"
done
for command in info map check zero compact shrink create umount; do
	grep -q "^  $command " <<<"$("$VHDIMG" --help)" || fail "--help does not have $command"
done
# Help is there for who has forgotten the arguments, too.
expect_status 0 "$VHDIMG" create --help --type=fixed
for arguments in --version -V "info -V"; do
	# shellcheck disable=SC2086
	expect_status 0 "$VHDIMG" $arguments
	grep -Eqx "vhdimg [0-9]+(\.[0-9]+)+.*" "$TMP/out" || fail "version: $(cat "$TMP/out")"
done
grep -q "^Usage: umount.fuse.vhdfuse" <<<"$(exec -a umount.fuse.vhdfuse "$VHDIMG" --help)" ||
	fail "the umount helper has no help"

say "options and arguments in any order"
expect_status 0 "$VHDIMG" info "$TMP/a.vhd" --output json
expect_equal "$(jq -r .filename "$TMP/out")" "$TMP/a.vhd"
cd "$TMP"
usage "unknown option -c" info -c.vhd
expect_status 0 "$VHDIMG" info --output=json -- -c.vhd
expect_equal "$(jq -r .filename "$TMP/out")" -c.vhd
cd /

say "several images: all are served, the worst status counts"
expect_status 66 "$VHDIMG" info --output=json "$TMP/a.vhd" "$TMP/none.vhd" "$TMP/b.vhd"
expect_equal "$(jq -c 'map(."virtual-size")' "$TMP/out")" "[10485760,20971520]"
expect_said none.vhd
# Of several that could not be served, the first.
head -c 4096 /dev/urandom >"$TMP/noise"
expect_status 65 "$VHDIMG" info "$TMP/noise" "$TMP/none.vhd" "$TMP/a.vhd"
expect_status 66 "$VHDIMG" check --output=json "$TMP/none.vhd" "$TMP/noise"
expect_equal "$(jq -c . "$TMP/out")" "[]"
# One that could not be served has nothing on stdout.
expect_status 66 "$VHDIMG" check --output=json "$TMP/none.vhd"
expect_equal "$(wc -c <"$TMP/out")" 0

say "output that cannot be written"
expect_status 74 bash -c '"$1" info "$2" >/dev/full' bash "$VHDIMG" "$TMP/a.vhd"
expect_said "cannot write to standard output"
expect_status 74 bash -c '"$1" map --output=svg "$2" >/dev/full' bash "$VHDIMG" "$TMP/a.vhd"
expect_said "cannot write to standard output"
before=$(sha "$TMP/a.vhd")
for command in info map check; do
	expect_status 74 bash -c '"$1" "$2" "$3" >&-' bash "$VHDIMG" $command "$TMP/a.vhd"
	expect_said "cannot write to standard output"
done
# The image must not have got what was meant for the descriptors that were closed.
expect_status 74 bash -c '"$1" check --repair "$2" <&- >&- 2>&-' bash "$VHDIMG" "$TMP/a.vhd"
expect_equal "$(sha "$TMP/a.vhd")" "$before" "checksum after closed descriptors"

say "names do not drive the terminal"
name=$'esc\e[31m\tnew\nline\xc2\x9b1m'
make_image "$TMP/$name" 1M
expect_status 0 "$VHDIMG" info "$TMP/$name"
grep -Fqx "image: $TMP/esc?[31m?new?line?1m" "$TMP/out" || fail "$(head -3 "$TMP/out")"
expect_status 0 "$VHDIMG" info --output=json "$TMP/$name"
expect_equal "$(jq -r .filename "$TMP/out")" "$TMP/$name"
expect_status 66 "$VHDIMG" info "$TMP/$name.none"
expect_said 'esc\?\[31m\?new'
# A name that is not UTF-8 still makes JSON.
make_image "$TMP"/$'caf\xe9.vhd' 1M
expect_status 0 "$VHDIMG" info --output=json "$TMP"/$'caf\xe9.vhd'
expect_equal "$(jq -r .filename "$TMP/out")" "$TMP"/$'caf\xef\xbf\xbd.vhd'
