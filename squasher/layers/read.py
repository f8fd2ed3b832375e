"""Reading layers: digests checked, headers walked, gzip unpacked.

Headers of plain layers are walked where they lie, window by window, jumping over the data of large
files. What comes out of a decompressor is walked as it goes by, and stored. Digests are checked
beside, because a digest needs every byte and no Python, and nothing waits for one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from squasher.blobs.compression import decompress
from squasher.blobs.content import Content, ContentReader
from squasher.digest import Digest, check
from squasher.errors import ArchiveError, SquasherError
from squasher.image.model import Image, Layer
from squasher.layers.content import HASH_WINDOW, Scan
from squasher.run import Job
from squasher.tar.entry import Changeset
from squasher.tar.walk import LayerWalk
from squasher.tasks import Task

#: Bytes that are walked at once, at first and behind a large file, and where one small file follows
#: the other. Each read also lets the other threads have the interpreter.
_FIRST_STEP = 64 << 10
_STEP = 512 << 10

_T = TypeVar("_T")


def scan(
    image: Image,
    first: int,
    job: Job,
    max_size: int | None = None,
    places: Sequence[str] = (),
) -> Iterator[tuple[Scan, Changeset]]:
    """Yield the layers of `image` and what they say, lowest first.

    Layers from `first` on are unpacked to temporary files if they are compressed. Digests are
    checked beside: what is yielded holds only once `job.settle()` has returned, which tells of the
    lowest damaged layer.
    O(bytes). Raises ArchiveError and DigestMismatchError, naming the layer, and ArchiveError if
    all layers unpack to more than `max_size` bytes. `places` are what errors call the layers.
    """
    layers = image.layers
    places = places or layer_places(image)
    job.watch(layer.blob.content for layer in layers)
    total = image.stored_size
    limit = _Limit(max_size)
    origins = _origins(layers)
    repeated = {origin for i, origin in enumerate(origins) if origin != i}
    stored = set(origins[first:])
    unpacking: dict[int, Task[tuple[Scan, Changeset]]] = {}
    ranks = job.ranks(len(layers))
    # The longest first: the others fill the gaps.
    for i in sorted(range(len(layers)), key=lambda i: -layers[i].blob.size):
        layer = layers[i]
        place, beside = places[i], job.ranked(ranks[i])
        if not layer.blob.compression:
            limit.count(layer.blob.size)
        if origins[i] != i:
            job.progress("read", layer.blob.size, total)
        elif layer.blob.compression:
            work = partial(_unpack, layer, i, place, beside, total, limit, store=i in stored)
            unpacking[i] = beside.start(partial(_within, place, work))
        else:
            beside.start(partial(_within, place, partial(_check_plain, layer, beside, total)))
    known: dict[int, tuple[Scan, Changeset]] = {}
    for i, layer in enumerate(layers):
        place = places[i]
        if origins[i] != i:
            done, changes = known[origins[i]]
            size = done.size if layer.blob.compression else 0
            _within(place, partial(limit.count, size + limit.holes(changes)))
            blob = replace(layer.blob, digest=done.layer.blob.digest)
            yield replace(done, layer=replace(layer, blob=blob)), changes.repeated(i)
            continue
        if i in unpacking:
            done, changes = job.result(unpacking.pop(i))
        else:
            with job.timed("walk"):
                changes = _within(place, partial(_walk, layer, i))
            layer = replace(layer, blob=replace(layer.blob, digest=layer.diff_id))
            done = Scan(layer, changes.size, changes.count, layer.blob.content)
        _within(place, partial(limit.count, limit.holes(changes)))
        if i in repeated:
            known[i] = done, changes
        yield done, changes


def layer_places(image: Image, name: str = "") -> tuple[str, ...]:
    """Return what errors call the layers of `image`, lowest first, with `name` before "layer"."""
    count, label = len(image.layers), f"{image.label}: " if image.label else ""
    return tuple(f"{label}{name}layer {i} of {count}" for i in range(1, count + 1))


def stacked(image: Image, previous: Image) -> tuple[Image, tuple[str, ...]]:
    """Return an image of all layers of `previous`, then those of `image`, and their places.

    A layer that both have, by diff_id, is the one of `previous` twice, so that it is read once.
    """
    known = {layer.diff_id: layer for layer in previous.layers}
    own = tuple(known.get(layer.diff_id, layer) for layer in image.layers)
    named = replace(previous, label=image.label)
    places = (*layer_places(named, "the previous image: "), *layer_places(image))
    return replace(image, layers=(*previous.layers, *own)), places


def _origins(layers: Sequence[Layer]) -> list[int]:
    """Return for each layer where the same bytes come first: they are read there, and only there.

    An archive can list one layer a thousand times. O(layers).
    """
    places: dict[tuple[object, ...], int] = {}
    keys = ((x.blob.content.parts, x.blob.digest, x.diff_id) for x in layers)
    return [places.setdefault(key, i) for i, key in enumerate(keys)]


def _within(place: str, work: Callable[[], _T]) -> _T:
    try:
        return work()
    except SquasherError as error:
        raise error.within(place) from None


class _Limit:
    """What all layers together may unpack to."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._count = 0
        self._lock = threading.Lock()

    def holes(self, changes: Changeset) -> int:
        """Return the bytes of holes in sparse files, if it matters."""
        return 0 if self._most is None else changes.holes

    def count(self, size: int) -> None:
        """Take `size` bytes more. Raises ArchiveError."""
        with self._lock:
            self._count += size
            if self._most is not None and self._count > self._most:
                raise ArchiveError(f"the image unpacks to more than {self._most} bytes")


