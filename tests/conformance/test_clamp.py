"""`--clamp-mtime` (M9): any case, squashed and onto another, shows the same but for late times."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import squasher
from tests import model
from tests.builders import MTIME, SECOND, archive
from tests.conformance.check import layers_of
from tests.conformance.corpus import CASES, Case
from tests.conformance.test_update import comparable, named
from tests.generator import random_image

SOUND = [case for case in CASES if case.verdict != "refuse"]
#: Nearly all entries are later than the one, few than the other.
TIMES = (MTIME // SECOND - 5000, MTIME // SECOND)


def clamped(records: dict[bytes, model.Record], latest: int) -> dict[bytes, model.Record]:
    return {
        path: replace(record, mtime_ns=min(record.mtime_ns, latest * SECOND))
        for path, record in records.items()
    }


def check_clamped(
    layers: Sequence[bytes], latest: int, *, previous: Path | None = None, keep: int | None = None
) -> None:
    """Require the tree of `layers` with clamped times, and no later time in the new layer."""
    out = io.BytesIO()
    report = squasher.squash_archive(
        io.BytesIO(archive(layers)),
        out,
        keep_layers=keep,
        onto=None if previous is None else str(previous),
        clamp_mtime=str(latest),
        verify=True,
    )
    result = layers_of(out.getvalue())
    before, after = model.apply(layers), model.apply(result)
    assert clamped(comparable(after, before), latest) == clamped(comparable(before, after), latest)
    assert model.ghosts(after) <= model.ghosts(before)
    (done,) = report.images
    if done.merged:
        times = [entry.mtime for entry in model.read(result[-1])]
        assert all(mtime <= latest * SECOND for mtime in times)


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_any_case(case: Case, tmp_path: Path) -> None:
    place = SOUND.index(case)
    latest = TIMES[place % len(TIMES)]
    for keep in range(len(case.layers)):
        check_clamped(case.layers, latest, keep=keep)
    for other in (SOUND[(place + 1) % len(SOUND)], case):
        previous = tmp_path / "previous.tar"
        previous.write_bytes(archive(other.layers))
        check_clamped(case.layers, latest, previous=previous)


def test_a_random_image(image_seed: int, tmp_path: Path) -> None:
    layers = random_image(image_seed)
    previous = tmp_path / "previous.tar"
    previous.write_bytes(archive(random_image(image_seed + 1_000_000)))
    for latest in TIMES:
        check_clamped(layers, latest, keep=1)
        check_clamped(layers, latest, previous=previous)
