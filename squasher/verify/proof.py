"""Proof that a result shows the root filesystem of its source: what `verify` believes.

A check is worth what it does not share with the work. This one reads source and result again and
takes from the package only the readers: documents, headers, checked bytes. The layers are applied
here by a second, plain reading of the rules A1 to A6 (`tree` has the first, with all that merging
wants to know), and content is compared here, so that a fault in `tree`, `merge`, `writer` or the
comparison that `merge` asks for does not hide itself. Tests plant such faults.

Source: OCI image-spec, layer.md, "Applying Changesets"; what engines make of what it leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NoReturn

from squasher.blobs.content import Cursor
from squasher.errors import PolicyError
from squasher.image.model import Image, rows_fit
from squasher.layers.content import Scan
from squasher.layers.read import scan
from squasher.run import Job
from squasher.tar.entry import (
    ABSOLUTE,
    BLK,
    BLOCK,
    CHR,
    DIR,
    LEAVES,
    LEFT,
    LINK,
    MAGIC,
    REG,
    REWRITE,
    SYM,
    Changeset,
    Entry,
)
from squasher.tar.paths import Cover, clean, join, show
from squasher.verify.clamp import clamp
from squasher.verify.document import what_stays
from squasher.verify.new_layers import NewLayers
from squasher.verify.pages import PAGE, pages

#: Symbolic links followed in one name; engines give up there too.
_HOPS_MAX = 255
_WINDOW = 4 << 20


def prove(
    before: Image,
    after: Image,
    kept: int,
    job: Job,
    previous: Image | None = None,
    latest: int | None = None,
    packed: frozenset[int] = frozenset(),
    new: NewLayers | None = None,
) -> None:
    """Return if `after` is `before` with all but its `kept` lowest layers squashed.

    With a `previous` image its layers are the kept ones. Above them stand as many layers as `new`
    says; without it one, if there is anything to squash. All times later than `latest`, in
    nanoseconds, count as that; new layers have none of them. Kept layers at `packed` were plain
    and are compressed now.

    That is: all digests are right, kept layers are the same, the config differs in nothing else
    than it may, every path has the same attributes, content and other names, and the new layer
    holds nothing that engines refuse or read differently. Both images are read whole; compressed
    layers are unpacked to temporary files. Time O(bytes), memory O(entries). Raises PolicyError;
    for what cannot be read ArchiveError, OutputError.
    """
    with job.verified(), job.timed("compare"):
        _prove(before, after, kept, job, previous, latest, packed, new)


def _prove(
    before: Image,
    after: Image,
    kept: int,
    job: Job,
    previous: Image | None,
    latest: int | None,
    packed: frozenset[int],
    new: NewLayers | None,
) -> None:
    if what_stays(before) != what_stays(after):
        raise PolicyError("the config differs")
    if rows_fit(before.config) and not rows_fit(after.config):
        raise PolicyError("the rows of the history no longer fit the layers")
    if new is None:
        new = NewLayers(int(len(after.layers if previous else before.layers[1:]) > kept))
    if len(after.layers) != (kept + new.count if new.count else len((previous or before).layers)):
        raise PolicyError(f"{len(after.layers)} layers where {kept} were kept")
    ours, left = _read(before, None, job, latest)
    theirs, right = _read(after, kept if new.count else None, job, latest, new)
    lower = ours if previous is None else [done for done, _ in scan(previous, kept, job)]
    for i, (one, two) in enumerate(zip(lower[:kept], theirs, strict=False)):
        same = _identity(one) == _identity(two)
        if i in packed:
            both = (one.layer.blob.compression, two.layer.blob.compression)
            same = one.layer.diff_id == two.layer.diff_id and not both[0] and bool(both[1])
        if not same:
            raise PolicyError(f"kept layer {i + 1} is not the same")
    for made in theirs[kept:] if new.count else ():
        _require_tar(made)
    _compare_content(_compare(left, right), ours, theirs)


def _require_tar(new: Scan) -> None:
    """Require that nothing takes the new layer for something else than a tar."""
    if MAGIC.match(_cursor(new).get(0, BLOCK)):
        raise PolicyError("the new layer begins with a name that engines take for another format")


def _identity(scan: Scan) -> tuple[object, ...]:
    return scan.layer.diff_id, scan.layer.blob.digest, scan.layer.blob.size


def _read(
    image: Image,
    first: int | None,
    job: Job,
    latest: int | None,
    new: NewLayers | None = None,
) -> tuple[list[Scan], _Folder]:
    """Return the layers of `image` as read, `new` ones from `first` on, and the tree they make."""
    scans: list[Scan] = []
    root = _Folder(None, None)
    for done, changes in scan(image, 0, job):
        made = first is not None and changes.layer >= first
        clamp(changes, latest, made=made)
        if made and new is not None:
            new.check(changes, done.size, lowest=changes.layer == first)
        _Application(root, changes, strict=made).run()
        scans.append(done)
    return scans, root


# ---------------------------------------------------------------- applying layers


class _Folder:
    """A directory: its header, if it has one, and its names. A file is its own Entry.

    layer   that last said something about it
    reset   overlay engines show it without its attributes: the last layer that went through it
            has no entry for it
    ghosts  names that overlay engines list here and do not find: of whiteouts that hide nothing,
            as long as no other layer has the directory
    """

    __slots__ = ("children", "entry", "ghosts", "layer", "parent", "reset")

    def __init__(self, parent: _Folder | None, entry: Entry | None, layer: int = -1) -> None:
        self.parent = parent or self
        self.entry = entry
        self.layer = layer
        self.reset = False
        self.ghosts: frozenset[bytes] = frozenset()
        self.children: dict[bytes, _Folder | Entry] = {}


_Node = _Folder | Entry
_Record = tuple[bytes, bytes, Entry | None]


class _Application:
    """One layer on its way into the tree below `root`. Entries are inodes: links change them.

    `strict` is for a layer that was made here: it must hold nothing that engines refuse or read
    differently.
    """

    def __init__(self, root: _Folder, changes: Changeset, *, strict: bool) -> None:
        self._root = root
        self._changes = changes
        self._layer = changes.layer
        self._strict = strict
        #: Where the names that an entry has for its directory lead.
        self._known: dict[bytes, _Folder] = {b"": root}
        #: The same for names that hard links have.
        self._linked_in: dict[bytes, _Folder | None] = {}
        self._touched: dict[_Folder, bool] = {}  # whether the layer has its entry
        self._ghosts: dict[bytes, set[bytes]] = {}  # by the path of their directory

    def run(self) -> None:
        """Apply whiteouts to what lies below, then entries in the order of the archive."""
        changes = self._changes
        if self._strict:
            self._require_each_once()
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
                self._leave_group(folder, entry)
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
            haunted = self._find(path)
            if type(haunted) is _Folder:
                haunted.ghosts = frozenset(ghosts - haunted.children.keys())

    def _leave_group(self, folder: _Folder, entry: Entry) -> None:
        """Give what says no group that of a setgid directory, which must be of its own layer."""
        own = folder.entry if folder.layer == self._layer else None
        if own and own.owner[0] & 0o2000:
            entry.owner = (*entry.owner[:2], own.owner[2])

    def _fail(self, path: bytes, what: str) -> NoReturn:
        raise PolicyError(f"{show(path)}: {what}", where=f"layer {self._layer + 1}")

    def _require_each_once(self) -> None:
        changes = self._changes
        for path, entry in zip(changes.paths, changes.entries, strict=True):
            if entry.flags & REWRITE:
                self._fail(path, "readers read this header differently")
        seen: set[bytes] = set()
        for path in (*changes.paths, *(gone.path for gone in changes.whiteouts)):
            if path in seen:
                self._fail(path, "comes twice")
            seen.add(path)
        for gone in changes.opaques:
            self._fail(gone.path, "is emptied by an opaque whiteout")
        for gone in changes.whiteouts:
            parent, _, name = gone.path.rpartition(b"/")
            folder = self._find(parent)
            if type(folder) is not _Folder or name not in folder.children:
                self._fail(gone.path, "a whiteout hides nothing")

    # ------------------------------------------------------------ A1: whiteouts

    def _hide(self, records: list[_Record]) -> list[_Record]:
        """Remove what whiteouts name; return `records` with those that make a folder instead.

        A whiteout in a folder that is not there makes it, in its place in the archive.
        """
        changes = self._changes
        own = {
            path for path, x in zip(changes.paths, changes.entries, strict=True) if x.kind == DIR
        }
        at: list[tuple[int, _Record]] = [(record[2].data, record) for record in records]  # type: ignore[union-attr]
        emptied = [(gone, gone.path) for gone in changes.opaques]
        hidden = [(gone, gone.path.rpartition(b"/")[0]) for gone in changes.whiteouts]
        for gone, parent in hidden + emptied:
            found = self._find(parent, own)
            if found is None:
                at.append((gone.offset, (parent, b"", None)))
        opaque = Cover(gone.path for gone in changes.opaques if gone.path)
        for gone, parent in hidden:
            if type(self._find(parent)) is not _Folder or opaque.below(gone.path):
                self._ghosts.setdefault(parent, set()).add(gone.path.rpartition(b"/")[2])
        for gone, parent in hidden:
            folder = self._find(parent)
            if type(folder) is _Folder:
                folder.children.pop(gone.path.rpartition(b"/")[2], None)
        for _, parent in emptied:
            folder = self._find(parent)
            if type(folder) is _Folder:
                folder.children = {}
        for _, parent in hidden + emptied:
            self._touch_all(parent)
        return [record for _, record in sorted(at, key=lambda pair: pair[0])]

    def _find(self, path: bytes, excused: set[bytes] | None = None) -> _Node | None:
        """Return what is at `path`, following nothing. With `excused` only those may be files."""
        node: _Node | None = self._root
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            node = node.children.get(name) if type(node) is _Folder else None
            if type(node) is Entry and excused is not None:
                done = b"/".join(names[:depth])
                if done not in excused:
                    self._fail(path, f"a whiteout below {show(done)}, which is not a directory")
        return node

    def _touch_all(self, path: bytes) -> None:
        node: _Node | None = self._root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if type(node) is _Folder else None
            if type(node) is _Folder:
                self._touched.setdefault(node, False)

    # ------------------------------------------------------------ A2, A3: directories

    def _enter(self, path: bytes) -> _Folder:
        """Return the folder at `path`, made where it is missing."""
        missing = []
        while path not in self._known:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        folder = self._known[path]
        for path in reversed(missing):
            folder = self._known[path] = self._go(folder, path)
        return folder

    def _go(self, folder: _Folder, path: bytes) -> _Folder:
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
            if type(child) is not _Folder:
                if child is not None and child.layer == self._layer:
                    self._fail(path, "a file of the same layer is in the way")
                child = folder.children[name] = _Folder(folder, None, self._layer)
            folder = child
            self._touched.setdefault(folder, False)
        return folder

    def _follow(
        self, link: Entry, folder: _Folder, todo: list[bytes], hops: int, path: bytes
    ) -> _Folder:
        """Put the names of a symlink's target before `todo`; return where they start."""
        if hops > _HOPS_MAX:
            self._fail(path, "too many symbolic links")
        target: bytes = link.target  # type: ignore[assignment]
        todo.extend(reversed(target.split(b"/")))
        return self._root if target.startswith(b"/") else folder

    def _forget(self, old: _Node | None) -> None:
        """Forget what led through `old`: it leads elsewhere."""
        if type(old) is _Folder or (type(old) is Entry and old.kind == SYM):
            self._known = {b"": self._root}
            self._linked_in = {}

    def _directory(self, parent: _Folder, path: bytes, name: bytes, entry: Entry) -> None:
        folder: _Node | None = parent.children.get(name) if name else self._root
        if type(folder) is not _Folder:
            self._forget(folder)
            folder = parent.children[name] = _Folder(parent, None)
        folder.entry, folder.layer = entry, self._layer
        self._touched[folder] = True

    # ------------------------------------------------------------ A5: hard links

    def _linked(self, folder: _Folder, name: bytes, link: Entry) -> Entry:
        """Return the file that `link` names, with the attributes that the link gives it."""
        path = clean(link.target)  # type: ignore[arg-type]
        parent, _, last = path.rpartition(b"/")
        if parent not in self._linked_in:
            self._linked_in[parent] = self._lookup(parent)
        place = self._linked_in[parent]
        file = place.children.get(last) if place else None
        if type(file) is not Entry or (place, last) == (folder, name):
            self._fail(path, "is not a file that a hard link can name")
        left = zip(link.owner, file.owner, strict=True)
        mode, uid, gid = (there if said == LEFT else said for said, there in left)
        link.owner = mode, uid, gid
        same = [link.owner[1:], link.packed] == [file.owner[1:], file.packed]
        if file.kind != SYM:
            same = same and (link.owner, link.mtime) == (file.owner, file.mtime)
        if self._strict and not (same and file.layer == self._layer):
            self._fail(path, "a hard link has another header than its file, or a file below")
        if file.kind != SYM:
            file.mtime = link.mtime
        file.owner = link.owner
        file.xattrs = tuple(sorted({**dict(file.xattrs), **dict(link.xattrs)}.items()))
        file.layer = self._layer
        return file

    def _lookup(self, path: bytes) -> _Folder | None:
        """Return the directory at `path`, all symlinks on the way followed."""
        folder, hops = self._root, 0
        todo = path.split(b"/")[::-1]
        while todo:
            name = todo.pop()
            if name == b"..":
                folder = folder.parent
            elif name not in (b"", b"."):
                child = folder.children.get(name)
                if type(child) is _Folder:
                    folder = child
                elif type(child) is Entry and child.kind == SYM:
                    hops += 1
                    folder = self._follow(child, folder, todo, hops, path)
                else:
                    return None
        return folder


