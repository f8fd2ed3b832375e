"""One tar header, in every dialect: numbers, PAX records, long names, what is plain (M7).

R2: the reader accepts what Go's archive/tar accepts, because that is what every engine reads with:
ustar, GNU (long names, base-256 numbers) and PAX (path, linkpath, size, owner, mtime, xattrs,
sparse 0.0, 0.1 and 1.0), names as bytes. It differs from CPython's `tarfile` where that loses or
invents data: a bad checksum or a lone zero block is an error, not the end; global headers are
dropped; the last of several PAX headers counts; GNU times are no prefix.

Others read layers too: scanners, `tar` itself. A header passes through to a new layer only if it is
plain, so that all of them read it alike; any other is written anew. Plain is: the magic of POSIX
with nothing behind the prefix, or GNU's with nothing behind the device numbers; each number octal,
nothing but NULs, or base-256 led by 0x80 or 0xff; the checksum of unsigned bytes; typeflag not NUL;
no size on what has no data, no link name on what is no link, no slash behind the name of a file;
one PAX header or GNU's long names, none twice; in PAX no key twice, no value that is empty, of
several lines or no UTF-8 (but for xattrs), no sparse map of another form than GNU tar's.

Sources: POSIX.1-2017 pax ("ustar Interchange Format", "pax Extended Header"), GNU tar manual
("Basic Tar Format", "Storing Sparse Files"), Go archive/tar reader.go and strconv.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from zlib import adler32

from squasher.errors import ArchiveError
from squasher.tar.entry import (
    BLK,
    BLOCK,
    CHR,
    DATALESS,
    DIR,
    FIFO,
    LEAVES,
    LEFT,
    LINK,
    MAGIC,
    REG,
    REWRITE,
    SYM,
    XATTR,
    XATTRS_MAX,
    Entry,
    Owner,
    Target,
    Xattrs,
)
from squasher.tar.paths import show

#: A memo never outgrows this many values: memory stays bounded on hostile input.
MEMO_MAX = 4096
GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL = b"LKxg"


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
    if not _OCTAL.fullmatch(text):
        raise ArchiveError(f"{show(field)} is not an octal number")
    return int(text, 8)


def plain(field: bytes) -> int:
    """Parse a numeric header field that every reader reads alike; ArchiveError for any other."""
    if not _PLAIN.fullmatch(field) and field[0] not in (0x80, 0xFF):
        raise ArchiveError(f"{show(field)} is no plain number")
    return number(field)


#: In nanoseconds. Engines show times outside 1970 to 2262 as 1970.
YEAR_2262 = 1 << 63
#: POSIX, of any version, and GNU; any other header is V7. Source: Go format.go getFormat.
_USTAR, _GNU = b"ustar\0", b"ustar  \0"
NO_SIZE = b"0" * 11

_OCTAL = re.compile(rb"[0-7]+")
_PLAIN = re.compile(rb" *[0-7]+[ \0]*|\0+")
#: As Go's ParseInt has it: any number of zeros in front.
_DECIMAL = re.compile(rb"([+-]?)0*([0-9]{1,19})")
_TIME = re.compile(rb"([+-]?)0*([0-9]{1,19})(?:\.([0-9]*))?")
_PLAIN_DECIMAL = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_PLAIN_TIME = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]{1,9})?")


def decimal(text: bytes) -> int:
    """Parse a number of a PAX record. Raises ArchiveError."""
    match = _DECIMAL.fullmatch(text)
    if not match or not -(1 << 63) <= int(match[1] + match[2]) < 1 << 63:
        raise ArchiveError(f"{show(text)} is not a decimal number")
    return int(match[1] + match[2])


def _time(text: bytes) -> int:
    """Parse a PAX time to nanoseconds; more than nine digits are cut off, as Go does."""
    match = _TIME.fullmatch(text)
    if not match or not -(1 << 63) <= int(match[1] + match[2]) < 1 << 63:
        raise ArchiveError(f"{show(text)} is not a valid time")
    sign, seconds, fraction = match.groups()
    value = int(seconds) * 10**9 + int((fraction or b"")[:9].ljust(9, b"0"))
    return -value if sign == b"-" else value


class Pax(dict[bytes, bytes]):
    """The records of a PAX header; `plain` if every reader makes the same of them."""

    plain = True


def parse_pax(body: bytes) -> Pax:
    """Return the records of a PAX header; a repeated key counts last. Source: Go parsePAX.

    Sparse 0.0 repeats `GNU.sparse.offset` and `GNU.sparse.numbytes`; they come out as one
    `GNU.sparse.map`, as in 0.1. Raises ArchiveError for a record that lies about its length.
    """
    records = Pax()
    records.plain = bool(body)
    sparse: list[bytes] = []
    at = 0
    while at < len(body):
        space = body.find(b" ", at)
        digits = body[at : max(at, space)]
        try:
            length = decimal(digits)
        except ArchiveError:
            length = 0
        if not max(5, len(digits) + 2) <= length <= len(body) - at:
            raise ArchiveError("a PAX record lies about its length")
        record = body[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if not key or not equals or record[-1:] != b"\n":
            raise ArchiveError("a PAX record is malformed")
        if b"\0" in (value if key in (b"path", b"linkpath", b"uname", b"gname") else key):
            raise ArchiveError(f"NUL in the PAX record {show(key)}")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            expected = b"GNU.sparse.numbytes" if len(sparse) % 2 else b"GNU.sparse.offset"
            if key != expected or b"," in value:
                raise ArchiveError("the sparse map is malformed")
            sparse.append(value)
        else:
            if key in records or not _PLAIN_DECIMAL.fullmatch(digits) or not _is_plain(key, value):
                records.plain = False
            records[key] = value
        at += length
    if sparse:
        records.plain = records.plain and b"GNU.sparse.map" not in records
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records


def _is_plain(key: bytes, value: bytes) -> bool:
    """Tell whether every reader takes a PAX record alike."""
    if key in (b"SCHILY.realsize", b"SUN.holesdata"):
        return False
    if key in (b"mtime", b"atime", b"ctime"):
        return _PLAIN_TIME.fullmatch(value) is not None
    if key in (b"uid", b"gid", b"size") or key in _SPARSE_NUMBERS:
        return _PLAIN_DECIMAL.fullmatch(value) is not None
    if key.startswith(XATTR):
        return True
    if key == b"GNU.sparse.name" or (key in (b"path", b"linkpath") and len(value) > 100):
        return bool(value)  # no header has room for it
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return bool(value) and b"\n" not in value  # node's `tar` takes each line for a record


_SPARSE = b"GNU.sparse."
_SPARSE_NUMBERS = frozenset(
    _SPARSE + name for name in (b"major", b"minor", b"size", b"realsize", b"numblocks")
)


class _Memo(dict[bytes, int]):
    """Values of a raw field that recurs; each is parsed and checked once."""

    def __init__(self, parse: Callable[[bytes], int]) -> None:
        super().__init__()
        self.parse = parse

    def __missing__(self, raw: bytes) -> int:
        value = self.parse(raw)
        if len(self) < MEMO_MAX:
            self[raw] = value
        return value


class _Owners(dict[bytes, Owner]):
    """(mode, uid, gid) of the 24 header bytes that hold them; ArchiveError if one is not plain."""

    def __missing__(self, raw: bytes) -> Owner:
        value = owner(plain(raw[:8]), plain(raw[8:16]), plain(raw[16:]))
        if len(self) < MEMO_MAX:
            self[raw] = value
        return value


class _Prefixes(dict[bytes, bytes]):
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
    most = 155 if tail.startswith(_USTAR + b"00") else 0 if tail.startswith(_GNU) else -1
    if len(prefix) > most or 0 in prefix:
        raise ArchiveError("a header of another form")
    plain(tail[72:80])
    plain(tail[80:88])
    return prefix


def _prefix(tail: bytes) -> bytes:
    """Return the prefix in header bytes 257 to 511, checking device numbers as Go does."""
    ustar = tail.startswith(_USTAR)
    if not ustar and not tail.startswith(_GNU):
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


def _checksum(field: bytes) -> int:
    """Return what adler32 of an ASCII header must be, modulo 65536, for a plain checksum `field`.

    The low half of adler32 is 1 plus the sum of the bytes, modulo 65521, which no sum of ASCII
    reaches; tar sums the header with its checksum field as eight spaces. -1 if there is none.
    """
    if not _PLAIN.fullmatch(field) or not any(field):
        return -1
    return min(number(field) + sum(field) - 8 * 32 + 1, 65536)


def _common_time(raw: bytes) -> int:
    """Return a modification time in nanoseconds; ArchiveError also for one that needs a warning."""
    value = plain(raw) * 10**9
    if not 0 <= value < YEAR_2262:
        raise ArchiveError("an odd time")
    return value


def _checksums(block: bytes) -> tuple[int, int]:
    """Return the checksum of a header, and as some old tars wrote it, over signed bytes."""
    rest = block[:148] + b" " * 8 + block[156:]
    return sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest)


class HeaderParser:
    """Parses headers one by one; holds the extensions that wait for their header."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.owners = _Owners()
        self.mtimes = _Memo(_common_time)
        self.prefixes = _Prefixes()
        self.checksums = _Memo(_checksum)
        self.reset()

    def reset(self) -> None:
        """Forget the extensions: their header has come, or a global header cut them off."""
        self.start = -1
        self.seen: frozenset[int] = frozenset()  # their typeflags
        self.pax = Pax()
        self.long_name = b""
        self.long_link = b""
        self.odd = False

    def check(self, block: bytes) -> None:
        """Raise ArchiveError unless the checksum of `block` holds, unsigned or signed.

        Notes whether it is a plain one.
        """
        if block.isascii() and adler32(block) & 0xFFFF == self.checksums[block[148:156]]:
            return
        text = cut(block[148:156].strip(b" \0"))
        unsigned, signed = _checksums(block)
        if not _OCTAL.fullmatch(text) or int(text, 8) not in (unsigned, signed):
            raise ArchiveError("header checksum mismatch")
        if int(text, 8) != unsigned or not _PLAIN.fullmatch(block[148:156]):
            self.odd = True

    def extension(self, block: bytes, body: bytes, start: int) -> None:
        """Take a PAX or GNU long-name header that begins at `start`, with its body."""
        flag = block[156]
        if flag == PAX_GLOBAL:
            parse_pax(body)  # its values are never applied: no engine does
            self.reset()
            return
        if flag in self.seen or PAX in self.seen or (flag == PAX and self.seen):
            self.odd = True
        if MAGIC.match(block) or not self.is_plain(block):
            self.odd = True
        self.seen |= {flag}
        if self.start < 0:
            self.start = start
        if flag == PAX:
            self.pax = parse_pax(body)  # the last one counts
            self.odd = self.odd or not self.pax.plain
            return
        name = body.rstrip(b"\0")
        if not name or 0 in name:
            self.odd = True
        if flag == GNU_LONG_NAME:
            self.long_name = cut(body)
        else:
            self.long_link = cut(body)

    def is_plain(self, block: bytes) -> bool:
        """Tell whether numbers and magic of a header are plain, and its size is that of data."""
        try:
            self.owners[block[100:124]]
            self.prefixes[block[257:]]
            plain(block[136:148])
            return plain(block[124:136]) == 0 or block[156] not in DATALESS
        except ArchiveError:
            return False

    def parse(self, block: bytes, offset: int) -> tuple[bytes, Entry]:
        """Return raw name and entry of the header `block` at `offset`; its checksum holds."""
        mode, uid, gid = number(block[100:108]), number(block[108:116]), number(block[116:124])
        size, mtime = number(block[124:136]), number(block[136:148]) * 10**9
        flag = block[156]
        if size < 0 and flag not in DATALESS:  # whatever PAX says, as Go has it
            raise ArchiveError("negative size")
        odd = self.odd or not flag or not self.is_plain(block)
        name, link = raw_name(block), cut(block[157:257])
        pax = self.pax
        xattrs: Xattrs = ()
        if pax:
            # An empty value means that the key is absent, except for xattrs.
            name = pax.get(b"path") or name
            link = pax.get(b"linkpath") or link
            uid = decimal(pax[b"uid"]) if pax.get(b"uid") else uid
            gid = decimal(pax[b"gid"]) if pax.get(b"gid") else gid
            size = decimal(pax[b"size"]) if pax.get(b"size") else size
            mtime = _time(pax[b"mtime"]) if pax.get(b"mtime") else mtime
            for key in (b"atime", b"ctime"):
                if pax.get(key):
                    _time(pax[key])
            xattrs = tuple(
                sorted((k[len(XATTR) :], v) for k, v in pax.items() if k.startswith(XATTR))
            )
            if len(xattrs) > XATTRS_MAX:
                raise ArchiveError(f"more than {XATTRS_MAX} extended attributes")
            odd = odd or not self._is_plain_sparse() or (flag in DATALESS and size != 0)
        name = self.long_name or name
        link = self.long_link or link
        odd = odd or (bool(link) and flag not in (LINK, SYM))
        if flag == 0:
            flag = DIR if name.endswith(b"/") else REG
        if not REG <= flag <= FIFO:  # also where the name alone says what is meant
            raise ArchiveError(f"unhandled tar header type {show(bytes([flag]))}")
        if size < 0 and flag not in DATALESS:
            raise ArchiveError("negative size")
        target: Target = link if flag in (LINK, SYM) else None
        if flag in (CHR, BLK):  # V7 headers have no place for device numbers
            v7 = not block.startswith((_USTAR, _GNU), 257)
            said = (0, 0) if v7 else (number(block[329:337]), number(block[337:345]))
            target = device(*said)
            odd = odd or said != target
        attributes = owner(mode, uid, gid)
        leaves = 0
        if LEFT in attributes and flag != LINK:  # what is new is root's, and says so from here on
            odd = True
            leaves = LEAVES if attributes[2] == LEFT else 0
            attributes = owner(mode, *(0 if x == LEFT else x for x in attributes[1:]))
        data = offset + BLOCK
        lead = data - self.start if self.start >= 0 else BLOCK
        entry = Entry(
            flag,
            self.layer,
            data,
            lead,
            0 if flag in DATALESS else size,
            attributes,
            mtime,
            xattrs,
            target,
            (REWRITE if odd else 0) | leaves,
        )
        return self._sparse_name(name), entry

    def _sparse_name(self, name: bytes) -> bytes:
        name = (self.pax.get(b"GNU.sparse.name") or name) if self.sparse_version() else name
        if b"\0" in name:
            raise ArchiveError("NUL in the name")
        return name

    def sparse_version(self) -> str:
        """Return "0", "1" or "": how a PAX sparse file keeps its map, if this is one.

        Source: Go reader.go readGNUSparsePAXHeaders.
        """
        major, minor = self.pax.get(b"GNU.sparse.major"), self.pax.get(b"GNU.sparse.minor")
        if major == b"0" and minor in (b"0", b"1"):
            return "0"
        if (major, minor) == (b"1", b"0"):
            return "1"
        if major or minor:
            return ""
        return "0" if self.pax.get(b"GNU.sparse.map") else ""

    def _is_plain_sparse(self) -> bool:
        """Tell whether the keys of a sparse file, if there are any, are those of GNU tar."""
        keys = {key[len(_SPARSE) :] for key in self.pax if key.startswith(_SPARSE)}
        if not keys:
            return True
        if self.sparse_version() == "1":
            return keys == {b"major", b"minor", b"name", b"realsize"}
        numbered = {b"major", b"minor"} if b"major" in keys else set()
        return keys - {b"name"} == {b"size", b"numblocks", b"map"} | numbered

    def sparse_size(self, size: int) -> int:
        """Return the size of a sparse file with its holes."""
        text = self.pax.get(b"GNU.sparse.size") or self.pax.get(b"GNU.sparse.realsize")
        return decimal(text) if text else size

    def sparse_map(self) -> list[int]:
        """Return offsets and lengths of a 0.0 or 0.1 map, alternating."""
        text = self.pax.get(b"GNU.sparse.map", b"")
        values = [decimal(part) for part in text.split(b",")] if text else []
        if decimal(self.pax.get(b"GNU.sparse.numblocks", b"")) * 2 != len(values):
            raise ArchiveError("the sparse map is malformed")
        return values


def padded(size: int) -> int:
    """Return `size` with the padding up to a whole block."""
    return size + 511 & -512


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def ustar_header(
    name: bytes,
    kind: int,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    seconds: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Return one block of header in ustar."""
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, seconds),
            b" " * 8,
            bytes((kind,)),
            link.ljust(100, b"\0"),
            b"ustar\00000".ljust(72, b"\0"),
            b"%07o\0%07o\0" % device,
            bytes(167),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
