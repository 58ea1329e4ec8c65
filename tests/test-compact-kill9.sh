#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 of vhdimg compact and shrink after a random while: each time the image is sound, and a second
# run brings it to the size that was told, with the same contents. VHD_SEED repeats the delays.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img qemu-io mkfs.ext4 e2fsck debugfs openssl
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
seed=${VHD_SEED:-$RANDOM}
RANDOM=$seed
echo "seed=$seed"
rounds=25
test -z "${VHD_LONG:-}" || rounds=200

vhd() {
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" "$@"
}
job_of() {
	case $1 in
	align) echo "compact --align" ;;
	no-holes) echo "compact --no-holes" ;;
	*) echo "$1" ;;
	esac
}

# A filesystem with every other file deleted, on the whole disk; behind it blocks of zeros that were written.
fill "$TMP/noise" 1500000 kill
truncate -s 96M "$TMP/raw"
mkfs.ext4 -q -F -b 4096 "$TMP/raw" 64M
for ((i = 0; i < 36; i++)); do
	echo "write $TMP/noise file$i"
done >"$TMP/commands"
for ((i = 0; i < 36; i += 2)); do
	echo "rm file$i"
done >>"$TMP/commands"
debugfs -w -f "$TMP/commands" "$TMP/raw" >"$TMP/debugfs.out" 2>&1
e2fsck -fn "$TMP/raw" >"$TMP/fsck.out" 2>&1 || fail "$(cat "$TMP/fsck.out")"
qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$TMP/raw" "$TMP/new.vhd"
qemu-io -f vpc -c "write -P 0xaa 64M 32M" -c "write -P 0 66M 22M" "$TMP/new.vhd" >/dev/null
zeroed=$(cp "$TMP/new.vhd" "$TMP/a.vhd" && "$VHDIMG" zero -q "$TMP/a.vhd" && vhd sha "$TMP/a.vhd")
plain=$(vhd sha "$TMP/new.vhd")

# What is free may be anything until shrink is through; what is not must be as it was.
files_are_whole() {
	qemu-img convert -f vpc -O raw "$1" "$TMP/a.raw"
	e2fsck -fn "$TMP/a.raw" >"$TMP/fsck.out" 2>&1 || fail "round $round: $(cat "$TMP/fsck.out")"
	debugfs -R "dump file35 $TMP/dumped" "$TMP/a.raw" 2>/dev/null
	cmp "$TMP/noise" "$TMP/dumped" || fail "round $round: a file is lost"
}

killed=0
for ((round = 0; round < rounds; round++)); do
	kinds=(compact shrink align no-holes)
	kind=${kinds[round % 4]}
	read -ra job <<<"$(job_of "$kind")"
	cp "$TMP/new.vhd" "$TMP/a.vhd"
	if test -z "${size[$((round % 4))]:-}"; then
		expect_status 0 "$VHDIMG" "${job[@]}" -n --output=json "$TMP/a.vhd"
		size[$((round % 4))]=$(jq '."file-size-after"' "$TMP/out")
		begin=${EPOCHREALTIME/./}
		"$VHDIMG" "${job[@]}" -q "$TMP/a.vhd"
		took[$((round % 4))]=$((${EPOCHREALTIME/./} - begin))
		cp "$TMP/new.vhd" "$TMP/a.vhd"
	fi
	"$VHDIMG" "${job[@]}" -q "$TMP/a.vhd" &
	pid=$!
	sleep "$(printf '0.%06d' $(((RANDOM * 32768 + RANDOM) % (took[round % 4] < 999999 ? took[round % 4] : 999999))))"
	kill -9 $pid 2>/dev/null || true
	status=0
	{ wait $pid; } 2>/dev/null || status=$?
	test $status != 137 || killed=$((killed + 1))
	check_image "$TMP/a.vhd" 3
	if test "$kind" = shrink; then
		files_are_whole "$TMP/a.vhd"
	else
		expect_equal "$(vhd sha "$TMP/a.vhd")" "$plain" "round $round, $kind killed (VHD_SEED=$seed)"
	fi
	expect_status 0 "$VHDIMG" "${job[@]}" "$TMP/a.vhd"
	expect_equal "$(stat -c %s "$TMP/a.vhd")" "${size[$((round % 4))]}" "round $round, the size after $kind (VHD_SEED=$seed)"
	check_image "$TMP/a.vhd"
	expected=$plain
	test "$kind" != shrink || expected=$zeroed
	expect_equal "$(vhd sha "$TMP/a.vhd")" "$expected" "round $round, after $kind (VHD_SEED=$seed)"
done
test $killed -ge $((rounds / 4)) || fail "only $killed of $rounds were killed at work"
say "$killed of $rounds killed at work"
