"""squasher.tar: every dialect is read as Go reads it, and what is odd is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from squasher.errors import ArchiveError
from squasher.tar import members as members_module
from squasher.tar.entry import (
    ABSOLUTE,
    CHR,
    DIR,
    LINK,
    MAGIC,
    REG,
    REWRITE,
    SYM,
    Changeset,
    Entry,
    ImageWarning,
)
from squasher.tar.fields import MEMO_MAX, cut, number, owner
from squasher.tar.members import is_header, members
from squasher.tar.pax import parse_pax
from squasher.tar.walk import LayerWalk
from squasher.tar.writer import header, shield
from tests import builders
from tests.builders import (
    MTIME,
    Block,
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Opaque,
    Sparse,
    Symlink,
    Whiteout,
    encode,
    layer,
    long_name,
    pax,
    raw_pax,
)
from tests.conformance import headers


def walk(data: bytes, window: int = 1 << 20) -> Changeset:
    walking = LayerWalk(2)
    for at in range(0, len(data), window):
        walking.feed(data[at : at + window])
    return walking.finish()


def only(member: Member | bytes, dialect: str = "pax") -> tuple[bytes, Entry]:
    """Return path and entry of a layer with one entry."""
    changes = walk(layer(member, dialect=dialect))
    (path,), (entry,) = list(changes.paths), changes.entries
    return path, entry


def refused(*parts: Member | bytes, trailer: bytes = bytes(1024)) -> str:
    """Return what is said about a layer that is refused, in one window and in many."""
    data = layer(*parts, trailer=trailer)
    with pytest.raises(ArchiveError) as raised:
        walk(data)
    with pytest.raises(ArchiveError) as again:
        walk(data, 100)
    assert str(again.value) == str(raised.value)
    return str(raised.value)


# ---------------------------------------------------------------- numbers and records


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b" 644 \0\0\0", 0o644),
        (b"00000644", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"\x80\0\0\0\0\0\x01\0", 256),
        (b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, (1 << 63) - 1),
        (b"\xff" * 12, -1),
        (b"\xff\xff\xff\xff\x80" + bytes(7), -(1 << 63)),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize(
    "field",
    [
        b"0000648\0",
        b"-000644\0",
        b"64 4\0\0\0\0",
        b"x",
        b"\x80" + bytes(3) + b"\x80" + bytes(7),
        b"\xff\xff\xff\xff\x7f" + b"\xff" * 7,
    ],
)
def test_what_is_no_number(field: bytes) -> None:
    with pytest.raises(ArchiveError, match="number"):
        number(field)


def test_text_ends_at_nul() -> None:
    assert cut(b"a\0b") == b"a"
    assert cut(b"ab") == b"ab"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0o100644, 1, 2), (0o644, 1, 2)),
        ((0o7777, 0xFFFFFFFF, 0xFFFFFFFE), (0o7777, 0xFFFFFFFF, 0xFFFFFFFE)),
        ((0, -1, -2), (0, 0xFFFFFFFF, 0xFFFFFFFE)),
        ((0, 1 << 32, (1 << 32) + 5), (0, 0, 5)),
    ],
)
def test_owners_are_what_lchown_makes_of_them(
    given: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    assert owner(*given) == expected


def test_pax_records() -> None:
    assert parse_pax(b"") == {}
    assert parse_pax(b"6 a=b\n6 a=c\n7 b==\0\n") == {b"a": b"c", b"b": b"=\0"}
    assert parse_pax(b"007 b=\n") == {b"b": b""}
    sparse = b"24 GNU.sparse.offset=10\n25 GNU.sparse.numbytes=5\n" * 2
    assert parse_pax(sparse) == {b"GNU.sparse.map": b"10,5,10,5"}


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"6",
        b"00006",
        b"4 a=\n",
        b"7 a=b\n",
        b"6 a=b",
        b"6 a=bb",
        b"5 a=\n\n",
        b"5 ab\n",
        b"5 =b\n",
        b"-6 a=b\n",
        b"99999999999999999999 a=b\n",
        b"8 a\0b=c\n",
        b"10 path=\0\n",
        b"25 GNU.sparse.numbytes=5\n",
        b"24 GNU.sparse.offset=10\n" * 2,
        b"26 GNU.sparse.offset=10,5\n",
    ],
)
def test_what_is_no_pax_record(body: bytes) -> None:
    with pytest.raises(ArchiveError):
        parse_pax(body)


# ---------------------------------------------------------------- entries


@pytest.mark.parametrize("dialect", ["pax", "gnu", "ustar", "v7"])
def test_every_dialect_says_the_same(dialect: str) -> None:
    changes = walk(
        layer(
            Dir(b"d", mode=0o1755, uid=1, gid=2),
            File(b"d/f", b"data" * 200, mode=0o4644, uid=1000),
            Symlink(b"d/s", b"../f"),
            Hardlink(b"h", b"d/f"),
            Fifo(b"p"),
            Whiteout(b"d/gone"),
            Opaque(b"d"),
            dialect=dialect,
        )
    )
    assert list(changes.paths) == [b"d", b"d/f", b"d/s", b"h", b"p"]
    assert bytes(entry.kind for entry in changes.entries) == b"50216"
    folder, file, symlink, link, _ = changes.entries
    assert folder.owner == (0o1755, 1, 2)
    assert (file.owner, file.size, file.stored) == ((0o4644, 1000, 0), 800, 800)
    assert (symlink.target, link.target) == (b"../f", b"d/f")
    assert (symlink.size, symlink.stored, symlink.sparse) == (0, 0, None)
    assert all(entry.mtime == MTIME for entry in changes.entries)
    assert [gone.path for gone in changes.whiteouts] == [b"d/gone"]
    assert [gone.path for gone in changes.opaques] == [b"d"]
    assert changes.count == 7
    assert changes.warnings == []


def test_an_entry_knows_where_it_lies() -> None:
    changes = walk(layer(File(b"a", b"x" * 600), File(b"b", b"y", xattrs={b"user.k": b"v"})))
    first, second = changes.entries
    assert (first.data, first.headers_size) == (512, 512)
    assert (second.data, second.headers_size) == (512 + 512 + 1024 + 1024, 1536)
    assert second.xattrs == ((b"user.k", b"v"),)
    assert changes.size == second.data + 512 + 1024


def fragments(entry: Entry) -> list[tuple[int, int]]:
    assert entry.sparse is not None
    return list(entry.sparse)


def test_restamping_keeps_the_content() -> None:
    _, entry = only(Sparse(b"s", 9, [(3, b"abc")]))
    new = entry.restamped(7, (0, 1, 2), 5, ((b"k", b"v"),))
    assert (new.layer, new.source, new.owner, new.mtime) == (7, 2, (0, 1, 2), 5)
    assert (new.data, new.size, new.stored) == (entry.data, 9, 3)
    assert fragments(new) == [(3, 3)]


def test_which_headers_agree() -> None:
    def agree(one: Member, other: Member) -> bool:
        return only(one)[1].same_attributes(only(other)[1])

    file = File(b"f", b"1")
    assert agree(file, File(b"g", b"2"))
    for other in (
        replace(file, mode=0o600),
        replace(file, uid=1),
        replace(file, mtime=1),
        replace(file, data=b"12"),
        replace(file, xattrs={b"user.k": b""}),
        Dir(b"f", mode=0o644),
    ):
        assert not agree(file, other)
    link = Symlink(b"s", b"t")
    assert agree(link, replace(link, mode=0o600))
    assert not agree(link, replace(link, uid=1))
    assert not agree(link, replace(link, target=b"u"))
    assert not agree(Char(b"c", 1, 1), Char(b"c", 1, 2))
    assert agree(Sparse(b"s", 9, [(3, b"abc")]), File(b"s", b"123456789"))


@pytest.mark.parametrize(
    ("member", "path"),
    [
        (File(b"./a"), b"a"),
        (File(b"a/./b"), b"a/b"),
        (File(b"/a"), b"a"),
        (File(b"a/"), b"a"),
        (File(b"n" * 100), b"n" * 100),
        (replace(File(b"n"), prefixed=long_name(b"L", b"l" * 200)), b"l" * 200),
        (replace(File(b"n"), prefixed=pax([(b"path", b"p" * 200)])), b"p" * 200),
        (
            replace(
                File(b"n"), prefixed=pax([(b"path", b"p")]) + long_name(b"L", b"l")
            ),
            b"l",
        ),
        (replace(File(b"n"), prefixed=pax([(b"path", b"")])), b"n"),
        (File(b"x" * 90 + b"/" + b"y" * 90, dialect="ustar"), b"x" * 90 + b"/" + b"y" * 90),
    ],
    ids=range(10),
)  # fmt: skip
def test_names(member: Member, path: bytes) -> None:
    assert only(member)[0] == path


def test_a_long_link_name_counts() -> None:
    member = Symlink(b"s", b"t" * 200)
    assert only(member)[1].target == b"t" * 200
    assert only(member, "gnu")[1].target == b"t" * 200


def test_star_keeps_times_behind_a_shorter_prefix() -> None:
    times = b"00000000001\x0000000000002\0"
    star = replace(File(b"f"), patches=((345, b"dir"), (476, times), (508, b"tar\0")))
    assert only(star)[0] == b"dir/f"
    broken = replace(star, patches=((345, b"dir"), (476, b"x" * 12), (508, b"tar\0")))
    assert "octal" in refused(broken)


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        (b"00000000001\x0000000000002\0", b"f"),  # access and change time
        (bytes(24), b"f"),
        (b"wrong/prefix/of/go", b"wrong/prefix/of/go/f"),  # what Go before 1.8 wrote
        (b"wrong/\xff", b"f"),
    ],
)
def test_gnu_has_no_prefix(patch: bytes, path: bytes) -> None:
    assert only(replace(File(b"f"), dialect="gnu", patches=((345, patch),)))[0] == path


def test_a_link_name_on_an_extension_is_odd() -> None:
    """Libarchive's GNU form has it; node's `tar` warns of it."""
    for link, flags in ((b"", 0), (b"x", REWRITE)):
        long = builders.header(name=b"l", type=b"L", size=2, linkname=link, dialect="gnu")
        member = replace(File(b"n"), prefixed=long + b"n\0".ljust(builders.BLOCK, b"\0"))
        assert only(member, "gnu")[1].flags == flags


def test_device_numbers() -> None:
    assert only(Char(b"c", 5, 1))[1].target == (5, 1)
    assert only(Block(b"b", 7, 0))[1].target == (7, 0)
    assert only(Char(b"c", 5, 1), "v7")[1].target == (0, 0)
    odd = replace(Char(b"c"), patches=((329, b"\xff" * 8), (337, b"\x90" + bytes(6) + b"\7")))
    assert only(odd)[1].target == (0xFFF, 7)
    assert only(odd)[1].flags == REWRITE
    broken = replace(File(b"f"), patches=((329, b"deadbeef"),))
    assert "octal" in refused(broken)


def test_typeflag_nul_is_a_file_or_a_directory_by_its_name() -> None:
    assert only(replace(File(b"f"), type=b"\0"))[1].kind == REG
    assert only(replace(Dir(b"d"), type=b"\0"))[1].kind == DIR


@pytest.mark.parametrize(
    ("records", "field", "value"),
    [
        ([(b"uid", b"5")], "owner", (0o644, 5, 0)),
        ([(b"gid", b"-2")], "owner", (0o644, 0, 0xFFFFFFFE)),
        ([(b"uid", b"")], "owner", (0o644, 0, 0)),
        ([(b"mtime", b"1.123456789999")], "mtime", 1_123_456_789),
        ([(b"mtime", b"-1.5")], "mtime", -1_500_000_000),
        ([(b"mtime", b"7.")], "mtime", 7_000_000_000),
        ([(b"atime", b"1"), (b"ctime", b"2"), (b"comment", b"x")], "mtime", MTIME),
        ([(b"LIBARCHIVE.xattr.user.k", b"v"), (b"SCHILY.acl", b"x")], "xattrs", ()),
        ([(b"SCHILY.xattr.b", b""), (b"SCHILY.xattr.a", b"\0=\n")], "xattrs",
         ((b"a", b"\0=\n"), (b"b", b""))),
    ],
)  # fmt: skip
def test_pax_values(records: list[tuple[bytes, bytes]], field: str, value: object) -> None:
    _, entry = only(replace(File(b"f"), records=tuple(records)))
    assert getattr(entry, field) == value


@pytest.mark.parametrize(
    "record",
    [
        (b"uid", b"x"),
        (b"uid", b"9223372036854775808"),
        (b"size", b"1.5"),
        (b"mtime", b"soon"),
        (b"mtime", b"1.x"),
        (b"atime", b"now"),
        (b"size", b"-1"),
    ],
)
def test_pax_values_that_are_none(record: tuple[bytes, bytes]) -> None:
    assert "'f' at byte 1024: " in refused(replace(File(b"f"), records=(record,)))


def test_the_last_of_two_extensions_counts_and_global_ones_do_not() -> None:
    twice = pax([(b"uid", b"1"), (b"gid", b"1")]) + pax([(b"uid", b"2")])
    _, entry = only(replace(File(b"f"), prefixed=twice))
    assert (entry.owner, entry.flags) == ((0o644, 2, 0), REWRITE)
    _, entry = only(
        replace(File(b"f"), prefixed=pax([(b"uid", b"1")]) + pax([(b"uid", b"2")], b"g"))
    )
    assert (entry.owner, entry.headers_size, entry.flags) == ((0o644, 0, 0), 512, 0)


def test_the_size_of_what_has_no_data_is_ignored() -> None:
    for member in (Dir(b"d"), Symlink(b"s", b"t"), Hardlink(b"h", b"t"), Fifo(b"p")):
        changes = walk(layer(replace(member, size=5), File(b"next")))
        assert list(changes.paths)[1] == b"next"
        negative = replace(member, size=0, patches=((124, b"\xff" * 12),))
        assert only(negative)[1].size == 0
    assert "negative size" in refused(replace(File(b"f"), patches=((124, b"\xff" * 12),)))


def test_names_that_have_to_be_written_anew() -> None:
    for name in (b"a//b", b"//", b".", b"a/.."):
        member = Dir(b"x") if name.startswith(b"a/..") else File(b"x")
        member = replace(Dir(b"x") if name != b"a//b" else member, path=name)
        assert only(member)[1].flags & REWRITE, name
    assert [only(replace(Dir(b"x"), path=x))[1].flags for x in (b"./", b"/")] == [0, ABSOLUTE]
    for name in (b"/f", b"/d/f", b"d/../f", b"d/e/../f"):
        assert only(File(name))[1].flags == REWRITE, name
    assert only(Dir(b"./"))[1].flags == 0
    for name in (b"./f", b"d/./f", b"d/..f", b"d../f", b"d/...", b"..f"):
        assert only(File(name))[1].flags == 0, name


#: What lies beside what, spelt in every way.
NEIGHBOURS = (
    File(b"f"),
    File(b"./f"),
    File(b"/f"),
    File(b"//f"),
    File(b".f"),
    File(b".wh.f"),
    replace(File(b"x"), path=b"f/"),
    Symlink(b"f", b"t"),
    Hardlink(b"f", b"t"),
    Dir(b"f"),
    File(b"d/f"),
    File(b"d/.f"),
    File(b"d/.wh.f"),
    File(b"d/..f"),
    File(b"./d/f"),
    File(b"/d/f"),
    File(b"d//f"),
    File(b"d/./f"),
    File(b"d/f", patches=((345, b"d"),)),
    File(b"f", patches=((345, b"d"),)),
    replace(File(b"x"), path=b"d/f/"),
    Symlink(b"d/f", b"t"),
    Hardlink(b"d/f", b"t"),
    Dir(b"d/f"),
    File(b"e/d/f"),
    Dir(b"e/d"),
    File(b"d/f", patches=((257, b"ustar  \0"),)),
    File(b"d/f", patches=((257, b"\0" * 8),)),
)


def said(*members: Member) -> tuple[list[object], list[object]]:
    """Return what a layer says, but for where it says it."""
    changes = walk(layer(*members))
    fields = (
        "kind",
        "layer",
        "source",
        "headers_size",
        "size",
        "owner",
        "mtime",
        "xattrs",
        "target",
    )
    entries: list[object] = [
        (path, entry.flags, *(getattr(entry, field) for field in fields))
        for path, entry in zip(changes.paths, changes.entries, strict=True)
    ]
    return entries, [replace(mark, offset=0) for mark in changes.whiteouts]


@pytest.mark.parametrize("before", range(len(NEIGHBOURS)))
def test_a_header_says_the_same_behind_any_other(before: int) -> None:
    first = NEIGHBOURS[before]
    for second in NEIGHBOURS:
        alone = [said(first), said(second)] * 2
        expected = [x for one in alone for x in one[0]], [x for one in alone for x in one[1]]
        assert said(first, second, first, second) == expected, (first, second)


def test_what_aufs_left_behind_is_dropped() -> None:
    changes = walk(layer(File(b".wh..wh.plnk"), File(b"d/.wh..wh.aufs"), File(b"f.wh.g")))
    assert list(changes.paths) == [b"f.wh.g"]
    assert changes.count == 1


def test_more_values_than_a_memo_holds() -> None:
    count = MEMO_MAX + 50
    parts = [
        replace(
            File(b"f%d" % n, uid=n, mtime=n * 10**9), patches=((345, b"p%d" % n),)
        )
        for n in range(count)
    ]  # fmt: skip
    changes = walk(layer(*parts))
    assert list(changes.paths) == [b"p%d/f%d" % (n, n) for n in range(count)]
    assert [entry.owner[1] for entry in changes.entries] == list(range(count))
    assert [entry.mtime for entry in changes.entries] == [n * 10**9 for n in range(count)]


# ---------------------------------------------------------------- warnings


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        (File(b"f", xattrs={b"trusted.overlay.opaque": b"y"}), "overlay-xattr"),
        (Dir(b"f", xattrs={b"user.overlay.redirect": b"y"}), "overlay-xattr"),
        (Dir(b"f", xattrs={b"system.posix_acl_default": b"x"}), "default-acl"),
        (Symlink(b"f", b"t", xattrs={b"user.k": b"v"}), "symlink-xattr"),
        (Char(b"f", 0, 0), "whiteout-device"),
        (File(b"f", mtime=-1), "odd-mtime"),
        (File(b"f", mtime=1 << 63), "odd-mtime"),
        (replace(File(b"f", mtime=0), patches=((136, b"\xff" * 12),)), "odd-mtime"),
    ],
)
def test_headers_about_which_engines_disagree(member: Member, kind: str) -> None:
    assert walk(layer(member)).warnings == [ImageWarning(kind, 2, b"f")]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (File(b"../x"), "leads out of the root"),
        (File(b"n" * 256), "longer than 255"),
        (File(b"/"), "only a directory can be the root"),
        (Symlink(b"s", b""), "without a target"),
        (File(b".wh."), "without a name"),
        (File(b".wh.d/f"), "below a whiteout"),
        (replace(File(b"f"), type=b"7"), "the tar header type '7' is not supported"),
        (replace(File(b"f"), type=b"S"), "the tar header type 'S' is not supported"),
        (replace(File(b".wh.f"), type=b"S"), "the tar header type 'S' is not supported"),
        (replace(File(b"f"), checksum=b"0000000\0"), "checksum mismatch"),
        (replace(File(b"f"), checksum=b"xxxxxxx\0"), "checksum mismatch"),
        (replace(File(b"f"), patches=((100, b"xxxxxxxx"),)), "octal"),
        (replace(File(b"f"), patches=((136, b"9" * 12),)), "octal"),
        (bytes(512) + encode(File(b"f")), "single zero block"),
        (raw_pax(b"nonsense"), "PAX record"),
        (raw_pax(b"nonsense", b"g"), "PAX record"),
        (builders.header(name=b"x", type=b"x", size=2 << 20), "extended header of 2097152"),
        (
            builders.header(name=b"x", type=b"L", patches=((124, b"\xff" * 12),)),
            "extended header of -1",
        ),
    ],
)
def test_what_is_refused_and_where(part: Member | bytes, says: str) -> None:
    said = refused(File(b"first", b"1"), part)
    assert says in said
    assert "at byte 1024" in said


def test_a_checksum_that_is_right_but_for_a_multiple_of_adlers_modulus_is_wrong() -> None:
    for name in (b"f", b"\xff" * 99):
        data = bytearray(layer(File(name)))
        right = int(data[148:154], 8)
        data[148:154] = b"%06o" % (right + 65521)
        with pytest.raises(ArchiveError, match="header checksum mismatch"):
            walk(bytes(data))
    # A sum above the modulus, taken for the one below it.
    block = bytearray(builders.header(name=b"\xff" * 99, type=b"0", linkname=b"\xff" * 99))
    block[265:329] = b"\xff" * 64
    block[345:500] = b"\xff" * 155
    block[148:156] = b" " * 8
    total = sum(block)
    assert total > 65521
    block[148:156] = b"%06o\0 " % total
    assert walk(bytes(block) + bytes(1024)).entries
    block[148:156] = b"%06o\0 " % (total - 65521)
    with pytest.raises(ArchiveError, match="header checksum mismatch"):
        walk(bytes(block) + bytes(1024))


def test_a_checksum_over_signed_bytes_is_one() -> None:
    name = b"\xff\xfe"
    block = builders.header(name=name, type=b"0", checksum=b" " * 8)
    signed = sum(byte - 256 if byte > 127 else byte for byte in block)
    assert only(replace(File(name), checksum=b"%06o\0 " % signed))[0] == name


@pytest.mark.parametrize(
    "member",
    [
        File(b"f"),
        Dir(b"d"),
    ],
)
def test_digits_that_are_not_octal_are_refused_in_the_common_header_too(member: Member) -> None:
    assert "octal" in refused(replace(member, patches=((124, b"00000000009\0"),)))


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize(
    "trailer",
    [b"", bytes(512), bytes(1024), bytes(10_240), bytes(1024) + b"junk", bytes(1024) + b"x" * 999],
)
def test_ends_that_engines_take(trailer: bytes) -> None:
    data = layer(File(b"f", b"1"), trailer=trailer)
    changes = walk(data)
    assert (list(changes.paths), changes.size) == ([b"f"], len(data))
    later = LayerWalk(0)
    for part in (data[:700], data[700:1100], data[1100:]):
        later.feed(part)
    assert list(later.finish().paths) == [b"f"]


@pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024)])
def test_nothing_is_a_layer(data: bytes) -> None:
    changes = walk(data)
    assert (changes.count, changes.size) == (0, len(data))


def test_padding_may_be_missing_and_an_extension_dangle() -> None:
    assert list(walk(layer(File(b"f", b"1"), trailer=b"")[:513]).paths) == [b"f"]
    assert list(walk(layer(File(b"f"), pax([(b"a", b"b")]))).paths) == [b"f"]


@pytest.mark.parametrize("length", [1, 511, 513, 1000, 1024, 1100])
def test_truncation(length: int) -> None:
    data = layer(File(b"f"), File(b"g", b"x" * 600), trailer=b"")
    with pytest.raises(ArchiveError, match=f"truncated at byte {length}"):
        walk(data[:length])


# ---------------------------------------------------------------- sparse files


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files(version: str) -> None:
    member = Sparse(b"s", 3000, [(100, b"a" * 10), (2000, b"b" * 600)], version)
    path, entry = only(replace(member, path=b"GNUSparseFile.1/s"))
    assert path == (b"GNUSparseFile.1/s" if version == "0.0" else b"s")
    assert (entry.size, entry.stored) == (3000, 610)
    assert fragments(entry) == [(100, 10), (2000, 600)]
    data = layer(member)
    _, entry = only(member)
    assert data[entry.data : entry.data + 10] == b"a" * 10


def test_a_sparse_file_without_anything_stored() -> None:
    _, entry = only(Sparse(b"s", 3000, [], "1.0"))
    assert (entry.size, entry.stored, fragments(entry)) == (3000, 0, [])
    _, entry = only(Sparse(b"s", 3000, [(3000, b"")], "0.1"))
    assert (entry.size, entry.stored, fragments(entry)) == (3000, 0, [])


def sparse(*records: tuple[bytes, bytes], data: bytes = b"") -> Member:
    prefixed = tuple((b"GNU.sparse." + key, value) for key, value in records)
    return replace(File(b"s", data), records=prefixed)


@pytest.mark.parametrize(
    "member",
    [
        sparse((b"map", b"0,1"), (b"size", b"9"), data=b"1"),
        sparse((b"map", b"0,1,2"), (b"numblocks", b"1"), (b"size", b"9"), data=b"1"),
        sparse((b"map", b"0,1"), (b"numblocks", b"2"), (b"size", b"9"), data=b"1"),
        sparse((b"map", b"0,x"), (b"numblocks", b"1"), (b"size", b"9"), data=b"1"),
        sparse((b"map", b"5,2,4,1"), (b"numblocks", b"2"), (b"size", b"9"), data=b"123"),
        sparse((b"map", b"0,-1"), (b"numblocks", b"1"), (b"size", b"9")),
        sparse((b"map", b"8,2"), (b"numblocks", b"1"), (b"size", b"9"), data=b"12"),
        sparse((b"map", b"0,2"), (b"numblocks", b"1"), (b"size", b"9"), data=b"123"),
        sparse((b"map", b"0,0"), (b"numblocks", b"1"), (b"size", b"-9")),
        sparse((b"major", b"0"), (b"minor", b"1"), (b"numblocks", b"0"), (b"size", b"-9")),
        sparse((b"major", b"1"), (b"minor", b"0"), data=b"x\n"),
        sparse((b"major", b"1"), (b"minor", b"0"), data=b"-1\n"),
        sparse((b"major", b"1"), (b"minor", b"0"), data=b"999999999\n"),
        sparse((b"major", b"1"), (b"minor", b"0"), data=b"1"),
        sparse((b"major", b"1"), (b"minor", b"0"), data=b"1\n2\n"),
        sparse((b"major", b"1"), (b"minor", b"0"), data=b"1\n" + b"0" * 600),
        replace(
            sparse((b"map", b"0,0"), (b"numblocks", b"1"), (b"size", b"9")), type=b"5", path=b"s/"
        ),
    ],
    ids=range(17),
)
def test_sparse_maps_that_are_none(member: Member) -> None:
    assert "'s" in refused(member)


def test_another_version_of_sparse_is_a_plain_file() -> None:
    _, entry = only(sparse((b"major", b"2"), (b"minor", b"0"), data=b"123"))
    assert (entry.sparse, entry.size) == (None, 3)


# ---------------------------------------------------------------- the outer archive


def outer(data: bytes) -> list[members_module.Member]:
    return list(members(lambda at, size: data[at : at + size], len(data)))


def test_members() -> None:
    data = layer(
        Dir(b"d"), File(b"d/f", b"1234"), Symlink(b"s", b"d/f"), Hardlink(b"h" * 150, b"d/f")
    )
    folder, file, symlink, link = outer(data)
    assert (folder.name, folder.kind, folder.size) == (b"d/", DIR, 0)
    assert data[file.offset : file.offset + file.size] == b"1234"
    assert (file.kind, file.target) == (REG, b"")
    assert (symlink.kind, symlink.target) == (SYM, b"d/f")
    assert (link.name, link.kind, link.target) == (b"h" * 150, LINK, b"d/f")
    assert outer(layer(Char(b"c")))[0].kind == CHR


@pytest.mark.parametrize("trailer", [b"", bytes(512), bytes(1024), bytes(1024) + b"junk" * 200])
def test_ends_of_an_archive(trailer: bytes) -> None:
    assert [member.name for member in outer(layer(File(b"f"), trailer=trailer))] == [b"f"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (layer(File(b"f"))[:700], "truncated header"),
        (layer(File(b"f", b"x" * 999), trailer=b"")[:1000], "its header says 999 bytes"),
        (bytes(512) + layer(File(b"f")), "single zero block"),
        (layer(replace(File(b"f"), checksum=b"0000000\0")), "checksum"),
        (layer(Sparse(b"f", 99, [(0, b"x")])), "sparse member"),
        (layer(replace(File(b"f"), type=b"V")), "the tar header type 'V' is not supported"),
        (builders.header(name=b"x", type=b"x", size=2 << 20), "extended header"),
        (pax([(b"path", b"x" * 300)])[:600], "truncated header"),
    ],
)
def test_an_archive_that_is_none(data: bytes, says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        outer(data)


def test_what_is_a_header() -> None:
    assert is_header(header(b"f", REG))
    assert is_header(builders.header(name=b"f", type=b"0", dialect="v7"))
    for data in (b"", header(b"f", REG)[:511], b"x" * 512, bytes(512)):
        assert not is_header(data)


# ---------------------------------------------------------------- headers that we write


@pytest.mark.parametrize(
    "make",
    [
        lambda: header(b"f", REG),
        lambda: header(b"d", DIR, (0o755, 1, 2), mtime=10**9),
        lambda: header(b"f" * 100, REG, size=8**11 - 1),
    ],
)
def test_what_ustar_can_say_is_one_block(make: Callable[[], bytes]) -> None:
    block = make()
    assert len(block) == 512
    assert block[257:265] == b"ustar\x0000"
    assert is_header(block)


@pytest.mark.parametrize(
    ("make", "record"),
    [
        (lambda: header(b"p" * 101, REG), b"path=" + b"p" * 101),
        (lambda: header(b"d" * 100, DIR), b"path=" + b"d" * 100 + b"/"),
        (lambda: header(b"s", SYM, link=b"t" * 101), b"linkpath=" + b"t" * 101),
        (lambda: header(b"f", REG, (0, 8**7, 0)), b"uid=2097152"),
        (lambda: header(b"f", REG, (0, 0, 8**7)), b"gid=2097152"),
        (lambda: header(b"f", REG, size=8**11), b"size=8589934592"),
        (lambda: header(b"f", REG, mtime=1), b"mtime=0.000000001"),
        (lambda: header(b"f", REG, mtime=-1_500_000_000), b"mtime=-1.5"),
        (lambda: header(b"f", REG, mtime=8**11 * 10**9), b"mtime=8589934592"),
        (lambda: header(b"f", REG, xattrs=((b"user.k", b"\0"),)), b"SCHILY.xattr.user.k=\0"),
    ],
)
def test_what_it_cannot_say_is_in_a_record(make: Callable[[], bytes], record: bytes) -> None:
    block = make()
    assert b"%d %b\n" % (len(record) + len(str(len(record) + 4)) + 2, record) in block


PLAIN = (
    File(b"f", b"data"),
    File(b"f", b"data", dialect="gnu"),
    File(b"f", uid=1 << 30, dialect="gnu"),
    File(b"f", mtime=-(10**9), dialect="gnu"),
    File(b"a" * 90 + b"/" + b"b" * 90, dialect="ustar"),
    File(b"a" * 200, dialect="gnu"),
    File(b"a" * 200),
    File(b"a\n" * 100),  # no header has room for it
    File(b"f", mtime=-1, uid=1 << 30, xattrs={b"user.x": b"\xff\n"}),
    Symlink(b"s", b"t" * 200, dialect="gnu"),
    *(Sparse(b"f", 4096, [(512, b"x" * 512)], version) for version in ("0.0", "0.1", "1.0")),
    replace(
        Sparse(b"f", 1024, [(512, b"x" * 512)]),
        records=(
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", b"\xff"),
            (b"GNU.sparse.realsize", b"1024"),
        ),
    ),
    Char(b"c"),
    Dir(b"d"),
    Fifo(b"p"),
)


@pytest.mark.parametrize("member", PLAIN)
def test_plain_headers_pass_through(member: Member) -> None:
    assert only(member)[1].flags == 0


#: What engines read alike and others do not; the corpus has the same, by the names of the cases.
NOT_PLAIN = {
    case.name: case
    for case in headers.CASES
    if case.verdict == "agree" and case.name[:3] in ("q01", "q03", "q04", "q05", "q06", "q07",
        "q08", "q09", "q10", "q11", "q12", "q15")
    and case.name not in ("q03f", "q03g", "q03h", "q06b", "q07e", "q10h")
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_other_headers_are_written_anew(name: str) -> None:
    changes = walk(NOT_PLAIN[name].layers[1])
    assert [entry.flags for entry in changes.entries] == [REWRITE, 0, 0]


def test_a_shield_says_nothing() -> None:
    assert not MAGIC.match(shield())
    path, entry = only(File(b"BZh", b"data"))
    changes = walk(shield() + layer(File(b"BZh", b"data")))
    (shielded,) = changes.entries
    assert list(changes.paths) == [path]
    assert (shielded.same_attributes(entry), shielded.flags) == (True, 0)


@pytest.mark.parametrize(
    "name", ["BZh", "\x1f\x8b\x08", "\xfd7zXZ\0", "(\xb5/\xfd", "P*M\x18", "_*M\x18", "hsqs"]
)
def test_what_engines_take_for_something_else(name: str) -> None:
    assert MAGIC.match(name.encode("latin-1"))
    assert not MAGIC.match(b"./" + name.encode("latin-1"))
