"""Names and the dialects that carry them: cases n."""

from __future__ import annotations

from dataclasses import replace

from tests.builders import (
    Dir,
    File,
    Hardlink,
    Symlink,
    Whiteout,
    layer,
    long_name,
    raw_pax,
)
from tests.conformance.case import LOWER, D, case

LONG = b"a" * 90 + b"/" + b"b" * 90 + b"/" + b"c" * 118
PARENTS = (Dir(b"a" * 90), Dir(b"a" * 90 + b"/" + b"b" * 90))


def named(path: bytes, **fields: object) -> bytes:
    """Return a layer of one file whose name is written just so."""
    return layer(replace(File(path, b"content"), **fields))  # type: ignore[arg-type]


AGREED = (
    case("n01", "a name with `./` in front", LOWER, [File(b"./f", b"new"), Dir(b"./n/")]),
    case("n02", "a name with `/` in front", LOWER, [File(b"/f", b"new")]),
    case("n03", "a name with a doubled slash", LOWER, [D, File(b"d//a", b"new")]),
    case("n04", "a name with `.` inside", LOWER, [D, File(b"d/./a", b"new")]),
    case("n05", "a name with `..` inside", LOWER, [D, File(b"d/../f", b"new")]),
    case(
        "n05b",
        "a name with `..` after a directory that does not exist",
        LOWER,
        [File(b"q/../f", b"new")],
    ),
    case(
        "n07",
        "a file's name with a slash at its end is a file",
        LOWER,
        [replace(File(b"n/", b"data"), type=b"0")],
    ),
    case(
        "n07b",
        "type flag NUL and a slash at the end is a directory",
        LOWER,
        [replace(Dir(b"n", mode=0o700), type=b"\0"), File(b"n/x")],
    ),
    case(
        "n07c",
        "type flag NUL without a slash is a file",
        LOWER,
        [replace(File(b"n", b"data"), type=b"\0")],
    ),
    case(
        "n07d",
        "a directory's name without a slash",
        LOWER,
        [replace(Dir(b"n", mode=0o700), path=b"n"), File(b"n/x")],
    ),
    case("n09", "a name that is not UTF-8", LOWER, [File(b"\xff\x80", b"raw")]),
    case(
        "n09b",
        "a name that is not UTF-8 in a PAX record",
        LOWER,
        [replace(File(b"x", b"raw"), records=((b"path", b"\xff\x80"),))],
    ),
    case(
        "n09c",
        "a name that is not UTF-8 in GNU's form",
        LOWER,
        [replace(File(b"x", b"raw"), prefixed=long_name(b"L", b"\xff\x80"))],
    ),
    case(
        "n09d",
        "hdrcharset=BINARY",
        LOWER,
        [replace(File(b"x"), records=((b"hdrcharset", b"BINARY"), (b"path", b"\xe9")))],
    ),
    case(
        "n10",
        "a path of 300 bytes in a PAX record",
        LOWER,
        [*PARENTS, File(LONG, b"x")],
        [*PARENTS, File(LONG, b"y")],
    ),
    case(
        "n10b",
        "a path of 300 bytes in GNU's form",
        LOWER,
        layer(*PARENTS, File(LONG, b"x"), dialect="gnu"),
        [File(b"z")],
    ),
    case(
        "n10c",
        "a path in the prefix field",
        LOWER,
        layer(*PARENTS, File(b"a" * 90 + b"/" + b"e" * 60, b"x"), dialect="ustar"),
    ),
    case("n10d", "a component of 255 bytes", LOWER, [File(b"n" * 255, b"x")]),
    case("n10e", "a component of 256 bytes", LOWER, [File(b"n" * 256)], refused=True),
    case("n10f", "a name of just 100 bytes", LOWER, [File(b"n" * 100, b"x")]),
    case(
        "n10g",
        "with GNU magic the prefix area holds times",
        LOWER,
        [
            replace(
                File(b"n", b"x"), dialect="gnu", patches=((345, b"14524770000\x0014524770000\0"),)
            )
        ],
    ),
    case(
        "n10h",
        "GNU's long name beats the PAX path",
        LOWER,
        [replace(File(b"x", b"x"), records=((b"path", b"pax"),), prefixed=long_name(b"L", b"gnu"))],
    ),
    case(
        "n10i",
        "with GNU magic and text in the prefix area: what Go before 1.8 wrote",
        LOWER,
        [replace(File(b"n", b"x"), dialect="gnu", patches=((345, b"some/prefix"),))],
    ),
    case(
        "n10j",
        "a long symlink target, in a PAX record and in GNU's form",
        LOWER,
        [Symlink(b"s", b"t" * 300)],
        layer(Symlink(b"r", b"t" * 300), dialect="gnu"),
    ),
    case("n10k", "a header without magic", LOWER, layer(File(b"n", b"x"), dialect="v7")),
    case(
        "n10l",
        "two long names: the second counts",
        LOWER,
        [replace(File(b"x"), prefixed=long_name(b"L", b"one") + long_name(b"L", b"two"))],
    ),
    case(
        "n15",
        "names that only look like whiteouts",
        LOWER,
        [
            File(b"foo.wh.bar"),
            File(b".whx"),
            File(b".wh"),
            Dir(b"x.wh.y"),
            File(b"x.wh.y/z"),
            File(b"wh.f"),
            File(b"..wh.f"),
        ],
    ),
    case(
        "n16",
        "names of odd characters",
        LOWER,
        [
            File(b"new\nline"),
            File(b"back\\slash"),
            File(b"*"),
            File(b"\x7f"),
            File(b" "),
            File(b"-rf"),
            File(b"\xc2\xa0"),
            File(b"\x01"),
        ],
    ),
    case("n19", "a name of three dots", LOWER, [File(b"..."), File(b"..a"), File(b"a..")]),
    case(
        "n20",
        "composed and decomposed letters are two names",
        [File(b"\xc3\xa9", b"nfc"), File(b"e\xcc\x81", b"nfd")],
        [Whiteout(b"\xc3\xa9")],
    ),
    case(
        "n21",
        "`..` after a symlink is taken out of the text",
        [*LOWER, Dir(b"k"), Dir(b"k/l"), Symlink(b"s", b"k/l")],
        [File(b"s/../f", b"new")],
    ),
    case(
        "n23",
        "a symlink's target is kept to the byte",
        LOWER,
        [Symlink(b"s", b".//x/./../y/"), Symlink(b"t", b"\xff"), Symlink(b"u", b"/")],
    ),
    case(
        "n25",
        "an empty PAX path means nothing",
        LOWER,
        [replace(File(b"n", b"x"), records=((b"path", b""),))],
    ),
    case(
        "n26",
        "an empty PAX link path means nothing",
        LOWER,
        [replace(Symlink(b"n", b"t"), records=((b"linkpath", b""),))],
    ),
    case(
        "n27",
        "a PAX path beats the prefix field",
        LOWER,
        [replace(File(b"n", b"x"), patches=((345, b"prefix"),), records=((b"path", b"pax"),))],
    ),
    case(
        "n28",
        "names that sort by bytes, and a directory among them",
        LOWER,
        [File(b"a-"), Dir(b"a"), File(b"a/b"), File(b"a."), File(b"a0"), File(b"A")],
    ),
    case(
        "n29",
        "a trailing slash in a PAX path of type NUL is a directory",
        LOWER,
        [replace(File(b"x"), type=b"\0", records=((b"path", b"n/"),))],
    ),
)

