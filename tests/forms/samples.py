"""Images that many tests of forms squash, and what they look at in the result."""

from __future__ import annotations

from pathlib import Path

from tests.builders import File, archive, layer
from tests.forms.shapes import (
    SHAPES,
    Document,
    Folder,
    config_of,
    plain,
)

IMAGE = SHAPES["docker-25"]().archive


GZIPPED = SHAPES["skopeo-oci-archive"]().archive


ZSTD = SHAPES["podman-zstd-chunked"]().archive


DOCKER_TYPES = SHAPES["buildx-docker"]().archive


TWO = SHAPES["several-images"]().archive


PLATFORMS = SHAPES["buildx-oci"]().archive


def notes_of(index: Document) -> list[Document]:
    """Return the annotations of the descriptors of an index."""
    return [pointer.get("annotations") or {} for pointer in index["manifests"]]


def put(folder: Path, files: Folder) -> None:
    """Write the files of a layout."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


WARNS = archive(
    [
        layer(File(b"a`|*_<b>", b"1"), File(b"a`|*_<b>", b"2")),
        layer(File(b"c"), File(b"c"), File(b"d"), File(b"d")),
    ]
)


SAME_HEADER = plain(
    config_of(
        layers := (
            layer(File(b"f", b"hello again")),
            layer(File(b"f", b"hello Again")),
            layer(File(b"g")),
        )
    ),
    layers,
)
