"""Builds what a layer says from its entries, by the grammar of whiteouts (R1 to R4)."""

from __future__ import annotations

from collections.abc import Iterator

from squasher.errors import ArchiveError
from squasher.tar import paths
from squasher.tar.entry import (
    ABSOLUTE,
    CHR,
    DEFAULT_ACL,
    DIR,
    REWRITE,
    SYM,
    Changeset,
    Entry,
    ImageWarning,
    WhiteoutMark,
)
from squasher.tar.fields import YEAR_2262
from squasher.tar.paths import Meaning, show


class ChangesetBuilder:
    """Takes the entries of a layer in archive order.

    parents, names, entries   as a Changeset has them; the walk adds what is plain itself
    global_headers            the names of global headers
    """

    def __init__(self, layer: int) -> None:
        self._layer = layer
        self.parents: list[bytes] = []
        self.names: list[bytes] = []
        self.entries: list[Entry] = []
        self.global_headers: set[bytes] = set()
        self._whiteouts: list[WhiteoutMark] = []
        self._opaques: list[WhiteoutMark] = []
        self._warnings: list[ImageWarning] = []

    def add(self, name: bytes, entry: Entry) -> None:
        """Put an entry where its name says, noting what engines disagree about."""
        path = self.add_named(name, entry)
        if path is not None:
            self._warnings += [ImageWarning(kind, self._layer, path) for kind in warnings_of(entry)]

    def add_named(self, name: bytes, entry: Entry) -> bytes | None:
        """Put an entry where its name says, by the grammar of whiteouts; return its path."""
        try:
            path = paths.clean(name)
            meaning, about = paths.classify(path)
            if meaning is not Meaning.ENTRY:
                mark = WhiteoutMark(about, entry.data, entry.mtime)
                if meaning is Meaning.WHITEOUT:
                    self._whiteouts.append(mark)
                elif meaning is Meaning.OPAQUE:
                    self._opaques.append(mark)
                return None
            if not path and entry.kind != DIR:
                if name.startswith(b"/"):  # the root itself, which engines would remove
                    raise ArchiveError("only a directory can be the root")
                self._warnings.append(ImageWarning("nameless-entry", self._layer, b""))
                return None
            if entry.kind == SYM and not entry.target:
                raise ArchiveError("a symlink without a target")
            if type(entry.target) is bytes and len(entry.target) > paths.PATH_MAX:
                raise ArchiveError(f"the link target is longer than {paths.PATH_MAX} bytes")
        except ArchiveError as error:
            place = entry.data - entry.headers_size
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
        self.parents.append(parent)
        self.names.append(base)
        self.entries.append(entry)
        return path

    def _warn_of_globals(self) -> None:
        """Note the global headers whose names some engines obey, as if they were entries.

        containerd and podman make their folders, docker does not; with the name of an entry the
        one removes that, the others refuse the layer. O(entries).
        """
        joined = map(paths.join, self.parents, self.names)
        kinds = {path: entry.kind for path, entry in zip(joined, self.entries, strict=True)}
        for name in sorted(self.global_headers):
            try:
                path = paths.clean(name)
            except ArchiveError:
                path = name
            folder, _, base = path.rpartition(b"/")
            alone = kinds.get(folder) == DIR or not folder
            if path in kinds or not alone or base.startswith(paths.WHITEOUT_PREFIX):
                self._warnings.append(ImageWarning("global-header", self._layer, path))

    def finish(self, size: int) -> Changeset:
        """Return what the layer of `size` bytes says."""
        if self.global_headers:
            self._warn_of_globals()
        return Changeset(
            self._layer,
            size,
            self.parents,
            self.names,
            self.entries,
            self._whiteouts,
            self._opaques,
            self._warnings,
        )


def warnings_of(entry: Entry) -> Iterator[str]:
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
