"""Tars that are broken: as the outer archive and as a layer, wherever both make sense."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.builders import (
    BLOCK,
    Char,
    Dir,
    File,
    Hardlink,
    Sparse,
    Symlink,
    encode,
    header,
    layer,
    long_name,
    outer_tar,
    pax,
    raw_pax,
)
from tests.hostile.case import GOOD, Case, docker, image, in_layer, item, refused, sound

TIMES = ((1, b"-9223372036854775808"), (2, b"9223372036854775807"))
FIRST = encode(File(b"first", b"1"))
X = File(b"x", b"xx")
#: Where the part behind `FIRST` begins, and the header behind an extension of one block there.
AT, BEHIND = 1024, 2048


def _base256(value: int, width: int) -> bytes:
    field = bytearray(value.to_bytes(width, "big", signed=True))
    field[0] |= 0x80
    return bytes(field)


def _sized(field: bytes) -> bytes:
    return encode(replace(X, patches=((124, field),)))


def _patched(offset: int, field: bytes) -> bytes:
    return encode(replace(X, patches=((offset, field),)))


def _extended(body: bytes) -> bytes:
    return raw_pax(body) + encode(X)


def _special(flag: bytes, size: int) -> bytes:
    return header(name=b"long", type=flag, size=size)


#: Parts that no tar may have, and what is said of them, in an outer archive and in a layer.
EITHER = {
    "checksum wrong": (
        encode(replace(X, checksum=b"000001\0 ")),
        "'x' at byte 1024: header checksum mismatch",
    ),
    "checksum that is no number": (
        encode(replace(X, checksum=b"zzzzzz\0 ")),
        "'x' at byte 1024: header checksum mismatch",
    ),
    "checksum empty": (
        encode(replace(X, checksum=b" " * 8)),
        "'x' at byte 1024: header checksum mismatch",
    ),
    "checksum negative": (
        encode(replace(X, checksum=b"-00001\0 ")),
        "'x' at byte 1024: header checksum mismatch",
    ),
    "header of random bytes": (
        bytes(range(256)) * 2,
        "'' at byte 1024: header checksum mismatch",
    ),
    "text where a header should be": (
        b"this is no header ".ljust(BLOCK, b"!"),
        "'this is no header !",
    ),
    "lone zero block": (
        bytes(BLOCK) + encode(X),
        "'' at byte 1024: a single zero block inside the archive",
    ),
    "size that is no octal": (_sized(b"00000000009\0"), "'x' at byte 1024: '00000000009\\x00' is"),
    "size of letters": (_sized(b"abcdefghijk\0"), "'x' at byte 1024: 'abcdefghijk\\x00' is no"),
    "size with a sign": (_sized(b"-0000000001\0"), "'x' at byte 1024: '-0000000001\\x00' is no"),
    "size negative in base 256": (_sized(_base256(-1, 12)), "'x' at byte 1024: negative size"),
    "size of minus 2^63 in base 256": (
        _sized(_base256(-(2**63), 12)),
        "'x' at byte 1024: negative size",
    ),
    "size beyond 64 bits in base 256": (
        _sized(_base256(2**64, 12)),
        "'x' at byte 1024: a number does not fit in 64 bits",
    ),
    "size of all ones": (_sized(b"\xff" * 12), "'x' at byte 1024: negative size"),
    "size of the largest base 256": (
        _sized(b"\xbf" + b"\xff" * 11),
        "'x' at byte 1024: a number does not fit in 64 bits",
    ),
    "mode that is no number": (_patched(100, b"rwxr-xr-"), "'x' at byte 1024: 'rwxr-xr-' is no"),
    "uid that is no number": (_patched(108, b"root\0\0\0\0"), "'x' at byte 1024: 'root\\x00"),
    "gid that is no number": (_patched(116, b"0x10\0\0\0\0"), "'x' at byte 1024: '0x10\\x00"),
    "mtime that is no number": (_patched(136, b"yesterday\0\0\0"), "'x' at byte 1024: 'yesterday"),
    "mtime beyond 64 bits": (
        _patched(136, b"\x80" + b"\x7f" * 11),
        "'x' at byte 1024: a number does not fit in 64 bits",
    ),
    "device number that is no number": (
        encode(Char(b"x", patches=((329, b"nonsense"),))),
        "'x' at byte 1024: 'nonsense' is not an octal number",
    ),
    "owner of a PAX header that is no number": (
        header(name=b"pax", type=b"x", patches=((108, b"root\0\0\0\0"),)) + encode(X),
        "'pax' at byte 1024: 'root\\x00",
    ),
    "owner of a global header that is no number": (
        header(name=b"pax", type=b"g", patches=((108, b"root\0\0\0\0"),)) + encode(X),
        "'pax' at byte 1024: 'root\\x00",
    ),
    "time of a GNU long name that is no number": (
        header(name=b"l", type=b"L", size=2, patches=((136, b"yesterday\0\0\0"),))
        + b"a".ljust(BLOCK, b"\0")
        + encode(X),
        "'l' at byte 1024: 'yesterday",
    ),
    "device number of a PAX header that is no number": (
        header(name=b"pax", type=b"x", patches=((329, b"nonsense"),)) + encode(X),
        "'pax' at byte 1024: 'nonsense' is not an octal number",
    ),
    "PAX record longer than its header": (
        _extended(b"99 path=x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record shorter than its text": (
        _extended(b"9 path=xxxx\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record is malformed",
    ),
    "PAX record of length 0": (
        _extended(b"0 path=x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record of length 4": (
        _extended(b"4 a\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record of negative length": (
        _extended(b"-9 path=x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record with a length of 20 digits": (
        _extended(b"00000000000000000012 path=x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record with a length of 500 digits": (
        _extended(b"9" * 500 + b" path=x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record without a length": (
        _extended(b"path=x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX record without a newline": (
        _extended(b"9 path=xx"),
        "'PaxHeaders/x' at byte 1024: a PAX record is malformed",
    ),
    "PAX record without an equals sign": (
        _extended(b"9 path_x\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record is malformed",
    ),
    "PAX record without a key": (
        _extended(b"6 =xx\n"),
        "'PaxHeaders/x' at byte 1024: a PAX record is malformed",
    ),
    "PAX header of zeros": (
        _extended(bytes(30)),
        "'PaxHeaders/x' at byte 1024: a PAX record has a wrong length",
    ),
    "PAX path with NUL": (
        pax([(b"path", b"a\0b")]) + encode(X),
        "'PaxHeaders/x' at byte 1024: NUL in the PAX record 'path'",
    ),
    "PAX key with NUL": (
        pax([(b"SCHILY.xattr.user.\0", b"b")]) + encode(X),
        "'PaxHeaders/x' at byte 1024: NUL in the PAX record 'SCHILY.xattr.user.\\x00'",
    ),
    "PAX size negative": (pax([(b"size", b"-1")]) + encode(X), "'x' at byte 2048: negative size"),
    "PAX size that is no number": (
        pax([(b"size", b"1e3")]) + encode(X),
        "'x' at byte 2048: '1e3' is not a decimal number",
    ),
    "PAX size beyond 64 bits": (
        pax([(b"size", b"9223372036854775808")]) + encode(X),
        "'x' at byte 2048: '9223372036854775808' is not a decimal number",
    ),
    "PAX uid of 4301 digits": (
        pax([(b"uid", b"1" * 4301)]) + encode(X),
        "'x' at byte 6144: '1111111",
    ),
    "PAX mtime that is not a valid time": (
        pax([(b"mtime", b"1.2.3")]) + encode(X),
        "'x' at byte 2048: '1.2.3' is not a valid time",
    ),
    "PAX mtime beyond 64 bits": (
        pax([(b"mtime", b"9223372036854775808")]) + encode(X),
        "'x' at byte 2048: '9223372036854775808' is not a valid time",
    ),
    "PAX sparse name with NUL": (
        pax(
            [
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", b"a\0b"),
                (b"GNU.sparse.realsize", b"0"),
            ]
        )
        + encode(X),
        "'x' at byte 2048: NUL in the name",
    ),
    "PAX atime that is not a valid time": (
        pax([(b"atime", b"NaN")]) + encode(X),
        "'x' at byte 2048: 'NaN' is not a valid time",
    ),
    "global PAX header that lies": (
        raw_pax(b"99 comment=x\n", b"g") + encode(X),
        "'pax_global_header' at byte 1024: a PAX record has a wrong length",
    ),
    "extended header of 1 MiB and a byte": (
        _special(b"x", (1 << 20) + 1),
        "'long' at byte 1024: an extended header of 1048577 bytes",
    ),
    "long name of 8 GiB": (
        _special(b"L", 8**11 - 1),
        "'long' at byte 1024: an extended header of 8589934591 bytes",
    ),
    "long link of negative size": (
        encode(File(b"long", type=b"K", size=0, patches=((124, _base256(-512, 12)),))),
        "'long' at byte 1024: an extended header of -512 bytes",
    ),
    "sparse as GNU tar wrote it once": (
        encode(Sparse(b"x", 10, [(0, b"a")], "old")),
        "'x' at byte 1024: the tar header type 'S' is not supported",
    ),
    "continuation of another volume": (
        encode(File(b"x", type=b"M")),
        "'x' at byte 1024: the tar header type 'M' is not supported",
    ),
    "contiguous file": (
        encode(File(b"x", type=b"7")),
        "'x' at byte 1024: the tar header type '7' is not supported",
    ),
    "type that is no character": (
        encode(File(b"x", type=b"\xff")),
        "'x' at byte 1024: the tar header type '\\xff' is not supported",
    ),
}

#: The same in an outer archive, where the text is another one.
OUTER = {
    "size of 8 GiB and no data": (
        _sized(b"77777777777\0"),
        "'x' at byte 1024: truncated: its header says 8589934591 bytes",
    ),
    "size of 2^63 - 1": (
        _sized(_base256(2**63 - 1, 12)),
        "'x' at byte 1024: truncated: its header says 9223372036854775807 bytes",
    ),
    "PAX size of 2^62": (
        pax([(b"size", b"%d" % 2**62)]) + encode(X),
        "'x' at byte 2048: truncated: its header says 4611686018427387904 bytes",
    ),
    "sparse member": (
        encode(Sparse(b"x", 10, [(0, b"a")], "1.0")),
        "'x' at byte 2048: a sparse member; write the archive without --sparse",
    ),
    "long name cut": (long_name(b"L", b"n" * 900)[:900], "'././@LongLink' at byte 1024: truncated"),
    "PAX header cut": (
        pax([(b"comment", b"c" * 900)])[:900],
        "'PaxHeaders/x' at byte 1024: truncated header",
    ),
    "header cut": (encode(X)[:511], "'x' at byte 1024: truncated header"),
    "header of one byte": (b"x", "'x' at byte 1024: truncated header"),
}


def _layer_parts() -> Iterator[Case]:
    """Yield what can only be broken in a layer, or is said otherwise there."""
    whole = encode(File(b"x", b"d" * 700))
    long = long_name(b"L", b"n" * 900) + encode(X)
    extended = pax([(b"comment", b"c" * 900)]) + encode(X)
    for name, data in {
        "header cut after 1 byte": whole[:1],
        "header cut after 511 bytes": whole[:511],
        "data cut to nothing": whole[:512],
        "data cut after 1 byte": whole[:513],
        "data cut before its last byte": whole[: 512 + 699],
        "long name header cut": long[:300],
        "long name cut": long[:900],
        "long name without its entry cut": long[:1600],
        "PAX header cut": extended[:300],
        "PAX records cut": extended[:900],
        "PAX without its entry cut": extended[:1700],
        "size of 8 GiB and no data": _sized(b"77777777777\0"),
        "size of 2^63 - 1": _sized(_base256(2**63 - 1, 12)),
        "PAX size of 2^62": pax([(b"size", b"%d" % 2**62)]) + encode(X),
        "link with data": encode(Hardlink(b"x", b"first")) + b"data \0".ljust(512),
    }.items():
        says = "truncated at byte"
        if name == "link with data":
            says = "'data ' at byte 1536: header checksum mismatch"
        yield in_layer(f"layer: {name}", says, FIRST, data, trailer=b"")
    for name, size, extents, version, says in (
        ("sparse map longer than its file", 5, [(0, b"x" * 9)], "1.0", "the sparse map is"),
        ("sparse map backwards", 99, [(9, b"x"), (0, b"y")], "0.1", "the sparse map is"),
        ("sparse map that overlaps", 99, [(0, b"xx"), (1, b"y")], "0.0", "the sparse map is"),
        ("sparse file of negative size", -1, [], "1.0", "negative size"),
    ):
        yield in_layer(f"layer: {name}", f"'x' at byte 2048: {says}", FIRST, Sparse(
            b"x", size, extents, version))  # fmt: skip
    for name, records, data, says in _sparse_lies():
        part = replace(X, records=records, data=data)
        yield in_layer(f"layer: {name}", f"'x' at byte 2048: {says}", FIRST, part)


Records = tuple[tuple[bytes, bytes], ...]


def _sparse_lies() -> Iterator[tuple[str, Records, bytes, str]]:
    """Yield names, PAX records, data and messages of sparse files whose map lies."""
    one = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"))
    real = (b"GNU.sparse.realsize", b"99")
    size = (b"GNU.sparse.size", b"99")
    malformed = "the sparse map is malformed"
    yield "sparse map of a billion chunks", (*one, real), b"1000000000\n".ljust(512), malformed
    yield "sparse map of 2^63 chunks", (*one, real), b"%d\n" % 2**63, "'9223372036854775808' is no"
    yield "sparse map of -1 chunks", (*one, real), b"-1\n0\n0\n", malformed
    yield "sparse map without its numbers", (*one, real), b"2\n0\n1\n" + bytes(506), malformed
    yield "sparse map that never ends", (*one, real), b"1" * 5000, malformed
    yield "sparse map of letters", (*one, real), b"one\n0\n1\n".ljust(512), "'one' is not a decimal"
    yield "sparse map in no data", (*one, real), b"", malformed
    for name, numbers, count, says in (
        ("sparse offsets without lengths", b"0,1,2", 1, malformed),
        ("sparse map with another count", b"0,1", 3, malformed),
        ("sparse map with negative numbers", b"-5,1", 1, malformed),
        ("sparse map that wraps around", b"%d,%d" % (2**63 - 1, 2**63 - 1), 1, malformed),
        ("sparse map of no numbers", b",", 1, "'' is not a decimal number"),
        ("sparse map for other data", b"0,50", 1, "the sparse map does not fit the data"),
    ):
        blocks = (b"GNU.sparse.numblocks", b"%d" % count)
        yield name, (size, blocks, (b"GNU.sparse.map", numbers)), b"x", says
    yield (
        "sparse file of 2^64 bytes",
        (
            (b"GNU.sparse.size", b"%d" % 2**64),
            (b"GNU.sparse.numblocks", b"1"),
            (b"GNU.sparse.map", b"0,1"),
        ),
        b"x",
        "'18446744073709551616' is not a decimal number",
    )


def cases() -> Iterator[Case]:
    """Yield every case of this theme."""
    good = docker(item())[:-1024]
    for name, (part, says) in EITHER.items():
        data = FIRST + part
        yield refused(f"outer: {name}", data + good, says)
        yield in_layer(f"layer: {name}", says, data)
    for name, (part, says) in OUTER.items():
        yield refused(f"outer: {name}", FIRST + part, says)
    yield from _layer_parts()
    yield in_layer(
        "layer: sparse directory",
        "'x/' at byte 2048: a sparse map on an entry without data",
        FIRST,
        Dir(b"x", records=((b"GNU.sparse.map", b"0,1"),)),
    )
    yield refused("outer: nothing but zeros", bytes(10240), "holds no image: it has neither")
    yield refused("outer: a byte", b"x", "is not a tar archive; give what `docker save` writes")
    yield refused("outer: nothing", b"", "is empty; did the command before the pipe fail?")
    yield refused("outer: only a long name", long_name(b"L", b"n" * 200), "holds no image")
    whole = image()
    yield refused("outer: cut in the first header", whole[:400], "is not a tar archive")
    yield refused("outer: cut in the first data", whole[:600], "'")
    yield Case("outer: without its zero blocks", lambda: docker(item())[:-1024], 0, "", (GOOD,))
    yield Case("outer: members after the end", lambda: docker(item()) + encode(X), 0, "", (GOOD,))
    yield sound("layer: entries after the end", layer(X) + encode(File(b"y", b"y")))
    yield sound("layer: junk after the end", layer(X) + b"junk" * 999)
    yield sound("layer: no zero blocks", layer(X, trailer=b""))
    yield sound("layer: one zero block", layer(X, trailer=bytes(512)))
    yield sound("layer: last block not padded", layer(X, trailer=b"")[:514])
    yield sound("layer: no bytes", b"")
    yield sound("layer: nothing but zeros", bytes(10240))
    yield sound("layer: a PAX header for nothing", layer(X, pax([(b"path", b"y")])))
    yield sound("layer: a link with a size", layer(X, replace(Hardlink(b"h", b"x"), size=9000)))
    yield sound("layer: a symlink with a size", layer(X, replace(Symlink(b"h", b"x"), size=9000)))
    yield sound("layer: two PAX headers", layer(pax([(b"path", b"a")]), pax([(b"path", b"b")]), X))
    yield sound("layer: huge owner", layer(File(b"x", uid=2**40, gid=2**32 - 1)))
    yield sound("layer: times beyond all", layer(*(File(b"x%d" % n, mtime=t) for n, t in TIMES)))
    yield sound(
        "layer: a file that is all hole", layer(Dir(b"s"), Sparse(b"s/s", 1 << 20, [], "1.0"))
    )
    yield refused("outer: only directories", outer_tar({"a/": None, "b/": None}), "holds no image")
