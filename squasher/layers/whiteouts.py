"""A1: whiteouts hide names of lower layers, wherever in the archive they stand.

Source: layer.md, "Whiteouts": they "apply to resources in lower/parent layers".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from squasher.errors import ArchiveError
from squasher.layers.trace import Trace
from squasher.layers.tree import Directory, Node, Tree
from squasher.tar.entry import DIR, LINK, SYM, Changeset, Entry, WhiteoutMark
from squasher.tar.paths import show

#: The kind of an entry that stands for a whiteout: it only makes its directories.
IMPLIES = 0
#: An entry with the directory and the name where it goes.
Record = tuple[bytes, bytes, Entry]


class Whiteouts:
    """The whiteouts of one layer, and the tree below it."""

    def __init__(self, tree: Tree, changes: Changeset, trace: Trace) -> None:
        self._tree = tree
        self._changes = changes
        self._trace = trace
        #: What the lower tree has at the paths of directories with whiteouts.
        self._known: dict[bytes, Directory | None] = {}
        self._missing: list[Record] = []

    def hide(self) -> list[Record]:
        """Hide what whiteouts name, in the lower tree only.

        Returns an entry in place of each whiteout whose directory does not exist below: it makes
        that directory.
        """
        changes = self._changes
        if not changes.whiteouts and not changes.opaques:
            return []
        # Either kind may be the first to make a directory, whose time is then that one's.
        targets: list[tuple[bytes, bytes | None]] = [
            *self._names(),
            *((mark.path, None) for mark in self._opaques()),
        ]
        own: dict[bytes, Directory | None] = {}
        for parent, name in targets:
            if parent not in own:
                own[parent] = self._tree.own(parent)
            folder = own[parent]
            if folder is None:
                continue
            if name is None:  # the whiteout may come twice
                self._trace.emptied.setdefault(parent, folder.children)
                folder.children = {}
            else:
                folder.children.pop(name, None)
        return self._missing

    def _names(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the directory and the name that each whiteout hides there."""
        for mark in self._changes.whiteouts:
            parent, _, name = mark.path.rpartition(b"/")
            if self._is_below(parent, mark):
                yield parent, name
            else:
                self._trace.warn("ghost-whiteout", mark.path)

    def _opaques(self) -> Iterator[WhiteoutMark]:
        for mark in self._changes.opaques:
            if not mark.path and self._tree.root.children:
                self._trace.warn("root-opaque", b"")
            if self._is_below(mark.path, mark):
                yield mark

    def _is_below(self, parent: bytes, mark: WhiteoutMark) -> bool:
        """Tell whether the lower tree has the directory `parent`."""
        if parent not in self._known:
            self._known[parent] = self._lower_directory(parent)
        if self._known[parent] is None and self._tree.find(parent) is None:
            # Each makes its directories, for what stands there may have gone since the last one.
            # Any name will do: entries of this kind do nothing else.
            layer = self._trace.layer
            marker = Entry(IMPLIES, layer, mark.offset, 0, 0, (0, 0, 0), mark.mtime)
            self._missing.append((parent, b"?", marker))
        return self._known[parent] is not None

    def _lower_directory(self, path: bytes) -> Directory | None:
        """Return the lower directory at `path`, None if a part of it is missing.

        Raises ArchiveError if a part is no directory: engines follow the symlink, make a directory
        of it or give up. A layer that has its own directory there says what it means (builders on
        overlay write an opaque whiteout into a directory that replaces a file).
        """
        node: Node | None = self._tree.root
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            assert type(node) is Directory  # noqa: S101
            node = node.children.get(name)
            if node is None:
                return None
            if type(node) is not Directory:
                done = b"/".join(names[:depth])
                if done not in self._own_directories:
                    what = f"a whiteout below {show(done)}, which is not a directory"
                    raise ArchiveError(what, where=show(path))
                return None
        assert type(node) is Directory  # noqa: S101
        return node

    @cached_property
    def _own_directories(self) -> frozenset[bytes]:
        changes = self._changes
        pairs = zip(changes.paths, changes.entries, strict=True)
        return frozenset(path for path, entry in pairs if entry.kind == DIR)

    def places_behind_symlinks(self) -> list[tuple[int, bytes]]:
        """Return where whiteouts stand, if one may be below a symlink that the layer has made.

        That is (offset in the archive, directory), in the order of the archive.
        """
        changes = self._changes
        if not changes.whiteouts and not changes.opaques:
            return []
        pairs = zip(changes.names, changes.entries, strict=True)
        links = {name for name, entry in pairs if entry.kind in (SYM, LINK)}
        if not links:
            return []
        places = [(mark.offset, mark.path.rpartition(b"/")[0]) for mark in changes.whiteouts]
        places += [(mark.offset, mark.path) for mark in changes.opaques]
        behind = any(not links.isdisjoint(path.split(b"/")) for _, path in places)
        return sorted(places) if behind else []

    def refuse_behind_symlink(self, path: bytes) -> None:
        """Raise ArchiveError if a symlink of the layer stands at `path` or above it.

        Engines follow it and hide what is in the directory that it leads to. No builder writes
        such whiteouts; those below a symlink of a lower layer mean something else to each engine.
        """
        node: Node | None = self._tree.root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if type(node) is Directory else None
            if type(node) is not Entry or node.kind != SYM:
                continue
            if self._tree.state(node).layer == self._trace.layer:
                what = "a whiteout below a symlink of the same layer"
                raise ArchiveError(what, where=show(path))
