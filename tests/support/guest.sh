# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests of the filesystems' readers share; sourced after lib.sh.
#
# A layout is a way to make a filesystem. A test names its functions after it:
#	make_NAME FILE		a filesystem in a new raw file
#	fill_NAME FILE		files in it, some of them deleted again; ends unmounted and clean.
#				remember_tree has been called on the tree as it stays
#	fsck_NAME FILE		must succeed: the filesystem is clean, by its own checker
#	verify_NAME FILE	the files that stay are as remembered
# and then says: try_layout READER NAME.

FREEMAP=${FREEMAP:-$(find_program tests/guest/freemap)}

# make_tree DIR [FILES]: files of many sizes, fragmented by deleting every other one. On a filesystem
# of its own all have their places before some are deleted: allocation may be put off until then.
make_tree() {
	local dir=$1 files=${2:-60} i all=()
	make_noise "$files"
	for ((i = 0; i < files; i++)); do
		all+=("$TMP/noise/file $i" "$TMP/noise/gone $i")
	done
	mkdir -p "$dir/keep"
	cp -- "${all[@]}" "$TMP/noise/gone large" "$TMP/noise/large" "$dir/keep"
	! mountpoint -q "$dir" || sync -f "$dir"
	rm -f -- "$dir/keep/gone "*
}

# make_noise FILES: what the trees are made of, once a test.
make_noise() {
	local i
	mkdir -p "$TMP/noise"
	for ((i = 0; i < $1; i++)); do
		test ! -f "$TMP/noise/gone $i" || continue
		fill "$TMP/noise/file $i" $((i * i * 97 + i * 13 + 1)) "keep $i"
		fill "$TMP/noise/gone $i" $((i * i * 89 + i * 7 + 1)) "gone $i"
	done
	test ! -f "$TMP/noise/gone large" || return 0
	fill "$TMP/noise/large" 3000001 large
	fill "$TMP/noise/gone large" 5000001 larger
}

# remember_tree DIR, and same_tree DIR: every file's name and SHA-256.
remember_tree() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$TMP/tree.sums"
	test -s "$TMP/tree.sums" || fail "no files to remember"
}
same_tree() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) |
		diff - "$TMP/tree.sums" >"$TMP/tree.diff" || fail "files differ: $(head -5 "$TMP/tree.diff")"
}

# in_loop_mount FILE OPTIONS COMMAND...: COMMAND with the mount's folder appended, through the kernel.
in_loop_mount() {
	local file=$1 options=$2
	shift 2
	mkdir -p "$TMP/in"
	loop_attach "$file"
	mount ${options:+-o "$options"} "$LOOP" "$TMP/in"
	cleanup "umount '$TMP/in'"
	"$@" "$TMP/in"
	umount "$TMP/in"
	cleanup_done "umount '$TMP/in'"
	loop_detach "$LOOP"
}

# fill_by_kernel FILE [OPTIONS], verify_by_kernel FILE [OPTIONS]: what fill_ and verify_ mostly are.
fill_by_kernel() {
	in_loop_mount "$1" "${2:-}" make_and_remember
}
make_and_remember() {
	make_tree "$1"
	remember_tree "$1"
}
verify_by_kernel() {
	in_loop_mount "$1" "ro${2:+,$2}" same_tree
}

# is_clean READER FILE: sets USED and FREE, in bytes.
is_clean() {
	"$FREEMAP" "$1" "$2" >"$TMP/verdict" || fail "$1 on $2: $(cat "$TMP/verdict")"
	read -r _ _ USED FREE <"$TMP/verdict"
}

# is_refused READER FILE STATE [PATTERN]: the verdict is STATE, and its sentence matches.
is_refused() {
	! "$FREEMAP" "$1" "$2" >"$TMP/verdict" || fail "$1 accepts what is $3"
	grep -Eq "^$3 .*${4:-}" "$TMP/verdict" || fail "not '$3 ${4:-}': $(cat "$TMP/verdict")"
}

