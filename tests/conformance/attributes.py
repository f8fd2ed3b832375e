"""Extended attributes, times, numbers, sparse files, types, the end of the archive: x, s, k, e."""

from __future__ import annotations

from dataclasses import replace

from tests import generator
from tests.builders import (
    END,
    Block,
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Opaque,
    Sparse,
    Symlink,
    Whiteout,
    encode,
    layer,
    pax,
)
from tests.conformance.case import LOWER, OTHER_D, D, case

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
CAPABILITY_3 = bytes.fromhex("010000030020000000000000000000000000000000000000")
ACL = bytes.fromhex("02000000 01000700ffffffff 04000500ffffffff 20000500ffffffff".replace(" ", ""))
DEFAULT_ACL = {b"system.posix_acl_default": generator.ACL}
#: The same for user 1001.
OTHER_ACL = {b"system.posix_acl_default": generator.ACL.replace(b"\xe8\x03", b"\xe9\x03")}
SECOND = 10**9

XATTRS = (
    case(
        "x01",
        "user xattrs with odd bytes, `=` and newlines",
        LOWER,
        [File(b"n", xattrs={b"user.a": b"\0\xff\n=", b"user.bc": b"v"})],
    ),
    case(
        "x02",
        "a capability",
        LOWER,
        [File(b"n", b"x", xattrs={b"security.capability": CAPABILITY})],
    ),
    case(
        "x02b",
        "a capability of version 3",
        LOWER,
        [File(b"n", b"x", xattrs={b"security.capability": CAPABILITY_3})],
    ),
    case(
        "x02c",
        "a file comes again without its capability",
        [File(b"n", b"x", xattrs={b"security.capability": CAPABILITY})],
        [File(b"n", b"x")],
        [File(b"z")],
    ),
    case(
        "x03",
        "an xattr that only LIBARCHIVE records hold does not exist",
        LOWER,
        [replace(File(b"n"), records=((b"LIBARCHIVE.xattr.user.a", b"dg=="),))],
    ),
    case(
        "x03b",
        "keys that no engine knows",
        LOWER,
        [
            replace(
                File(b"n"),
                records=(
                    (b"SCHILY.acl.access", b"user::rw-"),
                    (b"SCHILY.fflags", b"nodump"),
                    (b"VENDOR.key", b"v"),
                    (b"comment", b"c"),
                    (b"uname", b"me"),
                    (b"atime", b"1.5"),
                ),
            )
        ],
    ),
    case(
        "x04",
        "an xattr that overlay filesystems obey, in a squashed layer",
        LOWER,
        [Dir(b"d", xattrs={b"trusted.overlay.opaque": b"y"}), File(b"d/n")],
        warns="overlay-xattr",
    ),
    case(
        "x04c",
        "another xattr that overlay filesystems obey",
        LOWER,
        [Dir(b"n", xattrs={b"trusted.overlay.redirect": b"/d"})],
        warns="overlay-xattr",
    ),
    case(
        "x04d",
        "the same in the user namespace, in the base",
        [Dir(b"d", xattrs={b"user.overlay.opaque": b"y"}), File(b"d/a", b"a")],
        [Dir(b"d", xattrs={b"user.overlay.opaque": b"y"}), File(b"d/a", b"a")],
        [File(b"z")],
        warns="overlay-xattr",
    ),
    case(
        "x04b",
        "other xattrs of the trusted namespace",
        LOWER,
        [File(b"n", xattrs={b"trusted.other": b"v"})],
    ),
    case(
        "x04e",
        "an xattr that says that only metadata was copied up",
        LOWER,
        [File(b"f", xattrs={b"trusted.overlay.metacopy": b""})],
        warns="overlay-xattr",
    ),
    case(
        "x06",
        "a user xattr on a symlink",
        LOWER,
        [Symlink(b"s", b"f", xattrs={b"user.a": b"v"})],
        warns="symlink-xattr",
    ),
    case(
        "x06-link",
        "a user xattr on a link to a symlink",
        LOWER,
        [Symlink(b"s", b"f"), Hardlink(b"h", b"s", mode=0o777, xattrs={b"user.a": b"v"})],
        warns="symlink-xattr link-header-differs",
    ),
    case(
        "x06b",
        "a trusted xattr on a directory",
        LOWER,
        [Dir(b"d", xattrs={b"trusted.other": b"v"})],
    ),
    case(
        "x08",
        "a SELinux label",
        LOWER,
        [File(b"n", xattrs={b"security.selinux": b"system_u:object_r:etc_t:s0\0"})],
    ),
    case("x10", "an xattr with an empty value", LOWER, [File(b"n", xattrs={b"user.e": b""})]),
    case(
        "x11",
        "a file comes again with fewer xattrs",
        [File(b"n", b"x", xattrs={b"user.a": b"1", b"user.b": b"2"})],
        [File(b"n", b"x", xattrs={b"user.b": b"2"})],
        [File(b"z")],
    ),
    case(
        "x12",
        "an xattr of an unknown namespace",
        LOWER,
        [File(b"n", xattrs={b"unknown.space": b"v"})],
    ),
    case("x13", "an ACL", LOWER, [File(b"n", xattrs={b"system.posix_acl_access": ACL})]),
    case(
        "x16",
        "a default ACL, and children after it",
        LOWER,
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"n/x"), Dir(b"n/m"), File(b"n/m/y")],
        warns="default-acl",
    ),
    case(
        "x16-before",
        "a default ACL, and children before it",
        LOWER,
        [File(b"n/x"), Dir(b"n", xattrs=DEFAULT_ACL)],
        warns="default-acl",
    ),
    case(
        "x16-layers",
        "children in one layer, the default ACL in the next",
        LOWER,
        [D, File(b"d/n")],
        [replace(D, xattrs=DEFAULT_ACL), File(b"d/o")],
        warns="default-acl",
    ),
    case(
        "x16-base",
        "a default ACL in the base, what lies below it comes again",
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"n/x", b"x")],
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"n/x", b"x")],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-again",
        "a default ACL, and a lower directory that comes again after it and so inherits it",
        LOWER,
        [replace(D, xattrs=DEFAULT_ACL), Dir(b"d/sub"), File(b"d/sub/n")],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-away",
        "a default ACL in one layer, its child again in another that does not have it",
        [Dir(b"n", xattrs=DEFAULT_ACL), Dir(b"n/m")],
        [Dir(b"n/m", mode=0o700)],
        [File(b"z")],
        warns="default-acl implicit-base-directory",
    ),
    case(
        "x16-mentioned",
        "a default ACL after something below a directory whose own entry comes last",
        LOWER,
        [File(b"d/sub/n"), replace(D, xattrs=DEFAULT_ACL), Dir(b"d/sub")],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-whiteout",
        "a default ACL after a whiteout in a directory below, which makes the directory",
        LOWER,
        [Whiteout(b"d/sub/s"), replace(D, xattrs=DEFAULT_ACL), File(b"d/sub/n")],
        [File(b"z")],
        warns="default-acl implicit-base-directory",
    ),
    case(
        "x16-whiteout-new",
        "the same where the directory is new",
        LOWER,
        [Whiteout(b"d/new/s"), replace(D, xattrs=DEFAULT_ACL), File(b"d/new/n")],
        [File(b"z")],
        warns="default-acl ghost-whiteout",
    ),
    case(
        "x16-linked",
        "a default ACL behind a lower symlink that a hard link has made the layer's own",
        [Symlink(b"b", b".")],
        [Hardlink(b"h", b"b"), Dir(b"b/b", xattrs=DEFAULT_ACL), Dir(b"b/c")],
        [File(b"z")],
        warns="default-acl duplicate-path link-to-lower",
    ),
    case(
        "x16-opaque",
        "a default ACL after an opaque whiteout in a directory below",
        LOWER,
        [Opaque(b"d/sub"), replace(D, xattrs=DEFAULT_ACL), File(b"d/sub/n")],
        [File(b"z")],
        warns="default-acl implicit-base-directory",
    ),
    case(
        "x16-link",
        "a file inherits a default ACL, and a link outside the directory sorts first",
        LOWER,
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"n/x", b"x"), Hardlink(b"a", b"n/x")],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-link-deep",
        "the same in a directory that has inherited it, and in one that no entry spells out",
        LOWER,
        [
            Dir(b"n", xattrs=DEFAULT_ACL),
            Dir(b"n/m"),
            File(b"n/m/x", b"x"),
            File(b"n/o/y", b"y"),
            Hardlink(b"a", b"n/m/x"),
            Hardlink(b"n/b", b"n/o/y"),
            Hardlink(b"b/c", b"n/o/y"),
        ],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-link-in",
        "a file outside inherits nothing, and a link in a directory with a default ACL sorts first",
        LOWER,
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"x", b"x"), Hardlink(b"n/x", b"x")],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-link-other",
        "a file inherits one default ACL, and a link in a directory with another sorts first",
        LOWER,
        [
            Dir(b"n", xattrs=DEFAULT_ACL),
            Dir(b"m", xattrs=OTHER_ACL),
            File(b"n/x", b"x"),
            Hardlink(b"m/x", b"n/x"),
            File(b"m/y", b"y"),
        ],
        [File(b"z")],
        warns="default-acl",
    ),
    case(
        "x16-lost",
        "a file inherits a default ACL, which the layer above takes from the directory",
        LOWER,
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"n/x", b"x")],
        [Dir(b"n")],
        warns="default-acl",
    ),
    case(
        "x16-link-later",
        "a file inherits a default ACL, and the layer above it adds a name that sorts first",
        LOWER,
        [Dir(b"n", xattrs=DEFAULT_ACL), File(b"n/x", b"x"), File(b"n/y", b"y")],
        [Hardlink(b"a", b"n/x")],
        warns="default-acl link-to-lower",
    ),
    case(
        "x17",
        "an ACL whose mask is not the mode",
        LOWER,
        [File(b"n", mode=0o777, xattrs={b"system.posix_acl_access": ACL})],
    ),
    case("x18", "an xattr of 60 KiB", LOWER, [File(b"n", xattrs={b"user.big": b"v" * 60_000})]),
)

