"""Attestations: what a builder says of an image, beside it in an index. Read only when asked for.

Source: BuildKit, docs/attestations/attestation-storage.md; in-toto, Statement v0.1 and v1.
"""

from __future__ import annotations

from squasher.archive.documents import Documents
from squasher.digest import Digest, check
from squasher.errors import ArchiveError
from squasher.image import manifests
from squasher.image.documents import as_object, load
from squasher.image.manifests import Descriptor
from squasher.image.model import Statement
from squasher.image.steps import inside

IN_TOTO = "application/vnd.in-toto+json"
_KIND = "in-toto.io/predicate-type"
_PROVENANCE = "https://slsa.dev/provenance/"


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
    if len(data) != descriptor.size:
        raise ArchiveError(f"expected {descriptor.size} bytes, found {len(data)}", where=name)
    check(descriptor.digest, Digest.of(data), where=name)
    return data
