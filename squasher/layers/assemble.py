"""M3, M5 to M7: what is to be written as pieces, neighbours in one layer as one span."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from squasher.errors import ArchiveError
from squasher.layers.changes import IMPLIED_OWNER, ChangedDirectory, Item, Reason, Run
from squasher.layers.plan import TRAILER, MergePlan, Piece, Span
from squasher.layers.tree import Tree
from squasher.tar.entry import (
    ABSOLUTE,
    BLK,
    BLOCK,
    CHR,
    CLAMPED,
    DIR,
    IMPLIED_FACTOR,
    IMPLIED_FREE,
    LINK,
    MAGIC,
    REG,
    REWRITE,
    SYM,
    Entry,
)
from squasher.tar.paths import WHITEOUT_PREFIX, join
from squasher.tar.writer import header, shield

#: A name, or its part behind a prefix, for which engines would not take the layer for a tar.
_LOOKALIKE = re.compile(rb"(?:\A|/)(?:%b)" % MAGIC.pattern)


def assemble(
    items: Sequence[Item], provided: Collection[Entry], final: Tree, sizes: Sequence[int]
) -> MergePlan:
    """Return the plan that writes `items` but for the entries in `provided`.

    `final` says what attributes entries have now, `sizes` are the uncompressed sizes of all
    layers. O(entries to write). Raises ArchiveError for an image that says far more than it spells
    out.
    """
    return _Assembly(final, sizes).plan(items, provided)


def _entries(
    items: Iterable[Item], provided: Collection[Entry]
) -> Iterator[tuple[bytes, Entry | None]]:
    """Yield the entries that are written, with their paths: whiteouts apart."""
    for item in items:
        if type(item) is ChangedDirectory:
            if item.written:
                yield item.path, item.node.entry
        elif type(item) is Run:
            for name, entry in item.entries:
                if entry not in provided:
                    yield join(item.folder.path, name), entry


def left_out(items: Iterable[Item], provided: Collection[Entry]) -> int:
    """Return how many entries are not written because the base has them: O(entries)."""
    number = 0
    for item in items:
        if type(item) is Run:
            number += sum(entry in provided for _, entry in item.entries)
        else:
            assert type(item) is ChangedDirectory  # noqa: S101
            number += not item.written and item.reason is Reason.OWN
    return number


class _Assembly:
    """Turns what is to be written into pieces; neighbours in one layer become one span."""

    def __init__(self, final: Tree, sizes: Sequence[int]) -> None:
        self._final = final
        self._sizes = sizes
        self._pieces: list[Piece] = []
        self._size = 0
        self._room = IMPLIED_FREE + IMPLIED_FACTOR * sum(sizes)  # for headers made here
        self._whiteouts = 0
        self._entries = 0
        self._clamped = 0
        self._first_names: dict[Entry, bytes] = {}

    def plan(self, items: Iterable[Item], provided: Collection[Entry]) -> MergePlan:
        link_overrides = self._final.link_overrides
        left_out = 0
        source, start, stop = -1, 0, 0  # the run of bytes that is growing
        for item in items:
            if type(item) is ChangedDirectory:
                written = item.written
                left_out += not written and item.reason is Reason.OWN
                self._entries += written
                own = item.node.entry
                if (
                    own is None
                    or own.flags & REWRITE
                    or item.reason.repeats
                    or item.whiteouts
                    or not written
                ):
                    if written or item.whiteouts:
                        self._span(source, start, stop)
                        source = -1
                        self._directory(item, written)
                    continue
                begin = own.data - own.headers_size
                if own.source != source or begin != stop:
                    self._span(source, start, stop)
                    source, start = own.source, begin
                stop = own.data
                continue
            assert type(item) is Run  # noqa: S101
            folder, names = item
            children = folder.node.children
            self._entries += len(names)
            for name in names:  # once for each name that is written: no calls where none is needed
                entry: Entry = children[name]  # type: ignore[assignment]
                if provided and entry in provided:
                    left_out += 1
                    self._entries -= 1
                    continue
                if entry.flags & REWRITE or (link_overrides and entry in link_overrides):
                    self._span(source, start, stop)
                    source = -1
                    self._rewrite(join(folder.path, name), entry)
                    continue
                begin = entry.data - entry.headers_size
                if entry.source != source or begin != stop:
                    self._span(source, start, stop)
                    source, start = entry.source, begin
                stop = entry.data
                if entry.kind == REG:
                    stop += (entry.size if entry.target is None else entry.stored) + 511 & -512
        self._span(source, start, stop)
        self._literal(TRAILER)
        self._shield(items, provided)
        counts = self._entries, self._whiteouts, left_out, self._clamped
        return MergePlan(tuple(self._pieces), self._size, *counts)

    def _shield(self, items: Iterable[Item], provided: Collection[Entry]) -> None:
        """Let the layer begin with what all engines take for a tar."""
        first = self._pieces[0]
        if type(first) is Span:
            # Its bytes are not at hand, but its name is, whatever prefix it has there. A header
            # with extensions begins with theirs, and was seen when it was read.
            path, entry = next(_entries(items, provided))
            assert entry is not None  # noqa: S101  (a header that is made here is no span)
            looks = entry.headers_size == BLOCK and _looks_like_no_tar(path)
        else:
            looks = MAGIC.match(first) is not None  # type: ignore[arg-type]
        if looks:
            block = shield()
            self._pieces.insert(0, block)
            self._size += len(block)

    def _span(self, source: int, start: int, stop: int) -> None:
        if source < 0 or start == stop:
            return
        end = min(stop, self._sizes[source])  # the padding of a layer's last block may be missing
        self._pieces.append(Span(source, start, end))
        self._size += end - start
        if stop > end:
            self._literal(bytes(stop - end))

    def _literal(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._room -= len(data)
        if self._room < 0:
            raise ArchiveError("the new headers are far larger than the image: a trap for readers")

    def _directory(self, folder: ChangedDirectory, written: bool) -> None:
        """Write a directory's entry, if it is `written`, and its whiteouts."""
        if written:
            made, entry = _directory_header(folder), folder.node.entry
            if made or entry is None:
                self._literal(made)
                self._clamped += bool(entry and entry.flags & CLAMPED)
            else:
                self._span(entry.source, entry.data - entry.headers_size, entry.data)
        for made in _whiteout_headers(folder):
            self._literal(made)
        self._whiteouts += len(folder.whiteouts)

    def _rewrite(self, path: bytes, identity: Entry) -> None:
        """Write an entry under a new header: content for the first name of a file, then links."""
        entry = self._final.state(identity)
        self._clamped += bool(entry.flags & CLAMPED)
        first = self._first_names.setdefault(identity, path)
        self._literal(_entry_header(path, entry, first))
        if first == path:
            self._span(entry.source, entry.data, entry.data + _padded(entry))


