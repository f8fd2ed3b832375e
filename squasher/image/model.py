"""Images as values: what is left of an archive once it has been read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.errors import SquasherError
from squasher.image.configs import ImageConfig
from squasher.image.manifests import platform_of
from squasher.image.platforms import Platform
from squasher.image.references import full_name, normalise_tag


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes.

    digest        None if no document names it
    compression   "", "gzip", "zstd", "xz" or "bzip2"
    """

    content: Content
    media_type: str
    digest: Digest | None
    compression: str = ""

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.content.size


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the digest of its tar, and how it is stored.

    descriptor   the descriptor of the blob, annotations included; {} without one
    folder       the name of its folder in an archive of docker before 25, else ""
    """

    diff_id: Digest
    blob: Blob
    descriptor: dict[str, Any] = field(default_factory=dict)
    folder: str = ""


#: An in-toto statement, as a JSON object: what a builder says of an image.
Statement = dict[str, Any]


def _nothing() -> tuple[Any, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Image:
    """An image: config, layers (lowest first, one for each diff_id), names.

    tags               its names as docker has them
    references         its names in the layout, as they are written there: docker names or any other
                       text. To give the image other names, replace both
    manifest           the document of its OCI manifest, {} if it had none
    descriptor         the descriptor of that manifest, {} without one
    manifest_digests   of that manifest first, then of the indexes that list it
    attested           reads the provenance that the index has for the image: in-toto statements;
                       raises ArchiveError
    label              what errors call it beside the other images of its archive, else ""
    """

    config: ImageConfig
    layers: tuple[Layer, ...]
    tags: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    manifest: dict[str, Any] = field(default_factory=dict)
    descriptor: dict[str, Any] = field(default_factory=dict)
    manifest_digests: tuple[Digest, ...] = ()
    attested: Callable[[], tuple[Statement, ...]] = field(
        default=_nothing, repr=False, compare=False
    )
    label: str = field(default="", compare=False)

    @property
    def ids(self) -> tuple[Digest, ...]:
        """What engines show as its ID: the digest of the config, then `manifest_digests`."""
        return (self.config.image_id, *self.manifest_digests)

    @property
    def stored_size(self) -> int:
        """Bytes of all layers as stored; a layer that is there twice counts twice."""
        return sum(layer.blob.size for layer in self.layers)

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """The chain_id of each layer and all below it, lowest first.

        Source: image-spec, config.md, "Layer ChainID".
        """
        return chain_ids([layer.diff_id for layer in self.layers])

    @property
    def platform(self) -> Platform:
        """What the image runs on: as the index says; if it does not, as the config says.

        Source: containerd, images.Manifest.
        """
        return platform_of(self.descriptor) or self.config.platform

    @property
    def name(self) -> str:
        """A name for messages: the first tag or reference, else the image ID."""
        return next(iter(self.names), str(self.config.image_id))

    @property
    def title(self) -> str:
        """Its name and platform, which tell it from the other images of its archive."""
        return f"{self.name} ({self.platform})"

    @property
    def names(self) -> tuple[str, ...]:
        """Its tags, then the references that are not another spelling of one of them."""
        full = {full_name(tag) for tag in self.tags}
        others = (x for x in self.references if full_name(normalise_tag(x) or x) not in full)
        return (*self.tags, *others)


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry of an index: the position of its image in `Archive.images`, and the descriptor."""

    image: int
    descriptor: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Branch:
    """An index inside an index: its own document, and the descriptor that points at it."""

    children: tuple[Leaf | Branch, ...]
    descriptor: dict[str, Any]
    document: dict[str, Any]


#: One descriptor of an index.
Node = Leaf | Branch


@dataclass(frozen=True, slots=True)
class Unread:
    """An image that cannot be read, and why. The error is raised only if this image is picked.

    names        its tags and references
    ids          the digests that it can be picked by
    descriptor   the descriptor that points at it, {} without one
    """

    error: SquasherError
    names: tuple[str, ...] = ()
    ids: tuple[Digest, ...] = ()
    descriptor: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A blob that is about an image: of an attestation or a signature.

    kind      the predicate type of an attestation; "manifest" for a manifest of such blobs, because
              a signature is in its annotations; else the media type
    about     digest of the manifest or index that it is about; None if the archive does not say
    content   its bytes, not yet checked against the digest
    """

    digest: Digest
    media_type: str
    kind: str
    about: Digest | None
    content: Content


@dataclass(frozen=True, slots=True)
class Attachments:
    """The attestations and signatures of certain images.

    missing   number of their manifests of which the archive does not have every blob
    """

    found: tuple[Attachment, ...] = ()
    missing: int = 0


def _no_attachments(images: Collection[Digest]) -> Attachments:
    return Attachments()


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive holds.

    name      for messages
    images    those that are complete, each once
    tree      how its index leads to them; () without an index
    document  the index itself
    notices   about the archive as a whole, in words
    listed    for each manifest item the position of its image in `images`, None if left out
    unread    the images that cannot be read, with their errors
    lenders   reads the archives of `blobs_from`; one that holds no image has the reason in `unread`
    attachments   returns the attestations and signatures of the images with these digests; raises
                  ArchiveError, UnsupportedImageError
    """

    name: str
    images: tuple[Image, ...]
    tree: tuple[Node, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    listed: tuple[int | None, ...] = ()
    unread: tuple[Unread, ...] = ()
    lenders: Callable[[], tuple[Archive, ...]] = field(default=_nothing, repr=False, compare=False)
    attachments: Callable[[Collection[Digest]], Attachments] = field(
        default=_no_attachments, repr=False, compare=False
    )


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """Return the chain ID of each prefix of `diff_ids`. O(layers)."""

    def joined(below: Digest, diff_id: Digest) -> Digest:
        return Digest.of(f"{below} {diff_id}".encode("ascii"))

    return tuple(accumulate(diff_ids, joined))


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `docker history`: `history` and `layer` are indexes, None where there is none."""

    history: int | None
    layer: int | None


def rows(config: ImageConfig) -> tuple[Row, ...]:
    """Return the rows of the history with the layers that they stand for, lowest first.

    Rows that are not empty and layers belong together in their order. Where their numbers differ
    nobody can tell which belong together: no row has a layer then. Layers without a row count as a
    row each, above all others.
    """
    history = config.history or ()
    layers = iter(range(len(config.diff_ids) if rows_fit(config) else 0))
    found = [
        Row(i, None if row.empty_layer else next(layers, None)) for i, row in enumerate(history)
    ]
    told = {row.layer for row in found}
    return (*found, *(Row(None, i) for i in range(len(config.diff_ids)) if i not in told))


def rows_fit(config: ImageConfig) -> bool:
    """Tell whether it is known which row has which layer; no history at all leaves no doubt."""
    return not config.history or rows_with_layer(config) == len(config.diff_ids)


def rows_with_layer(config: ImageConfig) -> int:
    """Return how many rows say that they have a layer."""
    return sum(not row.empty_layer for row in config.history or ())
