"""From images to the members of an archive: blobs, manifests, index, manifest.json.

I2: the docker form is docker's own since version 25: `manifest.json` for docker and skopeo, and a
consistent OCI layout (`oci-layout`, `index.json`, `blobs/`) over the same blobs for containerd and
podman, which prefer it. The OCI form is the layout alone, with the index tree that the images came
in. Every member is a regular file and stands there once: loaders refuse hard links, some symlinks,
and disagree about duplicates. Layers come first, from the top down: a new one is written before its
name is known. All other members are sorted. None has a time or an owner: equal images give equal
archives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from squasher.archive.oci_index import reference_of, tags_of
from squasher.blobs.content import Content
from squasher.digest import Digest
from squasher.errors import UsageError
from squasher.image.documents import dump
from squasher.image.manifests import (
    DOCKER_MANIFEST,
    IMAGE_NAME,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    REF_NAME,
    blob_name,
    oci_type,
)
from squasher.image.manifests import descriptor as descriptor_of
from squasher.image.model import Archive, Image, Layer, Leaf, Node
from squasher.image.references import ends_in_digest, full_name, normalise_tag, same_name
from squasher.tar.entry import BLOCK, DIR, REG
from squasher.tar.writer import header

#: "docker": an archive as docker 25 and newer saves it. "oci": an OCI archive or layout.
Form = Literal["docker", "oci"]
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
#: Skopeo makes a folder that is no member itself, and gives it to root: a plain user may not.
FOLDERS = ("blobs/", "blobs/sha256/")
#: Annotations that name the image.
_NAMES = (IMAGE_NAME, REF_NAME)


@dataclass(frozen=True, slots=True)
class Written:
    """The content of an archive that is written.

    blobs      by digest, each once
    layers     those that are layers, in the order of the archive: from the top down
    documents  the other members by name: index.json, oci-layout, and for "docker" manifest.json
    index      the index as a document
    manifests  the manifest digest of each image
    items      the manifest item of each image
    absent     the blobs that a partial archive leaves out, by digest
    """

    blobs: dict[Digest, Content]
    layers: tuple[Digest, ...]
    documents: dict[str, bytes]
    index: dict[str, Any]
    manifests: tuple[Digest, ...]
    items: tuple[dict[str, Any], ...] = ()
    absent: dict[Digest, Content] = field(default_factory=dict)

    def without(self, digests: Collection[Digest]) -> Written:
        """Return the same without these blobs: documents, names and digests stay."""
        return replace(
            self,
            blobs={x: content for x, content in self.blobs.items() if x not in digests},
            absent={x: content for x, content in self.blobs.items() if x in digests},
        )

    @property
    def members(self) -> list[tuple[str, Content]]:
        """The members of the archive in order; the name of a folder ends with a slash."""
        first = {name: Content(()) for name in FOLDERS}
        first |= {blob_name(x): self.blobs[x] for x in self.layers if x in self.blobs}
        rest = {blob_name(digest): content for digest, content in self.blobs.items()}
        rest |= {name: Content((data,)) for name, data in self.documents.items()}
        return [*first.items(), *((x, rest[x]) for x in sorted(rest.keys() - first.keys()))]

    @property
    def size(self) -> int:
        """Bytes of the whole archive as a plain tar."""
        return 2 * BLOCK + sum(
            len(member_header(name, content.size)) + content.size + -content.size % BLOCK
            for name, content in self.members
        )


def lay_out(
    archive: Archive, form: Form = "docker", *, retag: bool = False, ref: str = ""
) -> Written:
    """Return what represents the images of `archive`; blobs that they share come once. O(layers).

    With `retag` the tags of the images count, without it the names in the index tree do, as long
    as it has any. `ref` is the reference of the only image inside a layout. Raises UsageError
    where a docker-archive would have one name twice.
    """
    blobs: dict[Digest, Content] = {}
    manifests: list[tuple[Digest, int]] = []
    for image in archive.images:
        blobs[image.config.image_id] = Content((image.config.raw,))
        for layer in image.layers:
            blobs[_digest(layer)] = layer.blob.content
        manifests.append(_store(blobs, _manifest(image, form)))
    documents = {"oci-layout": _LAYOUT}
    items = tuple(_manifest_item(image) for image in archive.images)
    if form == "docker":
        _check_names(archive.images)
        descriptors = [
            descriptor
            for image, (digest, size) in zip(archive.images, manifests, strict=True)
            for descriptor in _named(
                _descriptor(image, image.descriptor, digest, size, form),
                names_of(image.tags, image.references),
            )
        ]
        documents["manifest.json"] = dump(items).encode("ascii")
        index: dict[str, Any] = {}
    else:
        descriptors = list(_oci_descriptors(archive, manifests, blobs, retag, ref))
        index = {key: value for key, value in archive.document.items() if key != "subject"}
    index = {"schemaVersion": 2} | index | {"mediaType": OCI_INDEX, "manifests": descriptors}
    documents["index.json"] = dump(index).encode("ascii")
    layers = (_digest(layer) for image in archive.images for layer in reversed(image.layers))
    found = tuple(digest for digest, _ in manifests)
    return Written(blobs, tuple(dict.fromkeys(layers)), documents, index, found, items)


def _store(blobs: dict[Digest, Content], value: dict[str, Any]) -> tuple[Digest, int]:
    data = dump(value).encode("ascii")
    digest = Digest.of(data)
    blobs[digest] = Content((data,))
    return digest, len(data)


def _digest(layer: Layer) -> Digest:
    assert layer.blob.digest is not None  # noqa: S101  (layers are read before they are written)
    return layer.blob.digest


def _manifest_item(image: Image) -> dict[str, Any]:
    """Return the element of manifest.json; a carried-over Parent makes `docker load` fail."""
    return {
        "Config": blob_name(image.config.image_id),
        "RepoTags": list(image.tags),
        "Layers": [blob_name(_digest(layer)) for layer in image.layers],
    }


def _check_names(images: Sequence[Image]) -> None:
    owners: dict[str, Image] = {}
    for image in images:
        for tag in image.tags:
            if owners.setdefault(tag, image) is not image:
                named = [x for x in images if tag in x.tags]
                platforms = dict.fromkeys(str(x.platform) for x in named)
                ids = " or ".join(x.config.image_id.hex[:12] for x in named[:3])
                ways = "with --platform" if len(platforms) > 1 else f"with --image {ids}"
                raise UsageError(
                    f"{tag} names {len(named)} images ({', '.join(platforms)}), but in a"
                    " docker-archive a name is for one image",
                    hint=f"choose one {ways}, or write them all with --format oci",
                )


def _speaks_oci(image: Image, form: Form) -> bool:
    """Tell whether docker's media types have to become OCI's.

    An OCI layout takes no other manifests (podman, umoci), and docker's types know no zstd
    (containerd, podman, skopeo refuse it). A manifest is of one family: c/image takes no mixture.
    """
    return form == "oci" or any(layer.blob.compression == "zstd" for layer in image.layers)


def _typed(descriptor: dict[str, Any], oci: bool) -> dict[str, Any]:
    media_type = descriptor.get("mediaType")
    if not oci or not isinstance(media_type, str):
        return descriptor
    return descriptor | {"mediaType": oci_type(media_type)}


def _manifest(image: Image, form: Form) -> dict[str, Any]:
    """Return the OCI manifest of `image`: the one it came with, but for what has changed.

    `subject` names a manifest that this one no longer belongs to.
    """
    oci = _speaks_oci(image, form)
    config_type = OCI_CONFIG
    if image.manifest:
        config_type = image.manifest["config"].get("mediaType", config_type)
    result: dict[str, Any] = {"schemaVersion": 2, "mediaType": _manifest_type(image)} | {
        key: value for key, value in image.manifest.items() if key not in ("mediaType", "subject")
    }
    config = descriptor_of(config_type, image.config.image_id, len(image.config.raw))
    layers = (
        layer.descriptor or descriptor_of(layer.blob.media_type, _digest(layer), layer.blob.size)
        for layer in image.layers
    )
    result |= {"config": _typed(config, oci), "layers": [_typed(layer, oci) for layer in layers]}
    return _typed(result, oci)


def _descriptor(
    image: Image, old: dict[str, Any], digest: Digest, size: int, form: Form
) -> dict[str, Any]:
    """Return the descriptor of a manifest: `old` with the new digest."""
    descriptor = descriptor_of(_manifest_type(image), digest, size)
    return _moved(old) | _typed(descriptor, _speaks_oci(image, form))


def _manifest_type(image: Image) -> str:
    """Return the media type of its manifest; one that nobody knows becomes OCI's."""
    found = image.manifest.get("mediaType")
    return found if found == DOCKER_MANIFEST else OCI_MANIFEST


