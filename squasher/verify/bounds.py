"""What one layer may cost beyond its own bytes, as `verify.apply` counts it."""

from __future__ import annotations

from squasher.errors import ArchiveError
from squasher.tar.entry import BLOCK, IMPLIED_FACTOR
from squasher.tar.paths import PATH_MAX, STEPS_FACTOR, STEPS_FREE, show
from squasher.verify.tree import Folder, Tree


class Bounds:
    """Counts the folders that a layer does not spell out, and the symbolic links it goes through.

    A few bytes can ask for any number of both. The tree has room for folders, of which each layer
    brings some; each layer may take so many steps.
    """

    def __init__(self, tree: Tree, size: int, entries: int) -> None:
        tree.implied_budget += IMPLIED_FACTOR * size
        self._tree = tree
        self._held = 0
        self._steps = STEPS_FREE + STEPS_FACTOR * entries

    def make(self, folder: Folder, name: bytes) -> None:
        """Pay for a folder `name` that is made. Raises ArchiveError."""
        length = folder.length_with(name)
        if length > PATH_MAX:
            raise too_long(folder, name)
        self._take(length, folder, name)

    def hold(self, path: bytes, folder: Folder, name: bytes) -> None:
        """Pay for `path`, as long as the layer knows where it leads: to `name` in `folder`."""
        self._take(len(path), folder, name)
        self._held += BLOCK + len(path)

    def give_back(self) -> None:
        """Have back what was paid for paths that are known."""
        self._tree.implied_budget += self._held
        self._held = 0

    def step(self, steps: int, start: tuple[Folder, bytes]) -> None:
        """Pay for so many names on a way through symbolic links. Raises ArchiveError."""
        self._steps -= steps
        if self._steps < 0:
            raise too_many_links(start)

    def _take(self, length: int, folder: Folder, name: bytes) -> None:
        self._tree.implied_budget -= BLOCK + length
        if self._tree.implied_budget < 0:
            what = "too many folders for a layer of that size"
            raise ArchiveError(what, where=show(folder.path_of(name)))


def too_many_links(start: tuple[Folder, bytes]) -> ArchiveError:
    """Return the error of a way that begins at a name in a folder."""
    folder, name = start
    return ArchiveError("too many symbolic links", where=show(folder.path_of(name)))


def too_long(folder: Folder, name: bytes) -> ArchiveError:
    """Return the error of a path to which symbolic links have led."""
    what = f"the path is longer than {PATH_MAX} bytes"
    return ArchiveError(what, where=show(folder.path_of(name)))
