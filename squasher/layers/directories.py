"""A2: the directories that the entries of a layer go to, made where they are missing."""

from __future__ import annotations

from functools import partial

from squasher.errors import ArchiveError
from squasher.layers.symlinks import Resolver, WarningResolver, Way
from squasher.layers.trace import Trace
from squasher.layers.tree import Directory, Tree
from squasher.tar import paths
from squasher.tar.entry import BLOCK, SYM, Entry
from squasher.tar.paths import join, show


class DirectoryIndex:
    """The directories of one layer, found once for all entries in them.

    by_name   by the path that an entry's name has for them, symlinks not resolved
    real      of these, the ones that symlinks lead to, and where that is
    """

    def __init__(
        self, tree: Tree, resolver: Resolver, lookups: WarningResolver, trace: Trace
    ) -> None:
        self._tree = tree
        self._layer = trace.layer
        self._resolver = resolver
        self._lookups = lookups
        self._trace = trace
        self.by_name: dict[bytes, Directory] = {b"": tree.root}
        self.real: dict[bytes, Way] = {}
        #: Directories of hard links' targets that no entry has gone to.
        self._reached: dict[bytes, Way | None] = {}
        #: Bytes of the tree's budget for implied directories that `by_name` holds.
        self._held = 0

    def forget(self) -> None:
        """Forget all but the root: a directory or symlink gives way, and paths lead elsewhere."""
        self.by_name.clear()
        self.by_name[b""] = self._tree.root
        self.real.clear()
        self._reached.clear()
        self.give_back()

    def give_back(self) -> None:
        """Give back what `by_name` held of the tree's budget."""
        self._tree.implied_budget += self._held
        self._held = 0

    def enter(self, path: bytes, entry: Entry) -> Directory:
        """Return the directory for an entry whose parent the layer has not mentioned so far.

        A missing one is made. A symlink of this layer is followed, inside the root; a symlink or
        file of a lower layer gives way to a new directory, as overlay shows it. O(new components).
        """
        todo = []
        while path not in self.by_name:
            path, _, name = path.rpartition(b"/")
            todo.append(name)
        folder, way = self.by_name[path], self.real.get(path)
        while todo:
            name = todo.pop()
            place = join(way.place if way else path, name)
            path = join(path, name)
            self._held += BLOCK + len(path)
            self._take(BLOCK + len(path), place)
            child = folder.children.get(name)
            if type(child) is Entry and child.kind == SYM and self._is_new(child):
                way = Way(place.rpartition(b"/")[0], folder, way.hops if way else 0)
                self._resolver.go(way, name, partial(self._behind, entry))
                folder = way.folder
            else:
                folder = self._step(folder, name, place, entry)
                way = Way(place, folder, way.hops) if way else None
            self.by_name[path] = folder
            if way:
                self.real[path] = way
        return folder

    def _behind(self, entry: Entry, way: Way, name: bytes) -> Directory | Entry:
        """Find a symlink of this layer, else the directory, made for `entry` if there is none."""
        child = way.folder.children.get(name)
        if type(child) is Entry and child.kind == SYM and self._is_new(child):
            return child
        place = join(way.place, name)
        own = type(child) is Directory and child.layer == self._layer
        if not own and (child is None or place not in self._trace.mentioned):
            # In the layer alone the symlink leads to nothing, and a path cannot go through it.
            self._trace.warn("through-dangling-symlink", place)
        return self._step(way.folder, name, place, entry)

    def _step(self, folder: Directory, name: bytes, place: bytes, entry: Entry) -> Directory:
        """Return the child directory `name`, made for `entry` if there is none."""
        child = folder.children.get(name)
        trace, own = self._trace, folder.layer == self._layer
        trace.mentioned.setdefault(place, own and folder.default_acl)
        if type(child) is Directory:
            return self._tree.own_child(folder, name, child)
        check_length(place)
        self._take(BLOCK + len(place), place)
        new = Directory(None, self._layer, entry.mtime, self._tree.epoch)
        new.inherits = own and folder.default_acl
        if own:
            new.hand_on(folder.acl)
        new.grouped = own and (folder.setgid or folder.grouped)
        if child is not None:
            assert type(child) is Entry  # noqa: S101
            if self._is_new(child):
                raise ArchiveError("a file of the same layer is in the way", where=show(place))
            if child.kind == SYM:
                new.replaced_symlink = child
                self._reached.clear()  # targets of hard links may have led through it
                trace.warn("through-lower-symlink", place)
                trace.replaced_targets.add(self._lookups.leads_to(folder, place))
            else:
                trace.warn("file-becomes-directory", place)
        folder.children[name] = new
        trace.implied.append((place, entry.data))
        return new

    def _take(self, count: int, path: bytes) -> None:
        """Take `count` bytes of the budget for directories that have no entry."""
        self._tree.implied_budget -= count
        if self._tree.implied_budget < 0:
            raise ArchiveError("too many folders for a layer of that size", where=show(path))

    def _is_new(self, entry: Entry) -> bool:
        return self._tree.state(entry).layer == self._layer

    def reach(self, path: bytes) -> Way | None:
        """Return the directory at `path`, all symlinks on the way followed; None if it ends."""
        if path in self.by_name:
            return self.real.get(path) or Way(path, self.by_name[path])
        if path not in self._reached:
            way = Way(b"", self._tree.root)
            there = all(self._resolver.go(way, name, self._existing) for name in path.split(b"/"))
            self._reached[path] = way if there else None
        return self._reached[path]

    def _existing(self, way: Way, name: bytes) -> Directory | Entry | None:
        """Find what is there, of any layer."""
        child = way.folder.children.get(name)
        if type(child) is Directory:
            return self._tree.own_child(way.folder, name, child)  # it is kept in `_reached`
        if type(child) is Entry and child.kind == SYM:
            way.lower = way.lower or not self._is_new(child)
            return child
        return None


def check_length(path: bytes) -> None:
    """Raise ArchiveError for a path that is too long: symlinks can lead deeper than any name."""
    if len(path) > paths.PATH_MAX:
        raise ArchiveError(f"the path is longer than {paths.PATH_MAX} bytes", where=show(path))
