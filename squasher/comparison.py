"""Are two root filesystems the same? Every field of every path, and the bytes of every file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from squasher.scan import Scan, same_content
from squasher.tarstream import BLK, CHR, REG, SYM, Changeset, Entry
from squasher.tree import Directory, Node, Tree


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that differs. `what` are "added", "missing" or "type" alone, or fields:

    "mode", "owner", "mtime", "xattrs", "target", "device", "size", "content", and "links" where
    the path shares its file with other names.
    """

    path: bytes
    what: tuple[str, ...]


def differences(
    before: Sequence[tuple[Scan, Changeset]], after: Sequence[tuple[Scan, Changeset]]
) -> tuple[Difference, ...]:
    """Return where two stacks of layers, lowest first, make different trees, sorted by path.

    Directories that no layer has an entry for compare without their time: engines use the time of
    unpacking. Time O(bytes), memory O(entries). Raises ArchiveError.
    """
    left, right = _tree(before), _tree(after)
    ours, theirs = dict(left.walk()), dict(right.walk())
    our_groups, their_groups = _groups(left, ours), _groups(right, theirs)
    found: dict[bytes, tuple[str, ...]] = {}
    pairs: dict[tuple[Entry, Entry], list[bytes]] = {}
    for path in sorted(ours.keys() | theirs.keys()):
        one, two = ours.get(path), theirs.get(path)
        if one is None or two is None:
            found[path] = ("added",) if one is None else ("missing",)
            continue
        fields = list(_fields(left, one, right, two))
        if our_groups.get(path) != their_groups.get(path):
            fields.append("links")
        if fields:
            found[path] = tuple(fields)
        if type(one) is Entry and type(two) is Entry and one.kind == two.kind == REG:
            x, b = left.state(one), right.state(two)
            if x.size == b.size != 0:
                pairs.setdefault((x, b), []).append(path)
    same = same_content(pairs, [done for done, _ in before], [done for done, _ in after])
    for pair, places in pairs.items():
        if pair not in same:
            found |= {path: (*found.get(path, ()), "content") for path in places}
    return tuple(Difference(path, what) for path, what in sorted(found.items()))


def _tree(scans: Sequence[tuple[Scan, Changeset]]) -> Tree:
    tree = Tree()
    for _, changes in scans:
        tree.apply(changes)
    return tree


def _groups(tree: Tree, nodes: dict[bytes, Node]) -> dict[bytes, tuple[bytes, ...]]:
    """Return, for each path that is one of several hard links, all of them."""
    names: dict[Node, list[bytes]] = {}
    if tree.stamps:
        for path, node in nodes.items():
            if node in tree.stamps:
                names.setdefault(node, []).append(path)
    return {path: tuple(group) for group in names.values() if len(group) > 1 for path in group}


def _fields(left: Tree, one: Node, right: Tree, two: Node) -> Iterator[str]:
    if type(one) is Directory or type(two) is Directory:
        if type(one) is not Directory or type(two) is not Directory:
            yield "type"
            return
        x, b = one.entry, two.entry
        implied = (0o755, 0, 0)
        yield from _attributes(
            (x.owner if x else implied, x.mtime if x and b else 0, x.xattrs if x else ()),
            (b.owner if b else implied, b.mtime if x and b else 0, b.xattrs if b else ()),
        )
        return
    assert type(one) is Entry and type(two) is Entry  # noqa: S101, PT018
    x, b = left.state(one), right.state(two)
    if x.kind != b.kind:
        yield "type"
        return
    mode = 0 if x.kind == SYM else None  # the kernel ignores it
    yield from _attributes(
        ((x.owner[0] if mode is None else mode, *x.owner[1:]), x.mtime, x.xattrs),
        ((b.owner[0] if mode is None else mode, *b.owner[1:]), b.mtime, b.xattrs),
    )
    if x.kind == SYM and x.target != b.target:
        yield "target"
    if x.kind in (CHR, BLK) and x.target != b.target:
        yield "device"
    if x.size != b.size:
        yield "size"


_Attributes = tuple[tuple[int, int, int], int, tuple[tuple[bytes, bytes], ...]]


def _attributes(x: _Attributes, b: _Attributes) -> Iterator[str]:
    if x[0][0] != b[0][0]:
        yield "mode"
    if x[0][1:] != b[0][1:]:
        yield "owner"
    if x[1] != b[1]:
        yield "mtime"
    if x[2] != b[2]:
        yield "xattrs"
