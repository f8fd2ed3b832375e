"""What `inspect` costs: counted in calls, bytes and comparisons, not on a clock."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import pytest

import squasher
from squasher import scan
from squasher.scan import Scan
from squasher.tarstream import Pair
from tests.builders import Dir, File, Whiteout, archive, layer
from tests.counting import CountedStream, counted_calls
from tests.growth.test_growth import (
    GROWTH,
    Layers,
    chain,
    depth,
    entries,
    hard_links,
    in_another_order,
    opaque,
    same_again,
    symlinks_followed,
    whiteouts,
)


def work(image: Layers) -> tuple[int, int]:
    """Return how many calls inspecting makes, in all threads, and how many bytes it reads."""
    source = CountedStream(archive(image))
    with counted_calls() as calls, squasher.open_archive(source) as opened:
        squasher.inspect(opened.images[0])
    return calls.count, source.count


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
    small, large = make(300), make(600)
    size = len(archive(large)) / len(archive(small))
    (calls, read), (more_calls, more_read) = work(small), work(large)
    assert more_calls <= GROWTH * max(1.0, size / 2) * calls
    assert more_read <= GROWTH * max(1.0, size / 2) * read


def test_a_pair_of_contents_is_compared_once_for_all_bases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same files in each of six layers: those of the last are held against those of others."""
    files = [Dir(b"d"), *(File(b"d/%d" % i, b"%d" % i) for i in range(50))]
    touched = [Dir(b"d"), Whiteout(b"d/7"), File(b"d/8", b"new"), File(b"d/9", b"9")]
    compared: Counter[tuple[int, int, int, int]] = Counter()
    real = scan.same_content

    def counting(
        pairs: Iterable[Pair], uppers: Sequence[Scan], lowers: Sequence[Scan]
    ) -> set[Pair]:
        pairs = list(pairs)
        compared.update((x.source, x.data, b.source, b.data) for x, b in pairs)
        return real(pairs, uppers, lowers)

    monkeypatch.setattr("squasher.analysis.same_content", counting)
    layers = [*([layer(*files)] * 5), layer(*touched), layer(*files[:20]), layer(File(b"z"))]
    with squasher.open_archive(io.BytesIO(archive(layers))) as opened:
        squasher.inspect(opened.images[0])
    assert compared
    assert set(compared.values()) == {1}
