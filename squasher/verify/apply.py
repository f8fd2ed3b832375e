"""A second, plain reading of the rules A1 to A6: layers applied to a tree that is only compared.

`layers.apply` has the first, with all that merging wants to know; nothing of it is used here.

Source: OCI image-spec, layer.md, "Applying Changesets"; what engines make of what it leaves open.
"""

from __future__ import annotations

from typing import NoReturn

from squasher.errors import PolicyError
from squasher.tar.entry import DIR, LEAVES, LEFT, LINK, REWRITE, SYM, Changeset, Entry
from squasher.tar.paths import Cover, clean, join, show

#: Symbolic links followed in one name; engines give up there too.
_HOPS_MAX = 255


class Folder:
    """A directory: its header, if it has one, and its names. A file is its own Entry.

    layer   that last said something about it
    reset   overlay engines show it without its attributes: the last layer that went through it
            has no entry for it
    ghosts  names that overlay engines list here and do not find: of whiteouts that hide nothing,
            as long as no other layer has the directory
    """

    __slots__ = ("children", "entry", "ghosts", "layer", "parent", "reset")

    def __init__(self, parent: Folder | None, entry: Entry | None, layer: int = -1) -> None:
        self.parent = parent or self
        self.entry = entry
        self.layer = layer
        self.reset = False
        self.ghosts: frozenset[bytes] = frozenset()
        self.children: dict[bytes, Folder | Entry] = {}


_Node = Folder | Entry
_Record = tuple[bytes, bytes, Entry | None]


def apply(root: Folder, changes: Changeset, *, strict: bool) -> None:
    """Apply a layer to the tree below `root`. O(entries). Raises PolicyError.

    `strict` is for a layer that was made here: it must hold nothing that engines refuse or read
    differently.
    """
    if strict:
        _require_each_once(root, changes)
    _Application(root, changes, strict=strict).run()


def _require_each_once(root: Folder, changes: Changeset) -> None:
    for path, entry in zip(changes.paths, changes.entries, strict=True):
        if entry.flags & REWRITE:
            raise _fault(changes, path, "not all readers read this header alike")
    seen: set[bytes] = set()
    for path in (*changes.paths, *(mark.path for mark in changes.whiteouts)):
        if path in seen:
            raise _fault(changes, path, "comes twice")
        seen.add(path)
    for mark in changes.opaques:
        raise _fault(changes, mark.path, "is emptied by an opaque whiteout")
    for mark in changes.whiteouts:
        if _find(root, mark.path) is None:
            raise _fault(changes, mark.path, "a whiteout of a path that no lower layer has")


def _fault(changes: Changeset, path: bytes, what: str) -> PolicyError:
    return PolicyError(f"{show(path)}: {what}", where=f"layer {changes.layer + 1}")


def _find(root: Folder, path: bytes) -> _Node | None:
    """Return what is at `path`, following nothing."""
    node: _Node | None = root
    for name in path.split(b"/") if path else ():
        node = node.children.get(name) if type(node) is Folder else None
    return node


