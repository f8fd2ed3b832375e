"""Applying a layer to a tree, by whoever does it: the layer stays as it was."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from random import Random

import pytest

import squasher
from squasher.errors import ArchiveError, SquasherError
from squasher.layers.apply import apply
from squasher.layers.read import scan
from squasher.layers.tree import Tree
from squasher.run import Job
from squasher.tar.entry import CLAMPED, INHERITS, REWRITE, SYM, Changeset, Entry
from squasher.tar.walk import LayerWalk
from squasher.verify import apply as verify
from squasher.verify import tree as verify_tree
from tests.builders import Dir, File, Hardlink, Symlink, archive, layer
from tests.conformance.corpus import CASES
from tests.generator import ACL, random_image
from tests.generator import layers as blind_layers

#: In each of them the place of an entry says more than its header, or a link changes its file.
MARKED = {
    "behind a symlink": layer(Dir(b"d"), Symlink(b"s", b"d"), File(b"s/f"), Dir(b"s/e")),
    "below a default ACL": layer(
        Dir(b"d", xattrs={b"system.posix_acl_default": ACL}), File(b"d/f"), Dir(b"d/e")
    ),
    "below a setgid folder": layer(
        Dir(b"d", mode=0o2755, gid=7), File(b"d/f", records=[(b"gid", b"4294967295")])
    ),
    "linked": layer(
        File(b"f"), Hardlink(b"h", b"f", mode=0o600, mtime=5, xattrs={b"user.a": b"b"})
    ),
    "linked without an owner": layer(
        File(b"f", uid=3, gid=4), Hardlink(b"h", b"f", records=[(b"uid", b"4294967295")])
    ),
    "linked by a symlink": layer(
        File(b"f"), Symlink(b"s", b"f"), Hardlink(b"h", b"s", uid=9, gid=9)
    ),
}


def said(tar: bytes, index: int = 0) -> Changeset:
    """Return what a layer says."""
    walk = LayerWalk(index)
    walk.feed(tar)
    return walk.finish()


def fields(entry: Entry) -> tuple[object, ...]:
    """Return every field of an entry."""
    return tuple(getattr(entry, name) for name in Entry.__slots__)


def snapshot(changes: Changeset) -> tuple[object, ...]:
    """Return all that a layer says, as values."""
    return (
        *(changes.layer, changes.size, list(changes.parents), list(changes.names)),
        *(list(map(fields, changes.entries)), list(changes.entries)),
        *(list(changes.whiteouts), list(changes.opaques), list(changes.warnings)),
    )


def to_be_merged() -> Callable[[Changeset], None]:
    """Return what applies layers for merging, one on top of another."""
    tree = Tree()
    return lambda changes: apply(tree, changes)


def to_be_compared() -> Callable[[Changeset], None]:
    """Return what applies layers for `--verify` and `diff`."""
    tree = verify_tree.Tree()
    return lambda changes: verify.apply(tree, changes, strict=False)


APPLIERS = {"merging": to_be_merged, "comparing": to_be_compared}


def images() -> Iterator[tuple[str, Sequence[bytes]]]:
    """Yield images by name."""
    yield from ((name, (tar, tar)) for name, tar in MARKED.items())
    yield from ((case.name, case.layers) for case in CASES)
    yield from ((f"random {seed}", random_image(seed)) for seed in range(60))
    yield from ((f"blind {seed}", blind_layers(Random(seed).choice)) for seed in range(60))


@pytest.mark.parametrize("who", APPLIERS)
def test_applying_a_layer_leaves_it_as_it_was(who: str) -> None:
    """Also the second time, on a tree of its own, and when it ends with an error."""
    for name, layers in images():
        try:
            stack = [said(tar, index) for index, tar in enumerate(layers)]
        except SquasherError:  # it cannot be read
            continue
        before = [snapshot(changes) for changes in stack]
        for _ in range(2):
            put = APPLIERS[who]()
            try:
                for changes in stack:
                    put(changes)
            except SquasherError:
                pass
            assert [snapshot(changes) for changes in stack] == before, name


def shown(entry: Entry | None, names: Sequence[bytes] = ()) -> tuple[object, ...]:
    """Return what both appliers must say alike of a directory's entry, or of a file."""
    if entry is None:
        return ()
    mode = 0 if entry.kind == SYM else entry.owner[0]
    return (
        *(entry.kind, mode, *entry.owner[1:], entry.mtime, entry.packed, entry.target, entry.size),
        *(entry.source, entry.data, *sorted(names)),
    )


def as_merging_has_it(layers: Sequence[Changeset]) -> dict[bytes, tuple[object, ...]]:
    """Return what layers show, and for a file all its names."""
    tree = Tree()
    for changes in layers:
        apply(tree, changes)
    nodes = dict(tree.walk())
    names: dict[object, list[bytes]] = {}
    for path, node in nodes.items():
        names.setdefault(node, []).append(path)
    return {
        path: shown(tree.state(node), names[node]) if type(node) is Entry else shown(node.entry)  # type: ignore[union-attr]
        for path, node in nodes.items()
    }


