"""squasher.image.model: chain IDs, names, and which row has which layer."""

from __future__ import annotations

import json

import pytest

from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.image.configs import parse_config
from squasher.image.model import Blob, Image, Layer, Row, chain_ids, rows

A, B, C = (Digest.of(bytes([n])) for n in range(3))


def image(rows: list[dict[str, object]] | None, count: int = 2) -> Image:
    document: dict[str, object] = {"rootfs": {"diff_ids": [str(d) for d in (A, B, C)[:count]]}}
    if rows is not None:
        document["history"] = rows
    config = parse_config(json.dumps(document).encode())
    blob = Blob(Content((b"12345",)), "", None)
    return Image(config, tuple(Layer(digest, blob) for digest in config.diff_ids))


def test_chain_ids() -> None:
    """image-spec, config.md: ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B))."""
    second = Digest.of(f"{A} {B}".encode())
    third = Digest.of(f"{second} {C}".encode())
    assert chain_ids([]) == ()
    assert chain_ids([A, B, C]) == (A, second, third)
    assert image(None).chain_ids == (A, second)


def test_an_image_is_called_by_its_first_tag_or_its_id() -> None:
    from dataclasses import replace

    plain = image(None)
    assert plain.name == str(plain.config.image_id) == str(Digest.of(plain.config.raw))
    assert replace(plain, tags=("a:1", "b:2")).name == "a:1"
    assert plain.layers[0].blob.size == 5


EMPTY: dict[str, object] = {"empty_layer": True}
FULL: dict[str, object] = {}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (None, [Row(None, 0), Row(None, 1)]),
        ([], [Row(None, 0), Row(None, 1)]),
        ([FULL, FULL], [Row(0, 0), Row(1, 1)]),
        ([EMPTY, FULL, EMPTY, FULL], [Row(0, None), Row(1, 0), Row(2, None), Row(3, 1)]),
        ([FULL, EMPTY], [Row(0, None), Row(1, None), Row(None, 0), Row(None, 1)]),
        ([EMPTY], [Row(0, None), Row(None, 0), Row(None, 1)]),
        ([FULL] * 3, [*(Row(n, None) for n in range(3)), Row(None, 0), Row(None, 1)]),
    ],
)
def test_rows_have_layers_where_that_is_known(
    history: list[dict[str, object]] | None, expected: list[Row]
) -> None:
    assert list(rows(image(history).config)) == expected
