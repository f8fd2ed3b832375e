"""The tree that `verify.apply` applies layers to, which is only compared."""

from __future__ import annotations

from collections.abc import Iterator

from squasher.tar.entry import IMPLIED_FREE, SYM, Entry
from squasher.tar.paths import join


class Folder:
    """A directory: its header, if it has one, and its names. A file is its own Entry.

    name, parent   the root is its own parent
    depth, length  of its path: names and bytes
    layer   that last said something about it
    reset   overlay engines show it without its attributes: the last layer that went through it
            has no entry for it
    ghosts  names that overlay engines list here and do not find: of whiteouts that hide nothing,
            as long as no other layer has the directory
    """

    __slots__ = (
        "children",
        "depth",
        "entry",
        "ghosts",
        "layer",
        "length",
        "name",
        "parent",
        "reset",
    )

    def __init__(self, parent: Folder | None = None, name: bytes = b"", layer: int = -1) -> None:
        self.parent = parent or self
        self.name = name
        self.depth: int = parent.depth + 1 if parent else 0
        self.length = parent.length_with(name) if parent else 0
        self.entry: Entry | None = None
        self.layer = layer
        self.reset = False
        self.ghosts: frozenset[bytes] = frozenset()
        self.children: dict[bytes, Node] = {}

    def length_with(self, name: bytes) -> int:
        """Return how long the path of `name` in the directory is."""
        return self.length + (1 if self.depth else 0) + len(name)

    def path_of(self, name: bytes) -> bytes:
        """Return the path of `name` in the directory. O(its length)."""
        names, folder = [name], self
        while folder.depth:
            names.append(folder.name)
            folder = folder.parent
        return b"/".join(reversed(names))


Node = Folder | Entry


def is_link(node: Node | None) -> bool:
    """Tell whether it is a symbolic link."""
    return type(node) is Entry and node.kind == SYM


class Tree:
    """Layers applied so far, lowest first.

    implied_budget  bytes of headers that directories without an entry may still take
    linked          files that ever had a second name. Their attributes are those of the last link,
                    so each is a copy of what its layer says of it.
    """

    def __init__(self) -> None:
        self.root = Folder()
        self.implied_budget = IMPLIED_FREE
        self.linked: set[Entry] = set()

    def find(self, path: bytes) -> Node | None:
        """Return what is at `path`, following nothing."""
        node: Node | None = self.root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if type(node) is Folder else None
        return node


_NOTHING: dict[bytes, Node] = {}


def side_by_side(one: Tree, two: Tree) -> Iterator[tuple[bytes, Node | None, Node | None]]:
    """Yield every path of two trees with what each has there, None for nothing; in any order."""
    yield b"", one.root, two.root
    todo = [(b"", one.root.children, two.root.children)]
    while todo:
        parent, ours, theirs = todo.pop()
        for names in (ours, theirs.keys() - ours.keys()):
            for name in names:
                path, x, b = join(parent, name), ours.get(name), theirs.get(name)
                yield path, x, b
                if type(x) is Folder or type(b) is Folder:
                    left = x.children if type(x) is Folder else _NOTHING
                    right = b.children if type(b) is Folder else _NOTHING
                    todo.append((path, left, right))
