"""A second, plain reading of the rules A1 to A6: layers applied to a tree that is only compared.

`layers.apply` has the first, with all that merging wants to know; nothing of it is used here, so
that `--verify` and `diff` do not share its faults. What is refused is the same, for the same
reasons, and so are the bounds: `diff` reads images of strangers.

Source: OCI image-spec, layer.md, "Applying Changesets"; what engines make of what it leaves open.
"""

from __future__ import annotations

from squasher.errors import ArchiveError, PolicyError
from squasher.tar.entry import (
    DIR,
    LEAVES,
    LEFT,
    LINK,
    REWRITE,
    SYM,
    XATTRS_MAX,
    Changeset,
    Entry,
    WhiteoutMark,
)
from squasher.tar.paths import PATH_MAX, Cover, clean, join, show
from squasher.verify.bounds import too_long
from squasher.verify.tree import Folder, Node, Tree
from squasher.verify.ways import Ways


class _Mark:
    """Stands for a whiteout among the entries, where its folder is to be made.

    With `behind` it stands there to be refused if that is below a symlink.
    """

    __slots__ = ("behind", "data")

    def __init__(self, data: int, *, behind: bool) -> None:
        self.data = data
        self.behind = behind


_Record = tuple[bytes, bytes, Entry | _Mark]


def apply(tree: Tree, changes: Changeset, *, strict: bool) -> None:
    """Apply a layer to `tree`; the layer stays as it is. O(entries). Raises ArchiveError.

    `strict` is for a layer that was made here: PolicyError is raised if it holds something that
    engines refuse or read differently.
    """
    if strict:
        _require_each_once(tree, changes)
    _Application(tree, changes, strict=strict).run()


def _require_each_once(tree: Tree, changes: Changeset) -> None:
    for path, entry in zip(changes.paths, changes.entries, strict=True):
        if entry.flags & REWRITE:
            raise PolicyError("not all readers read this header alike", where=show(path))
    seen: set[bytes] = set()
    for path in (*changes.paths, *(mark.path for mark in changes.whiteouts)):
        if path in seen:
            raise PolicyError("comes twice", where=show(path))
        seen.add(path)
    for mark in changes.opaques:
        raise PolicyError("is emptied by an opaque whiteout", where=show(mark.path))
    for mark in changes.whiteouts:
        if tree.find(mark.path) is None:
            raise PolicyError("a whiteout of a path that no lower layer has", where=show(mark.path))


