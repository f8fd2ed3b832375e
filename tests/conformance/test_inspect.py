"""What `inspect` says of every case of the corpus and of random images, against what is so.

The size at every base against what squash writes, where content goes against the model, and dive's
figures against its definition, applied naively.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

import squasher
from tests import model
from tests.builders import archive
from tests.conformance.check import layers_of, squash
from tests.conformance.corpus import CASES, Case
from tests.generator import random_image

SOUND = [case for case in CASES if case.verdict != "refuse"]
DEMO = Path(__file__).parents[2] / "testdata" / "demo.tar"


def named(case: Case) -> str:
    return case.name


def inspect(source: bytes) -> squasher.Inspection:
    with squasher.open_archive(io.BytesIO(source)) as opened:
        return squasher.inspect(opened.images[0])


def check_bases(source: bytes) -> squasher.Inspection:
    """Require that every base leaves what squashing above it writes."""
    inspection = inspect(source)
    before = [len(layer) for layer in layers_of(source)]
    assert [layer.size for layer in inspection.layers] == before
    assert len(inspection.bases) == len(before)
    for kept, choice in enumerate(inspection.bases):
        _, image = squash(source, kept)
        after = [len(layer) for layer in layers_of(image)]
        assert choice.kept_layers == kept
        assert choice.squashed_layer_size == after[-1], kept
        assert choice.image_size == sum(after)
        assert choice.saved == sum(before) - sum(after)
        assert choice.chain_id == (inspection.layers[kept - 1].chain_id if kept else None)
    return inspection


def check_shares(layers: Sequence[bytes], inspection: squasher.Inspection) -> None:
    """Require that the content of every layer is where the model has it."""
    for layer in inspection.layers:
        assert layer.kept >= 0
        assert layer.kept_entries >= 0
    assert sum(each.wasted for each in inspection.wasted) == inspection.wasted_bytes
    root = next(each for each in inspection.folders if each.path == b"")
    assert root.wasted == inspection.wasted_bytes
    assert root.size == inspection.added - inspection.wasted_bytes
    said = {(w.kind, w.layer, w.path) for w in inspection.warnings}
    trees = [model.apply(layers[:count]) for count in range(len(layers) + 1)]
    assert said == {(w.kind, w.layer, w.path) for w in trees[-1].warnings}
    explicit = sum(node.explicit or node.kind != "dir" for _, node in model.walk(trees[-1].root))
    assert sum(layer.kept_entries for layer in inspection.layers) == explicit
    if b"GNU.sparse" in b"".join(layers):
        return  # the model does not know what of a file is stored
    for number, share in enumerate(inspection.layers):
        assert share.added == sum(
            len(e.data) for e in model.read(layers[number]) if e.kind == "file"
        )
        assert share.kept == bytes_of(trees, number, len(layers))
        if not any(entry.kind == "hardlink" for tar in layers for entry in model.read(tar)):
            assert share.deleted == deleted(trees, number)


def bytes_of(trees: Sequence[model.Tree], number: int, count: int) -> int:
    """Return the bytes of files that layer `number` made and `count` layers show."""
    files = {node.serial: node for _, node in model.walk(trees[count].root) if node.kind == "file"}
    low, high = trees[number].serial, trees[number + 1].serial
    return sum(len(node.data) for serial, node in files.items() if low < serial <= high)


def deleted(trees: Sequence[model.Tree], number: int) -> int:
    """Return the bytes of layer `number` that go with no entry in their place; no hard links."""
    low, high = trees[number].serial, trees[number + 1].serial
    total = 0
    for before, after in zip(trees[number + 1 :], trees[number + 2 :], strict=False):
        for path, node in model.walk(before.root):
            now = model.find(after.root, path)
            gone = now is None or (now.kind == "dir" and not now.explicit)
            if node.kind == "file" and low < node.serial <= high and gone:
                total += len(node.data)
    return total


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_every_base_of_the_corpus_is_exact(case: Case) -> None:
    check_shares(case.layers, check_bases(archive(case.layers, form="v25")))


def test_every_base_of_a_random_image_is_exact(image_seed: int) -> None:
    layers = random_image(image_seed)
    packed = range(len(layers)) if image_seed % 3 == 0 else ()
    inspection = check_bases(archive(layers, form="v25", gzip_layers=packed))
    check_shares(layers, inspection)
    assert inspection.dive == dive(layers)


def test_every_base_of_the_demo_image_is_exact() -> None:
    source = DEMO.read_bytes()
    inspection = check_bases(source)
    check_shares(layers_of(source), inspection)
    assert inspection.dive == dive(layers_of(source))
    assert inspection.best is not None
    assert inspection.best.kept_layers == 1


# ---------------------------------------------------------------- dive's definition

_Names = dict[bytes, tuple[int, bool]]


def dive(layers: Sequence[bytes]) -> squasher.Dive:
    """Apply the definition in squasher/efficiency.py, stacking anew for every whiteout."""
    trees = [names_of(model.read(tar)) for tar in layers]
    sizes: dict[bytes, list[int]] = defaultdict(list)
    for number, names in enumerate(trees):
        for name in names:
            if any(other.startswith(name + b"/") for other in names):
                continue
            path = hidden(name)
            if path is None:
                sizes[name].append(names[name][0])
                continue
            below = stacked(trees[:number])
            if path in below:
                inside = sum(s for p, (s, _) in below.items() if (p + b"/").startswith(path + b"/"))
                sizes[path].append(inside if below[path][1] else 0)
    total = sum(map(sum, sizes.values()))
    return squasher.Dive(
        sum(map(min, sizes.values())) / total if total else 1.0,
        sum(sum(found) for found in sizes.values() if len(found) > 1),
        sum(len(e.data) for tar in layers[1:] for e in model.read(tar) if e.kind == "file"),
    )


def names_of(entries: Sequence[model.Entry]) -> _Names:
    """Return size and type of every name in a layer; directories that are only implied have 0."""
    names: _Names = {}
    for entry in entries:
        path = b"/".join(entry.path)
        for at, char in enumerate(path):
            if char == ord("/"):
                names.setdefault(path[:at], (0, False))
        if entry.kind == "whiteout":
            names[b"/".join((*entry.path[:-1], b".wh." + entry.path[-1]))] = 0, False
        elif entry.kind == "opaque":
            names.setdefault(path, (0, False))
        else:
            names[path] = len(entry.data), entry.kind == "dir"
    names.pop(b"", None)
    return names


def hidden(name: bytes) -> bytes | None:
    """Return what a name hides if it is a whiteout."""
    parent, slash, last = name.rpartition(b"/")
    return parent + slash + last[4:] if last.startswith(b".wh.") else None


def stacked(trees: Sequence[_Names]) -> _Names:
    """Put the layers on each other, name by name, sorted in each directory."""
    result: _Names = {}
    for names in trees:
        for name in sorted(names, key=lambda name: name.split(b"/")):
            path = hidden(name)
            if path is None:
                result[name] = names[name]
            else:
                for gone in [p for p in result if (p + b"/").startswith(path + b"/")]:
                    del result[gone]
    return result
