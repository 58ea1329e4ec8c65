#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The test of the crash test: each patch of tests/plants breaks one rule of the engine's crash-safety
# contract, and a crash test (tests/test_crash, or the one that the patch names) has to find out,
# while it finds nothing wrong with the engine as it is. A patch that does not apply or does not build any more is a failure: adapt it.
#
# Arguments: the patches to try; all of them by default.
. "$(dirname "$0")/support/lib.sh"

requires patch

makefile=$top_builddir/Makefile
tests="test_crash test_crash_reclaim test_merge test_relink test_resize"
for test in $tests; do
	{ test -f "$makefile" && test -x "$top_builddir/tests/$test"; } ||
		skip "there is no built tests/$test in $top_builddir"
done

# setting NAME: what configure chose.
setting() {
	sed -n "s/^$1 = //p" "$makefile" | head -n 1
}
cc=$(setting CC)
cflags="$(setting CFLAGS) $(setting SAN_FLAGS) $(setting UUID_CFLAGS)"
libs="$(setting LDFLAGS) $(setting CUNIT_LIBS) $(setting UUID_LIBS) -lpthread"
test -n "$cc" || fail "no compiler in $makefile"

# test_of PATCH: the crash test that is to find it.
test_of() {
	local name
	name=$(sed -n 's/^Test: //p' "$1")
	echo "${name:-test_crash}"
}

# build PATCH FOLDER: its crash test over an engine with the patch, in the folder. Without -O: it
# runs for a moment only.
build() {
	local dir=$2 file objects=()
	mkdir -p "$dir/vhd"
	while read -r file; do
		cp "$top_srcdir/$file" "$dir/$file" && chmod u+w "$dir/$file"
	done < <(sed -n 's,^+++ b/\(vhd/[^	 ]*\).*,\1,p' "$1")
	patch -s -d "$dir" -p1 -F 3 <"$1" || return 1
	for file in "$dir"/vhd/*.c; do
		# shellcheck disable=SC2086 # settings are lists of words
		$cc -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I"$dir" -I"$top_srcdir" -I"$top_builddir" \
			$cflags -O0 -c -o "${file%.c}.o" "$file" || return 1
		objects+=("${file%.c}.o")
	done
	# shellcheck disable=SC2086
	$cc $cflags -o "$dir/test" "$top_builddir/tests/$(test_of "$1").o" "${objects[@]}" \
		"$top_builddir/tests/support/libtestsupport.a" "$top_builddir/vhd/libvhd.a" $libs
}

# is_caught PATCH FOLDER: whether the test that the patch names reports a violation.
is_caught() {
	local status=0
	VHD_CRASH_STOP=1 VHD_LONG='' timeout 60 "$2/test" --seed=1 \
		--only="$(sed -n 's/^Caught-by: //p' "$1")" >"$2/out" 2>&1 || status=$?
	test "$status" = 1 && grep -q ': crash after call' "$2/out"
}

missed=0
if test $# = 0; then
	set -- "$top_srcdir"/tests/plants/*.patch
fi
for plant; do
	name=$(basename "$plant" .patch)
	if ! build "$plant" "$TMP/$name" >"$TMP/log" 2>&1; then
		cat "$TMP/log"
		echo "MISSED $name: does not apply or build"
		missed=$((missed + 1))
	elif is_caught "$plant" "$TMP/$name"; then
		echo "caught $name: $(grep -m 1 ': crash after call' "$TMP/$name/out" | cut -c 1-150)"
	else
		echo "MISSED $name: $(sed -n 's/^Breaks: //p' "$plant")"
		missed=$((missed + 1))
	fi
	rm -rf "${TMP:?}/$name"
done

echo "the engine without a plant"
for test in $tests; do
	VHD_LONG='' "$top_builddir/tests/$test" --seed=1 >"$TMP/log" 2>&1 || {
		cat "$TMP/log"
		fail "$test fails without any plant"
	}
done
test "$missed" = 0 || fail "$missed of $# plants were missed"
