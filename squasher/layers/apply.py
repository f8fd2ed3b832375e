"""A root filesystem as layers make it: one layer applied after another, by the rules A1 to A6.

A name leads to a Directory or to an Entry; names that lead to the same Entry are hard links of
one file. A Tree can be forked: both sides share every directory until one of them changes it, so
keeping both the base and the final tree costs only what differs between them.

The specification leaves much open; where it does, a rule here is what engines were seen to do.
"Overlay" are the engines that unpack each layer alone and let the kernel merge them (docker's
overlay2, podman, containerd); that is nearly all of production. Where they and the specification
part, the tree follows the specification and notes a ImageWarning.

Source: OCI image-spec, layer.md, "Applying Changesets"; moby pkg/archive/diff.go, containerd
archive/tar.go, containers/storage pkg/archive, umoci oci/layer/tar_extract.go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from squasher.layers.directories import DirectoryIndex, check_length
from squasher.layers.disagreements import disagreements, mentioned
from squasher.layers.links import HardLinks
from squasher.layers.symlinks import Resolver, WarningResolver
from squasher.layers.trace import Trace
from squasher.layers.tree import Directory, Node, Tree
from squasher.layers.whiteouts import IMPLIES, Record, Whiteouts
from squasher.tar.entry import (
    ABSOLUTE,
    DIR,
    IMPLIED_FACTOR,
    INHERITS,
    LEAVES,
    LINK,
    REWRITE,
    SYM,
    Changeset,
    Entry,
)
from squasher.tar.paths import join


def apply(tree: Tree, changes: Changeset) -> None:
    """Apply one more layer to `tree`.

    The layer stays as it is: what its place in the tree makes of an entry, the tree holds another
    Entry for. O(its entries), plus the size of directories it first changes.
    Raises ArchiveError for what engines refuse or have no common reading of.
    """
    tree.own_root()
    tree.implied_budget += IMPLIED_FACTOR * changes.size
    _Application(tree, changes).run()


class _Application:
    """One layer on its way into a tree."""

    def __init__(self, tree: Tree, changes: Changeset) -> None:
        self._tree = tree
        self._changes = changes
        self._layer = changes.layer
        self._trace = Trace(changes.layer)
        count = len(changes.entries)
        resolver, lookups = Resolver(tree, count), WarningResolver(tree, count)
        self._lookups = lookups
        self._whiteouts = Whiteouts(tree, changes, self._trace)
        self._directories = DirectoryIndex(tree, resolver, lookups, self._trace)
        self._links = HardLinks(tree, self._directories, lookups, self._trace)
        #: Real paths of entries that a symlink of the layer led elsewhere, by the name they have.
        self._moved: dict[bytes, bytes] = {}

    def run(self) -> None:
        """Hide what whiteouts name, put the entries in, note what engines disagree about."""
        changes = self._changes
        instead = self._whiteouts.hide()
        records: Iterable[Record] = zip(
            changes.parents, changes.names, changes.entries, strict=True
        )
        if instead:
            records = sorted([*records, *instead], key=_by_offset)
        if places := self._whiteouts.places_behind_symlinks():
            records = deque(records)
            for offset, path in places:
                self._entries(_until(records, offset))
                self._whiteouts.refuse_behind_symlink(path)
        self._entries(records)
        self._note()
        self._directories.give_back()

    def _note(self) -> None:
        """Tell the tree what there is to know about the layer beside its entries."""
        tree, changes, trace = self._tree, self._changes, self._trace
        for warning in changes.warnings:
            trace.warn(warning.kind, self._moved.get(warning.path, warning.path))
        passed = mentioned(changes, trace)
        trace.warnings += disagreements(tree, changes, trace, passed)
        ghosts = [x.path for x in trace.warnings if x.kind == "ghost-whiteout"]
        mentioned_ghosts = (
            tree.ghost_directories.keys() & passed if tree.ghost_directories else set()
        )
        mentioned_ghosts.update(path.rpartition(b"/")[0] for path in ghosts)
        if mentioned_ghosts:
            latest = dict.fromkeys(mentioned_ghosts, self._layer)
            tree.ghost_directories = tree.ghost_directories | latest
        if trace.replaced_targets:
            tree.replaced_targets |= trace.replaced_targets
        tree.warnings += trace.warnings

    # ------------------------------------------------------------ A2 to A6: entries

    def _entries(self, records: Iterable[Record]) -> None:
        """Put the entries in, in archive order."""
        # This loop runs once for each entry of the image: hence the local names.
        directories, layer = self._directories, self._layer
        folders, real = directories.by_name, directories.real
        known = folders.get
        first, overwritten = self._tree.first, 0
        for parent, name, entry in records:
            folder = known(parent)
            if folder is None:
                folder = directories.enter(parent, entry)
            if real and parent in real:
                # A symlink led here: the name in the header is not the path.
                entry = entry.marked(REWRITE)
                place = join(real[parent].place, name)
                check_length(place)
                self._moved[join(parent, name)] = place
                if entry.kind != IMPLIES:
                    self._note_own_way(folder, parent, name, place)
                parent = real[parent].place
            kind = entry.kind
            children = folder.children
            if folder.gives and folder.layer == layer:
                entry = self._inherit(folder, entry)
            existing = children.get(name)
            if existing is not None and existing.layer >= first and kind != IMPLIES:
                overwritten += type(existing) is Entry or existing.entry is not None  # type: ignore[union-attr]
            if kind == DIR:
                path = parent + b"/" + name if parent else name
                self._directory(folder, name, path, entry, existing)
            elif kind == LINK:
                path = join(parent, name)
                if existing is not None:  # it gives way before the target is looked for
                    self._displace(existing)
                    del children[name]
                found = self._links.find(path, entry, existing)
                self._links.restamp(path, entry, found)
                children[name] = found
            elif kind != IMPLIES:
                if existing is not None:
                    self._displace(existing)
                children[name] = entry
        self._tree.overwritten += overwritten

    def _note_own_way(self, folder: Directory, led: bytes, name: bytes, place: bytes) -> None:
        """Note an entry in `folder` that replaces a symlink on the way which its name has led.

        A6: the path comes twice. Engines remove the symlink first; then the name leads to nothing,
        or elsewhere.
        """
        old = folder.children.get(name)
        if type(old) is Entry and old.kind == SYM:
            del folder.children[name]
            if not self._lookups.leads_there(led, folder):
                self._trace.own_ways.append(place)
            folder.children[name] = old

    def _inherit(self, folder: Directory, entry: Entry) -> Entry:
        """Return `entry` with what the kernel hands on to what is made in a directory."""
        if folder.default_acl:
            entry = entry.marked(INHERITS)
        if folder.setgid and entry.flags & LEAVES:
            entry = entry.of_group(folder.entry.owner[2])  # type: ignore[union-attr]
        if folder.acl and entry.kind not in (DIR, LINK, SYM):
            self._tree.inherited_acls[entry] = folder.acl
        return entry

    def _directory(
        self, parent: Directory, name: bytes, path: bytes, entry: Entry, existing: Node | None
    ) -> None:
        """A3: give a directory the attributes of its entry, or make it."""
        layer, trace = self._layer, self._trace
        if type(existing) is Directory:
            trace.mention_again(existing.layer)
            existing = self._tree.own_child(parent, name, existing)
            if existing.layer != layer:  # this layer makes it here, when unpacked alone
                existing.inherits = trace.mentioned.get(path, bool(entry.flags & INHERITS))
            handed = existing.acl
            if existing.layer != layer:
                made_behind = parent.layer == layer and trace.mentioned.get(path, True)
                handed = parent.acl if made_behind else b""
            existing.set(entry, layer)
            existing.hand_on(handed)
            self._directories.by_name[path] = existing
        elif path:
            if existing is not None:
                self._displace(existing)
            new = Directory(entry, layer, entry.mtime, self._tree.epoch)
            new.inherits = bool(entry.flags & INHERITS)
            if parent.layer == layer:
                new.hand_on(parent.acl)
            parent.children[name] = self._directories.by_name[path] = new
        else:
            self._root(entry)

    def _root(self, entry: Entry) -> None:
        """Give the root other attributes; podman does so only if the name begins with a slash."""
        root = self._tree.root
        self._trace.mention_again(root.layer)
        if root.entry is not None and root.entry.flags & ABSOLUTE and not entry.flags & ABSOLUTE:
            self._trace.warn("root-spelling", b"")
        self._tree.overwritten += root.entry is not None and root.layer >= self._tree.first
        root.set(entry, self._layer)

    def _displace(self, existing: Node) -> None:
        """Prepare for another entry in the place of `existing`."""
        if type(existing) is Directory:
            self._trace.mention_again(existing.layer)
        else:
            self._trace.mention_again(self._tree.state(existing).layer)  # type: ignore[arg-type]
        if type(existing) is Directory or existing.kind == SYM:  # type: ignore[union-attr]
            self._directories.forget()
            self._trace.twice = True


def _by_offset(record: Record) -> int:
    return record[2].data


def _until(records: deque[Record], offset: int) -> Iterator[Record]:
    """Take the records that come before `offset` in the archive."""
    while records and records[0][2].data < offset:
        yield records.popleft()
