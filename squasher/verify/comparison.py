"""Where do two images differ? Every field of every path, the bytes of every file; the configs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from squasher.errors import placed
from squasher.image import configs, documents
from squasher.image.configs import ImageConfig
from squasher.image.model import Image
from squasher.layers.content import Scan
from squasher.layers.options import parse_clamp_mtime
from squasher.layers.read import layer_places, scan
from squasher.run import Job, Progress, silent
from squasher.tar.entry import BLK, CHR, FIFO, REG, SYM, Entry, Owner, Pair, Xattrs
from squasher.verify.apply import apply
from squasher.verify.fields import directory_fields, fields
from squasher.verify.pages import unlike
from squasher.verify.tree import Folder, Node, Tree, side_by_side

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
    owner    (mode, uid, gid); the mode without the bits of the kind
    mtime    nanoseconds since 1970; None for a directory without an entry in any layer, because
             engines give it the time of unpacking
    xattrs   (name, value) pairs, sorted
    size     bytes of a file's content, 0 for any other kind
    target   of a symlink, b"" for any other kind
    device   (major, minor) of a device, None for any other kind
    links    all names of a file that has several, sorted; () for one name
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
    """A path that differs.

    what     "added" or "removed"; else one or more of "type", "mode", "owner", "mtime", "xattrs",
             "target", "device", "size", "content" (other bytes, as many), and "links" (the names
             that share the file). Next to "type" only "links" can stand
    before, after   what each image has there, None for nothing
    """

    path: bytes
    what: tuple[str, ...]
    before: Facts | None
    after: Facts | None

    @property
    def time_alone(self) -> bool:
        """Whether only the time differs: both builds made the same file."""
        return self.what == ("mtime",)


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """A value of the image config that differs.

    key      the keys that lead to it, from the outside in; a variable of `Env` ends with its name,
             a row of the history with its number, from "1" for the lowest
    before, after   the value in each config, None if it is missing or empty
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
    """Return where the root filesystems of two images differ, sorted by path; () if nowhere.

    With `clamp_mtime` (see Options), later times count as that time. All layers of both images are
    read and checked against their digests. Compressed layers are unpacked to temporary files in
    `tmp_dir`, which are removed at the end. Time O(bytes), memory O(entries).

    Raises ArchiveError (also DigestMismatchError), UnsupportedImageError, OutputError, UsageError.
    If a layer cannot be read, the error's `where` begins with "before" or "after".
    """
    latest = parse_clamp_mtime(clamp_mtime)
    total = before.stored_size + after.stored_size
    with Job(tmp_dir, progress) as job:
        job = job.telling("read", "read", total)
        sides = []
        for place, image in (("before", before), ("after", after)):
            with job.verified(place):
                sides.append(_Side(image, latest, job))
        left, right = sides
        with job.verified(), job.timed("compare"):
            return _differences(left, right, lambda count: job.progress("compare", count, total))


class _Side:
    """One of two root filesystems, as the layers of an image make it, and what was read of them."""

    def __init__(self, image: Image, latest: int | None, job: Job) -> None:
        self.tree = Tree()
        self.scans: list[Scan] = []
        places = layer_places(image)
        for done, changes in scan(image, 0, job, places=places):
            with placed(places[changes.layer]):
                apply(self.tree, changes.clamped(latest), strict=False)
            self.scans.append(done)


class _Names:
    """All names of the files of one side that have several."""

    def __init__(self, tree: Tree) -> None:
        self._linked = tree.linked
        self._paths: dict[Node, list[bytes]] = {}
        self._sorted: dict[Node, tuple[bytes, ...]] = {}

    def note(self, node: Node | None, path: bytes) -> bool:
        """Note a path, if what is there ever had a second name; tell whether it had."""
        if node not in self._linked:
            return False
        self._paths.setdefault(node, []).append(path)
        return True

    def of(self, node: Node | None) -> tuple[bytes, ...]:
        """Return all names of a file if it has several, else (); always the same object."""
        paths = self._paths.get(node)  # type: ignore[arg-type]
        if node is None or not paths or len(paths) == 1:
            return ()
        if node not in self._sorted:
            self._sorted[node] = tuple(sorted(paths))
        return self._sorted[node]


_Pair = tuple[Node | None, Node | None]


def _differences(
    before: _Side, after: _Side, progress: Callable[[int], None]
) -> tuple[Difference, ...]:
    """Return where two trees differ, sorted by path.

    Directories that no layer has an entry for compare without their time. Bytes are compared
    where sizes agree, unless they are the same bytes of the same layer; `progress` is told how
    many. Time O(bytes), memory O(entries). Raises ArchiveError.
    """
    ours, theirs = _Names(before.tree), _Names(after.tree)
    found: dict[bytes, tuple[str, ...]] = {}
    nodes: dict[bytes, _Pair] = {}
    linked: list[bytes] = []
    files: dict[Pair, list[bytes]] = {}
    for path, one, two in side_by_side(before.tree, after.tree):
        what = tuple(_fields(one, two))
        has_names = ours.note(one, path) | theirs.note(two, path)
        if has_names and one is not None and two is not None:
            linked.append(path)
        if what:
            found[path] = what
        if what or has_names:
            nodes[path] = one, two
        if type(one) is not Entry or type(two) is not Entry or not one.kind == two.kind == REG:
            continue
        if one.size == two.size != 0:
            files.setdefault((one, two), []).append(path)
    same_names = _SameNames()
    for path in linked:
        one, two = nodes[path]
        if not same_names(ours.of(one), theirs.of(two)):
            found[path] = (*found.get(path, ()), "links")
    for pair in unlike(files, before.scans, after.scans, progress):
        for path in files[pair]:
            found[path] = (*found.get(path, ()), "content")
            nodes[path] = pair
    return tuple(
        Difference(path, what, _facts(nodes[path][0], ours.of), _facts(nodes[path][1], theirs.of))
        for path, what in sorted(found.items())
    )


class _SameNames:
    """Compares groups of hard links, each pair of groups once, however many paths they have."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], bool] = {}

    def __call__(self, one: tuple[bytes, ...], two: tuple[bytes, ...]) -> bool:
        key = id(one), id(two)  # they outlive this
        if key not in self._known:
            self._known[key] = one == two
        return self._known[key]


def _facts(node: Node | None, names: Callable[[Node], tuple[bytes, ...]]) -> Facts | None:
    """Return what is there, None for nothing; `names` gives those of a file that has several."""
    if node is None:
        return None
    if type(node) is Folder:
        own = node.entry
        return Facts("directory", *((own.owner, own.mtime, own.xattrs) if own else _IMPLIED))
    assert type(node) is Entry  # noqa: S101
    kind, target = node.kind, node.target
    return Facts(
        _KINDS[kind],
        node.owner,
        node.mtime,
        node.xattrs,
        node.size if kind == REG else 0,
        target if kind == SYM else b"",  # type: ignore[arg-type]
        target if kind in (CHR, BLK) else None,  # type: ignore[arg-type]
        names(node),
    )


def _fields(one: Node | None, two: Node | None) -> Iterator[str]:
    """Yield in what two nodes differ, links and content apart."""
    if one is None or two is None:
        yield "added" if one is None else "removed"
    elif type(one) is Folder and type(two) is Folder:
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

    Keys that say how the image was made (`created`, `history`, `rootfs`, the records of builders)
    are compared only with `history`. An empty value is the same as a missing key, because some
    tools write it and others leave it out. O(length of the configs). Raises DocumentError.
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
