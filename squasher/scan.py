"""One pass over the bytes of each layer: digests checked, headers walked, gzip unpacked.

Layers are independent of each other until their headers are applied, so several are read side by
side: hashing, decompressing and reading release the interpreter, and one layer is walked while
another is hashed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from operator import itemgetter

from squasher.compression import decompress
from squasher.content import Content, ContentReader, Cursor, Hole, Part
from squasher.digest import Digest, check
from squasher.errors import ArchiveError, DigestMismatchError, SquasherError
from squasher.image import Image, Layer
from squasher.merge import Pair
from squasher.spool import Spool
from squasher.tarstream import Changeset, Entry, LayerWalk

#: More threads would only wait for each other: walking holds the interpreter.
_THREADS = min(4, os.cpu_count() or 1)
#: Bytes at once. A thread that has hashed a window waits for the interpreter, up to 5 ms; large
#: windows make that rare (measured: 256 KiB takes twice as long as 4 MiB).
_WINDOW = 4 << 20

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Scan:
    """A layer that has been read: its blob's digest is known.

    size      bytes of the uncompressed tar
    count     entries and whiteouts in it
    content   the uncompressed tar with random access; None for a compressed layer that was not
              unpacked
    """

    layer: Layer
    size: int
    count: int
    content: Content | None


class _Cancelled(Exception):  # noqa: N818
    """Another layer failed: this one no longer matters."""


def scan(
    image: Image,
    first: int,
    spool: Spool,
    progress: Progress,
    max_size: int | None = None,
) -> Generator[tuple[Scan, Changeset], None, None]:
    """Yield the layers of `image` and what they say, lowest first, once their bytes are checked.

    Layers from `first` on are unpacked to `spool` if they are compressed. O(bytes). Raises
    ArchiveError and DigestMismatchError, naming the layer, and ArchiveError if all layers unpack
    to more than `max_size` bytes.
    """
    cancelled = threading.Event()
    unpacked = [0] * len(image.layers)

    def work(index: int) -> tuple[Scan, Changeset]:
        try:
            return _scan_layer(
                image.layers[index], index, spool if index >= first else None, counted, limited
            )
        except SquasherError as error:
            cancelled.set()
            raise error.within(f"layer {index + 1} of {len(image.layers)}") from None

    def counted(count: int) -> None:
        if cancelled.is_set():
            raise _Cancelled
        progress(count)

    def limited(index: int, count: int) -> None:
        unpacked[index] += count
        if max_size is not None and sum(unpacked) > max_size:
            raise ArchiveError(f"the image unpacks to more than {max_size} bytes")

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="squasher")
    try:
        # The longest first: the others fill the gaps.
        order = sorted(range(len(image.layers)), key=lambda i: -image.layers[i].blob.size)
        jobs = {i: pool.submit(work, i) for i in order}
        for i in range(len(image.layers)):
            try:
                yield jobs.pop(i).result()
            except _Cancelled:
                # A layer above failed first: that is the error to tell.
                failures = (job.exception() for job in jobs.values())
                raise next(x for x in failures if isinstance(x, SquasherError)) from None
    finally:
        cancelled.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _scan_layer(
    layer: Layer,
    index: int,
    spool: Spool | None,
    progress: Progress,
    unpacked: Callable[[int, int], None],
) -> tuple[Scan, Changeset]:
    """Read one layer: check its digests, walk its headers, unpack it if `spool` is given."""
    walk = LayerWalk(index)
    blob = layer.blob
    content: Content | None = blob.content
    if not blob.compression:
        tar_hash = hashlib.sha256()
        for window in blob.content.windows(_WINDOW):
            tar_hash.update(window)
            walk.feed(window)
            unpacked(index, len(window))
            progress(len(window))
        digest = diff_id = Digest(tar_hash.hexdigest())
    else:
        raw = _HashedReader(blob.content, progress)
        tar_hash = hashlib.sha256()

        def windows() -> Iterator[bytes]:
            for window in decompress(blob.compression, raw):  # type: ignore[arg-type]
                tar_hash.update(window)
                walk.feed(window)
                unpacked(index, len(window))
                yield window

        content = None
        if spool is None:
            for _ in windows():
                pass
        else:
            content = spool.store(windows())
        digest, diff_id = Digest(raw.finish()), Digest(tar_hash.hexdigest())
    if blob.digest is not None:
        check(blob.digest, digest, where="blob")
    if diff_id != layer.diff_id:
        raise DigestMismatchError(str(layer.diff_id), str(diff_id), where="diff_id")
    changes = walk.finish()
    layer = replace(layer, blob=replace(blob, digest=digest))
    return Scan(layer, changes.size, changes.count, content), changes


class _HashedReader(ContentReader):
    """Hashes compressed bytes as a decompressor takes them."""

    def __init__(self, content: Content, progress: Progress) -> None:
        super().__init__(content, progress)
        self._hash = hashlib.sha256()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` from where the last read ended."""
        count = super().readinto(buffer)
        self._hash.update(memoryview(buffer)[:count])
        return count

    def finish(self) -> str:
        """Return the digest of all the bytes, those included that nobody wanted."""
        buffer = bytearray(_WINDOW)
        while self.readinto(buffer):
            pass
        return self._hash.hexdigest()


# ---------------------------------------------------------------- comparing content


def same_content(
    pairs: Iterable[Pair], uppers: Sequence[Scan], lowers: Sequence[Scan]
) -> set[Pair]:
    """Return those pairs (upper, lower) of regular files of equal size whose bytes are equal.

    `uppers` and `lowers` are the layers that the two sides lie in. Windows of bytes are compared,
    each file is read once; a layer that is only there compressed is unpacked as a stream and never
    stored. O(bytes of the pairs), or of such layers.
    """
    by_layer: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        by_layer.setdefault((pair[0].source, pair[1].source), []).append(pair)
    same: set[Pair] = set()
    for (upper, lower), group in by_layer.items():
        group.sort(key=lambda pair: pair[1].data)
        content = uppers[upper].content
        assert content is not None  # noqa: S101  (squashed layers are unpacked)
        same.update(_equal_pairs(group, Cursor(content.read_at, _WINDOW), _cursor(lowers[lower])))
    return same


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
