"""Twice the image is about twice the work: counted in calls and bytes, not on a clock."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

import pytest

import squasher
from tests.builders import Dir, File, Hardlink, Opaque, Symlink, Whiteout, archive, layer
from tests.counting import CountedStream, counted_calls

#: What may come of twice the entries, layers or depth; a quadratic step would make it 4.
GROWTH = 2.2

Layers = list[bytes]


def entries(n: int) -> Layers:
    return [layer(), layer(*(File(b"d/%d" % i, b"x") for i in range(n))), layer(File(b"z"))]


def layers(n: int) -> Layers:
    return [layer(File(b"d/%d" % (i % 50), b"%d" % i)) for i in range(n // 4)]


def depth(n: int) -> Layers:
    path = b"/".join([b"d"] * n)
    return [layer(), layer(Dir(b"d"), File(path + b"/f")), layer(File(path + b"/g"))]


def chain(n: int) -> Layers:
    return [layer(), layer(*(Dir(b"/".join([b"d"] * i)) for i in range(1, n))), layer(File(b"z"))]


def same_again(n: int) -> Layers:
    files = [Dir(b"d"), *(File(b"d/%d" % i, b"x" * 600) for i in range(n))]
    return [layer(*files), layer(*files), layer(File(b"z"))]


def in_another_order(n: int) -> Layers:
    files = [File(b"d/%d" % i, b"x" * 600) for i in range(n)]
    return [layer(Dir(b"d"), *files), layer(Dir(b"d"), *files[::-1]), layer(File(b"z"))]


def whiteouts(n: int) -> Layers:
    names = [b"d/%d" % i for i in range(n)]
    return [
        layer(Dir(b"d"), *map(File, names)),
        layer(Dir(b"d"), *map(Whiteout, names)),
        layer(File(b"z")),
    ]


def opaque(n: int) -> Layers:
    files = [File(b"d/%d/f" % i) for i in range(n)]
    return [layer(Dir(b"d"), *files), layer(Dir(b"d"), Opaque(b"d")), layer(File(b"z"))]


def one_folder_in_many_layers(n: int) -> Layers:
    files = [File(b"d/%d" % i) for i in range(100)]
    return [layer(*files), *(layer(File(b"d/new%d" % i)) for i in range(n // 4))]


def hard_links(n: int) -> Layers:
    links = [Hardlink(b"l%d" % i, b"f") for i in range(n)]
    return [layer(), layer(File(b"f", b"x"), *links), layer(File(b"z"))]


def symlinks_followed(n: int) -> Layers:
    files = [File(b"s/%d" % i) for i in range(n)]
    return [layer(), layer(Dir(b"d"), Symlink(b"s", b"d"), *files), layer(File(b"z"))]


def symlinks_in_symlinks(n: int) -> Layers:
    """Each of ten files lies behind a symlink in every directory, and the last one is new."""
    depth = n // 4
    turns = [
        part
        for i in range(10)
        for part in (Symlink(b"x", b"%d" % i), File(b"s/" * depth + b"f%d" % i))
    ]
    links = [Symlink(b"d/" * i + b"s", b"d") for i in range(depth)]
    return [layer(), layer(Dir(b"/".join([b"d"] * depth)), *links, *turns), layer(File(b"z"))]


def hard_links_through_a_long_symlink(n: int) -> Layers:
    deep = b"/".join([b"d"] * (n // 2))
    links = [Hardlink(b"l%d" % i, b"s/f") for i in range(n)]
    return [layer(), layer(File(deep + b"/f"), Symlink(b"s", deep), *links), layer(File(b"z"))]


def lower_symlinks_behind_a_long_symlink(n: int) -> Layers:
    """Each one's place is taken by a directory, and where it led is looked up."""
    deep = b"/".join([b"d"] * n)
    links = [Symlink(deep + b"/s%d" % i, b"t") for i in range(n // 10)]
    files = [File(b"l/s%d/f" % i) for i in range(n // 10)]
    return [layer(Dir(deep), *links), layer(Symlink(b"l", deep), *files), layer(File(b"z"))]


def files_that_change_behind_a_long_symlink(n: int) -> Layers:
    deep = b"/".join([b"d"] * (n // 2))
    lower = [File(deep + b"/f%d" % i) for i in range(n)]
    upper = [File(b"s/f%d" % i, b"x") for i in range(n)]
    return [layer(*lower), layer(Dir(deep), Symlink(b"s", deep), *upper), layer(File(b"z"))]


def replaced_over_and_over(n: int) -> Layers:
    """Each entry makes what was known of directories void."""
    turns = [part for i in range(n) for part in (Symlink(b"s%d" % i, b"d"), File(b"d/e/%d" % i))]
    return [layer(), layer(Dir(b"d"), *turns, *turns[:2]), layer(File(b"z"))]


def work(image: Layers, act: Callable[[BinaryIO], object]) -> tuple[int, int]:
    """Return how many calls `act` makes of an archive, in all threads, and the bytes it reads."""
    source = CountedStream(archive(image))
    with counted_calls() as calls:
        act(source)
    return calls.count, source.count


def require_growth(make: Callable[[int], Layers], act: Callable[[BinaryIO], object]) -> None:
    """Require that `act` does about twice the work for twice the image."""
    small, large = make(300), make(600)
    size = len(archive(large)) / len(archive(small))
    (calls, read), (more_calls, more_read) = work(small, act), work(large, act)
    # A chain of folders spells out every path: its archive itself grows faster than its depth.
    assert more_calls <= GROWTH * max(1.0, size / 2) * calls
    assert more_read <= GROWTH * max(1.0, size / 2) * read


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        entries,
        layers,
        depth,
        chain,
        same_again,
        in_another_order,
        whiteouts,
        opaque,
        one_folder_in_many_layers,
        hard_links,
        symlinks_followed,
        symlinks_in_symlinks,
        hard_links_through_a_long_symlink,
        lower_symlinks_behind_a_long_symlink,
        files_that_change_behind_a_long_symlink,
        replaced_over_and_over,
    ],
)
def test_work_grows_with_the_image(make: Callable[[int], Layers], keep: int) -> None:
    require_growth(
        make, lambda source: squasher.squash_archive(source, io.BytesIO(), keep_layers=keep)
    )


@pytest.mark.parametrize(
    "make",
    [
        depth,
        hard_links,
        symlinks_followed,
        symlinks_in_symlinks,
        hard_links_through_a_long_symlink,
        lower_symlinks_behind_a_long_symlink,
        files_that_change_behind_a_long_symlink,
    ],
)
def test_verifying_grows_with_the_image(make: Callable[[int], Layers]) -> None:
    require_growth(
        make,
        lambda source: squasher.squash_archive(source, io.BytesIO(), keep_layers=1, verify=True),
    )
