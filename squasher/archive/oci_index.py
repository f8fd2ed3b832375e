"""The index of an OCI layout: descriptors to images, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from squasher.archive.attestations import Beside, beside, digest_or_none, provenance
from squasher.archive.documents import INCOMPLETE, Documents, check_count, layer_of
from squasher.archive.layer_kinds import check_type
from squasher.digest import Digest, check
from squasher.errors import ArchiveError, SquasherError, UnsupportedImageError
from squasher.image import manifests
from squasher.image.manifests import Descriptor
from squasher.image.model import Branch, Image, Leaf, Node, Statement, Unread
from squasher.image.references import (
    ends_in_digest,
    full_name,
    is_pinned,
    normalise_tag,
    short_name,
)
from squasher.tar.paths import show

#: Indexes inside indexes that are followed; real ones have two levels.
_DEPTH_MAX = 8
_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")
_ATTESTATION_OF = "vnd.docker.reference.digest"
#: What may be a manifest or an index. Any other type "MUST NOT generate an error".
#: Source: image-spec, image-index.md, `manifests`; docker's first schema, which is told by name.
_MANIFESTS = (
    "",
    manifests.OCI_MANIFEST,
    manifests.OCI_INDEX,
    manifests.DOCKER_MANIFEST,
    manifests.DOCKER_INDEX,
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)


#: What is said of attestations, artifacts, incomplete images and subjects.
_LEFT_OUT = (
    "left out attestations ({}): they describe the image before squashing",
    "left out artifacts that are not images, such as signatures ({})",
    INCOMPLETE,
    "left out links to a subject ({}): they belong to the image before squashing",
)


@dataclass
class Index:
    """What an index leads to."""

    documents: Documents
    images: list[Image] = field(default_factory=list)
    tree: tuple[Node, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)
    problems: list[SquasherError] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    _unsupported: list[str] = field(default_factory=list)
    _known: dict[Digest, int] = field(default_factory=dict)
    _names: list[dict[str, None]] = field(default_factory=list)
    _references: list[dict[str, None]] = field(default_factory=list)
    _digests: list[dict[Digest, None]] = field(default_factory=list)
    _subjects: int = 0
    _attestations: int = 0
    _attested: dict[str, list[Descriptor]] = field(default_factory=dict)
    _incomplete: int = 0
    _artifacts: int = 0

    def read(self) -> None:
        """Follow index.json. Raises ArchiveError, UnsupportedImageError."""
        where = "index.json"
        data = self.documents.get(where)
        self.document = manifests.parse_document(data, where)
        self._subjects += "subject" in self.document
        descriptors = self._supported(self.document, where)
        self.tree = tuple(self._nodes(descriptors, (), (), ()))
        found = zip(self.images, self._names, self._references, self._digests, strict=True)
        self.images = [
            replace(
                image,
                tags=tuple(tags),
                references=tuple(references),
                manifest_digests=tuple(digests),
                attested=partial(self._statements, next(iter(digests))),
            )
            for image, tags, references, digests in found
        ]

    def _statements(self, of: Digest) -> tuple[Statement, ...]:
        """Return the provenance of the image with that manifest. Raises ArchiveError."""
        found: list[Statement] = []
        for descriptor in self._attested.get(str(of), ()):
            found += provenance(self.documents, descriptor, of)
        return tuple(found)

    def notices(self) -> Iterator[str]:
        """Yield what was left out."""
        counts = (self._attestations, self._artifacts, self._incomplete, self._subjects)
        for count, what in zip(counts, _LEFT_OUT, strict=True):
            if count:
                yield what.format(count)
        if self._unsupported:
            count = len(self._unsupported)
            yield f"left out images that cannot be squashed ({count}): {self._unsupported[0]}"

    def _nodes(
        self,
        descriptors: Sequence[Descriptor],
        tags: tuple[str, ...],
        references: tuple[str, ...],
        above: tuple[Digest, ...],
    ) -> Iterator[Node]:
        """Yield what `descriptors` lead to, below the indexes `above`, under the names of those."""
        for descriptor in descriptors:
            own = tags_of(descriptor.document) or tags
            called = (*references, *filter(None, (reference_of(descriptor.document),)))
            if pinned := _pinned(descriptor.document):
                self.documents.pinned[pinned] = None
            try:
                yield from self._node(descriptor, own, called, above)
            except SquasherError as error:
                ids = (descriptor.digest, *above)
                self.unread.append(Unread(error, (*own, *called), ids, descriptor.document))

    def _node(
        self,
        descriptor: Descriptor,
        own: tuple[str, ...],
        called: tuple[str, ...],
        above: tuple[Digest, ...],
    ) -> Iterator[Node]:
        """Yield what one of them leads to. Raises SquasherError for what cannot be read."""
        if _is_attestation(descriptor.document):
            self._attestations += 1
            of = (descriptor.document.get("annotations") or {}).get(_ATTESTATION_OF, "")
            self._attested.setdefault(of, []).append(descriptor)
            self.beside.append(Beside(descriptor, digest_or_none(of)))
            return
        if descriptor.digest in self._known:
            position = self._known[descriptor.digest]
            self._names[position].update(dict.fromkeys(own))
            self._references[position].update(dict.fromkeys(called))
            self._digests[position].update(dict.fromkeys(above))
            yield Leaf(position, descriptor.document)
            return
        name = manifests.blob_name(descriptor.digest)
        if descriptor.media_type not in _MANIFESTS:
            self._artifact(descriptor.media_type, name)
            self.beside.append(beside(descriptor, {}, (*own, *called)))
            return
        if name not in self.documents.store:
            self._miss(ArchiveError("is not in the archive", where=name))
            return
        data = self.documents.get(name)
        check(descriptor.digest, Digest.of(data), where=name)
        manifests.check_size(descriptor, len(data), name)
        found = manifests.parse_document(data, name)
        if "manifests" in found:
            if len(above) == _DEPTH_MAX:
                raise ArchiveError(f"more than {_DEPTH_MAX} nested indexes")
            inner = self._supported(found, name)
            children = tuple(self._nodes(inner, own, called, (*above, descriptor.digest)))
            if children:
                self._subjects += "subject" in found
                yield Branch(children, descriptor.document, found)
            return
        try:
            image = self._image(found, name)
        except UnsupportedImageError as error:
            if self.documents.full:
                raise
            self._leave_out(error)
            return
        if image is None:
            self.beside.append(beside(descriptor, found, (*own, *called)))
            return
        position = self._known[descriptor.digest] = len(self.images)
        self.images.append(replace(image, descriptor=descriptor.document))
        self._names.append(dict.fromkeys(own))
        self._references.append(dict.fromkeys(called))
        self._digests.append(dict.fromkeys((descriptor.digest, *above)))
        self._subjects += "subject" in found
        yield Leaf(position, descriptor.document)

    def _supported(self, document: dict[str, Any], where: str) -> tuple[Descriptor, ...]:
        """Return what an index lists, without what no digest of ours leads to."""
        found, others = manifests.parse_supported(document, where)
        for error, told in others:
            self._leave_out(_named(error, told))
        return found

    def _leave_out(self, error: UnsupportedImageError) -> None:
        self.problems.append(error)
        self._unsupported.append(str(error))

    def _miss(self, error: ArchiveError) -> None:
        self._incomplete += 1
        self.problems.append(error)

    def _image(self, found: dict[str, Any], where: str) -> Image | None:
        """Return the image of a manifest; None if it is none or its blobs are not all there."""
        if found.get("schemaVersion") == 1:
            raise UnsupportedImageError("manifest schema 1 is not supported", where=where)
        if "config" not in found:
            self._artifact(found.get("mediaType"), where)
            return None
        manifest = manifests.parse_manifest(found, where)
        kinds = ("", manifests.OCI_CONFIG, manifests.DOCKER_CONFIG)
        odd = next((x.media_type for x in manifest.layers if not _is_layer(x.media_type)), None)
        if manifest.config.media_type in kinds:
            for i, descriptor in enumerate(manifest.layers):
                check_type(descriptor.media_type, f"{where}.layers[{i}]")
        if manifest.config.media_type not in kinds or odd is not None:
            self._artifact(odd or manifest.config.media_type, where)
            return None
        name = manifests.blob_name(manifest.config.digest)
        if name not in self.documents.store:
            self._miss(ArchiveError("is not in the archive", where=name))
            return None
        blobs = [manifests.blob_name(descriptor.digest) for descriptor in manifest.layers]
        try:
            contents = self.documents.layers(blobs)
        except ArchiveError as error:
            if all(map(self.documents.has_layer, blobs)):
                raise
            self._miss(error)
            return None
        raw = self.documents.get(name)
        manifests.check_size(manifest.config, len(raw), name)
        check(manifest.config.digest, Digest.of(raw), where=name)
        config = self.documents.config(raw, name)
        check_count(len(manifest.layers), config, f"{where}.layers")
        layers = []
        for i, descriptor in enumerate(manifest.layers):
            diff_id, content, place = config.diff_ids[i], contents[i], f"{where}.layers[{i}]"
            manifests.check_size(descriptor, content.size, blobs[i])
            layers.append(layer_of(diff_id, content, descriptor.digest, descriptor.document, place))
        return Image(config, tuple(layers), manifest=manifest.document)

    def _artifact(self, media_type: Any, where: str) -> None:
        self._artifacts += 1
        kind = ""
        if isinstance(media_type, str) and media_type:
            kind = f" ({show(media_type.encode('utf-8', 'surrogatepass'))})"
        self.problems.append(
            UnsupportedImageError(f"an artifact that is not an image{kind}", where=where)
        )


def _named(error: UnsupportedImageError, descriptor: dict[str, Any]) -> UnsupportedImageError:
    """Return an error with the name that a descriptor has, if it has one."""
    name = next(filter(None, (*tags_of(descriptor), reference_of(descriptor))), "")
    return error.within(show(name.encode("utf-8", "surrogatepass"))) if name else error


def _is_attestation(descriptor: dict[str, Any]) -> bool:
    """Tell whether a descriptor leads to what BuildKit says of an image."""
    annotations, place = (descriptor.get(key) or {} for key in ("annotations", "platform"))
    return annotations.get(_ATTESTATION[0]) == _ATTESTATION[1] or (
        place.get("os") == place.get("architecture") == "unknown"
    )


def _is_layer(media_type: str) -> bool:
    """Tell whether blobs of this type can be layers; content decides how they are compressed.

    Engines take any type that says tar, and none at all.
    """
    return not media_type or "tar" in media_type.split("/")[-1]


def tags_of(descriptor: dict[str, Any]) -> tuple[str, ...]:
    """Return the image name that a descriptor carries, as docker shows it.

    containerd and docker write the full name and, in the other annotation, the bare tag; a bare
    word there is a reference of a layout and no image name.
    """
    annotations = descriptor.get("annotations") or {}
    for key in (manifests.IMAGE_NAME, manifests.REF_NAME):
        name = annotations.get(key)
        if isinstance(name, str) and (":" in name or "/" in name):
            tag = normalise_tag(name)
            if tag is not None:
                return (short_name(tag),)
    return ()


def reference_of(descriptor: dict[str, Any]) -> str:
    """Return the reference in the layout that a descriptor carries, as spelt; "" for none.

    Beside the full name docker and containerd write what is behind its colon, which is no other
    name: all images of one version have it.
    """
    name: str = (descriptor.get("annotations") or {}).get(manifests.REF_NAME, "")
    repeats = any(name == tag.rpartition(":")[2] for tag in tags_of(descriptor))
    return "" if repeats or ends_in_digest(name) else name


def _pinned(descriptor: dict[str, Any]) -> str:
    """Return the full name with a digest at its end that a descriptor has, "" if it has none."""
    annotations = descriptor.get("annotations") or {}
    names = (annotations.get(key, "") for key in (manifests.IMAGE_NAME, manifests.REF_NAME))
    found = next(filter(ends_in_digest, names), "")
    return full_name(found) if is_pinned(found) else found
