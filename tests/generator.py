"""Arbitrary images from a row of choices, whoever makes them.

    layers(choose)                  -> the layers (uncompressed tars), lowest first
    sound(layers)                   -> those of them that the model takes
    random_image(seed, tame=False)  -> two to six layers that it takes, the same ones for a seed

`choose(options)` picks one of a sequence of at most 256: hypothesis draws, a fuzzer spends a byte,
`random.choice` does too. The first option is the plainest, so that no choices left means a small
image. Names, attributes and contents come from small vocabularies: what matters is that layers
meet. They do in two ways. *Blind* members are anything anywhere: every kind of entry, links
through symlinks, names twice, whiteouts of nothing. *Aware* ones look at the tree below: they
rewrite, link, delete, hide and repeat what is there. Both have odd names and every dialect of tar;
an image may be one on which engines disagree, or none at all. `tame` leaves that out: every layer
carries the parents of what it says, as builders write them, and nothing gives a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol, TypeVar

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

T = TypeVar("T")
SECOND = 10**9
#: With a named user, 1000, and so with a mask: what inherits it shows more than its mode.
ACL = bytes.fromhex(
    "02000000 01000700ffffffff 02000700e8030000 04000500ffffffff 10000700ffffffff 20000500ffffffff"
)


class Choose(Protocol):
    """Picks one of several."""

    def __call__(self, options: Sequence[T], /) -> T:
        """Return one of `options`, of which there is at least one."""
        ...


# ---------------------------------------------------------------- vocabularies

COMMON = (b"a", b"b", b"c", b"d")
ODD = (
    *(b"foo.wh.bar", b"...", b".wh", b"a-", b"a.b", b"A", b" ", b"*", b"-", b"~", b"\\", b".a"),
    *(b"\xff\xfe", b"\xc3\xa9", b"e\xcc\x81", b"new\nline", b"\x1b[31m", b"=", b"1", b"..."),
    *(b"n" * 100, b"x" * 101, b"y" * 255),
)
NAMES = COMMON * 4 + ODD
TAME_NAMES = (
    *COMMON,
    *(b"e", b"A", b"a-", b"a.b", b"a b", b"foo.wh.bar", b"...", b"\xff\xfe", b"\xc3\xa9"),
    *(b"new\nline", b"x" * 90, b"y" * 130),
)
PREFIXES = (b"",) * 20 + (b"./", b"/", b"././/", b"q/../", b"a/../", b"/./")
TARGETS = (
    *(b"a", b"b", b"c", b"a/b", b"b/a", b"../a", b"/a", b"/a/b", b"/", b".", b"..", b"../../.."),
    *(b"nowhere", b"./a/", b"a//b", b"t" * 101, b"\xff", b"a/../b", b"d/c/b/a"),
)
#: What stands where nobody looks at what is there.
KINDS = (
    *(["file"] * 6 + ["dir"] * 6 + ["symlink"] * 3 + ["hardlink"] * 5 + ["whiteout"] * 4),
    *("opaque", "opaque", "char", "null", "block", "fifo", "sparse", "sparse", "root", "dropped"),
)
#: What is put where something is, or is to be.
TAME_KINDS = (
    *(["file"] * 10 + ["dir"] * 6 + ["symlink"] * 3),
    *("char", "block", "fifo", "sparse"),
)
#: What an aware layer does, and how often.
ACTS = (
    *(["add"] * 8 + ["rewrite"] * 5 + ["link"] * 5 + ["delete"] * 5 + ["make_opaque"] * 2),
    *(["touch_directory"] * 4 + ["repeat"] * 4 + ["repeat_below"] * 2),
)
DATA = (b"", b"one", b"two", b"z" * 511, b"z" * 512, b"z" * 513, b"q" * 2000)
EXTENTS: tuple[tuple[int, list[tuple[int, bytes]]], ...] = (
    (3000, [(100, b"s" * 10), (2000, b"t" * 20)]),
    (2000, [(0, b"q" * 512), (512, b"q" * 1488)]),  # what the plain file above says
    (2000, []),
    (0, []),
    (513, [(0, b""), (512, b"z")]),
)
#: A record that Python's tarfile, which some tests ask as well, cannot read.
_EMPTY_MAP = b"GNU.sparse.map=\n"
MODES = (0o644, 0o755, 0o600, 0o4755, 0o1777, 0, 0o2775)
OWNERS = (0, 1000, 8**7 - 1, 8**7, 2**31, 2**32 - 2, 2**32 - 1)
TIMES = (
    *(1_500_000_000 * SECOND, 1_600_000_000 * SECOND, 0, 1, SECOND - 1),
    *(1_500_000_000 * SECOND + 500_000_000, -1, -SECOND, 2**62, 2**63 - 1, 2**63, 8**11 * SECOND),
)
XATTRS: tuple[dict[bytes, bytes], ...] = (
    *({}, {}, {b"user.k": b"v"}, {b"user.k": b""}, {b"user.k": b"\0\n=", b"user.b": b"2"}),
    *({b"security.capability": b"\1\0\0\2" + bytes(16)}, {b"user.\xff ": b"x" * 600}),
    *({model.ACL_DEFAULT: ACL}, {b"trusted.overlay.opaque": b"y"}, {b"user.overlay.x": b"y"}),
)
TAME_TIMES = (*(0, SECOND, 1_600_000_000 * SECOND), 1_500_000_000 * SECOND + 123_456_789)
TAME_XATTRS: tuple[dict[bytes, bytes], ...] = (
    *({},) * 8,
    *({b"user.k": b"v"}, {b"user.k": b"\0\xff"}, {b"user.k": b""}),
)
DIALECTS = ("pax", "gnu", "ustar", "v7")
TRAILERS = (bytes(1024), bytes(512), b"", bytes(10_240), bytes(1024) + b"junk")


# ---------------------------------------------------------------- images


def layers(choose: Choose) -> tuple[bytes, ...]:
    """Return one to six layers; those that no engine takes may be among them."""
    made: list[bytes] = []
    said: dict[bytes, str] = {}
    for _ in range(choose((3, 2, 4, 1, 5, 6))):
        made.append(_Layer(choose, model.apply(sound(made)), said).write())
    return tuple(made)


def sound(layers: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return these layers without those that the model refuses, each on top of those before it."""
    kept: list[bytes] = []
    for tar in layers:
        try:
            model.apply([*kept, tar])
        except model.ModelError:
            continue
        kept.append(tar)
    return tuple(kept)


