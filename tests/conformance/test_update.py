"""Updates (`--onto`): any case onto any other, against the model. More with `--random-images N`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import squasher
from tests import model
from tests.builders import Dir, File, Hardlink, archive, layer
from tests.conformance import safe
from tests.conformance.check import check_links, check_whiteouts, layers_of
from tests.conformance.corpus import CASES, Case
from tests.generator import random_image

SOUND = [case for case in CASES if case.verdict != "refuse"]


def named(case: Case) -> str:
    return case.name


def update(
    layers: Sequence[bytes], previous: Sequence[bytes], folder: Path, packed: Sequence[int] = ()
) -> tuple[squasher.Squashed, list[bytes]]:
    """Return what the update was, and the layers of the result, verified."""
    (folder / "previous.tar").write_bytes(archive(previous, gzip_layers=packed))
    out = io.BytesIO()
    report = squasher.squash_archive(
        io.BytesIO(archive(layers)), out, onto=str(folder / "previous.tar"), verify=True
    )
    return report.images[0], layers_of(out.getvalue())


def check_update(
    layers: Sequence[bytes], previous: Sequence[bytes], folder: Path, packed: Sequence[int] = ()
) -> squasher.Squashed:
    """Require that the result has all layers of `previous`, and shows the tree of `layers`."""
    done, result = update(layers, previous, folder, packed)
    kept = len(previous)
    assert result[:kept] == list(previous)
    assert len(result) == kept + done.merged
    before, after = model.apply(layers), model.apply(result)
    assert comparable(after, before) == comparable(before, after)
    assert model.ghosts(after) <= model.ghosts(before)
    if done.merged:
        safe.check_layer(result[-1])
        entries = model.read(result[-1])
        check_links(entries)
        check_whiteouts(entries)
        said = [e.path for e in entries]
        assert len(said) == len(set(said))
        assert done.entries + done.whiteouts == len(entries) > 0
    return done


def comparable(tree: model.Tree, other: model.Tree) -> dict[bytes, model.Record]:
    """Return the listing, without the times of directories that either tree only implies."""
    records = model.listing(tree)
    implied = {
        b"/".join(path)
        for each in (tree, other)
        for path, node in model.walk(each.root)
        if node.kind == "dir" and not node.explicit
    }
    return {
        path: replace(record, mtime_ns=0) if path in implied else record
        for path, record in records.items()
    }


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_any_case_onto_others(case: Case, tmp_path: Path) -> None:
    place = SOUND.index(case)
    for step in (1, 97, 211):
        other = SOUND[(place + step) % len(SOUND)]
        check_update(case.layers, other.layers, tmp_path)


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_a_case_onto_itself_and_its_own_layers(case: Case, tmp_path: Path) -> None:
    done = check_update(case.layers, case.layers, tmp_path, range(0, len(case.layers), 2))
    if case.verdict == "agree" and not done.merged:
        assert done.update is not None
        assert (done.update.fetch, done.update.shared) == (0, len(case.layers))
    for keep in range(1, len(case.layers)):
        check_update(case.layers, case.layers[:keep], tmp_path)


def test_a_random_image_onto_another(image_seed: int, tmp_path: Path) -> None:
    layers = random_image(image_seed)
    check_update(layers, random_image(image_seed + 1_000_000), tmp_path)
    grown = (*layers, *random_image(image_seed + 2_000_000, tame=True)[:1])
    check_update(grown, layers, tmp_path)
    check_update(layers, grown, tmp_path, (0,))


def test_a_tame_random_image_onto_itself_is_nothing(image_seed: int, tmp_path: Path) -> None:
    layers = random_image(image_seed, tame=True)
    done = check_update(layers, layers, tmp_path)
    assert not done.merged


def test_an_image_without_layers(tmp_path: Path) -> None:
    one = layer(Dir(b"d"), File(b"d/f"), File(b"g"))
    done = check_update([], [one], tmp_path)
    assert (done.entries, done.whiteouts) == (0, 2)
    assert not check_update([], [], tmp_path).merged
    check_update([one], [], tmp_path)


def test_the_root_goes_back_to_what_engines_make(tmp_path: Path) -> None:
    root = layer(Dir(b"", mode=0o700, uid=5), File(b"f"))
    done = check_update([layer(File(b"f"))], [root], tmp_path)
    assert [warning.kind for warning in done.warnings] == ["implicit-root"]
    assert done.entries == 1
    done = check_update([root], [layer(File(b"f"))], tmp_path)
    assert (done.entries, done.warnings) == (1, ())


def test_what_is_dead_in_the_previous_image(tmp_path: Path) -> None:
    files = File(b"a", b"a" * 300), File(b"b", b"b" * 600), Hardlink(b"c", b"b"), File(b"e")
    done = check_update([layer(*files[1:])], [layer(*files)], tmp_path)
    assert done.update is not None
    assert (done.update.used, done.update.held) == (600, 900)
    assert done.update.dead == pytest.approx(1 / 3)
    done = check_update([layer(File(b"e"))], [layer(File(b"e"))], tmp_path)
    assert done.update is not None
    assert done.update.dead == 0
