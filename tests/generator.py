"""Seeded random images that are no refused ones: `random_image(seed) -> layers, lowest first`.

They have odd names, hard links over layers, plain and opaque whiteouts, missing parents, types that
change, devices, xattrs, default ACLs, sparse files, copies of what lies below, and every tar
dialect; an image may be one on which engines disagree. `tame=True` leaves that out: every layer
carries the parents of what it says, as builders write them, and nothing gives a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests import model
from tests.builders import (
    Block,
    Char,
    Dir,
    Fifo,
    File,
    Hardlink,
    Member,
    Opaque,
    Sparse,
    Symlink,
    Whiteout,
    layer,
    pax,
)

NAMES = (
    *(b"a", b"b", b"c", b"d", b"e", b"A", b"a-", b"a.b", b"a b", b"foo.wh.bar", b"..."),
    *(b"\xff\xfe", b"\xc3\xa9", b"new\nline", b"x" * 90, b"y" * 130),
)
SECOND = 10**9
ACL = bytes.fromhex("0200000001000700ffffffff04000500ffffffff20000500ffffffff")


def random_image(seed: int, *, tame: bool = False) -> tuple[bytes, ...]:
    """Return two to six layers, always the same ones for a seed."""
    random = Random(f"{seed} {tame}")
    layers: list[bytes] = []
    wanted = random.randint(2, 6)
    while len(layers) < wanted:
        tree = model.apply(layers)
        candidate = _Layer(random, tree, tame=tame).write()
        try:
            after = model.apply([*layers, candidate])
        except model.ModelError:
            continue
        if not (tame and after.warnings):
            layers.append(candidate)
    return tuple(layers)


def member_of(path: bytes, node: model.Node) -> Member:
    """Return the member that says what a node of the model is, in full."""
    attributes: dict[str, Any] = {
        "mode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
        "mtime": node.mtime,
        "xattrs": dict(node.xattrs),
    }
    match node.kind:
        case "dir":
            return replace(Dir(path or b"./", **attributes), path=_folder_name(path, node))
        case "symlink":
            return Symlink(path, node.target, **attributes)
        case "char":
            return Char(path, *node.device, **attributes)
        case "block":
            return Block(path, *node.device, **attributes)
        case "fifo":
            return Fifo(path, **attributes)
        case _:
            return File(path, node.data, **attributes)


def _folder_name(path: bytes, node: model.Node) -> bytes:
    return path + b"/" if path else b"/" if node.absolute else b"./"


class _Layer:
    """One random layer over a tree."""

    def __init__(self, random: Random, tree: model.Tree, *, tame: bool) -> None:
        self.random = random
        self.tame = tame
        self.members: list[Member] = []
        self.nodes = {b"/".join(path): node for path, node in model.walk(tree.root) if path}
        self.groups = {
            b"/".join(path): [b"/".join(p) for p in paths]
            for paths in model.groups(tree).values()
            for path in paths
        }
        self.parents = tame or random.random() < 0.7
        self.said: set[bytes] = set()

    def write(self) -> bytes:
        """Return the bytes of the layer."""
        acts: list[tuple[int, Callable[[], None]]] = [
            (8, self.add),
            (5, self.rewrite),
            (5, self.link),
            (2, self.link_over),
            (5, self.delete),
            (2, self.make_opaque),
            (4, self.touch_directory),
            (4, self.repeat),
            (2, self.repeat_below),
        ]
        weights = [weight for weight, _ in acts]
        for _ in range(self.random.randint(0 if self.chance(0.1) else 1, 8)):
            self.random.choices(acts, weights)[0][1]()
        if self.chance(0.03):
            root = Dir(b"./", mode=self.random.choice((0o755, 0o711)))
            slash = self.chance(0.3) and not self.tame
            self.members.append(replace(root, path=b"/") if slash else root)
        if self.chance(0.1) and not self.tame:
            self.random.shuffle(self.members)
        parts: list[Member | bytes] = [self.spelled(member) for member in self.members]
        if self.chance(0.05):
            parts.insert(0, pax([(b"uid", b"77")], b"g"))
        trailer = self.random.choice((bytes(1024), bytes(1024), bytes(512), b"", bytes(10_240)))
        try:
            return layer(
                *parts, dialect=self.random.choice(("pax", "gnu", "ustar", "v7")), trailer=trailer
            )
        except ValueError:  # a name that this dialect cannot hold
            return layer(*parts, trailer=trailer)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def spelled(self, member: Member) -> Member:
        prefix = self.random.choices((b"", b"./", b"/", b"q/../", b".//"), (90, 6, 1, 1, 1))[0]
        if self.tame or member.path in (b"./", b"/"):
            return member
        return replace(member, path=prefix + member.path)

    def path(self) -> bytes:
        """Return a path, mostly in a directory that is there."""
        folders = [b"", *(p for p, node in self.nodes.items() if node.kind == "dir")]
        folders += [m.path.rstrip(b"/") for m in self.members if m.type == b"5" and m.path != b"./"]
        start = self.random.choice(folders)
        if self.chance(0.1) and self.nodes and not self.tame:
            start = self.random.choice(list(self.nodes))
        names = [self.random.choice(NAMES) for _ in range(self.random.choice((1, 1, 1, 2, 3)))]
        return b"/".join([*([start] if start else []), *names])

    def attributes(self) -> dict[str, Any]:
        """Return attributes, mostly plain ones."""
        random = self.random
        mtime = random.choice((0, 1, 1_500_000_000, 1_600_000_000)) * SECOND
        if self.chance(0.2):
            mtime += random.choice((1, 500_000_000, 123_456_789))
        xattrs: dict[bytes, bytes] = {}
        if self.chance(0.1):
            xattrs[b"user.k"] = random.choice((b"v", b"\0\xff", b""))
        if self.chance(0.01):
            xattrs[b"user.overlay.opaque"] = b"y"
        if self.chance(0.02):
            mtime = random.choice((-SECOND, -1, 2**63))
        return {
            "mode": random.choice((0o644, 0o755, 0o600, 0o4755)),
            "uid": random.choice((0, 0, 1000, 3_000_000)),
            "gid": random.choice((0, 0, 1000)),
            "mtime": mtime,
            "xattrs": xattrs,
        }

    def put(self, member: Member) -> None:
        """Add a member, with its parents where this layer is one that has them."""
        path = member.path.rstrip(b"/")
        if path in self.said and not (self.chance(0.05) and not self.tame):
            return
        if self.parents:
            for end in (n for n, byte in enumerate(path) if byte == ord("/")):
                parent = path[:end]
                if parent not in self.said:
                    self.said.add(parent)
                    node = self.nodes.get(parent)
                    known = node is not None and node.kind == "dir"
                    made = member_of(parent, node) if node and known else self.directory(parent)
                    self.members.append(made)
        self.said.add(path)
        self.members.append(member)

    def directory(self, path: bytes) -> Member:
        attributes = self.attributes()
        if self.chance(0.03):
            attributes["xattrs"] = {model.ACL_DEFAULT: ACL}
        return Dir(path, **attributes)

    def something(self, path: bytes) -> Member:
        """Return a new member of any type but a link."""
        random, attributes = self.random, self.attributes()
        kind = random.choices(("file", "dir", "symlink", "device", "sparse"), (10, 6, 3, 2, 1))[0]
        if kind == "dir":
            return self.directory(path)
        if kind == "symlink":
            targets = [b"a", b"/a", b"../b", b"nowhere", b"c/d", *self.nodes]
            if not (self.tame or self.chance(0.05)):
                attributes["xattrs"] = {}
            return Symlink(path, random.choice(targets), **attributes)
        if kind == "device":
            device = random.choice((Char(path), Char(path, 5, 1), Block(path), Fifo(path)))
            if self.chance(0.05):
                device = Char(path, 0, 0)
            return replace(device, uid=random.choice((0, 7)))
        if kind == "sparse":
            version = random.choice(("0.0", "0.1", "1.0"))
            return Sparse(path, 3000, [(100, b"s" * 10), (2000, b"t" * 20)], version, **attributes)
        data = random.choice((b"", b"one", b"two", b"x" * 511, b"y" * 512, b"z" * 2000))
        return File(path, data, **attributes)

    def existing(self, kinds: tuple[str, ...] = ()) -> bytes | None:
        paths = [path for path, node in self.nodes.items() if not kinds or node.kind in kinds]
        return self.random.choice(paths) if paths else None

    def add(self) -> None:
        self.put(self.something(self.path()))

    def rewrite(self) -> None:
        path = self.existing()
        if path is not None:
            self.put(self.something(path))

    def link(self) -> None:
        """Link to something of this layer, to a symlink's directory's, or to a lower file."""
        own = [m for m in self.members if m.type in (b"0", b"2", b"3", b"6")]
        own = [m for m in own if b".wh." not in m.path.rpartition(b"/")[2][:4]]
        lower = self.existing(("file", "symlink", "char"))
        if own and (self.tame or self.chance(0.7)):
            target = self.random.choice(own)
            same = {key: getattr(target, key) for key in ("mode", "uid", "gid", "mtime", "xattrs")}
            for _ in range(self.random.randint(1, 3)):
                made = Hardlink(self.path(), target.path, **same)
                self.put(replace(made, mode=0o600) if self.chance(0.05) else made)
        elif lower is not None and not self.tame:
            node = self.nodes[lower]
            same = {key: getattr(node, key) for key in ("mode", "uid", "gid", "mtime", "xattrs")}
            self.put(Hardlink(self.path(), lower, **(same if self.chance(0.8) else {})))

    def link_over(self) -> None:
        """Put a copy of a lower file beside it, or a link to the file over its copy."""
        one = self.existing(("file",))
        if one is None:
            return
        node = self.nodes[one]
        member = member_of(one, node)
        twins = [p for p, other in self.nodes.items() if other != node and model.same(other, node)]
        if not twins or self.tame:
            self.put(replace(member, path=self.path()))
            return
        link = replace(member, path=self.random.choice(twins), type=b"1", target=one, data=b"")
        self.put(link)

    def delete(self) -> None:
        path = self.existing()
        linked = [p for p, names in self.groups.items() if len(names) > 1]
        if linked and self.chance(0.3):
            path = self.random.choice(linked)
        if path is not None and not (self.chance(0.05) and not self.tame):
            self.put(Whiteout(path))
        elif not self.tame:
            self.put(Whiteout(self.path()))

    def make_opaque(self) -> None:
        path = self.existing(("dir",))
        if path is not None:
            self.put(Opaque(path))
            if self.chance(0.5):
                self.put(self.something(path + b"/" + self.random.choice(NAMES)))
        elif self.chance(0.1):
            self.put(Opaque(b"" if self.chance(0.5) else self.path()))

    def touch_directory(self) -> None:
        path = self.existing(("dir",))
        if path is not None:
            same = member_of(path, self.nodes[path])
            self.put(same if self.chance(0.5) else self.directory(path))

    def repeat(self, path: bytes | None = None) -> None:
        """Say something again as it is, mostly with all names of its group."""
        path = path or self.existing()
        if path is None:
            return
        member = member_of(path, self.nodes[path])
        self.put(member)
        if member.type == b"5":
            return
        for name in self.groups[path]:
            if name != path and self.chance(0.9):
                self.put(replace(member, path=name, type=b"1", target=path, data=b""))

    def repeat_below(self) -> None:
        """Say all below a directory again, one of them perhaps changed: `chmod -R`."""
        path = self.existing(("dir",))
        for name in list(self.nodes):
            if path is not None and name.startswith(path + b"/") and name not in self.said:
                self.repeat(name)
                if self.chance(0.1):
                    self.members[-1] = replace(self.members[-1], mode=0o640)
