#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every sentence of both programs that tells of an error is in docs/messages.md, under a heading that
# tells what to do, and nothing is there that no program says. Sentences name the image first, begin
# small, and end without a stop.
. "$(dirname "$0")/support/lib.sh"

requires python3
cd "$top_srcdir"

# said FILE...: the sentences in sources, one a line: the first text of each call that says something.
cat >"$TMP/said.py" <<'END'
import re, sys
CALLS = r"\b(vhd_err_set|vhd_err_errno|cmd_fail|say|cli_usage|say_usage|image_warn|reason)\s*\("

# What is between the parenthesis that opens before start and its own.
def arguments(text, start):
    depth, at, quoted = 1, start, False
    while depth:
        c = text[at]
        if quoted and c == "\\":
            at += 1
        elif c == '"':
            quoted = not quoted
        elif not quoted:
            depth += (c == "(") - (c == ")")
        at += 1
    return text[start:at - 1]

found = set()
for name in sys.argv[1:]:
    text = open(name).read()
    for call in re.finditer(CALLS, text):
        first = re.search(r'((?:"(?:[^"\\]|\\.)*"\s*(?:PRI\w+\s*)?)+)', arguments(text, call.end()))
        if first:
            found.add("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', first[1])).strip())
for sentence in sorted(found - {"%s"}):
    print(sentence)
END
python3 "$TMP/said.py" vhd/*.c vhd/guest/*.c fs/*.c tools/*.c | LC_ALL=C sort >"$TMP/said"
sed -n 's/^- `\(.*\)`$/\1/p' docs/messages.md | LC_ALL=C sort >"$TMP/listed"
test "$(wc -l <"$TMP/said")" -gt 200 || fail "only $(wc -l <"$TMP/said") sentences were found"

say "what is said is listed, and the reverse"
diff "$TMP/said" "$TMP/listed" >"$TMP/diff" ||
	fail "docs/messages.md (>) is not what the sources (<) say:
$(grep '^[<>]' "$TMP/diff")"
expect_equal "$(uniq -d <"$TMP/listed")" "" "listed twice"

say "each heading tells what to do"
awk '/^## / { if (heading) print heading; heading = $0 } /What to do:/ { heading = "" }
	END { if (heading) print heading }' docs/messages.md >"$TMP/without"
test ! -s "$TMP/without" || fail "no word on what to do: $(cat "$TMP/without")"

say "sentences, and not shouts"
grep -E '[.!]$|^[A-Z]' "$TMP/listed" >"$TMP/shouts" || true
test ! -s "$TMP/shouts" || fail "$(cat "$TMP/shouts")"

say "what is missing is found out"
echo 'void f(void) { say("%s: nobody " "lists this", x); }' >"$TMP/new.c"
expect_equal "$(python3 "$TMP/said.py" "$TMP/new.c")" "%s: nobody lists this"