TIMES = (
    case("x05", "nine digits of a time", LOWER, [File(b"n", mtime=1_500_000_000_123_456_789)]),
    case(
        "x05b",
        "more than nine digits are cut",
        LOWER,
        [File(b"n", mtime=b"1500000000.12345678987")],
    ),
    case(
        "x05-octal",
        "a time after 2262 in twelve octal digits",
        LOWER,
        [replace(File(b"n"), patches=((136, b"7" * 12),))],
        [File(b"z")],
        warns="odd-mtime",
    ),
    case("x05c", "a time before 1970", LOWER, [File(b"n", mtime=-5 * SECOND)], warns="odd-mtime"),
    case(
        "x05c-fraction",
        "a fraction before 1970",
        LOWER,
        [File(b"n", mtime=b"-1.25")],
        warns="odd-mtime",
    ),
    case(
        "x05d",
        "few digits, and the time zero",
        LOWER,
        [File(b"n", mtime=b"1500000000.5"), File(b"o", mtime=0), File(b"p", mtime=b"7.")],
    ),
    case("x05e", "a time after 2262", LOWER, [File(b"n", mtime=2**63)], warns="odd-mtime"),
    case("x05f", "the last time before that", LOWER, [File(b"n", mtime=2**63 - 1)]),
    case(
        "x05g",
        "a time in base-256",
        LOWER,
        layer(File(b"n", mtime=-7 * SECOND), dialect="gnu"),
        warns="odd-mtime",
    ),
    case("x05h", "a time that is none", LOWER, [File(b"n", mtime=b"soon")], refused=True),
    case(
        "x05i",
        "a link group with a time of nine digits",
        LOWER,
        [
            File(b"n", mtime=1_500_000_000_123_456_789),
            Hardlink(b"a", b"n", mtime=1_500_000_000_123_456_789),
        ],
    ),
)

