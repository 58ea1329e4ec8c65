#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What of docs/hacking.md a script can hold. Each rule is then broken once in a file of its own,
# and must say so.
set -euo pipefail
export LC_ALL=C

top_srcdir=${top_srcdir:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
TMP=$(mktemp -d "${TMPDIR:-/tmp}/vhd-style.XXXXXX")
trap 'rm -rf "$TMP"' EXIT

one_machine='/tmp/[b]-|/wor[k]/'

# complaints FILE...: "file:line: what" for C files.
complaints() {
	awk '
	function width(s,    i, w) {
		w = 0
		for (i = 1; i <= length(s); i++)
			w = substr(s, i, 1) == "\t" ? int(w / 8) * 8 + 8 : w + 1
		return w
	}
	function say(what) { print FILENAME ":" FNR ": " what }
	function finish() {
		if (body) print name ":" start ": the last function does not end"
	}
	FNR == 1 {
		finish()
		name = FILENAME; body = 0; comment = 0
		if ($0 != "/* SPDX-License-Identifier: GPL-2.0-or-later */") say("no SPDX line")
	}
	FNR == 2 && $0 !~ /^\/\*/ { say("no comment saying what the file is for") }
	/[ \t]$/ { say("white space at the end") }
	/\r/ { say("carriage return") }
	/^ +[^ *]/ && !comment { say("indented by spaces") }
	/ \t/ { say("space before a tab") }
	width($0) > 100 { say("longer than 100 columns") }
	/(^|[^A-Za-z])(TODO|FIXME|XXX)([^A-Za-z]|$)/ { say("left to do") }
	/\/work\/|\/tmp\/b-/ { say("a path of one machine") }
	/^(#[ \t]*if[ \t]+0)/ { say("code switched off") }
	/goto +(again|retry|loop|next|more|restart)/ { say("goto is for errors") }
	{
		if ($0 ~ /\/\*/ && $0 !~ /\*\//) comment = 1
		else if (comment && $0 ~ /\*\//) comment = 0
	}
	/^{/ { body = 1; start = FNR }
	/^}/ {
		if (body && FNR - start - 1 > 80)
			say("a function of " FNR - start - 1 " lines")
		body = 0
	}
	END { finish() }' "$@"
}

shell_complaints() {
	local file
	for file; do
		bash -n "$file" 2>&1 | sed "s|^|$file: |" || true
		grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' <<<"$(head -5 "$file")" || echo "$file: no SPDX line"
		grep -nE '[[:space:]]$' "$file" | sed "s|^|$file: white space at the end: |" || true
		# By a name one ends and detaches what is not one's own.
		grep -nE '(^|[;&|({ 	])(pkill|killall)[ 	]|losetup[ ]+(-D|--detach-all)' "$file" |
			sed "s|^|$file: by a name: |" || true
		# It ends at the first match, and who still writes, by SIGPIPE; pipefail takes that for a failure.
		grep -nE '[^|]\|[ ]*[a-z]*grep -[A-Za-z]*q' "$file" |
			sed "s|^|$file: a pipe into grep -q, not <<<\"\$(...)\": |" || true
		test -x "$file" || test "$(head -c 2 "$file")" != '#!' || echo "$file: cannot be run"
		grep -nE "$one_machine" "$file" | sed "s|^|$file: a path of one machine: |" || true
	done
	if command -v shellcheck >/dev/null; then
		shellcheck --severity=warning --shell=bash --exclude=SC1090,SC1091,SC2034,SC2154,SC2164 \
			--format=gcc "$@" || true
	fi
}

lengths() {
	awk 'FNR == 1 { body = 0 } /^{/ { body = 1; start = FNR }
		/^}/ { if (body) print FNR - start - 1; body = 0 }' "$@" | sort -n
}

cd "$top_srcdir"
bad=0
mapfile -t c_files < <(find vhd fs tools tests -name '*.[ch]' | sort)
mapfile -t sh_files < <(find bootstrap .ci docs fs tests tools -name '*.sh' -o -name '*.bash-completion' -o -name bootstrap -o -path '.ci/run' | sort)
test ${#c_files[@]} -gt 10 || { echo "FAIL: no sources under $top_srcdir"; exit 1; }

said=$(complaints "${c_files[@]}"; shell_complaints "${sh_files[@]}")
if test -n "$said"; then
	echo "FAIL:"
	echo "$said"
	bad=1
fi

# What has a longer form is run in it: `make check-long` goes by the list.
not_listed() {
	local file name list
	list=$(sed -n '/^long\(er\|est\)\?_tests = /,/NULL/p' "$1")
	shift
	for file; do
		name=${file%.c}
		test -n "$(grep -E 'VHD_[L]ONG|is_[l]ong\(\)|try_[l]ayout' "$file" |
			grep -v "VHD_[L]ONG='' ")" || continue
		grep -qF "$name \\" <<<"$list" || echo "$file has a longer form, and longer_tests has not"
	done
}
said=$(not_listed tests/Makemodule.am tests/test[-_]*.sh tests/test_*.c)
if test -n "$said"; then
	echo "FAIL: $said"
	bad=1
fi
sed '/^\ttests\/test-kill9/d' tests/Makemodule.am >"$TMP/Makemodule.am"
grep -q test-kill9 <<<"$(not_listed "$TMP/Makemodule.am" tests/test-kill9.sh)" || { echo "FAIL: not caught: not listed"; bad=1; }

# Short functions: nine of ten under fifty lines, half of them within fifteen.
mapfile -t program_files < <(find vhd fs tools -name '*.c')
mapfile -t all < <(lengths "${program_files[@]}")
median=${all[$((${#all[@]} / 2))]} p90=${all[$((${#all[@]} * 9 / 10))]}
echo "${#all[@]} functions: median $median, p90 $p90, longest ${all[-1]} lines"
test "$median" -le 15 || { echo "FAIL: median of functions $median lines"; bad=1; }
test "$p90" -lt 50 || { echo "FAIL: p90 of functions $p90 lines"; bad=1; }

# plant WHAT TEXT: the check must say WHAT of a file that has TEXT behind a good head.
head='/* SPDX-License-Identifier: GPL-2.0-or-later */\n/* A file. */\n'
plant() {
	printf "${3-$head}$2\n" >"$TMP/planted.c"
	if ! grep -Fq "$1" <<<"$(complaints "$TMP/planted.c")"; then
		echo "FAIL: not caught: $1"
		bad=1
	fi
}

plant 'no SPDX line' 'int a;' '/* A file. */\n'
plant 'no comment saying' 'int a;' '/* SPDX-License-Identifier: GPL-2.0-or-later */\n'
plant 'white space at the end' 'int a; '
plant 'carriage return' 'int a;\r'
plant 'indented by spaces' '    int a;'
plant 'space before a tab' 'int \ta;'
plant 'longer than 100' "$(printf '\t%094d' 0)"
plant 'left to do' '/* TO''DO: all */'
plant 'a path of one machine' 'char *a = "/wor''k/main";'
plant 'code switched off' '#if 0'
plant 'goto is for errors' '\tgoto again;'
plant 'a function of' "int f(void)\n{\n$(for ((i = 0; i < 81; i++)); do printf '\tg();\\n'; done)}"

plant_shell() {
	printf '%b\n' "$2" >"$TMP/planted.sh"
	if ! grep -Fq "$1" <<<"$(shell_complaints "$TMP/planted.sh")"; then
		echo "FAIL: not caught in a script: $1"
		bad=1
	fi
}
plant_shell 'syntax error' '# SPDX-License-Identifier: GPL-2.0-or-later\nif'
plant_shell 'no SPDX line' 'true'
plant_shell 'by a name' '# SPDX-License-Identifier: GPL-2.0-or-later\npki''ll vhdfuse'
plant_shell 'by a name' '# SPDX-License-Identifier: GPL-2.0-or-later\nlosetup --detach-al''l'
plant_shell 'a path of one machine' '# SPDX-License-Identifier: GPL-2.0-or-later\ncd /wor''k/x'
plant_shell 'cannot be run' '#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-or-later'
plant_shell 'a pipe into grep -q' '# SPDX-License-Identifier: GPL-2.0-or-later\ntrue | gr''ep -Eq x'
plant_shell 'white space at the end' '# SPDX-License-Identifier: GPL-2.0-or-later\ntrue '

# A good file is good.
printf "${head}int f(void)\n{\n\treturn 0;\n}\n" >"$TMP/good.c"
said=$(complaints "$TMP/good.c")
test -z "$said" || { echo "FAIL: sees what is not there: $said"; bad=1; }
exit $bad
