"""The members of an outer archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from squasher.errors import ArchiveError
from squasher.tar.entry import BLOCK, LINK, SYM, ZERO_BLOCK
from squasher.tar.fields import cut, padded
from squasher.tar.headers import HeaderParser, extension_size
from squasher.tar.paths import show


@dataclass(frozen=True, slots=True)
class Member:
    """A record of an outer archive: `offset` and `size` of its data, `target` of a link."""

    name: bytes
    kind: int
    offset: int
    size: int
    target: bytes


def is_header(block: bytes) -> bool:
    """Tell whether `block` is a tar header: 512 bytes with the checksum that they say."""
    try:
        HeaderParser(0).check(block)
    except ArchiveError:
        return False
    return len(block) == BLOCK


def members(read_at: Callable[[int, int], bytes], size: int) -> Iterator[Member]:
    """Yield the members of an outer archive of `size` bytes, seeking from header to header.

    O(members) reads. `read_at(offset, length)` returns fewer bytes only at the end. Raises
    ArchiveError for anything that is no sound tar.
    """
    headers = HeaderParser(0)
    at = 0
    while at < size:
        block = read_at(at, BLOCK)
        try:
            if len(block) < BLOCK:
                raise ArchiveError("truncated header")
            if block == ZERO_BLOCK:
                if read_at(at + BLOCK, BLOCK) not in (b"", ZERO_BLOCK):
                    raise ArchiveError("a single zero block inside the archive")
                return
            headers.check(block)
            length = extension_size(block)
            if length is not None:
                body = read_at(at + BLOCK, length)
                if len(body) < length:
                    raise ArchiveError("truncated header")
                headers.extension(block, body, at)
                at += BLOCK + padded(length)
                continue
            name, entry = headers.parse(block, at)
            if entry.data + entry.size > size:
                raise ArchiveError(f"truncated: its header says {entry.size} bytes")
            if headers.pax.sparse_version():
                raise ArchiveError("a sparse member; write the archive without --sparse")
        except ArchiveError as error:
            raise error.within(f"{show(cut(block[:100]))} at byte {at}") from None
        headers.reset()
        target = entry.target if entry.kind in (LINK, SYM) else b""
        yield Member(name, entry.kind, entry.data, entry.size, target)  # type: ignore[arg-type]
        at = entry.data + padded(entry.size)
