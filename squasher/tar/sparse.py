"""The maps of sparse files."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from squasher.errors import ArchiveError
from squasher.tar.entry import BLOCK, REG, REWRITE, SPARSE_MAP_MAX, Entry, SparseMap
from squasher.tar.pax import Pax, decimal


def fragments_of(values: Sequence[int], size: int) -> SparseMap:
    """Pair and check the numbers of a sparse map: in order, apart, inside `size`.

    The empty ones say nothing, but for the size, and a megabyte spells 260,000 of them.
    """
    fragments = SparseMap(_checked(values, size))
    if size < 0:
        raise ArchiveError("negative size")
    return fragments


def _checked(values: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    end = 0
    for offset, length in zip(values[::2], values[1::2], strict=True):
        if offset < end or length < 0 or offset + length > size:
            raise ArchiveError("the sparse map is malformed")
        end = offset + length
        if length:
            yield offset, length


def map_in_data(data: bytes) -> tuple[Sequence[int], int] | None:
    """Read a sparse 1.0 map: decimal lines at the beginning of the data, in whole blocks.

    Returns the numbers and the length of the map, or None if `data` ends before it.
    """
    count: int | None = None
    values = array("q")
    at = 0
    while count is None or len(values) < count:
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > BLOCK:
                raise ArchiveError("the sparse map is malformed")
            return None
        value = decimal(data[at:end])
        if value < 0 or (count is None and value * 4 > SPARSE_MAP_MAX):
            raise ArchiveError("the sparse map is malformed")
        if count is None:
            count = value * 2
        else:
            values.append(value)
        at = end + 1
    length = -(-at // BLOCK) * BLOCK
    return (values, length) if length <= len(data) else None


class MapReader:
    """Gives the sparse files of a layer their maps, window by window."""

    def __init__(self) -> None:
        self._seen = 0  # bytes in which a map was looked for and did not end

    def take(self, pax: Pax, entry: Entry, window: bytes, begin: int) -> bool:
        """Give a sparse file its map; its data begins in the window at `begin`.

        Returns False if the map is not all there yet.
        """
        version = pax.sparse_version()
        if not version:
            return True
        if entry.kind != REG:
            raise ArchiveError("a sparse map on an entry without data")
        stored, in_data = entry.size, 0
        if version == "1":
            most, there = min(stored, SPARSE_MAP_MAX), len(window) - begin
            if there < min(most, 2 * self._seen):
                return False  # not again for each window
            found = map_in_data(window[begin : begin + most])
            if found is None:
                if there >= most:
                    raise ArchiveError("the sparse map is malformed")
                self._seen = there
                return False
            self._seen = 0
            values, in_data = found
            spelt = b"".join(b"%d\n" % value for value in (len(values) // 2, *values))
            if not window.startswith(spelt, begin):
                entry.flags |= REWRITE
        else:
            values = pax.sparse_map()
        entry.size = pax.sparse_size(stored)
        entry.target = fragments_of(values, entry.size)
        entry.data += in_data
        entry.headers_size += in_data
        if entry.stored != stored - in_data:
            raise ArchiveError("the sparse map does not fit the data")
        return True
