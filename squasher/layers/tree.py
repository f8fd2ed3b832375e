"""A root filesystem: directories, the names in them, and forks that share what is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from squasher.tar.entry import DEFAULT_ACL, IMPLIED_FREE, Entry, ImageWarning
from squasher.tar.paths import from_above, join


class Directory:
    """A directory: its own last header (None where only a path below implied it) and its names.

    acl               the default ACL for what is unpacked into it: its own or an inherited one
    layer             index of the layer that last set its attributes, or implied it
    mtime             of the entry that implied it; engines use the time of unpacking
    epoch             the fork of the tree that may change it
    inherits          whether a default ACL applied to it when its own layer was unpacked
    grouped           whether it has no entry and a setgid directory of its own layer was above it
    gives             whether it hands on a default ACL or a group to what is unpacked into it
    replaced_symlink  the symlink of a lower layer that it replaced without an entry of its own
    """

    __slots__ = (
        "acl",
        "children",
        "entry",
        "epoch",
        "gives",
        "grouped",
        "inherits",
        "layer",
        "mtime",
        "replaced_symlink",
    )

    def __init__(self, entry: Entry | None, layer: int, mtime: int, epoch: int) -> None:
        self.set(entry, layer)
        self.mtime = mtime
        self.epoch = epoch
        self.inherits = False
        self.replaced_symlink: Entry | None = None
        self.children: dict[bytes, Node] = {}

    def set(self, entry: Entry | None, layer: int) -> None:
        """Give the directory the attributes of a header."""
        self.entry = entry
        self.layer = layer
        self.grouped = False
        self.acl = b""
        if entry is not None and DEFAULT_ACL in entry.packed:
            self.acl = dict(entry.xattrs).get(DEFAULT_ACL, b"")
        self.gives = entry is not None and (bool(self.acl) or self.setgid)

    def hand_on(self, acl: bytes) -> None:
        """Have the directory inherit a default ACL, which it hands on, if it has none itself."""
        if acl and not self.acl:
            self.acl = acl
            self.gives = True

    def copy(self, epoch: int) -> Directory:
        """Return the directory as the fork `epoch` may change it."""
        new = Directory(self.entry, self.layer, self.mtime, epoch)
        new.inherits = self.inherits
        new.acl, new.gives = self.acl, self.gives
        new.grouped = self.grouped
        new.replaced_symlink = self.replaced_symlink
        new.children = self.children.copy()
        return new

    @property
    def setgid(self) -> bool:
        """Whether what is made in the directory takes its group, and directories the bit."""
        return self.entry is not None and bool(self.entry.owner[0] & 0o2000)

    @property
    def default_acl(self) -> bool:
        """Whether the directory's entry has a default ACL."""
        own = self.entry
        return own is not None and DEFAULT_ACL in own.packed and DEFAULT_ACL in dict(own.xattrs)


Node = Directory | Entry


class Tree:
    """Layers applied so far, lowest first."""

    def __init__(self, first: int = 0) -> None:
        self.root = Directory(None, 0, 0, 0)
        self.epoch = 0
        #: The attributes that hard links gave an Entry: those of the last link's header. Keys are
        #: all entries that ever had a second name.
        self.link_overrides: dict[Entry, Entry] = {}
        #: The default ACL that each file took from its directory when its layer was unpacked. It
        #: never changes for an Entry, so all forks share this mapping.
        self.inherited_acls: dict[Entry, bytes] = {}
        self.shares_link_overrides = False
        #: Bytes of headers that directories without an entry may still take.
        self.implied_budget = IMPLIED_FREE
        self.warnings: list[ImageWarning] = []
        #: Targets of symlinks that a directory has replaced: some engines follow them.
        self.replaced_targets: frozenset[bytes] = frozenset()
        #: Directories with a whiteout of a name that no lower layer has, and the last layer that
        #: mentions each directory. Overlay engines list that name until another layer has the
        #: directory, too.
        self.ghost_directories: dict[bytes, int] = {}
        #: Entries applied since the fork that a later one has replaced.
        self.overwritten = 0
        self.first = first

    def fork(self, first: int) -> Tree:
        """Return a tree that goes on from here with layer `first`; this one must not change.

        O(1); directories, and what is known of hard links, are copied when the fork first changes
        them.
        """
        new = Tree()
        new.root = self.root
        new.epoch = self.epoch + 1
        new.link_overrides = self.link_overrides
        new.inherited_acls = self.inherited_acls
        new.shares_link_overrides = True
        new.implied_budget = self.implied_budget
        new.replaced_targets = self.replaced_targets
        new.ghost_directories = self.ghost_directories
        new.first = first
        return new

    def state(self, entry: Entry) -> Entry:
        """Return `entry` with the attributes that it has now."""
        return self.link_overrides.get(entry, entry)

    def own_root(self) -> None:
        """Copy the root if another fork shares it."""
        if self.root.epoch != self.epoch:
            self.root = self.root.copy(self.epoch)

    def own_child(self, parent: Directory, name: bytes, folder: Directory) -> Directory:
        """Return the child `folder` of `parent` for changing it: a copy if a fork shares it."""
        if folder.epoch != self.epoch:
            folder = parent.children[name] = folder.copy(self.epoch)
        return folder

    def own(self, path: bytes) -> Directory | None:
        """Return the directory at the clean `path` for changing it; None if there is none."""
        folder = self.root
        for name in path.split(b"/") if path else ():
            child = folder.children.get(name)
            if type(child) is not Directory:
                return None
            folder = self.own_child(folder, name, child)
        return folder

    def find(self, path: bytes) -> Node | None:
        """Return what is at the clean `path`, following nothing. O(depth)."""
        return self.finder()(path)

    def finder(self) -> Callable[[bytes], Node | None]:
        """Return `find` for many paths, as long as the tree does not change. O(new components)."""
        known: dict[bytes, Node | None] = {b"": self.root}

        def step(above: Node | None, path: bytes) -> Node | None:
            name = path.rpartition(b"/")[2]
            return above.children.get(name) if type(above) is Directory else None

        return lambda path: from_above(path, known, step)

    def walk(self) -> Iterator[tuple[bytes, Node]]:
        """Yield every path with its node, parents first, names sorted bytewise; the root is b""."""
        yield b"", self.root
        stack = [(b"", iter(sorted(self.root.children.items(), key=by_name)))]
        while stack:
            parent, items = stack[-1]
            for name, node in items:
                path = join(parent, name)
                yield path, node
                if type(node) is Directory:
                    stack.append((path, iter(sorted(node.children.items(), key=by_name))))
                    break
            else:
                stack.pop()


def by_name(item: tuple[bytes, Node]) -> bytes:
    """Return what names are sorted by."""
    return item[0]