REFUSED = (
    case("n06", "a name that leads out of the root", LOWER, named(b"../x"), refused=True),
    case(
        "n06b",
        "a name that leads out of the root further down",
        LOWER,
        named(b"a/../../x"),
        refused=True,
    ),
    case(
        "n06c", "an absolute name that leads out of the root", LOWER, named(b"/../x"), refused=True
    ),
    case("n08", "an empty name", LOWER, named(b""), [File(b"z")], warns="nameless-entry"),
    case("n08b", "a file that is `./`", LOWER, named(b"./"), [File(b"z")], warns="nameless-entry"),
    case(
        "n08d",
        "a file that is `d/..`, and more behind its data",
        LOWER,
        [File(b"d/..", b"x" * 600), File(b"o", b"what comes after")],
        warns="nameless-entry",
    ),
    case("n08e", "a file that is `/`", LOWER, named(b"/"), refused=True),
    case(
        "n08c",
        "a directory with an empty name is the root",
        LOWER,
        [replace(Dir(b"x", mode=0o711, uid=7), path=b"")],
        [File(b"z")],
    ),
    case(
        "n37",
        "a header of another ustar version has its prefix all the same",
        LOWER,
        [File(b"n", b"x", patches=((263, b"  "), (345, b"sub")))],
        [File(b"z")],
    ),
    case("n17", "`.` as a file", LOWER, named(b"."), [File(b"z")], warns="nameless-entry"),
    case("n17b", "`.` as a symlink", LOWER, [Symlink(b".", b"x")], warns="nameless-entry"),
    case("n17c", "`/` as a hard link", LOWER, [Hardlink(b"/", b"f")], refused=True),
    case("n18", "`..` as a file", LOWER, named(b".."), refused=True),
    case("n18b", "`..` as a directory", LOWER, [Dir(b"..")], refused=True),
    case(
        "n22",
        "a NUL in a PAX path",
        LOWER,
        named(b"x", records=((b"path", b"a\0b"),)),
        refused=True,
    ),
    case("n24b", "a symlink without a target", LOWER, [Symlink(b"s", b"")], refused=True),
    case("n11", "`.wh.` and no name", LOWER, named(b"d/.wh."), refused=True),
    case("n11b", "`.wh.` and no name at the root", LOWER, named(b".wh."), refused=True),
    case("n14c", "a whiteout of `.`", LOWER, named(b"d/.wh.."), refused=True),
    case("n14d", "a whiteout of `..`", LOWER, named(b"d/.wh..."), refused=True),
    case(
        "n12",
        "the link directory of aufs, and a link into it",
        LOWER,
        [
            Dir(b".wh..wh.plnk"),
            File(b".wh..wh.plnk/1.2", b"x"),
            Hardlink(b"h", b".wh..wh.plnk/1.2"),
        ],
        refused=True,
    ),
    case(
        "n30",
        "a PAX record that is too long",
        LOWER,
        [raw_pax(b"99 path=x\n"), File(b"x")],
        refused=True,
    ),
    case("n31", "a PAX record without `=`", LOWER, [raw_pax(b"6 abc\n"), File(b"x")], refused=True),
    case(
        "n32",
        "a PAX record whose length is no number",
        LOWER,
        [raw_pax(b"ab path=x\n"), File(b"x")],
        refused=True,
    ),
)

DROPPED = (
    case(
        "n13",
        "other metadata of aufs is dropped",
        LOWER,
        [File(b".wh..wh.aufs"), Dir(b".wh..wh.orph"), Dir(b".wh..wh.plnk")],
    ),
    case("n14", "other metadata of aufs in a directory", LOWER, [D, File(b"d/.wh..wh.x")]),
    case(
        "n14b",
        "other metadata of aufs in a directory that is nowhere makes none",
        LOWER,
        [File(b"no/.wh..wh.x")],
    ),
)

CASES = AGREED + REFUSED + DROPPED
