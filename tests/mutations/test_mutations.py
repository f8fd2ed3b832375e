"""`--verify` catches faults that are planted in values on their way to the result.

The table is `faults.FAULTS`; `fault` has the seams. Each fault goes into images of the corpus that
it fits, and is caught in each. One that leaves the root filesystem as it is names the test of the
suite that catches it instead.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import pytest

import squasher
from squasher.errors import ArchiveError, PolicyError, SquasherError
from tests.builders import Dir, File, Member, archive, layer
from tests.conformance import corpus
from tests.conformance.check import layers_of
from tests.conformance.corpus import CASES
from tests.mutations.fault import VERIFY, Fault, members, nodes_of, planted
from tests.mutations.faults import FAULTS
from tests.mutations.in_archives import document
from tests.mutations.in_layers import Below

PROVEN = [fault for fault in FAULTS if fault.caught == VERIFY]
ELSEWHERE = [fault for fault in FAULTS if fault.caught != VERIFY]
#: A fault goes into so many images at most.
MOST = 8


@dataclass(frozen=True)
class Sample:
    """An image and a base, and the new layer that squashing it gives."""

    name: str
    image: bytes
    keep: int
    members: list[Member]
    below: Below


@cache
def samples() -> tuple[Sample, ...]:
    """Return images that between them need every rule; those that need many come first."""
    tagged = [layer(Dir(b"d"), File(b"d/f", bytes(9000))), layer(File(b"g")), layer(File(b"h"))]
    # Whiteouts, which the corpus begins with, are in nearly all; cases about headers (q) are
    # spoilt by taking a layer apart and writing it anew.
    sound = [
        case
        for case in CASES[::-1]
        if case.verdict != "refuse" and len(case.layers) > 1 and not case.name.startswith("q")
    ]
    images = [("tagged", tagged), *((case.name, list(case.layers)) for case in sound)]
    return tuple(
        _sample(f"{name} above {keep}", layers, keep)
        for name, layers in images
        for keep in (1, 0)
        if len(layers) > keep + 1
    )


def _sample(name: str, layers: list[bytes], keep: int) -> Sample:
    image = archive(layers)
    new = layers_of(squashed(image, keep))[-1]
    return Sample(name, image, keep, members(new), nodes_of(layers[:keep]))


def squashed(image: bytes, keep: int) -> bytes:
    """Return the verified result."""
    result = io.BytesIO()
    squasher.squash_archive(io.BytesIO(image), result, keep_layers=keep, created="7", verify=True)
    return result.getvalue()


def fitting(fault: Fault) -> Iterator[Sample]:
    """Yield images that the fault fits, not more than `MOST`."""
    found = (sample for sample in samples() if fits(fault, sample))
    return itertools.islice(found, MOST)


def fits(fault: Fault, sample: Sample) -> bool:
    if fault.seam == "layer":
        return fault.plant(sample.members, sample.below) is not None
    with planted(fault) as found:
        with contextlib.suppress(SquasherError):
            squashed(sample.image, sample.keep)
        return found.count > 0


def caught(fault: Fault, sample: Sample) -> bool:
    """Tell whether the result with the fault is refused."""
    with planted(fault):
        try:
            squashed(sample.image, sample.keep)
        except (PolicyError, ArchiveError):
            return True
    return False


def label(fault: Fault) -> str:
    return fault.label


@pytest.mark.parametrize("fault", PROVEN, ids=label)
def test_verify_catches_it(fault: Fault) -> None:
    found = {sample.name: caught(fault, sample) for sample in fitting(fault)}
    assert found, "no image that it fits"
    assert (all if fault.always else any)(found.values()), found


@pytest.mark.parametrize("fault", ELSEWHERE, ids=label)
def test_the_test_that_it_names_catches_it(fault: Fault) -> None:
    with planted(fault), pytest.raises((AssertionError, SquasherError)):
        named_test(fault.caught)()


def named_test(node: str) -> Callable[[], None]:
    """Return the test that pytest knows as `node`; in brackets the name of a case."""
    path, _, name = node.partition("::")
    function, _, case = name.removesuffix("]").partition("[")
    test = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    return partial(test, corpus.by_name(case)) if case else test


def test_each_fault_has_a_name_of_its_own() -> None:
    assert len({fault.label for fault in FAULTS}) == len(FAULTS)


def test_without_a_fault_no_test_fails() -> None:
    """A test of the test: what fails with the fault does so because of it."""
    for node in {fault.caught for fault in ELSEWHERE}:
        named_test(node)()


def test_without_a_fault_everything_is_verified() -> None:
    """A test of the test: taking a layer apart and putting it together is no fault."""
    same = Fault("none", "layer", lambda members, below: members)
    for sample in samples():
        assert caught(same, sample) is False, sample.name


def drop(at: int, items: list[object]) -> None:
    del items[at]


def test_each_image_of_several_has_to_be_listed() -> None:
    """A fault that takes several images: the samples hold one each."""
    both = io.BytesIO()
    images = [
        archive([layer(File(b"f")), layer(File(b"g")), layer(File(name))], tags=(f"{number}:1",))
        for number, name in enumerate((b"one", b"two"))
    ]
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(squasher.open_archive(io.BytesIO(x))) for x in images]
        squasher.write([found.images[0] for found in opened], both)
    squashed(both.getvalue(), 1)
    for at in (0, 1):
        lost = Fault("an image is lost", "written", document("manifest.json", partial(drop, at)))
        with planted(lost), pytest.raises(PolicyError, match="does not list every image"):
            squashed(both.getvalue(), 1)
