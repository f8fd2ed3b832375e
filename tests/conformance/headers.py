"""Headers that readers take differently, and layers that begin with odd bytes: cases q.

Engines read the unsquashed image alike; what scanners and other tars make of the new layer must be
the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.builders import (
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Sparse,
    Symlink,
    Whiteout,
    encode,
    header,
    layer,
    long_name,
    pax,
    pax_record,
    raw_pax,
)
from tests.conformance.case import LOWER, Case, case

AFTER = (File(b"o", b"what comes after"), File(b"p", b"x" * 600))


def odd(name: str, description: str, member: Member, *, refused: bool = False) -> Case:
    """Return a case of a layer that brings `member`, and more behind it."""
    return case(name, description, LOWER, [member, *AFTER], [File(b"z")], refused=refused)


def records(*pairs: tuple[bytes, bytes]) -> Member:
    return File(b"n", b"data", records=pairs)


def patched(*patches: tuple[int, bytes]) -> Member:
    return File(b"n", b"data", patches=patches)


def signed_sum() -> Member:
    """Return a file with the checksum that some old tars wrote, over signed bytes."""
    block = header(name=b"\xff\xff", type=b"0", size=4)
    return File(b"\xff\xff", b"data", checksum=b"%06o\0 " % (int(block[148:154], 8) - 512))


SIZES = (
    odd("q01", "a symlink with a size", Symlink(b"n", b"f", size=1024)),
    odd("q01b", "a FIFO with a size", Fifo(b"n", size=1024)),
    odd("q01c", "a device with a size", Char(b"n", size=1024)),
    odd("q01d", "a directory with a size", Dir(b"n", size=1024)),
    odd("q01e", "a FIFO with a size in a PAX record", Fifo(b"n", records=((b"size", b"1024"),))),
    odd("q01f", "a symlink with a negative size", Symlink(b"n", b"f", size=-1, dialect="gnu")),
    odd(
        "q01g",
        "a device with a size that a PAX record takes back",
        Char(b"n", size=1024, records=((b"size", b"0"),)),
    ),
    odd(
        "q02",
        "a negative size in the header, hidden by a PAX size",
        File(b"n", b"data", size=-1, dialect="gnu", records=((b"size", b"4"),)),
        refused=True,
    ),
    odd(
        "q02b",
        "a negative size on a directory of typeflag NUL",
        replace(Dir(b"n"), type=b"\0", size=-1, dialect="gnu"),
        refused=True,
    ),
)

NUMBERS = (
    odd("q03", "a number that begins with a NUL", patched((100, b"\0000644\0"))),
    odd("q03b", "a size that begins with NULs", patched((124, b"\0\0\0\0\0\0\00000004"))),
    odd("q03c", "a number of spaces", patched((108, b" " * 8))),
    odd("q03d", "a number with something behind its NUL", patched((108, b"07\0junk\0"))),
    odd("q03e", "a time with something behind its NUL", patched((136, b"0700\0junk \0\0"))),
    odd("q03f", "numbers of NULs", patched((108, bytes(8)), (136, bytes(12)))),
    odd("q03h", "a size of NULs", File(b"n", patches=((124, bytes(12)),))),
    odd("q03g", "numbers with spaces on both sides", patched((100, b"  644 \0 "))),
    odd("q04", "base-256 led by another byte", patched((100, b"\x81\0\0\0\0\0\x01\xa4"))),
    odd("q05", "a signed checksum", signed_sum()),
    odd(
        "q05b",
        "a checksum that begins with a NUL",
        File(b"n", b"data", checksum=b"\0" + encode(File(b"n", b"data"))[148:155]),
    ),
    odd("q06", "a device number behind a NUL", Char(b"n", patches=((329, b"\0000001\0"),))),
    odd("q06b", "a device number in GNU's form", Char(b"n", dialect="gnu")),
)

FORMS = (
    odd(
        "q07",
        "two long link names",
        Symlink(b"n", b"t", prefixed=long_name(b"K", b"a") + long_name(b"K", b"b")),
    ),
    odd(
        "q07b",
        "a long link name and a PAX record",
        Symlink(b"n", b"t", prefixed=long_name(b"K", b"a"), records=((b"path", b"m"),)),
    ),
    odd(
        "q07c",
        "a long name of no bytes",
        File(b"n", b"data", prefixed=header(name=b"L", type=b"L", size=0)),
    ),
    odd(
        "q07d",
        "a long name with something behind its NUL",
        File(b"n", b"data", prefixed=long_name(b"L", b"one\0two\nthree")),
    ),
    odd(
        "q07e",
        "a long link name and a long name",
        Symlink(b"n", b"t", prefixed=long_name(b"K", b"k" * 120) + long_name(b"L", b"l" * 120)),
    ),
    odd(
        "q07f",
        "two PAX headers",
        File(b"n", b"data", prefixed=pax([(b"path", b"m")]), records=((b"mtime", b"5"),)),
    ),
    odd(
        "q08",
        "GNU magic with digits where the real size is",
        File(b"n", b"data", dialect="gnu", patches=((483, b"00000001000\0"),)),
    ),
    odd(
        "q08b",
        "GNU magic with a mark of a sparse map that goes on",
        File(b"n", b"data", dialect="gnu", patches=((482, b"\1"),)),
    ),
    odd("q08c", "something behind the prefix", patched((500, b"more"))),
    odd("q08d", "something behind the prefix's NUL", patched((345, b"a\0b"))),
    odd("q08e", "another ustar version", patched((263, b"  "))),
    odd(
        "q08f",
        "a PAX header without magic",
        File(
            b"n",
            b"data",
            prefixed=header(name=b"x", type=b"x", size=10, dialect="v7")
            + b"10 path=m\n".ljust(512, b"\0"),
        ),
    ),
    odd("q09", "a link name on a file", patched((157, b"f"))),
    odd("q09b", "a PAX link name on a file", records((b"linkpath", b"f"))),
    odd("q09c", "a GNU link name on a file", File(b"n", b"data", prefixed=long_name(b"K", b"f"))),
    odd("q09d", "a slash behind a symlink's name", Symlink(b"n/", b"f")),
    odd("q09e", "a slash behind a file's name in a PAX record", records((b"path", b"n/"))),
)

PAX = (
    odd("q15", "a PAX value of two lines", records((b"comment", b"x\n11 path=m2\n"))),
    odd("q15b", "a PAX path of two lines", records((b"path", b"m\nn"))),
    odd(
        "q15c",
        "a PAX link name that is not UTF-8",
        Symlink(b"n", b"t", records=((b"linkpath", b"\xff"),)),
    ),
    odd("q15d", "a PAX owner's name that is not UTF-8", records((b"uname", b"\xff"))),
    odd("q10", "the name of a sparse file without a map", records((b"GNU.sparse.name", b"other"))),
    odd("q10b", "the size of a sparse file without a map", records((b"GNU.sparse.size", b"4096"))),
    odd(
        "q10c",
        "the real size of a sparse file without a map",
        records((b"GNU.sparse.realsize", b"4096")),
    ),
    odd("q10d", "the real size as star writes it", records((b"SCHILY.realsize", b"4096"))),
    odd("q10e", "holes as Solaris writes them", records((b"SUN.holesdata", b" 0 4"))),
    odd(
        "q10f",
        "a sparse file with a key too many",
        replace(
            Sparse(b"n", 2048, [(0, b"x" * 512)]),
            records=(*Sparse(b"n", 2048, [(0, b"x" * 512)]).records, (b"GNU.sparse.size", b"2048")),
        ),
    ),
    odd(
        "q10g",
        "a sparse map whose numbers begin with zeros",
        File(
            b"n",
            b"01\n+0\n004\n".ljust(512, b"\0") + b"data",
            records=(
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", b"n"),
                (b"GNU.sparse.realsize", b"9"),
            ),
        ),
    ),
    odd(
        "q10h",
        "a sparse map in a version of its own",
        records((b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")),
    ),
    odd("q11", "an empty PAX owner", records((b"uid", b""))),
    odd("q11b", "a PAX header of no bytes", File(b"n", b"data", prefixed=raw_pax(b""))),
    odd("q11c", "a PAX key twice", records((b"path", b"first"), (b"path", b"second"))),
    odd("q11d", "an empty PAX time", records((b"mtime", b""))),
    odd(
        "q12",
        "PAX numbers of more than 19 digits",
        records((b"size", b"4".zfill(40)), (b"uid", b"0" * 5000 + b"7")),
    ),
    odd("q12b", "a PAX number with a plus", records((b"gid", b"+7"))),
    odd(
        "q12c", "a PAX time of more than 19 digits", records((b"mtime", b"1500000000.25".zfill(60)))
    ),
    odd(
        "q12d",
        "a PAX time with a plus and nothing behind its point",
        records((b"mtime", b"+1500000000.")),
    ),
    odd(
        "q12e",
        "a PAX time of more than nine digits behind its point",
        records((b"mtime", b"1500000000.1234567899")),
    ),
    odd(
        "q12f",
        "a PAX record whose length has a plus",
        File(b"n", b"data", prefixed=raw_pax(b"+11 path=m\n")),
    ),
    odd(
        "q12g",
        "a PAX record whose length has 21 digits",
        File(b"n", b"data", prefixed=raw_pax(b"%021d path=m\n" % 29)),
    ),
    odd("q12h", "a PAX number too large for 64 bits", records((b"uid", b"9" * 19)), refused=True),
    odd(
        "q12i",
        "a PAX record whose length is a minus",
        File(b"n", b"data", prefixed=raw_pax(b"-11 path=m\n")),
        refused=True,
    ),
    odd(
        "q12j",
        "a PAX record whose length ends in itself",
        File(b"n", b"data", prefixed=raw_pax(b"5".zfill(20) + b" a=\n")),
        refused=True,
    ),
)

MAGICS = {
    "q13": b"BZhang",
    "q13b": b"\x1f\x8b\x08x",
    "q13c": b"\xfd7zXZ",
    "q13d": b"\x28\xb5\x2f\xfd",
    "q13e": b"P*M\x18",
    "q13f": b"hsqs.txt",
}


def beginnings() -> Iterable[Case]:
    """Return cases whose new layer would begin with what looks like something else than a tar."""
    for name, path in MAGICS.items():
        magic = path + (b"\0" if path.endswith(b"XZ") else b"")  # the name ends where the NUL is
        assert layer(File(path)).startswith(magic)
        yield case(name, f"{path!r} sorts first", [Dir(b"!"), File(path, b"x")], [Whiteout(b"!")])
    yield case(
        "q14",
        "a whiteout in a folder that sorts first",
        [File(b"BZhang/f")],
        [Whiteout(b"BZhang/f")],
        [File(b"z")],
        warns="implicit-base-directory",
    )
    yield case(
        "q14b",
        "such a name behind a prefix",
        [Dir(b"!"), replace(File(b"BZh" + b"x" * 90, b"x"), patches=((345, b"sub"),))],
        [Whiteout(b"!")],
    )
    yield case(
        "q14c",
        "such a name of a PAX header",
        [
            Dir(b"!"),
            File(
                b"n",
                b"x",
                prefixed=header(name=b"BZh", type=b"x", size=9)
                + pax_record(b"path", b"m").ljust(512, b"\0"),
            ),
        ],
        [Whiteout(b"!")],
    )
    yield case(
        "q14d", "a directory of such a name", [Dir(b"!"), Dir(b"BZh", mode=0o711)], [Whiteout(b"!")]
    )
    yield case(
        "q14e",
        "such a name with two names",
        [Dir(b"!"), File(b"BZh", b"x"), Hardlink(b"BZi", b"BZh")],
        [Whiteout(b"!")],
    )
    yield case(
        "q14f",
        "such a name behind what the base has",
        [Dir(b"A"), File(b"A/f", b"x")],
        [Dir(b"A"), File(b"A/f", b"x"), File(b"BZh", b"x")],
        [File(b"z")],
    )
    yield case("q14g", "such a name behind others", [File(b"A"), File(b"BZh", b"x")], [File(b"z")])


def global_named(name: bytes) -> bytes:
    return header(name=name, type=b"g", size=12) + b"12 comment=\n".ljust(512, b"\0")


GLOBALS = (
    case(
        "q16",
        "a global header as git writes it",
        LOWER,
        [global_named(b"pax_global_header"), *AFTER],
    ),
    case(
        "q16b",
        "a global header as GNU tar writes it",
        LOWER,
        [global_named(b"/tmp/GlobalHead.1.1"), *AFTER],
        warns="global-header",
    ),
    case(
        "q16c",
        "a global header in a folder of its layer",
        LOWER,
        [global_named(b"tmp/g"), Dir(b"tmp"), *AFTER],
    ),
    case(
        "q16d",
        "a global header with the name of an entry",
        LOWER,
        [global_named(b"o"), *AFTER],
        warns="global-header",
    ),
    case(
        "q16e",
        "a global header named as a whiteout",
        LOWER,
        [global_named(b".wh.f"), *AFTER],
        warns="global-header",
    ),
    case(
        "q16f",
        "a global header whose name leads out of the root",
        LOWER,
        [global_named(b"../x"), *AFTER],
        warns="global-header",
    ),
    case(
        "q16g",
        "a global header below a file",
        LOWER,
        [global_named(b"o/g"), *AFTER],
        warns="global-header",
    ),
)

CASES = GLOBALS + SIZES + NUMBERS + FORMS + PAX + tuple(beginnings())
