"""The 512-byte walk over a layer or an outer archive: every tar dialect, and the headers we write.

The reader accepts what Go's archive/tar accepts, because that is what every engine reads with:
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

The hot loop is `LayerWalk.feed`. It parses the common header in place and leaves the rest to
`_Headers`, which knows all the rules and is also what the outer archive is read with.

Sources: POSIX.1-2017 pax ("ustar Interchange Format", "pax Extended Header"), GNU tar manual
("Basic Tar Format", "Storing Sparse Files"), Go archive/tar reader.go and strconv.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from zlib import adler32

from squasher import paths
from squasher.errors import ArchiveError
from squasher.paths import Meaning, show

BLOCK = 512
ZERO_BLOCK = bytes(BLOCK)

#: Go's limit for the body of a PAX or long-name header (maxSpecialFileSize, CVE-2022-2879).
SPECIAL_MAX = 1 << 20
#: The map of a sparse file is held in memory; the same bound keeps it small.
SPARSE_MAP_MAX = 1 << 20
#: First bytes for which engines take a stream for something else than a tar: bzip2, gzip, xz, zstd
#: and its skippable frames, squashfs. A tar begins with a name, so the image chooses them.
MAGIC = re.compile(rb"BZh|\x1f\x8b\x08|\xfd7zXZ\0|\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18|hsqs")
#: Extended attributes of one entry. Linux lists no more than 64 KiB of names (XATTR_LIST_MAX), ext4
#: holds 4 KiB in all; hard links add theirs to those of the file, each time.
XATTRS_MAX = 1000
#: An image may make this many bytes of headers and folders that it does not spell out, and beyond
#: that so many times its own bytes. Real layers imply at most about three folders an entry; without
#: a bound, 5 KB can spell a path of 2,000 folders that take megabytes.
IMPLIED_FREE = 64 << 20
IMPLIED_FACTOR = 8
#: A memo never outgrows this many values: memory stays bounded on hostile input.
MEMO_MAX = 4096

REG, LINK, SYM, CHR, BLK, DIR, FIFO = b"0123456"
_DATALESS = frozenset((LINK, SYM, CHR, BLK, DIR, FIFO))
_GNU_LONG_NAME, _GNU_LONG_LINK, _PAX, _PAX_GLOBAL = b"LKxg"

XATTR = b"SCHILY.xattr."
DEFAULT_ACL = b"system.posix_acl_default"

#: The header of this entry cannot pass through: its name has to change, or it is not plain.
REWRITE = 1
#: A default ACL of its directory applied to this entry when its own layer was unpacked.
INHERITS = 2
#: Engines differ on what a hard link has made of this file's attributes.
DISPUTED = 4
#: The root with a name that begins with a slash: podman takes its attributes, and ignores `./`.
ABSOLUTE = 8
#: The header leaves the group to the kernel, which takes that of a setgid directory, or root's.
LEAVES = 16
#: An owner of 32 ones: lchown(2) leaves what the file has. Hard links alone hold it.
LEFT = 0xFFFFFFFF

Owner = tuple[int, int, int]
Xattrs = tuple[tuple[bytes, bytes], ...]
SparseMap = tuple[tuple[int, int], ...]
Target = bytes | tuple[int, int] | SparseMap | None


class Entry:
    """One record of a layer: what it puts at its path, and where its bytes lie.

    kind     typeflag, NUL resolved to REG or DIR
    layer    index of the layer whose header last set the attributes
    source   index of the layer that holds the bytes
    data     offset of the data in that layer (uncompressed); the header ends there
    lead     bytes of header before `data`, extensions included
    size     bytes of content as a reader of the file sees them
    owner    (mode, uid, gid), mode without file type bits
    mtime    nanoseconds since 1970
    xattrs   sorted (name, value) pairs
    target   link name; (major, minor) of a device; the fragments of a sparse file; else None
    flags    REWRITE, INHERITS, DISPUTED, ABSOLUTE, LEAVES

    Slots and no dataclass: a layer can have a million of these.
    """

    __slots__ = (
        "data",
        "flags",
        "kind",
        "layer",
        "lead",
        "mtime",
        "owner",
        "size",
        "source",
        "target",
        "xattrs",
    )

    def __init__(
        self,
        kind: int,
        layer: int,
        data: int,
        lead: int,
        size: int,
        owner: Owner,
        mtime: int,
        xattrs: Xattrs = (),
        target: Target = None,
        flags: int = 0,
    ) -> None:
        self.kind = kind
        self.layer = layer
        self.source = layer
        self.data = data
        self.lead = lead
        self.size = size
        self.owner = owner
        self.mtime = mtime
        self.xattrs = xattrs
        self.target = target
        self.flags = flags

    @property
    def sparse(self) -> SparseMap | None:
        """The (offset, length) fragments of a sparse file; None for any other entry."""
        return self.target if self.kind == REG and self.target is not None else None  # type: ignore[return-value]

    @property
    def stored(self) -> int:
        """Bytes of data as stored, without padding."""
        if self.kind != REG:
            return 0
        if self.target is not None:
            return sum(length for _, length in self.target)  # type: ignore[misc]
        return self.size

    def restamped(self, layer: int, owner: Owner, mtime: int, xattrs: Xattrs) -> Entry:
        """Return the same content under new attributes, set by `layer`."""
        new = Entry(
            self.kind, layer, self.data, self.lead, self.size, owner, mtime, xattrs, self.target
        )
        new.source = self.source
        new.flags = self.flags
        return new

    def same_attributes(self, other: Entry) -> bool:
        """Tell whether both headers give the same inode attributes, content apart.

        Symlinks compare without their mode: the kernel ignores it. Sparse maps do not count.
        """
        return (
            self.kind == other.kind
            and self.mtime == other.mtime
            and self.size == other.size
            and self.xattrs == other.xattrs
            and (
                self.owner == other.owner
                or (self.kind == SYM and self.owner[1:] == other.owner[1:])
            )
            and (self.kind == REG or self.target == other.target)
        )


#: Two files, of an upper and of a lower layer.
Pair = tuple[Entry, Entry]


@dataclass(frozen=True, slots=True)
class Dispute:
    """Something on which engines disagree about the unsquashed image."""

    kind: str
    layer: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Hidden:
    """A whiteout (`path` is what it removes) or an opaque whiteout (`path` is what it empties)."""

    path: bytes
    offset: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Changeset:
    """What one layer says, in archive order: `entries[i]` goes to `names[i]` in `parents[i]`.

    Neighbours in one directory share the object in `parents`, and the tree takes the objects in
    `names` for its keys: an entry is not charged for its path.
    """

    layer: int
    size: int
    parents: list[bytes]
    names: list[bytes]
    entries: list[Entry]
    whiteouts: list[Hidden]
    opaques: list[Hidden]
    warnings: list[Dispute]

    @property
    def paths(self) -> Iterator[bytes]:
        """The path of each entry."""
        return map(paths.join, self.parents, self.names)

    @property
    def holes(self) -> int:
        """Bytes that unpacking makes of the holes in sparse files. O(entries)."""
        return sum(max(0, e.size - e.stored) for e in self.entries if e.sparse is not None)

    def repeated(self, layer: int) -> Changeset:
        """Return what the same bytes say as another layer; they lie where they lay. O(entries)."""
        entries = [e.restamped(layer, e.owner, e.mtime, e.xattrs) for e in self.entries]
        warnings = [replace(warning, layer=layer) for warning in self.warnings]
        return replace(self, layer=layer, entries=entries, warnings=warnings)

    @property
    def count(self) -> int:
        """Number of entries and whiteouts."""
        return len(self.entries) + len(self.whiteouts) + len(self.opaques)


# ---------------------------------------------------------------- numbers and records


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
        raise ArchiveError(f"{show(field)} is no octal number")
    return int(text, 8)


def plain(field: bytes) -> int:
    """Parse a numeric header field that every reader reads alike; ArchiveError for any other."""
    if not _PLAIN.fullmatch(field) and field[0] not in (0x80, 0xFF):
        raise ArchiveError(f"{show(field)} is no plain number")
    return number(field)


#: In nanoseconds. Engines show times outside 1970 to 2262 as 1970.
_YEAR_2262 = 1 << 63
#: POSIX, of any version, and GNU; any other header is V7. Source: Go format.go getFormat.
_USTAR, _GNU = b"ustar\0", b"ustar  \0"
_NO_SIZE = b"0" * 11
#: A path that begins so may not be clean.
_DOUBTFUL = (b".", b"/", b"")

_OCTAL = re.compile(rb"[0-7]+")
_PLAIN = re.compile(rb" *[0-7]+[ \0]*|\0+")
#: As Go's ParseInt has it: any number of zeros in front.
_DECIMAL = re.compile(rb"([+-]?)0*([0-9]{1,19})")
_TIME = re.compile(rb"([+-]?)0*([0-9]{1,19})(?:\.([0-9]*))?")
_PLAIN_DECIMAL = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_PLAIN_TIME = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]{1,9})?")


def _decimal(text: bytes) -> int:
    match = _DECIMAL.fullmatch(text)
    if not match or not -(1 << 63) <= int(match[1] + match[2]) < 1 << 63:
        raise ArchiveError(f"{show(text)} is no decimal number")
    return int(match[1] + match[2])


def _time(text: bytes) -> int:
    """Parse a PAX time to nanoseconds; more than nine digits are cut off, as Go does."""
    match = _TIME.fullmatch(text)
    if not match or not -(1 << 63) <= int(match[1] + match[2]) < 1 << 63:
        raise ArchiveError(f"{show(text)} is no time")
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
            length = _decimal(digits)
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


# ---------------------------------------------------------------- memos


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


def _raw_name(block: bytes) -> bytes:
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
    if not 0 <= value < _YEAR_2262:
        raise ArchiveError("an odd time")
    return value


def _checksums(block: bytes) -> tuple[int, int]:
    """Return the checksum of a header, and as some old tars wrote it, over signed bytes."""
    rest = block[:148] + b" " * 8 + block[156:]
    return sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest)


# ---------------------------------------------------------------- one header, every rule


class _Headers:
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
        if flag == _PAX_GLOBAL:
            parse_pax(body)  # its values are never applied: no engine does
            self.reset()
            return
        if flag in self.seen or _PAX in self.seen or (flag == _PAX and self.seen):
            self.odd = True
        if MAGIC.match(block) or not self.is_plain(block):
            self.odd = True
        self.seen |= {flag}
        if self.start < 0:
            self.start = start
        if flag == _PAX:
            self.pax = parse_pax(body)  # the last one counts
            self.odd = self.odd or not self.pax.plain
            return
        name = body.rstrip(b"\0")
        if not name or 0 in name:
            self.odd = True
        if flag == _GNU_LONG_NAME:
            self.long_name = cut(body)
        else:
            self.long_link = cut(body)

    def is_plain(self, block: bytes) -> bool:
        """Tell whether numbers and magic of a header are plain, and its size is that of data."""
        try:
            self.owners[block[100:124]]
            self.prefixes[block[257:]]
            plain(block[136:148])
            return plain(block[124:136]) == 0 or block[156] not in _DATALESS
        except ArchiveError:
            return False

    def parse(self, block: bytes, offset: int) -> tuple[bytes, Entry]:
        """Return raw name and entry of the header `block` at `offset`; its checksum holds."""
        mode, uid, gid = number(block[100:108]), number(block[108:116]), number(block[116:124])
        size, mtime = number(block[124:136]), number(block[136:148]) * 10**9
        flag = block[156]
        if size < 0 and flag not in _DATALESS:  # whatever PAX says, as Go has it
            raise ArchiveError("negative size")
        odd = self.odd or not flag or not self.is_plain(block)
        name, link = _raw_name(block), cut(block[157:257])
        pax = self.pax
        xattrs: Xattrs = ()
        if pax:
            # An empty value means that the key is absent, except for xattrs.
            name = pax.get(b"path") or name
            link = pax.get(b"linkpath") or link
            uid = _decimal(pax[b"uid"]) if pax.get(b"uid") else uid
            gid = _decimal(pax[b"gid"]) if pax.get(b"gid") else gid
            size = _decimal(pax[b"size"]) if pax.get(b"size") else size
            mtime = _time(pax[b"mtime"]) if pax.get(b"mtime") else mtime
            for key in (b"atime", b"ctime"):
                if pax.get(key):
                    _time(pax[key])
            xattrs = tuple(
                sorted((k[len(XATTR) :], v) for k, v in pax.items() if k.startswith(XATTR))
            )
            if len(xattrs) > XATTRS_MAX:
                raise ArchiveError(f"more than {XATTRS_MAX} extended attributes")
            odd = odd or not self._is_plain_sparse() or (flag in _DATALESS and size != 0)
        name = self.long_name or name
        link = self.long_link or link
        odd = odd or (bool(link) and flag not in (LINK, SYM))
        if flag == 0:
            flag = DIR if name.endswith(b"/") else REG
        if not REG <= flag <= FIFO:  # also where the name alone says what is meant
            raise ArchiveError(f"unhandled tar header type {show(bytes([flag]))}")
        if size < 0 and flag not in _DATALESS:
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
            0 if flag in _DATALESS else size,
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
        return _decimal(text) if text else size

    def sparse_map(self) -> list[int]:
        """Return offsets and lengths of a 0.0 or 0.1 map, alternating."""
        text = self.pax.get(b"GNU.sparse.map", b"")
        values = [_decimal(part) for part in text.split(b",")] if text else []
        if _decimal(self.pax.get(b"GNU.sparse.numblocks", b"")) * 2 != len(values):
            raise ArchiveError("the sparse map is malformed")
        return values


def _fragments(values: list[int], size: int) -> SparseMap:
    """Pair and check the numbers of a sparse map: in order, apart, inside `size`.

    The empty ones say nothing, but for the size, and a megabyte spells 260,000 of them.
    """
    fragments = tuple(zip(values[::2], values[1::2], strict=True))
    end = 0
    for offset, length in fragments:
        if offset < end or length < 0 or offset + length > size:
            raise ArchiveError("the sparse map is malformed")
        end = offset + length
    if size < 0:
        raise ArchiveError("negative size")
    return tuple(fragment for fragment in fragments if fragment[1])


def _map_in_data(data: bytes) -> tuple[list[int], int] | None:
    """Read a sparse 1.0 map: decimal lines at the beginning of the data, in whole blocks.

    Returns the numbers and the length of the map, or None if `data` ends before it.
    """
    count: int | None = None
    values: list[int] = []
    at = 0
    while count is None or len(values) < count:
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > BLOCK:
                raise ArchiveError("the sparse map is malformed")
            return None
        value = _decimal(data[at:end])
        if value < 0 or (count is None and value * 4 > SPARSE_MAP_MAX):
            raise ArchiveError("the sparse map is malformed")
        if count is None:
            count = value * 2
        else:
            values.append(value)
        at = end + 1
    length = -(-at // BLOCK) * BLOCK
    return (values, length) if length <= len(data) else None


# ---------------------------------------------------------------- the walk over a layer


class LayerWalk:
    """Takes the uncompressed bytes of a layer, window by window, and gives its Changeset.

    O(bytes) to feed; holds one Entry for each entry and, between windows, at most one header.
    """

    def __init__(self, layer: int) -> None:
        self._headers = _Headers(layer)
        self._layer = layer
        self._carry = b""
        self._offset = 0  # of the byte after the last window
        self._skip = 0  # bytes of data and padding yet to pass by
        self._map_seen = 0  # bytes in which a sparse map was looked for and did not end
        self._data_end = 0  # where the data of the last entry ends, padding apart
        self._ended = False
        self._parents: list[bytes] = []
        self._names: list[bytes] = []
        self._parent = b""  # of the last entry
        self._entries: list[Entry] = []
        self._whiteouts: list[Hidden] = []
        self._opaques: list[Hidden] = []
        self._warnings: list[Dispute] = []
        self._globals: set[bytes] = set()  # the names of global headers

    @property
    def offset(self) -> int:
        """Where the next window has to begin."""
        return self._offset

    def jump(self, end: int) -> bool:
        """Pass by what nobody looks at: data, or all up to `end` behind the last entry.

        Tells whether there was something to pass by.
        """
        rest = end - self._offset
        count = rest if self._ended else min(self._skip, rest)
        self._offset += count
        self._skip -= min(count, self._skip)
        return count > 0

    def feed(self, window: bytes) -> None:
        """Take the next bytes. Raises ArchiveError at the first header that engines refuse."""
        start = self._offset
        self._offset += len(window)
        if self._ended:
            return
        if self._skip >= len(window):
            self._skip -= len(window)
            return
        if self._carry:
            start -= len(self._carry)
            window = self._carry + window
            self._carry = b""
        at = self._skip
        self._skip = 0
        size = len(window)
        # Everything the loop touches is local: this runs once for each entry of the image.
        headers = self._headers
        owners, mtimes, prefixes = headers.owners, headers.mtimes, headers.prefixes
        checksums = headers.checksums
        add_parent, add_name = self._parents.append, self._names.append
        add_entry = self._entries.append
        last_parent = self._parent
        layer = self._layer
        while at + BLOCK <= size:
            block = window[at : at + BLOCK]
            flag = block[156]
            if (
                headers.start < 0
                and (flag == REG or flag == DIR or flag == SYM or flag == LINK)
                and adler32(block) & 0xFFFF == checksums[block[148:156]]
                and block.isascii()
                and (digits := block[124:135]).isdigit()
                and (flag == REG or digits == _NO_SIZE)
                and (not block[157] or flag == SYM or flag == LINK)
                and block[135] in b"\0 "
                and (end := block.find(0, 0, 100)) > 0
            ):
                try:
                    content = int(digits, 8)
                    attributes = owners[block[100:124]], mtimes[block[136:148]]
                    prefix = prefixes[block[257:]]
                except (ArchiveError, ValueError):
                    pass  # the slow way knows more, or says what is wrong
                else:
                    name = prefix + b"/" + block[:end] if prefix else block[:end]
                    path = name[2:] if name[:2] == b"./" else name
                    if path[-1:] == b"/":
                        path = path[:-1] if flag == DIR else b""  # doubtful
                    data = start + at + BLOCK
                    if flag == REG or flag == DIR:
                        entry = Entry(flag, layer, data, BLOCK, content, *attributes)
                    else:
                        link = cut(block[157:257])
                        entry = Entry(flag, layer, data, BLOCK, 0, *attributes, (), link)
                    if (
                        b"/." in path
                        or b"//" in name
                        or path[:1] in _DOUBTFUL
                        or len(path) > paths.NAME_MAX
                        or flag == SYM
                    ):
                        self._add_named(name, entry)
                    else:
                        parent, _, name = path.rpartition(b"/")
                        if parent != last_parent:
                            last_parent = parent
                        add_parent(last_parent)
                        add_name(name)
                        add_entry(entry)
                    if content:
                        self._data_end = data + content
                        at += BLOCK + (content + 511 & -512)
                    else:
                        at += BLOCK
                    continue
            after = self._other(window, at, start)
            if after == at:  # its bytes are not all here yet
                break
            at = after
            if self._ended:
                return
        self._parent = last_parent
        if at > size:
            self._skip = at - size
        else:
            self._carry = window[at:]

    def _other(self, window: bytes, at: int, start: int) -> int:
        """Take one header by all the rules; return where the next begins, or `at` for later."""
        block = window[at : at + BLOCK]
        offset = start + at
        headers = self._headers
        try:
            if block == ZERO_BLOCK:
                second = window[at + BLOCK : at + 2 * BLOCK]
                if len(second) < BLOCK:
                    return at
                if second != ZERO_BLOCK:
                    raise ArchiveError("a lone zero block in mid-archive")
                self._ended = True
                return at + 2 * BLOCK
            headers.check(block)
            flag = block[156]
            if flag in (_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK):
                length = number(block[124:136])
                if not 0 <= length <= SPECIAL_MAX:
                    raise ArchiveError(f"an extended header of {length} bytes")
                if at + BLOCK + length > len(window):
                    return at
                headers.extension(block, window[at + BLOCK : at + BLOCK + length], offset)
                if flag == _PAX_GLOBAL:
                    self._globals.add(_raw_name(block))
                return at + BLOCK + _padded(length)
            name, entry = headers.parse(block, offset)
        except ArchiveError as error:
            raise error.within(f"{show(cut(block[:100]))} at byte {offset}") from None
        try:
            stored = entry.size
            version = headers.sparse_version()
            if version and entry.kind == REG:
                if version == "1":
                    most, there = min(stored, SPARSE_MAP_MAX), len(window) - at - BLOCK
                    if there < min(most, 2 * self._map_seen):
                        return at  # not again for each window
                    found = _map_in_data(window[at + BLOCK : at + BLOCK + most])
                    if found is None:
                        if there >= most:
                            raise ArchiveError("the sparse map is malformed")
                        self._map_seen = there
                        return at
                    self._map_seen = 0
                    values, in_data = found
                    count = len(values) // 2
                    spelt = b"".join(b"%d\n" % value for value in (count, *values))
                    if not window.startswith(spelt, at + BLOCK):
                        entry.flags |= REWRITE
                else:
                    values, in_data = headers.sparse_map(), 0
                entry.size = headers.sparse_size(stored)
                entry.target = _fragments(values, entry.size)
                entry.data += in_data
                entry.lead += in_data
                if entry.stored != stored - in_data:
                    raise ArchiveError("the sparse map does not fit the data")
            elif version:
                raise ArchiveError("a sparse map on an entry without data")
        except ArchiveError as error:
            raise error.within(f"{show(name)} at byte {offset}") from None
        self._add(name, entry)
        headers.reset()
        self._data_end = offset + BLOCK + stored
        return at + BLOCK + _padded(stored)

    def _add(self, name: bytes, entry: Entry) -> None:
        """Put an entry where its name says, noting what engines disagree about."""
        path = self._add_named(name, entry)
        if path is not None:
            self._warnings += [Dispute(kind, self._layer, path) for kind in _disputed(entry)]

    def _add_named(self, name: bytes, entry: Entry) -> bytes | None:
        """Put an entry where its name says, by the grammar of whiteouts; return its path."""
        try:
            path = paths.clean(name)
            meaning, about = paths.classify(path)
            if meaning is not Meaning.ENTRY:
                hidden = Hidden(about, entry.data, entry.mtime)
                if meaning is Meaning.WHITEOUT:
                    self._whiteouts.append(hidden)
                elif meaning is Meaning.OPAQUE:
                    self._opaques.append(hidden)
                return None
            if not path and entry.kind != DIR:
                if name.startswith(b"/"):  # the root itself, which engines would remove
                    raise ArchiveError("only a directory can be the root")
                self._warnings.append(Dispute("nameless-entry", self._layer, b""))
                return None
            if entry.kind == SYM and not entry.target:
                raise ArchiveError("a symlink without a target")
            if entry.kind == SYM and len(entry.target) > paths.PATH_MAX:  # type: ignore[arg-type]
                raise ArchiveError(f"the link target is longer than {paths.PATH_MAX} bytes")
        except ArchiveError as error:
            place = entry.data - entry.lead
            raise error.within(f"{show(name)} at byte {place}") from None
        # containerd 1.6 refuses doubled slashes; the root is written `./` or `/`. What is absolute
        # or has `..` stays inside the root only if whoever unpacks it takes care.
        strays = name.startswith(b"/") or b"/../" in name + b"/"
        if not path:
            entry.flags |= ABSOLUTE * name.startswith(b"/") | REWRITE * (name not in (b"./", b"/"))
        elif strays or b"//" in name:
            entry.flags |= REWRITE
        if name.endswith(b"/") and entry.kind != DIR:  # some take it for a directory
            entry.flags |= REWRITE
        parent, _, base = path.rpartition(b"/")
        self._parents.append(parent)
        self._names.append(base)
        self._entries.append(entry)
        return path

    def _warn_of_globals(self) -> None:
        """Note the global headers whose names some engines obey, as if they were entries.

        containerd and podman make their folders, docker does not; with the name of an entry the
        one removes that, the others refuse the layer. O(entries).
        """
        joined = map(paths.join, self._parents, self._names)
        kinds = {path: entry.kind for path, entry in zip(joined, self._entries, strict=True)}
        for name in sorted(self._globals):
            try:
                path = paths.clean(name)
            except ArchiveError:
                path = name
            folder, _, base = path.rpartition(b"/")
            alone = kinds.get(folder) == DIR or not folder
            if path in kinds or not alone or base.startswith(paths.WHITEOUT_PREFIX):
                self._warnings.append(Dispute("global-header", self._layer, path))

    def finish(self) -> Changeset:
        """Return what the layer says. Raises ArchiveError if it ends in the middle of something.

        Two zero blocks, one zero block or nothing may end it, and padding may be missing.
        """
        if not self._ended and (
            self._data_end > self._offset or self._carry not in (b"", ZERO_BLOCK)
        ):
            raise ArchiveError(f"truncated at byte {self._offset}")
        if self._globals:
            self._warn_of_globals()
        return Changeset(
            self._layer,
            self._offset,
            self._parents,
            self._names,
            self._entries,
            self._whiteouts,
            self._opaques,
            self._warnings,
        )


def _padded(size: int) -> int:
    return size + 511 & -512


def _disputed(entry: Entry) -> Iterator[str]:
    """Yield the kinds of warning that a header alone gives reason for."""
    names = [name for name, _ in entry.xattrs]
    if any(name.startswith((b"trusted.overlay.", b"user.overlay.")) for name in names):
        yield "overlay-xattr"
    if DEFAULT_ACL in names and entry.kind == DIR:
        yield "default-acl"
    if names and entry.kind == SYM:
        yield "symlink-xattr"
    if entry.kind == CHR and entry.target == (0, 0):
        yield "whiteout-device"
    if not 0 <= entry.mtime < _YEAR_2262:
        yield "odd-mtime"


# ---------------------------------------------------------------- the outer archive


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
        _Headers(0).check(block)
    except ArchiveError:
        return False
    return len(block) == BLOCK


def members(read_at: Callable[[int, int], bytes], size: int) -> Iterator[Member]:
    """Yield the members of an outer archive of `size` bytes, seeking from header to header.

    O(members) reads. `read_at(offset, length)` returns fewer bytes only at the end. Raises
    ArchiveError for anything that is no sound tar.
    """
    headers = _Headers(0)
    at = 0
    while at < size:
        block = read_at(at, BLOCK)
        try:
            if len(block) < BLOCK:
                raise ArchiveError("truncated header")
            if block == ZERO_BLOCK:
                if read_at(at + BLOCK, BLOCK) not in (b"", ZERO_BLOCK):
                    raise ArchiveError("a lone zero block in mid-archive")
                return
            headers.check(block)
            flag = block[156]
            if flag in (_PAX, _PAX_GLOBAL, _GNU_LONG_NAME, _GNU_LONG_LINK):
                length = number(block[124:136])
                if not 0 <= length <= SPECIAL_MAX:
                    raise ArchiveError(f"an extended header of {length} bytes")
                body = read_at(at + BLOCK, length)
                if len(body) < length:
                    raise ArchiveError("truncated header")
                headers.extension(block, body, at)
                at += BLOCK + _padded(length)
                continue
            name, entry = headers.parse(block, at)
            if entry.data + entry.size > size:
                raise ArchiveError(f"truncated: {entry.size} bytes announced")
            if headers.sparse_version():
                raise ArchiveError("a sparse member; write the archive without --sparse")
        except ArchiveError as error:
            raise error.within(f"{show(cut(block[:100]))} at byte {at}") from None
        headers.reset()
        target = entry.target if entry.kind in (LINK, SYM) else b""
        yield Member(name, entry.kind, entry.data, entry.size, target)  # type: ignore[arg-type]
        at = entry.data + _padded(entry.size)


# ---------------------------------------------------------------- headers that we write


def header(
    path: bytes,
    kind: int,
    owner: Owner = (0o600, 0, 0),
    *,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Xattrs = (),
    sparse: SparseMap | None = None,
) -> bytes:
    """Return a header for `path`: ustar, preceded by PAX records for what ustar cannot say.

    `mtime` in nanoseconds. Directories get their slash; no path is the root as `/`. A `sparse` file
    gets its map, in the format 1.0 of GNU tar, which all engines read; its fragments follow the
    header as one. The same arguments always give the same bytes. Source: POSIX pax; values are
    placed as every engine was seen to read them. Raises ArchiveError for a header larger than
    engines read.
    """
    mode, uid, gid = owner
    name = path + b"/" if kind == DIR else path
    seconds, fraction = divmod(mtime, 10**9)
    records: list[tuple[bytes, bytes]] = []
    data_map = b""
    if sparse is not None:
        numbers = [len(sparse), *(value for fragment in sparse for value in fragment)]
        data_map = b"".join(b"%d\n" % value for value in numbers)
        data_map += bytes(-len(data_map) % BLOCK)
        records += [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", name),
            (b"GNU.sparse.realsize", b"%d" % size),
        ]
        size = len(data_map) + sum(length for _, length in sparse)
    elif len(name) > 100:
        records.append((b"path", name))
    if len(link) > 100:
        records.append((b"linkpath", link))
    for key, value, limit in ((b"uid", uid, 8**7), (b"gid", gid, 8**7), (b"size", size, 8**11)):
        if value >= limit:
            records.append((key, b"%d" % value))
    if fraction or not 0 <= seconds < 8**11:
        records.append((b"mtime", _decimal_time(mtime)))
    records += [(XATTR + key, value) for key, value in xattrs]
    block = _ustar(
        name[:100],
        kind,
        mode,
        uid if uid < 8**7 else 0,
        gid if gid < 8**7 else 0,
        size if size < 8**11 else 0,
        seconds if 0 <= seconds < 8**11 else 0,
        link[:100],
        device,
    )
    if not records:
        return block
    body = b"".join(_record(key, value) for key, value in sorted(records))
    if len(body) > SPECIAL_MAX:
        raise ArchiveError(f"an extended header of {len(body)} bytes", where=show(path))
    extension = _ustar(b"PaxHeader", _PAX, 0o644, 0, 0, len(body))
    return extension + body + bytes(-len(body) % BLOCK) + block + data_map


def shield() -> bytes:
    """Return what begins a layer whose first name looks like something else than a tar.

    An extended header; POSIX has the key `comment` for what every reader passes over.
    """
    body = _record(b"comment", b"a tar")
    return _ustar(b"PaxHeader", _PAX, 0o644, 0, 0, len(body)) + body + bytes(-len(body) % BLOCK)


def _decimal_time(mtime: int) -> bytes:
    sign = b"-" if mtime < 0 else b""
    seconds, fraction = divmod(abs(mtime), 10**9)
    digits = b"%d" % seconds
    if fraction:
        digits += b"." + (b"%09d" % fraction).rstrip(b"0")
    return sign + digits


def _record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _ustar(
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
