"""squasher.comparison: every field of every path."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

import squasher
from tests.builders import (
    Block,
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Sparse,
    Symlink,
    Whiteout,
    archive,
    layer,
)


def compared(before: list[bytes], after: list[bytes], **forms: str) -> dict[bytes, tuple[str, ...]]:
    one, two = (io.BytesIO(archive(tars, **forms)) for tars in (before, after))  # type: ignore[arg-type]
    with squasher.open_archive(one) as left, squasher.open_archive(two) as right:
        found = squasher.compare(left.images[0], right.images[0])
    assert [each.path for each in found] == sorted(each.path for each in found)
    return {each.path: each.what for each in found}


def differ(before: Member, after: Member) -> tuple[str, ...]:
    found = compared([layer(before)], [layer(after)])
    assert set(found) <= {b"x"}
    return found.get(b"x", ())


FILE = File(b"x", b"12345")
LINK = Symlink(b"x", b"t")


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (FILE, FILE, ()),
        (FILE, replace(FILE, path=b"./x"), ()),
        (FILE, replace(FILE, mode=0o600), ("mode",)),
        (FILE, replace(FILE, uid=5), ("owner",)),
        (FILE, replace(FILE, gid=5), ("owner",)),
        (FILE, replace(FILE, mtime=FILE.mtime + 1), ("mtime",)),  # type: ignore[operator]
        (FILE, replace(FILE, xattrs={b"user.k": b"v"}), ("xattrs",)),
        (FILE, replace(FILE, data=b"1234"), ("size",)),
        (FILE, replace(FILE, data=b"1234!"), ("content",)),
        (FILE, replace(FILE, mode=0, data=b"1234!"), ("mode", "content")),
        (FILE, Sparse(b"x", 5, [(0, b"123"), (3, b"45")]), ()),
        (FILE, Sparse(b"x", 5, [(0, b"123")]), ("content",)),
        (FILE, replace(LINK, mode=0o644), ("type",)),
        (FILE, Dir(b"x"), ("type",)),
        (Dir(b"x"), FILE, ("type",)),
        (LINK, LINK, ()),
        (LINK, replace(LINK, mode=0o600), ()),
        (LINK, replace(LINK, target=b"u"), ("target",)),
        (LINK, replace(LINK, uid=1), ("owner",)),
        (Char(b"x"), Char(b"x", 9, 9), ("device",)),
        (Block(b"x"), Block(b"x", 9, 9), ("device",)),
        (Char(b"x"), replace(Block(b"x", 1, 3), mode=0o666), ("type",)),
        (Fifo(b"x"), Fifo(b"x"), ()),
        (Dir(b"x"), Dir(b"x", mode=0o700, uid=1, mtime=0), ("mode", "owner", "mtime")),
        (Dir(b"x"), Dir(b"x", xattrs={b"user.k": b""}), ("xattrs",)),
    ],
)
def test_a_path(before: Member, after: Member, what: tuple[str, ...]) -> None:
    assert differ(before, after) == what


def test_paths_that_only_one_side_has() -> None:
    before, after = layer(Dir(b"d"), File(b"d/a"), File(b"b")), layer(Dir(b"d"), File(b"c"))
    assert compared([before], [after]) == {
        b"b": ("missing",),
        b"c": ("added",),
        b"d/a": ("missing",),
    }


def test_layers_do_not_matter() -> None:
    before = [layer(Dir(b"d"), File(b"d/a"), File(b"b", b"1")), layer(Whiteout(b"b"))]
    assert compared(before, [layer(Dir(b"d"), File(b"d/a"))]) == {}


def test_a_directory_that_nobody_wrote_has_no_time() -> None:
    implied = layer(File(b"d/a"))
    for mtime in (0, 5):
        assert compared([implied], [layer(Dir(b"d", mtime=mtime), File(b"d/a"))]) == {}
    assert compared([layer(Dir(b"d", mode=0o700), File(b"d/a"))], [implied]) == {b"d": ("mode",)}


def test_names_of_one_file() -> None:
    linked = layer(File(b"a", b"1"), Hardlink(b"b", b"a"), File(b"c", b"1"))
    apart = layer(File(b"a", b"1"), File(b"b", b"1"), File(b"c", b"1"))
    assert compared([linked], [linked]) == {}
    assert compared([linked], [apart]) == {b"a": ("links",), b"b": ("links",)}
    assert compared([apart], [linked]) == {b"a": ("links",), b"b": ("links",)}
    other = layer(File(b"a", b"2"), Hardlink(b"b", b"a"), File(b"c", b"1"))
    assert compared([linked], [other]) == {b"a": ("content",), b"b": ("content",)}
    alone = layer(File(b"c", b"1"), File(b"a", b"1"), Hardlink(b"b", b"a"))
    gone = [alone, layer(Whiteout(b"b"))]
    assert compared([layer(File(b"c", b"1"), File(b"a", b"1"))], gone) == {}


def test_compressed_layers_are_unpacked() -> None:
    one, two = layer(File(b"x", b"1")), layer(File(b"x", b"2"))
    source = archive([one], gzip_layers=(0,), form="v25")
    with (
        squasher.open_archive(io.BytesIO(source)) as left,
        squasher.open_archive(io.BytesIO(archive([two]))) as right,
    ):
        found = squasher.compare(left.images[0], right.images[0])
    assert found == (squasher.Difference(b"x", ("content",)),)
