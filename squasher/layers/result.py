"""A squashed image, and what became of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from squasher.digest import Digest
from squasher.image.base import Base, of_image
from squasher.image.model import Image, rows
from squasher.layers.content import Scan
from squasher.tar.entry import ImageWarning


@dataclass(frozen=True, slots=True)
class LayerReport:
    """A layer before or after squashing.

    digest       of the blob as stored
    size         bytes of the blob
    entries      number of entries, whiteouts included
    created_by   of its history row; "" without one, and for a new layer
    """

    diff_id: Digest
    digest: Digest
    size: int
    entries: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Update:
    """What an update costs a host that has the previous image.

    previous   the previous image
    shared     number of lowest layers that the image before squashing shares with it
    fetch      bytes of the new layer as stored, 0 if nothing differs: the host fetches these
    without    bytes that it would fetch of the image before squashing: its layers, as stored, that
               the previous image does not have
    used       bytes of the files in the previous image that are still shown
    held       bytes of all files in the previous image
    """

    previous: Image
    shared: int
    fetch: int
    without: int
    used: int
    held: int

    @property
    def dead(self) -> float:
        """The share, 0 to 1, of the bytes `held` that is replaced or deleted."""
        return 1 - self.used / self.held if self.held else 0.0


@dataclass(frozen=True, slots=True)
class Clamp:
    """Later times became `latest`, which is in nanoseconds since 1970.

    entries   number of entries in the new layers whose time was later
    """

    latest: int
    entries: int


@dataclass(frozen=True, slots=True)
class Origin:
    """An image that a result was made from.

    role       "source" for the squashed image; "base", if an image was named as the base;
               "previous" for the image of `onto`
    image_id   as engines show it: digest of its config, or in a containerd store of its manifest
    manifest   digest of its manifest, None if it is not known
    names, platform   as its archive or engine has them
    """

    role: Literal["source", "base", "previous"]
    image_id: Digest
    manifest: Digest | None
    names: tuple[str, ...]
    platform: str


def origins(source: Image, base: Base | None, previous: Image | None) -> tuple[Origin, ...]:
    """Return what a result is made from, but for a base of which only the layers are known."""
    made_from: tuple[tuple[Literal["source", "base", "previous"], Base | None], ...] = (
        ("source", of_image(source)),
        ("base", base),
        ("previous", of_image(previous) if previous is not None else None),
    )
    return tuple(
        Origin(role, image.image_id, image.manifest, image.names, image.platform)
        for role, image in made_from
        if image is not None and image.image_id is not None
    )


@dataclass(frozen=True, slots=True)
class Squashed:
    """A squashed image, and what happened to its layers.

    image        the result; if there was nothing to squash, the source with the names asked for
    source_id    image ID of the source
    kept         number of lowest layers that are kept byte for byte
    merged       False if there was nothing to squash
    before, after   the layers of the source, and those of the result, lowest first
    notices      about the image, in words
    warnings     what engines disagree about
    entries, whiteouts   numbers of both in the new layers
    overwritten, deleted, provided   numbers of entries in the squashed layers that the new one
                 leaves out: a later entry replaced them, a later layer deleted them, or the base
                 has the same
    compressor   name and version of the library that compressed a layer, "" if none did
    update       what the update costs a host that has the previous image; None without `onto`
    clamp        the times that `clamp_mtime` changed; None without it, or if not `merged`
    compressed   positions in `after` of kept layers that `compress_kept` compressed
    origins      the images that it was made from: the source first
    """

    image: Image
    source_id: Digest
    kept: int
    merged: bool
    before: tuple[LayerReport, ...]
    after: tuple[LayerReport, ...]
    notices: tuple[str, ...]
    warnings: tuple[ImageWarning, ...]
    entries: int = 0
    whiteouts: int = 0
    overwritten: int = 0
    deleted: int = 0
    provided: int = 0
    compressor: str = ""
    update: Update | None = None
    clamp: Clamp | None = None
    compressed: tuple[int, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def size_before(self) -> int:
        """Bytes of all layers of the source, as stored."""
        return sum(layer.size for layer in self.before)

    @property
    def size_after(self) -> int:
        """Bytes of all layers of the result, as stored."""
        return sum(layer.size for layer in self.after)


def layer_reports(image: Image, scans: Sequence[Scan]) -> tuple[LayerReport, ...]:
    """Return what is reported of the layers of `image`, lowest first."""
    made_by = {
        row.layer: image.config.history[row.history].created_by
        for row in rows(image.config)
        if row.layer is not None and row.history is not None and image.config.history
    }
    return tuple(
        LayerReport(
            done.layer.diff_id,
            done.layer.blob.digest or done.layer.diff_id,
            done.layer.blob.size,
            done.count,
            made_by.get(i, ""),
        )
        for i, done in enumerate(scans)
    )
