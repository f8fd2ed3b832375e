"""The 512-byte walk over the headers of a layer.

The hot loop is `LayerWalk.feed`. It parses the common header in place and leaves the rest to
`HeaderParser`, which knows all the rules and is also what the outer archive is read with.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import adler32

from squasher.errors import ArchiveError
from squasher.tar import paths
from squasher.tar.entry import (
    ABSOLUTE,
    BLOCK,
    CHR,
    DEFAULT_ACL,
    DIR,
    LINK,
    REG,
    REWRITE,
    SPARSE_MAP_MAX,
    SPECIAL_MAX,
    SYM,
    ZERO_BLOCK,
    Changeset,
    Entry,
    ImageWarning,
    WhiteoutMark,
)
from squasher.tar.headers import (
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    NO_SIZE,
    PAX,
    PAX_GLOBAL,
    YEAR_2262,
    HeaderParser,
    cut,
    number,
    padded,
    raw_name,
)
from squasher.tar.paths import Meaning, show
from squasher.tar.sparse import fragments_of, map_in_data

#: A path that begins so may not be clean.
_DOUBTFUL = (b".", b"/", b"")


class LayerWalk:
    """Takes the uncompressed bytes of a layer, window by window, and gives its Changeset.

    O(bytes) to feed; holds one Entry for each entry and, between windows, at most one header.
    """

    def __init__(self, layer: int) -> None:
        self._headers = HeaderParser(layer)
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
        self._whiteouts: list[WhiteoutMark] = []
        self._opaques: list[WhiteoutMark] = []
        self._warnings: list[ImageWarning] = []
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
                and (flag == REG or digits == NO_SIZE)
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
            if flag in (PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK):
                length = number(block[124:136])
                if not 0 <= length <= SPECIAL_MAX:
                    raise ArchiveError(f"an extended header of {length} bytes")
                if at + BLOCK + length > len(window):
                    return at
                headers.extension(block, window[at + BLOCK : at + BLOCK + length], offset)
                if flag == PAX_GLOBAL:
                    self._globals.add(raw_name(block))
                return at + BLOCK + padded(length)
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
                    found = map_in_data(window[at + BLOCK : at + BLOCK + most])
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
                entry.target = fragments_of(values, entry.size)
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
        return at + BLOCK + padded(stored)

    def _add(self, name: bytes, entry: Entry) -> None:
        """Put an entry where its name says, noting what engines disagree about."""
        path = self._add_named(name, entry)
        if path is not None:
            self._warnings += [
                ImageWarning(kind, self._layer, path) for kind in disagreements(entry)
            ]

    def _add_named(self, name: bytes, entry: Entry) -> bytes | None:
        """Put an entry where its name says, by the grammar of whiteouts; return its path."""
        try:
            path = paths.clean(name)
            meaning, about = paths.classify(path)
            if meaning is not Meaning.ENTRY:
                hidden = WhiteoutMark(about, entry.data, entry.mtime)
                if meaning is Meaning.WHITEOUT:
                    self._whiteouts.append(hidden)
                elif meaning is Meaning.OPAQUE:
                    self._opaques.append(hidden)
                return None
            if not path and entry.kind != DIR:
                if name.startswith(b"/"):  # the root itself, which engines would remove
                    raise ArchiveError("only a directory can be the root")
                self._warnings.append(ImageWarning("nameless-entry", self._layer, b""))
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
                self._warnings.append(ImageWarning("global-header", self._layer, path))

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


def disagreements(entry: Entry) -> Iterator[str]:
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
    if not 0 <= entry.mtime < YEAR_2262:
        yield "odd-mtime"
