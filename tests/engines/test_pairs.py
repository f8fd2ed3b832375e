"""Any image onto any other (`--onto`), in every engine: thousands of pairs, below folders of one.

Each folder of a bundle (see bundles.py) is a pair: the new image has it of one image, the previous
one of another. What an engine shows of the new one, it must show of the update as well, on a host
that has the previous one. The new images of all pairs are loaded once, each in a folder of its own:
neither that folder's name nor what is next to it changes what is shown.

2,000 pairs are of random images. Every case of the corpus meets `--pairs-per-case N` others, and
`--turn T` says which; with N as large as the corpus, every case meets every one. Left out is what
engines do not show alike, or what is about the root or the number of layers: `fits` finds most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

import squasher
from tests.conformance.corpus import CASES
from tests.engines.archives import docker_archive
from tests.engines.bundles import bundle, distinct, fits, unbundle
from tests.engines.engines import Loader, Umoci
from tests.engines.test_model import PARTS, UNFIT, whites_out_below_file
from tests.engines.tree import differences
from tests.generator import random_image

RANDOM_PAIRS = 2_000
PAIRS_MAX = 4_000
SHOWN_MAX = 40
#: What umoci shows otherwise than engines that mount each layer: it unpacks all into one folder.
UMOCI_PARTS = {
    b"k32": "an owner of all ones leaves a lower directory's",
    b"o05": "makes no directory for an opaque whiteout",
}
Images = Mapping[bytes, Sequence[bytes]]
Pair = tuple[bytes, bytes]
"""The names of the new image and of the previous one."""


@dataclass(frozen=True)
class Bundle:
    """Some pairs, by the names of their folders, and the archives that are loaded."""

    pairs: Mapping[bytes, Pair]
    old: Path
    update: Path


@dataclass(frozen=True)
class Material:
    """All that the engines are given: every image in a folder of its name, and the pairs."""

    images: Path
    bundles: Sequence[Bundle]


def corpus_images() -> Images:
    """Return the cases that fit; of those that are the same bytes in a bundle, the first."""
    apart = UNFIT.keys() | {name for _, name in PARTS}
    cases = [case for case in CASES if case.verdict == "agree" and case.name not in apart]
    return distinct({case.name.encode(): case.layers for case in cases if fits(case.layers)})


def corpus_pairs(images: Images, per_case: int, turn: int) -> Iterator[Pair]:
    """Yield each image with others, which come one after the other as the turns go by."""
    names = list(images)
    for step in range(min(per_case, len(names))):
        for at, name in enumerate(names):
            yield name, names[(at + 1 + turn * per_case + step) % len(names)]


def random_images(count: int) -> Images:
    """Return random images that all engines load."""
    found: dict[bytes, Sequence[bytes]] = {}
    seed = 0
    while len(found) < count:
        image = random_image(seed, tame=True)
        if not any(map(whites_out_below_file, image)):
            found[f"random-{seed}".encode()] = image
        seed += 1
    return found


def made(pairs: Sequence[Pair], images: Images, folder: Path) -> Bundle:
    """Write the archives of a bundle; the update is proven, and says that nothing is disputed."""
    named = {new + b"-onto-" + old: (new, old) for new, old in pairs}
    archives = []
    for number, tag in enumerate(("new", "old")):
        layers = bundle({name: images[pair[number]] for name, pair in named.items()})
        archives.append(docker_archive(folder / f"{tag}.tar", {f"example.com/{tag}:1": layers}))
    new, old = archives
    update = folder / "update.tar"
    report = squasher.squash_archive(new, update, onto=str(old), verify=True)
    assert report.images[0].warnings == ()
    assert report.images[0].merged
    new.unlink()
    return Bundle(named, old, update)


@pytest.fixture(scope="module")
def material(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Give the archives: random images, each onto the one before it, then the corpus."""
    per_case = request.config.getoption("--pairs-per-case")
    turn = request.config.getoption("--turn")
    random, corpus = random_images(RANDOM_PAIRS + 1), corpus_images()
    images = {**random, **corpus}
    names = list(random)
    pairs = iter([*zip(names[1:], names, strict=False), *corpus_pairs(corpus, per_case, turn)])
    found = []
    while some := list(islice(pairs, PAIRS_MAX)):
        found.append(made(some, images, tmp_path_factory.mktemp("bundle")))
    file = tmp_path_factory.mktemp("images") / "images.tar"
    return Material(docker_archive(file, {"example.com/images:1": bundle(images)}), found)


def test_every_pair_in_one_image(
    loader: Loader, material: Material, request: pytest.FixtureRequest
) -> None:
    """Every field of every path."""
    turn = request.config.getoption("--turn")
    since = time.time_ns()
    (ref,) = loader.load(material.images)
    expected = unbundle(loader.tree(ref))
    for one in material.bundles:
        loader.prune()
        loader.load(one.old)
        (ref,) = loader.load(one.update)
        shown = unbundle(loader.tree(ref))
        wanted = {b"": expected[b""]}
        for folder, (new, old) in one.pairs.items():
            # An image without a single path has no folder.
            wanted[folder] = expected.get(new, {})
            if isinstance(loader, Umoci) and UMOCI_PARTS.keys() & {new, old}:
                wanted[folder] = shown.get(folder, {})
        wrong = [
            f"{folder!r}: {line}"
            for folder in sorted(wanted.keys() | shown.keys())
            for line in differences(
                wanted.get(folder, {}), shown.get(folder, {}), stamped_since=since
            )
        ]
        assert wrong[:SHOWN_MAX] == [], f"--turn {turn}"
