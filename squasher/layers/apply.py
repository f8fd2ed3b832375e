"""A root filesystem as layers make it: one layer applied after another, by the rules A1 to A6.

A name leads to a Directory or to an Entry; names that lead to the same Entry are hard links of
one file. A Tree can be forked: both sides share every directory until one of them changes it, so
keeping the base beside the final tree costs what differs between them.

The specification leaves much open; where it does, a rule here is what engines were seen to do.
"Overlay" are the engines that unpack each layer alone and let the kernel merge them (docker's
overlay2, podman, containerd); that is nearly all of production. Where they and the specification
part, the tree follows the specification and notes a ImageWarning.

Source: OCI image-spec, layer.md, "Applying Changesets"; moby pkg/archive/diff.go, containerd
archive/tar.go, containers/storage pkg/archive, umoci oci/layer/tar_extract.go.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial

from squasher.errors import ArchiveError
from squasher.layers.tree import Directory, Node, Tree
from squasher.tar import paths
from squasher.tar.entry import (
    ABSOLUTE,
    BLOCK,
    DIR,
    DISPUTED,
    IMPLIED_FACTOR,
    INHERITS,
    LEAVES,
    LEFT,
    LINK,
    REWRITE,
    SYM,
    XATTRS_MAX,
    Changeset,
    Entry,
    ImageWarning,
    WhiteoutMark,
)
from squasher.tar.paths import Cover, join, show

#: Symbolic links followed in one path; Linux gives up after 40, the engines' own resolver at 255.
MAX_HOPS = 255
#: Names in the targets of symbolic links that one layer may have followed, and so many more for
#: each of its entries. A target has up to 2,048 of them, and each entry can go through it anew;
#: those that are real have two or three.
STEPS_FREE = 1 << 14
STEPS_FACTOR = 16
#: An entry with the directory and the name where it goes.
_Record = tuple[bytes, bytes, Entry]


class _Way:
    """Where a path has led so far: a directory and its real path.

    hops    symlinks that were followed
    lower   whether one of them is of a lower layer
    """

    __slots__ = ("folder", "hops", "lower", "place")

    def __init__(self, place: bytes, folder: Directory, hops: int = 0) -> None:
        self.place = place
        self.folder = folder
        self.hops = hops
        self.lower = False


#: Says what a path finds at a name: a directory, a symlink to follow, or None where it ends.
_Step = Callable[[_Way, bytes], Directory | Entry | None]

#: A directory that is not there, nor what would be in it.
_NOWHERE = Directory(None, 0, 0, 0)


def _imagined(way: _Way, name: bytes) -> Directory | Entry | None:
    """Find what is there, and _NOWHERE where nothing is."""
    child = way.folder.children.get(name)
    if type(child) is Directory or (type(child) is Entry and child.kind == SYM):
        return child
    return _NOWHERE if len(way.place) <= paths.PATH_MAX else None


def apply(tree: Tree, changes: Changeset) -> None:
    """Apply one more layer to `tree`.

    O(its entries), plus the size of directories it first changes.
    Raises ArchiveError for what engines refuse or have no common reading of.
    """
    _Application(tree, changes).run()


class _Application:
    """One layer on its way into a tree."""

    def __init__(self, tree: Tree, changes: Changeset) -> None:
        self.tree = tree
        self.changes = changes
        self.layer = changes.layer
        self.epoch = tree.epoch
        if tree.root.epoch != self.epoch:
            tree.root = tree.root.copy(self.epoch)
        #: Directories by the path that an entry's name has for them, symlinks not resolved.
        self.folders: dict[bytes, Directory] = {b"": tree.root}
        #: Of these, the ones that symlinks lead to, and where that is.
        self.real: dict[bytes, _Way] = {}
        #: Directories of hard links' targets that no entry has gone to.
        self.reached: dict[bytes, _Way | None] = {}
        self.steps = STEPS_FREE + STEPS_FACTOR * len(changes.entries)
        #: Directories that the layer touches, own entry or not, by real path; whether a default ACL
        #: reaches them there.
        self.mentioned: dict[bytes, bool] = {}
        #: Real paths of entries that a symlink of the layer led elsewhere, by the name they have.
        self.moved: dict[bytes, bytes] = {}
        self.implied: list[tuple[bytes, int]] = []
        #: What opaque whiteouts have hidden.
        self.hidden: dict[bytes, dict[bytes, Node]] = {}
        self.led: set[bytes] = set()
        #: Directories in which a whiteout of this layer hides nothing.
        self.ghosts: set[bytes] = set()
        #: Whether a path may come twice; only then is it worth looking.
        self.twice = False
        tree.room += IMPLIED_FACTOR * changes.size
        #: What `folders` holds of that room.
        self.held = 0

    def run(self) -> None:
        changes = self.changes
        hidden = self._whiteouts()
        records: Iterable[_Record] = zip(
            changes.parents, changes.names, changes.entries, strict=True
        )
        if hidden:
            records = sorted([*records, *hidden], key=_by_offset)
        if self._may_be_led():
            records = deque(records)
            for offset, path in self._places():
                self._entries(_until(records, offset))
                self._refuse_led(path)
        self._entries(records)
        for dispute in changes.warnings:
            self.warn(dispute.kind, self.moved.get(dispute.path, dispute.path))
        self._note_disputes()
        if self.led:
            self.tree.led |= self.led
        self._give_back()

    def warn(self, kind: str, path: bytes) -> None:
        self.tree.warnings.append(ImageWarning(kind, self.layer, path))

    def _note_ghost(self, path: bytes) -> None:
        """Note a whiteout that hides nothing, in a directory that merges with no lower one."""
        self.warn("ghost-whiteout", path)
        self.ghosts.add(path.rpartition(b"/")[0])

    def fail(self, path: bytes, what: str) -> ArchiveError:
        return ArchiveError(what, where=show(path))

    # ------------------------------------------------------------ A1: whiteouts

    def _whiteouts(self) -> list[_Record]:
        """Hide what whiteouts name, in the lower tree only, wherever they stand in the archive.

        Returns an entry in place of each whiteout whose directory does not exist below: it makes
        that directory. Source: layer.md: whiteouts "apply to resources in lower/parent layers".
        """
        changes = self.changes
        if not changes.whiteouts and not changes.opaques:
            return []
        missing: list[_Record] = []
        # Either kind may be the first to make a directory, whose time is then that one's.
        targets: list[tuple[bytes, bytes | None]] = [
            *self._parts(changes.whiteouts, {}, missing),
            *((hidden.path, None) for hidden in self._lower_opaques({}, missing)),
        ]
        own: dict[bytes, Directory | None] = {}
        for parent, name in targets:
            if parent not in own:
                own[parent] = self._own(parent)
            folder = own[parent]
            if folder is None:
                continue
            if name is None:
                self.hidden.setdefault(parent, folder.children)  # the whiteout may come twice
                folder.children = {}
            else:
                folder.children.pop(name, None)
        return missing

    def _parts(
        self,
        whiteouts: list[WhiteoutMark],
        known: dict[bytes, Directory | None],
        missing: list[_Record],
    ) -> Iterator[tuple[bytes, bytes]]:
        for hidden in whiteouts:
            parent, _, name = hidden.path.rpartition(b"/")
            if self._lower(parent, hidden, known, missing):
                yield parent, name
            else:
                self._note_ghost(hidden.path)

    def _lower_opaques(
        self, known: dict[bytes, Directory | None], missing: list[_Record]
    ) -> Iterator[WhiteoutMark]:
        for hidden in self.changes.opaques:
            if not hidden.path and self.tree.root.children:
                self.warn("root-opaque", b"")
            if self._lower(hidden.path, hidden, known, missing):
                yield hidden

    def _lower(
        self,
        parent: bytes,
        hidden: WhiteoutMark,
        known: dict[bytes, Directory | None],
        missing: list[_Record],
    ) -> bool:
        """Tell whether the lower tree has the directory `parent`."""
        if parent not in known:
            known[parent] = self._lower_directory(parent)
        if known[parent] is None and self.tree.find(parent) is None:
            # Each makes its directories, for what stands there may have gone since the last one.
            # Any name will do: entries of this kind do nothing else.
            marker = Entry(_IMPLIES, self.layer, hidden.offset, 0, 0, (0, 0, 0), hidden.mtime)
            missing.append((parent, b"?", marker))
        return known[parent] is not None

    def _lower_directory(self, path: bytes) -> Directory | None:
        """Return the lower directory at `path`, None if a part of it is missing.

        Raises ArchiveError if a part is no directory: engines follow the symlink, make a directory
        of it or give up. A layer that has its own directory there says what it means (builders on
        overlay write an opaque whiteout into a directory that replaces a file).
        """
        node: Node | None = self.tree.root
        names = path.split(b"/") if path else []
        for depth, name in enumerate(names, 1):
            assert type(node) is Directory  # noqa: S101
            node = node.children.get(name)
            if node is None:
                return None
            if type(node) is not Directory:
                done = b"/".join(names[:depth])
                if done not in self._own_directories:
                    raise self.fail(
                        path, f"a whiteout below {show(done)}, which is not a directory"
                    )
                return None
        assert type(node) is Directory  # noqa: S101
        return node

    @cached_property
    def _own_directories(self) -> frozenset[bytes]:
        changes = self.changes
        pairs = zip(changes.paths, changes.entries, strict=True)
        return frozenset(path for path, entry in pairs if entry.kind == DIR)

    def _may_be_led(self) -> bool:
        """Tell whether a whiteout may stand below a symlink that the layer itself has made."""
        changes = self.changes
        if not changes.whiteouts and not changes.opaques:
            return False
        pairs = zip(changes.names, changes.entries, strict=True)
        links = {name for name, entry in pairs if entry.kind in (SYM, LINK)}
        return bool(links) and any(
            not links.isdisjoint(path.split(b"/")) for _, path in self._places()
        )

    def _places(self) -> list[tuple[int, bytes]]:
        """Return where the whiteouts stand: in the archive, and in which directory."""
        changes = self.changes
        places = [(gone.offset, gone.path.rpartition(b"/")[0]) for gone in changes.whiteouts]
        return sorted(places + [(gone.offset, gone.path) for gone in changes.opaques])

    def _refuse_led(self, path: bytes) -> None:
        """Raise ArchiveError if a symlink of the layer stands at `path` or above it.

        Engines follow it and hide what is in the directory that it leads to. No builder writes
        such whiteouts; those below a symlink of a lower layer mean something else to each engine.
        """
        node: Node | None = self.tree.root
        for name in path.split(b"/") if path else ():
            node = node.children.get(name) if type(node) is Directory else None
            if type(node) is Entry and node.kind == SYM and self._is_new(node):
                raise self.fail(path, "a whiteout below a symlink of the same layer")

    def _own(self, path: bytes) -> Directory | None:
        """Return the directory at `path` for changing it; None if it is gone."""
        folder = self.tree.root
        for name in path.split(b"/") if path else ():
            child = folder.children.get(name)
            if type(child) is not Directory:
                return None
            folder = self._mine(folder, name, child)
        return folder

    def _mine(self, parent: Directory, name: bytes, folder: Directory) -> Directory:
        """Return the child `folder` of `parent`, copied if the base shares it."""
        if folder.epoch != self.epoch:
            folder = parent.children[name] = folder.copy(self.epoch)
        return folder

    # ------------------------------------------------------------ A2 to A6: entries

    def _entries(self, records: Iterable[_Record]) -> None:
        """Put the entries in, in archive order."""
        # This loop runs once for each entry of the image: hence the local names.
        folders, real, layer = self.folders, self.real, self.layer
        known = folders.get
        first, overwritten = self.tree.first, 0
        for parent, name, entry in records:
            folder = known(parent)
            if folder is None:
                folder = self._enter(parent, entry)
            if real and parent in real:
                # A symlink led here: the name in the header is not the path.
                entry.flags |= REWRITE
                place = join(real[parent].place, name)
                self._check_length(place)
                self.moved[join(parent, name)] = place
                parent = real[parent].place
            kind = entry.kind
            children = folder.children
            if folder.gives and folder.layer == layer:
                self._inherit(folder, entry)
            existing = children.get(name)
            if existing is not None and existing.layer >= first and kind != _IMPLIES:
                overwritten += type(existing) is Entry or existing.entry is not None  # type: ignore[union-attr]
            if kind == DIR:
                path = parent + b"/" + name if parent else name
                if type(existing) is Directory:
                    self._mention_again(existing.layer)
                    existing = self._mine(folder, name, existing)
                    if existing.layer != layer:  # this layer makes it here, when unpacked alone
                        existing.inherits = self.mentioned.get(path, bool(entry.flags & INHERITS))
                    existing.set(entry, layer)
                    folders[path] = existing
                elif path:
                    if existing is not None:
                        self._displace(existing)
                    self._make(folder, name, path, entry)
                else:
                    self._root(entry)
            elif kind == LINK:
                self._link(folder, name, join(parent, name), entry)
            elif kind != _IMPLIES:
                if existing is not None:
                    self._displace(existing)
                children[name] = entry
        self.tree.overwritten += overwritten

    def _root(self, entry: Entry) -> None:
        """Give the root other attributes; podman does so only if the name begins with a slash."""
        root = self.tree.root
        self._mention_again(root.layer)
        if root.entry is not None and root.entry.flags & ABSOLUTE and not entry.flags & ABSOLUTE:
            self.warn("root-spelling", b"")
        root.set(entry, self.layer)

    def _make(self, parent: Directory, name: bytes, path: bytes, entry: Entry) -> None:
        new = Directory(entry, self.layer, entry.mtime, self.epoch)
        new.inherits = bool(entry.flags & INHERITS)
        parent.children[name] = new
        self.folders[path] = new

    def _inherit(self, folder: Directory, entry: Entry) -> None:
        if folder.default_acl:
            entry.flags |= INHERITS
        if folder.setgid and entry.flags & LEAVES:
            entry.owner = (*entry.owner[:2], folder.entry.owner[2])  # type: ignore[union-attr]

    def _displace(self, existing: Node) -> None:
        """Prepare for another entry in the place of `existing`."""
        if type(existing) is Directory:
            self._mention_again(existing.layer)
        else:
            self._mention_again(self.tree.state(existing).layer)  # type: ignore[arg-type]
        if type(existing) is Directory or existing.kind == SYM:  # type: ignore[union-attr]
            # Paths that led through it lead elsewhere now.
            self.folders.clear()
            self.folders[b""] = self.tree.root
            self.real.clear()
            self.reached.clear()
            self._give_back()
            self.twice = True

    def _mention_again(self, earlier: int) -> None:
        """Note that a path may come twice in this layer: what was there is of layer `earlier`."""
        if earlier == self.layer:
            self.twice = True

    def _link(self, folder: Directory, name: bytes, path: bytes, entry: Entry) -> None:
        """A5: bind the name to the file that the link names, which takes the link's attributes.

        Source: layer.md "Hardlinks"; that the last header counts is what engines do: link(2),
        then chown(2), chmod(2) and utimensat(2) on the one inode.
        """
        tree = self.tree
        link: bytes = entry.target  # type: ignore[assignment]
        try:
            found, place, lower = self._target(paths.clean(link))
        except ArchiveError as error:
            raise error.within(f"{show(path)}: hard link to {show(link)}") from None
        existing = folder.children.get(name)
        if type(found) is not Entry:
            what = "is not a file" if found else "does not exist"
            raise self.fail(path, f"hard link to {show(link)}, which {what} at this point")
        if existing is found and place == path:
            raise self.fail(path, "a hard link to itself")
        if lower:
            self.warn("link-through-lower-symlink", path)
        if b".." in link and self._goes_up(link, found):
            self.warn("link-up-from-symlink", path)
        if existing is not None:
            self._displace(existing)
        now = tree.state(found)
        mtime = now.mtime if now.kind == SYM else entry.mtime
        names = dict(now.xattrs)
        names.update(entry.xattrs)
        if len(names) > XATTRS_MAX:
            raise self.fail(path, f"more than {XATTRS_MAX} extended attributes")
        disputed = now.layer != self.layer
        if disputed:
            self.warn("link-to-lower", path)
        start = 1 if now.kind == SYM else 0  # the kernel ignores a symlink's mode
        mode, uid, gid = entry.owner
        owner = mode, now.owner[1] if uid == LEFT else uid, now.owner[2] if gid == LEFT else gid
        said = (owner[start:], entry.mtime, entry.xattrs)
        if said != (now.owner[start:], now.mtime, now.xattrs):
            self.warn("link-header-differs", path)
            disputed = True
        if now.kind == SYM and entry.xattrs:
            self.warn("symlink-xattr", path)
        if tree.shares_stamps:
            tree.stamps, tree.shares_stamps = tree.stamps.copy(), False
        tree.stamps[found] = now.restamped(self.layer, owner, mtime, tuple(sorted(names.items())))
        if disputed:
            tree.stamps[found].flags |= DISPUTED
        folder.children[name] = found

    def _target(self, path: bytes) -> tuple[Node | None, bytes, bool]:
        """Return what a hard link to the clean `path` names, its real path, and `_Way.lower`."""
        parent, _, name = path.rpartition(b"/")
        if not path:
            return self.tree.root, path, False
        way = self._reach(parent)
        if way is None:
            return None, path, False
        return way.folder.children.get(name), join(way.place, name), way.lower

    def _goes_up(self, link: bytes, found: Entry) -> bool:
        """Tell whether `..` in a hard link's target goes up from where a symlink leads."""
        names = [name for name in link.split(b"/") if name not in (b"", b".")]
        way = _Way(b"", self.tree.root)
        try:
            there = all(self._go(way, name, _imagined) for name in names[:-1])
        except ArchiveError:
            return True
        return not there or way.folder.children.get(names[-1]) is not found

    def _reach(self, path: bytes) -> _Way | None:
        """Return the directory at `path`, all symlinks on the way followed; None if it ends."""
        if path in self.folders:
            return self.real.get(path) or _Way(path, self.folders[path])
        if path not in self.reached:
            way = _Way(b"", self.tree.root)
            there = all(self._go(way, name, self._existing) for name in path.split(b"/"))
            self.reached[path] = way if there else None
        return self.reached[path]

    def _existing(self, way: _Way, name: bytes) -> Directory | Entry | None:
        """Find what is there, of any layer."""
        child = way.folder.children.get(name)
        if type(child) is Directory:
            return self._mine(way.folder, name, child)  # it is kept in `reached`
        if type(child) is Entry and child.kind == SYM:
            way.lower = way.lower or not self._is_new(child)
            return child
        return None

    def _go(self, way: _Way, name: bytes, step: _Step) -> bool:
        """Go on to `name`, and through symlinks to where they lead, inside the root.

        Tells whether it was there, as `step` has it. O(names in the targets): there is one bound
        for all of the layer, since one for each path would be paid for each entry. Raises
        ArchiveError beyond it, and for a loop.
        """
        start, todo = join(way.place, name), [name]
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                way.place = way.place.rpartition(b"/")[0]
                self._pay(way.place.count(b"/") + 1, start)
                above = self.tree.find(way.place)
                way.folder = above if type(above) is Directory else _NOWHERE
                continue
            child = step(way, name)
            if child is None:
                return False
            if type(child) is Directory:
                way.place, way.folder = join(way.place, name), child
                continue
            way.hops += 1
            if way.hops > MAX_HOPS:
                raise self.fail(start, "too many symbolic links")
            names = child.target.split(b"/")  # type: ignore[union-attr]
            self._pay(len(names), start)
            if not names[0]:
                way.place, way.folder = b"", self.tree.root
            todo.extend(reversed(names))
        return True

    def _pay(self, steps: int, path: bytes) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise self.fail(path, "too many symbolic links")

    def _enter(self, path: bytes, entry: Entry) -> Directory:
        """A2: return the directory for an entry whose parent the layer has not mentioned so far.

        A missing one is made. A symlink of this layer is followed, inside the root; a symlink or
        file of a lower layer gives way to a new directory, as overlay shows it. O(new components).
        """
        todo = []
        while path not in self.folders:
            path, _, name = path.rpartition(b"/")
            todo.append(name)
        folder, led = self.folders[path], self.real.get(path)
        while todo:
            name = todo.pop()
            place = join(led.place if led else path, name)
            path = join(path, name)
            self.held += BLOCK + len(path)
            self._take(BLOCK + len(path), place)
            child = folder.children.get(name)
            if type(child) is Entry and child.kind == SYM and self._is_new(child):
                led = _Way(place.rpartition(b"/")[0], folder, led.hops if led else 0)
                self._go(led, name, partial(self._behind, entry))
                folder = led.folder
            else:
                folder = self._step(folder, name, place, entry)
                led = _Way(place, folder, led.hops) if led else None
            self.folders[path] = folder
            if led:
                self.real[path] = led
        return folder

    def _behind(self, entry: Entry, way: _Way, name: bytes) -> Directory | Entry:
        """Find a symlink of this layer, else the directory, made for `entry` if there is none."""
        child = way.folder.children.get(name)
        if type(child) is Entry and child.kind == SYM and self._is_new(child):
            return child
        place = join(way.place, name)
        own = type(child) is Directory and child.layer == self.layer
        if not own and (child is None or place not in self.mentioned):
            # In the layer alone the symlink leads to nothing, and a path cannot go through it.
            self.warn("through-dangling-symlink", place)
        return self._step(way.folder, name, place, entry)

    def _take(self, count: int, path: bytes) -> None:
        """Take `count` bytes of the room that the image has for what it does not spell out."""
        self.tree.room -= count
        if self.tree.room < 0:
            raise self.fail(path, "too many folders for a layer of that size")

    def _give_back(self) -> None:
        """Give back what `folders` held of the room."""
        self.tree.room += self.held
        self.held = 0

    def _check_length(self, path: bytes) -> None:
        if len(path) > paths.PATH_MAX:  # symlinks can lead deeper than any name
            raise self.fail(path, f"the path is longer than {paths.PATH_MAX} bytes")

    def _is_new(self, entry: Entry) -> bool:
        return self.tree.state(entry).layer == self.layer

    def _step(self, folder: Directory, name: bytes, place: bytes, entry: Entry) -> Directory:
        """Return the child directory `name`, made for `entry` if there is none."""
        child = folder.children.get(name)
        self.mentioned.setdefault(place, folder.layer == self.layer and folder.default_acl)
        if type(child) is Directory:
            return self._mine(folder, name, child)
        self._check_length(place)
        self._take(BLOCK + len(place), place)
        new = Directory(None, self.layer, entry.mtime, self.epoch)
        new.inherits = folder.layer == self.layer and folder.default_acl
        new.grouped = folder.layer == self.layer and (folder.setgid or folder.grouped)
        if child is not None:
            assert type(child) is Entry  # noqa: S101
            if self._is_new(child):
                raise self.fail(place, "a file of the same layer is in the way")
            if child.kind == SYM:
                new.over = child
                self.warn("through-lower-symlink", place)
                self.led.add(self._leads_to(folder, place))
            else:
                self.warn("file-becomes-directory", place)
        folder.children[name] = new
        self.implied.append((place, entry.data))
        return new

    def _leads_to(self, folder: Directory, place: bytes) -> bytes:
        """Return where the symlink at `place` leads, there or not; the root for loops."""
        parent, _, name = place.rpartition(b"/")
        way = _Way(parent, folder)
        try:
            return way.place if self._go(way, name, _imagined) else b""
        except ArchiveError:
            return b""

    # ------------------------------------------------------------ what engines disagree about

    def _note_disputes(self) -> None:
        """Warn of what this layer does on which engines part."""
        changes, find = self.changes, self.tree.finder()
        mentioned = [*self.mentioned, *self._mentioned_by_whiteouts()]
        haunted = self.tree.haunted
        again = haunted.keys() & mentioned if haunted else set()
        for path in mentioned:
            node = find(path)
            # Overlay resets an existing directory that the layer mentions without its own entry.
            if type(node) is Directory and node.layer < self.layer:
                self.warn("implicit-base-directory", path)
        for path, _ in self.implied:
            node = find(path)
            if type(node) is Directory and node.grouped and node.layer == self.layer:
                self.warn("setgid-directory", path)
        hidden = [gone.path for gone in changes.whiteouts]
        emptied = [gone.path for gone in changes.opaques]
        for names in (changes.paths if self.twice else (), hidden, emptied):
            for path, count in Counter(names).items():
                if count > 1:  # docker and podman refuse the layer
                    self.warn("duplicate-path", path)
        if hidden:
            self._note_whiteouts(hidden, emptied)
        if emptied:
            self._note_opaques()
        if again or self.ghosts:
            self.tree.haunted = haunted | dict.fromkeys(again | self.ghosts, self.layer)

    def _mentioned_by_whiteouts(self) -> Iterator[bytes]:
        seen = set(self.mentioned)
        changes = self.changes
        for path in [
            *(hidden.path for hidden in changes.whiteouts),
            *(join(hidden.path, b"?") for hidden in changes.opaques),
        ]:
            yield from paths.new_ancestors(path, seen)

    def _note_whiteouts(self, hidden: list[bytes], emptied: list[bytes]) -> None:
        """Warn of names that the layer both hides and brings: engines go by order, or refuse.

        All agree on a whiteout that comes before a file of the same name.
        """
        changes = self.changes
        above: set[bytes] = set()
        for parent in dict.fromkeys(changes.parents):
            above.add(parent)
            for _ in paths.new_ancestors(parent, above):
                pass
        for path in (*hidden, *emptied):
            for _ in paths.new_ancestors(path, above):
                pass
        both = above.intersection(hidden) | set(emptied).intersection(hidden)
        last = {gone.path: gone.offset for gone in changes.whiteouts}
        parents = {path.rpartition(b"/")[0] for path in hidden}
        for parent, name, entry in zip(
            changes.parents, changes.names, changes.entries, strict=True
        ):
            if parent in parents:
                path = join(parent, name)
                if path in last and (entry.kind == DIR or entry.data < last[path]):
                    both.add(path)
        for path in sorted(both):
            self.warn("whiteout-and-entry", path)

    def _note_opaques(self) -> None:
        """Warn of what is new below an opaque whiteout and not read alike."""
        changes = self.changes
        tops = [gone.path for gone in changes.opaques if gone.path]
        opaque = Cover(tops)
        for gone in changes.whiteouts:
            if opaque.below(gone.path):  # overlay lists it
                self._note_ghost(gone.path)
        last = {gone.path: gone.offset for gone in changes.opaques}
        known: dict[bytes, _Covered] = {}
        for path, offset in self.implied:
            parent, _, name = path.rpartition(b"/")
            latest, hidden = self._covered(parent, last, known)
            # docker's vfs deletes it again, containerd gives it the mode of what it hides.
            if offset < latest or any(name in children for children in hidden):
                self.warn("whiteout-and-entry", path)

    def _covered(
        self, path: bytes, last: dict[bytes, int], known: dict[bytes, _Covered]
    ) -> _Covered:
        """Return what opaque whiteouts at or above the directory `path` do. O(new components)."""
        todo = []
        while path not in known:
            todo.append(path)
            if not path:
                break
            path = path.rpartition(b"/")[0]
        latest, hidden = known.get(path, (0, []))
        for path in reversed(todo):
            name = path.rpartition(b"/")[2]
            nodes = [children.get(name) for children in hidden]
            hidden = [node.children for node in nodes if type(node) is Directory]
            if path in last:
                latest = max(latest, last[path])
                hidden.append(self.hidden.get(path, {}))
            known[path] = latest, hidden
        return latest, hidden


#: Offset of the last opaque whiteout that a directory is under, 0 for none; what such hid in it.
_Covered = tuple[int, list[dict[bytes, Node]]]


#: The kind of an entry that stands for a whiteout: it only makes its directories.
_IMPLIES = 0


def _by_offset(record: _Record) -> int:
    return record[2].data


def _until(records: deque[_Record], offset: int) -> Iterator[_Record]:
    """Take the records that come before `offset` in the archive."""
    while records and records[0][2].data < offset:
        yield records.popleft()
