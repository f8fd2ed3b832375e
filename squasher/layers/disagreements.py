"""On what engines disagree about a layer that has been applied: the warnings that follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from squasher.layers.trace import Trace
from squasher.layers.tree import Directory, Node, Tree
from squasher.tar import paths
from squasher.tar.entry import DIR, Changeset, ImageWarning
from squasher.tar.paths import Cover, from_above, join

#: Offset of the last opaque whiteout that a directory is under, 0 for none; what such hid in it.
_Covered = tuple[int, list[dict[bytes, Node]]]


def disagreements(
    tree: Tree, changes: Changeset, trace: Trace, passed: Collection[bytes]
) -> Iterator[ImageWarning]:
    """Yield what engines disagree about, now that `tree` has the layer. O(entries).

    `passed` are the directories that it goes through, as `mentioned` has them.
    """
    for kind, path in _disagreements(tree, changes, trace, passed):
        yield ImageWarning(kind, trace.layer, path)


def mentioned(changes: Changeset, trace: Trace) -> list[bytes]:
    """Return the directories that the layer goes through, whiteouts included; each once."""
    seen = set(trace.mentioned)
    found = list(trace.mentioned)
    for mark in changes.whiteouts:
        found += paths.add_ancestors(mark.path, seen)
    for mark in changes.opaques:
        found += paths.add_ancestors(join(mark.path, b"?"), seen)
    return found


def _disagreements(
    tree: Tree, changes: Changeset, trace: Trace, passed: Collection[bytes]
) -> Iterator[tuple[str, bytes]]:
    find = tree.finder()
    for path in passed:
        node = find(path)
        # Overlay resets an existing directory that the layer mentions without its own entry.
        if type(node) is Directory and node.layer < trace.layer:
            yield "implicit-base-directory", path
    for path, _ in trace.implied:
        node = find(path)
        if type(node) is Directory and node.grouped and node.layer == trace.layer:
            yield "setgid-directory", path
    hidden = [mark.path for mark in changes.whiteouts]
    emptied = [mark.path for mark in changes.opaques]
    twice = dict.fromkeys(trace.own_ways)
    for names in (changes.paths if trace.twice else (), hidden, emptied):
        twice.update((path, None) for path, count in Counter(names).items() if count > 1)
    for path in twice:  # docker and podman refuse the layer
        yield "duplicate-path", path
    if hidden:
        for path in _hidden_and_brought(changes, hidden, emptied):
            yield "whiteout-and-entry", path
    if emptied:
        yield from _below_opaques(changes, trace)


def _hidden_and_brought(
    changes: Changeset, hidden: Collection[bytes], emptied: Collection[bytes]
) -> list[bytes]:
    """Return the names that the layer both hides and brings: engines go by order, or refuse.

    All agree on a whiteout that comes before a file of the same name.
    """
    above: set[bytes] = set()
    for parent in dict.fromkeys(changes.parents):
        above.add(parent)
        paths.add_ancestors(parent, above)
    for path in (*hidden, *emptied):
        paths.add_ancestors(path, above)
    both = above.intersection(hidden) | set(emptied).intersection(hidden)
    last = {mark.path: mark.offset for mark in changes.whiteouts}
    parents = {path.rpartition(b"/")[0] for path in hidden}
    for parent, name, entry in zip(changes.parents, changes.names, changes.entries, strict=True):
        if parent in parents:
            path = join(parent, name)
            if path in last and (entry.kind == DIR or entry.data < last[path]):
                both.add(path)
    return sorted(both)


def _below_opaques(changes: Changeset, trace: Trace) -> Iterator[tuple[str, bytes]]:
    """Yield what is new below an opaque whiteout and not read alike."""
    opaque = Cover([mark.path for mark in changes.opaques if mark.path])
    for mark in changes.whiteouts:
        if opaque.below(mark.path):  # overlay lists it
            yield "ghost-whiteout", mark.path
    last = {mark.path: mark.offset for mark in changes.opaques}

    def step(above: _Covered, path: bytes) -> _Covered:
        """Return what opaque whiteouts at or above the directory `path` do."""
        name = path.rpartition(b"/")[2]
        nodes = [children.get(name) for children in above[1]]
        latest, emptied = above[0], [node.children for node in nodes if type(node) is Directory]
        if path in last:
            latest = max(latest, last[path])
            emptied.append(trace.emptied.get(path, {}))
        return latest, emptied

    known = {b"": step((0, []), b"")}
    for path, offset in trace.implied:
        parent, _, name = path.rpartition(b"/")
        latest, emptied = from_above(parent, known, step)
        # docker's vfs deletes it again, containerd gives it the mode of what it hides.
        if offset < latest or any(name in children for children in emptied):
            yield "whiteout-and-entry", path
