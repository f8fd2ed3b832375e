"""Where do two images differ? Every field of every path, the bytes of every file; the configs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from squasher.errors import placed
from squasher.image import configs, documents
from squasher.image.configs import ImageConfig
from squasher.image.model import Image
from squasher.layers.apply import apply
from squasher.layers.content import Scan
from squasher.layers.options import parse_clamp_mtime
from squasher.layers.read import scan
from squasher.layers.tree import Directory, Node, Tree
from squasher.run import Job, Progress, silent
from squasher.tar.entry import BLK, CHR, FIFO, REG, SYM, Changeset, Entry, Owner, Xattrs
from squasher.verify.fields import directory_fields, fields
from squasher.verify.pages import unlike

_KINDS = {
    REG: "file",
    SYM: "symlink",
    CHR: "character device",
    BLK: "block device",
    FIFO: "fifo",
}


#: Owner, time and xattrs of a directory that no layer has an entry for.
_IMPLIED: tuple[Owner, None, Xattrs] = ((0o755, 0, 0), None, ())


@dataclass(frozen=True, slots=True)
class Facts:
    """What an image has at a path.

    kind     "file", "directory", "symlink", "character device", "block device" or "fifo"
    owner    (mode, uid, gid), the mode without the bits of the kind
    mtime    nanoseconds since 1970; None for a directory that no layer has an entry for: engines
             use the time of unpacking
    xattrs   sorted (name, value) pairs
    size     bytes of a file's content
    target   of a symlink
    device   (major, minor)
    links    all names of a file that has several, sorted
    """

    kind: str
    owner: Owner
    mtime: int | None
    xattrs: Xattrs = ()
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] | None = None
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that differs. `what` are "added", "removed" or "type" alone, or fields:

    "mode", "owner", "mtime", "xattrs", "target", "device", "size", "content", and "links" where
    the path shares its file with other names. `before` and `after` are what is there; None for
    nothing.
    """

    path: bytes
    what: tuple[str, ...]
    before: Facts | None
    after: Facts | None

    @property
    def time_alone(self) -> bool:
        """Whether the time is all that differs: two builds made the same."""
        return self.what == ("mtime",)


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """A value of the image config that differs: its keys from the outside in, what it was and is.

    None is a key that is not there.
    """

    key: tuple[str, ...]
    before: Any
    after: Any


# ---------------------------------------------------------------- files


