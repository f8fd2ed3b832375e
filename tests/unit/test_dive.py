"""squasher.analysis.dive: dive's figures, also where its definition surprises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from squasher.analysis.dive import Dive, Ledger
from squasher.tar.walk import LayerWalk
from tests.builders import Dir, File, Hardlink, Member, Opaque, Sparse, Symlink, Whiteout, layer


def figures(*layers: Sequence[Member]) -> Dive:
    ledger = Ledger()
    for number, members in enumerate(layers):
        walk = LayerWalk(number)
        walk.feed(layer(*members))
        ledger.add(walk.finish())
    return ledger.figures()


def share(*layers: Sequence[Member]) -> tuple[float, int]:
    found = figures(*layers)
    return found.efficiency, found.wasted_bytes


def sized(path: bytes, size: int) -> Member:
    return File(path, b"x" * size)


def test_the_example_of_its_own_test() -> None:
    """Source: wagoodman/dive, dive/filetree/efficiency_test.go, TestEfficency: 0.75, 7000."""
    found = figures(
        [sized(b"etc/nginx/nginx.conf", 2000), sized(b"etc/nginx/public", 3000)],
        [sized(b"etc/nginx/nginx.conf", 5000), sized(b"etc/athing", 10000)],
        [Whiteout(b"etc/nginx")],
    )
    assert found == Dive(0.75, 7000, 15000)
    assert found.wasted_share == 7000 / 15000


def test_a_single_empty_file_is_efficient() -> None:
    """Source: the same, TestEfficency_ScratchImage."""
    assert figures([File(b"nothing")]) == Dive(1.0, 0, 0)
    assert figures() == Dive(1.0, 0, 0)


def test_every_version_of_an_overwritten_file_counts() -> None:
    assert share([sized(b"f", 10)], [sized(b"f", 30)], [sized(b"f", 20)]) == (10 / 60, 60)


def test_a_deleted_file_counts_once_and_leaves_nothing() -> None:
    assert share([sized(b"f", 10), sized(b"g", 30)], [Whiteout(b"f")]) == (30 / 40, 10)


def test_a_deleted_directory_counts_as_all_that_was_in_it() -> None:
    below = [Dir(b"d"), sized(b"d/a", 10), Dir(b"d/e"), sized(b"d/e/b", 20)]
    assert share(below, [Whiteout(b"d")]) == (1.0, 0)  # one name, one leaf
    assert share([Dir(b"d")], below[1:], [Dir(b"d")], [Whiteout(b"d")]) == (30 / 60, 30)


def test_folders_below_each_other_that_are_hidden_at_once() -> None:
    below = [Dir(b"d"), sized(b"d/a", 10), Dir(b"d/e"), sized(b"d/e/b", 20)]
    # d/a, d/e/b and, hidden, d with 30 and d/e with 20
    assert share(below, [Whiteout(b"d"), Whiteout(b"d/e")], [sized(b"d/e", 1)]) == (61 / 81, 21)


def test_a_directory_last_mentioned_without_an_entry_counts_nothing() -> None:
    below = [Dir(b"d"), sized(b"d/a", 10)]
    assert share(below, [sized(b"d/b", 5)], [Whiteout(b"d")], [sized(b"d", 2)]) == (15 / 17, 2)
    assert share(below, [Dir(b"d"), sized(b"d/b", 5)], [Whiteout(b"d")], [sized(b"d", 2)]) == (
        17 / 32,
        17,
    )


def test_a_whiteout_that_hides_nothing_counts_nothing() -> None:
    assert share([sized(b"f", 10)], [Whiteout(b"g"), Whiteout(b"h/i"), sized(b"j", 5)]) == (1.0, 0)
    assert share([sized(b"f", 10), Whiteout(b"f")]) == (1.0, 0)
    assert share([sized(b"f", 10)], [Whiteout(b"f/g")]) == (1.0, 0)


def test_an_opaque_whiteout_hides_nothing_and_is_no_leaf() -> None:
    below = [Dir(b"d"), sized(b"d/a", 10)]
    assert share(below, [Dir(b"d"), Opaque(b"d"), sized(b"d/b", 5)]) == (1.0, 0)
    # what it hid is still there for the next whiteout
    assert share(below, [Dir(b"d"), Opaque(b"d")], [Whiteout(b"d")], [sized(b"d", 2)])[1] == 12
    # without its directory's entry the name has no entry any more
    assert share(below, [Opaque(b"d")], [Whiteout(b"d")], [sized(b"d", 2)])[1] == 2
    assert share(below, [Opaque(b"")]) == (1.0, 0)
    deep = [Dir(b"e"), *(replace(each, path=b"e/" + each.path) for each in below)]
    assert share(deep, [Opaque(b"e/d")], [Whiteout(b"e")], [sized(b"e", 2)])[1] == 2


def test_a_file_over_a_directory_keeps_what_is_below() -> None:
    below = [Dir(b"d"), sized(b"d/a", 10)]
    assert share(below, [sized(b"d", 3)], [Whiteout(b"d")]) == (10 / 13, 3)
    assert share(below, [sized(b"d", 3)], [Dir(b"d")], [Whiteout(b"d")]) == (10 / 23, 13)


def test_a_file_that_becomes_a_directory() -> None:
    assert share([sized(b"d", 3)], [Dir(b"d"), sized(b"d/a", 10)], [Whiteout(b"d")]) == (
        13 / 23,
        13,
    )


def test_names_before_dot_wh_are_hidden_by_the_whiteout_beside_them() -> None:
    """A layer is stacked name by name: `.a` comes before `.wh..a`, and `a` after `.wh.a`."""
    again = [Dir(b"d"), sized(b"d/x", 8)]
    for name, there in ((b".a", False), (b"a", True)):
        layers = [
            [Dir(name)],
            [Whiteout(name), Dir(name), sized(name + b"/x", 8)],
            [Whiteout(name)],
        ]
        assert share(*layers)[1] == (8 if there else 0)
    assert share([Dir(b"d")], [Whiteout(b"d"), *again], [Whiteout(b"d")])[1] == 8


def test_the_last_of_two_entries_counts() -> None:
    assert share([sized(b"f", 10), sized(b"f", 4)], [Whiteout(b"f")]) == (0.0, 4)


def test_links_have_no_size_and_sparse_files_their_own() -> None:
    found = figures(
        [Sparse(b"s", 1000, [(0, b"12345")])],
        [sized(b"f", 10), Hardlink(b"g", b"f"), Symlink(b"h", b"f"), Sparse(b"s", 500, [])],
    )
    assert found == Dive(510 / 1510, 1500, 510)


@pytest.mark.parametrize(
    ("dive", "wasted"),
    [(Dive(1.0, 0, 0), 0.0), (Dive(0.5, 7, 0), 1.0), (Dive(0.5, 30, 20), 1.5)],
)
def test_the_share_that_is_wasted(dive: Dive, wasted: float) -> None:
    assert dive.wasted_share == wasted
