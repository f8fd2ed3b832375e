"""squasher.analysis.updates: what an update costs, path by path, and why."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest

import squasher
from squasher.analysis.updates import REASONS, UpdateCost, update_cost
from squasher.errors import ArchiveError
from tests.builders import (
    Char,
    Dir,
    File,
    Hardlink,
    Member,
    Sparse,
    Symlink,
    archive,
    layer,
)
from tests.conformance.corpus import CASES

SOUND = [case for case in CASES if case.verdict != "refuse"]


def cost(new: Sequence[bytes], old: Sequence[bytes], max_size: int | None = None) -> UpdateCost:
    with (
        squasher.open_archive(io.BytesIO(archive(new, gzip_layers=(0,)))) as one,
        squasher.open_archive(io.BytesIO(archive(old))) as two,
    ):
        return update_cost(one.images[0], two.images[0], max_size=max_size)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ((), File(b"f", b"1"), "new"),
        (File(b"f", b"1"), File(b"f", b"2"), "content"),
        (File(b"f", b"1"), File(b"f", b"12"), "content"),
        (File(b"f", b"1"), File(b"f", b"2", mtime=5), "content"),
        (File(b"f", b"1"), Symlink(b"f", b"x"), "content"),
        (File(b"f", b"1"), Dir(b"f"), "content"),
        (Symlink(b"f", b"1"), Symlink(b"f", b"2"), "content"),
        (Char(b"f", 1, 3), Char(b"f", 1, 4), "content"),
        (File(b"f", b"1"), File(b"f", b"1", mode=0o600), "attributes"),
        (File(b"f", b"1"), File(b"f", b"1", uid=7, mtime=5), "attributes"),
        (File(b"f", b"1"), File(b"f", b"1", xattrs={b"user.k": b"v"}), "attributes"),
        (Dir(b"f"), Dir(b"f", mode=0o700), "attributes"),
        (File(b"f", b"1"), File(b"f", b"1", mtime=5), "time alone"),
        (File(b"f"), File(b"f", mtime=5), "time alone"),
        (Sparse(b"f", 9000, [(0, b"1")]), File(b"f", b"1" + bytes(8999), mtime=5), "time alone"),
        (Dir(b"f"), Dir(b"f", mtime=5), "time alone"),
        (Symlink(b"f", b"1"), Symlink(b"f", b"1", mtime=5, mode=0), "time alone"),
        (File(b"f", b"1"), (), "deleted"),
    ],
)
def test_why(old: Member | tuple[()], new: Member | tuple[()], why: str) -> None:
    same = File(b"same", b"same")
    one, two = (layer(same, *([each] if each else ())) for each in (new, old))
    found = cost([one], [two])
    assert [(each.path, each.why) for each in found.paths] == [(b"f", why)]
    assert found.reasons[why] == (1, found.paths[0].size)
    assert tuple(found.reasons) == REASONS


def test_directories_and_names_of_what_changed_are_repeated() -> None:
    old = [layer(Dir(b"d"), File(b"d/f", b"1"), File(b"d/g", b"2"), Hardlink(b"h", b"d/g"))]
    new = [layer(Dir(b"d"), File(b"d/f", b"9"), File(b"d/g", b"2"), Hardlink(b"h", b"d/g"))]
    found = {each.path: each.why for each in cost(new, old).paths}
    assert found == {b"d": "repeated", b"d/f": "content"}
    new = [layer(Dir(b"d"), File(b"d/f", b"1"), File(b"d/g", b"2"), File(b"h", b"2"))]
    found = {each.path: each.why for each in cost(new, old).paths}
    assert found == {b"d": "repeated", b"d/g": "repeated", b"h": "repeated"}


def test_folders_sum_up_what_is_below() -> None:
    old = [layer(Dir(b"a"), Dir(b"a/b"), File(b"a/b/f", b"1"))]
    new = [layer(Dir(b"a"), Dir(b"a/b"), File(b"a/b/f", b"1", mtime=10**9), File(b"z", b"z"))]
    found = cost(new, old)
    assert {each.path: (each.size, each.time_alone) for each in found.folders} == {
        b"": (2 * 512 + 2 * 1024, 1024),
        b"a": (512 + 1024, 1024),
        b"a/b": (1024, 1024),
    }
    assert found.costly[0].path == b""
    assert found.costly[0].size == sum(each.size for each in found.paths) == found.size - 1024


@pytest.mark.parametrize("place", range(0, len(SOUND), 9))
def test_it_is_what_onto_writes(place: int) -> None:
    """Bytes and paths are those of the layer, for any case onto another and onto itself."""
    for other in (SOUND[place], SOUND[(place + 97) % len(SOUND)]):
        new, old = SOUND[place].layers, other.layers
        found = cost(new, old)
        with (
            squasher.open_archive(io.BytesIO(archive(new))) as one,
            squasher.open_archive(io.BytesIO(archive(old))) as two,
        ):
            done = squasher.squash(one.images[0], onto=two.images[0])
        assert len(found.paths) == done.entries + done.whiteouts
        assert found.size == (done.after[-1].size if done.merged else 0)


def test_an_image_onto_itself_costs_nothing() -> None:
    layers = [layer(Dir(b"d"), File(b"d/f", b"1"))]
    found = cost(layers, layers)
    assert (found.size, found.paths) == (0, ())


def test_errors_name_the_image() -> None:
    bad = layer(File(b"f"), File(b"f/g"))
    with pytest.raises(ArchiveError, match="the previous image: layer 1 of 1"):
        cost([layer(File(b"a"))], [bad])
    with pytest.raises(ArchiveError):
        cost([layer(File(b"a", b"x" * 9000))], [layer(File(b"b"))], max_size=10)
