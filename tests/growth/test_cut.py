"""What `--max-layer-size` costs: counted in calls, bytes and parts looked at, not on a clock."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import BinaryIO

import pytest

import squasher
from squasher.layers import cut as cutting
from squasher.layers.cut import Folders, Part, cut, smallest_limit
from tests.builders import Dir, File, archive, layer
from tests.growth.test_growth import (
    Layers,
    entries,
    hard_links,
    require_growth,
    same_again,
    whiteouts,
)


def folders_with_files(n: int) -> Layers:
    parts = [part for i in range(n // 4) for part in (Dir(b"%d" % i), File(b"%d/f" % i, b"x"))]
    return [layer(), layer(*parts), layer(File(b"z"))]


@pytest.mark.parametrize("make", [entries, same_again, whiteouts, hard_links, folders_with_files])
def test_twice_the_entries_in_twice_the_layers(make: Callable[[int], Layers]) -> None:
    def act(source: BinaryIO) -> None:
        squasher.squash_archive(source, io.BytesIO(), keep_layers=1, max_layer_size=8_000)

    act(io.BytesIO(archive(make(40))))  # what is imported when it is needed does not count
    require_growth(make, act)


def test_the_search_for_a_size_that_fits() -> None:
    def act(source: BinaryIO) -> None:
        with pytest.raises(squasher.UsageError, match="more than 125 in all"):
            squasher.squash_archive(source, io.BytesIO(), keep_layers=1, max_layer_size=600)

    require_growth(entries, act)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that gets how many parts each step of cutting looks at."""
    counts: list[int] = []

    def counted(sizes: Iterable[int]) -> Iterator[int]:
        found = list(accumulate(sizes))
        counts.append(len(found))
        return iter(found)

    monkeypatch.setattr(cutting, "accumulate", counted)
    return counts


def parts_of(n: int) -> tuple[Sequence[Part], Folders]:
    """Return parts of some sizes, a hundred in each directory."""
    parts = [Part(b"%d" % i, 512 * (2 + i % 7), [i // 100]) for i in range(n)]
    return parts, Folders([-1] * (n // 100), [512] * (n // 100))


def test_a_cut_looks_at_each_part_once_for_each_doubling_of_the_layers(
    looked_at: list[int],
) -> None:
    parts, folders = parts_of(10_000)
    for doublings in (3, 6):
        looked_at.clear()
        limit = sum(part.size for part in parts) // 2**doublings
        assert len(cut(parts, folders, limit, 1000)) > 2**doublings
        assert sum(looked_at) <= (doublings + 3) * len(parts)


def test_the_search_begins_near_what_it_looks_for(looked_at: list[int]) -> None:
    """Bisecting from all bytes in one layer takes 16 cuts here."""
    parts, folders = parts_of(10_000)
    assert smallest_limit(parts, folders, 512, 100) > 512
    assert looked_at.count(len(parts)) <= 1 + 11