def _moved(descriptor: dict[str, Any]) -> dict[str, Any]:
    """Return a descriptor without what only fits the bytes that it used to point at."""
    moved = {key: value for key, value in descriptor.items() if key not in ("data", "urls")}
    annotations = moved.pop("annotations", None) or {}
    kept = {
        key: text
        for key, text in annotations.items()
        if key not in _NAMES or not ends_in_digest(text)
    }
    return moved | {"annotations": kept} if kept else moved


def _has_name(descriptor: dict[str, Any]) -> bool:
    return any(key in (descriptor.get("annotations") or {}) for key in _NAMES)


def _named(descriptor: dict[str, Any], names: Iterable[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield `descriptor` under each of `names` instead of those it has."""
    rest = {key: value for key, value in descriptor.items() if key != "annotations"}
    others = {
        key: value
        for key, value in (descriptor.get("annotations") or {}).items()
        if key not in _NAMES
    }
    for name in list(names) or [{}]:
        annotations = others | name
        yield rest | {"annotations": annotations} if annotations else rest


def names_of(tags: Sequence[str], references: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Yield the annotations that name an image: tags and the references that it came with.

    podman and containerd name the image by the full name, beside which a reference keeps its
    spelling; where there is none, the full name is that, too.
    """
    spelt = {full_name(normalise_tag(x) or x): x for x in reversed(references)}
    full = [full_name(tag) for tag in tags]
    others = (x for x in references if full_name(normalise_tag(x) or x) not in full)
    for name in full:
        # One descriptor, where one will do: of an index with several podman takes manifest.json.
        yield {IMAGE_NAME: name, REF_NAME: spelt.get(name) or next(others, name)}
    for ref in others:
        yield {REF_NAME: ref}


def _oci_descriptors(
    archive: Archive,
    manifests: Sequence[tuple[Digest, int]],
    blobs: dict[Digest, Content],
    retag: bool,
    ref: str,
) -> Iterator[dict[str, Any]]:
    """Yield the descriptors of the index, each leading where the old one named."""
    images = archive.images

    def rebuilt(node: Node) -> dict[str, Any]:
        if isinstance(node, Leaf):
            return _descriptor(images[node.image], node.descriptor, *manifests[node.image], "oci")
        children = [rebuilt(child) for child in node.children]
        kept = {key: value for key, value in node.document.items() if key != "subject"}
        kept |= {"mediaType": OCI_INDEX} if "mediaType" in kept else {}
        digest, size = _store(blobs, kept | {"manifests": children})
        return _moved(node.descriptor) | descriptor_of(OCI_INDEX, digest, size)

    tree = archive.tree or tuple(Leaf(i, image.descriptor) for i, image in enumerate(images))
    told = {full_name(tag) for node in tree for tag in _told(node, images)}
    descriptors = [rebuilt(node) for node in tree]
    # What had a name with a digest, and so has none now, needs no place beside another one.
    unnamed = [
        _has_name(node.descriptor) and not _has_name(descriptor)
        for node, descriptor in zip(tree, descriptors, strict=True)
    ]
    named = {
        descriptor["digest"]
        for descriptor, without in zip(descriptors, unnamed, strict=True)
        if not without
    }
    seen: set[str] = set()
    for node, descriptor, without in zip(tree, descriptors, unnamed, strict=True):
        if without and descriptor["digest"] in named:
            continue
        named.add(descriptor["digest"])
        image = images[_first_image(node)]
        missing = [tag for tag in image.tags if full_name(tag) not in told]
        first = descriptor["digest"] not in seen
        seen.add(descriptor["digest"])
        if ref:
            name = next(names_of(image.tags), {}) | {REF_NAME: ref}
            yield from _named(descriptor, (name,)) if first else ()
        elif retag:
            yield from _named(descriptor, names_of(image.tags, image.references)) if first else ()
        elif _has_name(descriptor):
            more = names_of(missing if first else ())
            yield from _named(descriptor, (*_kept_name(descriptor, image), *more))
        else:
            yield from _named(descriptor, names_of(missing if first else ()))


def _told(node: Node, images: Sequence[Image]) -> Iterator[str]:
    """Yield the tags in a tree that are those of the image which they lead to."""
    own = images[_first_image(node)].tags
    yield from (tag for tag in tags_of(node.descriptor) if any(same_name(tag, x) for x in own))
    if not isinstance(node, Leaf):
        for child in node.children:
            yield from _told(child, images)


def _kept_name(descriptor: dict[str, Any], image: Image) -> Iterator[dict[str, str]]:
    """Yield the annotations by which a descriptor named the image, as far as it is called so.

    docker and containerd write the full name and, as the reference, what is behind its colon. That
    would be the same for all images of one version: the full name stands there as well.
    """
    annotations = {key: x for key, x in descriptor["annotations"].items() if key in _NAMES}
    tags = tags_of(descriptor)
    if tags and not any(same_name(tags[0], x) for x in image.tags):
        return
    full = reference_of(descriptor) in ("", *map(full_name, tags))
    yield from names_of(tags) if tags and full else (annotations,)


def _first_image(node: Node) -> int:
    while not isinstance(node, Leaf):
        node = node.children[0]
    return node.image


def member_header(member: str, size: int) -> bytes:
    """Return the header of a member of the archive."""
    name = member.encode("ascii")
    if member in FOLDERS:
        return header(name.rstrip(b"/"), DIR, (0o755, 0, 0))
    return header(name, REG, (0o644, 0, 0), size=size)
