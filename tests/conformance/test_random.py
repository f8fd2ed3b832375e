"""Random images, squashed at every base, against the model. More with `--random-images N`."""

from __future__ import annotations

from tests import model
from tests.conformance.check import check
from tests.generator import random_image


def test_a_random_image_shows_the_same_tree_at_every_base(image_seed: int) -> None:
    layers = random_image(image_seed)
    for keep in range(len(layers) + 1):
        report = check(layers, keep, ("legacy", "v25", "podman")[image_seed % 3])
        if keep < len(layers) - 1:
            noted = {(w.kind, w.layer, w.path) for w in report.warnings}
            assert noted == {(w.kind, w.layer, w.path) for w in model.apply(layers).warnings}


def test_random_images_hold_all_that_matters() -> None:
    entries = [e for seed in range(60) for tar in random_image(seed) for e in model.read(tar)]
    for kind in ("whiteout", "opaque", "hardlink", "symlink", "char", "block", "fifo"):
        assert sum(entry.kind == kind for entry in entries) >= 5


def test_random_images_are_the_same_for_the_same_seed() -> None:
    assert random_image(7) == random_image(7)
    assert random_image(7) != random_image(8)


def test_tame_random_images_give_no_warning() -> None:
    for seed in range(20):
        assert not model.apply(random_image(seed, tame=True)).warnings
