"""M1, M2, M4: what of the final tree differs from the base, and why it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from squasher.layers.redundant import Redundant
from squasher.layers.tree import Directory, Node, Tree
from squasher.tar.entry import ABSOLUTE, INHERITS, Entry, ImageWarning
from squasher.tar.paths import add_ancestors, join

#: Owner of a directory that no layer has an entry for.
IMPLIED_OWNER = (0o755, 0, 0)


class Reason(Enum):
    """Why a directory is written."""

    NONE = "it is not, or for what is in it alone"
    OWN = "a squashed layer has its entry"
    NEW = "squashed layers made it without an entry"
    LAZY = "the same, and nothing in it is written"
    CARRIES = "a base name below it is written again: so is the header of the base"
    COVERS = "it keeps a whiteout of the base from coming to light, with the header of the base"

    @property
    def repeats(self) -> bool:
        """Whether the header is that of the base, said again."""
        return self is Reason.CARRIES or self is Reason.COVERS


@dataclass(slots=True, eq=False, repr=False)
class ChangedDirectory:
    """A directory on the way to the plan.

    base            what the base has at its path
    reason          why it is written
    solid           it and all above it have an entry (D0)
    below_symlink   it is in the place of a symlink of the base, or below such a directory
    late            it comes after all that is not
    grouped         nobody spelt it out, and a setgid directory above it is written
    droppable       the base has the same (D2)
    whiteouts       names that get one
    live            something below it is written
    carried         a base name below it is written again
    """

    path: bytes
    node: Directory
    base: Node | None
    parent: ChangedDirectory | None
    reason: Reason = Reason.NONE
    whiteouts: list[bytes] = field(default_factory=list)
    live: bool = False
    carried: bool = False
    grouped: bool = False
    droppable: bool = False
    solid: bool = field(init=False)
    below_symlink: bool = field(init=False)
    late: bool = field(init=False)

    def __post_init__(self) -> None:
        parent = self.parent
        self.solid = parent is None
        self.below_symlink = parent is not None and parent.below_symlink
        self.late = parent is not None and parent.late

    def repeated(self, *, written: bool, whiteouts: list[bytes]) -> ChangedDirectory:
        """Return the directory as one of several layers says it."""
        reason = self.reason if written else Reason.NONE
        same = (self.path, self.node, self.base, self.parent)
        return ChangedDirectory(*same, reason, whiteouts, self.live, self.carried)

    @property
    def gives_group(self) -> bool:
        """Whether engines, unpacking the new layer, pass on its group."""
        return self.reason is Reason.OWN and self.node.setgid

    @property
    def written(self) -> bool:
        """Whether its own entry is part of the plan, once `live` and `carried` are known."""
        reason = self.reason
        if reason is Reason.OWN or reason is Reason.NEW:
            return self.live or not self.droppable
        if reason is Reason.LAZY:
            return not self.live
        return reason is Reason.COVERS or (reason is Reason.CARRIES and self.carried)


class Run(NamedTuple):
    """Names of a directory that M4 writes, none of them a directory, with none between them."""

    folder: ChangedDirectory
    names: list[bytes]

    @property
    def entries(self) -> Iterator[tuple[bytes, Entry]]:
        """The names with what they lead to."""
        children = self.folder.node.children
        return ((name, children[name]) for name in self.names)  # type: ignore[misc]


Item = Run | ChangedDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What squashing the layers from `first` on could write.

    directories  that changed or have changes below them, parents first
    items        in the order of the new layer (M6)
    whole        files of the base may be written again, with all their names
    """

    first: int
    directories: Sequence[ChangedDirectory]
    items: Sequence[Item]
    whole: bool
    warnings: Sequence[ImageWarning]

    @property
    def names(self) -> Iterator[tuple[bytes, Entry]]:
        """The paths that M4 writes, and what they lead to."""
        for item in self.items:
            if type(item) is Run:
                for name, entry in item.entries:
                    yield join(item.folder.path, name), entry

    @property
    def survivors(self) -> int:
        """Entries of the squashed layers that are still seen, provided by the base or not."""
        count = sum(folder.reason is Reason.OWN for folder in self.directories)
        for run in self.items:
            if type(run) is Run:
                count += len(run.names)
                if self.whole:
                    count -= sum(self.is_base_name(run.folder, *pair) for pair in run.entries)
        return count

    def is_base_name(self, folder: ChangedDirectory, name: bytes, entry: Entry) -> bool:
        """Tell whether `entry` is a file of the base under a name that it has there."""
        if entry.layer >= self.first:
            return False
        base = folder.base
        return type(base) is Directory and base.children.get(name) is entry

    def weigh(self, provided: set[Entry]) -> None:
        """Find out which directories have something to write below them, without `provided`."""
        for folder in self.directories:
            folder.live, folder.carried = bool(folder.whiteouts), False
        for item in self.items:
            if type(item) is Run:
                if provided:
                    kept = [pair for pair in item.entries if pair[1] not in provided]
                else:
                    kept = list(item.entries) if self.whole else []
                item.folder.live |= bool(kept) or not provided
                item.folder.carried |= self.whole and any(
                    self.is_base_name(item.folder, *pair) for pair in kept
                )
        for folder in reversed(self.directories):
            if folder.parent is not None:
                folder.parent.live |= folder.live or folder.written
                folder.parent.carried |= folder.carried


