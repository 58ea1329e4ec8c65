# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests with LVM share: its own tools without the kernel's device-mapper, which see no device
# but ours and write nowhere else, so that the host's groups are left alone. Sourced after lib.sh.

requires lvm pvcreate python3
requires_loop

mkdir -p "$TMP/lvm/dev" "$TMP/lvm/run" "$TMP/lvm/backup"
cat >"$TMP/lvm/lvm.conf" <<END
devices {
	dir = "$TMP/lvm/dev"
	scan = [ "$TMP/lvm/dev" ]
	use_devicesfile = 0
	obtain_device_list_from_udev = 0
	external_device_info_source = "none"
	hints = "none"
	sysfs_scan = 0
}
backup {
	backup = 0
	archive = 0
}
global {
	locking_dir = "$TMP/lvm/run"
	use_lvmpolld = 0
	use_lvmlockd = 0
}
activation {
	monitoring = 0
	udev_sync = 0
	udev_rules = 0
}
END
export LVM_SYSTEM_DIR=$TMP/lvm LVM_SUPPRESS_FD_WARNINGS=1

# tool COMMAND...: one of LVM's, without the device-mapper.
tool() {
	"$1" --driverloaded n "${@:2}" >"$TMP/tool.out" 2>"$TMP/tool.err" ||
		fail "$*: $(tail -3 "$TMP/tool.err")"
}

# attach FILE [LOSETUP OPTION...]: sets LOOP, and DEV, by which the tools know it.
attach() {
	loop_attach "$@"
	DEV=$TMP/lvm/dev/${LOOP##*/}
	cp -a "$LOOP" "$DEV"
}
detach() {
	rm "$TMP/lvm/dev/${1##*/}"
	loop_detach "$1"
}

new_lv() {
	tool lvcreate -q -an -Zn -Wn -n "$1" -l "$2" "${3:-vg}"
}

# field COMMAND FIELD...: as the tools have it, a line for each.
field() {
	tool "$1" --noheadings --units b --nosuffix --separator ' ' -o "$2" "${@:3}"
	sed 's/^ *//; s/ *$//' "$TMP/tool.out"
}

# add_to_group FROM TO EXTRA...: the group in a backup FROM with these logical volumes added, as a
# backup TO; those that $hide has as "OLD=NEW" get that name, and are not visible.
add_to_group() {
	python3 - "$1" "$2" "${hide-}" "${@:3}" <<-'END'
		import re, sys
		text = open(sys.argv[1]).read()
		for pair in sys.argv[3].split():
		    old, new = pair.split("=")
		    text, n = re.subn(r'\b%s( \{\s+id = .*\s+status = \["READ", "WRITE"), "VISIBLE"' % old, new + r'\1', text)
		    assert n == 1
		at = text.index("logical_volumes {") + len("logical_volumes {")
		text = text[:at] + "\n" + "\n".join(sys.argv[4:]) + text[at:]
		open(sys.argv[2], "w").write(text)
	END
}

# lv NAME STATUS SEGMENT: one with one segment.
lv() {
	local number
	number=$(printf %s "$1" | cksum | cut -c1-6)
	printf '%s {\nid = "%s-AAAA-AAAA-AAAA-AAAA-AAAA-AAAAAA"\nstatus = [%s]\nflags = []\ncreation_time = 1\ncreation_host = "h"\nsegment_count = 1\nsegment1 {\nstart_extent = 0\n%s\n}\n}\n' \
		"$1" "$number" "$2" "$3"
}
all='"READ", "WRITE", "VISIBLE"' hidden='"READ", "WRITE"'
