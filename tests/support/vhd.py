# SPDX-License-Identifier: GPL-2.0-or-later
# VHDs made and read without our engine: whatever layout the format allows.
#
#	vhd.py make FILE SEED		a random image; says its layout
#	vhd.py sha FILE			the SHA-256 of the disk's size and of its blocks that are not zeros, each
#					with its place: bits decide what is read
#	vhd.py child FILE PARENT [SIZE]	an empty differencing image with blocks of SIZE bytes, its parent beside it
#	vhd.py state FILE		sets the saved state
#	vhd.py id FILE			gives it a unique id of its own
#	vhd.py layout FILE		"aligned" when every block's data is on 4 KiB, else "packed"
import hashlib
import random
import struct
import sys


def checksum(data, at):
    data = bytearray(data)
    data[at:at + 4] = bytes(4)
    return ~sum(data) & 0xffffffff


def footer(size, creator, state=0, data_off=512, kind=3, uuid=bytes(range(16))):
    f = bytearray(512)
    struct.pack_into(">8sIIQI4sI4sQQHBBI", f, 0, b"conectix", 2, 0x10000, data_off, 500000000, creator,
                     0x10000, b"Wi2k", size, size, *geometry(size // 512), kind)
    f[68:84] = uuid
    f[84] = state
    struct.pack_into(">I", f, 64, checksum(f, 64))
    return bytes(f)


def geometry(sectors):
    sectors = min(sectors, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    track = 17
    by_track = sectors // track
    heads = max(4, (by_track + 1023) // 1024)
    if by_track >= heads * 1024 or heads > 16:
        track, heads = 31, 16
        by_track = sectors // track
    if by_track >= heads * 1024:
        track, heads = 63, 16
        by_track = sectors // track
    return by_track // heads, heads, track


def header(table, entries, block_size):
    h = bytearray(1024)
    struct.pack_into(">8sQQIII", h, 0, b"cxsparse", 0xffffffffffffffff, table, 0x10000, entries, block_size)
    struct.pack_into(">I", h, 36, checksum(h, 36))
    return bytes(h)


def bitmap_size(block_size):
    return (block_size // 512 // 8 + 511) // 512 * 512


def contents(rnd, block_size):
    """The bits of a block and its data: live, zeros, with junk under clear bits, or nobody's."""
    sectors = block_size // 512
    kind = rnd.choice(["live", "live", "sparse", "zero", "zero", "none", "partial"])
    bits = bytearray(b"\xff" * (sectors // 8) if kind in ("live", "sparse", "zero") else bytes(sectors // 8))
    data = bytearray(block_size)
    if kind == "live":
        data[:] = rnd.randbytes(block_size)
    elif kind == "sparse":
        at = rnd.randrange(sectors) * 512
        data[at:at + 512] = rnd.randbytes(512)
    elif kind == "partial":
        for s in rnd.sample(range(sectors), rnd.randrange(1, sectors + 1)):
            bits[s // 8] |= 0x80 >> s % 8
            if rnd.random() < .5:
                data[s * 512:s * 512 + 512] = rnd.randbytes(512)
    return bytes(bits), bytes(data)


def make(name, seed):
    rnd = random.Random(seed)
    block_size = rnd.choice([4096, 32768, 262144, 524288, 2097152])
    entries = rnd.randrange(3, 40 if block_size < 2097152 else 9)
    size = entries * block_size - rnd.randrange(0, block_size // 512) * 512
    creator = rnd.choice([b"win ", b"vpc ", b"vbox", b"tap\0", b"qem2", b"d2v "])
    stride = rnd.choice(["packed", "aligned", "gaps"])
    blocks = [b for b in range(entries) if rnd.random() < .7]
    rnd.shuffle(blocks) if rnd.random() < .6 else None
    table, pos = 1536, 1536 + (entries * 4 + 511) // 512 * 512
    if creator == b"win ":
        pos = (pos + 4095) // 4096 * 4096  # the rest of the table's page is the table's
    bits_len = bitmap_size(block_size)
    bat = [0xffffffff] * entries
    with open(name, "wb") as f:
        for b in blocks:
            if stride == "aligned":
                pos = (pos + bits_len + 4095) // 4096 * 4096 - bits_len
            elif stride == "gaps":
                pos += rnd.choice([0, 0, 512, 4096, bits_len + block_size])
            bits, data = contents(rnd, block_size)
            bat[b] = pos // 512
            f.seek(pos)
            f.write(bits.ljust(bits_len, b"\0") + data)
            pos += bits_len + block_size
        pos += rnd.choice([0, 0, 512, 3 * 512])
        f.seek(pos)
        f.write(footer(size, creator))
        f.seek(0)
        f.write(footer(size, creator) + header(table, entries, block_size))
        f.write(b"".join(struct.pack(">I", e) for e in bat).ljust((entries * 4 + 511) // 512 * 512, b"\xff"))
    print("block size %d, %d of %d blocks, %s, creator %r" %
          (block_size, len(blocks), entries, stride, creator))


def read_table(f):
    f.seek(-512, 2)
    top = f.read(512)
    if not top.startswith(b"conectix"):
        f.seek(0)
        top = f.read(512)
    size, = struct.unpack_from(">Q", top, 48)
    off, = struct.unpack_from(">Q", top, 16)
    f.seek(off)
    head = f.read(1024)
    table, = struct.unpack_from(">Q", head, 16)
    entries, block_size = struct.unpack_from(">II", head, 28)
    f.seek(table)
    return size, block_size, struct.unpack(">%dI" % entries, f.read(4 * entries))


def sha(name):
    digest = hashlib.sha256()
    with open(name, "rb") as f:
        size, block_size, bat = read_table(f)
        left = size
        digest.update(b"%d" % size)
        for blk, entry in enumerate(bat):
            want = min(left, block_size)
            data = b""
            if want and entry != 0xffffffff:
                f.seek(entry * 512)
                bits = f.read(bitmap_size(block_size))
                data = f.read(block_size).ljust(block_size, b"\0")
                n = block_size // 512 // 8
                if bits[:n] != b"\xff" * n:
                    data = b"".join(data[s * 512:s * 512 + 512] if bits[s // 8] & 0x80 >> s % 8 else bytes(512)
                                    for s in range(block_size // 512))
            if data[:want].strip(b"\0"):
                digest.update(b"%d:" % (blk * block_size) + data[:want])
            left -= want
        if left:
            sys.exit("%s: the table has too few entries" % name)
    print(digest.hexdigest())


def child(name, parent, block_size="2097152"):
    with open(parent, "rb") as f:
        f.seek(-512, 2)
        top = f.read(512)
    size, = struct.unpack_from(">Q", top, 48)
    block_size, base = int(block_size), parent.split("/")[-1]
    entries = (size + block_size - 1) // block_size
    path = (".\\" + base).encode("utf-16-le")
    table_len = (entries * 4 + 511) // 512 * 512
    h = bytearray(header(1536, entries, block_size))
    h[40:56] = top[68:84]
    h[64:576] = base.encode("utf-16-be").ljust(512, b"\0")
    struct.pack_into(">4sIIIQ", h, 576, b"W2ru", 4096, len(path), 0, 1536 + table_len)
    struct.pack_into(">I", h, 36, checksum(h, 36))
    foot = footer(size, b"win ", kind=4, uuid=hashlib.md5(name.encode()).digest())
    with open(name, "wb") as f:
        f.write(foot + h + b"\xff" * table_len + path.ljust(4096, b"\0") + foot)


def set_state(name):
    change_footers(name, 84, b"\1")


def set_id(name):
    change_footers(name, 68, random.randbytes(16))


def change_footers(name, where, value):
    with open(name, "r+b") as f:
        for at, whence in ((0, 0), (-512, 2)):
            f.seek(at, whence)
            at = f.tell()
            data = bytearray(f.read(512))
            data[where:where + len(value)] = value
            struct.pack_into(">I", data, 64, checksum(data, 64))
            f.seek(at)
            f.write(data)


def layout(name):
    with open(name, "rb") as f:
        _, block_size, bat = read_table(f)
    used = [e for e in bat if e != 0xffffffff]
    aligned = all((e * 512 + bitmap_size(block_size)) % 4096 == 0 for e in used)
    print("aligned" if aligned else "packed")


def needed(name, size):
    """Bytes that must be read and written to compact a dynamic image to size: zero blocks once, of
    the others up to their first byte that is not zero (in pages), and those that end up elsewhere."""
    read = written = 0
    with open(name, "rb") as f:
        _, block_size, bat = read_table(f)
        for entry in bat:
            if entry == 0xffffffff:
                continue
            f.seek(entry * 512 + bitmap_size(block_size))
            data = f.read(block_size)
            zeros = len(data) - len(data.lstrip(b"\0"))
            read += bitmap_size(block_size) + min(zeros // 4096 * 4096 + 4096, block_size)
            if zeros < len(data) and entry * 512 >= int(size):
                read += block_size
                written += bitmap_size(block_size) + block_size
    print(read, written)


COMMANDS = {"make": make, "sha": sha, "child": child, "state": set_state, "id": set_id, "layout": layout,
            "needed": needed}
COMMANDS[sys.argv[1]](*sys.argv[2:])
