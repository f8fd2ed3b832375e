"""squasher.layers.words: what an image says of layers that are no more."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.image.configs import parse_config
from squasher.image.model import Blob, Image, Layer
from squasher.layers.words import describing

DIFFS = [Digest(n * 64) for n in "abcd"]
BLOBS = [Digest(n * 64) for n in "1234"]
NEW = Digest("e" * 64)
BASE = "org.opencontainers.image.base.name"
LIFECYCLE = "io.buildpacks.lifecycle.metadata"


def made(
    diffs: list[Digest] = DIFFS, annotations: dict[str, str] | None = None, **more: Any
) -> Image:
    document = {**more, "rootfs": {"diff_ids": [str(each) for each in diffs]}, "history": []}
    blobs = dict(zip(DIFFS, BLOBS, strict=True))
    layers = tuple(Layer(diff, Blob(Content(()), "", blobs.get(diff))) for diff in diffs)
    manifest = {"annotations": annotations} if annotations else {}
    return Image(parse_config(json.dumps(document).encode()), layers, manifest=manifest)


def told(image: Image, kept: int = 2) -> list[str]:
    """Return the keys that are warned of if `kept` layers stay."""
    found = describing(image, made([*DIFFS[:kept], NEW]))
    assert {(each.kind, each.layer) for each in found} <= {("describes-layers", kept)}
    return [each.path.decode() for each in found]


def labels(**words: Any) -> Image:
    return made(config={"Labels": {key.replace("_", "."): text for key, text in words.items()}})


@pytest.mark.parametrize("digest", [DIFFS[2], BLOBS[3], made().chain_ids[2]])
@pytest.mark.parametrize("text", ["{}", '{{"sha": "{}"}}', "x@{},y"])
def test_a_digest_of_a_squashed_layer(digest: Digest, text: str) -> None:
    for spelt in (str(digest), digest.hex):
        assert told(labels(a_b=text.format(spelt))) == ["config.Labels.a.b"]


@pytest.mark.parametrize(
    "digest", [DIFFS[1], BLOBS[0], made().chain_ids[1], Digest("f" * 64), "cc" + "c" * 64, "ccc"]
)
def test_other_digests(digest: Any) -> None:
    assert told(labels(a_b=str(digest))) == []


def test_where_it_is_said() -> None:
    text = str(DIFFS[3])
    image = made(
        annotations={"x": text, "y": "none"},
        config={"Env": [f"A={text}"], "labels": {"z": text}, "Cmd": ["sh"]},
        other={"deep": [text]},
        created="2024-01-02T03:04:05Z",
    )
    image = replace(image, descriptor={"annotations": {"w": text}})
    expected = {"annotations.w", "annotations.x", "config.Env", "config.Labels.z", "other"}
    assert set(told(image)) == expected


@pytest.mark.parametrize("odd", [None, [], "text", {"Labels": None}, {"Labels": "text"}])
def test_configs_without_labels(odd: Any) -> None:
    assert told(made(config=odd)) == []


def test_the_base_counts_only_if_it_is_squashed() -> None:
    image = made(annotations={BASE: "debian:12"}, config={"Labels": {BASE: "debian:12"}})
    assert told(image, 1) == []
    assert told(image, 0) == [f"config.Labels.{BASE}", f"annotations.{BASE}"]


def test_buildpacks_always_count() -> None:
    assert told(labels(**{LIFECYCLE: "{}"}), 3) == [f"config.Labels.{LIFECYCLE}"]


def test_nothing_is_said_where_every_layer_is_kept() -> None:
    image = made(config={"Labels": {LIFECYCLE: str(DIFFS[0])}})
    assert describing(image, image) == ()
    assert describing(image, made([*DIFFS, NEW])) == ()
    assert describing(made([]), made([NEW])) == ()


def test_bytes_that_are_no_text() -> None:
    text = f'{{"rootfs":{{"diff_ids":["{DIFFS[0]}"]}},"key":"{DIFFS[0]}"}}'
    config = parse_config(text.encode().replace(b"key", b"k\xff"))
    image = replace(made([DIFFS[0]]), config=config)
    (found,) = describing(image, made([NEW]))
    assert found.path == b"k\xff"
