"""Where a path leads through symbolic links: inside the root, and within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from squasher.errors import ArchiveError
from squasher.layers.tree import Directory, Tree
from squasher.tar import paths
from squasher.tar.entry import SYM, Entry
from squasher.tar.paths import join, show


@dataclass(slots=True, eq=False)
class Way:
    """Where a path has led so far: a directory and its real path.

    hops    symlinks that were followed
    lower   whether one of them is of a lower layer
    """

    place: bytes
    folder: Directory
    hops: int = 0
    lower: bool = False


#: Says what a path finds at a name: a directory, a symlink to follow, or None where it ends.
Step = Callable[[Way, bytes], Directory | Entry | None]

#: A directory that is not there, nor what would be in it.
_NOWHERE = Directory(None, 0, 0, 0)


def _imagined(way: Way, name: bytes) -> Directory | Entry | None:
    """Find what is there, and _NOWHERE where nothing is."""
    child = way.folder.children.get(name)
    if type(child) is Directory or (type(child) is Entry and child.kind == SYM):
        return child
    return _NOWHERE if len(way.place) <= paths.PATH_MAX else None


class Resolver:
    """Follows the symlinks of a tree for one layer of so many entries.

    One bound holds for all of the layer, since one for each path would be paid for each entry.
    """

    def __init__(self, tree: Tree, entries: int) -> None:
        self._tree = tree
        self._steps = paths.STEPS_FREE + paths.STEPS_FACTOR * entries

    def go(self, way: Way, name: bytes, step: Step) -> bool:
        """Go on to `name`, and through symlinks to where they lead, inside the root.

        Tells whether it was there, as `step` has it. O(names in the targets). Raises ArchiveError
        beyond the bound of the layer, and for a loop.
        """
        start, todo = join(way.place, name), [name]
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                way.place = way.place.rpartition(b"/")[0]
                self._pay(way.place.count(b"/") + 1, start)
                above = self._tree.find(way.place)
                way.folder = above if type(above) is Directory else _NOWHERE
                continue
            child = step(way, name)
            if child is None:
                return False
            if type(child) is Directory:
                way.place, way.folder = join(way.place, name), child
                continue
            way.hops += 1
            if way.hops > paths.HOPS_MAX:
                raise _too_many(start)
            names = child.target.split(b"/")  # type: ignore[union-attr]
            self._pay(len(names), start)
            if not names[0]:
                way.place, way.folder = b"", self._tree.root
            todo.extend(reversed(names))
        return True

    def _pay(self, steps: int, path: bytes) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise _too_many(path)


class WarningResolver(Resolver):
    """Looks up where paths would lead, for warnings alone; nothing is made on the way.

    Its bound is its own, so that what a layer is refused for does not depend on what is warned of.
    Beyond it the answer is the one that trusts nothing.
    """

    def leads_to(self, folder: Directory, place: bytes) -> bytes:
        """Return where the symlink `place` in `folder` leads, there or not; the root for a loop."""
        parent, _, name = place.rpartition(b"/")
        way = Way(parent, folder)
        try:
            return way.place if self.go(way, name, _imagined) else b""
        except ArchiveError:
            return b""

    def leads_there(self, path: bytes, folder: Directory) -> bool:
        """Tell whether `path` leads to `folder`, symlinks followed."""
        way = Way(b"", self._tree.root)
        try:
            there = all(self.go(way, name, _imagined) for name in path.split(b"/"))
        except ArchiveError:
            return False
        return there and way.folder is folder

    def goes_up(self, link: bytes, found: Entry) -> bool:
        """Tell whether `..` in the target of a hard link goes up from where a symlink leads.

        `found` is what the target names if each `..` takes back the name before it.
        """
        names = [name for name in link.split(b"/") if name not in (b"", b".")]
        way = Way(b"", self._tree.root)
        try:
            there = all(self.go(way, name, _imagined) for name in names[:-1])
        except ArchiveError:
            return True
        return not there or way.folder.children.get(names[-1]) is not found


def _too_many(path: bytes) -> ArchiveError:
    return ArchiveError("too many symbolic links", where=show(path))
