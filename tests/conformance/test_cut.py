"""The corpus, squashed into several layers (I4), against the model of the specification.

The sizes force two layers, three or so, and as many as there are entries. `--random-images N`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest

import squasher
from squasher.errors import UsageError
from tests import model
from tests.builders import File, archive, layer
from tests.conformance import safe
from tests.conformance.check import (
    check_links,
    check_whiteouts,
    inherits_acl,
    layers_of,
)
from tests.conformance.corpus import CASES, Case
from tests.generator import random_image

SOUND = [case for case in CASES if case.verdict != "refuse"]


def named(case: Case) -> str:
    return case.name


def squash(layers: Sequence[bytes], keep: int, size: int | None) -> list[bytes]:
    """Return the new layers, proven to be right."""
    out = io.BytesIO()
    squasher.squash_archive(
        io.BytesIO(archive(layers)), out, keep_layers=keep, max_layer_size=size, verify=True
    )
    result = layers_of(out.getvalue())
    assert result[:keep] == list(layers[:keep])
    return result[keep:]


def check_cut(layers: Sequence[bytes], keep: int) -> set[int]:
    """Squash with several sizes and require all that the rules say; return numbers of layers."""
    if len(layers) - keep < 2:
        return set()
    (whole,) = squash(layers, keep, None)
    counts = set()
    for size in (len(whole) * 7 // 10, len(whole) * 2 // 5, 1):
        try:
            new = squash(layers, keep, size)
        except UsageError:
            assert size == 1
            continue
        check_layers(layers, keep, whole, new, size)
        counts.add(len(new))
    return counts


def check_layers(
    layers: Sequence[bytes], keep: int, whole: bytes, new: Sequence[bytes], size: int
) -> None:
    """Require that `new` layers show and say what the one layer `whole` does."""
    before = model.apply(layers)
    after = model.apply([*layers[:keep], *new])
    assert comparable(after, after, keep) == comparable(before, after, keep)
    assert model.ghosts(after) <= model.ghosts(before)
    said = [model.read(tar) for tar in new]
    one = {(e.path, e.kind == "whiteout"): e for e in model.read(whole)}
    dirs = {e.path for e in one.values() if e.kind == "dir"}
    acls = {e.path for e in one.values() if model.ACL_DEFAULT in e.xattrs}
    for tar, entries in zip(new, said, strict=True):
        safe.check_layer(tar)
        check_links(entries)
        check_whiteouts(entries)
        there = {e.path for e in entries if e.kind != "whiteout"}
        assert len({(e.path, e.kind == "whiteout") for e in entries}) == len(entries)
        for entry in entries:
            above = {entry.path[:n] for n in range(len(entry.path))}
            assert (above & dirs) - there <= acls, entry.path
            same = one[entry.path, entry.kind == "whiteout"]
            assert (entry.mode, entry.mtime, entry.xattrs) == (same.mode, same.mtime, same.xattrs)
        parts = [e for e in entries if e.kind not in ("dir", "whiteout")]
        linked = any(e.kind == "hardlink" for e in parts)  # an engine may mind the place of a name
        assert (
            len(tar) <= size
            or linked
            or len(parts) + any(e.kind == "whiteout" for e in entries) <= 1
        )
    assert not any(e.kind == "whiteout" for entries in said[1:] for e in entries)
    assert {(e.path, e.kind == "whiteout") for es in said for e in es} == one.keys()
    once = [e.path for es in said for e in es if e.kind != "dir"]
    assert len(once) == len(set(once))
    check_default_acls(layers, keep, before, said)


def comparable(tree: model.Tree, after: model.Tree, keep: int) -> dict[bytes, model.Record]:
    """Return the listing without the times of directories that the new layers only imply."""
    implied = {
        b"/".join(path)
        for path, node in model.walk(after.root)
        if node.kind == "dir" and node.layer >= keep and not node.explicit
    }
    return {
        path: replace(record, mtime_ns=0) if path in implied else record
        for path, record in model.listing(tree).items()
    }


def check_default_acls(
    layers: Sequence[bytes],
    keep: int,
    before: model.Tree,
    said: Sequence[Sequence[model.Entry]],
) -> None:
    """Require that a default ACL reaches what it reached: on engines that unpack alone, and others.

    Those apply all layers in one folder, where the directory's first entry counts.
    """
    place: dict[model.Path, int] = {}
    own: dict[model.Path, dict[model.Path, int]] = {}
    for at, entry in enumerate(e for entries in said for e in entries if e.kind != "whiteout"):
        place.setdefault(entry.path, at)
    for entries in said:
        order = {e.path: at for at, e in enumerate(entries)}
        own |= {e.path: order for e in entries if e.kind != "dir"}
    groups = model.groups(before)
    for entry in {e.path: e for entries in said for e in entries}.values():
        if entry.kind != "dir" or model.ACL_DEFAULT not in entry.xattrs:
            continue
        folder = model.find(before.root, entry.path)
        assert folder is not None
        for name, child in folder.children.items():
            path = (*entry.path, name)
            linked = len(groups[child.serial]) > 1 or child.linked
            if path in place and child.layer >= keep and not linked:
                inherits = inherits_acl(model.read(layers[child.layer]), path, child.kind)
                assert inherits in (None, place[path] > place[entry.path]), path
                if path in own:
                    alone = own[path].get(entry.path, len(own[path])) < own[path][path]
                    assert inherits in (None, alone), path


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_several_layers_show_the_same_tree(case: Case) -> None:
    for keep in range(len(case.layers)):
        check_cut(case.layers, keep)
    # With more to write, and so more places for a cut.
    more = layer(*(File(b"zz/%d" % i, b"x" * 700) for i in range(5)), File(b"A"))
    check_cut((*case.layers, more), 0)


def test_the_sizes_force_two_three_and_more() -> None:
    counts: set[int] = set()
    for case in SOUND[::7]:
        for keep in range(len(case.layers)):
            counts |= check_cut(case.layers, keep)
    assert {2, 3, 4, 5} <= counts


def test_a_random_image_in_several_layers(image_seed: int) -> None:
    layers = random_image(image_seed)
    for keep in range(len(layers) - 1):
        check_cut(layers, keep)
