"""Is the content of two files the same? And the parts of compressed layers that a plan needs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from operator import itemgetter

from squasher.blobs.compression import decompress
from squasher.blobs.content import Content, ContentReader, Cursor, Hole, Part
from squasher.blobs.spool import Spool
from squasher.image.model import Layer
from squasher.tar.entry import Entry, Pair

#: Bytes that are hashed or compared at once. A thread that has hashed a window waits for the
#: interpreter, up to 5 ms; large windows make that rare.
HASH_WINDOW = 4 << 20


@dataclass(frozen=True, slots=True)
class Scan:
    """A layer that has been read.

    size      bytes of the uncompressed tar
    count     entries and whiteouts in it
    content   the uncompressed tar with random access; None for a compressed layer that was not
              unpacked
    """

    layer: Layer
    size: int
    count: int
    content: Content | None


def same_content(
    pairs: Iterable[Pair], uppers: Sequence[Scan], lowers: Sequence[Scan]
) -> set[Pair]:
    """Return those pairs (upper, lower) of regular files of equal size whose bytes are equal.

    `uppers`, which are `readable`, and `lowers` are the layers that the two sides lie in. Windows
    of bytes are compared, each file is read once; a lower layer that is only there compressed is
    unpacked as a stream and never stored. O(bytes of the pairs), or of such layers.
    """
    by_layer: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        by_layer.setdefault((pair[0].source, pair[1].source), []).append(pair)
    same: set[Pair] = set()
    for (upper, lower), group in by_layer.items():
        group.sort(key=lambda pair: pair[1].data)
        content = uppers[upper].content
        assert content is not None  # noqa: S101  (the caller has seen to that)
        same.update(
            _equal_pairs(group, Cursor(content.read_at, HASH_WINDOW), _cursor(lowers[lower]))
        )
    return same


def readable(pairs: Iterable[Pair], scans: Sequence[Scan], spool: Spool) -> list[Scan]:
    """Return `scans` with content wherever the upper file of one of `pairs` lies.

    That can be a kept layer: a hard link above it gives its file other attributes, or another
    name's place. O(pairs), and O(bytes) of such layers that are only there compressed.
    """
    wanted: dict[int, set[tuple[int, int]]] = {}
    for x, _ in pairs:
        if scans[x.source].content is None:
            wanted.setdefault(x.source, set()).add((x.data, x.data + x.stored))
    found = list(scans)
    for source, ranges in wanted.items():
        found[source] = replace(scans[source], content=extract(scans[source], ranges, spool))
    return found


def _equal_pairs(group: Iterable[Pair], upper: Cursor, lower: Cursor) -> Iterator[Pair]:
    for pair in group:
        x, b = pair
        if x.sparse is None and b.sparse is None:
            equal = all(
                upper.get(x.data + at, take) == lower.get(b.data + at, take)
                for at, take in _steps(x.size)
            )
        else:
            equal = _expanded_equal(x, b, upper, lower)
        if equal:
            yield pair


def _steps(size: int) -> Iterator[tuple[int, int]]:
    for at in range(0, size, HASH_WINDOW):
        yield at, min(HASH_WINDOW, size - at)


def _expanded_equal(x: Entry, b: Entry, upper: Cursor, lower: Cursor) -> bool:
    """Compare two files of which one at least is sparse, holes read as zeros.

    O(fragments and their bytes): where both have a hole nothing is looked at.
    """
    ours, theirs = _pieces(x), _pieces(b)
    edges = {edge for at, _, length in ours + theirs for edge in (at, at + length)}
    for start, stop in pairwise(sorted(edges)):
        one, two = _stored(ours, start), _stored(theirs, start)
        if one is None and two is None:
            continue
        for step, count in _steps(stop - start):
            left = bytes(count) if one is None else upper.get(one + step, count)
            right = bytes(count) if two is None else lower.get(two + step, count)
            if left != right:
                return False
    return True


_Piece = tuple[int, int, int]


def _pieces(entry: Entry) -> list[_Piece]:
    """Return (offset in the file, offset of the data, length) of what is stored, in order."""
    fragments = ((0, entry.size),) if entry.sparse is None else entry.sparse
    ends = accumulate((length for _, length in fragments), initial=entry.data)
    return [(at, data, length) for (at, length), data in zip(fragments, ends, strict=False)]


def _stored(pieces: list[_Piece], at: int) -> int | None:
    """Return where the byte `at` of a file is stored; None in a hole. O(log pieces)."""
    index = bisect_right(pieces, at, key=itemgetter(0)) - 1
    if index < 0:
        return None
    offset, data, length = pieces[index]
    return data + at - offset if at < offset + length else None


class _StreamCursor(Cursor):
    """The same over a compressed layer: strictly forwards."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer.blob.content.read_at)
        reader = ContentReader(layer.blob.content)
        self._stream = decompress(layer.blob.compression, reader)  # type: ignore[arg-type]

    def get(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; offsets never decrease."""
        while self._start + len(self._window) < offset + size:
            keep = max(0, min(offset - self._start, len(self._window)))
            self._window, self._start = self._window[keep:], self._start + keep
            self._window += next(self._stream)
        begin = offset - self._start
        return self._window[begin : begin + size]


def _cursor(scan: Scan) -> Cursor:
    return (
        _StreamCursor(scan.layer)
        if scan.content is None
        else Cursor(scan.content.read_at, HASH_WINDOW)
    )


def extract(scan: Scan, ranges: Collection[tuple[int, int]], spool: Spool) -> Content:
    """Return the layer with `ranges` (start, stop) readable and holes elsewhere.

    For the rare image whose new layer repeats a file of a compressed base layer.
    """
    if scan.content is not None:
        return scan.content
    cursor = _StreamCursor(scan.layer)
    wanted = sorted(ranges)
    pieces = (cursor.get(a + at, take) for a, b in wanted for at, take in _steps(b - a))
    stored = spool.store(pieces)
    parts: list[Part] = []
    at = done = 0
    for start, stop in wanted:
        parts += (Hole(start - at), *stored.slice(done, done + stop - start))
        at, done = stop, done + stop - start
    return Content(parts)
