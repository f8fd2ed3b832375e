"""gzip, read and written: with zlib, or faster with the two libraries of the extra `fast`.

zlib-ng reads: the same bytes and the same errors as zlib. libdeflate writes: other bytes than zlib,
which any gunzip reads. It takes whole blocks and knows no dictionary, so each block is a member of
its own.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType

from squasher import extras

#: Bytes that are deflated as one, and how many of those before they may refer to.
_BLOCK = 1 << 20
_DICTIONARY = 1 << 15
_THREADS = os.cpu_count() or 1

#: No flags, time or name, and an unknown system: nothing but the content decides the bytes.
_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
#: What is written if nobody asks for a level, of each library. zlib's -1 is its 6; libdeflate's 5
#: makes about the same size of it (docs/speed.md).
DEFAULT_LEVEL = -1
_LIBDEFLATE_LEVEL = 5

#: Seconds of compressing from which it is said what the extra saves, and the share: docs/speed.md.
_LONG = 5.0
_SAVED = 0.6
#: The machines that the libraries of the extra are built for; elsewhere it is empty (setup.cfg).
_MACHINES = ("x86_64", "aarch64", "arm64", "AMD64")


def _zlib_ng() -> ModuleType | None:
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return None
    return zlib_ng


def _libdeflate() -> ModuleType | None:
    try:
        import deflate
    except ImportError:
        return None
    return deflate


class Inflate:
    """A decompressor of one member, of `library`, with the methods that bz2's and lzma's have."""

    def __init__(self, library: ModuleType) -> None:
        self._inflate = library.decompressobj(zlib.MAX_WBITS | 16)

    def decompress(self, data: bytes, most: int) -> bytes:
        """Return up to `most` bytes that come of `data` and of what was left of data before."""
        made: bytes = self._inflate.decompress(data or self._inflate.unconsumed_tail, most)
        return made

    @property
    def needs_input(self) -> bool:
        """Tell whether there is nothing left of the data."""
        return not self._inflate.unconsumed_tail

    @property
    def eof(self) -> bool:
        """Tell whether the member has ended."""
        return bool(self._inflate.eof)

    @property
    def unused_data(self) -> bytes:
        """What came behind the end."""
        behind: bytes = self._inflate.unused_data
        return behind


def decompressor() -> tuple[Callable[[], Inflate], type[Exception]]:
    """Return what makes a decompressor of a member, and the error that it raises for damage."""
    library = _zlib_ng() or zlib
    return partial(Inflate, library), library.error


def compress(level: int, windows: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `windows` as gzip, their blocks deflated side by side.

    The size of a block and not the number of threads decides the bytes. `level` is 0 to 9 of the
    library, or DEFAULT_LEVEL.
    """
    library = _libdeflate()
    if library is None:
        yield from _one_member(level, windows)
        return
    level = _LIBDEFLATE_LEVEL if level == DEFAULT_LEVEL else level
    some = False
    for member in _side_by_side(partial(_member, library, level, b) for b in _blocks(windows)):
        some = True
        yield member
    if not some:
        yield _member(library, level, b"")


def _member(library: ModuleType, level: int, block: bytes) -> bytes:
    """Return `block` as a gzip member; libdeflate itself notes the level in the head of it."""
    member: bytearray = library.gzip_compress(block, level)
    return _HEAD + member[len(_HEAD) :]


def _one_member(level: int, windows: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `windows` as one member, as pigz does.

    Each block starts with the end of the one before as its dictionary and ends on a byte. Source:
    RFC 1952; zlib manual, deflateSetDictionary and Z_SYNC_FLUSH.
    """
    crc = size = 0

    def pieces() -> Iterator[Callable[[], bytes]]:
        nonlocal crc, size
        before = b""
        for block in _blocks(windows):
            crc, size = zlib.crc32(block, crc), size + len(block)
            yield partial(_deflate, level, before, block)
            before = block[-_DICTIONARY:]

    yield _HEAD
    yield from _side_by_side(pieces())
    yield b"\x03\x00"  # an empty last block
    yield crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def _deflate(level: int, before: bytes, block: bytes) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=before)
    return deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)


def _side_by_side(tasks: Iterable[Callable[[], bytes]]) -> Iterator[bytes]:
    """Yield the results of `tasks` in their order, a few of them at work at once."""
    from concurrent.futures import Future, ThreadPoolExecutor  # start-up is quicker without

    pending: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="squasher-gzip") as pool:
        for task in tasks:
            pending.append(pool.submit(task))
            if len(pending) > 2 * _THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _blocks(windows: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of `windows` in blocks of one size, the last one excepted."""
    held: list[bytes] = []
    count = 0
    for window in windows:
        held.append(window)
        count += len(window)
        if count >= _BLOCK:
            data = b"".join(held)
            whole = count - count % _BLOCK
            for at in range(0, whole, _BLOCK):
                yield data[at : at + _BLOCK]
            held, count = [data[whole:]], count - whole
    if count:
        yield b"".join(held)


def version() -> str:
    """Return the library that writes, with its version.

    libdeflate does not tell its own; that of the package which brings it stands for it.
    """
    library = _libdeflate()
    if library is None:
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    return f"libdeflate (deflate {library.__version__})"


def advice(seconds: float) -> str:
    """Return what the extra would have saved of so many `seconds` of writing gzip, or "".

    Nothing is said of little, where the extra is there or is empty, and where Python's zlib is
    zlib-ng already, of which nothing was measured.
    """
    if seconds < _LONG or _libdeflate() is not None or "ng" in zlib.ZLIB_RUNTIME_VERSION:
        return ""
    if sys.implementation.name != "cpython" or _machine() not in _MACHINES:
        return ""
    saved = (
        f"compressing took {seconds:.1f} s; the extra `fast` saves about {seconds * _SAVED:.0f} s"
    )
    return f"{saved}: {extras.hint('fast')}"


def _machine() -> str:
    import platform

    return platform.machine()
