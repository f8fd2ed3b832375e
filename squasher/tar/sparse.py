"""The maps of sparse files."""

from __future__ import annotations

from squasher.errors import ArchiveError
from squasher.tar.entry import BLOCK, SPARSE_MAP_MAX, SparseMap
from squasher.tar.headers import decimal


def fragments_of(values: list[int], size: int) -> SparseMap:
    """Pair and check the numbers of a sparse map: in order, apart, inside `size`.

    The empty ones say nothing, but for the size, and a megabyte spells 260,000 of them.
    """
    fragments = tuple(zip(values[::2], values[1::2], strict=True))
    end = 0
    for offset, length in fragments:
        if offset < end or length < 0 or offset + length > size:
            raise ArchiveError("the sparse map is malformed")
        end = offset + length
    if size < 0:
        raise ArchiveError("negative size")
    return tuple(fragment for fragment in fragments if fragment[1])


def map_in_data(data: bytes) -> tuple[list[int], int] | None:
    """Read a sparse 1.0 map: decimal lines at the beginning of the data, in whole blocks.

    Returns the numbers and the length of the map, or None if `data` ends before it.
    """
    count: int | None = None
    values: list[int] = []
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
