"""The records of PAX headers: read as Go reads them, and whether every reader does (M7).

Source: POSIX.1-2017 pax, "pax Extended Header"; Go archive/tar reader.go and strconv.go.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence

from squasher.errors import ArchiveError
from squasher.tar.entry import XATTR, XATTRS_MAX, Xattrs
from squasher.tar.paths import show

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


def time(text: bytes) -> int:
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

    def over(
        self, name: bytes, link: bytes, uid: int, gid: int, size: int, mtime: int
    ) -> tuple[bytes, bytes, int, int, int, int]:
        """Return fields of a header, or what the records say instead. Raises ArchiveError.

        An empty value means that the key is absent.
        """
        said = self.get
        name = said(b"path") or name
        link = said(b"linkpath") or link
        uid = decimal(self[b"uid"]) if said(b"uid") else uid
        gid = decimal(self[b"gid"]) if said(b"gid") else gid
        size = decimal(self[b"size"]) if said(b"size") else size
        mtime = time(self[b"mtime"]) if said(b"mtime") else mtime
        for key in (b"atime", b"ctime"):
            if said(key):
                time(self[key])
        return name, link, uid, gid, size, mtime

    def xattrs(self) -> Xattrs:
        """Return the extended attributes; an empty value counts. Raises ArchiveError."""
        found = tuple(sorted((k[len(XATTR) :], v) for k, v in self.items() if k.startswith(XATTR)))
        if len(found) > XATTRS_MAX:
            raise ArchiveError(f"more than {XATTRS_MAX} extended attributes")
        return found

    def sparse_version(self) -> str:
        """Return "0", "1" or "": how a PAX sparse file keeps its map, if this is one.

        Source: Go reader.go readGNUSparsePAXHeaders.
        """
        major, minor = self.get(b"GNU.sparse.major"), self.get(b"GNU.sparse.minor")
        if major == b"0" and minor in (b"0", b"1"):
            return "0"
        if (major, minor) == (b"1", b"0"):
            return "1"
        if major or minor:
            return ""
        return "0" if self.get(b"GNU.sparse.map") else ""

    def is_plain_sparse(self) -> bool:
        """Tell whether the keys of a sparse file, if there are any, are those of GNU tar."""
        keys = {key[len(_SPARSE) :] for key in self if key.startswith(_SPARSE)}
        if not keys:
            return True
        if self.sparse_version() == "1":
            return keys == {b"major", b"minor", b"name", b"realsize"}
        numbered = {b"major", b"minor"} if b"major" in keys else set()
        return keys - {b"name"} == {b"size", b"numblocks", b"map"} | numbered

    def sparse_size(self, size: int) -> int:
        """Return the size of a sparse file with its holes."""
        text = self.get(b"GNU.sparse.size") or self.get(b"GNU.sparse.realsize")
        return decimal(text) if text else size

    def sparse_map(self) -> Sequence[int]:
        """Return offsets and lengths of a 0.0 or 0.1 map, alternating."""
        text = self.get(b"GNU.sparse.map", b"")
        values = array("q", map(decimal, text.split(b","))) if text else array("q")
        if decimal(self.get(b"GNU.sparse.numblocks", b"")) * 2 != len(values):
            raise ArchiveError("the sparse map is malformed")
        return values


def parse_pax(body: bytes) -> Pax:
    """Return the records of a PAX header; a repeated key counts last. Source: Go parsePAX.

    Sparse 0.0 repeats `GNU.sparse.offset` and `GNU.sparse.numbytes`; they come out as one
    `GNU.sparse.map`, as in 0.1. Raises ArchiveError for a record of a wrong length.
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
            raise ArchiveError("a PAX record has a wrong length")
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
