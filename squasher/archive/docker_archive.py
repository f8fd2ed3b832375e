"""docker's `manifest.json`: items to images."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from squasher.archive.documents import INCOMPLETE, Documents, blob_digests, check_count, layer_of
from squasher.digest import Digest, check
from squasher.errors import SquasherError, placed
from squasher.image import manifests
from squasher.image.model import Image, Unread
from squasher.image.references import full_name

_FOLDER = re.compile(r"([0-9a-f]{64})/layer\.tar")


@dataclass(frozen=True)
class Listed:
    """What manifest.json leads to; `listed` and `unread` are what they are of an Archive."""

    images: tuple[Image, ...] = ()
    listed: tuple[int | None, ...] = ()
    notices: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()


def docker_images(documents: Documents) -> Listed:
    """Return the images of manifest.json; one that is listed twice is one with all its tags."""
    items = manifests.parse_manifest_json(documents.get("manifest.json"))
    found: dict[object, Image] = {}
    keys: dict[tuple[str, tuple[str, ...]], object] = {}
    incomplete = []
    unread = []
    for i, item in enumerate(items):
        documents.pinned.update((full_name(name), None) for name in item.pinned)
        named = (item.config, item.layers)
        if named not in keys:
            if item.config not in documents.store or not all(map(documents.has_layer, item.layers)):
                incomplete.append((item, i))
                continue
            try:
                image = _docker_image(documents, item, i)
            except SquasherError as error:
                digest = manifests.blob_digest(item.config)
                unread.append(Unread(error, item.tags, (digest,) if digest else ()))
                continue
            keys[named] = (image.config.image_id, blob_digests(image))
            found.setdefault(keys[named], image)
        key = keys[named]
        tags = dict.fromkeys((*found[key].tags, *item.tags))
        found[key] = replace(found[key], tags=tuple(tags))
    if incomplete and not found and not unread:
        _docker_image(documents, *incomplete[0])  # raises
    positions = {key: at for at, key in enumerate(found)}
    listed = (positions.get(keys.get((item.config, item.layers))) for item in items)
    count = len({(item.config, item.layers) for item, _ in incomplete})
    notices = (INCOMPLETE.format(count),) if incomplete else ()
    return Listed(tuple(found.values()), tuple(listed), notices, tuple(unread))


def _docker_image(documents: Documents, item: manifests.ManifestItem, position: int) -> Image:
    where = f"manifest.json[{position}]"
    with placed(f"{where}.Config"):
        data = documents.get(item.config)
    digest = manifests.blob_digest(item.config)
    if digest:
        check(digest, Digest.of(data), where=item.config)
    config = documents.config(data, item.config)
    check_count(len(item.layers), config, f"{where}.Layers")
    layers = []
    for i, (name, diff_id) in enumerate(zip(item.layers, config.diff_ids, strict=True)):
        with placed(f"{where}.Layers[{i}]"):
            content = documents.layer(name, i + 1, len(item.layers))
        folder = _FOLDER.fullmatch(name)
        digest = manifests.blob_digest(name)
        layer = layer_of(diff_id, content, digest, {}, f"{where}.Layers[{i}]")
        layers.append(replace(layer, folder=folder[1] if folder else ""))
    return Image(config, tuple(layers), item.tags)
