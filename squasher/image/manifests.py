"""Manifests, indexes and their descriptors: media types, reading, writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from squasher.digest import Digest
from squasher.errors import ArchiveError, DocumentError, UnsupportedImageError
from squasher.image import documents
from squasher.image.platforms import Platform
from squasher.image.references import is_pinned, normalise_tag
from squasher.tar.paths import show

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ManifestItem:
    """One image of a docker-archive: the names of its members, lowest layer first.

    `pinned` are those of its names that end in a digest.
    """

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]
    pinned: tuple[str, ...] = ()


def parse_manifest_json(data: bytes) -> tuple[ManifestItem, ...]:
    """Read `manifest.json`. Raises DocumentError."""
    where = "manifest.json"
    value = documents.load(data, where)
    if isinstance(value, dict) and documents.field(value, "schemaVersion", where) is not None:
        raise DocumentError(
            "is a registry's manifest, as the transport dir: has it",
            where=where,
            hint="`skopeo copy dir:FOLDER oci-archive:image.tar` first",
        )
    return documents.elements(value, where, _manifest_item)


def _manifest_item(value: Any, where: str) -> ManifestItem:
    item = documents.as_object(value, where)
    layers, tags = (documents.field(item, key, where) for key in ("Layers", "RepoTags"))
    names = documents.elements(tags, f"{where}.RepoTags", _image_name)
    return ManifestItem(
        documents.as_text(documents.field(item, "Config", where), f"{where}.Config"),
        documents.elements(layers, f"{where}.Layers", documents.as_text),
        tuple(name for name in names if not is_pinned(name)),
        tuple(name for name in names if is_pinned(name)),
    )


def _image_name(value: Any, where: str) -> str:
    """Return `value` if it names an image; docker, podman and skopeo refuse the archive else.

    `ctr images export` also writes names that end in a digest.
    """
    name = documents.as_text(value, where)
    if normalise_tag(name) is None and not is_pinned(name):
        raise DocumentError(f"{show(name.encode())} is not a valid image name", where=where)
    return name


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What points at a blob; `document` has all its keys, annotations included."""

    digest: Digest
    size: int
    media_type: str
    document: dict[str, Any]


_DESCRIPTOR = ("mediaType", "digest", "size", "urls", "annotations", "data", "platform")
#: Stands for a digest of another algorithm.
_ANY = f"sha256:{'0' * 64}"
_PLATFORM = ("os", "architecture", "variant")
_MANIFEST = ("schemaVersion", "mediaType", "config", "layers", "manifests", "subject")


def check_size(descriptor: Descriptor, size: int, where: str) -> None:
    """Raise ArchiveError if a descriptor gives another size than `size` bytes to what is there."""
    if descriptor.size != size:
        raise ArchiveError(f"expected {descriptor.size} bytes, found {size}", where=where)


def parse_descriptor(value: Any, where: str) -> Descriptor:
    """Read a descriptor. Raises DocumentError."""
    document = documents.spelt(value, _DESCRIPTOR, where)
    if "annotations" in document:
        annotations = documents.as_object(document["annotations"], f"{where}.annotations")
        for name, text in annotations.items():
            documents.as_text(text, documents.place_of(f"{where}.annotations", name))
    if "platform" in document:
        inner = f"{where}.platform"
        document["platform"] = documents.spelt(document["platform"], _PLATFORM, inner)
        for name in _PLATFORM:
            documents.text_or_none(document["platform"], name, inner)
    return Descriptor(
        documents.as_digest(document.get("digest"), f"{where}.digest"),
        documents.as_size(document.get("size"), f"{where}.size"),
        documents.text_or_none(document, "mediaType", where),
        document,
    )


def platform_of(descriptor: dict[str, Any]) -> Platform | None:
    """Return the platform that a descriptor names; None if it does not say both halves of one."""
    place = descriptor.get("platform") or {}
    if not place.get("os") or not place.get("architecture"):
        return None
    return Platform(place["os"], place["architecture"], place.get("variant", ""))


def parse_document(data: bytes, where: str) -> dict[str, Any]:
    """Read a manifest or an index, what it points at apart. Raises DocumentError."""
    document = documents.spelt(documents.load(data, where), _MANIFEST, where)
    documents.text_or_none(document, "mediaType", where)
    return document


@dataclass(frozen=True, slots=True)
class Manifest:
    """An OCI manifest, or docker's schema 2, which has the same shape."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    document: dict[str, Any]


def parse_manifest(document: dict[str, Any], where: str) -> Manifest:
    """Return what a manifest, as `parse_document` gives it, points at. Raises DocumentError."""
    config = parse_descriptor(document.get("config"), f"{where}.config")
    layers = documents.elements(document.get("layers"), f"{where}.layers", parse_descriptor)
    return Manifest(config, layers, document | {"config": config.document})


def parse_index(document: dict[str, Any], where: str) -> tuple[Descriptor, ...]:
    """Return what an index, as `parse_document` gives it, points at. Raises DocumentError."""
    found, unsupported = parse_supported(document, where)
    if unsupported:
        raise unsupported[0][0]
    return found


def parse_supported(
    document: dict[str, Any], where: str
) -> tuple[tuple[Descriptor, ...], tuple[tuple[UnsupportedImageError, dict[str, Any]], ...]]:
    """Return what an index points at by digests that can be read, and apart from it the others.

    Those are the errors with their descriptors. Raises DocumentError.
    """
    found, others = [], []
    for i, value in enumerate(documents.as_list(document.get("manifests"), f"{where}.manifests")):
        place = f"{where}.manifests[{i}]"
        try:
            found.append(parse_descriptor(value, place))
        except UnsupportedImageError as error:
            told = documents.spelt(value, _DESCRIPTOR, place)
            others.append((error, parse_descriptor(told | {"digest": _ANY}, place).document))
    return tuple(found), tuple(others)


def oci_type(media_type: str) -> str:
    """Return the media type that OCI has for one of docker's; any other stays.

    Source: image-spec, media-types.md, "Compatibility Matrix".
    """
    if media_type.startswith(DOCKER_LAYER):
        return OCI_LAYER + media_type.removeprefix(DOCKER_LAYER).replace(".", "+")
    pairs = {DOCKER_MANIFEST: OCI_MANIFEST, DOCKER_INDEX: OCI_INDEX, DOCKER_CONFIG: OCI_CONFIG}
    return pairs.get(media_type, media_type)


def blob_name(digest: Digest) -> str:
    """Return the member that holds a blob. Source: image-spec, image-layout.md, "Blobs"."""
    return f"blobs/sha256/{digest.hex}"


def blob_digest(name: str) -> Digest | None:
    """Return the digest of the blob in the member `name`; None for another member."""
    match = _BLOB.fullmatch(name)
    return Digest(match[1]) if match else None


def descriptor(media_type: str, digest: Digest, size: int, **more: Any) -> dict[str, Any]:
    """Return a descriptor document."""
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}