def find_changes(base: Tree, final: Tree, first: int, redundant: Redundant) -> Changes:
    """Return how `final` differs from `base`; `redundant` hears of each pair that may agree.

    O(what squashed layers touched). `final` has the layers from `first` on.
    """
    return _Walk(base, final, first, redundant).changes()


class _Walk:
    def __init__(self, base: Tree, final: Tree, first: int, redundant: Redundant) -> None:
        self._base = base
        self._final = final
        self._first = first
        self._redundant = redundant
        self._directories: list[ChangedDirectory] = []
        self._items: list[Item] = []
        self._warnings: list[ImageWarning] = []
        # Files of the base that a squashed layer gave a name: every name is written again.
        restamped = {
            entry
            for entry, state in final.link_overrides.items()
            if entry.layer < first <= state.layer
        }
        self._carriers = self._find_carriers(restamped)
        self._whole = bool(restamped)
        self._covers = {
            path
            for path in base.ghost_directories
            if final.ghost_directories.get(path, -1) >= first
        }

    def changes(self) -> Changes:
        """Visit what differs from the base, parents first, names sorted bytewise."""
        root = ChangedDirectory(b"", self._final.root, self._base.root, None)
        stack = [self._open(root)]
        while stack:
            for child in stack[-1]:
                stack.append(self._open(child))
                break
            else:
                stack.pop()
        if any(folder.late for folder in self._directories):
            self._items.sort(key=is_late)
        return Changes(
            first=self._first,
            directories=self._directories,
            items=self._items,
            whole=self._whole,
            warnings=self._warnings,
        )

    def _open(self, folder: ChangedDirectory) -> Iterator[ChangedDirectory]:
        """Decide about the directory itself, then yield the directories in it, names in order."""
        self._directories.append(folder)
        node, base = folder.node, folder.base
        self._decide(folder)
        below: dict[bytes, Node] = base.children if type(base) is Directory else {}
        folder.whiteouts = sorted(below.keys() - node.children.keys())
        names = sorted(node.children)
        if node.default_acl and folder.reason is not Reason.NONE:
            reached = [name for name in names if self._inherits(node, name)]
            spared = [name for name in names if not self._inherits(node, name)]
            yield from self._names(folder, below, spared)
            self._items.append(folder)
            yield from self._names(folder, below, reached)
        else:
            self._items.append(folder)
            yield from self._names(folder, below, names)

    def _inherits(self, folder: Directory, name: bytes) -> bool:
        """Tell whether a default ACL has reached what is called so in a directory that has one."""
        child = folder.children[name]
        if type(child) is Directory:
            return child.inherits
        assert type(child) is Entry  # noqa: S101
        return bool(child.flags & INHERITS) or self._final.inherited_acls.get(child) == folder.acl

    def _names(
        self, folder: ChangedDirectory, below: dict[bytes, Node], names: Iterable[bytes]
    ) -> Iterator[ChangedDirectory]:
        # Runs once for each name of every directory that changed: hence the local names.
        children, link_overrides, first = (
            folder.node.children,
            self._final.link_overrides,
            self._first,
        )
        whole, propose = self._whole, self._redundant.propose
        run: list[bytes] = []
        for name in names:
            node = children[name]
            if type(node) is Directory:
                lower = below.get(name)
                if node is not lower or whole:
                    if run:
                        self._items.append(Run(folder, run))
                        run = []
                    yield ChangedDirectory(join(folder.path, name), node, lower, folder)
                continue
            assert type(node) is Entry  # noqa: S101
            state = link_overrides.get(node, node) if link_overrides else node
            if state.layer >= first:
                run.append(name)
                lower = below.get(name)
                if type(lower) is Entry:
                    propose(folder.path, name, node, state, lower, solid=folder.solid)
        if run:
            self._items.append(Run(folder, run))

    def _decide(self, folder: ChangedDirectory) -> None:
        """M1, for one directory."""
        node, base, parent = folder.node, folder.base, folder.parent
        trusted, ghost_directories = self._redundant.trusted, self._base.ghost_directories
        if node.layer >= self._first and node.entry is not None:
            folder.reason = Reason.OWN
            if type(base) is Directory and base.entry is not None:
                folder.droppable = (
                    (parent is None or parent.solid)
                    and node.entry.same_attributes(base.entry)
                    and not (node.entry.flags ^ base.entry.flags) & ABSOLUTE
                    and folder.path not in ghost_directories
                    and trusted(folder.path)
                )
        elif parent is None:
            self._decide_root(folder)
        elif node.layer >= self._first:
            if base is not None and node.replaced_symlink is base:
                folder.below_symlink = True
                # What must not inherit an ACL from the directory comes before that, in its place.
                acl = parent.node.default_acl and parent.reason is not Reason.NONE
                folder.late = folder.late or not acl or node.inherits
            given = parent.grouped or parent.gives_group
            folder.grouped = node.grouped and given and base is None
            folder.reason = Reason.LAZY if folder.below_symlink or folder.grouped else Reason.NEW
            # An update repeats no directory that nobody spells out, neither here nor there.
            folder.droppable = (
                type(base) is Directory
                and base.entry is None
                and base is not node
                and folder.path not in ghost_directories
                and trusted(folder.path)
            )
        elif folder.path in self._covers:
            folder.reason = Reason.COVERS
        elif folder.path in self._carriers:
            folder.reason = Reason.CARRIES
        if parent is not None:
            entered = folder.reason is not Reason.NONE and folder.reason is not Reason.LAZY
            folder.solid = parent.solid and entered

    def _decide_root(self, root: ChangedDirectory) -> None:
        """Have the root written, which has no entry, if another image's entry shows there."""
        base = root.base
        if root.node.entry is not None or type(base) is not Directory or base.entry is None:
            return
        # podman heeds no entry but `/`.
        if (base.entry.owner, base.entry.xattrs) != (IMPLIED_OWNER, ()) or (
            base.entry.flags & ABSOLUTE
        ):
            root.reason = Reason.NEW
            self._warnings.append(ImageWarning("implicit-root", self._first, b""))

    def _find_carriers(self, restamped: set[Entry]) -> set[bytes]:
        """Return the directories above the base names that have to be written again."""
        carriers: set[bytes] = set()
        find = self._final.finder()
        for path, node in self._base.walk() if restamped else ():
            if node in restamped and find(path) is node:
                add_ancestors(path, carriers)
        return carriers


def is_late(item: Item) -> bool:
    """Tell whether an item comes after all that is not late."""
    return item.late if type(item) is ChangedDirectory else item.folder.late  # type: ignore[union-attr]
