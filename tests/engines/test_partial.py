"""Partial archives (`--partial`) in real engines: taken where the kept layers are, else refused."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

import squasher
from tests.engines.archives import docker_archive, entry, layer
from tests.engines.engines import (
    Containerd,
    Docker,
    DockerOnContainerd,
    EngineError,
    Loader,
    Podman,
    Umoci,
)
from tests.engines.test_engines import LAYERS, TAG
from tests.engines.test_push import Registry, registry  # noqa: F401 - a fixture
from tests.engines.tree import differences

OLD_TAG = "example.com/team/previous:1"


class Release:
    """A release that hosts have, the new image, and the update between them.

    No other image ever had its lowest layer: dockerd keeps what a failed load has unpacked.
    """

    def __init__(self, folder: Path, compress: str) -> None:
        self.image, self.old, self.update, self.whole = (
            folder / f"{name}.tar" for name in ("image", "old", "update", "whole")
        )
        before = folder / "before.tar"
        layers = [layer(entry("one", os.urandom(16))), *LAYERS]
        docker_archive(before, {OLD_TAG: layers[:-1]})
        docker_archive(self.image, {TAG: layers})
        squasher.squash_archive(before, self.old, keep_layers=1, compress=compress)
        for out, partial in ((self.whole, False), (self.update, True)):
            squasher.squash_archive(
                self.image,
                out,
                onto=str(self.old),
                compress=compress,
                partial=partial,
                verify=True,
            )


@pytest.fixture(params=["none", "gzip"])
def release(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    return Release(tmp_path, request.param)


def test_a_host_that_has_the_kept_layers(loader: Loader, release: Release) -> None:
    if isinstance(loader, Umoci):
        pytest.skip("skopeo copies whole archives: see the next test")
    since = time.time_ns()
    (ref,) = loader.load(release.image)
    expected = loader.tree(ref)
    loader.prune()
    loader.load(release.old)
    (ref,) = loader.load(release.update)
    assert ref.endswith(TAG)
    assert differences(expected, loader.tree(ref), stamped_since=since) == []
    with squasher.open_archive(release.whole) as archive:
        assert loader.image_id(ref) == str(archive.images[0].config.image_id)


#: What each engine says where it lacks a layer; {} is the digest of that.
WORDS: dict[type[Loader], str] = {
    Docker: r"open \S+/blobs/sha256/{}: no such file or directory",
    DockerOnContainerd: r"content digest sha256:{}: not found",
    Podman: r"reading blob sha256:{}: open \S+: no such file or directory",
    Containerd: r"failed to extract layer .*: content digest sha256:{}: not found",
    Umoci: r"Some layer tarfiles are missing in the tarball",
}


def load_and_look(loader: Loader, archive: Path) -> None:
    """Load an archive; docker with containerd's store says only meanwhile that it cannot unpack."""
    (ref,) = loader.load(archive)
    assert isinstance(loader, DockerOnContainerd)
    loader.tree(ref)


def test_a_host_that_lacks_them(loader: Loader, release: Release) -> None:
    with pytest.raises(EngineError) as error:
        load_and_look(loader, release.update)
    with squasher.open_archive(release.old) as archive:
        digest = archive.images[0].layers[0].blob.digest
    assert digest is not None
    assert re.search(WORDS[type(loader)].format(digest.hex), str(error.value))


def test_load_asks_the_daemon_first(
    docker: Docker, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.host)

    def load() -> squasher.SquashReport:
        return squasher.squash_archive(
            release.image, None, onto=str(release.old), partial=True, load=True
        )

    with pytest.raises(
        squasher.EngineError, match=r"does not have these kept layers: layer 1 of 2, sha256:"
    ):
        load()
    docker.load(release.old)
    report = load()
    assert f"Loaded image: {TAG}" in report.loaded
    assert docker.image_id(TAG) == str(report.images[0].image.config.image_id)


def test_a_registry_that_has_the_kept_layers(registry: Registry) -> None:  # noqa: F811
    """Skopeo asks the registry for each layer first, and reads only those that it lacks."""
    docker_archive(registry.folder / "part-1.0.tar", {OLD_TAG: LAYERS[:-1]})
    docker_archive(registry.folder / "part-1.1.tar", {TAG: LAYERS})
    registry.run(
        f"""
        squash -q part-1.0.tar --compress gzip -o oci-archive:one.tar
        skopeo copy -q oci-archive:one.tar docker://{registry.address}/part:1.0
        skopeo copy -q docker://{registry.address}/part:1.0 oci-archive:release.tar
        squash -q --onto release.tar part-1.1.tar --partial -o oci-archive:update.tar
        skopeo copy -q oci-archive:update.tar docker://{registry.address}/part:1.1
        skopeo copy -q docker://{registry.address}/part:1.1 oci-archive:back.tar
        squash diff part-1.1.tar back.tar
        squash -q --onto part-1.0.tar part-1.1.tar --partial -o oci-archive:lacking.tar
        ! skopeo copy -q oci-archive:lacking.tar docker://{registry.address}/part:1.2 2>said
        grep "reading blob sha256:[0-9a-f]*: open .*: no such file or directory" said
        """
    )