LEFT = 2**32 - 1
WIDE = b"\x81" + bytes(4) + b"\xf0\0\7"

NUMBERS = (
    case("k01", "an owner in PAX records", LOWER, [File(b"n", uid=3_000_000, gid=4_000_000)]),
    case(
        "k02",
        "an owner in base-256",
        LOWER,
        layer(File(b"n", uid=3_000_000, gid=4_000_000), dialect="gnu"),
    ),
    case(
        "k31",
        "device numbers below 0 and of more than 56 bits",
        LOWER,
        [
            replace(Char(b"n"), patches=((329, b"\xff" * 8), (337, b"\xff" * 7 + b"\xfe"))),
            replace(Block(b"m"), patches=((329, b"\x90" + bytes(6) + b"\5"), (337, WIDE))),
            Hardlink(b"o", b"n", mode=0o666),
        ],
        [File(b"z")],
    ),
    case(
        "k31-zero",
        "a device that is 0:0 once its numbers are cut to what a device has",
        LOWER,
        [replace(Char(b"n", 1, 0), patches=((329, b"\x80" + bytes(5) + b"\x10\0"),))],
        warns="whiteout-device",
    ),
    case(
        "k32",
        "an owner that leaves what the file has: none in a new file, a setgid directory's group",
        LOWER,
        [
            File(b"n", uid=LEFT, gid=LEFT),
            Dir(b"g", mode=0o2775, uid=7, gid=50),
            File(b"g/n", uid=LEFT, gid=LEFT),
            Dir(b"g/d", gid=LEFT),
            Symlink(b"g/s", b"n", gid=LEFT),
            Fifo(b"g/p", gid=LEFT, dialect="gnu"),
            Dir(b"d", uid=LEFT, gid=LEFT),
        ],
        [File(b"z")],
    ),
    case(
        "k32-group",
        "the same, and the directory has another group later",
        LOWER,
        [Dir(b"g", mode=0o2775, gid=50), File(b"g/n", gid=LEFT)],
        [Dir(b"g", mode=0o755, gid=60)],
        [Dir(b"g", mode=0o2755, gid=60), File(b"g/m", gid=LEFT)],
    ),
    case(
        "k32-late",
        "the same, and the directory is setgid only later",
        LOWER,
        [Dir(b"g"), File(b"g/n", gid=LEFT)],
        [Dir(b"g", mode=0o2775, gid=50)],
    ),
    case(
        "k32-link",
        "hard links whose headers leave the owner of the file, or the group alone",
        LOWER,
        [
            File(b"n", uid=1000, gid=1001),
            Hardlink(b"a", b"n", uid=LEFT, gid=LEFT),
            File(b"o", gid=7),
            Hardlink(b"p", b"o", gid=LEFT),
        ],
        [File(b"z")],
    ),
    case(
        "k32-lower",
        "a hard link to a lower file whose owner it leaves",
        [File(b"n", uid=1000, gid=1001)],
        [Hardlink(b"a", b"n", uid=LEFT, gid=LEFT)],
        [File(b"z")],
        warns="link-to-lower",
    ),
    case("k02b", "the largest owner", LOWER, [File(b"n", uid=2**32 - 2)]),
    case(
        "k10",
        "a size in base-256 and in a PAX record",
        LOWER,
        [
            replace(File(b"n", b"x" * 700), patches=((124, b"\x80" + bytes(9) + b"\x02\xbc"),)),
            replace(File(b"o", b"y" * 9), size=0, records=((b"size", b"9"),)),
        ],
    ),
    case(
        "k12",
        "numbers with spaces around them",
        LOWER,
        [replace(File(b"n", b"x"), patches=((100, b"   644 \0"), (108, b" 12\0    ")))],
    ),
    case(
        "k13",
        "two PAX headers: the second replaces the first",
        LOWER,
        [
            replace(
                File(b"n"),
                prefixed=pax([(b"uid", b"77"), (b"path", b"other")]) + pax([(b"gid", b"78")]),
            )
        ],
    ),
    case(
        "k13b",
        "a key twice in a PAX header: the last counts",
        LOWER,
        [replace(File(b"n"), records=((b"uid", b"1"), (b"uid", b"2")))],
    ),
    case(
        "k14",
        "sizes on directories and symlinks mean nothing",
        LOWER,
        [replace(Dir(b"n"), size=4096), replace(Symlink(b"s", b"f"), size=1), File(b"n/x", b"x")],
    ),
    case(
        "k15", "a bad checksum", LOWER, [replace(File(b"n"), checksum=b"000001\0 ")], refused=True
    ),
    case(
        "k16",
        "a checksum of signed bytes",
        LOWER,
        [
            replace(
                File(b"\xff\xff"),
                checksum=b"%06o\0 " % (int(encode(File(b"\xff\xff"))[148:154], 8) - 512),
            )
        ],
    ),
    case(
        "k17",
        "a checksum that ends in a space",
        LOWER,
        [replace(File(b"n"), checksum=encode(File(b"n"))[148:154] + b" \0")],
    ),
    case(
        "k18",
        "a number that is none",
        LOWER,
        [replace(File(b"n"), patches=((108, b"12x4567\0"),))],
        refused=True,
    ),
    case(
        "k19",
        "a negative size",
        LOWER,
        [replace(File(b"n"), patches=((124, b"\xff" * 12),))],
        refused=True,
    ),
)