# ---------------------------------------------------------------- comparing


def _compare(left: _Folder, right: _Folder) -> dict[Entry, tuple[Entry, bytes]]:
    """Require that both trees say the same; return the files whose content is to be compared.

    Names of one file here must be names of one file there: each Entry has one counterpart.
    """
    there: dict[Entry, tuple[Entry, bytes]] = {}
    back: dict[Entry, Entry] = {}
    todo = [(b"", left, right)]
    while todo:
        path, one, two = todo.pop()
        _compare_folders(path, one, two)
        for name in one.children.keys() | two.children.keys():
            x, b = one.children.get(name), two.children.get(name)
            place = join(path, name)
            if type(x) is _Folder and type(b) is _Folder:
                todo.append((place, x, b))
            elif type(x) is Entry and type(b) is Entry:
                _compare_files(place, x, b)
                if there.setdefault(x, (b, place))[0] is not b or back.setdefault(b, x) is not x:
                    _differ(place, "links")
            else:
                _differ(place, "added" if x is None else "missing" if b is None else "type")
    return there


def _differ(path: bytes, *what: str) -> NoReturn:
    raise PolicyError(f"{show(path)} differs: {', '.join(what)}")


def _compare_folders(path: bytes, one: _Folder, two: _Folder) -> None:
    """Compare attributes; a directory without an entry is 0755, of root, and of no certain time."""
    x, b = one.entry, two.entry
    plain = ((0o755, 0, 0), ())
    if ((x.owner, x.xattrs) if x else plain) != ((b.owner, b.xattrs) if b else plain):
        _differ(path, "attributes")
    if x and (b is None or x.mtime != b.mtime):
        _differ(path, "mtime")
    if x and b and (x.flags ^ b.flags) & ABSOLUTE:  # podman heeds the one and ignores the other
        _differ(path, "spelling")
    if x and two.reset and not one.reset:
        _differ(path, "attributes on overlay engines")
    if ghosts := two.ghosts - one.ghosts:
        _differ(join(path, min(ghosts)), "overlay engines list a whiteout")


