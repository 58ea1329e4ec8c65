#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vhdimg compact and shrink as a user meets them: what is refused, with which status and sentence, and
# not touched; what they say; how they are stopped.
. "$(dirname "$0")/support/lib.sh"

requires jq python3 qemu-img qemu-io openssl
requires_fuse
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
M=$((1 << 20))
mkdir "$TMP/mnt"

vhd() {
	"$PYTHON" "$top_srcdir/tests/support/vhd.py" "$@"
}

make_image "$TMP/new.vhd" 64M
fill "$TMP/noise" $((20 * M)) refuse
mount_vhd "$TMP/new.vhd" "$TMP/mnt"
dd if="$TMP/noise" of="$DISK" bs=1M seek=10 conv=notrunc status=none
dd if=/dev/zero of="$DISK" bs=1M seek=12 count=12 conv=notrunc status=none
umount_vhd "$TMP/mnt"
cp "$TMP/new.vhd" "$TMP/a.vhd"

# refused STATUS WORDS IMAGE [OPTION...]: by both, and not a byte is touched.
refused() {
	local status=$1 words=$2 image=$3 before verb
	shift 3
	before=$(sha "$image" 2>/dev/null || echo none)
	for verb in compact shrink; do
		expect_status "$status" "$VHDIMG" "$verb" "$@" "$image"
		expect_said "$words"
		test ! -s "$TMP/out" || fail "$verb said: $(cat "$TMP/out")"
		expect_equal "$(sha "$image" 2>/dev/null || echo none)" "$before" "$verb: a refused image was changed"
	done
}

say "in use"
hold_with_qemu "$TMP/a.vhd"
refused 75 'a\.vhd: .*in use' "$TMP/a.vhd"
let_go
mount_vhd "$TMP/a.vhd" "$TMP/mnt" ro
refused 75 'a\.vhd: .*in use' "$TMP/a.vhd"
umount_vhd "$TMP/mnt"
mount_vhd "$TMP/a.vhd" "$TMP/mnt"
refused 75 'a\.vhd: .*in use' "$TMP/a.vhd"
umount_vhd "$TMP/mnt"
same "$TMP/a.vhd" "$TMP/new.vhd"

say "read-only, or no permission"
chmod 444 "$TMP/a.vhd"
if test "$(id -u)" = 0; then
	chmod 755 "$TMP"
	for verb in compact shrink; do
		expect_status 77 setpriv --reuid=65534 --regid=65534 --clear-groups "$VHDIMG" $verb "$TMP/a.vhd"
		expect_said 'a\.vhd: .*[Pp]ermission'
	done
	mkdir "$TMP/host"
	mount -t tmpfs none "$TMP/host"
	cleanup "umount '$TMP/host'"
	cp "$TMP/new.vhd" "$TMP/host/ro.vhd"
	mount -o remount,ro "$TMP/host"
	refused 77 'ro\.vhd: .*[Rr]ead-only' "$TMP/host/ro.vhd"
else
	refused 77 'a\.vhd: .*[Pp]ermission' "$TMP/a.vhd"
fi
same "$TMP/a.vhd" "$TMP/new.vhd"
chmod 644 "$TMP/a.vhd"

say "what is fixed, no VHD, damaged, missing"
make_image "$TMP/fixed.vhd" 10M --type=fixed
refused 69 'fixed\.vhd: .*fixed' "$TMP/fixed.vhd"
refused 65 'noise: not a VHD' "$TMP/noise"
for format in qcow2 vhdx vmdk; do
	qemu-img create -q -f $format "$TMP/x.$format" 10M
	refused 65 "x\.$format: .*($format|${format^^})" "$TMP/x.$format"
done
gzip -c "$TMP/new.vhd" >"$TMP/x.gz"
refused 65 'x\.gz: .*gzip' "$TMP/x.gz"
: >"$TMP/empty"
refused 65 'empty: not a VHD' "$TMP/empty"
refused 66 'none\.vhd: .*No such file' "$TMP/none.vhd"
cp "$TMP/new.vhd" "$TMP/bad.vhd"
printf '\x00\x00\x00\x04' | dd of="$TMP/bad.vhd" bs=1 seek=1536 conv=notrunc status=none
refused 65 'bad\.vhd: .*check' "$TMP/bad.vhd"
cp "$TMP/new.vhd" "$TMP/bad.vhd"
printf 'damaged' | dd of="$TMP/bad.vhd" bs=1 seek=512 conv=notrunc status=none
refused 65 'bad\.vhd: ' "$TMP/bad.vhd"

