"""From an archive or a layout to images.

Two kinds of documents lead to them: docker's `manifest.json`, and the index of an OCI layout. An
archive may have either, or both over the same blobs. Nothing here reads layers: their bytes are
checked when they are scanned; only where the two kinds contradict each other, layers decide.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from squasher import spec
from squasher.compression import HEAD, decompress, sniff
from squasher.content import Content, ContentReader
from squasher.digest import Digest, check
from squasher.errors import (
    ArchiveError,
    BaseNotFoundError,
    SquasherError,
    UnsupportedImageError,
)
from squasher.image import Archive, Blob, Branch, Image, Layer, Leaf, Node, Unread
from squasher.paths import show
from squasher.platforms import same
from squasher.spec import Descriptor, platform_of
from squasher.store import FolderStore, TarStore, document, folder_below, names
from squasher.tarstream import is_header

#: Indexes inside indexes that are followed; real ones have two levels.
_DEPTH_MAX = 8
#: Bytes of memory that the documents of an archive may take beyond twice their length, each as
#: often as something leads to it: one index can be listed a thousand times in another, and an empty
#: list of three characters takes forty times as much. Ten thousand images of builders fit.
DOCUMENTS_MEMORY = 256 << 20
#: Manifests of one config that are compared with an image that does not name its blobs; real
#: archives have one for each compression.
_MATCHES_MAX = 16
#: Layers of one image. docker takes 125, overlayfs 500.
LAYERS_MAX = 1000

_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_FOLDER = re.compile(r"([0-9a-f]{64})/layer\.tar")
#: Bytes of a descriptor in an index, its annotations and names apart.
_POINTER = 300
_INCOMPLETE = "left out images whose blobs are not all in the archive ({})"
_SEVERAL = "{} fits {} images, and all of them are taken"
_BROKEN = "a half of the archive is not used, the other one is sound: {}"
_UNREAD = "left out images that cannot be read ({}): {}"
_NAMES = "manifest.json and index.json name the images differently: both kinds of names stay"
_PINNED = "left out names that end in a digest ({}): {} is the image as it was"
_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")
#: What may be a manifest or an index. Any other type "MUST NOT generate an error".
#: Source: image-spec, image-index.md, `manifests`; docker's first schema, which is told by name.
_MANIFESTS = (
    "",
    spec.OCI_MANIFEST,
    spec.OCI_INDEX,
    spec.DOCKER_MANIFEST,
    spec.DOCKER_INDEX,
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_SQUASHFS = b"hsqs"


def read(store: TarStore | FolderStore, name: str) -> Archive:
    """Return what `store`, called `name` in messages, holds. O(its documents).

    Raises ArchiveError if it holds no image, UnsupportedImageError if none that can be squashed.
    """
    try:
        documents = _Documents(store)
        archive = _archive(name, documents)
    except SquasherError as error:
        raise error.within(name) from None
    if not documents.pinned:
        return archive
    first = show(next(iter(documents.pinned)).encode())
    notice = _PINNED.format(len(documents.pinned), first)
    return replace(archive, notices=(*archive.notices, notice))


def _archive(name: str, documents: _Documents) -> Archive:
    store = documents.store
    docker, index = _Docker(), _Index(documents)
    broken: list[SquasherError] = []
    if "manifest.json" in store:
        try:
            docker = _docker_images(documents)
        except ArchiveError as error:
            broken.append(error)
    if "index.json" in store:
        try:
            index.read()
        except ArchiveError as error:
            index = _Index(documents)
            broken.append(error)
    if docker.unread and index.images and not index.unread:
        broken.append(docker.unread[0].error)
        docker = _Docker()
    elif index.unread and docker.images and not docker.unread:
        broken.append(index.unread[0].error)
        index = _Index(documents)
    unread = (*docker.unread, *index.unread)
    notices = [_BROKEN.format(error) for error in broken]
    if unread:
        notices.append(_UNREAD.format(len(unread), unread[0].error))
    if docker.images:
        whole = replace(docker, notices=(*docker.notices, *notices))
        return replace(_settle(name, whole, index), unread=unread)
    if index.images:
        left_out = (*index.notices(), *notices)
        images = tuple(index.images)
        return Archive(name, images, index.tree, index.document, left_out, unread=unread)
    first, last = ([x.error for x in half.unread] for half in (docker, index))
    for problem in (*first, *broken, *last, *index.problems):
        raise problem
    raise _no_image(store)


def _no_image(store: TarStore | FolderStore) -> ArchiveError:
    """Return what to say of something that holds no image."""
    if "manifest.json" in store:
        return ArchiveError("manifest.json names no image")
    if "index.json" in store:
        return ArchiveError("index.json names no image that is there")
    if "repositories" in store:
        return ArchiveError(
            "is an archive of docker before 1.10, without manifest.json",
            hint="save the image again with a newer docker",
        )
    if any(name.split("/")[0] in ("bin", "etc", "usr") for name in names(store)):
        return ArchiveError(
            "is a root filesystem, not an image", hint="use `docker save`, not `docker export`"
        )
    if below := folder_below(store):
        what = f"holds an image one folder down, in {show(os.fsencode(below))}"
        return ArchiveError(what, hint="give that folder, or what is in it, as it is")
    return ArchiveError(
        "holds no image: neither manifest.json nor index.json",
        hint="give what `docker save` writes, or an OCI layout",
    )


class _Documents:
    """The documents of a store, as far as they take no more than DOCUMENTS_MEMORY.

    pinned   the full names in them that end in a digest: nothing that is written is called so
    """

    def __init__(self, store: TarStore | FolderStore) -> None:
        self.store = store
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
        self._take(spec.weight(data), name)
        return data

    def config(self, data: bytes, name: str) -> spec.ImageConfig:
        """Return the config in a member that has been got; less is kept than reading it takes."""
        weight = spec.weight(data)
        self._take(weight, name)  # each of its members is read twice
        config = spec.parse_config(data, name)
        self._room += max(0, 2 * weight - spec.kept_weight(config))
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
        pointer = len(spec.dump(image.descriptor)) + _POINTER
        size += pointer * max(1, len(image.tags)) + 2 * sum(map(len, image.tags))
    if size > spec.DOCUMENT_MAX:
        raise ArchiveError("the names of its images make an index that nobody could read")


# ---------------------------------------------------------------- docker's manifest.json


@dataclass(frozen=True)
class _Docker:
    """What manifest.json leads to; `listed` and `unread` are what they are of an Archive."""

    images: tuple[Image, ...] = ()
    listed: tuple[int | None, ...] = ()
    notices: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()


def _docker_images(documents: _Documents) -> _Docker:
    """Return the images of manifest.json; one that is listed twice is one with all its tags."""
    items = spec.parse_manifest_json(documents.get("manifest.json"))
    found: dict[object, Image] = {}
    keys: dict[tuple[str, tuple[str, ...]], object] = {}
    incomplete = []
    unread = []
    for i, item in enumerate(items):
        documents.pinned.update((spec.full_name(name), None) for name in item.pinned)
        named = (item.config, item.layers)
        if named not in keys:
            if not all(name in documents.store for name in (item.config, *item.layers)):
                incomplete.append((item, i))
                continue
            try:
                image = _docker_image(documents, item, i)
            except SquasherError as error:
                blob = _BLOB.fullmatch(item.config)
                unread.append(Unread(error, item.tags, (Digest(blob[1]),) if blob else ()))
                continue
            keys[named] = (image.config.image_id, _blob_digests(image))
            found.setdefault(keys[named], image)
        key = keys[named]
        tags = dict.fromkeys((*found[key].tags, *item.tags))
        found[key] = replace(found[key], tags=tuple(tags))
    if incomplete and not found and not unread:
        _docker_image(documents, *incomplete[0])  # raises
    positions = {key: at for at, key in enumerate(found)}
    listed = (positions.get(keys.get((item.config, item.layers))) for item in items)
    count = len({(item.config, item.layers) for item, _ in incomplete})
    notices = (_INCOMPLETE.format(count),) if incomplete else ()
    return _Docker(tuple(found.values()), tuple(listed), notices, tuple(unread))


def _docker_image(documents: _Documents, item: spec.ManifestItem, position: int) -> Image:
    where = f"manifest.json[{position}]"
    try:
        data = documents.get(item.config)
    except SquasherError as error:
        raise error.within(f"{where}.Config") from None
    named = _BLOB.fullmatch(item.config)
    if named:
        check(Digest(named[1]), Digest.of(data), where=item.config)
    config = documents.config(data, item.config)
    _check_count(len(item.layers), config, f"{where}.Layers")
    layers = []
    for i, (name, diff_id) in enumerate(zip(item.layers, config.diff_ids, strict=True)):
        try:
            content = documents.store.content(name)
        except ArchiveError as error:
            raise error.within(f"{where}.Layers[{i}]") from None
        named, folder = _BLOB.fullmatch(name), _FOLDER.fullmatch(name)
        digest = Digest(named[1]) if named else None
        layer = _layer(diff_id, content, digest, {}, f"{where}.Layers[{i}]")
        layers.append(replace(layer, folder=folder[1] if folder else ""))
    return Image(config, tuple(layers), item.tags)


def _check_count(count: int, config: spec.ImageConfig, where: str) -> None:
    if count != len(config.diff_ids):
        raise ArchiveError(
            f"{count} layers, but the config has {len(config.diff_ids)}", where=where
        )
    if count > LAYERS_MAX:
        raise ArchiveError(f"{count} layers, no engine takes {LAYERS_MAX}", where=where)
    if config.os == "windows":
        raise UnsupportedImageError("a Windows image", where=where)


def _layer(
    diff_id: Digest, content: Content, digest: Digest | None, pointer: dict[str, Any], where: str
) -> Layer:
    head = content.read_at(0, HEAD)
    if head.startswith(_SQUASHFS) and not is_header(head):
        raise UnsupportedImageError("a squashfs layer", where=where)
    compression = sniff(head)
    media_type = pointer.get("mediaType") or spec.OCI_LAYER + (
        f"+{compression}" if compression else ""
    )
    if digest is None and not compression:
        digest = diff_id
    return Layer(diff_id, Blob(content, media_type, digest, compression), pointer)


# ---------------------------------------------------------------- the OCI index


@dataclass
class _Index:
    """What an index leads to."""

    documents: _Documents
    images: list[Image] = field(default_factory=list)
    tree: tuple[Node, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)
    problems: list[SquasherError] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    _unsupported: list[str] = field(default_factory=list)
    _known: dict[Digest, int] = field(default_factory=dict)
    _names: list[dict[str, None]] = field(default_factory=list)
    _references: list[dict[str, None]] = field(default_factory=list)
    _leads: list[dict[Digest, None]] = field(default_factory=list)
    _subjects: int = 0
    _attestations: int = 0
    _incomplete: int = 0
    _artifacts: int = 0

    def read(self) -> None:
        """Follow index.json. Raises ArchiveError, UnsupportedImageError."""
        where = "index.json"
        data = self.documents.get(where)
        self.document = spec.parse_document(data, where)
        self._subjects += "subject" in self.document
        pointers = spec.parse_index(self.document, where)
        self.tree = tuple(self._nodes(pointers, (), (), ()))
        told = zip(self.images, self._names, self._references, self._leads, strict=True)
        self.images = [
            replace(image, tags=tuple(tags), references=tuple(references), leads=tuple(leads))
            for image, tags, references, leads in told
        ]

    def notices(self) -> Iterator[str]:
        """Yield what was left out."""
        for count, what in (
            (self._attestations, "left out attestations ({}): they describe the image as it was"),
            (self._artifacts, "left out artifacts that are no images, such as signatures ({})"),
            (self._incomplete, _INCOMPLETE),
            (
                self._subjects,
                "left out what a subject leads to ({}): it belongs to the image as it was",
            ),
        ):
            if count:
                yield what.format(count)
        if self._unsupported:
            count = len(self._unsupported)
            yield f"left out images that cannot be squashed ({count}): {self._unsupported[0]}"

    def _nodes(
        self,
        pointers: Sequence[Descriptor],
        tags: tuple[str, ...],
        references: tuple[str, ...],
        above: tuple[Digest, ...],
    ) -> Iterator[Node]:
        """Yield what `pointers` lead to, below the indexes `above`, under the names of those."""
        for pointer in pointers:
            own = tags_of(pointer.document) or tags
            called = (*references, *filter(None, (reference_of(pointer.document),)))
            if pinned := _pinned(pointer.document):
                self.documents.pinned[pinned] = None
            try:
                yield from self._node(pointer, own, called, above)
            except SquasherError as error:
                ids = (pointer.digest, *above)
                self.unread.append(Unread(error, (*own, *called), ids, pointer.document))

    def _node(
        self,
        pointer: Descriptor,
        own: tuple[str, ...],
        called: tuple[str, ...],
        above: tuple[Digest, ...],
    ) -> Iterator[Node]:
        """Yield what one of them leads to. Raises SquasherError for what cannot be read."""
        annotations = pointer.document.get("annotations") or {}
        place = pointer.document.get("platform") or {}
        if annotations.get(_ATTESTATION[0]) == _ATTESTATION[1] or (
            place.get("os") == place.get("architecture") == "unknown"
        ):
            self._attestations += 1
            return
        if pointer.digest in self._known:
            position = self._known[pointer.digest]
            self._names[position].update(dict.fromkeys(own))
            self._references[position].update(dict.fromkeys(called))
            self._leads[position].update(dict.fromkeys(above))
            yield Leaf(position, pointer.document)
            return
        name = spec.blob_name(pointer.digest)
        if pointer.media_type not in _MANIFESTS:
            self._artifact(pointer.media_type, name)
            return
        if name not in self.documents.store:
            self._miss(name)
            return
        data = self.documents.get(name)
        check(pointer.digest, Digest.of(data), where=name)
        _check_size(pointer, len(data), name)
        found = spec.parse_document(data, name)
        if "manifests" in found:
            if len(above) == _DEPTH_MAX:
                raise ArchiveError(f"more than {_DEPTH_MAX} indexes inside each other")
            inner = spec.parse_index(found, name)
            children = tuple(self._nodes(inner, own, called, (*above, pointer.digest)))
            if children:
                self._subjects += "subject" in found
                yield Branch(children, pointer.document, found)
            return
        try:
            image = self._image(found, name)
        except UnsupportedImageError as error:
            if self.documents.full:
                raise
            self.problems.append(error)
            self._unsupported.append(str(error))
            return
        if image is not None:
            position = self._known[pointer.digest] = len(self.images)
            self.images.append(replace(image, descriptor=pointer.document))
            self._names.append(dict.fromkeys(own))
            self._references.append(dict.fromkeys(called))
            self._leads.append(dict.fromkeys((pointer.digest, *above)))
            self._subjects += "subject" in found
            yield Leaf(position, pointer.document)

    def _miss(self, name: str) -> None:
        self._incomplete += 1
        self.problems.append(ArchiveError("is not in the archive", where=name))

    def _image(self, found: dict[str, Any], where: str) -> Image | None:
        """Return the image of a manifest; None if it is none or its blobs are not all there."""
        if found.get("schemaVersion") == 1:
            raise UnsupportedImageError("manifest schema 1", where=where)
        if "config" not in found:
            self._artifact(found.get("mediaType"), where)
            return None
        manifest = spec.parse_manifest(found, where)
        kinds = ("", spec.OCI_CONFIG, spec.DOCKER_CONFIG)
        odd = next((x.media_type for x in manifest.layers if not _is_layer(x.media_type)), None)
        if manifest.config.media_type not in kinds or odd is not None:
            self._artifact(odd or manifest.config.media_type, where)
            return None
        for i, pointer in enumerate(manifest.layers):
            if pointer.media_type.endswith("+encrypted"):
                raise UnsupportedImageError("an encrypted layer", where=f"{where}.layers[{i}]")
            if "foreign" in pointer.media_type or "nondistributable" in pointer.media_type:
                raise UnsupportedImageError("a foreign layer", where=f"{where}.layers[{i}]")
        store = self.documents.store
        missing = next((x for x in _blobs(manifest) if x not in store), None)
        if missing is not None:
            self._miss(missing)
            return None
        name = spec.blob_name(manifest.config.digest)
        raw = self.documents.get(name)
        _check_size(manifest.config, len(raw), name)
        check(manifest.config.digest, Digest.of(raw), where=name)
        config = self.documents.config(raw, name)
        _check_count(len(manifest.layers), config, f"{where}.layers")
        layers = []
        for i, (pointer, diff_id) in enumerate(zip(manifest.layers, config.diff_ids, strict=True)):
            content = store.content(spec.blob_name(pointer.digest))
            _check_size(pointer, content.size, spec.blob_name(pointer.digest))
            layers.append(
                _layer(diff_id, content, pointer.digest, pointer.document, f"{where}.layers[{i}]")
            )
        return Image(config, tuple(layers), manifest=manifest.document)

    def _artifact(self, media_type: Any, where: str) -> None:
        self._artifacts += 1
        kind = ""
        if isinstance(media_type, str) and media_type:
            kind = f" ({show(media_type.encode('utf-8', 'surrogatepass'))})"
        self.problems.append(
            UnsupportedImageError(f"an artifact that is no image{kind}", where=where)
        )


def _is_layer(media_type: str) -> bool:
    """Tell whether blobs of this type can be layers; content decides how they are compressed.

    Engines take any type that says tar, and none at all.
    """
    return not media_type or "tar" in media_type.split("/")[-1]


def _blobs(manifest: spec.Manifest) -> Iterator[str]:
    yield spec.blob_name(manifest.config.digest)
    for pointer in manifest.layers:
        yield spec.blob_name(pointer.digest)


def _check_size(pointer: Descriptor, size: int, where: str) -> None:
    if pointer.size != size:
        raise ArchiveError(f"expected {pointer.size} bytes, found {size}", where=where)


def tags_of(pointer: dict[str, Any]) -> tuple[str, ...]:
    """Return the image name that a descriptor carries, as docker shows it.

    containerd and docker write the full name and, in the other annotation, the bare tag; a bare
    word there is a reference of a layout and no image name.
    """
    annotations = pointer.get("annotations") or {}
    for key in (spec.IMAGE_NAME, spec.REF_NAME):
        name = annotations.get(key)
        if isinstance(name, str) and (":" in name or "/" in name):
            tag = spec.normalise_tag(name)
            if tag is not None:
                return (spec.short_name(tag),)
    return ()


def reference_of(pointer: dict[str, Any]) -> str:
    """Return the reference in the layout that a descriptor carries, as spelt; "" for none.

    Beside the full name docker and containerd write what is behind its colon, which is no other
    name: all images of one version have it.
    """
    name: str = (pointer.get("annotations") or {}).get(spec.REF_NAME, "")
    repeats = any(name == tag.rpartition(":")[2] for tag in tags_of(pointer))
    return "" if repeats or spec.ends_in_digest(name) else name


def _pinned(pointer: dict[str, Any]) -> str:
    """Return the full name with a digest at its end that a descriptor has, "" if it has none."""
    annotations = pointer.get("annotations") or {}
    names = (annotations.get(key, "") for key in (spec.IMAGE_NAME, spec.REF_NAME))
    found = next(filter(spec.ends_in_digest, names), "")
    return spec.full_name(found) if spec.is_pinned(found) else found


# ---------------------------------------------------------------- where both speak


def _settle(name: str, docker: _Docker, index: _Index) -> Archive:
    """Return one view of an archive that has manifest.json and perhaps an index.

    Loaders differ on which they believe. Where they agree, the index adds descriptors, platforms
    and its shape. Where not, the one whose layers hash to the diff_ids counts, manifest.json
    first: docker 25.0.0 wrote archives with one of them wrong.
    """
    if not index.images:
        return Archive(name, docker.images, notices=docker.notices, listed=docker.listed)
    same: dict[Digest, dict[tuple[Digest | None, ...], int]] = {}
    for at, image in enumerate(index.images):
        same.setdefault(image.config.image_id, {}).setdefault(_blob_digests(image), at)
    matches = [_match(image, same.get(image.config.image_id, {})) for image in docker.images]
    places = [position for position in matches if position is not None]
    if len(places) == len(matches):
        both = list(zip(places, docker.images, strict=True))
        images = _with_tags(index.images, both)
        differ = any(_names_differ(image, index.images[at]) for at, image in both)
        notices = [*index.notices(), *((_NAMES,) if differ else ())]
        listed = tuple(None if at is None else places[at] for at in docker.listed)
        return Archive(name, images, index.tree, index.document, tuple(notices), listed)
    if _layers_fit(docker.images):
        notice = "manifest.json and index.json disagree; manifest.json is used, its layers fit"
        notices = [*docker.notices, notice]
        return Archive(name, docker.images, notices=tuple(notices), listed=docker.listed)
    if _layers_fit(index.images):
        notice = "manifest.json and index.json disagree; index.json is used, its layers fit"
        return Archive(
            name, tuple(index.images), index.tree, index.document, (*index.notices(), notice)
        )
    raise ArchiveError("manifest.json and index.json disagree, and the layers of neither fit")


def _with_tags(images: Sequence[Image], listed: Sequence[tuple[int, Image]]) -> tuple[Image, ...]:
    """Return the `images` of an index with the tags that manifest.json gives them as well.

    docker takes these, podman and containerd those. A name that the two give to different images
    is what manifest.json says.
    """
    own = [{spec.full_name(tag): tag for tag in image.tags} for image in images]
    found: list[dict[str, str]] = [{} for _ in images]
    agreed: dict[str, bool] = {}
    for position, image in listed:
        for tag in image.tags:
            full = spec.full_name(tag)
            found[position].setdefault(full, tag)
            agreed[full] = agreed.get(full, False) or full in own[position]
    for tags, others in zip(found, own, strict=True):
        for full, tag in others.items():
            if agreed.get(full, True):
                tags.setdefault(full, tag)
    return tuple(
        replace(image, tags=tuple(tags.values())) for image, tags in zip(images, found, strict=True)
    )


def _names_differ(one: Image, other: Image) -> bool:
    """Tell whether each has a name that the other has not."""
    names = [{spec.full_name(tag) for tag in image.tags} for image in (one, other)]
    return not names[0] <= names[1] and not names[1] <= names[0]


def _blob_digests(image: Image) -> tuple[Digest | None, ...]:
    return tuple(layer.blob.digest for layer in image.layers)


def _match(image: Image, others: dict[tuple[Digest | None, ...], int]) -> int | None:
    """Return which of `others`, by their blobs, is `image` over the same; all have its ID.

    manifest.json need not name the blobs of compressed layers; then the first _MATCHES_MAX count.
    """
    own = _blob_digests(image)
    if None not in own:
        return others.get(own)
    for digests in islice(others, _MATCHES_MAX):
        if all(one in (None, two) for one, two in zip(own, digests, strict=True)):
            return others[digests]
    return None


def _layers_fit(images: Iterable[Image]) -> bool:
    """Tell whether all layers hash to the diff_ids, in order. O(bytes), each layer read once."""
    layers = {(x.blob.content.parts, x.diff_id): x for image in images for x in image.layers}
    return all(map(_fits, layers.values()))


def _fits(layer: Layer) -> bool:
    tar_hash = hashlib.sha256()
    content = layer.blob.content
    windows = content.windows()
    if layer.blob.compression:
        reader = ContentReader(content)
        windows = decompress(layer.blob.compression, reader)  # type: ignore[arg-type]
    try:
        for window in windows:
            tar_hash.update(window)
    except ArchiveError:
        return False
    return tar_hash.hexdigest() == layer.diff_id.hex


# ---------------------------------------------------------------- picking


def select(archive: Archive, image: str = "", platform: str = "") -> Archive:
    """Return `archive` with only the images of that name and that platform, "" for any.

    `image` is a name as docker takes it, a reference of the layout, or an image ID (the digest of
    a config, a manifest, an index) or a prefix of six or more digits of one. Raises
    BaseNotFoundError if nothing fits, and what was wrong with an image that is picked.
    """
    if not image and not platform:
        for unread in archive.unread:
            raise unread.error.within(archive.name)
        return archive
    named = _named(archive, image) if image else range(len(archive.images))
    pointers: dict[int, list[dict[str, Any]]] = {}
    for leaf in _leaves(archive.tree):
        pointers.setdefault(leaf.image, []).append(leaf.pointer)
    picked = {}
    for i in sorted(named):
        found = archive.images[i]
        others = (replace(found, descriptor=x) for x in pointers.get(i, ())[1:])
        fits = (x for x in (found, *others) if not platform or same(platform, x.platform))
        if chosen := next(fits, None):
            picked[i] = chosen
    for unread in archive.unread:
        if _may_mean(unread, image, platform, certain=not picked):
            raise unread.error.within(archive.name)
    wanted = " for ".join(part for part in (image, platform) if part)
    if not picked:
        raise BaseNotFoundError(
            f"no image {wanted}",
            where=archive.name,
            hint="the archive holds those below",
            there=listing(archive.images),
        )
    notices = (_SEVERAL.format(wanted, len(picked)),) if len(picked) > 1 else ()
    return _with_only(archive, picked, platform, notices)


def _may_mean(unread: Unread, image: str, platform: str, *, certain: bool) -> bool:
    """Tell whether an image that cannot be read is picked.

    Where no index tells its platform, `certain` says whether it is.
    """
    if image:
        match = _ID.fullmatch(image)
        called = any(name == image or spec.same_name(name, image) for name in unread.names)
        if not called and not (match and any(x.hex.startswith(match[1]) for x in unread.ids)):
            return False
    if not platform:
        return True
    place = platform_of(unread.descriptor)
    return certain if place is None else same(platform, place)


def referred(archive: Archive, reference: str, *, listed: bool = False) -> Archive:
    """Return `archive` with only what the reference of a transport names: as `select`, or `@N`.

    `@N` counts from 0: the items of manifest.json if `listed`, else the descriptors of index.json.
    Source: containers-transports(5). Raises BaseNotFoundError.
    """
    match = _POSITION.fullmatch(reference)
    if match is None:
        return select(archive, reference)
    at = int(match[1])
    found: set[int | None] = set()
    if listed or not archive.tree:
        found.update(archive.listed[at : at + 1])
    else:
        for pointer in archive.document["manifests"][at : at + 1]:
            nodes = (node for node in archive.tree if node.pointer["digest"] == pointer["digest"])
            found.update(leaf.image for leaf in _leaves(nodes))
    picked = {i: image for i, image in enumerate(archive.images) if i in found}
    if not picked:
        raise BaseNotFoundError(f"no image at position {at}, counted from 0", where=archive.name)
    return _with_only(archive, picked)


def _with_only(
    archive: Archive,
    picked: dict[int, Image],
    platform: str = "",
    notices: tuple[str, ...] = (),
) -> Archive:
    """Return `archive` with the images of these positions, and in its tree those for `platform`."""
    positions = {old: new for new, old in enumerate(picked)}

    def chosen(leaf: Leaf) -> Leaf | None:
        if leaf.image not in positions:
            return None
        as_seen = replace(archive.images[leaf.image], descriptor=leaf.pointer)
        if platform and not same(platform, as_seen.platform):
            return None
        return replace(leaf, image=positions[leaf.image])

    return replace(
        archive,
        images=tuple(picked.values()),
        tree=tuple(_pruned(archive.tree, chosen)),
        notices=(*archive.notices, *notices),
        listed=tuple(None if i is None else positions.get(i) for i in archive.listed),
        unread=(),
    )


def _pruned(nodes: Sequence[Node], chosen: Callable[[Leaf], Leaf | None]) -> Iterator[Node]:
    """Yield the tree without the leaves that are not `chosen`, and without empty branches."""
    for node in nodes:
        if isinstance(node, Leaf):
            if leaf := chosen(node):
                yield leaf
            continue
        children = tuple(_pruned(node.children, chosen))
        if children:
            yield replace(node, children=children)


_ID = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
_POSITION = re.compile(r"@([0-9]{1,9})")


def listing(images: Iterable[Image]) -> tuple[str, ...]:
    """Return a line for each name of each image, with the platform: names first, then digests."""
    named: list[str] = []
    unnamed: list[str] = []
    for image in images:
        named += [f"{name} ({image.platform})" for name in image.names]
        if not image.names:
            unnamed.append(f"{image.config.image_id} ({image.platform})")
    return (*named, *unnamed)


def _named(archive: Archive, name: str) -> set[int]:
    """Return the positions of the images that `name` names."""
    found = {
        i
        for i, image in enumerate(archive.images)
        if any(spec.same_name(tag, name) for tag in image.tags)
    } | set(_referenced(archive.tree, name))
    match = _ID.fullmatch(name)
    if match and not found:
        fits: dict[str, set[int]] = {}
        for i, image in enumerate(archive.images):
            for digest in image.ids:
                if digest.hex.startswith(match[1]):
                    fits.setdefault(str(digest), set()).add(i)
        if len({frozenset(images) for images in fits.values()}) > 1:
            raise BaseNotFoundError(
                f"{len(fits)} images fit {name}: {', '.join(sorted(fits))}", where=archive.name
            )
        found = next(iter(fits.values()), set())
    return found


def _referenced(nodes: Sequence[Node], name: str) -> Iterator[int]:
    """Yield the images below the descriptors whose reference in the layout is `name`."""
    for node in nodes:
        annotations = node.pointer.get("annotations") or {}
        if annotations.get(spec.REF_NAME) == name:
            yield from (leaf.image for leaf in _leaves((node,)))
        elif isinstance(node, Branch):
            yield from _referenced(node.children, name)


def _leaves(nodes: Iterable[Node]) -> Iterator[Leaf]:
    for node in nodes:
        if isinstance(node, Leaf):
            yield node
        else:
            yield from _leaves(node.children)
