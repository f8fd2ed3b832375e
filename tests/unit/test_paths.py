"""squasher.tar.paths: clean names and the grammar of whiteouts."""

from __future__ import annotations

import pytest

from squasher.errors import ArchiveError
from squasher.tar.paths import (
    Cover,
    Meaning,
    add_ancestors,
    classify,
    clean,
    from_above,
    join,
    show,
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"", b""),
        (b"/", b""),
        (b"./", b""),
        (b".", b""),
        (b"a", b"a"),
        (b"./a", b"a"),
        (b"/a", b"a"),
        (b"a/", b"a"),
        (b"a//b", b"a/b"),
        (b"a/./b", b"a/b"),
        (b"a/../b", b"b"),
        (b"a/..", b""),
        (b"...", b"..."),
        (b"..a/b..", b"..a/b.."),
        (b"\xff\xfe/\xc3\xa9", b"\xff\xfe/\xc3\xa9"),
        (b"n" * 255, b"n" * 255),
        (b"a/" + b"n" * 255 + b"/b", b"a/" + b"n" * 255 + b"/b"),
        (b".wh." + b"n" * 255, b".wh." + b"n" * 255),
        (b"a\nb\\c*\x7f", b"a\nb\\c*\x7f"),
    ],
)
def test_clean(name: bytes, path: bytes) -> None:
    assert clean(name) == path


@pytest.mark.parametrize("name", [b"..", b"../a", b"/../a", b"a/../../b", b"./..", b"a/../.."])
def test_a_name_must_not_leave_the_root(name: bytes) -> None:
    with pytest.raises(ArchiveError, match="leads out of the root"):
        clean(name)


@pytest.mark.parametrize("name", [b"n" * 256, b"a/" + b"n" * 256 + b"/b", b".wh." + b"n" * 256])
def test_a_component_that_no_filesystem_has(name: bytes) -> None:
    with pytest.raises(ArchiveError, match="longer than 255"):
        clean(name)


def test_a_name_that_no_system_can_open() -> None:
    """Linux: PATH_MAX is 4096 with the final NUL."""
    assert clean(b"a/" * 2047 + b"a")
    with pytest.raises(ArchiveError):
        clean(b"a/" * 2048 + b"a")


@pytest.mark.parametrize(
    ("path", "meaning", "about"),
    [
        (b"", Meaning.ENTRY, b""),
        (b"a", Meaning.ENTRY, b"a"),
        (b"a/b", Meaning.ENTRY, b"a/b"),
        (b".wh.a", Meaning.WHITEOUT, b"a"),
        (b"d/.wh.a", Meaning.WHITEOUT, b"d/a"),
        (b".wh..a", Meaning.WHITEOUT, b".a"),
        (b".wh....", Meaning.WHITEOUT, b"..."),
        (b".wh..wh.", Meaning.IGNORED, b".wh..wh."),
        (b".wh.wh.a", Meaning.WHITEOUT, b"wh.a"),
        (b".wh..wh..opq", Meaning.OPAQUE, b""),
        (b"d/.wh..wh..opq", Meaning.OPAQUE, b"d"),
        (b".wh..wh..opqX", Meaning.IGNORED, b".wh..wh..opqX"),
        (b".wh..wh.plnk", Meaning.IGNORED, b".wh..wh.plnk"),
        (b"d/.wh..wh.aufs", Meaning.IGNORED, b"d/.wh..wh.aufs"),
        (b"foo.wh.bar", Meaning.ENTRY, b"foo.wh.bar"),
        (b"x.wh.y/z", Meaning.ENTRY, b"x.wh.y/z"),
        (b".wh", Meaning.ENTRY, b".wh"),
        (b".whx", Meaning.ENTRY, b".whx"),
        (b".wh/.wh.a", Meaning.WHITEOUT, b".wh/a"),
    ],
)
def test_classify(path: bytes, meaning: Meaning, about: bytes) -> None:
    assert classify(path) == (meaning, about)


@pytest.mark.parametrize("path", [b".wh.", b"d/.wh.", b".wh..", b"d/.wh..."])
def test_a_whiteout_must_name_something(path: bytes) -> None:
    with pytest.raises(ArchiveError, match="without a name"):
        classify(path)


@pytest.mark.parametrize(
    "path", [b".wh.d/a", b"a/.wh.d/b", b".wh..wh.plnk/1", b".wh.d/.wh.a", b"a/.wh./b"]
)
def test_nothing_lies_below_a_whiteout(path: bytes) -> None:
    with pytest.raises(ArchiveError, match="below a whiteout"):
        classify(path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"etc/passwd", "'etc/passwd'"),
        (b"", "''"),
        (b"new\nline\t", "'new\\nline\\t'"),
        (b"\xc3\xa9", "'é'"),
        (b"\xff", "'\\xff'"),
        (b"it's\\", "'it\\'s\\\\'"),
        (b"\x1b[31m", "'\\x1b[31m'"),
        ("\u202e\u00a0".encode(), "'\\u202e\\xa0'"),
        (b"\xed\xa0\x80", "'\\xed\\xa0\\x80'"),
        (b"n" * 300, "'" + "n" * 200 + "...'"),
    ],
)
def test_show(path: bytes, text: str) -> None:
    assert show(path) == text


def test_joining() -> None:
    assert join(b"", b"a") == b"a"
    assert join(b"a", b"b") == b"a/b"


def test_ancestors_are_added_once() -> None:
    seen: set[bytes] = set()
    assert add_ancestors(b"a/b/c", seen) == [b"a/b", b"a"]
    assert add_ancestors(b"a/b/d", seen) == []
    assert add_ancestors(b"a/x/y/z", seen) == [b"a/x/y", b"a/x"]
    assert seen == {b"a", b"a/b", b"a/x", b"a/x/y"}


def test_what_follows_from_above_is_made_once() -> None:
    known, made = {b"": 0}, []

    def step(above: int, path: bytes) -> int:
        made.append(path)
        return above + 1

    assert [from_above(path, known, step) for path in (b"", b"a/b/c", b"a/b", b"a/d")] == [
        0,
        3,
        2,
        2,
    ]
    assert made == [b"a", b"a/b", b"a/b/c", b"a/d"]
    assert known == {b"": 0, b"a": 1, b"a/b": 2, b"a/b/c": 3, b"a/d": 2}


def test_cover() -> None:
    cover = Cover([b"a/b", b"c"])
    assert cover
    assert cover.below(b"a/b/x/y")
    assert cover.below(b"c/d")
    assert not cover.below(b"a")
    assert not cover.below(b"a/bb")
    assert not cover.below(b"a/b")
    assert cover.below(b"a/b/x")
    assert cover.below(b"a/b/x")  # asked again
    assert not Cover([])
    assert not Cover([]).below(b"a/b")
    assert not Cover([b""]).below(b"")
    assert Cover([b""]).below(b"a")
