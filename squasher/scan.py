"""Reading layers: digests checked, headers walked, gzip unpacked.

Headers of plain layers are walked where they lie, window by window, jumping over the data of large
files. What comes out of a decompressor is walked as it goes by, and stored. Digests are checked
beside, because a digest needs every byte and no Python, and nothing waits for one.
"""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import TypeVar

from squasher.compression import decompress
from squasher.content import Content, ContentReader, Cursor, Hole, Part
from squasher.digest import Digest, check
from squasher.errors import ArchiveError, SquasherError
from squasher.image import Image, Layer
from squasher.job import Job, Task
from squasher.spool import Spool
from squasher.tarstream import Changeset, Entry, LayerWalk, Pair

#: Bytes that are hashed or compared at once. A thread that has hashed a window waits for the
#: interpreter, up to 5 ms; large windows make that rare.
_WINDOW = 4 << 20
#: Bytes that are walked at once, at first and behind a large file, and where one small file follows
#: the other. Each read also lets the other threads have the interpreter.
_FIRST_STEP = 64 << 10
_STEP = 512 << 10

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scan:
    """A layer that has been read.

    size      bytes of the uncompressed tar
    count     entries and whiteouts in it
    content   the uncompressed tar with random access; None for a compressed layer that was not
              unpacked
    """

    layer: Layer
    size: int
    count: int
    content: Content | None


