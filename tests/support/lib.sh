# SPDX-License-Identifier: GPL-2.0-or-later
# What the shell tests share. A test is bash and begins with
#
#	. "${srcdir:-.}/tests/support/lib.sh"
#
# (or with the path by which it was started; see below). Sourcing it makes $TMP, an empty folder,
# finds $VHDFUSE and $VHDIMG, and sets a trap that undoes whatever was registered with `cleanup`,
# last first, however the test ends. Functions that attach or mount register their own undoing,
# and must not be called in a subshell or a pipe: what they make is in a variable.
#
# Nothing is ever ended or detached by a name, only by the id that the test itself got.

set -eu -o pipefail
export LC_ALL=C

# --- where things are: the environment wins, then automake's, then the place of this file -------

top_srcdir=${top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
top_builddir=$(cd "${top_builddir:-.}" && pwd)

find_program() {
	local place
	for place in "$top_builddir/fs/$1" "$top_builddir/tools/$1" "$top_builddir/$1"; do
		if test -x "$place" && ! test -d "$place"; then
			echo "$place"
			return
		fi
	done
	command -v "$1" || echo "$1"
}
VHDFUSE=${VHDFUSE:-$(find_program vhdfuse)}
VHDIMG=${VHDIMG:-$(find_program vhdimg)}

# --- ending ---------------------------------------------------------------------------------------

CLEANUPS=()

# cleanup COMMAND: a line for eval, run at the end of the test. Its failure is ignored.
cleanup() {
	CLEANUPS+=("$1")
}

# cleanup_done COMMAND: it was done already, and is not to be done again.
cleanup_done() {
	local i
	for i in "${!CLEANUPS[@]}"; do
		test "${CLEANUPS[i]}" != "$1" || CLEANUPS[i]=:
	done
}

run_cleanups() {
	local status=$? i
	trap - EXIT INT TERM HUP
	set +e
	cd /
	for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do
		eval "${CLEANUPS[i]}" >/dev/null 2>&1
	done
	exit "$status"
}
trap run_cleanups EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

skip() {
	echo "SKIP: $*"
	exit 77
}

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

say() {
	echo "-- $*"
}

# --- what a test needs ----------------------------------------------------------------------------

# requires COMMAND...: each is a program that must be there.
requires() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip "no $command here"
	done
}

requires_root() {
	test "$(id -u)" = 0 || skip "not root"
}

requires_fuse() {
	command -v "$VHDFUSE" >/dev/null || skip "vhdfuse was not built"
	command -v fusermount3 >/dev/null || skip "no fusermount3 here"
	{ exec 9<>/dev/fuse; } 2>/dev/null || skip "/dev/fuse cannot be opened"
	exec 9>&-
}

requires_loop() {
	requires_root
	requires losetup
	losetup -f >/dev/null 2>&1 || skip "no loop devices"
}

# Sets CORPUS, the folder of images that other programs made (a checkout beside ours).
requires_corpus() {
	CORPUS=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
	test -d "$CORPUS" || skip "no corpus of images at $CORPUS"
	requires xz
}

# corpus_image NAME FILE: unpacks CORPUS/NAME.vhd.xz, with holes.
corpus_image() {
	xz -dc "$CORPUS/$1.vhd.xz" >"$2"	# xz leaves holes in a regular file by itself
}

TMP=$(mktemp -d "${TMPDIR:-/tmp}/vhd-test.XXXXXX")
cleanup "rm -rf --one-file-system '$TMP'"

# --- asserting ------------------------------------------------------------------------------------

# expect_status N COMMAND...: runs it, its output in $TMP/out and $TMP/err; fails if not N.
expect_status() {
	local want=$1 got=0
	shift
	"$@" >"$TMP/out" 2>"$TMP/err" || got=$?
	test "$got" = "$want" ||
		fail "status $got instead of $want: $* (said: $(head -c 500 "$TMP/err"))"
}

# expect_said PATTERN...: each (grep -E) is in the one sentence that expect_status's command said.
expect_said() {
	local pattern
	test "$(wc -l <"$TMP/err")" = 1 || fail "not one sentence: $(cat "$TMP/err")"
	for pattern; do
		grep -Eq -- "$pattern" "$TMP/err" || fail "'$pattern' not in: $(cat "$TMP/err")"
	done
}

expect_equal() {
	test "$1" = "$2" || fail "'$1' instead of '$2'${3:+: $3}"
}

