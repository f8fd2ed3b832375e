"""Many small images in one: each below a folder of its own, so that one load shows all of them.

    fits(layers)                   -> may it be below a folder, and do all engines show it alike?
    bundle({b"name": layers, ...}) -> the layers of one image
    unbundle(tree)                 -> what an engine shows of it, as {b"name": tree, ...}
    distinct(images)               -> those that differ below a folder

Layer N of the bundle is layer N of each image, one after the other; names, the targets of hard
links and those of absolute symlinks begin with the folder. The root of an image becomes its folder,
which every layer with something in it spells out, as builders do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
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
    Symlink,
    Whiteout,
    layer,
)
from tests.engines.tree import Node, Tree

#: More layers are about their number; ten thousand entries about theirs.
MOST_LAYERS = 8
MOST_BYTES = 1 << 20


def fits(layers: Sequence[bytes]) -> bool:
    """Tell whether an image is the same below a folder: no way leads out, nothing warns there."""
    if not 0 < len(layers) <= MOST_LAYERS or sum(map(len, layers)) > MOST_BYTES:
        return False
    tree = model.apply(layers)
    below = model.apply(bundle({b"x": layers}))
    if tree.warnings or below.warnings:
        return False
    expected = {
        path: (record.type, record.sha256, len(record.names))
        for path, record in model.listing(tree).items()
        if path
    }
    return expected == {
        path[2:]: (record.type, record.sha256, len(record.names))
        for path, record in model.listing(below).items()
        if path.startswith(b"x/")
    }


def bundle(images: Mapping[bytes, Sequence[bytes]]) -> list[bytes]:
    """Return the layers of an image that has these ones below folders of their names."""
    moved = [_moved(folder, layers) for folder, layers in images.items()]
    return [
        layer(*(m for part in parts for m in part)) for parts in zip_longest(*moved, fillvalue=())
    ]


def unbundle(tree: Tree) -> dict[bytes, Tree]:
    """Give each folder's tree as if it were the root, and the root alone as b"".

    What leads out of the folder, as no bundle does, begins with two slashes then.
    """
    found: dict[bytes, dict[bytes, Node]] = {}
    for path, node in tree.items():
        folder, _, below = path.partition(b"/")
        absolute = node.target.startswith(b"/")
        found.setdefault(folder, {})[below] = replace(
            node,
            target=_inside(b"/" + folder, node.target) if absolute else node.target,
            links=tuple(_inside(folder + b"/", link) for link in node.links),
        )
    return dict(found)


def _inside(beginning: bytes, path: bytes) -> bytes:
    return path.removeprefix(beginning) if path.startswith(beginning) else b"//" + path


def distinct(images: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, Sequence[bytes]]:
    """Leave out images that are the same bytes below a folder as one before them."""
    found: dict[tuple[bytes, ...], bytes] = {}
    for name, layers in images.items():
        found.setdefault(tuple(bundle({b"x": layers})), name)
    return {name: images[name] for name in found.values()}


def _moved(folder: bytes, layers: Sequence[bytes]) -> Iterator[list[Member]]:
    """Yield the members of each layer, below the folder."""
    root = Dir(folder)
    for tar in layers:
        entries = model.read(tar)
        for entry in entries:
            if not entry.path and entry.kind == "dir":
                root = _member(folder, entry)
        others = [_member(folder, e) for e in entries if e.path or e.kind != "dir"]
        yield [root, *others] if entries else []


def _member(folder: bytes, entry: model.Entry) -> Member:
    path = b"/".join((folder, *entry.path))
    options: dict[str, Any] = {
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": entry.mtime,
        "xattrs": entry.xattrs,
    }
    match entry.kind:
        case "whiteout":
            return Whiteout(path)
        case "opaque":
            return Opaque(path)
        case "dir":
            return Dir(path, **options)
        case "symlink":
            absolute = entry.target.startswith(b"/")
            return Symlink(path, b"/" * absolute + folder * absolute + entry.target, **options)
        case "hardlink":
            return Hardlink(path, b"/".join((folder, *model.clean(entry.target))), **options)
        case "char":
            return Char(path, *entry.device, **options)
        case "block":
            return Block(path, *entry.device, **options)
        case "fifo":
            return Fifo(path, **options)
        case _:
            return File(path, entry.data, **options)
