"""The documents of an archive, within limits; what both kinds of documents lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from squasher.archive.layer_kinds import check_content
from squasher.archive.members import Store, document
from squasher.blobs.compression import HEAD, sniff
from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.errors import ArchiveError, UnsupportedImageError
from squasher.image import configs, manifests
from squasher.image.documents import DOCUMENT_MAX, dump
from squasher.image.documents import weight as weight_of
from squasher.image.model import Blob, Image, Layer

#: Bytes of memory that the documents of an archive may take beyond twice their length, each as
#: often as something leads to it: one index can be listed a thousand times in another, and an empty
#: list of three characters takes forty times as much. Ten thousand images of builders fit.
DOCUMENTS_MEMORY = 256 << 20
#: Layers of one image. docker takes 125, overlayfs 500.
LAYERS_MAX = 1000
#: Bytes of a descriptor in an index, its annotations and names apart.
_DESCRIPTOR_SIZE = 300
INCOMPLETE = "left out incomplete images ({}): some of their blobs are not in the archive"
#: Gives the blob of the member `blobs/sha256/DIGEST` that an archive leaves out, None for nothing.
Lend = Callable[[str], Content | None]


def lend_nothing(name: str) -> None:
    """Have no blob."""


class Documents:
    """The documents of a store, as far as they take no more than DOCUMENTS_MEMORY.

    Layers that the store leaves out may be lent.

    pinned   the full names in them that end in a digest: nothing that is written is called so
    """

    def __init__(self, store: Store, lend: Lend = lend_nothing) -> None:
        self.store = store
        self._lend = lend
        self.pinned: dict[str, None] = {}
        self._room = DOCUMENTS_MEMORY
        self._seen: set[str] = set()

    def get(self, name: str) -> bytes:
        """Return the whole of a member. Raises ArchiveError, UnsupportedImageError."""
        self._take(0, name)
        data = document(self.store, name)
        if name not in self._seen:
            self._seen.add(name)
            self._room += 2 * len(data)
        self._take(weight_of(data), name)
        return data

    def has_layer(self, name: str) -> bool:
        """Tell whether the store has the member `name`, or it is lent."""
        return name in self.store or self._lend(name) is not None

    def layers(self, names: Sequence[str]) -> list[Content]:
        """Return what the layers `names` of one image store. Raises ArchiveError."""
        return [self.layer(name, i, len(names)) for i, name in enumerate(names, 1)]

    def layer(self, name: str, number: int, count: int) -> Content:
        """Return what the layer `name` stores, the layer `number`, from 1, of `count`.

        Raises ArchiveError if it is nowhere.
        """
        if name in self.store or not name.startswith("blobs/"):
            return self.store.content(name)
        lent = self._lend(name)
        if lent is None:
            raise ArchiveError(
                "is not in the archive",
                where=name,
                hint=f"name an archive that has layer {number} of {count}: --blobs-from ARCHIVE",
            )
        return lent

    def config(self, data: bytes, name: str) -> configs.ImageConfig:
        """Return the config in a member that has been got; less is kept than reading it takes."""
        weight = weight_of(data)
        self._take(weight, name)  # each of its members is read twice
        config = configs.parse_config(data, name)
        self._room += max(0, 2 * weight - configs.kept_weight(config))
        return config

    @property
    def full(self) -> bool:
        """Whether they take too much memory: nothing more is read."""
        return self._room < 0

    def _take(self, count: int, name: str) -> None:
        if not self.full:
            self._room -= count
        if self.full:
            raise UnsupportedImageError(
                f"documents that take more than {DOCUMENTS_MEMORY >> 20} MiB of memory",
                where=name,
                hint="save fewer images at once",
            )


def check_names(images: Iterable[Image]) -> None:
    """Raise ArchiveError if an index with all names of `images` could not be read again.

    Each name repeats the annotations of its image.
    """
    size = 0
    for image in images:
        descriptor = len(dump(image.descriptor)) + _DESCRIPTOR_SIZE
        size += descriptor * max(1, len(image.tags)) + 2 * sum(map(len, image.tags))
    if size > DOCUMENT_MAX:
        raise ArchiveError("the image names make the index too large: readers would refuse it")


def check_count(count: int, config: configs.ImageConfig, where: str) -> None:
    """Raise unless an image has as many layers as its config, and a kind that can be squashed."""
    if count != len(config.diff_ids):
        raise ArchiveError(
            f"{count} layers, but the config has {len(config.diff_ids)}", where=where
        )
    if count > LAYERS_MAX:
        raise ArchiveError(f"{count} layers, but engines take fewer than {LAYERS_MAX}", where=where)
    if config.os == "windows":
        raise UnsupportedImageError("Windows images are not supported", where=where)


def layer_of(
    diff_id: Digest, content: Content, digest: Digest | None, descriptor: dict[str, Any], where: str
) -> Layer:
    """Return the layer that `content` stores, as its first bytes and its descriptor say."""
    head = content.read_at(0, HEAD)
    compression = sniff(head)
    if not compression:
        check_content(head, content, where)
    media_type = descriptor.get("mediaType") or manifests.OCI_LAYER + (
        f"+{compression}" if compression else ""
    )
    if digest is None and not compression:
        digest = diff_id
    return Layer(diff_id, Blob(content, media_type, digest, compression), descriptor)


def blob_digests(image: Image) -> tuple[Digest | None, ...]:
    """Return the digest of each layer as stored, None where no document says it."""
    return tuple(layer.blob.digest for layer in image.layers)