# expect_stopped SIGNAL RESET COMMAND...: sent SIGNAL (INT or TERM) some moment after it began to catch
# it, and on and on until it has ended (timeout(1) sends its signal twice), the command says by its
# status that it was stopped. It is tried sooner each time until it was not over by then. RESET is a
# command line that is run before each try.
expect_stopped() {
	local signal=$1 reset=$2 status=0 want=143 us job
	shift 2
	test "$signal" = TERM || want=130
	for ((us = 50000; us > 0 && status == 0; us = us * 19 / 20)); do
		eval "$reset"
		# In a shell's background SIGINT would be ignored.
		env --default-signal=INT "$@" >"$TMP/out" 2>"$TMP/err" &
		job=$!
		await_catch "$job" $us
		while kill -s "$signal" "$job"; do :; done 2>/dev/null
		wait "$job" || status=$?
		test -s "$TMP/err" || status=0	# ended by the signal, which it caught no more
	done
	expect_equal "$status" "$want" "never stopped by SIG$signal: $(cat "$TMP/err")"
}

# refuses COMMAND...: it must fail.
refuses() {
	if "$@" >/dev/null 2>&1; then
		fail "was not refused: $*"
	fi
}

sha() {
	sha256sum -- "$1" | cut -d' ' -f1
}

# Same bytes, without reading what is a hole in both more than once.
same() {
	cmp -- "$1" "$2" || fail "$1 and $2 differ"
}

# --- waiting: polled, never slept -----------------------------------------------------------------

# wait_for SECONDS COMMAND...: until it succeeds; 1 if it never does.
wait_for() {
	local deadline=$((SECONDS + $1 + 1))
	shift
	until "$@" >/dev/null 2>&1; do
		test "$SECONDS" -lt "$deadline" || return 1
		sleep 0.05
	done
}

# A process whose first thread has ended holds its files until the last one has.
is_gone() {
	! kill -0 "$1" || { test "$(cut -d' ' -f3 "/proc/$1/stat")" = Z &&
		test "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 | wc -l)" -le 1; }
}

# wait_gone SECONDS PID
wait_gone() {
	wait_for "$1" is_gone "$2"
}

