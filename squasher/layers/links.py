"""A5: what a hard link names, and what its header makes of that file.

Source: layer.md "Hardlinks"; that the last header counts is what engines do: link(2), then
chown(2), chmod(2) and utimensat(2) on the one inode.
"""

from __future__ import annotations

from squasher.errors import ArchiveError
from squasher.layers.directories import DirectoryIndex
from squasher.layers.symlinks import WarningResolver
from squasher.layers.trace import Trace
from squasher.layers.tree import Node, Tree
from squasher.tar import paths
from squasher.tar.entry import CLAMPED, DISPUTED, LEFT, SYM, XATTRS_MAX, Entry
from squasher.tar.paths import join, show


class HardLinks:
    """The hard links of one layer."""

    def __init__(
        self, tree: Tree, directories: DirectoryIndex, lookups: WarningResolver, trace: Trace
    ) -> None:
        self._tree = tree
        self._directories = directories
        self._lookups = lookups
        self._trace = trace

    def find(self, path: bytes, entry: Entry, existing: Node | None) -> Entry:
        """Return the file that the link at `path` names; `existing` is what stood there before.

        Raises ArchiveError if there is none at this point, or if it is the link itself.
        """
        link: bytes = entry.target  # type: ignore[assignment]
        try:
            found, place, lower = self._target(paths.clean(link))
        except ArchiveError as error:
            raise error.within(f"{show(path)}: hard link to {show(link)}") from None
        if type(existing) is Entry and place == path:
            raise ArchiveError("a hard link to itself", where=show(path))
        if type(found) is not Entry:
            what = "is not a file" if found else "does not exist"
            raise ArchiveError(
                f"hard link to {show(link)}, which {what} at this point", where=show(path)
            )
        if lower:
            self._trace.warn("link-through-lower-symlink", path)
        if b".." in link and self._lookups.goes_up(link, found):
            self._trace.warn("link-up-from-symlink", path)
        return found

    def _target(self, path: bytes) -> tuple[Node | None, bytes, bool]:
        """Return what a hard link to the clean `path` names, its real path, and `Way.lower`."""
        parent, _, name = path.rpartition(b"/")
        if not path:
            return self._tree.root, path, False
        way = self._directories.reach(parent)
        if way is None:
            return None, path, False
        return way.folder.children.get(name), join(way.place, name), way.lower

    def restamp(self, path: bytes, entry: Entry, found: Entry) -> None:
        """Give the file `found` the attributes of the header of the link at `path`."""
        tree, layer = self._tree, self._trace.layer
        now = tree.state(found)
        mtime = now.mtime if now.kind == SYM else entry.mtime
        names = dict(now.xattrs)
        names.update(entry.xattrs)
        if len(names) > XATTRS_MAX:
            raise ArchiveError(f"more than {XATTRS_MAX} extended attributes", where=show(path))
        disputed = now.layer != layer
        if disputed:
            self._trace.warn("link-to-lower", path)
        start = 1 if now.kind == SYM else 0  # the kernel ignores a symlink's mode
        mode, uid, gid = entry.owner
        owner = mode, now.owner[1] if uid == LEFT else uid, now.owner[2] if gid == LEFT else gid
        said = (owner[start:], entry.mtime, entry.packed)
        if said != (now.owner[start:], now.mtime, now.packed):
            self._trace.warn("link-header-differs", path)
            disputed = True
        if now.kind == SYM and entry.packed:
            self._trace.warn("symlink-xattr", path)
        if tree.shares_link_overrides:
            tree.link_overrides, tree.shares_link_overrides = tree.link_overrides.copy(), False
        stamp = now.restamped(layer, owner, mtime, tuple(sorted(names.items())))
        if disputed:
            stamp.flags |= DISPUTED
        if now.kind != SYM:
            stamp.flags = (stamp.flags & ~CLAMPED) | (entry.flags & CLAMPED)
        tree.link_overrides[found] = stamp
