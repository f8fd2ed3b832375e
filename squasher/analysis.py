"""What is in an image, and what squashing above each possible base would leave: values only.

Everything here is about bytes that are read once: where the content of each layer goes later, and
for every base K the exact size of the layer that `squash --keep-layers K` would write.
"""

from __future__ import annotations

from dataclasses import dataclass

from squasher.digest import Digest
from squasher.tarstream import Dispute


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A row of `docker history`, lowest first.

    created   RFC 3339, "" where absent
    empty     it made no layer
    layer     index of its layer in `Inspection.layers`; None if it is empty
    """

    created_by: str
    created: str
    comment: str
    empty: bool
    layer: int | None


@dataclass(frozen=True, slots=True)
class LayerShare:
    """A layer and what became of what it brought. Bytes are of file content unless said otherwise.

    digest       of the blob as stored; chain_id names the stack of layers up to this one
    size         bytes of the uncompressed tar, headers included; stored_size as stored
    compression  "", "gzip", "zstd", "xz" or "bzip2"
    created_by   of its row, "" without one
    entries      what it brings, without whiteouts; every name of a hard link counts
    whiteouts    what it hides, opaque ones included
    added        bytes of content that it brings
    overwritten  of these, the bytes that another entry replaced later
    deleted      of these, the bytes that were deleted later
    *_entries    the same as numbers of entries, directories and links included
    """

    diff_id: Digest
    digest: Digest
    chain_id: Digest
    size: int
    stored_size: int
    compression: str
    created_by: str
    entries: int
    whiteouts: int
    added: int
    overwritten: int
    deleted: int
    overwritten_entries: int
    deleted_entries: int

    @property
    def wasted(self) -> int:
        """Bytes of content that the final root filesystem does not show."""
        return self.overwritten + self.deleted

    @property
    def kept(self) -> int:
        """Bytes of content that the final root filesystem shows."""
        return self.added - self.wasted

    @property
    def kept_entries(self) -> int:
        """Entries that the final root filesystem shows."""
        return self.entries - self.overwritten_entries - self.deleted_entries


@dataclass(frozen=True, slots=True)
class BaseChoice:
    """What squashing with `--keep-layers kept_layers` would give; sizes uncompressed, in bytes.

    chain_id     of the last layer kept; None if none is kept
    squashed_layer_size   exactly what the one layer above takes, tar headers included; with only
                 one layer above it is that layer, passed through
    image_size   of all layers
    saved        what the layers take now less `image_size`; never exact for compressed layers
    best         the best trade: see `best_choice`
    command      the command line that does it
    """

    kept_layers: int
    chain_id: Digest | None
    squashed_layer_size: int
    image_size: int
    saved: int
    best: bool
    command: str


@dataclass(frozen=True, slots=True)
class PathShare:
    """A path that is no directory, by the name that the layers have for it.

    size     bytes of content that the final root filesystem shows there, 0 if nothing
    wasted   bytes of content that layers hold for it and that are overwritten or deleted later
    times    how many such versions there are
    """

    path: bytes
    size: int
    wasted: int
    times: int


@dataclass(frozen=True, slots=True)
class FolderShare:
    """A directory with everything below it, summed up: bytes shown at the end, bytes wasted."""

    path: bytes
    size: int
    wasted: int


@dataclass(frozen=True, slots=True)
class Dive:
    """The figures of the tool dive, for thresholds that carry over.

    efficiency    0 to 1
    wasted_bytes  sizes of all versions of each path that comes more than once
    user_bytes    bytes of content of all layers but the lowest
    wasted_share  wasted_bytes / user_bytes, dive's userWastedPercent; may exceed 1
    """

    efficiency: float
    wasted_bytes: int
    user_bytes: int
    wasted_share: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in one image.

    name      the first tag, else the image ID
    platform  "os/arch[/variant]"
    rows      the history; layers that no row tells of come last
    layers    lowest first
    bases     one for each K from 0 to the number of layers less one
    wasted    paths that waste bytes, most first, then by path
    folders   every directory that holds bytes, shown or wasted, the root as b"", sorted by path
    largest   the largest files of the final root filesystem (at most LARGEST), largest first
    warnings  what engines disagree about
    """

    name: str
    tags: tuple[str, ...]
    platform: str
    image_id: Digest
    rows: tuple[HistoryRow, ...]
    layers: tuple[LayerShare, ...]
    bases: tuple[BaseChoice, ...]
    wasted: tuple[PathShare, ...]
    folders: tuple[FolderShare, ...]
    largest: tuple[PathShare, ...]
    dive: Dive
    warnings: tuple[Dispute, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers, uncompressed."""
        return sum(layer.size for layer in self.layers)

    @property
    def stored_size(self) -> int:
        """Bytes of all layers as stored."""
        return sum(layer.stored_size for layer in self.layers)

    @property
    def added(self) -> int:
        """Bytes of content in all layers."""
        return sum(layer.added for layer in self.layers)

    @property
    def wasted_bytes(self) -> int:
        """Bytes of content that are overwritten or deleted later: the truth, not dive's figure."""
        return sum(layer.wasted for layer in self.layers)

    @property
    def best(self) -> BaseChoice | None:
        """The best trade; None if nothing is saved at any base."""
        return next((choice for choice in self.bases if choice.best), None)