def scan(
    image: Image,
    first: int,
    job: Job,
    max_size: int | None = None,
    places: Sequence[str] = (),
) -> Iterator[tuple[Scan, Changeset]]:
    """Yield the layers of `image` and what they say, lowest first.

    Layers from `first` on are unpacked to temporary files if they are compressed. Digests are
    checked beside: what is yielded holds only once `job.settle()` has returned.
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
    # The longest first: the others fill the gaps.
    for i in sorted(range(len(layers)), key=lambda i: -layers[i].blob.size):
        layer = layers[i]
        place = places[i]
        if not layer.blob.compression:
            limit.count(layer.blob.size)
        if origins[i] != i:
            job.progress("read", layer.blob.size, total)
        elif layer.blob.compression:
            work = partial(_unpack, layer, i, place, job, total, limit, store=i in stored)
            unpacking[i] = job.start(partial(_within, place, work))
        else:
            job.start(partial(_within, place, partial(_check_plain, layer, job, total)))
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
            changes = changes.repeated(i)  # applying a layer marks its entries
        yield done, changes


def layer_places(image: Image, name: str = "") -> tuple[str, ...]:
    """Return what errors call the layers of `image`, lowest first."""
    count = len(image.layers)
    return tuple(f"{name}layer {i} of {count}" for i in range(1, count + 1))


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
        for window in content.windows(_WINDOW):
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


# ---------------------------------------------------------------- comparing content


def same_content(
    pairs: Iterable[Pair], uppers: Sequence[Scan], lowers: Sequence[Scan]
) -> set[Pair]:
    """Return those pairs (upper, lower) of regular files of equal size whose bytes are equal.

    `uppers`, which are `readable`, and `lowers` are the layers that the two sides lie in. Windows
    of bytes are compared, each file is read once; a lower layer that is only there compressed is
    unpacked as a stream and never stored. O(bytes of the pairs), or of such layers.
    """
    by_layer: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        by_layer.setdefault((pair[0].source, pair[1].source), []).append(pair)
    same: set[Pair] = set()
    for (upper, lower), group in by_layer.items():
        group.sort(key=lambda pair: pair[1].data)
        content = uppers[upper].content
        assert content is not None  # noqa: S101  (the caller has seen to that)
        same.update(_equal_pairs(group, Cursor(content.read_at, _WINDOW), _cursor(lowers[lower])))
    return same


def readable(pairs: Iterable[Pair], scans: Sequence[Scan], spool: Spool) -> list[Scan]:
    """Return `scans` with content wherever the upper file of one of `pairs` lies.

    That can be a kept layer: a hard link above it gives its file other attributes, or another
    name's place. O(pairs), and O(bytes) of such layers that are only there compressed.
    """
    wanted: dict[int, set[tuple[int, int]]] = {}
    for x, _ in pairs:
        if scans[x.source].content is None:
            wanted.setdefault(x.source, set()).add((x.data, x.data + x.stored))
    found = list(scans)
    for source, ranges in wanted.items():
        found[source] = replace(scans[source], content=extract(scans[source], ranges, spool))
    return found


def _equal_pairs(group: Iterable[Pair], upper: Cursor, lower: Cursor) -> Iterator[Pair]:
    for pair in group:
        x, b = pair
        if x.sparse is None and b.sparse is None:
            equal = all(
                upper.get(x.data + at, take) == lower.get(b.data + at, take)
                for at, take in _steps(x.size)
            )
        else:
            equal = _expanded_equal(x, b, upper, lower)
        if equal:
            yield pair


def _steps(size: int) -> Iterator[tuple[int, int]]:
    for at in range(0, size, _WINDOW):
        yield at, min(_WINDOW, size - at)


def _expanded_equal(x: Entry, b: Entry, upper: Cursor, lower: Cursor) -> bool:
    """Compare two files of which one at least is sparse, holes read as zeros.

    O(fragments and their bytes): where both have a hole nothing is looked at.
    """
    ours, theirs = _pieces(x), _pieces(b)
    edges = {edge for at, _, length in ours + theirs for edge in (at, at + length)}
    for start, stop in pairwise(sorted(edges)):
        one, two = _stored(ours, start), _stored(theirs, start)
        if one is None and two is None:
            continue
        for step, count in _steps(stop - start):
            left = bytes(count) if one is None else upper.get(one + step, count)
            right = bytes(count) if two is None else lower.get(two + step, count)
            if left != right:
                return False
    return True


_Piece = tuple[int, int, int]


def _pieces(entry: Entry) -> list[_Piece]:
    """Return (offset in the file, offset of the data, length) of what is stored, in order."""
    fragments = ((0, entry.size),) if entry.sparse is None else entry.sparse
    ends = accumulate((length for _, length in fragments), initial=entry.data)
    return [(at, data, length) for (at, length), data in zip(fragments, ends, strict=False)]


def _stored(pieces: list[_Piece], at: int) -> int | None:
    """Return where the byte `at` of a file is stored; None in a hole. O(log pieces)."""
    index = bisect_right(pieces, at, key=itemgetter(0)) - 1
    if index < 0:
        return None
    offset, data, length = pieces[index]
    return data + at - offset if at < offset + length else None


class _StreamCursor(Cursor):
    """The same over a compressed layer: strictly forwards."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer.blob.content.read_at)
        reader = ContentReader(layer.blob.content)
        self._stream = decompress(layer.blob.compression, reader)  # type: ignore[arg-type]

    def get(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; offsets never decrease."""
        while self._start + len(self._window) < offset + size:
            keep = max(0, min(offset - self._start, len(self._window)))
            self._window, self._start = self._window[keep:], self._start + keep
            self._window += next(self._stream)
        begin = offset - self._start
        return self._window[begin : begin + size]


def _cursor(scan: Scan) -> Cursor:
    return (
        _StreamCursor(scan.layer) if scan.content is None else Cursor(scan.content.read_at, _WINDOW)
    )


def extract(scan: Scan, ranges: Collection[tuple[int, int]], spool: Spool) -> Content:
    """Return the layer with `ranges` (start, stop) readable and holes elsewhere.

    For the rare image whose new layer repeats a file of a compressed base layer.
    """
    if scan.content is not None:
        return scan.content
    cursor = _StreamCursor(scan.layer)
    wanted = sorted(ranges)
    pieces = (cursor.get(a + at, take) for a, b in wanted for at, take in _steps(b - a))
    stored = spool.store(pieces)
    parts: list[Part] = []
    at = done = 0
    for start, stop in wanted:
        parts += (Hole(start - at), *stored.slice(done, done + stop - start))
        at, done = stop, done + stop - start
    return Content(parts)
