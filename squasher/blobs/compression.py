"""Compressed streams: told by their first bytes, never by a name or a media type.

Reading and writing are left to libraries: lzma and bz2 of the standard library, zstd of the
standard library since Python 3.14 and of its backport (the extra `zstd`) before, gzip as `gzipped`
has it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, BinaryIO

from squasher import extras
from squasher.blobs import gzipped
from squasher.errors import ArchiveError, UnsupportedImageError, UsageError
from squasher.tar.entry import BLOCK
from squasher.tar.members import is_header

#: Bytes that `sniff` wants to see.
HEAD = BLOCK

_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
}
#: Decompressed bytes at once; bounds memory on a bomb.
_WINDOW = 1 << 20
#: Bytes that are joined, if they come as less: a stream may have a member for each byte.
_JOINED = 64 << 10
#: Compressed bytes at once.
_INPUT = 256 << 10
#: The longest window, in bits, of one xz or zstd stream, whose header may ask for 4 GiB. It is what
#: engines take of zstd (`zstd --long=29`; klauspost/compress, MaxWindowSize); `xz -9` takes 64 MiB.
_WINDOW_BITS = 29
#: What xz takes beside its window.
_XZ_MORE = 1 << 20

_THREADS = os.cpu_count() or 1

#: What can be written, with the levels that the libraries know.
_LEVELS = {"gzip": range(10), "zstd": range(1, 20)}
_DEFAULT_LEVEL = {"gzip": gzipped.DEFAULT_LEVEL, "zstd": 3}


def sniff(head: bytes) -> str:
    """Return, by R1, the name of the compression that `head` begins with, "" for none.

    A skippable zstd frame (0x184D2A50 to 5F) begins a zstd stream too. Source: RFC 1952, RFC 8878.
    A tar begins with a name, which may look like any of these: it is told by its header, if `head`
    is `HEAD` bytes.
    """
    if is_header(head[:BLOCK]):
        return ""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return ""


def _zstd() -> ModuleType:
    """Return the zstd module. Raises UnsupportedImageError with the line that installs it."""
    try:
        if sys.version_info >= (3, 14):  # pragma: no cover  (scripts/test-forky)
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise UnsupportedImageError(
            "zstd needs the extra `zstd`", hint=extras.hint("zstd")
        ) from None
    return zstd


def decompress(name: str, raw: BinaryIO) -> Iterator[bytes]:
    """Yield the decompressed bytes of `raw`, all members or frames of it, up to 1 MiB at a time.

    Raises ArchiveError if it is damaged or ends early, UnsupportedImageError for zstd without its
    library and for more memory than a stream gets. Zeros between and behind streams of gzip and xz
    are padding. What else follows the last stream is an error, but for anything behind xz and
    bzip2, as their own programs have it.
    """
    held: list[bytes] = []
    size = 0
    for window in _streams(name, raw):
        held.append(window)
        size += len(window)
        if size >= _JOINED:
            yield held[0] if len(held) == 1 else b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _streams(name: str, raw: BinaryIO) -> Iterator[bytes]:
    """Yield what the members or frames hold; each may hold a byte."""
    # The libraries' file objects read a few kilobytes at a time: with two threads side by side that
    # takes twice as long as these large steps, which leave the interpreter alone.
    failures: tuple[type[Exception], ...] = (EOFError, OSError)
    new: Callable[[], Any]
    if name == "gzip":
        new, failure = gzipped.decompressor()
        failures += (failure,)
    elif name == "bzip2":
        import bz2  # only here: start-up is quicker without

        new = bz2.BZ2Decompressor
    elif name == "xz":
        import lzma

        new = partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, (1 << _WINDOW_BITS) + _XZ_MORE)
        failures += (lzma.LZMAError,)
    else:
        zstd = _zstd()
        failures += (zstd.ZstdError,)
        new = partial(
            zstd.ZstdDecompressor,
            options={zstd.DecompressionParameter.window_log_max: _WINDOW_BITS},
        )
    rest = raw.read(_INPUT)
    begun = False  # a stream before this one
    while rest:
        decoder = new()
        while not decoder.eof:
            try:
                window = decoder.decompress(rest, _WINDOW)
            except MemoryError:
                raise _greedy(name) from None
            except failures as error:
                if any(words in str(error) for words in _TOO_MUCH):
                    raise _greedy(name) from None
                if begun and name in ("xz", "bzip2"):
                    return
                raise ArchiveError(f"damaged {name} data: {error}") from None
            begun = False
            if window:
                yield window
            if decoder.needs_input and not decoder.eof:
                rest = raw.read(_INPUT)
                if not rest:
                    raise ArchiveError(f"damaged {name} data: it ends early")
            else:
                rest = b""
        begun = True
        rest = decoder.unused_data or raw.read(_INPUT)
        if name in ("gzip", "xz"):
            rest = _behind_padding(name, rest, raw)


def _behind_padding(name: str, rest: bytes, raw: BinaryIO) -> bytes:
    """Return what follows the zeros that `rest` begins with, b"" if nothing does.

    The padding of xz is made of fours; after any other nothing is read.
    Source: xz-file-format, 2.2, "Stream Padding"; gzip's own program.
    """
    count = 0
    while rest:
        left = rest.lstrip(b"\0")
        count += len(rest) - len(left)
        if left:
            return left if name == "gzip" or not count % 4 else b""
        rest = raw.read(_INPUT)
    return b""


#: What the libraries say when a stream asks for more than it may have, or than there is.
_TOO_MUCH = ("Memory usage limit", "too much memory", "not enough memory")


def _greedy(name: str) -> UnsupportedImageError:
    most = 1 << _WINDOW_BITS - 20
    return UnsupportedImageError(
        f"unpacking the {name} data takes more than {most} MiB of memory, or more than is free",
        hint="unpack it first (`xz -d`, `zstd -d --long=31`), or let an engine load and save it",
    )


@dataclass(frozen=True, slots=True)
class Compression:
    """How a new layer is stored: "" (not compressed), "gzip" or "zstd", and the level."""

    name: str
    level: int = 0

    @property
    def suffix(self) -> str:
        """The end of the layer's media type, as "+gzip"."""
        return f"+{self.name}" if self.name else ""


