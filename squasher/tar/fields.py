"""The fields of a tar header: text, numbers, prefix, checksum; which of them are plain (M7)."""

from __future__ import annotations

import re
from collections.abc import Callable

from squasher.errors import ArchiveError
from squasher.tar.entry import LEFT, Owner
from squasher.tar.paths import show

#: A memo never outgrows this many values: memory stays bounded on hostile input.
MEMO_MAX = 4096
#: In nanoseconds. Engines show times outside 1970 to 2262 as 1970.
YEAR_2262 = 1 << 63
#: POSIX, of any version, and GNU; any other header is V7. Source: Go format.go getFormat.
USTAR, GNU = b"ustar\0", b"ustar  \0"
NO_SIZE = b"0" * 11

OCTAL = re.compile(rb"[0-7]+")
PLAIN = re.compile(rb" *[0-7]+[ \0]*|\0+")


def cut(field: bytes) -> bytes:
    """Return a text field up to its first NUL."""
    end = field.find(0)
    return field if end < 0 else field[:end]


def number(field: bytes) -> int:
    """Parse a numeric header field, octal or base-256. Source: Go strconv.go parseNumeric."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:  # two's complement, sign in the second bit
            value -= 1 << (8 * len(field) - 1)
        if not -(1 << 63) <= value < 1 << 63:
            raise ArchiveError("a number does not fit in 64 bits")
        return value
    text = cut(field.strip(b" \0"))
    if not text:
        return 0
    if not OCTAL.fullmatch(text):
        raise ArchiveError(f"{show(field)} is not an octal number")
    return int(text, 8)


def plain(field: bytes) -> int:
    """Parse a numeric header field that every reader reads alike; ArchiveError for any other."""
    if not PLAIN.fullmatch(field) and field[0] not in (0x80, 0xFF):
        raise ArchiveError(f"{show(field)} is not a plain number")
    return number(field)


def padded(size: int) -> int:
    """Return `size` with the padding up to a whole block."""
    return size + 511 & -512


class Memo(dict[bytes, int]):
    """Values of a raw field that recurs; each is parsed and checked once."""

    def __init__(self, parse: Callable[[bytes], int]) -> None:
        super().__init__()
        self.parse = parse

    def __missing__(self, raw: bytes) -> int:
        value = self.parse(raw)
        if len(self) < MEMO_MAX:
            self[raw] = value
        return value


class Owners(dict[bytes, Owner]):
    """(mode, uid, gid) of the 24 header bytes that hold them; ArchiveError if one is not plain."""

    def __missing__(self, raw: bytes) -> Owner:
        value = owner(plain(raw[:8]), plain(raw[8:16]), plain(raw[16:]))
        if len(self) < MEMO_MAX:
            self[raw] = value
        return value


class Prefixes(dict[bytes, bytes]):
    """The name prefix in the 255 header bytes from the magic on; ArchiveError if not plain."""

    def __missing__(self, raw: bytes) -> bytes:
        value = _plain_prefix(raw)
        if len(self) < MEMO_MAX:
            self[raw] = value
        return value


def owner(mode: int, uid: int, gid: int) -> Owner:
    """Return mode, uid and gid as engines set them.

    They mask the mode (docker writes S_IFMT bits into it) and pass owners to lchown(2) as 32 bits.
    """
    return mode & 0o7777, uid & LEFT, gid & LEFT


def device(major: int, minor: int) -> tuple[int, int]:
    """Return a device's numbers as it gets them: mknod(2) takes 12 and 20 bits of what is said."""
    return major & 0xFFF, minor & 0xFFFFF


def _plain_prefix(tail: bytes) -> bytes:
    """Return the prefix in header bytes 257 to 511 if every reader finds it; else ArchiveError."""
    prefix = tail[88:].rstrip(b"\0")
    most = 155 if tail.startswith(USTAR + b"00") else 0 if tail.startswith(GNU) else -1
    if len(prefix) > most or 0 in prefix:
        raise ArchiveError("a header of another form")
    plain(tail[72:80])
    plain(tail[80:88])
    return prefix


def _prefix(tail: bytes) -> bytes:
    """Return the prefix in header bytes 257 to 511, checking device numbers as Go does."""
    ustar = tail.startswith(USTAR)
    if not ustar and not tail.startswith(GNU):
        return b""  # V7 has neither prefix nor device numbers
    number(tail[72:80])
    number(tail[80:88])
    if ustar:
        if tail[251:255] == b"tar\0":  # star keeps times behind a shorter prefix
            number(tail[219:231])
            number(tail[231:243])
            return cut(tail[88:219])
        return cut(tail[88:243])
    # GNU has access and change time here. Only where they are no numbers is it the prefix that
    # Go before 1.8 wrote by mistake, and Go still reads.
    try:
        for field in (tail[88:100], tail[100:112]):
            if field[0]:
                number(field)
    except ArchiveError:
        prefix = cut(tail[88:243])
        return prefix if prefix.isascii() else b""
    return b""


def raw_name(block: bytes) -> bytes:
    """Return prefix and name of a header."""
    prefix, name = _prefix(block[257:]), cut(block[:100])
    return prefix + b"/" + name if prefix else name


def checksum(field: bytes) -> int:
    """Return what adler32 of an ASCII header must be, modulo 65536, for a plain checksum `field`.

    The low half of adler32 is 1 plus the sum of the bytes, modulo 65521, which no sum of ASCII
    reaches; tar sums the header with its checksum field as eight spaces. -1 if there is none.
    """
    if not PLAIN.fullmatch(field) or not any(field):
        return -1
    return min(number(field) + sum(field) - 8 * 32 + 1, 65536)


def common_time(raw: bytes) -> int:
    """Return a modification time in nanoseconds; ArchiveError also for one that needs a warning."""
    value = plain(raw) * 10**9
    if not 0 <= value < YEAR_2262:
        raise ArchiveError("an odd time")
    return value


def checksums(block: bytes) -> tuple[int, int]:
    """Return the checksum of a header, and as some old tars wrote it, over signed bytes."""
    rest = block[:148] + b" " * 8 + block[156:]
    return sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest)
