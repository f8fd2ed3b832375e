"""What a file holds, sparse or not, in pages that can be compared."""

from __future__ import annotations

from collections.abc import Iterator

from squasher.blobs.content import Cursor
from squasher.tar.entry import Entry

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
