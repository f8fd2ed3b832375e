"""`--compress-kept` in real engines: what they load is the image; the notice about their store."""

from __future__ import annotations

from pathlib import Path

import pytest

import squasher
from tests.builders import File, archive, layer
from tests.engines.engines import Docker, DockerOnContainerd, Loader, Umoci

TEXT = b"the same words again and again\n" * 100_000
TAG = "example.com/plain/app:1"
IMAGE = archive([layer(File(b"a", TEXT)), layer(File(b"b", TEXT)), layer(File(b"c", b"c"))])


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Give an image whose layers are plain, as a classic `docker save` writes it."""
    (tmp_path / "in").write_bytes(IMAGE)
    return tmp_path / "in"


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_every_engine_loads_compressed_kept_layers(
    loader: Loader, plain: Path, tmp_path: Path, how: str
) -> None:
    old = loader.place.name == "bookworm" and loader.name.startswith(("docker", "umoci"))
    if how == "zstd" and old:
        pytest.skip("takes no zstd layers, squashed or not")
    out = tmp_path / "out"
    report = squasher.squash_archive(
        plain, out, keep_layers=1, tags=(TAG,), compress=how, compress_kept=True, verify=True
    )
    assert out.stat().st_size < len(TEXT) / 10
    (ref,) = loader.load(out)
    expected = [str(each.diff_id) for each in report.images[0].image.layers]
    assert loader.layer_digests(ref) == expected
    if not isinstance(loader, Umoci):  # skopeo writes the config anew for it
        assert loader.image_id(ref) == str(report.images[0].image.config.image_id)


def test_the_notice_knows_the_store(
    docker: Docker, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    report = squasher.squash_archive(plain, None, keep_layers=1, tags=(TAG,), load=True)
    told = any("stored uncompressed" in notice for notice in report.images[0].notices)
    assert told == isinstance(docker, DockerOnContainerd)