say "a saved state"
cp "$TMP/new.vhd" "$TMP/saved.vhd"
vhd state "$TMP/saved.vhd"
refused 75 'saved\.vhd: .*saved state' "$TMP/saved.vhd"
refused 75 'saved\.vhd: .*saved state' "$TMP/saved.vhd" -n

say "wrong usage"
for words in "compact" "compact --frobnicate X" "compact --only=1 X" "compact --force X" "compact --max-time X" \
	"compact --max-time= X" "compact --max-time=0 X" "compact --max-time=-1 X" "compact --max-time=1h X" \
	"compact --output=xml X" "shrink --max-time=x X" "shrink"; do
	read -ra words <<<"${words//X/$TMP/a.vhd}"
	expect_status 64 "$VHDIMG" "${words[@]}"
done
same "$TMP/a.vhd" "$TMP/new.vhd"

say "the closing line, and JSON"
expect_status 0 "$VHDIMG" compact -n "$TMP/a.vhd"
grep -Eqx ".*/a\.vhd: [0-9.]+ MiB -> [0-9.]+ MiB, 1[0-9.]+ MiB would be freed \(6 blocks\), 0:0[0-9]" "$TMP/out" || fail "$(cat "$TMP/out")"
expect_status 0 "$VHDIMG" compact "$TMP/a.vhd"
grep -Eqx ".*/a\.vhd: [0-9.]+ MiB -> [0-9.]+ MiB, 1[0-9.]+ MiB freed \(6 blocks\), 0:0[0-9]" "$TMP/out" || fail "$(cat "$TMP/out")"
test ! -s "$TMP/err" || fail "$(cat "$TMP/err")"
expect_status 0 "$VHDIMG" compact "$TMP/a.vhd"
grep -Eqx ".*/a\.vhd: [0-9.]+ MiB, nothing freed: no block reads as zeros, 0:0[0-9]" "$TMP/out" || fail "$(cat "$TMP/out")"
cp "$TMP/new.vhd" "$TMP/b.vhd"
expect_status 0 "$VHDIMG" compact -q "$TMP/b.vhd"
test ! -s "$TMP/out" && test ! -s "$TMP/err" || fail "-q is not quiet"
for verb in compact shrink; do
	cp "$TMP/new.vhd" "$TMP/b.vhd"
	expect_status 0 "$VHDIMG" $verb --output=json "$TMP/b.vhd"
	jq -e --arg name "$TMP/b.vhd" --argjson size "$(stat -c %s "$TMP/b.vhd")" --argjson was "$(stat -c %s "$TMP/new.vhd")" '
		.filename == $name and ."dry-run" == false and ."file-size-before" == $was and
		."file-size-after" == $size and ."blocks-before" == 10 and ."blocks-after" == 4 and
		(."zeroed-bytes" | type) == "number" and (.skipped | type) == "array" and .status == "done"' \
		"$TMP/out" >/dev/null || fail "$verb: $(cat "$TMP/out")"
done

say "several at once: each is served, and the worst status told"
cp "$TMP/new.vhd" "$TMP/a.vhd"
cp "$TMP/new.vhd" "$TMP/b.vhd"
expect_status 66 "$VHDIMG" compact --output=json "$TMP/a.vhd" "$TMP/none.vhd" "$TMP/b.vhd"
expect_equal "$(jq -c '[.[].status]' "$TMP/out")" '["done","done"]'
same "$TMP/a.vhd" "$TMP/b.vhd"

# 1 GiB of zeros that are allocated, half of them behind a block that stays.
make_image "$TMP/large.vhd" 1G
mount_vhd "$TMP/large.vhd" "$TMP/mnt" detect_zeroes=off
dd if=/dev/zero of="$DISK" bs=4M count=100 conv=notrunc status=none
dd if="$TMP/noise" of="$DISK" bs=1M seek=400 conv=notrunc status=none
umount_vhd "$TMP/mnt"
contents=$(vhd sha "$TMP/large.vhd")
size=$("$VHDIMG" compact -n --output=json "$TMP/large.vhd" | jq '."file-size-after"')

