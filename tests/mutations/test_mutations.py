"""`--verify` catches faults that are planted in what makes a result (issue: trusted with anything).

Each fault is tried on the corpus, one image after the other, until it is caught. One that leaves
the root filesystem as it is names the test of the suite that catches it instead.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Dir, File, archive, layer
from tests.conformance.corpus import CASES
from tests.mutations.mutations import MUTATIONS, Mutation
from tests.mutations.planted import named_test, planted, source_of

ELSEWHERE = [mutation for mutation in MUTATIONS if mutation.elsewhere]
PROVEN = [mutation for mutation in MUTATIONS if not mutation.elsewhere]


@functools.cache
def images() -> tuple[bytes, ...]:
    """Return archives that between them need every rule; those that need many come first."""
    tagged = archive(
        [layer(Dir(b"d"), File(b"d/f", bytes(9000))), layer(File(b"g")), layer(File(b"h"))]
    )
    # Whiteouts, which the corpus begins with, are in nearly all of them.
    sound = [case for case in CASES[::-1] if case.verdict != "refuse" and len(case.layers) > 1]
    return (tagged, *(archive(list(case.layers)) for case in sound))


def name_of(mutation: Mutation) -> str:
    return mutation.name


@pytest.mark.parametrize("mutation", MUTATIONS, ids=name_of)
def test_the_text_is_there_once(mutation: Mutation) -> None:
    assert source_of(mutation).count(mutation.old) == 1


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: thousands of results are written, and none has to last."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def verified(package: Any, image: Path, folder: Path) -> bool:
    """Tell whether every base gives a result that is taken for right."""
    for number, keep in enumerate((1, 0, 2)):
        try:
            package.squash_archive(
                image, folder / f"{number}.tar", keep_layers=keep, created="7", verify=True
            )
        except package.SquasherError as error:
            if error.exit_code != 4:  # fewer layers than are to be kept
                return False
        except Exception:
            return False
    return True


@pytest.mark.parametrize("mutation", PROVEN, ids=name_of)
def test_verify_catches_it(mutation: Mutation, tmp_path: Path) -> None:
    with planted(mutation) as package:
        for number, data in enumerate(images()):
            image = tmp_path / f"{number}"
            image.write_bytes(data)
            if not verified(package, image, tmp_path):
                return
            image.unlink()
    pytest.fail("every result was taken for right")


@pytest.mark.parametrize("mutation", ELSEWHERE, ids=name_of)
def test_the_test_that_it_names_catches_it(mutation: Mutation) -> None:
    with planted(mutation):
        test = named_test(mutation.elsewhere)
        with pytest.raises(AssertionError):
            test()


def test_without_a_fault_no_test_fails() -> None:
    """A test of the test: what fails with the fault does so because of it."""
    same = MUTATIONS[0].old
    with planted(replace(MUTATIONS[0], new=same)):
        for node in {mutation.elsewhere for mutation in ELSEWHERE}:
            named_test(node)()


def test_without_a_fault_everything_is_verified(tmp_path: Path) -> None:
    import squasher

    for number, data in enumerate(images()):
        image = tmp_path / f"{number}"
        image.write_bytes(data)
        assert verified(squasher, image, tmp_path), number
        image.unlink()
