"""Attestations: what somebody says of an image, beside it in an index. Read only when asked for.

Source: BuildKit, docs/attestations/attestation-storage.md; in-toto, Statement v0.1 and v1;
image-spec, manifest.md, `subject`; cosign, specs/SIGNATURE_SPEC.md and pkg/oci/layout.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from squasher.archive.documents import Documents
from squasher.digest import Digest, check
from squasher.errors import SquasherError
from squasher.image import manifests
from squasher.image.documents import as_list, as_object, load
from squasher.image.manifests import Descriptor
from squasher.image.model import Attachment, Attachments, Statement
from squasher.image.steps import inside

IN_TOTO = "application/vnd.in-toto+json"
_KIND = "in-toto.io/predicate-type"
_PROVENANCE = "https://slsa.dev/provenance/"
#: The keys by which BuildKit and cosign tell the predicate of a blob.
_KINDS = (_KIND, "predicateType")
#: What cosign calls what it stores for an image: a tag, and in its layouts an annotation.
_COSIGN_TAG = re.compile(r"(?:.*:)?sha256-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?")
_COSIGN = ("kind", ("dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts"))


@dataclass(frozen=True, slots=True)
class Beside:
    """A manifest that is no image.

    about    digest of what it is about; None if nothing says
    signs    whether it belongs to an image although nothing says to which: cosign writes such
    """

    descriptor: Descriptor
    about: Digest | None
    signs: bool = False


def beside(descriptor: Descriptor, document: dict[str, Any], names: Iterable[str]) -> Beside:
    """Return what a manifest is about, as it, its names and what points at it say."""
    told = inside(document, "subject", "digest")
    tags = (_COSIGN_TAG.fullmatch(name) for name in names)
    told = told or next((f"sha256:{tag[1]}" for tag in tags if tag), None)
    annotations = descriptor.document.get("annotations") or {}
    return Beside(descriptor, digest_or_none(told), annotations.get(_COSIGN[0]) in _COSIGN[1])


def digest_or_none(told: object) -> Digest | None:
    """Return the digest that a text spells, None for anything else."""
    try:
        return Digest.parse(told) if isinstance(told, str) else None
    except SquasherError:
        return None


def attachments(
    documents: Documents, known: Iterable[Beside], images: Collection[Digest]
) -> Attachments:
    """Return what of `known` is about `images`, or about something that is; each blob once.

    Blobs that the archive leaves out are counted. O(known and their blobs). Raises ArchiveError,
    UnsupportedImageError for a manifest that cannot be read.
    """
    about: dict[Digest | None, list[Beside]] = {}
    for each in known:
        about.setdefault(each.about, []).append(each)
    about[None] = [each for each in about.get(None, ()) if each.signs]
    found: dict[Digest, Attachment] = {}
    missing, waiting, seen = 0, [*images, None], {*images, None}
    while waiting:
        for each in about.get(waiting.pop(), ()):
            own = each.descriptor.digest
            if own in seen:
                continue
            seen.add(own)
            waiting.append(own)
            descriptors = list(_blobs(documents, each))
            there = [x for x in descriptors if manifests.blob_name(x[0].digest) in documents.store]
            missing += len(there) < len(descriptors)
            for descriptor, kind in there:
                name = manifests.blob_name(descriptor.digest)
                content = documents.store.content(name)
                manifests.check_size(descriptor, content.size, name)
                attachment = Attachment(
                    descriptor.digest, descriptor.media_type, kind, each.about, content
                )
                found.setdefault(descriptor.digest, attachment)
    return Attachments(tuple(found.values()), missing)


def _blobs(documents: Documents, each: Beside) -> Iterator[tuple[Descriptor, str]]:
    """Yield a manifest and the blobs that it names, but for its config, with their kinds."""
    yield each.descriptor, "manifest"
    name = manifests.blob_name(each.descriptor.digest)
    if name not in documents.store:
        return
    document = manifests.parse_document(_read(documents, each.descriptor), name)
    for key in ("layers", "blobs"):  # OCI's artifact manifest, before 1.1, had the other
        for i, value in enumerate(as_list(document.get(key), f"{name}.{key}")):
            layer = manifests.parse_descriptor(value, f"{name}.{key}[{i}]")
            notes = layer.document.get("annotations") or {}
            yield layer, next(filter(None, map(notes.get, _KINDS)), layer.media_type)


def provenance(
    documents: Documents, descriptor: Descriptor, image: Digest
) -> tuple[Statement, ...]:
    """Return what the attestation manifest at `descriptor` has of the provenance of `image`.

    `image` is the digest of its manifest. Blobs that are not in the archive are left out: layouts
    may have holes. Raises ArchiveError, UnsupportedImageError.
    """
    name = manifests.blob_name(descriptor.digest)
    if name not in documents.store:
        return ()
    manifest = manifests.parse_manifest(
        manifests.parse_document(_read(documents, descriptor), name), name
    )
    found = []
    for layer in manifest.layers:
        kind = (layer.document.get("annotations") or {}).get(_KIND, _PROVENANCE)
        where = manifests.blob_name(layer.digest)
        if layer.media_type != IN_TOTO or not kind.startswith(_PROVENANCE):
            continue
        if where not in documents.store:
            continue
        statement = as_object(load(_read(documents, layer), where), where)
        if _is_of(statement, image):
            found.append(statement)
    return tuple(found)


def _is_of(statement: Statement, image: Digest) -> bool:
    """Tell whether a statement is a provenance, and of this image or of no certain one."""
    if not str(inside(statement, "predicateType")).startswith(_PROVENANCE):
        return False
    subjects = inside(statement, "subject")
    told = [inside(x, "digest", "sha256") for x in subjects] if isinstance(subjects, list) else []
    return image.hex in told or not any(told)


def _read(documents: Documents, descriptor: Descriptor) -> bytes:
    """Return a blob that is there. Raises ArchiveError if it is damaged."""
    name = manifests.blob_name(descriptor.digest)
    data = documents.get(name)
    manifests.check_size(descriptor, len(data), name)
    check(descriptor.digest, Digest.of(data), where=name)
    return data