say "stopped by a signal, it keeps what was gained, and a second run finishes"
for signal in INT TERM; do
	expect_stopped "$signal" 'cp "$TMP/large.vhd" "$TMP/a.vhd"' "$VHDIMG" compact --output=json "$TMP/a.vhd"
	expect_said 'a\.vhd: stopped; running it again goes on from there'
	expect_equal "$(jq -r .status "$TMP/out")" partial
	check_image "$TMP/a.vhd" 3
	expect_equal "$(vhd sha "$TMP/a.vhd")" "$contents" "stopped by SIG$signal"
	expect_status 0 "$VHDIMG" compact "$TMP/a.vhd"
	expect_equal "$(stat -c %s "$TMP/a.vhd")" "$size"
	expect_equal "$(vhd sha "$TMP/a.vhd")" "$contents" "after SIG$signal and a second run"
done

say "--max-time is reached: what was gained is kept, and it is no error"
for ((us = 20000; us > 0; us /= 2)); do
	cp "$TMP/large.vhd" "$TMP/a.vhd"
	# Held until the time is over: no machine is too fast for that.
	"$VHDIMG" compact --max-time=1 --output=json "$TMP/a.vhd" >"$TMP/out" 2>"$TMP/err" &
	job=$!
	await_catch "$job" $us
	kill -STOP $job 2>/dev/null || true
	sleep 1.1
	kill -CONT $job 2>/dev/null || true
	wait $job || fail "status $? at the end of the time: $(cat "$TMP/err")"
	test "$(jq -r .status "$TMP/out")" = "done" || break
done
expect_equal "$(jq -r .status "$TMP/out")" partial
check_image "$TMP/a.vhd" 3
expect_equal "$(vhd sha "$TMP/a.vhd")" "$contents" "stopped early"
expect_status 0 "$VHDIMG" compact --max-time=1000 "$TMP/a.vhd"
expect_equal "$(stat -c %s "$TMP/a.vhd")" "$size"

say "-p tells how far it is: never back, never 100 before the end; SIGUSR1 asks for a line"
cp "$TMP/large.vhd" "$TMP/a.vhd"
# On a terminal, and held now and then for longer than a line stands.
"$PYTHON" - "$VHDIMG" compact "$TMP/a.vhd" >"$TMP/terminal" <<-'END'
	import os, pty, re, signal, subprocess, sys, threading, time
	ours, theirs = pty.openpty()
	job = subprocess.Popen(sys.argv[1:], stderr=theirs, stdout=subprocess.DEVNULL)
	os.close(theirs)
	text = bytearray()
	def listen():
	    try:
	        while True:
	            text.extend(os.read(ours, 4096))
	    except OSError:
	        pass
	listener = threading.Thread(target=listen)
	listener.start()
	while job.poll() is None:
	    time.sleep(.01)
	    if job.poll() is None:
	        job.send_signal(signal.SIGSTOP)
	        time.sleep(.22)
	        job.send_signal(signal.SIGCONT)
	listener.join()
	seen, last = 0, {}
	for phase, percent in re.findall(rb": (\w+): (\d+) %", bytes(text)):
	    seen += 1
	    if int(percent) >= 100 or int(percent) < last.get(phase, 0):
	        sys.exit("%s at %s after %d" % (phase, percent, last.get(phase, 0)))
	    last[phase] = int(percent)
	if job.returncode or not seen:
	    sys.exit("status %d, %d times told how far it is" % (job.returncode, seen))
	print(seen, "lines")
END
said=0
for ((us = 20000; us > 0 && said == 0; us /= 2)); do
	cp "$TMP/large.vhd" "$TMP/a.vhd"
	"$VHDIMG" compact "$TMP/a.vhd" >"$TMP/out" 2>"$TMP/err" &
	job=$!
	await_catch "$job" $us
	kill -USR1 $job 2>/dev/null || true
	status=0
	wait $job || status=$?
	test $status = 0 || test $status = 138 || fail "status $status after SIGUSR1"
	said=$(grep -Ec 'a\.vhd: (scan|drop|move): [0-9]+ %' "$TMP/err" || true)
done
test "$said" -gt 0 || fail "no line after SIGUSR1"