def name_blobs(image: Image, job: Job) -> Image:
    """Return `image` with the digests of all blobs, as far as they are told by nothing else.

    A docker-archive may hold compressed layers without naming their blobs. O(bytes of those).
    """
    return replace(
        image,
        layers=tuple(
            layer
            if layer.blob.digest
            else replace(layer, blob=replace(layer.blob, digest=_digest(layer.blob.content, job)))
            for layer in image.layers
        ),
    )


def _check_plain(layer: Layer, job: Job, total: int) -> None:
    """Raise DigestMismatchError unless the bytes of a plain layer are what it says they are."""
    digest = _digest(layer.blob.content, job, total)
    if layer.blob.digest is not None:
        check(layer.blob.digest, digest, where="blob")
    check(layer.diff_id, digest, where="diff_id")


def _digest(content: Content, job: Job, total: int | None = None) -> Digest:
    """Return the digest of `content`: what hashed it on its way knows, or every byte is read.

    With a `total` it is told as progress of reading.
    """
    if (known := content.known_digest) is not None:
        if total is not None:
            job.progress("read", content.size, total)
        return Digest(known)
    sha256 = hashlib.sha256()
    with job.timed("hash"):
        for window in content.windows(HASH_WINDOW):
            sha256.update(window)
            if total is None:
                job.check()
            else:
                job.progress("read", len(window), total)
    return Digest(sha256.hexdigest())


def _walk(layer: Layer, index: int) -> Changeset:
    """Return what the headers of a plain layer say. Reads no data of large files."""
    walk = LayerWalk(index)
    content = layer.blob.content
    step = _FIRST_STEP
    while walk.offset < content.size:
        walk.feed(content.read_at(walk.offset, step))
        step = _FIRST_STEP if walk.jump(content.size) else min(2 * step, _STEP)
    return walk.finish()


def _unpack(
    layer: Layer, index: int, place: str, job: Job, total: int, limit: _Limit, *, store: bool
) -> tuple[Scan, Changeset]:
    """Walk the headers of a compressed layer as it is unpacked, and store it or not.

    Its digests are checked beside, once it has been unpacked: a large layer is what everything
    waits for, and hashing takes a third of the time.
    """
    blob = layer.blob
    digest = blob.digest or _digest(blob.content, job)
    walk = LayerWalk(index)
    tar_hash = hashlib.sha256()
    raw = ContentReader(blob.content, lambda count: job.progress("read", count, total))

    def windows() -> Iterator[bytes]:
        for window in decompress(blob.compression, raw):  # type: ignore[arg-type]
            if not store:
                tar_hash.update(window)
            walk.feed(window)
            limit.count(len(window))
            yield window

    def later(expected: Digest, content: Content, where: str) -> None:
        job.start(
            partial(_within, place, lambda: check(expected, _digest(content, job), where=where))
        )

    content = None
    with job.timed("unpack"):
        if store:
            content = job.spool.store(windows())
        else:
            for _ in windows():
                pass
    if blob.digest:
        later(blob.digest, blob.content, "blob")
    if content:
        later(layer.diff_id, content, "diff_id")
    else:
        check(layer.diff_id, Digest(tar_hash.hexdigest()), where="diff_id")
    changes = walk.finish()
    layer = replace(layer, blob=replace(blob, digest=digest))
    return Scan(layer, changes.size, changes.count, content), changes
