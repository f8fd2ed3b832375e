"""What `inspect` costs: counted in calls, bytes and comparisons, not on a clock."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import pytest

import squasher
from squasher.layers import content
from squasher.layers.content import Scan
from squasher.tar.entry import Pair
from tests.builders import Dir, File, Whiteout, archive, layer
from tests.growth.test_growth import (
    Layers,
    chain,
    depth,
    entries,
    hard_links,
    in_another_order,
    opaque,
    require_growth,
    same_again,
    symlinks_followed,
    whiteouts,
)


def inspect(source: BinaryIO) -> None:
    """Inspect the image of an archive."""
    with squasher.open_archive(source) as opened:
        squasher.inspect(opened.images[0])


@pytest.mark.parametrize(
    "make",
    [
        entries,
        depth,
        chain,
        same_again,
        in_another_order,
        whiteouts,
        opaque,
        hard_links,
        symlinks_followed,
    ],
)
def test_work_grows_with_the_entries(make: Callable[[int], Layers]) -> None:
    require_growth(make, inspect)


def test_a_pair_of_contents_is_compared_once_for_all_bases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same files in each of six layers: those of the last are held against those of others."""
    files = [Dir(b"d"), *(File(b"d/%d" % i, b"%d" % i) for i in range(50))]
    touched = [Dir(b"d"), Whiteout(b"d/7"), File(b"d/8", b"new"), File(b"d/9", b"9")]
    compared: Counter[tuple[int, int, int, int]] = Counter()
    real = content.same_content

    def counting(
        pairs: Iterable[Pair], uppers: Sequence[Scan], lowers: Sequence[Scan]
    ) -> set[Pair]:
        pairs = list(pairs)
        compared.update((x.source, x.data, b.source, b.data) for x, b in pairs)
        return real(pairs, uppers, lowers)

    monkeypatch.setattr("squasher.analysis.inspection.same_content", counting)
    layers = [*([layer(*files)] * 5), layer(*touched), layer(*files[:20]), layer(File(b"z"))]
    inspect(io.BytesIO(archive(layers)))
    assert compared
    assert set(compared.values()) == {1}
