"""Bytes that can be read again and again: parts of files, literals, runs of zeros.

A Content is what a blob holds, whether it lies in an archive, in a spool file or exists only as
a plan; nothing is read before it is asked for.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, Protocol

from squasher.blobs.streams import read_some
from squasher.errors import ArchiveError

#: Bytes read at once where content goes by as a stream.
WINDOW = 1 << 20
_ZEROS = bytes(WINDOW)
#: A part of up to so many bytes is read together with what lies behind it.
_SMALL = 64 << 10
_NEARBY = 256 << 10
_PAGE = 4 << 10


class File(Protocol):
    """Something with random access. Reading is safe from several threads at once."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only where the file ends."""
        ...

    @property
    def descriptor(self) -> int | None:
        """The open file descriptor behind it, if there is one."""
        ...

    def known_digest(self, offset: int, size: int) -> str | None:
        """Return the SHA-256 of a part as hex, if somebody has hashed it already."""
        ...

    def changed(self) -> bool:
        """Tell whether somebody has written to it since it was opened, as far as that shows."""
        ...


class DescriptorFile:
    """A seekable operating system file, read with pread(2): no shared position, no mmap.

    A file that shrinks while it is read gives short reads here; behind an mmap it gives SIGBUS.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream  # kept so that the descriptor stays open
        self.descriptor: int | None = stream.fileno()
        self._fd = stream.fileno()
        self._state = self._look()

    def _look(self) -> tuple[int, int]:
        """Return what tells that a file was written to; its ctime would tell of a new name, too."""
        found = os.fstat(self._fd)
        return found.st_size, found.st_mtime_ns

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only where the file ends."""
        data = os.pread(self._fd, size, offset)
        if len(data) == size or not data:
            return data
        pieces = [data]  # pread may return less, at the latest at 2 GiB
        got = len(data)
        while got < size and (data := os.pread(self._fd, size - got, offset + got)):
            pieces.append(data)
            got += len(data)
        return b"".join(pieces)

    def known_digest(self, offset: int, size: int) -> str | None:
        """Return None."""
        return None

    def changed(self) -> bool:
        """Tell whether its size or its time is another than when it was opened."""
        return self._look() != self._state


class StreamFile:
    """Any other seekable binary file object, such as io.BytesIO."""

    descriptor: int | None = None

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def read_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only where the file ends."""
        pieces = []
        with self._lock:
            self._stream.seek(offset)
            while size and (data := read_some(self._stream, size)):
                pieces.append(data)
                size -= len(data)
        return b"".join(pieces)

    def known_digest(self, offset: int, size: int) -> str | None:
        """Return None."""
        return None

    def changed(self) -> bool:
        """Return False: nobody can know."""
        return False


def open_file(stream: BinaryIO) -> File:
    """Return `stream`, which must be seekable, with random access."""
    # Other objects may have a descriptor too, but of what they decode, as gzip.open does.
    plain = isinstance(getattr(stream, "raw", stream), io.FileIO)
    return DescriptorFile(stream) if plain and hasattr(os, "pread") else StreamFile(stream)


def open_regular(path: str) -> BinaryIO:
    """Open a file of a folder that a stranger has filled.

    Anything but a regular file is refused and never opened: a FIFO would wait for a writer, and
    opening a device may do something. Raises OSError.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return open(path, "rb", opener=_never_waiting)


