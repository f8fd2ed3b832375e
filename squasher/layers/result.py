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

    previous   that image, as it was read
    shared     number of lowest layers that both images share
    fetch      bytes of the new layer as stored; 0 if nothing differs
    without    bytes of the image's own layers, as stored, that the previous image lacks
    used, held bytes of files in the previous image: those that are still seen, and all
    """

    previous: Image
    shared: int
    fetch: int
    without: int
    used: int
    held: int

    @property
    def dead(self) -> float:
        """The share of the previous image's files that is replaced or deleted, 0 to 1."""
        return 1 - self.used / self.held if self.held else 0.0


@dataclass(frozen=True, slots=True)
class Clamp:
    """Times later than `latest`, in nanoseconds since 1970, were made `latest`.

    entries   how many entries of the new layer have it for that reason
    """

    latest: int
    entries: int


@dataclass(frozen=True, slots=True)
class Origin:
    """An image that a result was made from.

    role       the image that was squashed; the base, if `-f` named an image; the previous image
    image_id   what engines call its ID
    manifest   digest of its manifest, None where that is not known
    names, platform   as its archive or engine tells them
    """

    role: Literal["source", "base", "previous"]
    image_id: Digest
    manifest: Digest | None
    names: tuple[str, ...]
    platform: str


def origins(source: Image, base: Base | None, previous: Image | None) -> tuple[Origin, ...]:
    """Return what a result is made from, but for a base of which only the layers are known."""
    found = [_origin("source", of_image(source))]
    if base is not None and base.ids:
        found.append(_origin("base", base))
    if previous is not None:
        found.append(_origin("previous", of_image(previous)))
    return tuple(found)


def _origin(role: Literal["source", "base", "previous"], image: Base) -> Origin:
    image_id, *digests = image.ids
    return Origin(role, image_id, next(iter(digests), None), image.names, image.platform)


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
