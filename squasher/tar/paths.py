"""Layer paths and the whiteout grammar.

A layer path is bytes, as tar has it, normalised once: no leading, trailing or doubled slash, no
`.` and no `..`; the root is `b""`. Whiteouts are told by the name alone (never by substring:
`foo.wh.bar` is a file).

Source: OCI image-spec, layer.md, "Whiteouts" and "Opaque Whiteout"; names that engines refuse are
those that moby, containers/storage, containerd and umoci refused when tried.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from squasher.errors import ArchiveError

_T = TypeVar("_T")

WHITEOUT_PREFIX = b".wh."
OPAQUE_NAME = b".wh..wh..opq"
AUFS_PREFIX = b".wh..wh."

#: Linux PATH_MAX without its NUL: no engine can create a longer path.
PATH_MAX = 4095
#: Linux NAME_MAX; a whiteout may name a file of that length (`.wh.` + 255 bytes is legal).
NAME_MAX = 255
#: Symbolic links followed in one path; Linux gives up after 40, the engines' own resolver at 255.
HOPS_MAX = 255
#: Names in the targets of symbolic links that one layer may have followed, and so many more for
#: each of its entries. A target has up to 2,048 of them, and each entry can go through it anew;
#: those that are real have two or three.
STEPS_FREE = 1 << 14
STEPS_FACTOR = 16


class Meaning(enum.Enum):
    """What a name in a layer says about the tree."""

    ENTRY = enum.auto()
    WHITEOUT = enum.auto()
    OPAQUE = enum.auto()
    IGNORED = enum.auto()


def show(path: bytes) -> str:
    """Return `path` quoted for a message: printable on one line, escapes for everything else."""
    text = path if len(path) <= 200 else path[:200] + b"..."
    shown = "".join(
        char if char.isprintable() and char not in "\\'" else escape(char)
        for char in text.decode("utf-8", "surrogateescape")
    )
    return f"'{shown}'"


def escape(char: str) -> str:
    """Return what stands for a character, or an undecodable byte, that cannot stand itself."""
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if char in "\\'":
        return "\\" + char
    return char.encode("unicode_escape").decode("ascii")


_PART = rb"(?!\.\.?(?:/|\Z))[^/]{1,%d}" % NAME_MAX
_CLEAN = re.compile(rb"%b(?:/%b)*" % (_PART, _PART))


def clean(name: bytes) -> bytes:
    """Return, by R3, the layer path that the tar name `name` stands for; the root is `b""`.

    O(len(name)). Raises ArchiveError for a name that leaves the root (engines clamp it or refuse)
    or is too long for Linux, as a whole or in one component.
    """
    if len(name) > PATH_MAX:
        raise ArchiveError(f"the name is longer than {PATH_MAX} bytes")
    path = name.removesuffix(b"/")
    if _CLEAN.fullmatch(path):  # nearly all are; one call, however deep
        return path
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not parts:
                raise ArchiveError("the name leads out of the root")
            parts.pop()
            continue
        limit = NAME_MAX + len(WHITEOUT_PREFIX) if part.startswith(WHITEOUT_PREFIX) else NAME_MAX
        if len(part) > limit:
            raise ArchiveError(f"a part of the name is longer than {NAME_MAX} bytes")
        parts.append(part)
    return b"/".join(parts)


def classify(path: bytes) -> tuple[Meaning, bytes]:
    """Return, by R4, what the clean `path` means, and the path that it is about.

    For a whiteout that is the path removed, for an opaque whiteout the directory emptied.
    Raises ArchiveError for `.wh.`, `.wh..`, `.wh...` (the specification has no meaning for them)
    and for anything below a folder named like a whiteout (engines would create that folder).
    """
    parent, _, name = path.rpartition(b"/")
    if path.startswith(WHITEOUT_PREFIX, 0, len(parent)) or b"/" + WHITEOUT_PREFIX in parent:
        raise ArchiveError("an entry below a whiteout")
    if not name.startswith(WHITEOUT_PREFIX):
        return Meaning.ENTRY, path
    if name == OPAQUE_NAME:
        return Meaning.OPAQUE, parent
    if name.startswith(AUFS_PREFIX):
        return Meaning.IGNORED, path
    hidden = name[len(WHITEOUT_PREFIX) :]
    if hidden in (b"", b".", b".."):
        raise ArchiveError("a whiteout without a name")
    return Meaning.WHITEOUT, join(parent, hidden)


def join(parent: bytes, name: bytes) -> bytes:
    """Return the path of `name` in the directory `parent`."""
    return parent + b"/" + name if parent else name


def add_ancestors(path: bytes, seen: set[bytes]) -> list[bytes]:
    """Add the directories above `path` to `seen`; return those that are new, nearest first."""
    new = []
    path = path.rpartition(b"/")[0]
    while path and path not in seen:
        seen.add(path)
        new.append(path)
        path = path.rpartition(b"/")[0]
    return new


def from_above(path: bytes, known: dict[bytes, _T], step: Callable[[_T, bytes], _T]) -> _T:
    """Return what is known of `path`, which follows from what is known of the directory above it.

    `step` makes the one of the other and of the path; `known` has the root's, and keeps what it
    makes. O(components that are not known).
    """
    todo = []
    while path not in known:
        todo.append(path)
        path = path.rpartition(b"/")[0]
    found = known[path]
    for path in reversed(todo):
        found = known[path] = step(found, path)
    return found


class Cover:
    """A set of subtrees, each named by its top. Asking is O(new ancestors), not O(depth) each."""

    def __init__(self, tops: Iterable[bytes]) -> None:
        self._tops = frozenset(tops)
        self._below = {b"": False}

    def below(self, path: bytes) -> bool:
        """Tell whether a directory above `path` is a top."""
        return bool(self._tops) and from_above(path, self._below, self._step)

    def _step(self, above: bool, path: bytes) -> bool:
        return above or path.rpartition(b"/")[0] in self._tops

    def __bool__(self) -> bool:
        return bool(self._tops)