class _Application:
    """One layer on its way into the tree below `root`. Entries are inodes: links change them.

    `strict` is for a layer that was made here: it must hold nothing that engines refuse or read
    differently.
    """

    def __init__(self, root: Folder, changes: Changeset, *, strict: bool) -> None:
        self._root = root
        self._changes = changes
        self._layer = changes.layer
        self._strict = strict
        #: Where the names that an entry has for its directory lead.
        self._known: dict[bytes, Folder] = {b"": root}
        #: The same for names that hard links have.
        self._linked_in: dict[bytes, Folder | None] = {}
        self._touched: dict[Folder, bool] = {}  # whether the layer has its entry
        self._ghosts: dict[bytes, set[bytes]] = {}  # by the path of their directory

    def run(self) -> None:
        """Apply whiteouts to what lies below, then entries in the order of the archive."""
        changes = self._changes
        records: list[_Record] = [
            *zip(changes.parents, changes.names, changes.entries, strict=True)
        ]
        if changes.whiteouts or changes.opaques:
            records = self._hide(records)
        for parent, name, entry in records:
            folder = self._known.get(parent) or self._enter(parent)
            if entry is None:
                continue
            if entry.flags & LEAVES:
                _leave_group(folder, entry)
            if entry.kind == DIR:
                self._directory(folder, join(parent, name), name, entry)
                continue
            node = self._linked(folder, name, entry) if entry.kind == LINK else entry
            self._forget(folder.children.get(name))
            folder.children[name] = node
        for folder, own in self._touched.items():
            folder.reset = not own
            folder.ghosts = frozenset()
        for path, ghosts in self._ghosts.items():
            found = _find(self._root, path)
            if type(found) is Folder:
                found.ghosts = frozenset(ghosts - found.children.keys())

    def _fail(self, path: bytes, what: str) -> NoReturn:
        raise _fault(self._changes, path, what)

    def _hide(self, records: list[_Record]) -> list[_Record]:
        """A1: remove what whiteouts name; return `records` with those that make a folder instead.

        A whiteout in a folder that is not there makes it, in its place in the archive.
        """
        changes = self._changes
        own = {
            path for path, x in zip(changes.paths, changes.entries, strict=True) if x.kind == DIR
        }
        at: list[tuple[int, _Record]] = [(record[2].data, record) for record in records]  # type: ignore[union-attr]
        emptied = [(mark, mark.path) for mark in changes.opaques]
        hidden = [(mark, mark.path.rpartition(b"/")[0]) for mark in changes.whiteouts]
        for mark, parent in hidden + emptied:
            found = self._lower(parent, own)
            if found is None:
                at.append((mark.offset, (parent, b"", None)))
        opaque = Cover(mark.path for mark in changes.opaques if mark.path)
        for mark, parent in hidden:
            if type(_find(self._root, parent)) is not Folder or opaque.below(mark.path):
                self._ghosts.setdefault(parent, set()).add(mark.path.rpartition(b"/")[2])
        for mark, parent in hidden:
            folder = _find(self._root, parent)
            if type(folder) is Folder:
                folder.children.pop(mark.path.rpartition(b"/")[2], None)
        for _, parent in emptied:
            folder = _find(self._root, parent)
            if type(folder) is Folder:
                folder.children = {}
        for _, parent in hidden + emptied:
            self._touch_all(parent)
        return [record for _, record in sorted(at, key=lambda pair: pair[0])]

    def _lower(self, path: bytes, excused: set[bytes]) -> _Node | None:
        """Return what is at `path`, following nothing; only those `excused` may be files."""
        node: _Node | None = self._root
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            node = node.children.get(name) if type(node) is Folder else None
            if type(node) is Entry:
                done = b"/".join(names[:depth])
                if done not in excused:
                    self._fail(path, f"a whiteout below {show(done)}, which is not a directory")
        return node

    def _touch_all(self, path: bytes) -> None:
        node: _Node | None = self._root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if type(node) is Folder else None
            if type(node) is Folder:
                self._touched.setdefault(node, False)

    def _enter(self, path: bytes) -> Folder:
        """A2: return the folder at `path`, made where it is missing."""
        missing = []
        while path not in self._known:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        folder = self._known[path]
        for path in reversed(missing):
            folder = self._known[path] = self._go(folder, path)
        return folder

    def _go(self, folder: Folder, path: bytes) -> Folder:
        """Go on to the last name of `path`: through symlinks of this layer, never of a lower one.

        What is no directory gives way to one.
        """
        todo = [path.rpartition(b"/")[2]]
        hops = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                folder = folder.parent
                continue
            child = folder.children.get(name)
            if type(child) is Entry and child.kind == SYM and child.layer == self._layer:
                hops += 1
                folder = self._follow(child, folder, todo, hops, path)
                continue
            if type(child) is not Folder:
                if child is not None and child.layer == self._layer:
                    self._fail(path, "a file of the same layer is in the way")
                child = folder.children[name] = Folder(folder, None, self._layer)
            folder = child
            self._touched.setdefault(folder, False)
        return folder

    def _follow(
        self, link: Entry, folder: Folder, todo: list[bytes], hops: int, path: bytes
    ) -> Folder:
        """Put the names of a symlink's target before `todo`; return where they start."""
        if hops > _HOPS_MAX:
            self._fail(path, "too many symbolic links")
        target: bytes = link.target  # type: ignore[assignment]
        todo.extend(reversed(target.split(b"/")))
        return self._root if target.startswith(b"/") else folder

    def _forget(self, old: _Node | None) -> None:
        """Forget what led through `old`: it leads elsewhere."""
        if type(old) is Folder or (type(old) is Entry and old.kind == SYM):
            self._known = {b"": self._root}
            self._linked_in = {}

    def _directory(self, parent: Folder, path: bytes, name: bytes, entry: Entry) -> None:
        folder: _Node | None = parent.children.get(name) if name else self._root
        if type(folder) is not Folder:
            self._forget(folder)
            folder = parent.children[name] = Folder(parent, None)
        folder.entry, folder.layer = entry, self._layer
        self._touched[folder] = True

    def _linked(self, folder: Folder, name: bytes, link: Entry) -> Entry:
        """A5: return the file that `link` names, with the attributes that the link gives it."""
        path = clean(link.target)  # type: ignore[arg-type]
        parent, _, last = path.rpartition(b"/")
        if parent not in self._linked_in:
            self._linked_in[parent] = self._lookup(parent)
        place = self._linked_in[parent]
        file = place.children.get(last) if place else None
        if type(file) is not Entry or (place, last) == (folder, name):
            self._fail(path, "is not a file that a hard link can name")
        same = _take_attributes(file, link)
        if self._strict and not (same and file.layer == self._layer):
            self._fail(path, "a hard link differs from its file, or the file is of a lower layer")
        file.layer = self._layer
        return file

    def _lookup(self, path: bytes) -> Folder | None:
        """Return the directory at `path`, all symlinks on the way followed."""
        folder, hops = self._root, 0
        todo = path.split(b"/")[::-1]
        while todo:
            name = todo.pop()
            if name == b"..":
                folder = folder.parent
            elif name not in (b"", b"."):
                child = folder.children.get(name)
                if type(child) is Folder:
                    folder = child
                elif type(child) is Entry and child.kind == SYM:
                    hops += 1
                    folder = self._follow(child, folder, todo, hops, path)
                else:
                    return None
        return folder


def _leave_group(folder: Folder, entry: Entry) -> None:
    """Give what says no group that of a setgid directory, which must be of its own layer."""
    own = folder.entry if folder.layer == entry.layer else None
    if own and own.owner[0] & 0o2000:
        entry.owner = (*entry.owner[:2], own.owner[2])


def _take_attributes(file: Entry, link: Entry) -> bool:
    """Give a file the attributes of a link to it; tell whether it has them already."""
    left = zip(link.owner, file.owner, strict=True)
    mode, uid, gid = (there if said == LEFT else said for said, there in left)
    link.owner = mode, uid, gid
    same = [link.owner[1:], link.packed] == [file.owner[1:], file.packed]
    if file.kind != SYM:
        same = same and (link.owner, link.mtime) == (file.owner, file.mtime)
        file.mtime = link.mtime
    file.owner = link.owner
    file.xattrs = tuple(sorted({**dict(file.xattrs), **dict(link.xattrs)}.items()))
    return same
