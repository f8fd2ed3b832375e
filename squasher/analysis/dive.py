"""Efficiency and wasted bytes as the tool dive defines them, so that thresholds carry over.

dive looks at the names in each layer alone. A leaf is a name with nothing below it in its layer; a
whiteout is a leaf under the name that it hides. Each path collects the sizes of its leaves in all
layers, a whiteout those of the directory that it hides (0 if that is a file, or a directory that
the layers so far last mentioned without an entry of its own):

    efficiency    sum of the smallest size of each path / sum of all sizes; 1 if there are none
    wasted bytes  sum of all sizes of the paths that have more than one leaf

So a file that is overwritten counts with every version, the last one too, and a directory that is
deleted counts as wasted only if its name was a leaf before. Opaque whiteouts are no leaves and
hide nothing. One thing differs: at a whiteout that hides nothing dive reports an error and leaves
out the rest of the layer; here it counts nothing and the rest counts.

Source: wagoodman/dive, dive/filetree/efficiency.go (Efficiency), file_tree.go (AddPath, Stack,
StackTreeRange), file_node.go (IsLeaf, IsWhiteout, Remove), dive/image/analysis.go (Analyze).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from squasher.tar.entry import DIR, Changeset
from squasher.tar.paths import WHITEOUT_PREFIX, add_ancestors


@dataclass(frozen=True, slots=True)
class Dive:
    """The figures of dive, as dive defines them.

    efficiency    0 to 1: sum of the smallest size of each path / sum of its sizes in all layers
    wasted_bytes  sizes, in all layers, of the paths that occur more than once
    user_bytes    sizes of the files in all layers but the lowest
    """

    efficiency: float
    wasted_bytes: int
    user_bytes: int

    @property
    def wasted_share(self) -> float:
        """wasted_bytes / user_bytes, dive's userWastedPercent; more than 1 if the base wastes much.

        Where dive divides by zero: 0 if nothing is wasted, else 1.
        """
        if not self.user_bytes:
            return float(bool(self.wasted_bytes))
        return self.wasted_bytes / self.user_bytes


@dataclass(slots=True, eq=False)
class _Folder:
    """A name of the stacked layers that has a directory's entry, or names below it."""

    size: int
    directory: bool
    #: A number is the size of a plain leaf.
    children: dict[bytes, int | _Folder] = field(default_factory=dict)


#: The size of the only leaf so far; smallest size and sum of sizes of several.
_Sizes = int | tuple[int, int]


class Ledger:
    """Takes the layers of an image, lowest first, and tells its efficiency. O(entries)."""

    def __init__(self) -> None:
        self._root = _Folder(0, directory=True)
        self._sizes: dict[bytes, _Sizes] = {}
        self._lowest = -1
        self._user_bytes = 0

    def add(self, changes: Changeset) -> None:
        """Take the next layer."""
        if self._lowest < 0:
            self._lowest = changes.layer
        if changes.layer != self._lowest:
            self._user_bytes += sum(entry.size for entry in changes.entries)
        own = {
            path: (entry.size, entry.kind == DIR)
            for path, entry in zip(changes.paths, changes.entries, strict=True)
            if path
        }
        hidden = {mark.path for mark in changes.whiteouts}
        above: set[bytes] = set()
        for path in (*own, *hidden):
            add_ancestors(path, above)
        for opaque in changes.opaques:  # its directory is there, it is not
            if opaque.path and opaque.path not in above:
                own.setdefault(opaque.path, (0, False))
                add_ancestors(opaque.path, above)
        for path, (size, _) in own.items():
            if path not in above:
                self._count(path, size)
        for path, size in self._hidden_sizes(hidden):
            self._count(path, size)
        self._stack(own, hidden, above)

    def _count(self, path: bytes, size: int) -> None:
        known = self._sizes.get(path)
        if known is None:
            self._sizes[path] = size
        else:
            least, total = known if isinstance(known, tuple) else (known, known)
            self._sizes[path] = min(least, size), total + size

    def _hidden_sizes(self, hidden: set[bytes]) -> Iterator[tuple[bytes, int]]:
        """Yield what each whiteout counts, seen from the layers below. O(what is hidden)."""
        known: dict[_Folder, int] = {}
        for path in sorted(hidden, reverse=True):  # what is below comes before what is above
            node = self._find(path)
            if node is None:
                continue
            yield path, _total(node, known) if type(node) is _Folder and node.directory else 0

    def _find(self, path: bytes) -> int | _Folder | None:
        node: int | _Folder | None = self._root
        for name in path.split(b"/"):
            node = node.children.get(name) if type(node) is _Folder else None
        return node

    def _stack(
        self, own: dict[bytes, tuple[int, bool]], hidden: set[bytes], above: set[bytes]
    ) -> None:
        """Put the layer on those below, name by name in their order: `.a` comes before `.wh..a`."""
        late = {path for path in hidden if path in own or path in above}
        late = {path for path in late if _name(path) < WHITEOUT_PREFIX + _name(path)}
        for path in hidden - late:
            self._remove(path)
        folders = {b"": self._root}
        for path in sorted(above):
            self._put(folders, path, *own.get(path, (0, False)), full=True)
        for path, (size, directory) in own.items():
            if path not in above:
                self._put(folders, path, size, directory, full=directory)
        for path in late:
            self._remove(path)

    def _put(
        self, folders: dict[bytes, _Folder], path: bytes, size: int, directory: bool, *, full: bool
    ) -> None:
        parent, _, name = path.rpartition(b"/")
        children = folders[parent].children
        node = children.get(name)
        if type(node) is not _Folder:
            if not full:
                children[name] = size
                return
            node = children[name] = _Folder(size, directory)
        node.size, node.directory = size, directory
        folders[path] = node

    def _remove(self, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        node = self._find(parent) if parent else self._root
        if type(node) is _Folder:
            node.children.pop(name, None)

    def figures(self) -> Dive:
        """Return the figures of the layers so far."""
        least = total = wasted = 0
        for sizes in self._sizes.values():
            if isinstance(sizes, tuple):
                least += sizes[0]
                total += sizes[1]
                wasted += sizes[1]
            else:
                least += sizes
                total += sizes
        return Dive(least / total if total else 1.0, wasted, self._user_bytes)


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _total(top: _Folder, known: dict[_Folder, int]) -> int:
    """Return the sizes at and below `top`; those of folders in `known` are not added up again."""
    total = 0
    todo = [top]
    while todo:
        folder = todo.pop()
        if folder in known:
            total += known[folder]
            continue
        total += folder.size
        for node in folder.children.values():
            if type(node) is _Folder:
                todo.append(node)
            else:
                total += node  # type: ignore[operator]
    known[top] = total
    return total
