"""What a layer says: entries, whiteouts, and the changeset that holds them."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from struct import Struct

from squasher.tar.paths import join

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

REG, LINK, SYM, CHR, BLK, DIR, FIFO = b"0123456"
DATALESS = frozenset((LINK, SYM, CHR, BLK, DIR, FIFO))

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
#: Its time was later than the latest that was asked for, and is that now (M9).
CLAMPED = 32
#: An owner of 32 ones: lchown(2) leaves what the file has. Hard links alone hold it.
LEFT = 0xFFFFFFFF

#: Mode without the bits of the type, uid, gid.
Owner = tuple[int, int, int]
#: (name, value), sorted.
Xattrs = tuple[tuple[bytes, bytes], ...]


class SparseMap:
    """The (offset, length) fragments of a sparse file, in order, and the bytes in all of them.

    Held as packed numbers: a megabyte spells 120,000 fragments, and Python's objects for them take
    eleven megabytes. So it is no more than two.
    """

    __slots__ = ("_packed", "_type", "stored")

    def __init__(self, fragments: Iterable[tuple[int, int]] = ()) -> None:
        numbers = array("Q", (number for fragment in fragments for number in fragment))
        self.stored = sum(numbers[1::2])
        self._type = "I" if not numbers or max(numbers) < 1 << 32 else "Q"
        self._packed = array(self._type, numbers).tobytes()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        numbers = memoryview(self._packed).cast(self._type)  # type: ignore[call-overload]
        return zip(numbers[::2], numbers[1::2], strict=True)

    def __len__(self) -> int:
        return len(self._packed) // (2 * array(self._type).itemsize)

    def __eq__(self, other: object) -> bool:
        return type(other) is SparseMap and list(self) == list(other)


Target = bytes | tuple[int, int] | SparseMap | None

#: Lengths of the name and of the value of an xattr, before both.
_LENGTHS = Struct("<II")


def _packed(xattrs: Xattrs) -> bytes:
    """Return xattrs as one object: as tuples they take up to five times what a header spells."""
    return b"".join(_LENGTHS.pack(len(k), len(v)) + k + v for k, v in xattrs)


def _unpacked(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(packed):
        name, value = _LENGTHS.unpack_from(packed, at)
        at += _LENGTHS.size
        middle = at + name
        yield packed[at:middle], packed[middle : (at := middle + value)]


class Entry:
    """One record of a layer: what it puts at its path, and where its bytes lie.

    kind          typeflag, NUL resolved to REG or DIR
    layer         index of the layer whose header last set the attributes
    source        index of the layer that holds the bytes
    data          offset of the data in that layer (uncompressed); the header ends there
    headers_size  bytes of header before `data`, extensions included
    size          bytes of content as a reader of the file sees them
    owner         (mode, uid, gid), mode without file type bits
    mtime         nanoseconds since 1970
    packed        the xattrs as one object: equal for equal ones
    target        link name; (major, minor) of a device; the map of a sparse file; else None
    flags         REWRITE, INHERITS, DISPUTED, ABSOLUTE, LEAVES, CLAMPED

    Slots and no dataclass: a layer can have a million of these.
    """

    __slots__ = (
        "data",
        "flags",
        "headers_size",
        "kind",
        "layer",
        "mtime",
        "owner",
        "packed",
        "size",
        "source",
        "target",
    )

    def __init__(
        self,
        kind: int,
        layer: int,
        data: int,
        headers_size: int,
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
        self.headers_size = headers_size
        self.size = size
        self.owner = owner
        self.mtime = mtime
        self.packed = _packed(xattrs) if xattrs else b""
        self.target = target
        self.flags = flags

    @property
    def xattrs(self) -> Xattrs:
        """Sorted (name, value) pairs. O(their bytes): they are made anew each time."""
        return tuple(_unpacked(self.packed)) if self.packed else ()

    @xattrs.setter
    def xattrs(self, xattrs: Xattrs) -> None:
        self.packed = _packed(xattrs)

    @property
    def sparse(self) -> SparseMap | None:
        """The (offset, length) fragments of a sparse file; None for any other entry."""
        return self.target if type(self.target) is SparseMap else None

    @property
    def stored(self) -> int:
        """Bytes of data as stored, without padding."""
        if self.kind != REG:
            return 0
        return self.size if self.target is None else self.target.stored  # type: ignore[union-attr]

    def copy(self) -> Entry:
        """Return another one that says the same."""
        new = Entry(
            self.kind, self.layer, self.data, self.headers_size, self.size, self.owner, self.mtime,
            (), self.target, self.flags,
        )  # fmt: skip
        new.source = self.source
        new.packed = self.packed
        return new

    def restamped(self, layer: int, owner: Owner, mtime: int, xattrs: Xattrs) -> Entry:
        """Return the same content under new attributes, set by `layer`."""
        new = self.copy()
        new.layer, new.owner, new.mtime, new.xattrs = layer, owner, mtime, xattrs
        return new

    def marked(self, flags: int) -> Entry:
        """Return the same with `flags` besides."""
        new = self.copy()
        new.flags |= flags
        return new

    def of_group(self, gid: int) -> Entry:
        """Return the same with another group."""
        new = self.copy()
        new.owner = (*self.owner[:2], gid)
        return new

    def clamped(self, latest: int) -> Entry:
        """Return the same with the time `latest`, which its header does not have."""
        new = self.marked(REWRITE | CLAMPED)
        new.mtime = latest
        return new

    def same_attributes(self, other: Entry) -> bool:
        """Tell whether both headers give the same inode attributes, content apart.

        Symlinks compare without their mode: the kernel ignores it. Sparse maps do not count.
        """
        return (
            self.kind == other.kind
            and self.mtime == other.mtime
            and self.size == other.size
            and self.packed == other.packed
            and (
                self.owner == other.owner
                or (self.kind == SYM and self.owner[1:] == other.owner[1:])
            )
            and (self.kind == REG or self.target == other.target)
        )


#: Two files, of an upper and of a lower layer.
Pair = tuple[Entry, Entry]


@dataclass(frozen=True, slots=True)
class ImageWarning:
    """Something that engines disagree about in the image before squashing.

    kind    as docs/reference/warnings.md lists them
    layer   position of the layer, from 0 for the lowest
    path    of the entry; for "describes-layers" a key of config or manifest that describes squashed
            layers, `layer` is the lowest of these
    """

    kind: str
    layer: int
    path: bytes


@dataclass(frozen=True, slots=True)
class WhiteoutMark:
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
    whiteouts: list[WhiteoutMark]
    opaques: list[WhiteoutMark]
    warnings: list[ImageWarning]

    @property
    def paths(self) -> Iterator[bytes]:
        """The path of each entry."""
        return map(join, self.parents, self.names)

    @property
    def holes(self) -> int:
        """Bytes that unpacking makes of the holes in sparse files. O(entries)."""
        return sum(max(0, e.size - e.stored) for e in self.entries if e.sparse is not None)

    def repeated(self, layer: int) -> Changeset:
        """Return what the same bytes say as another layer; they lie where they lay. O(entries)."""
        entries = [entry.copy() for entry in self.entries]
        for entry in entries:
            entry.layer = layer
        warnings = [replace(warning, layer=layer) for warning in self.warnings]
        return replace(self, layer=layer, entries=entries, warnings=warnings)

    def clamped(self, latest: int | None) -> Changeset:
        """Return the same with times later than `latest`, in nanoseconds, made `latest` (M9).

        None clamps nothing. O(entries).
        """
        if latest is None:
            return self
        return replace(
            self,
            entries=[e if e.mtime <= latest else e.clamped(latest) for e in self.entries],
            whiteouts=[replace(x, mtime=min(x.mtime, latest)) for x in self.whiteouts],
            opaques=[replace(x, mtime=min(x.mtime, latest)) for x in self.opaques],
        )

    @property
    def count(self) -> int:
        """Number of entries and whiteouts."""
        return len(self.entries) + len(self.whiteouts) + len(self.opaques)
