"""How the new layer is compressed: --compress."""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable

import pytest

from squasher import tasks
from squasher.blobs import gzipped
from tests.builders import File, archive, layer
from tests.forms import result
from tests.forms.command import done, squash
from tests.forms.samples import (
    DOCKER_TYPES,
    GZIPPED,
    IMAGE,
    ZSTD,
)
from tests.forms.shapes import (
    DOCKER_LAYER,
    LAYERS,
    OCI_LAYER,
    SAMPLE,
    SHAPES,
    plain,
)

HEADS = {"none": b"", "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "zstd": b"\x28\xb5\x2f\xfd"}


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("how", ["none", "gzip", "gzip:1", "gzip:9", "zstd", "zstd:1", "zstd:19"])
@pytest.mark.parametrize("docker_types", [False, True])
def test_a_new_layer_is_stored_as_asked(
    how: str, form: str, docker_types: bool, gzip_library: str
) -> None:
    source = DOCKER_TYPES if docker_types else GZIPPED
    options = ("--keep-layers", "2", "--compress", how, "--format", form)
    outcome = done(squash(*options, stdin=source))
    assert outcome.out == done(squash(*options, stdin=source)).out
    image = result.read(outcome.out).one
    name = how.partition(":")[0]
    head = HEADS[name]
    assert image.blobs[2].startswith(head)
    assert bool(head) == (image.blobs[2] != image.layers[2])
    # docker has no type for zstd, and no layout takes its types.
    docker = docker_types and form == "docker" and name != "zstd"
    types = [each["mediaType"] for each in (image.manifest, *image.manifest["layers"])]
    assert all(each.startswith("application/vnd.docker.") == docker for each in types)
    suffix = "" if name == "none" else f".{name}" if docker else f"+{name}"
    assert types[3] == (DOCKER_LAYER if docker else OCI_LAYER) + suffix
    assert image.descriptor["mediaType"] == types[0]
    assert ("docker before 23 does not load it" in outcome.err) == (name == "zstd")


def test_levels_differ_and_give_the_same_image(gzip_library: str) -> None:
    made = {}
    for how in ("none", "gzip:1", "gzip:9", "zstd:1", "zstd:19"):
        made[how] = result.read(done(squash("--compress", how, stdin=big())).out).one
    assert len({each.image_id for each in made.values()}) == 1
    assert len({each.blobs for each in made.values()}) == len(made)
    assert len(made["gzip:9"].blobs[0]) < len(made["gzip:1"].blobs[0])


def big() -> bytes:
    """Return an image whose merged layer is larger than a window."""
    text = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(150_000))
    return archive([layer(File(b"a", text)), layer(File(b"b", text[::-1]))])


@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_threads_change_nothing(
    how: str, monkeypatch: pytest.MonkeyPatch, gzip_library: str
) -> None:
    results = set()
    for threads in (1, 4):
        monkeypatch.setattr(tasks, "_THREADS", threads)
        monkeypatch.setattr(gzipped, "_THREADS", threads)
        results.add(done(squash("--compress", how, "--format", "oci", stdin=big())).out)
    assert len(results) == 1


@pytest.mark.parametrize(
    ("source", "form", "name"),
    [
        (IMAGE, "docker", "none"),
        (GZIPPED, "docker", "gzip"),
        (ZSTD, "docker", "gzip"),
        (ZSTD, "oci", "zstd"),
        (SHAPES["layers-of-mixed-compression"]().archive, "oci", "gzip"),
    ],
)
def test_auto_stores_it_as_the_newest_layer_was(source: bytes, form: str, name: str) -> None:
    outcome = done(squash("--keep-layers", "3", "--format", form, stdin=source))
    image = result.read(outcome.out).one
    assert image.blobs[3].startswith(HEADS[name])
    assert bool(HEADS[name]) == (image.blobs[3] != image.layers[3])


@pytest.mark.parametrize("compression", ["xz", "bzip2"])
def test_auto_after_what_is_only_read(compression: str) -> None:
    ways: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "bzip2": bz2.compress}
    image = plain(SAMPLE, [ways[compression](data) for data in LAYERS])
    outcome = done(squash("--keep-layers", "1", stdin=image))
    found = result.read(outcome.out).one
    assert found.blobs[1].startswith(HEADS["gzip"])
    assert f"a kept layer is compressed with {compression}: containerd does not" in outcome.err


def test_a_kept_zstd_layer_gives_a_notice() -> None:
    outcome = done(squash("--keep-layers", "1", stdin=ZSTD))
    assert "a layer is compressed with zstd: docker before 23 does not load it" in outcome.err
    outcome = done(squash("--compress", "none", stdin=ZSTD))
    assert "compressed with zstd" not in outcome.err


def test_the_library_of_gzip_changes_the_blob_and_not_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("deflate", reason="needs the extra `fast`")
    fast = result.read(done(squash("--compress", "gzip", stdin=big())).out).one
    monkeypatch.setitem(sys.modules, "deflate", None)
    slow = result.read(done(squash("--compress", "gzip", stdin=big())).out).one
    assert fast.blobs != slow.blobs
    assert (fast.image_id, fast.layers) == (slow.image_id, slow.layers)


# ---------------------------------------------------------------- layers that are pulled in parts

LAZY = {"podman-zstd-chunked": "zstd:chunked", "estargz": "eStargz"}


def _blobs(image: result.Found) -> list[tuple[object, bytes]]:
    """Return the annotations of each layer and its blob."""
    told = [each.get("annotations") for each in image.manifest["layers"]]
    return list(zip(told, image.blobs, strict=True))


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("name", LAZY)
def test_kept_layers_keep_their_table_of_contents(name: str, form: str) -> None:
    """Byte for byte, with what says where the table is; the new layer has none and says none."""
    shape = SHAPES[name]()
    (before,) = shape.images
    outcome = done(squash("--keep-layers", "2", "--verify", "--format", form, stdin=shape.archive))
    after = result.read(outcome.out).one
    notes = [
        (each["annotations"], data)
        for each, data in zip(before.descriptors, before.blobs, strict=True)
    ]
    assert len(notes[0][0]) > 1
    assert _blobs(after)[:2] == notes[:2]
    assert [each["digest"] for each in after.manifest["layers"][:2]] == [
        each["digest"] for each in before.descriptors[:2]
    ]
    assert _blobs(after)[2][0] is None
    assert len(after.blobs) == 3
    says = f"left out the table of contents of squashed layers ({LAZY[name]}): the new layer is"
    assert outcome.err.count(says) == 1


@pytest.mark.parametrize("name", LAZY)
@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_no_new_layer_claims_a_table_of_contents(name: str, how: str) -> None:
    options = ("--compress", how, "--max-layer-size", "8kB", "--verify")
    outcome = done(squash(*options, stdin=SHAPES[name]().archive))
    found = _blobs(result.read(outcome.out).one)
    assert len(found) > 1
    assert all(annotations is None for annotations, _ in found)


@pytest.mark.parametrize("name", LAZY)
def test_an_image_that_is_passed_through_keeps_every_table(name: str) -> None:
    shape = SHAPES[name]()
    count = len(LAYERS)
    outcome = done(squash("--keep-layers", str(count), stdin=shape.archive))
    assert all(annotations for annotations, _ in _blobs(result.read(outcome.out).one))
    assert "table of contents" not in outcome.err
