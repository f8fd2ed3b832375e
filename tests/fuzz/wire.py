r"""What the fuzzers' inputs look like: tars made short, and put right where mutation breaks them.

A tar is mostly zeros. In an input `\0 n` stands for n zeros, `\0 \0` for zeros up to the end of the
header field, `\0 \xff` up to the end of the block: a header takes some 80 bytes, and a name that
grows moves nothing behind it. Digests, checksums and the lengths of PAX records are computed, so
that mutations get past them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeVar

from tests.builders import BLOCK, pax_record

T = TypeVar("T")

#: Where the fields of a header end. Source: POSIX pax, "ustar Interchange Format".
FIELDS = (100, 108, 116, 124, 136, 148, 156, 157, 257, 265, 297, 329, 337, 345, 500, 512)
_FIELD, _BLOCK = 0, 255


class Dice:
    """Chooses by the bytes of an input, one each; none left is the first option."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)

    def __call__(self, options: Sequence[T], /) -> T:
        """Return one of at most 256 options."""
        return options[next(self._bytes, 0) % len(options)]

    def rest(self) -> bytes:
        """Return the bytes that are left."""
        return bytes(self._bytes)


def expand(short: bytes, limit: int = 1 << 20) -> bytes:
    """Return the tar that `short` stands for, cut at `limit`."""
    tar = bytearray()
    first, *pieces = short.split(b"\0")
    tar += first
    skip = False
    for piece in pieces:
        if skip:  # this zero was itself a count
            skip = False
            tar += piece
            continue
        count = piece[0] if piece else _FIELD
        if count == _FIELD:
            tar += bytes(_to_field(len(tar)))
            skip = True
        else:
            tar += bytes(-len(tar) % BLOCK if count == _BLOCK else count)
            tar += piece[1:]
        if len(tar) > limit:
            break
    return bytes(tar[:limit])


def shorten(tar: bytes) -> bytes:
    """Return an input that expands to `tar`."""
    parts = []
    for found in re.finditer(rb"\0+|[^\0]+", tar):
        at, left = found.start(), found.end() - found.start()
        if found[0][0]:
            parts.append(found[0])
            continue
        while left:
            field, block = _to_field(at), BLOCK - at % BLOCK
            if left >= block:
                parts.append(bytes((0, _BLOCK)) if at % BLOCK else b"\0\xfe\0\xfe\0\4")
                count = block
            elif left >= field:
                parts.append(bytes((0, _FIELD)))
                count = field
            else:
                parts.append(bytes((0, left)))
                count = left
            at, left = at + count, left - count
    return b"".join(parts)


def _to_field(at: int) -> int:
    """Return how many bytes the header field at `at` has left."""
    at %= BLOCK
    return FIELDS[bisect_right(FIELDS, at)] - at


def mended(tar: bytes, records: bool = True) -> bytes:
    """Return `tar` with the checksum of every header put right, also the lengths of `records`."""
    parts: list[bytes] = []
    at = 0
    while at + BLOCK <= len(tar):
        block = bytearray(tar[at : at + BLOCK])
        at += BLOCK
        if not any(block):
            parts.append(bytes(block))
            continue
        size = _size(block)
        body = tar[at : at + size + -size % BLOCK]
        at += size + -size % BLOCK
        if records and block[156] in b"xg":
            texts = [line.partition(b" ")[2] for line in body.rstrip(b"\0").split(b"\n") if line]
            body = b"".join(pax_record(*_key_value(text)) for text in texts)
            block[124:136] = b"%011o\0" % len(body)
            body += bytes(-len(body) % BLOCK)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        parts += (bytes(block), body)
    return b"".join((*parts, tar[at:]))


def _key_value(text: bytes) -> tuple[bytes, bytes]:
    key, _, value = text.partition(b"=")
    return key, value


def _size(block: bytearray) -> int:
    digits = bytes(block[124:136]).strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0
