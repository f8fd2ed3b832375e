"""The 512-byte walk over the headers of a layer.

The hot loop is `LayerWalk.feed`. It parses the common header in place and leaves the rest to
`HeaderParser`, which knows all the rules and is also what the outer archive is read with.
"""

from __future__ import annotations

from zlib import adler32

from squasher.errors import ArchiveError
from squasher.tar import paths
from squasher.tar.changeset import ChangesetBuilder
from squasher.tar.entry import (
    BLOCK,
    DIR,
    LINK,
    REG,
    SYM,
    ZERO_BLOCK,
    Changeset,
    Entry,
)
from squasher.tar.fields import NO_SIZE, cut, padded, raw_name
from squasher.tar.headers import PAX_GLOBAL, HeaderParser, extension_size
from squasher.tar.paths import show
from squasher.tar.sparse import MapReader

#: A path that begins so may not be clean.
_DOUBTFUL = (b".", b"/", b"")


class LayerWalk:
    """Takes the uncompressed bytes of a layer, window by window, and gives its Changeset.

    O(bytes) to feed; holds one Entry for each entry and, between windows, at most one header.
    """

    def __init__(self, layer: int) -> None:
        self._headers = HeaderParser(layer)
        self._builder = ChangesetBuilder(layer)
        self._layer = layer
        self._carry = b""
        self._offset = 0  # of the byte after the last window
        self._skip = 0  # bytes of data and padding yet to pass by
        self._maps = MapReader()
        self._data_end = 0  # where the data of the last entry ends, padding apart
        self._ended = False
        self._parent = b""  # of the last entry

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
        builder = self._builder
        add_parent, add_name = builder.parents.append, builder.names.append
        add_entry = builder.entries.append
        last_parent = self._parent
        last_folder: bytes | None = None  # how the last header spelt that, if the next may
        last_tail = bytes(BLOCK + 1)  # what a header without a prefix had from the magic on
        layer = self._layer
        new = object.__new__  # not by calling Entry: that is a seventh of the time
        while at + BLOCK <= size:
            block = window[at : at + BLOCK]
            flag = block[156]
            if (
                headers.start < 0
                and (flag == REG or flag == DIR or flag == SYM or flag == LINK)
                and adler32(block) & 0xFFFF == checksums[block[148:156]]
                and block.isascii()
                and (digits := block[124:135]).isdigit()
                and (flag == REG or digits == NO_SIZE)
                and (not block[157] or flag == SYM or flag == LINK)
                and block[135] in b"\0 "
                and (end := block.find(0, 0, 100)) > 0
            ):
                try:
                    content = int(digits, 8)
                    attributes = owners[block[100:124]], mtimes[block[136:148]]
                    if block.endswith(last_tail):
                        prefix = b""
                    else:
                        prefix = prefixes[block[257:]]
                        if not prefix:
                            last_tail = block[257:]
                except (ArchiveError, ValueError):
                    pass  # the slow way knows more, or says what is wrong
                else:
                    data = start + at + BLOCK
                    entry = new(Entry)
                    entry.kind = flag
                    entry.layer = entry.source = layer
                    entry.data = data
                    entry.headers_size = BLOCK
                    entry.owner, entry.mtime = attributes
                    entry.packed = b""
                    entry.flags = 0
                    if flag == REG or flag == DIR:
                        entry.size = content
                        entry.target = None
                    else:
                        entry.size = 0
                        entry.target = cut(block[157:257])
                    name = prefix + b"/" + block[:end] if prefix else block[:end]
                    folder, _, base = name.rpartition(b"/")
                    if folder == last_folder and base[:1] not in _DOUBTFUL and flag != SYM:
                        add_parent(last_parent)
                        add_name(base)
                        add_entry(entry)
                    else:
                        path = name[2:] if name[:2] == b"./" else name
                        if path[-1:] == b"/":
                            path = path[:-1] if flag == DIR else b""  # doubtful
                        if (
                            b"/." in path
                            or b"//" in name
                            or path[:1] in _DOUBTFUL
                            or len(path) > paths.NAME_MAX
                            or flag == SYM
                        ):
                            builder.add_named(name, entry)
                        else:
                            parent, _, base = path.rpartition(b"/")
                            if parent != last_parent:
                                last_parent = parent
                            add_parent(last_parent)
                            add_name(base)
                            add_entry(entry)
                            alike = flag != DIR and not prefix  # the root is spelt as "/f" is
                            last_folder = (folder or None) if alike else None
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
                    raise ArchiveError("a single zero block inside the archive")
                self._ended = True
                return at + 2 * BLOCK
            headers.check(block)
            length = extension_size(block)
            if length is not None:
                if at + BLOCK + length > len(window):
                    return at
                headers.extension(block, window[at + BLOCK : at + BLOCK + length], offset)
                if block[156] == PAX_GLOBAL:
                    self._builder.global_headers.add(raw_name(block))
                return at + BLOCK + padded(length)
            name, entry = headers.parse(block, offset)
        except ArchiveError as error:
            raise error.within(f"{show(cut(block[:100]))} at byte {offset}") from None
        stored = entry.size
        try:
            if headers.pax and not self._maps.take(headers.pax, entry, window, at + BLOCK):
                return at
        except ArchiveError as error:
            raise error.within(f"{show(name)} at byte {offset}") from None
        self._builder.add(name, entry)
        headers.reset()
        self._data_end = offset + BLOCK + stored
        return at + BLOCK + padded(stored)

    def finish(self) -> Changeset:
        """Return what the layer says. Raises ArchiveError if it ends in the middle of something.

        Two zero blocks, one zero block or nothing may end it, and padding may be missing.
        """
        if not self._ended and (
            self._data_end > self._offset or self._carry not in (b"", ZERO_BLOCK)
        ):
            raise ArchiveError(f"truncated at byte {self._offset}")
        return self._builder.finish(self._offset)
