"""What a file holds, sparse or not, in pages that are compared: for `diff` and for `--verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest

from squasher.blobs.content import Cursor
from squasher.layers.content import Scan
from squasher.tar.entry import Entry, Pair

_WINDOW = 4 << 20

#: A sparse file is compared in pieces of that size; those without content are skipped.
PAGE = 4 << 10


def pages(file: Entry, cursor: Cursor, take: int) -> Iterator[tuple[int, bytes]]:
    """Yield what `file` holds, as (number of the page, its bytes), pages of `take` bytes.

    Pages of a sparse file that hold nothing but zeros are left out: it has them however it is
    stored.
    """
    if file.sparse is None and take > PAGE:
        for at in range(0, file.size, take):
            yield at // take, cursor.get(file.data + at, min(take, file.size - at))
        return
    held, index, data = bytearray(take), 0, file.data
    for start, length in ((0, file.size),) if file.sparse is None else file.sparse:
        at, stop = start, start + length
        while at < stop:
            page, inside = divmod(at, take)
            if page != index:
                if any(held):
                    yield index, bytes(held)
                held, index = bytearray(take), page
            count = min(stop - at, take - inside)
            held[inside : inside + count] = cursor.get(data, count)
            at, data = at + count, data + count
    if any(held):
        yield index, bytes(held)


def unlike(
    pairs: Iterable[Pair],
    ours: Sequence[Scan],
    theirs: Sequence[Scan],
    progress: Callable[[int], None],
) -> Iterator[Pair]:
    """Yield those pairs of files whose bytes differ; layers are read from their beginning.

    The same bytes of the same layer are not looked at; `progress` is told how many are. O(bytes of
    files that moved).
    """
    by_layer: dict[tuple[int, int], list[Pair]] = {}
    for x, b in pairs:
        layers = ours[x.source].layer, theirs[b.source].layer
        if x.data != b.data or layers[0].diff_id != layers[1].diff_id:
            by_layer.setdefault((x.source, b.source), []).append((x, b))
    for (one, two), group in by_layer.items():
        left, right = cursor(ours[one]), cursor(theirs[two])
        for x, b in sorted(group, key=lambda pair: pair[0].data):
            take = _WINDOW if x.sparse is None and b.sparse is None else PAGE
            both = zip_longest(pages(x, left, take), pages(b, right, take))
            if any(piece != other for piece, other in both):
                yield x, b
            progress(x.size)


def cursor(scan: Scan) -> Cursor:
    """Return a cursor over the tar of a layer, which must be unpacked if it was compressed."""
    assert scan.content is not None  # noqa: S101
    return Cursor(scan.content.read_at, _WINDOW)
