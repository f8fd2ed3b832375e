"""What a case of the corpus is, and the words that the cases share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.builders import Dir, File, Member, Symlink, layer

KINDS = frozenset(
    {
        "default-acl",
        "duplicate-path",
        "file-becomes-directory",
        "ghost-whiteout",
        "global-header",
        "implicit-base-directory",
        "link-header-differs",
        "link-through-lower-symlink",
        "link-to-lower",
        "link-up-from-symlink",
        "nameless-entry",
        "odd-mtime",
        "overlay-xattr",
        "root-opaque",
        "root-spelling",
        "setgid-directory",
        "symlink-xattr",
        "through-dangling-symlink",
        "through-lower-symlink",
        "whiteout-and-entry",
        "whiteout-device",
    }
)


@dataclass(frozen=True)
class Case:
    """One hand-made image and what must become of it.

    `layers` are uncompressed tars, lowest first. `verdict` is `agree` (every engine shows the same
    tree), `warn` (engines disagree, in the ways that `kinds` name, and the merged layer follows
    the specification) or `refuse` (no image: exit code 3).
    """

    name: str
    description: str
    layers: tuple[bytes, ...]
    verdict: Literal["agree", "warn", "refuse"]
    kinds: frozenset[str]


Content = Sequence[Member | bytes] | bytes


def case(
    name: str, description: str, *layers: Content, warns: str = "", refused: bool = False
) -> Case:
    """Return a case; a layer is its whole tar, or the members of it; `warns` lists slugs."""
    tars = tuple(part if isinstance(part, bytes) else layer(*part) for part in layers)
    kinds = frozenset(warns.split())
    assert kinds <= KINDS, kinds - KINDS
    verdict: Literal["agree", "warn", "refuse"] = (
        "refuse" if refused else "warn" if kinds else "agree"
    )
    return Case(name, description, tars, verdict, kinds)


# A directory with attributes of its own, which an engine that resets them makes visible.
D = Dir(b"d", mode=0o1770, uid=10, gid=20, xattrs={b"user.k": b"v"})
# The same with other attributes, for layers that change it.
OTHER_D = Dir(b"d", mode=0o750, uid=11, gid=21, mtime=1_600_000_000 * 10**9)
SUB = Dir(b"d/sub", mode=0o711, uid=12)
LOWER = (
    D,
    File(b"d/a", b"lower a"),
    File(b"d/b", b"lower b"),
    SUB,
    File(b"d/sub/s", b"lower s"),
    File(b"f", b"lower f", mode=0o640, uid=1),
)
# Merged /usr as distributions have it.
LIB = (
    Dir(b"usr"),
    Dir(b"usr/lib", mode=0o751, uid=7),
    File(b"usr/lib/old", b"old"),
    Symlink(b"lib", b"usr/lib"),
)