def _compare_files(path: bytes, x: Entry, b: Entry) -> None:
    start = 1 if x.kind == SYM else 0  # the kernel ignores the mode of a symlink
    target = x.kind in (SYM, CHR, BLK) and x.target != b.target
    what = [
        name
        for name, differs in (
            ("type", x.kind != b.kind),
            ("owner", x.owner[start:] != b.owner[start:]),
            ("mtime", x.mtime != b.mtime),
            ("xattrs", x.packed != b.packed),
            ("target", target),
            ("size", x.size != b.size),
        )
        if differs
    ]
    if what:
        _differ(path, *what)


def _compare_content(
    pairs: dict[Entry, tuple[Entry, bytes]], ours: Sequence[Scan], theirs: Sequence[Scan]
) -> None:
    """Require that each file has the bytes of its counterpart. O(bytes of files that moved)."""
    by_layer: dict[tuple[int, int], list[tuple[Entry, Entry, bytes]]] = {}
    for x, (b, path) in pairs.items():
        moved = (x.source, x.data) != (b.source, b.data) or _identity(ours[x.source]) != _identity(
            theirs[b.source]
        )
        if x.kind == REG and x.size and moved:
            by_layer.setdefault((x.source, b.source), []).append((x, b, path))
    for (one, two), group in by_layer.items():
        left, right = _cursor(ours[one]), _cursor(theirs[two])
        for x, b, path in sorted(group, key=lambda files: files[0].data):
            take = _WINDOW if x.sparse is None and b.sparse is None else PAGE
            for piece, other in zip_longest(pages(x, left, take), pages(b, right, take)):
                if piece != other:
                    _differ(path, "content")


def _cursor(scan: Scan) -> Cursor:
    assert scan.content is not None  # noqa: S101  (all layers were unpacked)
    return Cursor(scan.content.read_at, _WINDOW)
