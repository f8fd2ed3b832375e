"""Updates (`--onto`) in real engines: the files of the new image, on all layers of the old one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import squasher
from tests.engines.archives import docker_archive
from tests.engines.engines import Loader
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences
from tests.generator import random_image

#: Pairs of a new image and a previous one.
PAIRS = {
    "a layer more": (LAYERS, LAYERS[:-1]),
    "a layer less": (LAYERS[:-1], LAYERS),
    "itself": (LAYERS, LAYERS),
    "another image": (LAYERS, random_image(3, tame=True)),
    **{
        f"two random images {seed}": (
            random_image(seed, tame=True),
            random_image(seed + 100, tame=True),
        )
        for seed in (0, 2, 3)  # 1 has an opaque whiteout in a file, which containerd refuses
    },
}


@pytest.mark.parametrize(("layers", "previous"), PAIRS.values(), ids=PAIRS)
def test_an_update_has_the_files_of_the_new_image(
    loader: Loader, layers: Sequence[bytes], previous: Sequence[bytes], tmp_path: Path
) -> None:
    new, old, update = (tmp_path / f"{name}.tar" for name in ("new", "old", "update"))
    docker_archive(new, {TAG: layers})
    docker_archive(old, {"example.com/team/previous:1": previous})  # keeps its layers
    report = squasher.squash_archive(new, update, onto=str(old), verify=True)
    since = time.time_ns()

    (ref,) = loader.load(new)
    tree = loader.tree(ref)
    loader.prune()
    loader.load(old)  # a host that has the previous release
    (ref,) = loader.load(update)
    assert differences(tree, loader.tree(ref), stamped_since=since) == []
    kept = report.images[0].image.config.diff_ids[: len(previous)]
    with squasher.open_archive(old) as archive:
        assert kept == archive.images[0].config.diff_ids
