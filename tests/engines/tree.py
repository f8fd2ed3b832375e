"""Read a root filesystem, every field of every path, and tell two of them apart."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

CHUNK = 1 << 20
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One path. `links` are all names of a hard-link group, () for a path that stands alone."""

    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    sha256: str = ""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    links: tuple[bytes, ...] = ()


Tree = Mapping[bytes, Node]

GHOST = Node("ghost")
"""A name that overlay lists and does not find: a whiteout in a directory with nothing below it."""


def read_tree(root: Path) -> Tree:
    """List `root`, itself as b"", in O(paths + bytes); only regular files are opened.

    Left out are `trusted.overlay.*` attributes, with which overlayfs itself keeps its books: an
    overlay mount hides them, a plain folder of layers does not.
    """
    top = os.fsencode(root)
    nodes = {b"": _node(top, os.lstat(top))}
    names: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)
    for path, status in _walk(top):
        if status is None:
            nodes[path] = GHOST
            continue
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            group = names[status.st_dev, status.st_ino]
            group.append(path)
            if len(group) > 1:
                nodes[path] = nodes[group[0]]
                continue
        nodes[path] = _node(top + b"/" + path, status)
    for group in names.values():
        if len(group) > 1:
            links = tuple(sorted(group))
            for path in group:
                nodes[path] = replace(nodes[path], links=links)
    return nodes


def _walk(top: bytes) -> Iterator[tuple[bytes, os.stat_result | None]]:
    folders = [b""]
    while folders:
        folder = folders.pop()
        with os.scandir(top + b"/" + folder) as entries:
            for entry in entries:
                path = folder + b"/" + entry.name if folder else entry.name
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    yield path, None
                    continue
                yield path, status
                if stat.S_ISDIR(status.st_mode):
                    folders.append(path)


def _node(path: bytes, status: os.stat_result) -> Node:
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    return Node(
        kind=kind,
        # A symlink has no mode of its own: the kernel shows 0777 whatever the header said.
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size if kind == "file" else 0,
        sha256=_sha256(path) if kind == "file" else "",
        target=os.readlink(path) if kind == "symlink" else b"",
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
        xattrs=tuple(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in sorted(os.listxattr(path, follow_symlinks=False))
            if not name.startswith("trusted.overlay.")
        ),
    )


def _sha256(path: bytes) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def differences(left: Tree, right: Tree, *, stamped_since: int | None = None) -> list[str]:
    """Name every path and field in which two trees differ, sorted by path.

    `stamped_since` (ns) excuses an artefact of the engines, which is none of the image: a directory
    that no layer describes gets the time of unpacking, so directory times after it say nothing.
    """
    found = []
    for path in sorted(left.keys() | right.keys()):
        one, other = left.get(path), right.get(path)
        if one is None or other is None:
            found.append(f"{path!r}: {_kind(one)} != {_kind(other)}")
            continue
        for field in fields(Node):
            before, after = getattr(one, field.name), getattr(other, field.name)
            if before == after:
                continue
            if field.name == "mtime_ns" and _stamped(one, other, stamped_since):
                continue
            found.append(f"{path!r}: {field.name}: {before!r} != {after!r}")
    return found


def _kind(node: Node | None) -> str:
    return "absent" if node is None else node.kind


def _stamped(one: Node, other: Node, since: int | None) -> bool:
    if since is None or one.kind != "dir" or other.kind != "dir":
        return False
    return max(one.mtime_ns, other.mtime_ns) >= since