def compare(
    before: Image,
    after: Image,
    *,
    clamp_mtime: str | None = None,
    tmp_dir: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> tuple[Difference, ...]:
    """Return where the root filesystems of two images differ, by path; () if they are the same.

    With `clamp_mtime`, as Options has it, all times that are later count as that time. Both are
    read whole and checked; compressed layers are unpacked to temporary files. Time O(bytes),
    memory O(entries). Raises ArchiveError, OutputError, UsageError; the place of the fault begins
    with "before" or "after".
    """
    latest = parse_clamp_mtime(clamp_mtime)
    total = before.stored_size + after.stored_size
    with Job(tmp_dir, progress) as job:
        job = job.telling("read", "read", total)
        sides = []
        for place, image in (("before", before), ("after", after)):
            with job.verified(place):
                layers = scan(image, 0, job)
                sides.append(tuple((done, said.clamped(latest)) for done, said in layers))
        left, right = sides
        with job.verified(), job.timed("compare"):
            return _differences(left, right, lambda count: job.progress("compare", count, total))


def _differences(
    before: Sequence[tuple[Scan, Changeset]],
    after: Sequence[tuple[Scan, Changeset]],
    progress: Callable[[int], None],
) -> tuple[Difference, ...]:
    """Return where two stacks of layers, lowest first, make different trees, sorted by path.

    Directories that no layer has an entry for compare without their time. Bytes are compared
    where sizes agree, unless they are the same bytes of the same layer; `progress` is told how
    many. Time O(bytes), memory O(entries). Raises ArchiveError, naming "before" or "after".
    """
    left, right = _Side("before", before), _Side("after", after)
    same_names = _SameNames()
    found: dict[bytes, tuple[str, ...]] = {}
    pairs: dict[tuple[Entry, Entry], list[bytes]] = {}
    for path in left.nodes.keys() | right.nodes.keys():
        one, two = left.at(path), right.at(path)
        if one is None or two is None:
            found[path] = ("added",) if one is None else ("removed",)
            continue
        what = tuple(_fields(one, two))
        if not same_names(left.names(path), right.names(path)):
            what += ("links",)
        if what:
            found[path] = what
        if type(one) is not Entry or type(two) is not Entry or not one.kind == two.kind == REG:
            continue
        if one.size == two.size != 0:
            pairs.setdefault((one, two), []).append(path)
    ours, theirs = ([done for done, _ in side] for side in (before, after))
    for pair in unlike(pairs, ours, theirs, progress):
        for path in pairs[pair]:
            found[path] = (*found.get(path, ()), "content")
    return tuple(
        Difference(path, what, left.facts(path), right.facts(path))
        for path, what in sorted(found.items())
    )


class _Side:
    def __init__(self, name: str, scans: Sequence[tuple[Scan, Changeset]]) -> None:
        self._tree = Tree()
        for i, (_, changes) in enumerate(scans, 1):
            with placed(f"{name}: layer {i} of {len(scans)}"):
                apply(self._tree, changes)
        self.nodes = dict(self._tree.walk())
        self._links: dict[Node, list[bytes]] = {}
        link_overrides = self._tree.link_overrides
        for path, node in self.nodes.items() if link_overrides else ():
            if node in link_overrides:
                self._links.setdefault(node, []).append(path)
        self._names = {node: tuple(names) for node, names in self._links.items() if len(names) > 1}

    def at(self, path: bytes) -> Node | None:
        """Return what is at `path` with its attributes as they are now; None for nothing."""
        node = self.nodes.get(path)
        return self._tree.state(node) if type(node) is Entry else node

    def names(self, path: bytes) -> tuple[bytes, ...]:
        """Return all names of the file at `path` if it has several, else ()."""
        return self._names.get(self.nodes[path], ())

    def facts(self, path: bytes) -> Facts | None:
        """Return what is at `path`, None for nothing."""
        node = self.at(path)
        if type(node) is Entry:
            kind, target = node.kind, node.target
            return Facts(
                _KINDS[kind],
                node.owner,
                node.mtime,
                node.xattrs,
                node.size if kind == REG else 0,
                target if kind == SYM else b"",  # type: ignore[arg-type]
                target if kind in (CHR, BLK) else None,  # type: ignore[arg-type]
                self.names(path),
            )
        if type(node) is Directory:
            own = node.entry
            return Facts("directory", *((own.owner, own.mtime, own.xattrs) if own else _IMPLIED))
        return None


class _SameNames:
    """Compares groups of hard links, each pair of groups once, however many paths they have."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}

    def __call__(self, one: tuple[bytes, ...], two: tuple[bytes, ...]) -> bool:
        key = id(one), id(two)  # the trees outlive this
        if key not in self._known:
            self._known[key] = one == two
        return self._known[key]


def _fields(one: Node, two: Node) -> Iterator[str]:
    """Yield in what two nodes differ, links and content apart."""
    if type(one) is Directory and type(two) is Directory:
        yield from directory_fields(one.entry, two.entry)
    elif type(one) is Entry and type(two) is Entry:
        yield from fields(one, two)
    else:
        yield "type"


# ---------------------------------------------------------------- configs

#: Keys that tell how an image was made, not what it is. Those of docker's legacy builder are in
#: docker, image/image.go, V1Image.
_MADE = (
    "container",
    "container_config",
    "created",
    "docker_version",
    "history",
    configs.BUILDKIT_CACHE,
    "rootfs",
)


def config_differences(
    before: ImageConfig, after: ImageConfig, *, history: bool = False
) -> tuple[ConfigDifference, ...]:
    """Return where two image configs differ, key by key, sorted; `Env` variable by variable.

    What tells how the image was made (`created`, `history`, `rootfs`, the records of builders)
    counts only with `history`. Go writes empty values or leaves them out: both are the same.
    O(their length). Raises DocumentError.
    """
    one, two = (
        {
            key: value
            for key, value in document.items()
            if history or documents.fold(key) not in _MADE
        }
        for document in (documents.load_config(x.raw, "config") for x in (before, after))
    )
    return tuple(_differing((), one, two))


def _differing(key: tuple[str, ...], one: Any, two: Any) -> Iterator[ConfigDifference]:
    if key == ("config", "Env"):
        one, two = _variables(one), _variables(two)
    one, two = one or None, two or None
    if key == ("history",):  # a list, as whoever read the config has checked
        one, two = (dict(_numbered(rows or [])) for rows in (one, two))
    if (one or two) and all(value is None or isinstance(value, dict) for value in (one, two)):
        one, two = one or {}, two or {}
        names = sorted(one.keys() | two.keys())
        for name in sorted(names, key=len) if key == ("history",) else names:
            yield from _differing((*key, name), one.get(name), two.get(name))
    elif json.dumps(one, sort_keys=True) != json.dumps(two, sort_keys=True):  # true is not 1
        yield ConfigDifference(key, one, two)


def _variables(value: Any) -> Any:
    """Return a list of NAME=VALUE as an object, if that loses nothing."""
    if not isinstance(value, list):
        return value
    pairs = [text.split("=", 1) for text in value if isinstance(text, str) and "=" in text]
    found = dict(pairs)
    return found if len(found) == len(value) else value


def _numbered(rows: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((str(i), row) for i, row in enumerate(rows, 1))