def as_comparing_has_it(layers: Sequence[Changeset]) -> dict[bytes, tuple[object, ...]]:
    """Return the same of the other applier."""
    tree = verify_tree.Tree()
    for changes in layers:
        verify.apply(tree, changes, strict=False)
    nodes = {path: node for path, node, _ in verify_tree.side_by_side(tree, tree)}
    names: dict[object, list[bytes]] = {}
    for path, node in nodes.items():
        names.setdefault(node, []).append(path)
    assert {node for node in names if type(node) is Entry and len(names[node]) > 1} <= tree.linked
    return {
        path: shown(node, names[node]) if type(node) is Entry else shown(node.entry)  # type: ignore[union-attr]
        for path, node in nodes.items()
    }


def test_both_appliers_show_the_same_and_refuse_the_same() -> None:
    """They share no code. What both refuse they refuse in the same words."""
    refused = 0
    for name, tars in images():
        stack: list[Changeset] = []
        for tar in tars:
            try:
                stack.append(said(tar, len(stack)))
            except SquasherError:
                continue
        found: list[object] = []
        for way in (as_merging_has_it, as_comparing_has_it):
            try:
                found.append(way(stack))
            except ArchiveError as error:
                found.append(str(error))
        assert found[0] == found[1], name
        refused += type(found[0]) is str
    assert refused > 10


@pytest.mark.parametrize("who", APPLIERS)
def test_a_link_is_looked_up_again_where_a_folder_takes_the_place_of_a_symlink(who: str) -> None:
    """Its target led through the symlink of a lower layer; engines find no `t` in the folder."""
    link, file = Hardlink(b"h", b"s/t/f"), File(b"s/x")
    put = APPLIERS[who]()
    put(said(layer(Dir(b"d"), Dir(b"d/t"), File(b"d/t/f"), Symlink(b"s", b"d"))))
    put(said(layer(link, Hardlink(b"i", b"s/t/f"), file), 1))
    put = APPLIERS[who]()
    put(said(layer(Dir(b"d"), Dir(b"d/t"), File(b"d/t/f"), Symlink(b"s", b"d"))))
    with pytest.raises(ArchiveError, match="'i': hard link to 's/t/f', which does not exist"):
        put(said(layer(link, file, Hardlink(b"i", b"s/t/f")), 1))


def test_a_layer_that_comes_again_is_the_same_entries_for_the_first_time() -> None:
    """Nothing marks them, so that only what comes later is a copy, with its own place."""
    tar = MARKED["behind a symlink"]
    with squasher.open_archive(io.BytesIO(archive([tar, tar]))) as found, Job() as job:
        first, again = (changes for _, changes in scan(found.images[0], 0, job))
        job.settle()
    assert [entry.layer for entry in first.entries] == [0] * 4
    assert [entry.layer for entry in again.entries] == [1] * 4
    assert [entry.source for entry in again.entries] == [0] * 4
    for one, two in zip(first.entries, again.entries, strict=True):
        assert (one.data, one.owner, one.flags) == (two.data, two.owner, two.flags)


def test_the_tree_has_what_its_place_makes_of_an_entry() -> None:
    def put(name: str) -> Tree:
        tree = Tree()
        apply(tree, said(MARKED[name]))
        return tree

    file = put("behind a symlink").find(b"d/f")
    assert type(file) is Entry
    assert file.flags == REWRITE
    file = put("below a default ACL").find(b"d/f")
    assert type(file) is Entry
    assert file.flags == INHERITS
    tree = put("below a default ACL")
    assert tree.inherited_acls == {tree.find(b"d/f"): ACL}
    file = put("below a setgid folder").find(b"d/f")
    assert type(file) is Entry
    assert file.owner[2] == 7


def test_copies_of_an_entry_differ_in_what_they_say() -> None:
    (entry,) = said(layer(File(b"f", b"x", gid=3, xattrs={b"user.a": b"b"}))).entries
    whole = dict(zip(Entry.__slots__, fields(entry), strict=True))
    for other, changed in (
        (entry.copy(), {}),
        (entry.marked(INHERITS), {"flags": INHERITS}),
        (entry.of_group(9), {"owner": (*entry.owner[:2], 9)}),
        (entry.clamped(1), {"mtime": 1, "flags": REWRITE | CLAMPED}),
        (entry.restamped(4, (1, 2, 3), 5, ()), {"layer": 4, "owner": (1, 2, 3), "mtime": 5,
                                                "packed": b""}),
    ):  # fmt: skip
        assert other is not entry
        assert dict(zip(Entry.__slots__, fields(other), strict=True)) == {**whole, **changed}
    assert dict(zip(Entry.__slots__, fields(entry), strict=True)) == whole