class _Application:
    """One layer on its way into the tree."""

    def __init__(self, tree: Tree, changes: Changeset, *, strict: bool) -> None:
        self._tree = tree
        self._changes = changes
        self._layer = changes.layer
        self._strict = strict
        self._ways = Ways(tree, changes)
        self._touched = self._ways.touched
        self._ghosts: dict[bytes, set[bytes]] = {}  # by the path of their directory

    def run(self) -> None:
        """Apply whiteouts to what lies below, then entries in the order of the archive."""
        changes = self._changes
        records: list[_Record] = [
            *zip(changes.parents, changes.names, changes.entries, strict=True)
        ]
        if changes.whiteouts or changes.opaques:
            records = self._hide(records)
        self._put(records)
        for folder, own in self._touched.items():
            folder.reset = not own
            folder.ghosts = frozenset()
        for path, ghosts in self._ghosts.items():
            found = self._tree.find(path)
            if type(found) is Folder:
                found.ghosts = frozenset(ghosts - found.children.keys())
        self._ways.end()

    def _put(self, records: list[_Record]) -> None:
        ways, known, hops = self._ways, self._ways.known, self._ways.hops
        for parent, name, entry in records:
            if type(entry) is not Entry:
                self._marked(parent, entry)  # type: ignore[arg-type]
                continue
            folder = known.get(parent) or ways.enter(parent)
            if parent in hops and folder.length_with(name) > PATH_MAX:
                raise too_long(folder, name)
            if entry.flags & LEAVES:
                entry = _of_folder_group(folder, entry)
            if entry.kind == DIR:
                self._directory(folder, parent, name, entry)
                continue
            old = folder.children.pop(name, None)  # before the target of a link is looked for
            if old is not None:
                ways.forget(old)
            node = self._linked(folder, name, entry, old) if entry.kind == LINK else entry
            folder.children[name] = node

    # ------------------------------------------------------------ A1: whiteouts

    def _hide(self, records: list[_Record]) -> list[_Record]:
        """Remove what whiteouts name; return `records` and marks, in the order of the archive.

        A whiteout in a folder that is not there makes it, in its place in the archive.
        """
        changes = self._changes
        hidden = [(mark, *_split(mark.path)) for mark in changes.whiteouts]
        marks = [(mark, parent) for mark, parent, _ in hidden]
        marks += [(mark, mark.path) for mark in changes.opaques]
        records = [*self._behind_symlinks(marks), *records]
        below: dict[bytes, Node | None] = {}
        own = {
            path for path, x in zip(changes.paths, changes.entries, strict=True) if x.kind == DIR
        }
        for mark, parent in marks:
            if parent not in below:
                below[parent] = self._below(parent, own)
            if below[parent] is None:
                records.append((parent, b"", _Mark(mark.offset, behind=False)))
        opaque = Cover(mark.path for mark in changes.opaques if mark.path)
        for mark, parent, name in hidden:
            if type(below[parent]) is not Folder or opaque.below(mark.path):
                self._ghosts.setdefault(parent, set()).add(name)
        for _, parent, name in hidden:
            folder = below[parent]
            if type(folder) is Folder:
                folder.children.pop(name, None)
        for mark in changes.opaques:
            folder = below[mark.path]
            if type(folder) is Folder:
                folder.children.clear()
        for parent in below:
            self._touch_all(parent)
        return sorted(records, key=_place)

    def _below(self, path: bytes, excused: set[bytes]) -> Node | None:
        """Return what is at `path`, following nothing; only those `excused` may be files."""
        node: Node | None = self._tree.root
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            node = node.children.get(name) if type(node) is Folder else None
            if type(node) is Entry:
                done = b"/".join(names[:depth])
                if done not in excused:
                    what = f"a whiteout below {show(done)}, which is not a directory"
                    raise ArchiveError(what, where=show(path))
        return node

    def _behind_symlinks(self, marks: list[tuple[WhiteoutMark, bytes]]) -> list[_Record]:
        """Return a mark for each whiteout that may be below a symlink of its own layer."""
        changes = self._changes
        pairs = zip(changes.names, changes.entries, strict=True)
        links = {name for name, entry in pairs if entry.kind in (SYM, LINK)}
        return [
            (parent, b"", _Mark(mark.offset, behind=True))
            for mark, parent in marks
            if links and not links.isdisjoint(parent.split(b"/"))
        ]

    def _marked(self, parent: bytes, mark: _Mark) -> None:
        """Do what is to be done where a whiteout stands whose folder is `parent`."""
        if not mark.behind:
            if parent not in self._ways.known:
                self._ways.enter(parent)
            return
        node: Node | None = self._tree.root
        for name in parent.split(b"/"):
            node = node.children.get(name) if type(node) is Folder else None
            if type(node) is Entry and node.kind == SYM and node.layer == self._layer:
                what = "a whiteout below a symlink of the same layer"
                raise ArchiveError(what, where=show(parent))

    def _touch_all(self, path: bytes) -> None:
        node: Node | None = self._tree.root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if type(node) is Folder else None
            if type(node) is Folder:
                self._touched.setdefault(node, False)

    # ------------------------------------------------------------ A3 and A5

    def _directory(self, parent: Folder, path: bytes, name: bytes, entry: Entry) -> None:
        """A3: give a folder the attributes of its entry; make it, if it is not there."""
        led = path in self._ways.hops  # by a symlink, which may be the one that gives way
        folder: Node | None = parent.children.get(name) if name else self._tree.root
        if type(folder) is not Folder:
            if folder is not None:
                self._ways.forget(folder)
            folder = parent.children[name] = Folder(parent, name)
        folder.entry, folder.layer = entry, self._layer
        self._touched[folder] = True
        if not led:
            self._ways.known[join(path, name)] = folder

    def _linked(self, folder: Folder, name: bytes, link: Entry, old: Node | None) -> Entry:
        """A5: return the file that `link` names, with the attributes that the link gives it.

        `old` has given way to it.
        """
        target: bytes = link.target  # type: ignore[assignment]
        try:
            path = clean(target)
            parent, last = _split(path)
            place = self._ways.reach(parent)
        except ArchiveError as error:
            here = show(folder.path_of(name))
            raise error.within(f"{here}: hard link to {show(target)}") from None
        if type(old) is Entry and (place, last) == (folder, name):
            raise ArchiveError("a hard link to itself", where=show(folder.path_of(name)))
        file = self._tree.root if not path else place.children.get(last) if place else None
        if type(file) is not Entry:
            what = "is not a file" if file else "does not exist"
            what = f"hard link to {show(target)}, which {what} at this point"
            raise ArchiveError(what, where=show(folder.path_of(name)))
        assert place is not None  # noqa: S101
        if file not in self._tree.linked:
            file = place.children[last] = file.copy()
            self._tree.linked.add(file)
        if not _take_attributes(file, link, self._layer) and self._strict:
            what = "a hard link differs from its file, or the file is of a lower layer"
            raise PolicyError(what, where=show(path))
        if link.packed and len(file.xattrs) > XATTRS_MAX:
            what = f"more than {XATTRS_MAX} extended attributes"
            raise ArchiveError(what, where=show(folder.path_of(name)))
        return file


def _place(record: _Record) -> int:
    return record[2].data


def _split(path: bytes) -> tuple[bytes, bytes]:
    parent, _, name = path.rpartition(b"/")
    return parent, name


def _of_folder_group(folder: Folder, entry: Entry) -> Entry:
    """Give what says no group that of a setgid directory, which must be of its own layer."""
    own = folder.entry if folder.layer == entry.layer else None
    return entry.of_group(own.owner[2]) if own and own.owner[0] & 0o2000 else entry


def _take_attributes(file: Entry, link: Entry, layer: int) -> bool:
    """Give a file the attributes of a link to it; tell whether the layer said the same of it."""
    left = zip(link.owner, file.owner, strict=True)
    mode, uid, gid = (there if said == LEFT else said for said, there in left)
    same = file.layer == layer and (uid, gid, link.packed) == (*file.owner[1:], file.packed)
    if file.kind != SYM:
        same = same and (mode, link.mtime) == (file.owner[0], file.mtime)
        file.mtime = link.mtime
    file.owner = mode, uid, gid
    file.layer = layer
    if link.packed and link.packed != file.packed:
        file.xattrs = tuple(sorted({**dict(file.xattrs), **dict(link.xattrs)}.items()))
    return same