# await_catch PID [MICROSECONDS]: until it catches SIGTERM, or has it blocked and waits for it, and that
# long; or until it has ended. A signal before that would just end it. Without a pause, since what it
# does may take a few milliseconds.
await_catch() {
	local text caught=0 deadline=$((SECONDS + 30))
	until test "$caught" = 1; do
		test "$SECONDS" -lt "$deadline" || fail "process $1 catches no signal"
		text=
		IFS= read -rd '' text 2>/dev/null <"/proc/$1/status" || true
		[[ $text =~ SigBlk:$'\t'([0-9a-f]+).*SigCgt:$'\t'([0-9a-f]+) ]] || return 0
		[[ $text != Name:$'\t'bash* ]] || continue	# this shell, which catches it, too
		caught=$(((16#${BASH_REMATCH[1]} | 16#${BASH_REMATCH[2]}) >> 14 & 1))
	done
	test "${2-0}" -lt 1000 || sleep "$(printf '0.%06d' "$2")"
}

is_mounted() {
	grep -Fq " $(printf '%s' "$1" | sed 's/ /\\040/g') " /proc/self/mounts
}

is_unmounted() {
	! is_mounted "$1"
}

wait_mounted() {
	wait_for "$1" is_mounted "$2"
}

# --- images and mounts ----------------------------------------------------------------------------

# make_image FILE SIZE [OPTION...]: with our own tool, so that the size is the size.
make_image() {
	local file=$1 size=$2
	shift 2
	command -v "$VHDIMG" >/dev/null || skip "vhdimg was not built"
	"$VHDIMG" create "$@" "$file" "$size" >/dev/null
}

# check_image FILE: sound, with nothing wasted. check_image FILE 3 allows waste.
check_image() {
	local status=0
	"$VHDIMG" check "$1" >"$TMP/check.out" 2>&1 || status=$?
	test "$status" = 0 || test "$status" = "${2:-0}" ||
		fail "$1 is not sound ($status): $(cat "$TMP/check.out")"
}

# read_chain OUT IMAGE [PARENT...]: the disk as a second reader finds it, which is not the engine;
# each PARENT is that of the image before it. Fails if one of them is damaged.
read_chain() {
	local reader=$top_builddir/tests/support/readchain
	test -x "$reader" || skip "there is no built $reader"
	"$reader" "$@" || fail "the second reader refuses $2"
}

# Number of blocks allocated, and bytes of the file.
blocks_of() {
	"$VHDIMG" info --output=json "$1" | tr ',{}' '\n' |
		sed -n 's/.*"blocks-allocated" *: *\([0-9]*\).*/\1/p' | sed -n 1p	# not the parents'
}

# mount_vhd IMAGE MOUNTPOINT [OPTIONS]: OPTIONS is one -o string. Sets DISK, the file to use, and
# DAEMON, the driver's process id. Must succeed.
mount_vhd() {
	local image=$1 mountpoint=$2
	# A daemon keeps what it inherits: not the test's own pipes.
	"$VHDFUSE" "$image" "$mountpoint" ${3:+-o "$3"} 5<&- 6<&- 7<&- 8<&- 9<&-
	DAEMON=$(daemon_of "$mountpoint")
	cleanup_process "$DAEMON"
	cleanup "umount_lazy '$mountpoint'"
	if test -d "$mountpoint"; then
		DISK=$mountpoint/disk.raw
	else
		DISK=$mountpoint
	fi
}

umount_lazy() {
	if is_mounted "$1"; then
		umount -l "$1" || fusermount3 -u -z "$1"
	fi
}

# start_of PID: when it started; with its id this names a process for good.
start_of() {
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

# cleanup_process PID: it does not outlive the test. By the end of a long test its number may be
# another test's process, which must be left alone.
cleanup_process() {
	cleanup "end_process $1 '$(start_of "$1")'"
}

# end_process PID START: gives it time to leave by itself, which is what a driver does once nothing
# holds its mount, and what a holder does when it is asked.
end_process() {
	test "$(start_of "$1")" = "$2" || return 0
	wait_gone 1 "$1" || kill "$1"
	wait_gone 3 "$1" || kill -9 "$1"
}

# hold_with_qemu IMAGE [OPTION...]: qemu has it open, for writing unless told -r, until let_go. Its
# own answer says when: to look at the image meanwhile takes a lock that could refuse qemu its.
hold_with_qemu() {
	local image=$1
	shift
	rm -f "$TMP/commands" "$TMP/holder.out"	# what an earlier holder said is no answer
	mkfifo "$TMP/commands"
	stdbuf -oL qemu-io "$@" -f vpc "$image" <"$TMP/commands" >"$TMP/holder.out" 2>&1 &
	HOLDER=$!
	cleanup_process "$HOLDER"
	exec 7>"$TMP/commands"
	echo length >&7
	wait_for 20 grep -q '[0-9]' "$TMP/holder.out"
	kill -0 "$HOLDER" || fail "qemu-io does not hold $image: $(cat "$TMP/holder.out")"
}

let_go() {
	exec 7>&-
	wait_gone 20 "$HOLDER" || fail "qemu-io does not end"
}

# The file by which the driver tells of its end: see fs/status.h.
status_file_of() {
	local dir=${XDG_RUNTIME_DIR:-/tmp}
	if test "$(id -u)" = 0; then
		dir=/run/vhdfuse
	elif test -n "${XDG_RUNTIME_DIR:-}"; then
		dir=$XDG_RUNTIME_DIR/vhdfuse
	else
		dir=/tmp/vhdfuse-$(id -u)
	fi
	echo "$dir/$(findmnt -no MAJ:MIN --mountpoint "$1" | tail -1 | tr -d ' ')"
}

daemon_of() {
	sed -n 's/^pid=\([0-9]*\) .*/\1/p' "$(status_file_of "$1")"
}

# umount_vhd MOUNTPOINT [STATUS]: unmounts, waits for the driver's end and wants its last status
# to be STATUS (0).
umount_vhd() {
	local file status
	file=$(status_file_of "$1")
	exec 8<"$file"
	if test "$(id -u)" = 0; then
		umount "$1"
	else
		fusermount3 -u "$1"
	fi
	flock -s -w 30 8 || fail "the driver of $1 does not end"
	status=$(sed -n 's/^status=//p' <&8)
	exec 8<&-
	expect_equal "${status:-none}" "${2:-0}" "the driver's last status"
}

# loop_attach FILE [LOSETUP OPTION...]: sets LOOP.
loop_attach() {
	local file=$1
	shift
	LOOP=$(losetup --find --show "$@" "$file")
	cleanup "losetup -d $LOOP"
}

loop_is_free() {
	! losetup "$1"
}

loop_detach() {
	losetup -d "$1"
	cleanup_done "losetup -d $1"	# the next one to take it may be another test
	wait_for 10 loop_is_free "$1" || fail "$1 does not go"
}

# fill FILE BYTES SEED: reproducible noise.
fill() {
	openssl enc -aes-128-ctr -pass "pass:$3" -nosalt -md sha256 </dev/zero 2>/dev/null |
		head -c "$2" >"$1" || test "$(stat -c %s "$1")" = "$2"
}
