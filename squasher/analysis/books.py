"""Where the content of layers goes: which layer brings each entry, and which one takes it away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from squasher.layers.apply import apply
from squasher.layers.tree import Directory, Node, Tree
from squasher.tar.entry import Changeset, Entry, ImageWarning
from squasher.tar.paths import add_ancestors, join


@dataclass(slots=True)
class Page:
    """What became of one layer so far: see LayerShare."""

    entries: int
    whiteouts: int
    added: int
    overwritten: int = 0
    deleted: int = 0
    overwritten_entries: int = 0
    deleted_entries: int = 0


class Books:
    """Accounts for every entry: which layer brought it, which one took it away.

    trees      the tree that each number of layers makes, from none on: forks of each other
    pages      one for each layer
    lost       bytes lost at each path, and how many versions of it that were
    warnings   what engines disagree about, lowest layer first
    """

    def __init__(self) -> None:
        self.trees = [Tree()]
        self.pages: list[Page] = []
        self.lost: dict[bytes, tuple[int, int]] = {}
        self.warnings: list[ImageWarning] = []
        self._links: dict[Entry, int] = {}  # names that a hard-linked file has now
        self._bringer: dict[bytes, int] = {}  # the layer that brought such a name

    def add(self, changes: Changeset) -> None:
        """Apply the next layer to a fork of the tree, and enter what that changed.

        O(its entries), plus the names in directories that it changes. Raises ArchiveError.
        """
        layer = len(self.pages)
        before = self.trees[-1]
        tree = before.fork(layer)
        apply(tree, changes)
        self.trees.append(tree)
        self.warnings += tree.warnings
        page = Page(
            len(changes.entries),
            len(changes.whiteouts) + len(changes.opaques),
            sum(entry.stored for entry in changes.entries),
        )
        self.pages.append(page)
        here: dict[int, int] = {}  # where the bytes lie that are still there, and how many
        left: dict[Entry, tuple[bytes, bool]] = {}
        names = 0
        for path, old, new in _changes(before.root, tree.root):
            if old is not None:
                bringer = self.pages[self._bringer.pop(path, old.layer)]
                if new is None:
                    bringer.deleted_entries += 1
                else:
                    bringer.overwritten_entries += 1
                if old in tree.link_overrides:
                    self._count(old, layer, -1)
                    left[old] = path, new is not None
                else:
                    self._lose(path, old, overwritten=new is not None)
            if new is not None:
                names += 1
                if new.layer == layer:
                    here[new.data] = new.stored
                if new in tree.link_overrides:
                    self._count(new, layer, 1)
                    self._bringer[path] = layer
        for entry, (path, overwritten) in left.items():
            if not self._links[entry]:
                self._lose(path, entry, overwritten=overwritten)
        page.overwritten_entries += page.entries - names  # by the layer itself
        if page.added != sum(here.values()):
            for path, entry in zip(changes.paths, changes.entries, strict=True):
                if entry.data not in here:
                    self._lose(path, entry, overwritten=True)

    def _count(self, entry: Entry, layer: int, change: int) -> None:
        """Count the names of a hard-linked file; before its first link it had one."""
        self._links[entry] = self._links.get(entry, int(entry.layer < layer)) + change

    def _lose(self, path: bytes, entry: Entry, *, overwritten: bool) -> None:
        size = entry.stored
        if not size:
            return
        if overwritten:
            self.pages[entry.layer].overwritten += size
        else:
            self.pages[entry.layer].deleted += size
        wasted, times = self.lost.get(path, (0, 0))
        self.lost[path] = wasted + size, times + 1


def _changes(
    before: Directory, after: Directory
) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """Yield the paths that differ in what they lead to, and to what they led and lead.

    For directories that is their own entry. What forks share is not looked into.
    """
    stack: list[tuple[bytes, Node | None, Node | None]] = [(b"", before, after)]
    while stack:
        path, old, new = stack.pop()
        one = old.entry if type(old) is Directory else old
        two = new.entry if type(new) is Directory else new
        if one is not two:
            yield path, one, two  # type: ignore[misc]
        ours = old.children if type(old) is Directory else {}
        theirs = new.children if type(new) is Directory else {}
        for name, node in theirs.items():
            lower = ours.get(name)
            if lower is node:
                continue
            if type(node) is Directory or type(lower) is Directory:
                stack.append((join(path, name), lower, node))
            else:
                yield join(path, name), lower, node  # type: ignore[misc]
        stack += ((join(path, name), ours[name], None) for name in ours if name not in theirs)


def final_sizes(tree: Tree) -> dict[bytes, int]:
    """Return the bytes that the files of a tree hold, by path; a file counts at its first name."""
    found: dict[bytes, int] = {}
    linked: set[Node] = set()
    for path, node in tree.walk():
        if type(node) is not Entry or not node.stored:
            continue
        if node in tree.link_overrides:
            if node in linked:
                continue
            linked.add(node)
        found[path] = node.stored
    return found


def folder_sums(paths: Iterable[tuple[bytes, int, int]]) -> Iterator[tuple[bytes, int, int]]:
    """Yield what each directory holds, all below it included: two sums, sorted by path. O(paths).

    `paths` are those of files, each with its part of both. The root, b"", is there in any case.
    """
    sums: dict[bytes, list[int]] = {b"": [0, 0]}
    for path, one, two in paths:
        above = sums.setdefault(path.rpartition(b"/")[0], [0, 0])
        above[0] += one
        above[1] += two
    seen: set[bytes] = set()
    for path in tuple(sums):
        for parent in add_ancestors(path, seen):
            sums.setdefault(parent, [0, 0])
    for path in sorted(sums, reverse=True)[:-1]:  # what is below comes before what is above
        above = sums[path.rpartition(b"/")[0]]
        above[0] += sums[path][0]
        above[1] += sums[path][1]
    return ((path, one, two) for path, (one, two) in sorted(sums.items()))