SPARSE_DATA = [(512, b"one" * 100), (20_000, b"two" * 100)]

FILES = (
    *(
        case(
            f"s0{n}",
            f"a sparse file in PAX form {version} has its full size",
            LOWER,
            [Sparse(b"n", 40_000, SPARSE_DATA, version, mtime=1_500_000_000_5 * 10**8), File(b"z")],
            [File(b"y")],
        )
        for n, version in ((2, "0.0"), (3, "0.1"), (4, "1.0"))
    ),
    case(
        "s04b",
        "a sparse file whose header has the name that GNU tar gives it",
        LOWER,
        [
            replace(Sparse(b"n", 900, [(5, b"x")], "1.0"), path=b"GNUSparseFile.77/n"),
            replace(Sparse(b"o", 900, [(5, b"x")], "0.1"), path=b"d/GNUSparseFile.77/o"),
        ],
    ),
    case(
        "s05",
        "a sparse file with a link",
        LOWER,
        [Sparse(b"n", 40_000, SPARSE_DATA, "1.0"), Hardlink(b"a", b"n")],
    ),
    case(
        "s06",
        "a sparse file comes again as a plain file of the same content",
        [Sparse(b"n", 1000, [(100, b"x")], "1.0")],
        [File(b"n", bytes(100) + b"x" + bytes(899))],
        [File(b"z")],
    ),
    case(
        "s07", "a sparse file that is one hole", LOWER, [Sparse(b"n", 5000, [(5000, b"")], "1.0")]
    ),
    case(
        "s08",
        "content that is cut off",
        LOWER,
        layer(File(b"n", b"x" * 2000), trailer=b"")[:-1000],
        refused=True,
    ),
    case(
        "s09",
        "a sparse map that contradicts the size",
        LOWER,
        [replace(Sparse(b"n", 100, [(50, b"x" * 80)], "0.1"))],
        refused=True,
    ),
    case(
        "s01",
        "a sparse file in GNU's old form, which no engine unpacks",
        LOWER,
        [Sparse(b"n", 40_000, SPARSE_DATA, "gnu")],
        refused=True,
    ),
    *(
        case(
            f"k{number}-{flag.decode()}",
            "a type that no engine unpacks",
            LOWER,
            [replace(File(b"n"), type=flag)],
            refused=True,
        )
        for number, flag in (
            ("04", b"7"),
            ("05", b"Z"),
            ("05", b"s"),
            ("07", b"V"),
            ("08", b"M"),
            ("09", b"D"),
            ("11", b"X"),
        )
    ),
    case("k03", "a character device 0:0", LOWER, [Char(b"n", 0, 0)], warns="whiteout-device"),
    case(
        "k03b",
        "a character device 0:0 over a lower file",
        LOWER,
        [Char(b"f", 0, 0)],
        warns="whiteout-device",
    ),
    case(
        "k06",
        "a global PAX header means nothing",
        LOWER,
        [pax([(b"uid", b"77"), (b"mtime", b"5")], b"g"), File(b"n"), File(b"o")],
    ),
    case(
        "k06b",
        "a global PAX header at the end of a layer",
        LOWER,
        [File(b"n"), pax([(b"comment", b"commit")], b"g")],
    ),
    case("k20", "devices with large numbers", LOWER, [Char(b"c", 4095, 1_048_575)]),
    case(
        "k22",
        "without magic there are no device numbers",
        LOWER,
        layer(Char(b"n", 5, 1), dialect="v7"),
        warns="whiteout-device",
    ),
    case(
        "k21", "an empty file and one of just a block", LOWER, [File(b"e"), File(b"b", b"x" * 512)]
    ),
)

