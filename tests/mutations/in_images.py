"""Faults in the squashed image: its layers, its config, its tags."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.image.model import Archive, Blob, Image, Layer
from tests.builders import layer
from tests.mutations.fault import VERIFY, Fault, members, unpacked, with_config, with_layers

HISTORY = "tests/forms/test_base.py::test_history_keep_empties_the_rows_and_adds_one"

Layers = Sequence[Layer]
Document = dict[str, Any]


# ---------------------------------------------------------------- layers


def stacked(name: str, change: Callable[[Layers, int], Layers | None]) -> Fault:
    """Return the fault that the image has other layers, all its digests being right."""

    def plant(image: Image, kept: int) -> Image | None:
        layers = change(image.layers, kept)
        return with_layers(image, layers) if layers is not None else None

    return Fault(name, "image", plant)


def kept_changed(change: Callable[[Layer], Layer]) -> Callable[[Layers, int], Layers | None]:
    """Change the lowest layer, if it is kept."""
    return lambda layers, kept: [change(layers[0]), *layers[1:]] if kept else None


def plain(tar: bytes, old: Layer) -> Layer:
    """Return a layer that holds `tar`."""
    digest = Digest.of(tar)
    return Layer(digest, Blob(Content((tar,)), old.blob.media_type, digest))


def longer(old: Layer) -> Layer:
    return plain(unpacked(old) + bytes(512), old)


def bytes_of(layer: Layer) -> bytes:
    return layer.blob.content.read_at(0, layer.blob.size)


def emptied(old: Layer) -> Layer:
    return plain(layer(), old)


def without_its_first(old: Layer) -> Layer:
    return plain(layer(*members(unpacked(old))[1:]), old)


def packed(old: Layer) -> Layer:
    """Store the same layer compressed."""
    data = gzip.compress(unpacked(old), mtime=0)
    return replace(old, blob=Blob(Content((data,)), old.blob.media_type, Digest.of(data), "gzip"))


def stored(name: str, change: Callable[[Image, Layer], Layer]) -> Fault:
    """Return the fault that the new layer is stored otherwise; its diff_id stays."""

    def plant(image: Image, kept: int) -> Image | None:
        old = image.layers[-1]
        new = change(image, old)
        return (
            replace(image, layers=(*image.layers[:-1], new))
            if new.blob.digest != old.blob.digest or bytes_of(new) != bytes_of(old)
            else None
        )

    return Fault(name, "image", plant)


def holding(old: Layer, data: bytes, digest: Digest | None = None) -> Layer:
    blob = old.blob
    return replace(old, blob=replace(blob, content=Content((data,)), digest=digest or blob.digest))


# ---------------------------------------------------------------- the config


def config(
    name: str, change: Callable[[Document], object], caught: str = VERIFY, why: str = ""
) -> Fault:
    def plant(image: Image, kept: int) -> Image:
        return with_config(image, change)

    return Fault(name, "image", plant, caught, why)


def diff_ids(name: str, change: Callable[[list[str]], list[str]]) -> Fault:
    """Return the fault that the config has other diff_ids than the layers."""

    def plant(image: Image, kept: int) -> Image | None:
        def edit(document: Document) -> None:
            document["rootfs"]["diff_ids"] = change(document["rootfs"]["diff_ids"])

        changed = with_config(image, edit)
        return changed if changed.config.diff_ids != image.config.diff_ids else None

    return Fault(name, "image", plant)


# ---------------------------------------------------------------- tags


def tags(name: str, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Fault:
    def plant(archive: Archive) -> Archive:
        images = tuple(replace(image, tags=change(image.tags)) for image in archive.images)
        return replace(archive, images=images)

    return Fault(name, "tags", plant)


IN_IMAGES = (
    stacked("the new layer is lost", lambda layers, kept: layers[:-1] if kept else None),
    stacked("the new layer comes twice", lambda layers, kept: [*layers, layers[-1]]),
    stacked(
        "the new layer lies below the base",
        lambda layers, kept: [layers[-1], *layers[:-1]] if kept else None,
    ),
    stacked("a kept layer is lost", lambda layers, kept: layers[1:] if kept else None),
    stacked(
        "a kept layer comes twice", lambda layers, kept: [layers[0], *layers] if kept else None
    ),
    stacked("a kept layer is empty", kept_changed(emptied)),
    stacked("a kept layer has zeros more", kept_changed(longer)),
    stacked("a kept layer lacks its first entry", kept_changed(without_its_first)),
    stacked("a kept layer is compressed", kept_changed(packed)),
    stacked(
        "a kept layer has the bytes of the new one",
        lambda layers, kept: [layers[-1], *layers[1:]] if kept else None,
    ),
    stored("the blob is cut short", lambda image, old: holding(old, unpacked(old)[:-1])),
    stored("the blob is empty", lambda image, old: holding(old, b"")),
    stored("the blob has a byte more", lambda image, old: holding(old, unpacked(old) + b"\0")),
    stored(
        "the blob has one bit changed", lambda image, old: holding(old, b"\1" + unpacked(old)[1:])
    ),
    stored(
        "the blob is another layer, and its digest right",
        lambda image, old: holding(old, layer(), Digest.of(layer())),
    ),
    stored(
        "the digest of the blob is that of nothing",
        lambda image, old: holding(old, unpacked(old), Digest.of(b"")),
    ),
    stored(
        "a compressed blob has the digest of the tar",
        lambda image, old: replace(packed(old), blob=replace(packed(old).blob, digest=old.diff_id)),
    ),
    stored(
        "a compressed blob is cut short",
        lambda image, old: holding(
            packed(old),
            gzip.compress(unpacked(old))[:-9],
            Digest.of(gzip.compress(unpacked(old))[:-9]),
        ),
    ),
    diff_ids("diff_ids in disorder", lambda ids: ids[::-1]),
    diff_ids("the lowest diff_id for the new one", lambda ids: [*ids[:-1], ids[0]]),
    diff_ids("a diff_id is lost", lambda ids: ids[:-1]),
    diff_ids("a diff_id too many", lambda ids: [*ids, ids[-1]]),
    diff_ids(
        "the diff_id of the new layer is that of nothing",
        lambda ids: [*ids[:-1], str(Digest.of(b""))],
    ),
    config("the environment is lost", lambda document: document["config"].pop("Env")),
    config("the command is lost", lambda document: document["config"].pop("Cmd")),
    config("another command", lambda document: document["config"].update(Cmd=["bash"])),
    config("what a container gets is lost", lambda document: document.pop("config")),
    config("another architecture", lambda document: document.update(architecture="arm64")),
    config("another system", lambda document: document.update(os="windows")),
    config("a key too many", lambda document: document.update(author="nobody")),
    config("a label too many", lambda document: document["config"].update(Labels={"a": "b"})),
    config(
        "the history has more rows than layers",
        lambda document: document["history"].extend([{}, {}]),
    ),
    config(
        "the new row of the history is lost",
        lambda document: document["history"].pop(),
        HISTORY,
        "rows may go: with --history drop",
    ),
    config(
        "the new row of the history comes first",
        lambda document: document["history"].insert(0, document["history"].pop()),
        HISTORY,
        "docker shows rows, but nothing depends on them",
    ),
    config(
        "the rows of the history say nothing",
        lambda document: document.update(history=[{"created_by": ""}]),
        HISTORY,
        "docker shows rows, but nothing depends on them",
    ),
    tags("the tags are lost", lambda tags: ()),
    tags("a tag too many", lambda tags: (*tags, "too-many:1")),
    tags("another tag", lambda tags: tuple(tag + "0" for tag in tags)),
)
