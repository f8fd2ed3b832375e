"""Every case of the corpus, squashed at every base, against the model of the specification."""

from __future__ import annotations

import io
import random

import pytest

import squasher
from squasher.errors import SquasherError
from tests import model
from tests.builders import Dir, File, Hardlink, archive, layer
from tests.conformance.check import check, layers_of, squash
from tests.conformance.corpus import CASES, Case
from tests.counting import CountedStream

SOUND = [case for case in CASES if case.verdict != "refuse"]
REFUSED = [case for case in CASES if case.verdict == "refuse"]
FORMS = ("legacy", "v25", "podman")


def named(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_every_base_shows_the_same_tree(case: Case) -> None:
    for keep in range(len(case.layers) + 1):
        check(case.layers, keep, FORMS[(len(case.name) + keep) % len(FORMS)])


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_warnings_name_what_engines_disagree_about(case: Case) -> None:
    layers = case.layers if len(case.layers) > 1 else (*case.layers, layer())
    report, _ = squash(archive(layers), 0)
    expected = {(w.kind, w.layer, w.path) for w in model.apply(layers).warnings}
    assert {warning.kind for warning in report.warnings} == case.kinds
    assert {(w.kind, w.layer, w.path) for w in report.warnings} == expected


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_what_no_engine_takes_is_refused(case: Case) -> None:
    # A harmless layer on top, so that the defect lies above the base, and below.
    layers = (*case.layers, layer(File(b"zz")), layer(File(b"zzz")))
    for keep in range(len(layers) - 1):
        destination = io.BytesIO()
        source = io.BytesIO(archive(layers))
        with pytest.raises(SquasherError) as raised:
            squasher.squash_archive(source, destination, keep_layers=keep)
        assert raised.value.exit_code == 3
        assert "\n" not in str(raised.value)
        assert destination.getvalue() == b""


@pytest.mark.parametrize("case", SOUND[::10], ids=named)
def test_squashing_twice_changes_nothing(case: Case) -> None:
    for keep in range(len(case.layers)):
        _, once = squash(archive(case.layers), keep)
        _, twice = squash(once, keep)
        assert layers_of(twice) == layers_of(once)


@pytest.mark.parametrize("case", SOUND[::10], ids=named)
def test_the_archive_makes_no_difference(case: Case) -> None:
    results = {
        tuple(layers_of(squash(archive(case.layers, form=form, gzip_layers=packed), 0)[1]))
        for form in FORMS
        for packed in ((), range(len(case.layers)))
    }
    assert len(results) == 1


def test_a_directory_of_the_base_is_not_read_again() -> None:
    """Its header says all: the kept layer that it is in, a compressed one, is unpacked once."""
    kept = layer(File(b"a", random.Random(0).randbytes(1 << 20)), Dir(b"d"))
    counts = []
    for top in (File(b"h"), Hardlink(b"h", b"d/f")):
        layers = [kept, layer(File(b"d/f", b"x")), layer(top), layer(File(b"z"))]
        source = CountedStream(archive(layers, gzip_layers=(0, 1)))
        report = squasher.squash_archive(source, io.BytesIO(), keep_layers=2)
        counts.append(source.count)
    assert report.images[0].after[2].entries == 4
    assert counts[1] < counts[0] + len(kept) / 2
