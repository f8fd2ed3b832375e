"""Any image onto any other (`--onto`), in every engine: thousands of pairs, below folders of one.

Each folder of a bundle (see bundles.py) is a pair: the new image has it of one image, the previous
one of another. What an engine shows of the new one, it must show of the update as well, on a host
that has the previous one.

2,000 pairs are of random images. Every case of the corpus meets `--pairs-per-case N` others, and
`--turn T` says which; with N as large as the corpus, every case meets every one. Left out is what
engines do not show alike, or what is about the root or the number of layers: `fits` finds most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pytest

import squasher
from tests.conformance.corpus import CASES
from tests.engines.archives import docker_archive
from tests.engines.bundles import bundle, fits
from tests.engines.engines import Loader, Umoci
from tests.engines.test_model import PARTS, UNFIT, whites_out_below_file
from tests.engines.tree import differences
from tests.generator import random_image

RANDOM_PAIRS = 2_000
PAIRS_MAX = 4_000
SHOWN_MAX = 40
#: What umoci shows otherwise than engines that mount each layer: it unpacks all into one folder.
UMOCI_PARTS = {
    "k32": "an owner of all ones leaves a lower directory's",
    "o05": "makes no directory for an opaque whiteout",
}
Layers = Sequence[bytes]
Archives = tuple[Path, Path, Path]
"""The new images, the previous ones, and the update that leads from these to those."""


def corpus_pairs(per_case: int, turn: int) -> Iterator[tuple[bytes, Layers, Layers]]:
    """Yield each case that fits with others, one after the other as the turns go by."""
    apart = UNFIT.keys() | {name for _, name in PARTS}
    cases = [
        case
        for case in CASES
        if case.verdict == "agree" and case.name not in apart and fits(case.layers)
    ]
    for at, case in enumerate(cases):
        for step in range(min(per_case, len(cases))):
            other = cases[(at + 1 + turn * per_case + step) % len(cases)]
            yield f"{case.name}-onto-{other.name}".encode(), case.layers, other.layers


def random_pairs(count: int) -> Iterator[tuple[bytes, Layers, Layers]]:
    """Yield random images, each onto the next one."""
    seed, previous = 0, None
    while count:
        image = random_image(seed, tame=True)
        seed += 1
        if any(map(whites_out_below_file, image)):
            continue
        if previous is not None:
            yield f"random-{seed - 1}".encode(), image, previous
            count -= 1
        previous = image


def made(pairs: Mapping[bytes, tuple[Layers, Layers]], folder: Path) -> Archives:
    """Write the archives of a bundle; the update is proven, and says that nothing is disputed."""
    new, old, update = (folder / f"{name}.tar" for name in ("new", "old", "update"))
    docker_archive(new, {"example.com/new:1": bundle({k: one for k, (one, _) in pairs.items()})})
    docker_archive(old, {"example.com/old:1": bundle({k: two for k, (_, two) in pairs.items()})})
    report = squasher.squash_archive(new, update, onto=str(old), verify=True)
    assert report.images[0].warnings == ()
    assert report.images[0].merged
    return new, old, update


@pytest.fixture(scope="module")
def bundles(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Archives]:
    """Give the archives of all pairs."""
    per_case = request.config.getoption("--pairs-per-case")
    turn = request.config.getoption("--turn")
    pairs = (
        pair for some in (random_pairs(RANDOM_PAIRS), corpus_pairs(per_case, turn)) for pair in some
    )
    found = []
    while some := {name: (new, old) for name, new, old in islice(pairs, PAIRS_MAX)}:
        found.append(made(some, tmp_path_factory.mktemp("bundle")))
    return found


def test_every_pair_in_one_image(
    loader: Loader, bundles: Sequence[Archives], request: pytest.FixtureRequest
) -> None:
    """Every field of every path."""
    turn = request.config.getoption("--turn")
    for number, (new, old, update) in enumerate(bundles):
        if number:
            loader.prune()
        since = time.time_ns()
        (ref,) = loader.load(new)
        before = loader.tree(ref)
        loader.load(old)
        (ref,) = loader.load(update)
        wrong = differences(before, loader.tree(ref), stamped_since=since)
        if isinstance(loader, Umoci):
            wrong = [line for line in wrong if not UMOCI_PARTS.keys() & cases_of(line)]
        assert wrong[:SHOWN_MAX] == [], f"--turn {turn}"


def cases_of(line: str) -> set[str]:
    """Return the names of the cases that a difference is about."""
    return set(re.split("[/']", line)[1].split("-onto-"))
