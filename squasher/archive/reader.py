"""Read an archive: its two halves, `manifest.json` and `index.json`, become one list of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

from squasher.archive.attestations import attachments
from squasher.archive.docker_archive import Listed, docker_images
from squasher.archive.documents import Documents, Lend, blob_digests, lend_nothing
from squasher.archive.members import Store, names
from squasher.archive.oci_index import Index
from squasher.archive.source import folder_below
from squasher.blobs.compression import decompress
from squasher.blobs.content import ContentReader
from squasher.digest import Digest
from squasher.errors import ArchiveError, SquasherError, placed
from squasher.image.model import Archive, Image, Layer
from squasher.image.references import full_name
from squasher.tar.paths import show

#: Manifests of one config that are compared with an image that does not name its blobs; real
#: archives have one for each compression.
_MATCHES_MAX = 16
_BROKEN = "only one of manifest.json and index.json can be read, and it is used: {}"
_UNREAD = "left out images that cannot be read ({}): {}"
_NAMES = "manifest.json and index.json give the images different names: all of them are kept"
_PINNED = "left out names that end in a digest ({}): {} names the image before squashing"


def read(store: Store, name: str, lend: Lend = lend_nothing) -> Archive:
    """Return what `store`, called `name` in messages, holds. O(its documents).

    Layers that it leaves out may be lent.

    Raises ArchiveError if it holds no image, UnsupportedImageError if none that can be squashed.
    """
    with placed(name):
        documents = Documents(store, lend)
        archive = _archive(name, documents)
    if not documents.pinned:
        return archive
    first = show(next(iter(documents.pinned)).encode())
    notice = _PINNED.format(len(documents.pinned), first)
    return replace(archive, notices=(*archive.notices, notice))


def _archive(name: str, documents: Documents) -> Archive:
    store = documents.store
    docker, index = Listed(), Index(documents)
    broken: list[SquasherError] = []
    if "manifest.json" in store:
        try:
            docker = docker_images(documents)
        except ArchiveError as error:
            broken.append(error)
    if "index.json" in store:
        try:
            index.read()
        except ArchiveError as error:
            index = Index(documents)
            broken.append(error)
    if docker.unread and index.images and not index.unread:
        broken.append(docker.unread[0].error)
        docker = Listed()
    elif index.unread and docker.images and not docker.unread:
        broken.append(index.unread[0].error)
        index = Index(documents)
    unread = (*docker.unread, *index.unread)
    notices = [_BROKEN.format(error) for error in broken]
    beside = partial(attachments, documents, tuple(index.beside))
    if unread:
        notices.append(_UNREAD.format(len(unread), unread[0].error))
    if docker.images:
        whole = replace(docker, notices=(*docker.notices, *notices))
        return replace(_settle(name, whole, index), unread=unread, attachments=beside)
    if index.images:
        left_out = (*index.notices(), *notices)
        images = tuple(index.images)
        archive = Archive(name, images, index.tree, index.document, left_out, unread=unread)
        return replace(archive, attachments=beside)
    first, last = ([x.error for x in half.unread] for half in (docker, index))
    for problem in (*first, *broken, *last, *index.problems):
        raise problem
    raise _no_image(store)


def _no_image(store: Store) -> ArchiveError:
    """Return what to say of something that holds no image."""
    if "manifest.json" in store:
        return ArchiveError("manifest.json lists no image")
    if "index.json" in store:
        return ArchiveError("no image that index.json lists is in the archive")
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
        what = f"the image is in a folder of it, {show(os.fsencode(below))}"
        return ArchiveError(what, hint="give that folder, or an archive of its content")
    return ArchiveError(
        "holds no image: it has neither manifest.json nor index.json",
        hint="give what `docker save` writes, or an OCI layout",
    )


def _settle(name: str, docker: Listed, index: Index) -> Archive:
    """Return one view of an archive that has manifest.json and perhaps an index.

    Loaders differ on which they believe. Where they agree, the index adds descriptors, platforms
    and its shape. Where not, the one whose layers hash to the diff_ids counts, manifest.json
    first: docker 25.0.0 wrote archives with one of them wrong.
    """
    if not index.images:
        return Archive(name, docker.images, notices=docker.notices, listed=docker.listed)
    same: dict[Digest, dict[tuple[Digest | None, ...], int]] = {}
    for at, image in enumerate(index.images):
        same.setdefault(image.config.image_id, {}).setdefault(blob_digests(image), at)
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
    own = [{full_name(tag): tag for tag in image.tags} for image in images]
    found: list[dict[str, str]] = [{} for _ in images]
    agreed: dict[str, bool] = {}
    for position, image in listed:
        for tag in image.tags:
            full = full_name(tag)
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
    names = [{full_name(tag) for tag in image.tags} for image in (one, other)]
    return not names[0] <= names[1] and not names[1] <= names[0]


def _match(image: Image, others: dict[tuple[Digest | None, ...], int]) -> int | None:
    """Return which of `others`, by their blobs, is `image` over the same; all have its ID.

    manifest.json need not name the blobs of compressed layers; then the first _MATCHES_MAX count.
    """
    own = blob_digests(image)
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
