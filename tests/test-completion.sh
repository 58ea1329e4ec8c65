#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Completion in bash offers what there is, and nothing else: its words are held against the programs'
# tables and --help, the rest is asked as bash asks it, and by the tab key on a terminal of its own.
. "$(dirname "$0")/support/lib.sh"

requires python3
PATH=$(dirname "$VHDIMG"):$(dirname "$VHDFUSE"):$PATH
. "$top_srcdir/tools/vhdimg.bash-completion"
. "$top_srcdir/fs/vhdfuse.bash-completion"
set +eu	# as in anybody's shell
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'

# offers WORD...: what is offered for the last word, one a line, sorted. "=" is a word of its own.
offers() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	"_$1" "$1" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
	printf '%s\n' "${COMPREPLY[@]}" | sed '/^$/d' | sort
}
# expect_offer "a b c" WORD...
expect_offer() {
	local want=$1
	shift
	expect_equal "$(offers "$@" | xargs)" "$want" "$*"
}

say "the commands are those of the table"
sed -n '/^static const struct cli_command/,/^};/p' "$top_srcdir/tools/main.c" |
	sed -nE 's/.*\.name = "([a-z]+)",.*/\1/p' | sort >"$TMP/commands"
test "$(wc -l <"$TMP/commands")" -ge 14 || fail "no table of commands"
expect_equal "$(offers vhdimg "" | grep -v '^-')" "$(cat "$TMP/commands")" commands
expect_offer "commit compact compare convert" vhdimg co

say "the options of each command are those of its help, and are taken"
while read -r command; do
	offers vhdimg "$command" - >"$TMP/offered"
	expect_equal "$(sed 's/=$//' "$TMP/offered" | sort -u)" \
		"$("$VHDIMG" "$command" --help | sed 1,2d | sed 's/^\(.\{28\}\).*/\1/' |
			grep -oE -- '(^|[ ,])--?[A-Za-z][a-z-]*' | tr -d ' ,' | sort -u)" "$command"
	while read -r option; do
		"$VHDIMG" "$command" "${option/%=/=1}" --help >/dev/null 2>"$TMP/err"
		! grep -q "unknown option" "$TMP/err" || fail "$command: $(cat "$TMP/err")"
	done <"$TMP/offered"
done <"$TMP/commands"

say "what an option takes"
expect_offer "--output=" vhdimg info --ou
expect_offer "disk file" vhdimg map --by =
expect_offer "json" vhdimg info --output = j
expect_offer "json" vhdimg info --output j
expect_offer "raw" vhdimg convert --type r
expect_offer "lossy" vhdimg check --repair =
expect_offer "azure qemu virtualbox windows xen" vhdimg check --for =
expect_offer "azure,virtualbox" vhdimg check --for = azure,v
COMP_WORDBREAKS=${COMP_WORDBREAKS/=/} expect_offer "--output=json" vhdimg info --output=j

say "what an argument is"
mkdir -p "$TMP/in/a folder"
cd "$TMP/in"
touch one.vhd two.avhd THREE.VHD four.raw "a b.vhd" readme
expect_offer "THREE.VHD a b.vhd a folder one.vhd two.avhd" vhdimg info ""
expect_offer "one.vhd" vhdimg info THREE.VHD --output json o
expect_offer "one.vhd" vhdimg shrink -j 4 -n o
expect_offer "" vhdimg shrink -j ""
expect_offer "one.vhd" vhdimg rebase --parent = o
expect_offer "four.raw" vhdimg compare one.vhd f
expect_offer "" vhdimg resize one.vhd ""
expect_offer "" vhdimg check --max
expect_offer "readme" vhdimg info r
expect_offer "" vhdimg bogus ""

say "options of the driver are those of its tables"
sed -n '/^} option_table/,/^};/p' "$top_srcdir/fs/opts.c" | sed -nE 's/.*\{ "([^"]+)", .*/\1/p' |
	grep -v '^[xX]-\*$' | sort >"$TMP/names"
test "$(wc -l <"$TMP/names")" -ge 40 || fail "no table of options"
expect_equal "$(offers vhdfuse -o "")" "$(cat "$TMP/names")" "-o options"
sed -n '/switch_table\[\]/,/^};/p' "$top_srcdir/fs/opts.c" |
	sed -nE 's/.*FUSE_OPT_KEY\("(-[^"]*)".*/\1/p' | sort >"$TMP/switches"
expect_equal "$(offers vhdfuse - | grep -vx -- -o)" "$(cat "$TMP/switches")" switches
expect_offer "ro,parent= ro,partitions" vhdfuse one.vhd -o ro,par
expect_offer "off on" vhdfuse -o ro,detect_zeroes =
expect_offer "one.vhd" vhdfuse -o ro,cow = o
expect_offer "one.vhd" vhdfuse -o ro o
expect_offer "a folder" vhdfuse one.vhd a
expect_offer "" vhdfuse one.vhd here ""

# type_keys KEYS: what a shell makes of a line, tab keys and all; the line ends in ">FILE".
type_keys() {
	python3 - "$top_srcdir" "$1" >/dev/null 2>&1 <<-'END'
		import os, pty, sys, time
		pid, fd = pty.fork()
		if pid == 0:
		    os.environ["PS1"] = "ready>"
		    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
		def until(word):
		    said = b""
		    while word not in said:
		        said += os.read(fd, 4096)
		src = sys.argv[1]
		os.write(fd, f". {src}/tools/vhdimg.bash-completion; . {src}/fs/vhdfuse.bash-completion; echo so''urced\n".encode())
		until(b"sourced\r\n")
		for key in sys.argv[2].encode().decode("unicode_escape"):
		    os.write(fd, key.encode())
		    if key == "\t":
		        time.sleep(0.3)
		os.write(fd, b"\nexit\n")
		os.waitpid(pid, 0)
	END
}

say "the tab key"
# A program of the name that tells what it was given, where --help is not what is asked.
mkdir "$TMP/bin"
printf '#!/bin/sh\ncase "$*" in *--help*) exec "%s" "$@" ;; esac\nprintf "<%%s>" "$@" >"%s"\n' \
	"$VHDIMG" "$TMP/given" >"$TMP/bin/vhdimg"
chmod +x "$TMP/bin/vhdimg"
PATH=$TMP/bin:$PATH
given() {
	rm -f "$TMP/given"
	type_keys "$1"
	expect_equal "$(cat "$TMP/given")" "$2" "$1"
}
given 'vhdimg inf\ta\\ b\t' '<info><a b.vhd>'
given 'vhdimg info --outp\tj\t on\t' '<info><--output=json><one.vhd>'

if test "${VHD_HAVE_FUSE:-yes}" != no && (requires_fuse) >/dev/null; then
	say "mount points"
	set -eu
	rm "$TMP/in/one.vhd"
	make_image "$TMP/in/one.vhd" 10M
	mount_vhd "$TMP/in/one.vhd" "$TMP/in/a folder"
	expect_equal "$(offers vhdimg umount "$TMP/in/")" "$TMP/in/a folder"
	given "vhdimg umount $TMP/in/\\t" "<umount><$TMP/in/a folder/>"
	umount_vhd "$TMP/in/a folder"
	expect_equal "$(offers vhdimg umount "$TMP/in/")" ""
fi
