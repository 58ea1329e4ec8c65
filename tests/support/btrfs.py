# SPDX-License-Identifier: GPL-2.0-or-later
"""A btrfs in a raw file, for the test of its reader.

    btrfs.py FILE free
        what is free on the device by `btrfs inspect-internal dump-tree`, a line "START LEN" each

    btrfs.py FILE edit
        for each line "PLACE OFF SIZE CHANGE" that is read, and answered with "done",
        changes SIZE bytes at OFF of PLACE to CHANGE: a number, or +N, -N, ^N (exclusive or) applied
        to what is there; then makes the checksum (crc32c) right again, so that only the change is
        wrong. PLACE is
            super           the superblock and its copies
            super:N         one of them
            block:TREE      the root block of a tree (1 root, 2 extent, 3 chunk, 4 device, 10 free space)
            leaf:TREE       its first leaf
            item:TREE:TYPE:N    the N-th item of a type (negative: from the end), all copies of it
            key:TREE:TYPE:N     the head of that item: key, offset (at 17) and size (at 21)
            raw:TREE:COPY   as block, in one copy only
            flip:TREE:COPY  as raw, and the checksum stays as it was; tree 0: the superblock
"""
import re
import struct
import subprocess
import sys

SUPERS = [64 << 10, 64 << 20, 256 << 30]
HEADER, ITEM, PTR = 101, 25, 33
CRC = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    CRC.append(n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def le(data, off, size):
    return int.from_bytes(data[off:off + size], "little")


def sealed(block):
    block[0:4] = struct.pack("<I", crc32c(block[32:]))
    return block


class Btrfs:
    def __init__(self, path):
        self.file = open(path, "r+b")
        self.sb = self.read(SUPERS[0], 4096)
        self.node = le(self.sb, 0x94, 4)
        self.chunks = []
        at, end = 0x32B, 0x32B + le(self.sb, 0xA0, 4)
        while at < end:
            self.add_chunk(le(self.sb, at + 9, 8), self.sb[at + 17:])
            at += 17 + 48 + 32 * le(self.sb, at + 17 + 44, 2)
        for _, _, key, data in list(self.items(3)):
            if key[1] == 228:
                self.add_chunk(key[2], data)

    def add_chunk(self, logical, data):
        stripes = [le(data, 48 + 32 * i + 8, 8) for i in range(le(data, 44, 2))]
        self.chunks.append((logical, le(data, 0, 8), stripes))

    def read(self, off, size):
        self.file.seek(off)
        return bytearray(self.file.read(size))

    def write(self, off, data):
        self.file.seek(off)
        self.file.write(data)

    def places(self, logical):
        for start, length, stripes in self.chunks:
            if start <= logical < start + length:
                return [stripe + logical - start for stripe in stripes]
        raise SystemExit(f"no chunk has {logical}")

    def block(self, logical):
        return self.read(self.places(logical)[0], self.node)

    def root(self, tree):
        if tree in (1, 3):
            return le(self.sb, 0x50 if tree == 1 else 0x58, 8)
        for _, _, key, data in self.items(1):
            if key == (tree, 132, 0):
                return le(data, 176, 8)
        raise SystemExit(f"no tree {tree}")

    def leaves(self, logical):
        block = self.block(logical)
        if block[100] == 0:
            yield logical, block
            return
        for i in range(le(block, 96, 4)):
            yield from self.leaves(le(block, HEADER + i * PTR + 17, 8))

    def items(self, tree):
        for logical, block in self.leaves(self.root(tree)):
            for i in range(le(block, 96, 4)):
                at = HEADER + i * ITEM
                key = (le(block, at, 8), block[at + 8], le(block, at + 9, 8))
                data = HEADER + le(block, at + 17, 4)
                yield logical, i, key, block[data:data + le(block, at + 21, 4)]


def changed(data, off, size, change):
    value = le(data, off, size)
    number = int(change.lstrip("+-^"), 0)
    value = {"+": value + number, "-": value - number, "^": value ^ number}.get(change[0], number)
    data[off:off + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def change_supers(fs, which, off, size, change):
    for place in SUPERS if which is None else [SUPERS[which]]:
        block = fs.read(place, 4096)
        if block[0x40:0x48] == b"_BHRfS_M":
            changed(block, off, size, change)
            fs.write(place, sealed(block))


def change_block(fs, logical, off, size, change, copy=None, is_sealed=True):
    for i, place in enumerate(fs.places(logical)):
        if copy in (None, i):
            block = fs.read(place, fs.node)
            changed(block, off, size, change)
            fs.write(place, sealed(block) if is_sealed else block)


def edit(fs, place, off, size, change):
    kind, *rest = place.split(":")
    rest = [int(number) for number in rest]
    if kind == "super":
        return change_supers(fs, rest[0] if rest else None, off, size, change)
    if kind == "block":
        return change_block(fs, fs.root(rest[0]), off, size, change)
    if kind == "leaf":
        return change_block(fs, next(fs.leaves(fs.root(rest[0])))[0], off, size, change)
    if kind == "flip" and rest[0] == 0:
        block = fs.read(SUPERS[rest[1]], 4096)
        changed(block, off, size, change)
        return fs.write(SUPERS[rest[1]], block)
    if kind in ("raw", "flip"):
        return change_block(fs, fs.root(rest[0]), off, size, change, rest[1], kind == "raw")
    logical, slot, _, _ = [item for item in fs.items(rest[0]) if item[2][1] == rest[1]][rest[2]]
    at = HEADER + slot * ITEM
    if kind == "item":
        at = HEADER + le(fs.block(logical), at + 17, 4)
    return change_block(fs, logical, at + off, size, change)


def dump(path, *args):
    return subprocess.run(["btrfs", "inspect-internal", *args, path], check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def gaps(start, end, used):
    """What of start to end none of the sorted ranges in used has."""
    for first, last in used:
        if first > start:
            yield start, min(first, end)
        start = max(start, last)
        if start >= end:
            return
    if start < end:
        yield start, end


def free(path):
    sb = dict(re.findall(r"^(\S+)\t+(.+)$", dump(path, "dump-super"), re.M))
    node, size = int(sb["nodesize"]), int(sb["dev_item.total_bytes"])
    chunks, extents = [], []
    for line in dump(path, "dump-tree", "-t", "chunk").splitlines():
        if m := re.search(r"CHUNK_ITEM (\d+)\)", line):
            chunks.append([int(m[1]), 0, []])
        elif m := re.match(r"\s+length (\d+) owner", line):
            chunks[-1][1] = int(m[1])
        elif m := re.search(r"stripe \d+ devid 1 offset (\d+)", line):
            chunks[-1][2].append(int(m[1]))
    for m in re.finditer(r"key \((\d+) (EXTENT|METADATA)_ITEM (\d+)\)",
                         dump(path, "dump-tree", "-t", "extent")):
        extents.append((int(m[1]), int(m[1]) + (int(m[3]) if m[2] == "EXTENT" else node)))
    chunks.sort()
    extents.sort()
    spans = list(gaps(0, size, sorted((s, s + c[1]) for c in chunks for s in c[2])))
    for logical, length, stripes in chunks:
        inside = [e for e in extents if logical <= e[0] < logical + length]
        for first, last in gaps(logical, logical + length, inside):
            spans += [(s + first - logical, s + last - logical) for s in stripes]
    kept = [(0, 1 << 20)] + [(off, off + 65536) for off in SUPERS[1:]]
    spans = sorted(part for span in spans for part in gaps(*span, kept))
    joined = []
    for first, last in spans:
        if joined and joined[-1][1] == first:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    return joined


if sys.argv[2] == "free":
    for begin, finish in free(sys.argv[1]):
        print(begin, finish - begin)
else:
    for line in sys.stdin:
        where, offset, length, how = line.split()
        edit(Btrfs(sys.argv[1]), where, int(offset, 0), int(length), how)
        print("done", flush=True)
