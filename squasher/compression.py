"""Compressed streams: told by their first bytes, never by a name or a media type."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from squasher.errors import ArchiveError, UnsupportedImageError

_MAGIC = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
}
#: Decompressed bytes at once; bounds memory on a bomb.
_WINDOW = 1 << 20


def sniff(head: bytes) -> str:
    """Return the name of the compression that `head` begins with, "" for none.

    A skippable zstd frame (0x184D2A50 to 5F) begins a zstd stream too. Source: RFC 1952, RFC 8878.
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return ""


def decompress(name: str, raw: BinaryIO) -> Iterator[bytes]:
    """Yield the decompressed bytes of `raw`, all members of it, up to 1 MiB at a time.

    Raises ArchiveError if it is damaged or ends early, UnsupportedImageError for a compression
    that cannot be read here.
    """
    if name != "gzip":
        raise UnsupportedImageError(f"{name} compression is not supported")
    with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
        while window := _read(stream):
            yield window


def _read(stream: gzip.GzipFile) -> bytes:
    try:
        return stream.read(_WINDOW)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArchiveError(f"damaged gzip data: {error}") from None
