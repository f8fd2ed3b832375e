"""A2 as `verify.apply` reads it: the folders that names of a layer lead to, within bounds."""

from __future__ import annotations

from squasher.errors import ArchiveError
from squasher.tar.entry import Changeset, Entry
from squasher.tar.paths import HOPS_MAX, join, show
from squasher.verify.bounds import Bounds, too_many_links
from squasher.verify.tree import Folder, Node, Tree, is_link


class Ways:
    """Where the names of one layer lead in a tree.

    known    folders by the names that entries have for them
    hops     the symbolic links on the way, for those of them that have some
    touched  folders that the layer goes through; whether it has their entry
    """

    def __init__(self, tree: Tree, changes: Changeset) -> None:
        self._root = tree.root
        self._layer = changes.layer
        self._bounds = Bounds(tree, changes.size, len(changes.entries))
        self.known: dict[bytes, Folder] = {b"": tree.root}
        self.hops: dict[bytes, int] = {}
        self.touched: dict[Folder, bool] = {}
        #: Where names lead that hard links alone have for a folder.
        self._reached: dict[bytes, Folder | None] = {}

    def forget(self, old: Node) -> None:
        """Forget what led through `old`, which gives way: it leads elsewhere."""
        if type(old) is Folder or is_link(old):
            self.known.clear()
            self.known[b""] = self._root
            self.hops.clear()
            self._reached.clear()
            self._bounds.give_back()

    def end(self) -> None:
        """Have back what was paid for what is known."""
        self._bounds.give_back()

    def enter(self, path: bytes) -> Folder:
        """Return the folder at `path`, which is not known, made where it is missing.

        The way goes through symlinks of this layer, never of a lower one: what is no directory
        gives way to one. O(names that are not known). Raises ArchiveError.
        """
        missing = []
        while path not in self.known:
            path, _, name = path.rpartition(b"/")
            missing.append(name)
        folder, hops = self.known[path], self.hops.get(path, 0)
        for name in reversed(missing):
            path = join(path, name)
            self._bounds.hold(path, folder, name)
            found, hops = self._go(folder, name, hops, make=True)
            assert found is not None  # noqa: S101
            folder = self.known[path] = found
            if hops:
                self.hops[path] = hops
        return folder

    def reach(self, path: bytes) -> Folder | None:
        """Return the folder at `path`, all symlinks on the way followed. Raises ArchiveError."""
        if path in self.known:
            return self.known[path]
        if path not in self._reached:
            folder: Folder | None = self._root
            hops = 0
            for name in path.split(b"/"):
                if folder is not None:
                    folder, hops = self._go(folder, name, hops, make=False)
            self._reached[path] = folder
        return self._reached[path]

    def _go(
        self, folder: Folder, name: bytes, hops: int, *, make: bool
    ) -> tuple[Folder | None, int]:
        """Return where `name` in a folder leads, and the symlinks so far, as `hops` counts them.

        With `make` symlinks of lower layers are not followed, and what is missing is made; without
        it there is None for that.
        """
        start, todo = (folder, name), [name]
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                folder = folder.parent
                self._bounds.step(max(1, folder.depth), start)
                continue
            child = folder.children.get(name)
            if type(child) is Entry and is_link(child) and not (make and self._is_lower(child)):
                hops += 1
                if hops > HOPS_MAX:
                    raise too_many_links(start)
                names = child.target.split(b"/")  # type: ignore[union-attr]
                self._bounds.step(len(names), start)
                folder = folder if names[0] else self._root
                todo += reversed(names)
                continue
            if make:
                child = self._made(folder, name, child)
            if type(child) is not Folder:
                return None, hops
            folder = child
        return folder, hops

    def _made(self, parent: Folder, name: bytes, old: Node | None) -> Folder:
        """Return the folder `name` of another one, made in the place of what is there."""
        if type(old) is not Folder:
            self._bounds.make(parent, name)
            if type(old) is Entry and not self._is_lower(old):
                what = "a file of the same layer is in the way"
                raise ArchiveError(what, where=show(parent.path_of(name)))
            if is_link(old):
                self._reached.clear()  # some may have led through it
            old = parent.children[name] = Folder(parent, name, self._layer)
        self.touched.setdefault(old, False)
        return old

    def _is_lower(self, entry: Entry) -> bool:
        return entry.layer != self._layer