# The AA test: whatever the reader calls free is overwritten, and nothing may be missed.
aa_test() {
	local reader=$1 name=$2 file=$3
	cp --sparse=always "$file" "$TMP/aa.img"
	"$FREEMAP" "$reader" "$TMP/aa.img" fill >"$TMP/verdict"
	"fsck_$name" "$TMP/aa.img" >"$TMP/fsck.out" 2>&1 ||
		fail "$name: overwriting what is free broke it: $(tail -5 "$TMP/fsck.out")"
	"verify_$name" "$TMP/aa.img"
	is_clean "$reader" "$TMP/aa.img"
	rm -f "$TMP/aa.img"
}

# json FILTER FILE
json() {
	jq -c "$1" "$2"
}

# Of what zero says, that which a dry run must have said before.
numbers='[."blocks-before", ."blocks-after", ."zeroed-bytes", ."compacted-size"]'

# zero_image IMAGE: by vhdimg zero, which must do what its dry run said, and nothing when it is run again.
# Sets STATUS.
zero_image() {
	local image=$1 before again
	before=$(sha "$image")
	STATUS=0
	"$VHDIMG" zero -n --output=json "$image" >"$TMP/dry.json" 2>"$TMP/err" || STATUS=$?
	expect_equal "$(sha "$image")" "$before" "the dry run changed the image"
	before=$(stat -c %s "$image")
	again=0
	"$VHDIMG" zero --output=json "$image" >"$TMP/wet.json" 2>"$TMP/err" || again=$?
	expect_equal "$again" "$STATUS" "status of zero and of its dry run: $(cat "$TMP/err")"
	expect_equal "$(json "$numbers" "$TMP/wet.json")" "$(json "$numbers" "$TMP/dry.json")" \
		"what was done, and what would be"
	test "$(stat -c %s "$image")" -le "$before" || fail "the file grew"
	before=$(sha "$image")
	"$VHDIMG" zero --output=json "$image" >"$TMP/again.json" 2>"$TMP/err" || true
	expect_equal "$(json '."zeroed-bytes"' "$TMP/again.json")" 0 "zeroed again"
	expect_equal "$(sha "$image")" "$before" "the second run changed the image"
}

# The zero test: in a VHD and in a raw file, all that is free reads as zeros then, and nothing is missed.
zero_test() {
	local reader=$1 name=$2 file=$3
	qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$file" "$TMP/zero.vhd"
	zero_image "$TMP/zero.vhd"
	expect_equal "$STATUS" 0 "zero: $(cat "$TMP/err")"
	check_image "$TMP/zero.vhd" 3
	qemu-img convert -f vpc -O raw "$TMP/zero.vhd" "$TMP/zero.img"
	is_zeroed "$@" "$TMP/zero.img"
	rm -f "$TMP/zero.vhd" "$TMP/zero.img"
	cp --sparse=always "$file" "$TMP/zero.img"
	zero_image "$TMP/zero.img"
	is_zeroed "$@" "$TMP/zero.img"
	rm -f "$TMP/zero.img"
}
is_zeroed() {
	local reader=$1 name=$2 zeroed=$4
	"fsck_$name" "$zeroed" >"$TMP/fsck.out" 2>&1 ||
		fail "$name: zeroing what is free broke it: $(tail -5 "$TMP/fsck.out")"
	"verify_$name" "$zeroed"
	"$FREEMAP" "$reader" "$zeroed" zeros >"$TMP/verdict" || fail "$name: $(cat "$TMP/verdict")"
}

# try_map READER NAME: what is promised of the map of one filesystem, which takes a tenth of the time.
try_map() {
	local reader=$1 name=$2
	say "$name"
	rm -f "$TMP/fs.img"
	"make_$name" "$TMP/fs.img"
	"fill_$name" "$TMP/fs.img"
	"fsck_$name" "$TMP/fs.img" >"$TMP/fsck.out" 2>&1 ||
		fail "$name: not clean to begin with: $(tail -5 "$TMP/fsck.out")"
	is_clean "$reader" "$TMP/fs.img"
	test "$FREE" -gt 0 || fail "$name: nothing is free"
	aa_test "$reader" "$name" "$TMP/fs.img"
}

# try_layout READER NAME: the whole of what is promised for one filesystem. A short run of the tests
# zeroes a test's first layout alone; what zeroing makes of a map is the same for all of them.
ZEROED=
try_layout() {
	try_map "$1" "$2"
	if test -z "$ZEROED" || test -n "${VHD_LONG:-}"; then
		zero_test "$1" "$2" "$TMP/fs.img"
	fi
	ZEROED=1
}
