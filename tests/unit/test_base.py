"""squasher.image.base: what `-f` means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.errors import BaseNotFoundError, UsageError
from squasher.image.base import Base, Split, keep, of_image, resolve
from squasher.image.configs import parse_config
from squasher.image.model import Blob, Image, Layer

DIFFS = [Digest(f"{n}" * 64) for n in "abc"]
BLOBS = [Digest(f"{n}" * 64) for n in "123"]


def made(diffs: Sequence[Digest] = DIFFS, rows: str = "1.11", tags: tuple[str, ...] = ()) -> Image:
    """Return an image; `rows` has 1 for a row with a layer and . for one without."""
    history = [{"empty_layer": c == ".", "created_by": str(n)} for n, c in enumerate(rows)]
    document = {"rootfs": {"diff_ids": [str(d) for d in diffs]}, "history": history}
    layers = tuple(
        Layer(diff, Blob(Content(()), "", blob), folder=f"f{i}" * 32)
        for i, (diff, blob) in enumerate(zip(diffs, BLOBS, strict=False))
    )
    return Image(parse_config(json.dumps(document).encode()), layers, tags)


@pytest.mark.parametrize(
    ("rows", "count", "kept"),
    [
        ("1.11", 1, 2),
        ("1.11", 2, 1),
        ("1.11", 3, 1),
        ("1.11", 4, 0),
        ("", 1, 2),
        ("", 3, 0),
        ("111...", 2, 3),
    ],
)
def test_the_newest_rows_are_squashed(rows: str, count: int, kept: int) -> None:
    assert resolve(made(rows=rows), str(count)) == Split(kept)


@pytest.mark.parametrize("rows", ["1..", ".", "11.1.1"])
def test_rows_whose_layers_are_not_known(rows: str) -> None:
    for count in ("1", "2", "9"):
        with pytest.raises(BaseNotFoundError, match="which row belongs to which layer"):
            resolve(made(rows=rows), count)


def test_more_rows_than_there_are() -> None:
    image = made()
    with pytest.raises(BaseNotFoundError, match="has 4 history rows, not 5") as raised:
        resolve(image, "5")
    assert raised.value.image is image


@pytest.mark.parametrize("text", ["0", "00000"])
def test_no_rows(text: str) -> None:
    with pytest.raises(UsageError, match=f"-f {text}: 0 history rows were asked for"):
        resolve(made(), text)


@pytest.mark.parametrize("text", ["", " ", "\t"])
def test_an_empty_base(text: str) -> None:
    with pytest.raises(UsageError, match="leave -f out"):
        resolve(made(), text)


def test_a_layer_by_any_of_its_digests() -> None:
    image = made()
    chain = image.chain_ids
    for i in range(3):
        for digest in (DIFFS[i].hex, BLOBS[i].hex, chain[i].hex, image.layers[i].folder):
            for text in (digest, digest[:6], digest.upper(), f"sha256:{digest}"):
                assert resolve(image, text) == Split(i + 1), text


@pytest.mark.parametrize("text", ["aaaaa", "sha256:aa", "sha256:", "dddddd", "sha256:" + "d" * 64])
def test_no_such_digest(text: str) -> None:
    with pytest.raises(BaseNotFoundError, match="of that name") as raised:
        resolve(made(), text)
    assert raised.value.image is not None


def test_digits_that_are_too_many_for_rows_are_a_digest() -> None:
    assert resolve(made(), "111111") == Split(1)


def test_an_ambiguous_digest_offers_chain_ids() -> None:
    image = made([DIFFS[0], DIFFS[1], DIFFS[0]])
    with pytest.raises(BaseNotFoundError, match="2 layers of") as raised:
        resolve(image, DIFFS[0].hex)
    choices = [f"{image.chain_ids[i]} (layer {i + 1}, diff_id)" for i in (0, 2)]
    assert list(raised.value.there) == choices


def test_a_blob_that_nobody_named() -> None:
    image = made()
    bare = replace(image.layers[0], blob=Blob(Content(()), "", None), folder="")
    assert resolve(replace(image, layers=(bare, *image.layers[1:])), "aaaaaa") == Split(1)


def test_another_image_of_the_archive() -> None:
    base = made(DIFFS[:2], "1.1", ("debian:12",))
    image = made(rows="1.11")
    others = [image, base]
    for text in (base.config.image_id.hex, base.config.image_id.hex[:8]):
        assert resolve(image, text, others) == Split(2, 3)
    for text in ("debian:12", "docker.io/library/debian:12"):
        assert resolve(image, text, others) == Split(2, 3)
    with pytest.raises(BaseNotFoundError):
        resolve(image, "debian", others)


def test_a_base_with_another_history_does_not_say_where_it_ends() -> None:
    base = made(DIFFS[:2], "..11", ("debian:12",))
    assert resolve(made(), "debian:12", [base]) == Split(2, None)


@pytest.mark.parametrize(
    ("diffs", "says"),
    [
        ([DIFFS[0], DIFFS[2]], "layer 2 is"),
        ([*DIFFS, Digest("9" * 64)], "it has 4 layers"),
    ],
)
def test_an_image_that_is_not_the_base(diffs: list[Digest], says: str) -> None:
    with pytest.raises(BaseNotFoundError, match=says):
        resolve(made(), "base.tar", fetch=lambda text: [Base(tuple(diffs))])


def test_what_is_fetched() -> None:
    asked: list[str] = []

    def fetch(text: str) -> Sequence[Base] | None:
        asked.append(text)
        return [Base((DIFFS[1],)), of_image(made(DIFFS[:1], "1"))]

    assert resolve(made(), "base.tar", fetch=fetch) == Split(1, 1)
    assert asked == ["base.tar"]


def test_a_name_that_is_nowhere_and_what_to_type() -> None:
    image, other = made(tags=("app:1",)), made(DIFFS[:1], "1", ("debian:12",))
    with pytest.raises(BaseNotFoundError) as raised:
        resolve(image, "debian:11", [image, other])
    text = str(raised.value)
    assert "does not know its base's name" in text
    assert "did you mean debian:12?" in text
    assert "-f docker-daemon:debian:11" in text
    assert "docker save app:1 debian:11 | squash --image app:1 -f debian:11" in text
    with pytest.raises(BaseNotFoundError, match="docker save app busybox"):
        resolve(made(), "busybox")


def test_keeping() -> None:
    assert [keep(made(), n) for n in range(4)] == [Split(n) for n in range(4)]
    with pytest.raises(UsageError, match="-1 is not a valid number of layers"):
        keep(made(), -1)
    with pytest.raises(BaseNotFoundError, match="cannot keep 4 layers") as raised:
        keep(made(), 4)
    assert raised.value.image is not None
