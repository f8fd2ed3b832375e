"""`--compress-kept`, and the notice of what gzip would save where plain layers stay plain."""

from __future__ import annotations

import gzip
import importlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import squasher
from squasher.blobs.compression import Compression, default
from squasher.blobs.content import Content
from squasher.image.model import Blob, Layer
from squasher.layers import repack
from squasher.run import Job
from tests.builders import File, archive, layer
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.daemon import running
from tests.forms.samples import GZIPPED, IMAGE
from tests.forms.shapes import (
    DOCKER_LAYER,
    LAYERS,
    OCI_LAYER,
    config_of,
    describe,
    gzipped,
    index_of,
    layout,
    manifest_of,
    pack,
    plain,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/report-1.json").read_text("utf-8"))
KEEP = ("--keep-layers", "2")


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("how", ["auto", "gzip:9", "zstd"])
def test_kept_layers_are_compressed_and_nothing_else_changes(how: str, form: str) -> None:
    before = result.read(done(squash(*KEEP, "--format", form, stdin=IMAGE)).out).one
    options = (*KEEP, "--compress-kept", "--compress", how, "--format", form, "--verify")
    ended = done(squash(*options, stdin=IMAGE))
    assert ended.out == done(squash(*options, stdin=IMAGE)).out
    after = result.read(ended.out).one
    assert (after.image_id, after.layers) == (before.image_id, before.layers)
    head = b"\x28\xb5\x2f\xfd" if how == "zstd" else b"\x1f\x8b\x08"
    assert [blob[: len(head)] for blob in after.blobs] == [head] * 3
    kind = "+zstd" if how == "zstd" else "+gzip"
    assert [x["mediaType"] for x in after.manifest["layers"]] == [OCI_LAYER + kind] * 3
    assert "2 kept layers compressed with " in ended.err
    assert "hosts that have the uncompressed blobs fetch them" in ended.err


def test_docker_types_and_annotations_stay() -> None:
    config = json.dumps(config_of()).encode()
    kind = DOCKER_LAYER
    descriptors = [
        describe(kind, data, annotations={"n": str(n)}, urls=["https://x.example/"])
        for n, data in enumerate(LAYERS)
    ]
    manifest = manifest_of(
        config,
        descriptors,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.container.image.v1+json",
    )
    top = describe("application/vnd.docker.distribution.manifest.v2+json", manifest)
    image = pack(layout(index_of(top), config, manifest, *LAYERS))
    found = result.read(done(squash(*KEEP, "--compress-kept", stdin=image)).out).one
    layers = found.manifest["layers"]
    assert [x["mediaType"] for x in layers] == [f"{DOCKER_LAYER}.gzip"] * 3
    assert [x.get("annotations") for x in layers] == [{"n": "0"}, {"n": "1"}, None]
    assert not any("urls" in x for x in layers)


def test_only_plain_layers_are_compressed() -> None:
    ended = done(squash(*KEEP, "--compress-kept", stdin=GZIPPED))
    assert ended.out == done(squash(*KEEP, stdin=GZIPPED)).out
    assert "compressed with" not in ended.err
    blobs = [LAYERS[0], gzipped(LAYERS[1]), *LAYERS[2:]]
    config = json.dumps(config_of()).encode()
    kinds = [OCI_LAYER, f"{OCI_LAYER}+gzip", *[OCI_LAYER] * 3]
    manifest = manifest_of(config, [describe(*pair) for pair in zip(kinds, blobs, strict=True)])
    top = describe("application/vnd.oci.image.manifest.v1+json", manifest)
    mixed = pack(layout(index_of(top), config, manifest, *blobs))
    ended = done(squash(*KEEP, "--compress-kept", stdin=mixed))
    found = result.read(ended.out).one
    assert found.blobs[1] == blobs[1]
    assert gzip.decompress(found.blobs[0]) == LAYERS[0]
    assert "1 kept layer compressed with gzip" in ended.err


def test_an_image_that_is_passed_through() -> None:
    ended = done(squash("--keep-layers", "5", "--compress-kept", "--verify", stdin=IMAGE))
    found = result.read(ended.out).one
    assert found.layers == LAYERS
    assert all(blob.startswith(b"\x1f\x8b") for blob in found.blobs)
    assert "5 kept layers compressed with gzip" in ended.err


def test_an_update(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(plain(config_of(LAYERS[:2]), LAYERS[:2]))
    words = ("--onto", tmp_path / "old", "--compress-kept", "--verify")
    report = tmp_path / "report.json"
    ended = done(squash(*words, "--report", report, stdin=IMAGE))
    found = result.read(ended.out).one
    assert found.layers[:2] == LAYERS[:2]
    assert all(blob.startswith(b"\x1f\x8b") for blob in found.blobs)
    document = json.loads(report.read_bytes())
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    (image,) = document["images"]
    assert image["compressed_layers"] == [0, 1]
    assert image["compressor"]
    sizes = [(x["size"], x["digest"]) for x in image["layers_after"]]
    stored = [(x["size"], x["digest"]) for x in found.manifest["layers"]]
    assert sizes == stored
    assert image["update"]["fetch"] == sizes[-1][0]


def test_layers_that_are_the_same_are_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Layer] = []
    real = repack._compressed

    def counted(layer: Layer, how: Compression, job: Job) -> Layer:
        calls.append(layer)
        return real(layer, how, job)

    monkeypatch.setattr(repack, "_compressed", counted)
    image = archive([LAYERS[0], LAYERS[0], *LAYERS[2:4]])
    found = result.read(done(squash(*KEEP, "--compress-kept", stdin=image)).out).one
    assert found.blobs[0] == found.blobs[1]
    assert len(calls) == 1


def test_a_layer_that_has_changed_since_it_was_read() -> None:
    blob = Blob(Content((bytes(512),)), OCI_LAYER, None)
    with Job() as job, pytest.raises(squasher.DigestMismatchError):
        repack._compressed(Layer(squasher.Digest("0" * 64), blob), default("gzip"), job)


def test_what_excludes_it() -> None:
    line = failed(squash("--compress-kept", "--compress", "none", stdin=IMAGE), 2)
    assert "--compress none and --compress-kept cannot be used together" in line


def test_verify_catches_a_kept_layer_that_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the layers that were compressed may have other blobs, and only compressed ones."""
    path = tmp_path / "in"
    path.write_bytes(IMAGE)
    real = repack.compress_kept

    def nothing_said(squashed: squasher.Squashed, how: Compression, job: Job) -> squasher.Squashed:
        return replace(real(squashed, how, job), compressed=())

    module = importlib.import_module("squasher.layers.squash")
    monkeypatch.setattr(module, "compress_kept", nothing_said)
    out = tmp_path / "out"
    with pytest.raises(squasher.PolicyError, match="kept layer 1 is not the same"):
        squasher.squash_archive(path, out, keep_layers=2, compress_kept=True, verify=True)
    assert not out.exists()


# ---------------------------------------------------------------- the notice

TEXT = b"the same words again and again\n" * 100_000
NOISE = random.Random(1).randbytes(len(TEXT))
LARGE = archive([layer(File(b"a", TEXT)), layer(File(b"b", TEXT)), layer(File(b"c", b"c"))])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ("--keep-layers", "1"),
            "2 layers are stored uncompressed, 6 MB; gzip would save about 6 MB:"
            " --compress gzip --compress-kept\n",
        ),
        (
            ("--keep-layers", "1", "--compress", "gzip"),
            "1 layer is stored uncompressed, 3 MB; gzip would save about 3 MB: --compress-kept\n",
        ),
        ((), "1 layer is stored uncompressed, 6 MB; gzip would save about 6 MB: --compress gzip\n"),
        (
            ("--keep-layers", "3"),
            "3 layers are stored uncompressed, 6 MB; gzip would save about 6 MB: --compress-kept\n",
        ),
    ],
)
def test_layers_do_not_grow_in_silence(options: tuple[str, ...], told: str) -> None:
    assert told in done(squash(*options, "--format", "oci", stdin=LARGE)).err
    assert "stored uncompressed" not in done(squash(*options, stdin=LARGE)).err


@pytest.mark.parametrize(
    ("options", "image"),
    [
        (("--compress", "gzip"), LARGE),
        (("--keep-layers", "1", "--compress-kept"), LARGE),
        ((), archive([layer(File(b"a", NOISE)), layer(File(b"b", b"b"))])),
        ((), IMAGE),
        ((), archive([])),
    ],
)
def test_nothing_is_said_where_nothing_is_saved(options: tuple[str, ...], image: bytes) -> None:
    assert "stored uncompressed" not in done(squash(*options, "--format", "oci", stdin=image)).err


CONTAINERD = [["driver-type", "io.containerd.snapshotter.v1"]]
OVERLAY2 = [["Backing Filesystem", "extfs"]]


@pytest.mark.parametrize(
    ("status", "told"), [(CONTAINERD, True), (OVERLAY2, False), (None, False), ("fails", False)]
)
def test_a_daemon_that_stores_layers_as_they_come(
    status: Any, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker 29, and before it with containerd's store; others unpack what they load."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with running() as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.host)
        if status == "fails":
            daemon.answers["GET /info"] = (500, "no info")
        else:
            daemon.status = status
        ended = done(squash("--keep-layers", "1", "--load", stdin=LARGE))
        assert ("--compress gzip --compress-kept" in ended.err) == told
        done(squash("--keep-layers", "1", "--load", stdin=IMAGE))
        assert daemon.asked.count("GET /info") == 1  # where nothing is saved nothing is asked