# ---------------------------------------------------------------- headers that are made


def _directory_header(folder: ChangedDirectory) -> bytes:
    """Return the new header of a directory; none if the one that it has passes through."""
    node, entry = folder.node, folder.node.entry
    path = folder.path
    if not path and not (entry and entry.flags & ABSOLUTE):
        path = b"."
    if entry is None:
        return header(path, DIR, IMPLIED_OWNER, mtime=node.mtime)
    if entry.flags & REWRITE or folder.reason.repeats:
        return header(path, DIR, entry.owner, mtime=entry.mtime, xattrs=entry.xattrs)
    return b""


def _whiteout_headers(folder: ChangedDirectory) -> Iterator[bytes]:
    return (header(join(folder.path, WHITEOUT_PREFIX + name), REG) for name in folder.whiteouts)


def _entry_header(path: bytes, entry: Entry, first: bytes) -> bytes:
    """Return a new header: that of a link to `first`, if that is another name of the file."""
    if first != path:
        return header(path, LINK, entry.owner, mtime=entry.mtime, link=first, xattrs=entry.xattrs)
    target = entry.target
    return header(
        path,
        entry.kind,
        entry.owner,
        size=entry.size,
        mtime=entry.mtime,
        link=target if entry.kind == SYM else b"",  # type: ignore[arg-type]
        device=target if entry.kind in (CHR, BLK) else (0, 0),  # type: ignore[arg-type]
        xattrs=entry.xattrs,
        sparse=entry.sparse,
    )


def _padded(entry: Entry) -> int:
    return entry.stored + 511 & -512


# ---------------------------------------------------------------- sizes, for who cuts the plan


def directory_size(folder: ChangedDirectory) -> int:
    """Return the bytes of a directory's entry, 0 if none is written."""
    if not folder.written:
        return 0
    entry = folder.node.entry
    return _shield(folder.path) + (
        len(_directory_header(folder)) or (entry.headers_size if entry else 0)
    )


def whiteouts_size(folder: ChangedDirectory) -> int:
    """Return the bytes of a directory's whiteouts."""
    return _shield(folder.path) + sum(map(len, _whiteout_headers(folder)))


def whiteout_sizes(folder: ChangedDirectory) -> Iterator[tuple[bytes, int]]:
    """Yield the names in a directory that get a whiteout, and the bytes of each."""
    return zip(folder.whiteouts, map(len, _whiteout_headers(folder)), strict=True)


def entry_size(path: bytes, identity: Entry, first: bytes, final: Tree) -> int:
    """Return the bytes of an entry and its data; `first` is the first name of its file."""
    if not identity.flags & REWRITE and identity not in final.link_overrides:
        return _shield(path) + identity.headers_size + _padded(identity)
    entry = final.state(identity)
    size = _shield(path) + len(_entry_header(path, entry, first))
    return size if first != path else size + _padded(entry)


def _shield(path: bytes) -> int:
    """Return the bytes that come before an entry if a layer begins with it."""
    return len(shield()) if _looks_like_no_tar(path) else 0


def _looks_like_no_tar(path: bytes) -> bool:
    return _LOOKALIKE.search(path + b"\0") is not None
