#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Partition tables made by sfdisk and sgdisk are read as libfdisk, libblkid and (where it knows any)
# the kernel read them; damaged and foreign ones are named and have no partitions; what is said of
# the gaps is right to the byte; and no change to a table's sectors makes it contradict itself.
. "$(dirname "$0")/support/lib.sh"

requires sfdisk sgdisk partx jq python3
requires_loop

TABLE=${TABLE:-$(find_program tests/guest/table)}
DISK=$TMP/disk.img
header=$((64 * 1024 * 1024 - 512)) array=$((64 * 1024 * 1024 - 33 * 512))	# a GPT's backup

new_disk() {
	rm -f "$DISK"
	truncate -s "${1:-64M}" "$DISK"
}

# poke OFFSET BYTES: BYTES as printf has them.
poke() {
	printf '%b' "$2" | dd of="$DISK" bs=1 seek="$1" conv=notrunc status=none
}

# says PATTERN: the first line.
says() {
	"$TABLE" "$DISK" >"$TMP/said" || fail "$TABLE fails"
	grep -Eq "^$1" <<<"$(head -1 "$TMP/said")" || fail "not '$1': $(cat "$TMP/said")"
}

# has_none PATTERN: and no partition.
has_none() {
	says "$1"
	expect_equal "$(wc -l <"$TMP/said")" 1 "lines"
}

ours() {
	tail -n +2 "$TMP/said" | sort -n
}

# "NUMBER START LENGTH TYPE" in bytes, extended ones without the length, of which there are opinions.
by_blkid() {
	partx -S "$1" -g -r -o NR,START,SECTORS,TYPE "$DISK" | sort -n |
		awk '{ print $1, $2 * 512, $4 ~ /^0x(5|f|85)$/ ? "-" : $3 * 512, $4 }'
}
by_us() {
	ours | awk '{ sub(/^0x0/, "0x", $5); print $1, $2, $4 == "extended" ? "-" : $3, $5 }'
}

