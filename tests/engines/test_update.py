"""Updates (`--onto`) in real engines: the files of the new image, on all layers of the old one."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import squasher
from tests.builders import File
from tests.builders import layer as layer_of
from tests.engines.archives import docker_archive
from tests.engines.engines import Loader, Umoci
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.tree import differences
from tests.generator import random_image

TESTDATA = Path(__file__).resolve().parents[2] / "testdata"
#: Bytes of an archive that are no layer: config, manifests, what a tar needs around them.
DOCUMENTS = 16 << 10
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


def layers_of(archive: Path) -> list[bytes]:
    """Return the layers of a docker-archive of plain layers."""
    with tarfile.open(archive) as tar:
        members = {info.name: info for info in tar}
        opened = {name: tar.extractfile(info) for name, info in members.items()}
        content = {name: file.read() for name, file in opened.items() if file}
    (item,) = json.loads(content["manifest.json"])
    return [content[name] for name in item["Layers"]]


def test_a_host_goes_from_release_to_release(loader: Loader, tmp_path: Path) -> None:
    """Of the demo image: 1.0 as a whole, then 1.1 and 1.2 as what changed, each on the last one."""
    if isinstance(loader, Umoci):
        pytest.skip("skopeo copies whole archives: see test_partial.py")
    later = layers_of(TESTDATA / "demo-1.1.tar.gz")
    builds = {
        "1.0": layers_of(TESTDATA / "demo.tar"),
        "1.1": later,
        "1.2": [*later, layer_of(File(b"news", b"1.2"))],
    }
    since, trees, files = time.time_ns(), {}, {}
    for release, layers in builds.items():
        files[release] = tmp_path / f"app-{release}.tar"
        docker_archive(files[release], {f"example.com/team/app:{release}": layers})
        (ref,) = loader.load(files[release])
        trees[release] = loader.tree(ref)
        loader.prune()

    whole = tmp_path / "release-1.0.tar"
    squasher.squash_archive(files["1.0"], whole, keep_layers=1)
    (ref,) = loader.load(whole)
    had, kept = [whole], loader.layer_digests(ref)
    for release in ("1.1", "1.2"):
        update = tmp_path / f"update-{release}.tar"
        report = squasher.squash_archive(
            files[release],
            update,
            onto=str(had[-1]),
            blobs_from=list(map(str, had)),
            partial=True,
            verify=True,
        )
        cost = report.images[0].update
        assert cost is not None
        assert 0 < cost.fetch < whole.stat().st_size // 50
        assert update.stat().st_size <= cost.fetch + DOCUMENTS
        (ref,) = loader.load(update)
        assert differences(trees[release], loader.tree(ref), stamped_since=since) == []
        assert loader.layer_digests(ref)[:-1] == kept
        had, kept = [*had, update], loader.layer_digests(ref)