def _never_waiting(path: str, flags: int) -> int:
    """Open a file that may have been exchanged for a FIFO just now."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@dataclass(frozen=True, slots=True)
class Extent:
    """`size` bytes of `file` from `offset` on."""

    file: File
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Hole:
    """`size` zero bytes that lie nowhere."""

    size: int


Part = Extent | Hole | bytes


def part_size(part: Part) -> int:
    """Return how many bytes `part` stands for."""
    return len(part) if type(part) is bytes else part.size  # type: ignore[union-attr]


class Content:
    """Bytes in files or in memory, read as one: `size`, `read_at`, `windows`. Immutable."""

    __slots__ = ("_ends", "parts", "size")

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self._ends = list(accumulate(map(part_size, self.parts)))
        self.size = self._ends[-1] if self._ends else 0

    @property
    def known_digest(self) -> str | None:
        """The SHA-256 of all bytes in hex, if it is already known, else None."""
        part = self.parts[0] if len(self.parts) == 1 else None
        if not isinstance(part, Extent):
            return None
        return part.file.known_digest(part.offset, part.size)

    def check(self) -> None:
        """Raise ArchiveError if a file below has been written to since it was opened. O(parts)."""
        if any(file.changed() for file in {x.file for x in self.parts if isinstance(x, Extent)}):
            raise ArchiveError("the input changed while it was read")

    def slice(self, start: int, stop: int) -> Iterator[Part]:
        """Yield the parts that make up bytes `start` to `stop`. O(log parts + parts yielded)."""
        index = bisect_right(self._ends, start)
        while start < stop:
            part = self.parts[index]
            begin = start - (self._ends[index - 1] if index else 0)
            take = min(stop, self._ends[index]) - start
            if isinstance(part, Extent):
                yield Extent(part.file, part.offset + begin, take)
            elif isinstance(part, Hole):
                yield Hole(take)
            else:
                yield part[begin : begin + take]
            start += take
            index += 1

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes `offset` to `offset + size`, fewer only where the content ends.

        Raises ArchiveError if a file has become shorter than it was.
        """
        stop = min(offset + size, self.size)
        if len(self.parts) == 1:
            return _read(self.parts[0], offset, max(0, stop - offset))
        pieces = [_read(part, 0, part_size(part)) for part in self.slice(offset, stop)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def pieces(self, size: int = WINDOW) -> Iterator[bytes | Extent | Hole]:
        """Yield all of it in order: large parts as they are, small ones read and joined.

        Those come about `size` bytes at a time. Raises as `windows`.
        """
        held: list[bytes] = []
        count = 0
        cursors: dict[File, Cursor] = {}
        for part in self.parts:
            total = part_size(part)
            if total <= _SMALL:
                held.append(_read_small(part, total, cursors))
                count += total
                if count < size:
                    continue
            if held:
                yield b"".join(held)
                held, count = [], 0
            if total > _SMALL:
                yield part
        if held:
            yield b"".join(held)

    def windows(self, size: int = WINDOW) -> Iterator[bytes]:
        """Yield all bytes in order, about `size` at a time; small parts come together.

        Raises ArchiveError if a file has become shorter than it was.
        """
        for piece in self.pieces(size):
            total = part_size(piece)
            if type(piece) is bytes and total <= size + _SMALL:
                yield piece
            else:
                for at in range(0, total, size):
                    yield _read(piece, at, min(size, total - at))


class Cursor:
    """Reads pieces, mostly forwards, many small ones out of one window.

    The window grows while reading goes on near where it was, and is no larger than a page after a
    jump: pieces in any order cost about what they hold.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], limit: int = _NEARBY) -> None:
        self._read_at = read_at
        self._limit = limit
        self._take = _PAGE
        self._start = 0
        self._window = b""

    def get(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on, fewer only where the source ends."""
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._window):
            near = 0 <= begin <= len(self._window) + self._take
            self._take = min(self._take * 2, self._limit) if near else _PAGE
            self._start, begin = offset, 0
            self._window = self._read_at(offset, max(size, self._take))
        return self._window[begin : begin + size]


def _read_file(file: File, offset: int, size: int) -> bytes:
    try:
        return file.read_at(offset, size)
    except OSError as error:
        raise ArchiveError(f"cannot be read: {error.strerror or error}") from None


def _read_small(part: Part, size: int, cursors: dict[File, Cursor]) -> bytes:
    if type(part) is not Extent:
        return _read(part, 0, size)
    file = part.file
    if file not in cursors:
        cursors[file] = Cursor(lambda offset, count: _read_file(file, offset, count))
    data = cursors[file].get(part.offset, size)
    if len(data) != size:
        raise ArchiveError("the input became shorter while it was read")
    return data


def _read(part: Part, at: int, size: int) -> bytes:
    if isinstance(part, Extent):
        data = _read_file(part.file, part.offset + at, size)
        if len(data) != size:
            raise ArchiveError("the input became shorter while it was read")
        return data
    if isinstance(part, Hole):
        return _ZEROS[:size] if size <= len(_ZEROS) else bytes(size)
    return part[at : at + size]


class ContentReader(io.RawIOBase):
    """Content as a binary stream, for libraries that want one; `progress` hears of each piece."""

    def __init__(self, content: Content, progress: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self._content = content
        self._progress = progress
        self._at = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` from where the last read ended."""
        data = self._content.read_at(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        if self._progress is not None:
            self._progress(len(data))
        return len(data)