by_libfdisk() {
	sfdisk --json "$1" | jq -r '.partitiontable | .sectorsize as $s | .partitions[] |
		[(.node | capture("(?<n>[0-9]+)$").n), .start * $s, .size * $s,
		(.type | ascii_downcase), (.name // "")] | join(" ")' | sort -n |
		awk '{ if (length($4) < 3) $4 = "0x" $4; print }' | sed 's/ *$//'
}
by_us_with_names() {
	ours | sed -E 's/^(([^ ]+ ){3})[^ ]+ (0x0)?/\1\3/; s/0x0//; s/ *$//' |
		awk '{ if (length($4) < 3) $4 = "0x" $4; print }'
}

by_kernel() {
	local sys
	for sys in "/sys/block/$1/$1"p*; do
		test ! -e "$sys/start" ||
			echo "$(cat "$sys/partition") $(($(cat "$sys/start") * 512)) $(($(cat "$sys/size") * 512))"
	done | sort -n
}

# agrees PATTERN [SECTOR]: says PATTERN, and the partitions are as everybody else has them.
agrees() {
	local sector=${2:-512} kernel
	says "$1"
	by_us >"$TMP/us"
	by_blkid "$sector" >"$TMP/blkid"
	test -s "$TMP/us" || fail "no partitions"
	diff "$TMP/us" "$TMP/blkid" >"$TMP/diff" || fail "libblkid differs: $(cat "$TMP/diff")"
	loop_attach "$DISK" --sector-size "$sector" --partscan --read-only
	by_us_with_names >"$TMP/us"
	by_libfdisk "$LOOP" >"$TMP/libfdisk"
	kernel=$(by_kernel "$(basename "$LOOP")")
	loop_detach "$LOOP"
	diff "$TMP/us" "$TMP/libfdisk" >"$TMP/diff" || fail "libfdisk differs: $(cat "$TMP/diff")"
	# A kernel need not know any partition table.
	if test -n "$kernel"; then
		ours | awk '{ print $1, $2, $4 == "extended" ? (1024 < $3 ? 1024 : $3) : $3 }' |
			diff - <(echo "$kernel") >"$TMP/diff" || fail "the kernel differs: $(cat "$TMP/diff")"
	fi
}

gaps_are() {
	expect_equal "$("$TABLE" "$DISK" gaps | tr '\n' ';')" "$1" "gaps"
}

survives() {
	"$TABLE" "$DISK" fuzz "${1:-1}" 1500 >"$TMP/fuzz" || fail "fuzz: $(cat "$TMP/fuzz")"
	awk '{ n += $2; k += $2 > 0 } END { exit n != 1500 || k < 2 }' "$TMP/fuzz" ||
		fail "the fuzzer changes nothing: $(cat "$TMP/fuzz")"
}

make_dos() {
	if test -f "$TMP/dos.img"; then
		cp "$TMP/dos.img" "$DISK"
		return
	fi
	new_disk
	sfdisk -q "$DISK" <<-'END'
		label: dos
		start=2048, size=20480, type=83
		start=24576, size=80000, type=5
		start=26624, size=20480, type=83
		start=60000, size=20480, type=7
		start=110592, size=2048, type=c, bootable
	END
	cp "$DISK" "$TMP/dos.img"
}

make_gpt() {
	new_disk
	sfdisk -q "$DISK" <<-'END'
		label: gpt
		start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
		start=8192, size=20480, name="Grüße, 世界"
		start=30720, size=16384, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE, name="Microsoft reserved partition"
		start=65536, size=8192, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
	END
}

# remake_gpt OFFSET BYTES...: $TMP/gpt.img, changed in both copies' arrays and with their checksums
# made right again; OFFSET is in the array.
remake_gpt() {
	cp "$TMP/gpt.img" "$DISK"
	while test $# != 0; do
		poke $((1024 + $1)) "$2"
		poke $((array + $1)) "$2"
		shift 2
	done
	python3 - "$DISK" 512 1024 $header $array <<-'END'
		import struct, sys, zlib
		with open(sys.argv[1], "r+b") as f:
		    for header, array in (sys.argv[2:4], sys.argv[4:6]):
		        f.seek(int(header)); h = bytearray(f.read(92))
		        f.seek(int(array)); struct.pack_into("<I", h, 88, zlib.crc32(f.read(128 * 128)))
		        h[16:20] = bytes(4); struct.pack_into("<I", h, 16, zlib.crc32(h))
		        f.seek(int(header)); f.write(h)
	END
}

say "MBR with logical partitions"
make_dos
agrees 'mbr 512 gaps: $'
expect_equal "$(ours | cut -d' ' -f1 | tr '\n' ' ')" "1 2 3 5 6 "
# Behind 1 is 5's EBR, too near for a gap; 6's lies in the gap before it.
ebr=$((24576 * 512)) next_ebr=$(((60000 - 2048) * 512))
gaps_are "$((47104 * 512)) $(((60000 - 2048 - 47104 - 2048) * 512));$((80480 * 512)) $(((110592 - 80480) * 512));"
survives

say "damaged MBRs"
poke $((ebr + 446 + 16 + 8)) '\0\0\0\0'		# the first EBR's link leads to itself
has_none 'damaged 512: .* circle'
make_dos
poke $((ebr + 446 + 16 + 8)) '\0\0\0\x01'
has_none 'damaged 512: .* leaves the extended'
make_dos
poke $((ebr + 510)) '\0\0'
has_none 'damaged 512: .* broken'
make_dos
poke $((ebr + 446 + 32 + 4)) '\x83\0\0\0\x01\0\0\0\x01\0\0\0'
has_none 'damaged 512: .* entry too many'
make_dos
poke $((next_ebr + 446 + 32 + 4)) '\x05\0\0\0\x02\0\0\0\x02\0\0\0'
has_none 'damaged 512: .* entry too many'
make_dos
poke $((ebr + 446 + 12)) '\0\0\x02'		# 131072 sectors, in an extended partition of 80000
has_none 'damaged 512: partition 5 reaches out of the extended'
make_dos
poke $((446 + 12)) '\0\x70'			# 28672 sectors from 2048 on: into the extended one
has_none 'damaged 512: partitions 1 and 2 overlap'
make_dos
poke $((446 + 32 + 8)) '\0\x5f\x01'		# 89856, behind the logical ones, in the extended one
has_none 'damaged 512: partitions 2 and 3 overlap'
make_dos
poke $((ebr + 446 + 12)) '\0\x80'		# 32768 sectors: over the next EBR, not its partition
has_none 'damaged 512: partition 5 lies over the partition table'
make_dos
poke $((ebr + 446 + 12)) '\0\xd0'		# 53248: over the next partition
has_none 'damaged 512: partitions 5 and 6 overlap'
make_dos
poke $((446 + 32 + 12)) '\x01\x50'		# one sector more than there is behind it
has_none 'damaged 512: partition 3 reaches past the end'
make_dos
poke $((446 + 8)) '\0\0'
has_none 'damaged 512: partition 1 lies over the partition table'
make_dos
poke $((ebr + 446 + 8)) '\0\0'
has_none 'damaged 512: partition 5 lies over the partition table'

say "an extended partition without logical ones; and with many"
new_disk
printf 'label: dos\nstart=2048,size=2048\nstart=8192,size=20480,type=f\n' | sfdisk -q "$DISK"
agrees 'mbr 512 gaps'
gaps_are ''
new_disk 128M
{ printf 'label: dos\nstart=2048,type=5\n'; for ((i = 0; i < 55; i++)); do echo 'size=64'; done; } | sfdisk -q "$DISK"
agrees 'mbr 512 gaps'
expect_equal "$(ours | tail -1 | cut -d' ' -f1)" 59
survives

say "no table"
new_disk
has_none 'none 512: $'
printf 'label: dos\n' | sfdisk -q "$DISK"
has_none 'none 512: $'
new_disk 100
has_none 'none 512: $'
new_disk
poke 510 '\x55\xaa'
fill "$TMP/noise" 510 noise
dd if="$TMP/noise" of="$DISK" conv=notrunc status=none
has_none 'none 512: $'

say "GPT"
make_gpt
agrees 'gpt 512 gaps: $'
expect_equal "$(ours | awk '{ print $4 }' | tr '\n' ' ')" "reserved data reserved data "
gaps_are "$((4096 * 512)) $((4096 * 512));$((28672 * 512)) $((2048 * 512));$((47104 * 512)) $((18432 * 512));"
survives 2
cp "$DISK" "$TMP/gpt.img"

say "gaps keep off the end of the disk"
new_disk 37M
sgdisk -n 1:2048:4095 -n 2:74752:75000 "$DISK" >/dev/null
agrees 'gpt 512 gaps: $'
gaps_are "$((4096 * 512)) $(((35 << 20) - 4096 * 512));"

say "a name that a terminal would obey, and one that is too long"
remake_gpt 56 '\x1b\0[\0A\0\0\xd8B\0\x3d\xd8\x00\xde' $((128 + 56)) "$(printf '\\xac\\x20%.0s' {1..36})"
says 'gpt 512 gaps'
expect_equal "$(ours | head -1 | cut -d' ' -f6-)" $'\xef\xbf\xbd[A\xef\xbf\xbdB\xf0\x9f\x98\x80'
expect_equal "$(ours | sed -n 2p | cut -d' ' -f6-)" "€€€€€€€€€€€€€"

say "GPT with a damaged copy"
damage_both() {
	cp "$TMP/gpt.img" "$DISK"
	poke $((512 + $1)) '\x5a'
	says "gpt 512 backup: the GPT's primary copy $2; its backup was read"
	ours >"$TMP/us"
	"$TABLE" "$TMP/gpt.img" | tail -n +2 | sort -n | diff - "$TMP/us" >"$TMP/diff" ||
		fail "read differently from the backup: $(cat "$TMP/diff")"
	gaps_are ''
	poke "$3" '\x5a'
	has_none 'damaged 512: there should be a GPT; it'
}
damage_both 3 'is missing' $((header + 20))
damage_both 17 'has a header whose checksum is wrong' $header
damage_both 40 'has a header whose checksum is wrong' $((array + 300))
damage_both $((512 + 40)) 'has entries whose checksum is wrong' $((header + 56))
cp "$TMP/gpt.img" "$DISK"
poke $((array + 1)) '\x5a'
says "gpt 512: the GPT's backup has entries whose checksum is wrong"
gaps_are ''
cp "$TMP/gpt.img" "$DISK"
sfdisk -q --disk-id "$DISK" 01234567-89AB-CDEF-0123-456789ABCDEF
dd if="$TMP/gpt.img" of="$DISK" bs=512 skip=$((array / 512)) seek=$((array / 512)) conv=notrunc status=none
says "gpt 512: the GPT's backup is not the same"
gaps_are ''
remake_gpt $((128 + 40)) '\0\x40'
dd if="$TMP/gpt.img" of="$DISK" bs=512 skip=$((array / 512)) seek=$((array / 512)) conv=notrunc status=none
says "gpt 512: the GPT's backup is not the same"
gaps_are ''
cp "$TMP/gpt.img" "$DISK"
dd if="$TMP/gpt.img" of="$DISK" bs=512 skip=1 seek=$((header / 512)) count=1 conv=notrunc status=none
poke 512 '\x5a'
has_none 'damaged 512: there should be a GPT; it is missing, and there is no backup'
cp "$TMP/gpt.img" "$DISK"
python3 - "$DISK" <<'END'
import struct, sys, zlib
with open(sys.argv[1], "r+b") as f:
    f.seek(512); h = bytearray(f.read(92)); h[16:20] = bytes(4); h[32:40] = struct.pack("<Q", 1)
    struct.pack_into("<I", h, 16, zlib.crc32(h)); f.seek(512); f.write(h)
END
says "gpt 512: the GPT's backup would lie among the partitions"

say "GPT on a disk that grew, and on one that was cut"
cp "$TMP/gpt.img" "$DISK"
truncate -s 80M "$DISK"
agrees 'gpt 512 gaps: $'
truncate -s 40M "$DISK"
has_none 'damaged 512: there should be a GPT; it is for a larger disk'

say "a GPT and its protective MBR need each other"
cp "$TMP/gpt.img" "$DISK"
dd if=/dev/zero of="$DISK" bs=512 count=1 conv=notrunc status=none
has_none 'damaged 512: there is a GPT without'
dd if="$TMP/gpt.img" of="$DISK" bs=512 count=1 conv=notrunc status=none
dd if=/dev/zero of="$DISK" bs=512 seek=1 count=1 conv=notrunc status=none
dd if=/dev/zero of="$DISK" bs=512 seek=$((header / 512)) count=1 conv=notrunc status=none
has_none 'damaged 512: there should be a GPT; it is missing, and there is no backup'
cp "$TMP/gpt.img" "$DISK"
poke $((446 + 4)) '\x83'
poke $((446 + 12)) '\0\x10\0\0'
says 'mbr 512: there is a GPT, which counts for nothing'
gaps_are ''

say "hybrid"
cp "$TMP/gpt.img" "$DISK"
sgdisk -h 2:4 "$DISK" >/dev/null
agrees 'gpt 512: $'
gaps_are ''
poke $((446 + 16 + 12)) '\x01'			# one sector more than the GPT has
poke $((446 + 32 + 12)) '\x01'
has_none 'damaged 512: partition [24] is another in the GPT than in the MBR'
cp "$TMP/gpt.img" "$DISK"
sgdisk -h 2:4:EE "$DISK" >/dev/null
agrees 'gpt 512: $'

say "overlaps in a GPT, and partitions outside"
remake_gpt $((128 + 40)) '\0\x80'
has_none 'damaged 512: partitions 2 and 3 overlap'
remake_gpt $((3 * 128 + 40)) '\0\0\0\x01'
has_none 'damaged 512: partition 4 is not within the room'
remake_gpt $((32)) '\0\x30'
has_none 'damaged 512: partition 1 is not within the room'
remake_gpt $((32)) '\x02\0'
has_none 'damaged 512: partition 1 is not within the room'

say "GPT with more entries than usual, and with more partitions than are served"
new_disk
{
	printf 'label: gpt\ntable-length: 300\n'
	for ((i = 1; i <= 256; i++)); do
		echo "$i: start=$((4096 + i * 64)), size=16"
	done
} | sfdisk -q --wipe=never "$DISK"
agrees 'gpt 512 gaps'
echo 'start=100000, size=16' | sfdisk -q --append "$DISK"
has_none 'unsupported 512: there are more than 256 partitions'

say "GPT in sectors of 4096"
new_disk
loop_attach "$DISK" --sector-size 4096
printf 'label: gpt\nstart=256,size=2048,name=a\nstart=4096,size=256,name=b\n' | sfdisk -q --no-reread --no-tell-kernel "$LOOP"
loop_detach "$LOOP"
agrees 'gpt 4096 gaps: $' 4096
gaps_are "$((2304 * 4096)) $(((4096 - 2304) * 4096));"
survives 4
poke $((4096 + 20)) '\x5a'
says 'gpt 4096 backup: '
expect_equal "$(ours | wc -l)" 2

say "dynamic disks, and tables known by name alone"
make_dos
poke $((446 + 4)) '\x42'
has_none 'unsupported 512: .*LDM'
make_dos
poke $((6 * 512)) 'PRIVHEAD'
has_none 'unsupported 512: .*LDM'
for guid in 5808C8AA-7E8F-42E0-85D2-E1E90434CFB3 AF9B60A0-1431-4F62-BC68-3311714A69AD; do
	cp "$TMP/gpt.img" "$DISK"
	sfdisk -q --part-type "$DISK" 4 $guid
	has_none 'unsupported 512: .*LDM'
done
new_disk
printf 'label: sun\n1: size=10M\n' | sfdisk -q "$DISK"
has_none 'unsupported 512: partitioned by a VTOC'
new_disk
printf 'label: sgi\nsize=10M\n' | sfdisk -q "$DISK"
has_none 'unsupported 512: partitioned by an SGI'
new_disk
poke $((3 * 512)) 'RDSK'
has_none 'unsupported 512: partitioned by an Amiga'
new_disk
poke 0 '\xc9\xc2\xd4\xc1'
has_none 'unsupported 512: partitioned by an AIX'
make_dos
poke $((446 + 4)) '\xa5'
says 'mbr 512: $'
gaps_are ''

# Read without the engine: a fixed image is the disk and a footer, qemu-img knows the others.
try_corpus() {
	local name=$1 pattern=$2
	say "$name"
	xz -dc "$CORPUS/$name.vhd.xz" >"$TMP/corpus.vhd"
	case $name in
	*-fixed) head -c -512 "$TMP/corpus.vhd" >"$DISK" ;;
	*) qemu-img convert -f vpc -O raw "$TMP/corpus.vhd" "$DISK" ;;
	esac
	case $pattern in
	unsupported*) has_none "$pattern" ;;
	mbr*)	# libblkid goes on with the BSD label in it, as partitions 5 and 6
		says "$pattern"
		expect_equal "$(by_us)" "$(by_blkid 512 | grep '^[1-4] ')" ;;
	*)
		says "$pattern"
		expect_equal "$(by_us)" "$(by_blkid 512)" ;;
	esac
}

CORPUS=${VHD_CORPUS:-$top_srcdir/../shared/corpus}
if test -d "$CORPUS"; then
	requires qemu-img xz
	for name in "$CORPUS"/mkimg-*.vhd.xz; do
		name=$(basename "$name" .vhd.xz)
		case $name in
		*-apm-*) try_corpus "$name" 'unsupported 512: partitioned by an Apple' ;;
		*-bsd-*) try_corpus "$name" 'unsupported 512: partitioned by a BSD' ;;
		*-vtoc8-*) try_corpus "$name" 'unsupported 512: partitioned by a VTOC' ;;
		*-gpt-*) try_corpus "$name" 'gpt 512' ;;
		*) try_corpus "$name" 'mbr 512: $' ;;
		esac
	done
fi
