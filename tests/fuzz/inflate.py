"""Fuzz the reading of gzip: zlib-ng and zlib make the same of any bytes, in steps of any size.

Without the extra `fast` there is nothing to compare, and any bytes are a stream or our error.
"""

from __future__ import annotations

import gzip
import io
import zlib
from unittest import mock

from squasher.blobs import compression, gzipped
from squasher.blobs.compression import decompress
from squasher.errors import ArchiveError
from tests.fuzz.walk import require_ours
from tests.fuzz.wire import Dice

#: Bytes that are read at once, and bytes that come of them at once.
INPUTS = (256 << 10, 5, 300, 4096)
WINDOWS = (1 << 20, 161, 4096, 32768)
#: Bytes that are looked at of what comes out.
MOST = 256 << 10
HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def one(data: bytes) -> None:
    """Read one input: three bytes of choices, then a stream, or what one is made of."""
    dice = Dice(data)
    step, window = dice(INPUTS), dice(WINDOWS)
    how = dice(("stream", "deflated", "content"))
    stream = dice.rest()
    if how == "deflated":
        stream = with_sums(stream)
    elif how == "content":
        half = len(stream) // 2
        stream = gzip.compress(stream[:half], 1, mtime=0) + gzip.compress(stream[half:], mtime=0)
    compare(stream, step, window)


def compare(stream: bytes, step: int = 256 << 10, window: int = 1 << 20) -> bytes | str:
    """Require the same of both libraries, and return it: the content, or the error in words."""
    with (
        mock.patch.object(compression, "_INPUT", step),
        mock.patch.object(compression, "_WINDOW", window),
    ):
        found = answer(stream)
        with mock.patch.object(gzipped, "_zlib_ng", return_value=None):
            expected = answer(stream)
    assert found == expected
    return found


def answer(stream: bytes) -> bytes | str:
    """Return what comes out of a stream, as far as we look, or the error in words."""
    content = bytearray()
    try:
        for window in decompress("gzip", io.BytesIO(stream)):
            content += window
            if len(content) > MOST:
                break
    except ArchiveError as error:
        require_ours(error, 3)
        return str(error)
    return bytes(content)


def with_sums(deflated: bytes) -> bytes:
    """Return such data as a member, with the sums of what zlib makes of it, if anything."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(deflated, 4 * MOST)
    except zlib.error:
        return HEAD + deflated
    used = deflated[: len(deflated) - len(inflate.unused_data)]
    sums = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return HEAD + used + sums + inflate.unused_data