def random_image(seed: int, *, tame: bool = False) -> tuple[bytes, ...]:
    """Return two to six layers, always the same ones for a seed."""
    random = Random(f"{seed} {tame}")
    made: list[bytes] = []
    said: dict[bytes, str] = {}
    wanted = random.randint(2, 6)
    while len(made) < wanted:
        candidate = _Layer(random.choice, model.apply(made), said, tame=tame).write()
        try:
            after = model.apply([*made, candidate])
        except model.ModelError:
            continue
        if _EMPTY_MAP in candidate:
            continue
        if not (tame and after.warnings):
            made.append(candidate)
    return tuple(made)


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


# ---------------------------------------------------------------- layers


class _Layer:
    """One layer over a tree; `known` are the names of all layers so far, with their kinds."""

    def __init__(
        self, choose: Choose, tree: model.Tree, known: dict[bytes, str], *, tame: bool = False
    ) -> None:
        self.choose = choose
        self.tame = tame
        self.known = known
        self.members: list[Member] = []
        self.nodes = {b"/".join(path): node for path, node in model.walk(tree.root) if path}
        self.groups = {
            b"/".join(path): [b"/".join(p) for p in paths]
            for paths in model.groups(tree).values()
            for path in paths
        }
        self.style = "aware" if tame else choose(("blind", "aware", "aware", "both"))
        self.parents = tame or choose((True, True, False))
        self.said: set[bytes] = set()

    def write(self) -> bytes:
        """Return the bytes of the layer."""
        for _ in range(self.choose((3, 1, 2, 4, 5, 6, 7, 8, 9, 0))):
            if self.style == "blind" or (self.style == "both" and self.choose((True, False))):
                self.blind()
            else:
                getattr(self, self.choose(ACTS))()
        if self.once_in(30):
            self.members.append(self.root(mode=self.choose((0o755, 0o711))))
        if self.once_in(10) and not self.tame:
            self.members = self.members[::-1]
        parts: list[Member | bytes] = [*self.members]
        if self.once_in(15):
            parts.insert(self.choose((0, 1, 2)), pax([(b"uid", b"77")], b"g"))
        dialect, trailer = self.choose(DIALECTS), self.choose(TRAILERS)
        try:
            return layer(*parts, dialect=dialect, trailer=trailer)
        except ValueError:  # a name that this dialect cannot hold
            return layer(*parts, trailer=trailer)

    def root(self, **attributes: Any) -> Member:
        """Return the entry of the root, as it is spelt mostly, or as kaniko does."""
        made = Dir(b"./", **attributes)
        slash = not self.tame and self.choose((False, False, True))
        return replace(made, path=b"/") if slash else made

    def once_in(self, count: int) -> bool:
        return self.choose((False,) * (count - 1) + (True,))

    def mostly(self) -> bool:
        return self.choose((True, True, True, False))

    def one_of(self, paths: Sequence[bytes]) -> bytes:
        return self.choose(paths[-256:])

    def path(self) -> bytes:
        """Return a path: any, one that was said before, one in what is or was a directory."""
        how = "inside" if self.tame else self.choose(("any", "said", "below", "below", "inside"))
        if how == "said" and self.known:
            return self.one_of([*self.known])
        names = TAME_NAMES if self.tame else NAMES
        path = b"/".join(self.choose(names) for _ in range(self.choose((1, 1, 1, 2, 3))))
        folders: list[bytes] = []
        if how == "below":
            folders = [name for name, kind in self.known.items() if kind in ("dir", "symlink")]
        elif how == "inside":
            folders = [name for name, node in self.nodes.items() if node.kind == "dir"]
            own = [m.path.rstrip(b"/") for m in self.members if m.type == b"5" and m.path != b"./"]
            folders += [b"", *own]
        start = self.one_of(folders) if folders else b""
        return start + b"/" + path if start else path

    def attributes(self) -> dict[str, Any]:
        """Return attributes; often none, so that layers say the same."""
        how = self.choose(("none", "plain", "odd", "none"))
        if how == "none":
            return {}
        tame = self.tame or how == "plain"
        return {
            "mode": self.choose(MODES[:4] if tame else MODES),
            "uid": self.choose((0, 0, 1000, 3_000_000) if tame else OWNERS),
            "gid": self.choose((0, 0, 1000) if tame else OWNERS),
            "mtime": self.choose(TAME_TIMES if tame else TIMES),
            "xattrs": self.choose(TAME_XATTRS if tame else XATTRS),
        }

    def of_kind(self, kind: str, path: bytes) -> Member:
        choose, attributes = self.choose, self.attributes()
        if self.tame and kind in ("symlink", "char", "block", "fifo"):
            attributes.pop("xattrs", None)  # the kernel takes none of `user.` there
        match kind:
            case "dir":
                if self.once_in(30):
                    attributes["xattrs"] = {model.ACL_DEFAULT: ACL}
                return Dir(path, **attributes)
            case "symlink":
                known = [b"a", b"/a", b"../b", b"nowhere", b"c/d", *self.nodes]
                return Symlink(
                    path, self.one_of(known) if self.tame else choose(TARGETS), **attributes
                )
            case "hardlink":
                files = [x for x, what in self.known.items() if what in ("file", "symlink", "char")]
                target = self.one_of(files) if files else choose(NAMES)
                return Hardlink(path, choose(PREFIXES) + target, **attributes)
            case "whiteout":
                return Whiteout(path, **attributes)
            case "opaque":
                return Opaque(path, **attributes)
            case "char":
                devices = ((1, 3), (5, 1), (2**20, 2**20))
                return Char(path, *choose(devices[:2] if self.tame else devices), **attributes)
            case "null":
                return Char(path, 0, 0, **attributes)
            case "block":
                return Block(path, **attributes)
            case "fifo":
                return Fifo(path, **attributes)
            case "sparse":
                extents = choose(EXTENTS[:1] if self.tame else EXTENTS)
                return Sparse(path, *extents, choose(("1.0", "0.1", "0.0")), **attributes)
            case "root":
                return choose((self.root(**attributes), Opaque(b"", **attributes)))
            case "dropped":
                return File(path + b"/" + choose((b".wh..wh.plnk", b".wh..wh.aufs")))
            case _:
                return File(path, choose(DATA), **attributes)

    # ------------------------------------------------------------ blind members

    def blind(self) -> None:
        """Add anything anywhere."""
        kind, path = self.choose(KINDS), self.path()
        member = self.of_kind(kind, path)
        prefix = self.choose(PREFIXES)
        if prefix and kind != "root":
            member = replace(member, path=prefix + member.path)
        self.known.setdefault(path, kind)
        self.members.append(member)

    # ------------------------------------------------------------ aware ones

    def put(self, member: Member) -> None:
        """Add a member, with its parents where this layer is one that has them."""
        path = member.path.rstrip(b"/")
        if path in self.said and (self.tame or not self.once_in(20)):
            return
        if self.parents:
            for end in (n for n, byte in enumerate(path) if byte == ord("/")):
                self.put_parent(path[:end])
        self.said.add(path)
        self.known.setdefault(path, model.KINDS[member.type])
        self.members.append(member)

    def put_parent(self, path: bytes) -> None:
        if path not in self.said:
            self.said.add(path)
            node = self.nodes.get(path)
            known = node is not None and node.kind == "dir"
            self.members.append(member_of(path, node) if node and known else self.directory(path))

    def directory(self, path: bytes) -> Member:
        return self.of_kind("dir", path)

    def something(self, path: bytes) -> Member:
        """Return a new member of any type but a link."""
        return self.of_kind(self.choose(TAME_KINDS), path)

    def existing(self, kinds: tuple[str, ...] = ()) -> bytes | None:
        paths = [path for path, node in self.nodes.items() if not kinds or node.kind in kinds]
        return self.one_of(paths) if paths else None

    def add(self) -> None:
        self.put(self.something(self.path()))

    def rewrite(self) -> None:
        path = self.existing()
        if path is not None:
            self.put(self.something(path))

    def link(self) -> None:
        """Link to something of this layer, or to a lower file."""
        own = [m for m in self.members if m.type in (b"0", b"2", b"3", b"6")]
        own = [m for m in own if b".wh." not in m.path.rpartition(b"/")[2][:4]]
        lower = self.existing(("file", "symlink", "char"))
        if own and (self.tame or self.mostly()):
            target = self.choose(own)
            same = {key: getattr(target, key) for key in ("mode", "uid", "gid", "mtime", "xattrs")}
            for _ in range(self.choose((1, 2, 3))):
                made = Hardlink(self.path(), target.path, **same)
                self.put(replace(made, mode=0o600) if self.once_in(20) else made)
        elif lower is not None and not self.tame:
            node = self.nodes[lower]
            same = {key: getattr(node, key) for key in ("mode", "uid", "gid", "mtime", "xattrs")}
            self.put(Hardlink(self.path(), lower, **(same if self.mostly() else {})))

    def delete(self) -> None:
        path = self.existing()
        if path is not None and (self.tame or not self.once_in(20)):
            self.put(Whiteout(path))
        elif not self.tame:
            self.put(Whiteout(self.path()))

    def make_opaque(self) -> None:
        path = self.existing(("dir",))
        if path is not None:
            self.put(Opaque(path))
            if self.choose((False, True)):
                names = TAME_NAMES if self.tame else NAMES
                self.put(self.something(path + b"/" + self.choose(names)))
        elif self.once_in(10):
            self.put(Opaque(b"" if self.choose((True, False)) else self.path()))

    def touch_directory(self) -> None:
        path = self.existing(("dir",))
        if path is not None:
            same = member_of(path, self.nodes[path])
            self.put(same if self.choose((True, False)) else self.directory(path))

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
            if name != path and not self.once_in(10):
                self.put(replace(member, path=name, type=b"1", target=path, data=b""))

    def repeat_below(self) -> None:
        """Say all below a directory again, one of them perhaps changed: `chmod -R`."""
        path = self.existing(("dir",))
        for name in list(self.nodes):
            if path is not None and name.startswith(path + b"/") and name not in self.said:
                self.repeat(name)
                if self.once_in(10):
                    self.members[-1] = replace(self.members[-1], mode=0o640)