ONE = encode(File(b"n", b"x" * 700))

ENDS = (
    case("e01", "no end of the archive at all", LOWER, ONE, [File(b"z")]),
    case("e02", "one zero block at the end", LOWER, ONE + bytes(512), [File(b"z")]),
    case("e03", "junk after two zero blocks", LOWER, ONE + END + b"junk" * 300, [File(b"z")]),
    case(
        "e04",
        "a second archive after two zero blocks",
        LOWER,
        ONE + END + layer(File(b"no")),
        [File(b"z")],
    ),
    case("e05", "a PAX header with nothing after it", LOWER, ONE + pax([(b"path", b"q")]) + END),
    case(
        "e05b",
        "a PAX header with nothing after it, not even an end",
        LOWER,
        ONE + pax([(b"path", b"q")]),
        [File(b"z")],
    ),
    case("e06", "a header that is cut off", LOWER, ONE + ONE[:300], refused=True),
    case("e06b", "a last block without its padding", LOWER, ONE[: 512 + 700], [File(b"z")]),
    case("e06c", "content that is cut off", LOWER, ONE[: 512 + 699], refused=True),
    case("e07", "one zero block in mid-archive", LOWER, ONE + bytes(512) + ONE + END, refused=True),
    case("e08", "junk in mid-archive", LOWER, ONE + b"junk" * 128 + END, refused=True),
    case("e09", "a layer of no bytes", b"", [File(b"x")]),
    case("e09-all", "no layer has a byte", b"", b"", b""),
    *(
        case(f"e10-{size}", "a layer of zeros is empty", LOWER, bytes(size), [File(b"x")])
        for size in (512, 1024, 10_240)
    ),
    case("e11", "a layer of junk", LOWER, b"junk" * 400, refused=True),
    case("e11-short", "a layer of less than a block", LOWER, b"junk", refused=True),
    case(
        "e12",
        "a PAX header that is cut off",
        LOWER,
        ONE + pax([(b"k", b"v" * 600)])[:900],
        refused=True,
    ),
    case("e13", "a layer that occurs twice", LOWER, [File(b"x")], [File(b"x")], [OTHER_D]),
    case(
        "e14",
        "an empty layer that occurs twice, and one in the base",
        END,
        LOWER,
        END,
        [Whiteout(b"d")],
        END,
    ),
)

CASES = XATTRS + TIMES + NUMBERS + FILES + ENDS
