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
no size on what has no data, no link name on what is no link or on an extension, no slash behind the
name of a file; one PAX header or GNU's long names, none twice; in PAX no key twice, no value that
is empty, of several lines or no UTF-8 (but for xattrs), no sparse map of another form than GNU
tar's.

Sources: POSIX.1-2017 pax ("ustar Interchange Format", "pax Extended Header"), GNU tar manual
("Basic Tar Format", "Storing Sparse Files"), Go archive/tar reader.go and strconv.go.
"""

from __future__ import annotations

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
    SPECIAL_MAX,
    SYM,
    Entry,
    Target,
    Xattrs,
)
from squasher.tar.fields import (
    GNU,
    OCTAL,
    PLAIN,
    USTAR,
    Memo,
    Owners,
    Prefixes,
    checksum,
    checksums,
    common_time,
    cut,
    device,
    number,
    owner,
    plain,
    raw_name,
)
from squasher.tar.paths import show
from squasher.tar.pax import Pax, parse_pax

GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL = b"LKxg"
_EXTENSIONS = frozenset((GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL))


def extension_size(block: bytes) -> int | None:
    """Return how long the body of a PAX or GNU long-name header is; None for any other header.

    Raises ArchiveError beyond what engines read.
    """
    if block[156] not in _EXTENSIONS:
        return None
    length = number(block[124:136])
    if not 0 <= length <= SPECIAL_MAX:
        raise ArchiveError(f"an extended header of {length} bytes")
    return length


def _check_numbers(block: bytes) -> None:
    """Raise ArchiveError for a header with a field that is no number, also where nobody needs it.

    Source: Go reader.go readHeader, which reads them before it looks at the type.
    """
    for begin, end in ((100, 108), (108, 116), (116, 124), (136, 148)):
        number(block[begin:end])
    raw_name(block)


class HeaderParser:
    """Parses headers one by one; holds the extensions that wait for their header."""

    def __init__(self, layer: int) -> None:
        self.layer = layer
        self.owners = Owners()
        self.mtimes = Memo(common_time)
        self.prefixes = Prefixes()
        self.checksums = Memo(checksum)
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
        unsigned, signed = checksums(block)
        if not OCTAL.fullmatch(text) or int(text, 8) not in (unsigned, signed):
            raise ArchiveError("header checksum mismatch")
        if int(text, 8) != unsigned or not PLAIN.fullmatch(block[148:156]):
            self.odd = True

    def extension(self, block: bytes, body: bytes, start: int) -> None:
        """Take a PAX or GNU long-name header that begins at `start`, with its body."""
        flag = block[156]
        if flag == PAX_GLOBAL:
            _check_numbers(block)
            parse_pax(body)  # its values are never applied: no engine does
            self.reset()
            return
        if flag in self.seen or PAX in self.seen or (flag == PAX and self.seen):
            self.odd = True
        if MAGIC.match(block) or not self.is_plain(block):
            self.odd = True
            _check_numbers(block)
        if block[157]:  # a link name, which libarchive writes here and node's `tar` warns of
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
        xattrs: Xattrs = ()
        if pax := self.pax:
            name, link, uid, gid, size, mtime = pax.over(name, link, uid, gid, size, mtime)
            xattrs = pax.xattrs()
            odd = odd or not pax.is_plain_sparse() or (flag in DATALESS and size != 0)
        name = self.long_name or name
        link = self.long_link or link
        odd = odd or (bool(link) and flag not in (LINK, SYM))
        if flag == 0:
            flag = DIR if name.endswith(b"/") else REG
        if not REG <= flag <= FIFO:  # also where the name alone says what is meant
            raise ArchiveError(f"the tar header type {show(bytes([flag]))} is not supported")
        if size < 0 and flag not in DATALESS:
            raise ArchiveError("negative size")
        target: Target = link if flag in (LINK, SYM) else None
        if flag in (CHR, BLK):  # V7 headers have no place for device numbers
            v7 = not block.startswith((USTAR, GNU), 257)
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
        headers_size = data - self.start if self.start >= 0 else BLOCK
        entry = Entry(
            flag,
            self.layer,
            data,
            headers_size,
            0 if flag in DATALESS else size,
            attributes,
            mtime,
            xattrs,
            target,
            (REWRITE if odd else 0) | leaves,
        )
        return self._sparse_name(name), entry

    def _sparse_name(self, name: bytes) -> bytes:
        if self.pax.sparse_version():
            name = self.pax.get(b"GNU.sparse.name") or name
        if b"\0" in name:
            raise ArchiveError("NUL in the name")
        return name
