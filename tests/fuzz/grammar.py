"""Arbitrary images from a row of choices, whoever makes them.

    layers(choose) -> the layers (uncompressed tars), lowest first

`choose(options)` picks one of a sequence: hypothesis draws, a fuzzer spends a byte, `random.choice`
does too. The first option is always the plainest, so that no choices left means a small image.
Names, attributes and contents come from small vocabularies: what matters is that layers meet.
Nothing here looks at the tree that results: an image may be one that is refused. `sound(layers)`
leaves out the layers that make it one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from tests.generator import ACL, SECOND

T = TypeVar("T")


class Choose(Protocol):
    """Picks one of several."""

    def __call__(self, options: Sequence[T], /) -> T:
        """Return one of `options`, of which there is at least one."""
        ...


COMMON = (b"a", b"b", b"c", b"d")
ODD = (
    *(b"foo.wh.bar", b"...", b".wh", b"a-", b"a.b", b"A", b" ", b"*", b"-", b"~", b"\\", b".a"),
    *(b"\xff\xfe", b"\xc3\xa9", b"e\xcc\x81", b"new\nline", b"\x1b[31m", b"=", b"1", b"..."),
    *(b"n" * 100, b"x" * 101, b"y" * 255),
)
NAMES = COMMON * 4 + ODD
PREFIXES = (b"",) * 20 + (b"./", b"/", b"././/", b"q/../", b"a/../", b"/./")
TARGETS = (
    *(b"a", b"b", b"c", b"a/b", b"b/a", b"../a", b"/a", b"/a/b", b"/", b".", b"..", b"../../.."),
    *(b"nowhere", b"./a/", b"a//b", b"t" * 101, b"\xff", b"a/../b", b"d/c/b/a"),
)
KINDS = (
    *(["file"] * 6 + ["dir"] * 6 + ["symlink"] * 3 + ["hardlink"] * 5 + ["whiteout"] * 4),
    *("opaque", "opaque", "char", "null", "block", "fifo", "sparse", "sparse", "root", "dropped"),
)
DATA = (b"", b"one", b"two", b"z" * 511, b"z" * 512, b"z" * 513, b"q" * 2000)
EXTENTS: tuple[tuple[int, list[tuple[int, bytes]]], ...] = (
    (3000, [(100, b"s" * 10), (2000, b"t" * 20)]),
    (2000, [(0, b"q" * 512), (512, b"q" * 1488)]),  # what the plain file above says
    (2000, []),
    (0, []),
    (513, [(0, b""), (512, b"z")]),
)
MODES = (0o644, 0o755, 0o600, 0o4755, 0o1777, 0)
OWNERS = (0, 1000, 8**7 - 1, 8**7, 2**31, 2**32 - 2)
TIMES = (
    *(1_500_000_000 * SECOND, 1_600_000_000 * SECOND, 0, 1, SECOND - 1),
    *(1_500_000_000 * SECOND + 500_000_000, -1, -SECOND, 2**62, 2**63 - 1, 2**63, 8**11 * SECOND),
)
XATTRS: tuple[dict[bytes, bytes], ...] = (
    *({}, {}, {b"user.k": b"v"}, {b"user.k": b""}, {b"user.k": b"\0\n=", b"user.b": b"2"}),
    *({b"security.capability": b"\1\0\0\2" + bytes(16)}, {b"user.\xff ": b"x" * 600}),
    *({model.ACL_DEFAULT: ACL}, {b"trusted.overlay.opaque": b"y"}, {b"user.overlay.x": b"y"}),
)
DIALECTS = ("pax", "gnu", "ustar", "v7")
TRAILERS = (bytes(1024), bytes(512), b"", bytes(10_240), bytes(1024) + b"junk")


def layers(choose: Choose) -> tuple[bytes, ...]:
    """Return one to six layers of up to nine members."""
    said: dict[bytes, str] = {}
    return tuple(_layer(choose, said) for _ in range(choose((3, 2, 4, 1, 5, 6))))


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


def _layer(choose: Choose, said: dict[bytes, str]) -> bytes:
    parts: list[Member | bytes] = []
    for _ in range(choose((3, 1, 2, 4, 5, 6, 7, 8, 9, 0))):
        if choose((False,) * 30 + (True,)):
            parts.append(pax([(b"uid", b"77")], b"g"))
        parts.append(_member(choose, said))
    dialect, trailer = choose(DIALECTS), choose(TRAILERS)
    try:
        return layer(*parts, dialect=dialect, trailer=trailer)
    except ValueError:  # a name that this dialect cannot hold
        return layer(*parts, trailer=trailer)


def _path(choose: Choose, said: dict[bytes, str]) -> bytes:
    """Return a path: any, or one that was said before, or one below such a directory."""
    how = choose(("any", "said", "below", "below"))
    if how == "said" and said:
        return choose(tuple(said)[-256:])
    path = b"/".join(choose(NAMES) for _ in range(choose((1, 1, 2, 3))))
    folders = tuple(name for name, kind in said.items() if kind in ("dir", "symlink"))
    return choose(folders[-256:]) + b"/" + path if how == "below" and folders else path


def _attributes(choose: Choose) -> dict[str, Any]:
    """Return attributes; mostly none, so that layers say the same."""
    if choose((True, True, False)):
        return {}
    return {
        "mode": choose(MODES),
        "uid": choose(OWNERS),
        "gid": choose(OWNERS),
        "mtime": choose(TIMES),
        "xattrs": choose(XATTRS),
    }


def _member(choose: Choose, said: dict[bytes, str]) -> Member:
    kind, path, attributes = choose(KINDS), _path(choose, said), _attributes(choose)
    if kind == "hardlink":
        files = tuple(name for name, what in said.items() if what in ("file", "symlink", "char"))
        target = choose(files[-256:]) if files else choose(NAMES)
        member: Member = Hardlink(path, choose(PREFIXES) + target, **attributes)
    else:
        member = _of_kind(kind, path, attributes, choose)
    said.setdefault(path, kind)
    prefix = choose(PREFIXES)
    return replace(member, path=prefix + member.path) if prefix and kind != "root" else member


def _of_kind(kind: str, path: bytes, attributes: dict[str, Any], choose: Choose) -> Member:
    match kind:
        case "dir":
            return Dir(path, **attributes)
        case "symlink":
            return Symlink(path, choose(TARGETS), **attributes)
        case "whiteout":
            return Whiteout(path, **attributes)
        case "opaque":
            return Opaque(path, **attributes)
        case "char":
            return Char(path, *choose(((1, 3), (5, 1), (2**20, 2**20))), **attributes)
        case "null":
            return Char(path, 0, 0, **attributes)
        case "block":
            return Block(path, **attributes)
        case "fifo":
            return Fifo(path, **attributes)
        case "sparse":
            return Sparse(path, *choose(EXTENTS), choose(("1.0", "0.1", "0.0")), **attributes)
        case "root":
            return choose((Dir(b"./", **attributes), Opaque(b"", **attributes)))
        case "dropped":
            return File(path + b"/" + choose((b".wh..wh.plnk", b".wh..wh.aufs")))
        case _:
            return File(path, choose(DATA), **attributes)
