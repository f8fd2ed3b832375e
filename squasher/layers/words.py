"""What an image says of its own layers, in config and manifest: untrue once they are squashed.

It is kept, as everything that the config says: who reads it has to know. A key describes a layer if
its text has the digest of one, or if it is known to.

Source: buildpacks platform spec, "io.buildpacks.lifecycle.metadata"; ostree-rs-ext,
"ostree.final-diffid"; OCI image-spec, annotations.md, "org.opencontainers.image.base.*";
containers/storage, docs/containers-storage-zstd-chunked.md; stargz-snapshotter, docs/estargz.md,
"TOC" and "Footer".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from squasher.image.auto_base import BASE_DIGEST, BASE_NAME, BUILDPACKS
from squasher.image.configs import BUILDKIT_CACHE
from squasher.image.documents import dump, fold, load_config
from squasher.image.model import Image
from squasher.tar.entry import ImageWarning

KIND = "describes-layers"
_DIGEST = re.compile("(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
#: What the config has to say of its layers; these are true of the result.
_OWN = ("rootfs", "history", BUILDKIT_CACHE)


#: How annotations of layers that are pulled in parts begin, and how people call each form of those:
#: a table of contents is in the blob, and they point at it. It describes the compressed bytes.
_LAZY = {
    "io.github.containers.zstd-chunked.": "zstd:chunked",
    "containerd.io/snapshot/stargz/": "eStargz",
}


def describing(image: Image, result: Image) -> tuple[ImageWarning, ...]:
    """Return a warning for each key that describes layers of `image` which `result` has no more.

    The path of each is the key, as `config.Labels.KEY` or `annotations.KEY`. O(their length).
    """
    there = {*result.config.diff_ids, *result.chain_ids}
    removed: set[str] = set()
    lowest = None
    for i, (layer, chain_id) in enumerate(zip(image.layers, image.chain_ids, strict=True)):
        if chain_id not in there:
            removed.add(chain_id.hex)
        if layer.diff_id not in there:
            removed.update(x.hex for x in (layer.diff_id, layer.blob.digest) if x is not None)
            lowest = i if lowest is None else lowest
    if lowest is None:
        return ()
    known = {BUILDPACKS, *((BASE_NAME, BASE_DIGEST) if lowest == 0 else ())}
    return tuple(
        ImageWarning(KIND, lowest, ".".join((*place, key)).encode("utf-8", "surrogateescape"))
        for place, key, value in _members(image)
        if key in known or not removed.isdisjoint(_DIGEST.findall(dump(value)))
    )


def _members(image: Image) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Yield the members of config and manifest that say something, with where they are."""
    document = load_config(image.config.raw, "config")
    for key, value in document.items():
        if fold(key) == "config" and isinstance(value, dict):
            yield from _of_config(value)
        elif key not in _OWN and fold(key) not in _OWN:
            yield (), key, value
    annotations: dict[str, Any] = {}
    for holder in (image.descriptor, image.manifest):
        annotations |= holder.get("annotations") or {}
    for key, value in annotations.items():
        yield ("annotations",), key, value


def _of_config(config: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    for key, value in config.items():
        if fold(key) == "labels" and isinstance(value, dict):
            for label, text in value.items():
                yield ("config", "Labels"), label, text
        else:
            yield ("config",), key, value


def lost_tables(image: Image, result: Image) -> tuple[str, ...]:
    """Return a notice if layers of `image` that `result` has no more had a table of contents."""
    there = set(result.config.diff_ids)
    keys = [
        key
        for layer in image.layers
        if layer.diff_id not in there
        for key in layer.descriptor.get("annotations") or {}
    ]
    lost = [name for start, name in _LAZY.items() if any(key.startswith(start) for key in keys)]
    if not lost:
        return ()
    return (
        f"left out the table of contents of squashed layers ({', '.join(lost)}): the new layer is"
        " pulled as a whole",
    )