def parse_compression(text: str) -> Compression | None:
    """Return what `--compress` asks for; None for auto. Raises UsageError."""
    if text == "auto":
        return None
    if text == "none":
        return Compression("")
    name, colon, level = text.partition(":")
    levels = _LEVELS.get(name)
    if levels is None:
        raise UsageError(
            f"{text!r} is not known",
            where="--compress",
            hint="give auto, none, gzip or zstd[:LEVEL]",
        )
    if not colon:
        return Compression(name, _DEFAULT_LEVEL[name])
    if level not in map(str, levels):
        raise UsageError(
            f"{level!r} is not a level of {name}",
            where="--compress",
            hint=f"give {levels.start} to {levels.stop - 1}",
        )
    return Compression(name, int(level))


def default(name: str) -> Compression:
    """Return the compression `name` at its usual level."""
    return Compression(name, _DEFAULT_LEVEL.get(name, 0))


def compress(how: Compression, windows: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `windows` compressed. The same input and library give the same bytes.

    gzip without time or name and with the OS byte "unknown"; zstd always with workers, because
    their number does not change the bytes but their absence does. Raises UnsupportedImageError.
    """
    if not how.name:
        yield from windows
    elif how.name == "gzip":
        yield from gzipped.compress(how.level, windows)
    else:
        zstd = _zstd()
        parameters = zstd.CompressionParameter
        options = {
            parameters.compression_level: how.level,
            parameters.nb_workers: _THREADS,
            parameters.checksum_flag: 1,
        }
        compressor = zstd.ZstdCompressor(options=options)
        for window in windows:
            yield compressor.compress(window)
        yield compressor.flush()


def version(name: str) -> str:
    """Return the library that compresses `name`, with its version."""
    if name == "gzip":
        return gzipped.version()
    return f"zstd {_zstd().zstd_version}" if name == "zstd" else ""
