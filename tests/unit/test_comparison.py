"""squasher.verify.comparison: every field of every path."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import squasher
from squasher.errors import DocumentError
from squasher.image.configs import parse_config
from squasher.tar.entry import Entry
from squasher.verify import pages
from squasher.verify.comparison import Facts, config_differences
from tests.builders import (
    MTIME,
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
        b"b": ("removed",),
        b"c": ("added",),
        b"d/a": ("removed",),
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
    assert [(each.path, each.what) for each in found] == [(b"x", ("content",))]
    assert [found[0].before, found[0].after] == [Facts("file", (0o644, 0, 0), MTIME, size=1)] * 2


def test_the_same_bytes_of_the_same_layer_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def recording(file: Entry, *given: Any) -> Iterator[tuple[int, bytes]]:
        asked.append(file)
        return real(file, *given)

    real = pages.pages
    monkeypatch.setattr(pages, "pages", recording)
    lower, upper = layer(File(b"x", b"12")), layer(File(b"x", b"12", mtime=0))
    assert compared([lower], [lower, layer(File(b"y"))]) == {b"y": ("added",)}
    assert not asked
    assert compared([lower], [lower, upper]) == {b"x": ("mtime",)}
    assert len(asked) == 2


def test_large_groups_of_hard_links_are_compared_once() -> None:
    """Each of its paths would otherwise compare all of its names."""
    names = [b"n%04d" % n for n in range(300)]
    linked = layer(File(b"a", b"1"), *[Hardlink(name, b"a") for name in names])
    fewer = layer(File(b"a", b"1"), *[Hardlink(name, b"a") for name in names[1:]])
    assert compared([linked], [linked]) == {}
    found = compared([linked], [fewer])
    assert found.pop(names[0]) == ("removed",)
    assert found == dict.fromkeys([b"a", *names[1:]], ("links",))


# ---------------------------------------------------------------- configs


def keys(one: str, two: str, **options: bool) -> list[str]:
    """Return the keys in which two configs differ; both have what a config must have."""
    first, second = (
        parse_config(b'{"rootfs":{"diff_ids":[]}%s}' % (text and f",{text}").encode())
        for text in (one, two)
    )
    return [".".join(each.key) for each in config_differences(first, second, **options)]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("", "", []),
        ('"os":"linux"', '"os":"windows"', ["os"]),
        ('"config":{"User":"","Cmd":[],"Labels":{},"Tty":false,"Volumes":null}', "", []),
        ('"config":{"Tty":true}', '"config":{"Tty":1}', ["config.Tty"]),
        ('"config":{"Labels":{"a":{"b":1}}}', '"config":{}', ["config.Labels.a.b"]),
        ('"config":{"Cmd":["a"]}', '"config":{"Cmd":["a","b"]}', ["config.Cmd"]),
        ('"config":{"Cmd":["a"]}', '"config":{"Cmd":{"a":1}}', ["config.Cmd"]),
        ('"config":{"Env":["A=1","B=2"]}', '"config":{"Env":["B=2","A=1"]}', []),
        ('"config":{"Env":["A=1"]}', '"config":{"Env":["A=1","A=1"]}', ["config.Env"]),
        ('"config":{"Env":["A=1"]}', '"config":{"Env":["A"]}', ["config.Env"]),
        ('"config":{"Env":"A"}', '"config":{"Env":"B"}', ["config.Env"]),
        (
            '"config":{"Labels":{"Env":"A"}}',
            '"config":{"Labels":{"Env":"B"}}',
            ["config.Labels.Env"],
        ),
        ('"x":{"Env":["A=1"]}', '"x":{"Env":["A=2"]}', ["x.Env"]),
    ],
)
def test_keys_that_differ(one: str, two: str, expected: list[str]) -> None:
    assert keys(one, two) == expected
    assert keys(two, one) == expected


def test_what_tells_how_an_image_was_made() -> None:
    rows = ",".join(f'{{"created_by":"{n}","empty_layer":true}}' for n in range(11))
    one = f'"created":"1","history":[{rows}],"moby.buildkit.cache.v0":"x"'
    two = '"created":"2","history":[{"created_by":"0","empty_layer":true}]'
    assert keys(one, two) == []
    found = keys(one, two, history=True)
    assert found[0] == "created"
    assert found[1] == "history.2.created_by"
    assert found[-3:] == [
        "history.11.created_by",
        "history.11.empty_layer",
        "moby.buildkit.cache.v0",
    ]


def test_a_config_nested_beyond_reason() -> None:
    deep = '{"a":' * 398 + "%s" + "}" * 398
    assert keys(f'"x":{deep % 1}', f'"x":{deep % 2}') == ["x" + ".a" * 398]
    assert keys(f'"x":{deep % 1}', "") == ["x" + ".a" * 398]
    with pytest.raises(DocumentError, match="nested more than 400 levels deep"):
        keys('"x":' + "[" * 401 + "]" * 401, "")
