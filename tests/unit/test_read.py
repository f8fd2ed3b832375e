"""squasher.layers.read and layers.content: reading layers, and comparing what lies in two."""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import squasher
from squasher.blobs.content import Content, Extent, StreamFile
from squasher.blobs.spool import Spool
from squasher.digest import Digest
from squasher.errors import ArchiveError, DigestMismatchError
from squasher.image.configs import parse_config
from squasher.image.model import Blob, Image, Layer
from squasher.layers import content as content_module
from squasher.layers.content import HASH_WINDOW, Scan, extract, same_content
from squasher.layers.read import scan
from squasher.run import Job
from squasher.tar.entry import Changeset, Entry
from tests.builders import Dir, File, Hardlink, Member, Sparse, archive, layer
from tests.conformance.check import layers_of

LOWER = layer(Dir(b"d"), File(b"d/f", b"one" * 1000), File(b"d/g", b"two"))
UPPER = layer(File(b"x"))


def image(*tars: bytes, packed: Sequence[int] = ()) -> Image:
    config = parse_config(b'{"rootfs":{"diff_ids":[]}}')
    layers = []
    for i, tar in enumerate(tars):
        data = gzip.compress(tar, mtime=0) if i in packed else tar
        compression = "gzip" if i in packed else ""
        blob = Blob(Content((data,)), "", None, compression)
        layers.append(Layer(Digest.of(tar), blob))
    return Image(config, tuple(layers))


def scanned(
    given: Image, first: int = 0, max_size: int | None = None
) -> list[tuple[Scan, Changeset]]:
    with Job() as job, job.explained():
        found = list(scan(given, first, job, max_size))
        job.settle()
        return found


@pytest.mark.parametrize("packed", [(), (0, 1, 2), (0,), (2,)])
def test_the_lowest_of_several_damaged_layers_is_told(packed: tuple[int, ...]) -> None:
    """Not the one that is read first, which is the longest."""
    wrong = Digest.of(b"")
    given = image(UPPER, LOWER * 100, LOWER, packed=packed)
    for damaged in ((0, 1, 2), (0, 2), (1, 2)):
        layers = tuple(
            replace(x, diff_id=wrong) if i in damaged else x for i, x in enumerate(given.layers)
        )
        for _ in range(5):
            with pytest.raises(DigestMismatchError, match=f"layer {damaged[0] + 1} of 3: diff_id"):
                scanned(replace(given, layers=layers))


def test_layers_come_from_the_lowest_up() -> None:
    heard: list[tuple[str, int, int]] = []
    given = image(LOWER, UPPER, packed=(0,))
    with Job(progress=lambda *what: heard.append(what)) as job:
        (lower, low), (upper, up) = scan(given, 1, job)
        job.settle()
    assert (lower.size, lower.count, lower.content) == (len(LOWER), 3, None)
    assert lower.layer.blob.digest == Digest.of(gzip.compress(LOWER, mtime=0))
    assert (upper.size, upper.count) == (len(UPPER), 1)
    assert upper.content is given.layers[1].blob.content
    assert (low.layer, up.layer) == (0, 1)
    total = sum(each.blob.size for each in given.layers)
    assert sum(done for _, done, _ in heard) == total
    assert {(phase, whole) for phase, _, whole in heard} == {("read", total)}


def test_a_squashed_layer_is_unpacked(tmp_path: Path) -> None:
    with Job(tmp_path) as job:
        ((found, _),) = scan(image(LOWER, packed=(0,)), 0, job)
        assert found.content is not None
        assert found.content.read_at(0, found.size) == LOWER


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", gzip.compress(LOWER) + bytes(5000)),
        ("bzip2", bz2.compress(LOWER) + b"x" * 90_000),
        ("bzip2", bz2.compress(LOWER) + b"x" * 900_000),
    ],
)
def test_what_a_decompressor_does_not_want_is_hashed_too(name: str, data: bytes) -> None:
    blob = Blob(Content((data,)), "", Digest.of(data), name)
    config = parse_config(b'{"rootfs":{}}')
    given = Image(config, (Layer(Digest.of(LOWER), blob),))
    ((found, _),) = scanned(given, 1)
    assert found.layer.blob.digest == Digest.of(data)


@pytest.mark.parametrize("packed", [(), (0,)])
def test_digests_are_checked(packed: tuple[int, ...]) -> None:
    good = image(LOWER, packed=packed)
    wrong = Layer(Digest.of(b""), good.layers[0].blob)
    with pytest.raises(DigestMismatchError, match=r"^layer 1 of 1: diff_id: expected"):
        scanned(Image(good.config, (wrong,)), 1)
    blob = Blob(good.layers[0].blob.content, "", Digest.of(b""), "gzip" if packed else "")
    with pytest.raises(DigestMismatchError, match=r"^layer 1 of 1: blob: expected"):
        scanned(Image(good.config, (Layer(Digest.of(LOWER), blob),)), 1)


def test_an_image_that_unpacks_to_too_much() -> None:
    given = image(LOWER, UPPER, packed=(0, 1))
    assert scanned(given, 2, max_size=len(LOWER) + len(UPPER))
    with pytest.raises(ArchiveError, match="unpacks to more than 9 bytes"):
        scanned(given, 2, max_size=9)


def test_the_layer_that_failed_is_told_and_not_the_one_that_was_stopped() -> None:
    """Large layers are read first: the small broken one fails while a large one is read."""
    broken = layer(Hardlink(b"a", b"b"))[:700]
    large = layer(File(b"big", bytes(40 << 20)))
    for packed in ((), (0,), (1,), (0, 1)):
        with pytest.raises(ArchiveError, match=r"^layer 2 of 2: "):
            scanned(image(large, broken, packed=packed))


def entries(tar: bytes) -> tuple[Scan, list[Entry]]:
    ((found, changes),) = scanned(image(tar))
    return found, changes.entries


def same(upper: Member, lower: Member, packed: bool = False) -> bool:
    """Tell whether the contents of two files in two layers are found equal."""
    before = (File(b"before", b"b" * 700),)
    ours, (_, x) = entries(layer(*before, upper))
    theirs, (_, b) = entries(layer(lower, *before))[0], entries(layer(*before, lower))[1]
    theirs, (b, _) = entries(layer(lower, *before))
    if packed:
        ((theirs, changes),) = scanned(image(layer(lower, *before), packed=(0,)), 1)
        b = changes.entries[0]
    return same_content([(x, b)], [ours], [theirs]) == {(x, b)}


@pytest.mark.parametrize("packed", [False, True])
def test_equal_bytes_are_found(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 40
    for window in (HASH_WINDOW, 1000):
        monkeypatch.setattr(content_module, "HASH_WINDOW", window)
        assert same(File(b"f", data), File(b"f", data), packed)
        assert not same(File(b"f", data), File(b"f", data[:-1] + b"x"), packed)
        assert not same(File(b"f", b"x" + data[1:]), File(b"f", data), packed)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_holes_read_as_zeros(version: str) -> None:
    extents = [(10, b"a" * 10), (500, b"b" * 20), (2000, b"")]
    plain = bytearray(2000)
    plain[10:20], plain[500:520] = b"a" * 10, b"b" * 20
    thin = Sparse(b"f", 2000, extents, version)
    assert same(thin, File(b"f", bytes(plain)))
    assert same(File(b"f", bytes(plain)), thin)
    assert same(thin, thin)
    stored = Sparse(b"f", 2000, [(0, bytes(plain[:600]))])
    assert same(thin, stored)
    for at in (0, 15, 100, 519, 1999):
        other = bytearray(plain)
        other[at] ^= 1
        assert not same(thin, File(b"f", bytes(other)))
        assert not same(Sparse(b"f", 2000, [(at, bytes(other[at : at + 1]))]), thin)


def test_a_layer_that_is_only_there_compressed_gives_up_what_is_wanted(tmp_path: Path) -> None:
    ((found, changes),) = scanned(image(LOWER, packed=(0,)), 1)
    ranges = [(entry.data, entry.data + entry.size) for entry in changes.entries[1:]]
    spool = Spool(tmp_path)
    content = extract(found, ranges[::-1], spool)
    for start, stop in ranges:
        assert content.read_at(start, stop - start) == LOWER[start:stop]
    assert content.read_at(0, 512) == bytes(512)
    spool.close()
    ((found, _),) = scanned(image(LOWER))
    assert extract(found, ranges, spool) is found.content


def test_a_base_file_is_written_again_from_a_compressed_base() -> None:
    link = Hardlink(b"d/h", b"d/f", mode=0o600)
    layers = [LOWER, layer(link), layer(File(b"z"))]
    results = []
    for packed in ((), (0,), (0, 1, 2)):
        destination = io.BytesIO()
        given = archive(layers, gzip_layers=packed)
        squasher.squash_archive(io.BytesIO(given), destination, keep_layers=1)
        results.append(layers_of(destination.getvalue()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("packed", [False, True])
def test_what_was_hashed_on_the_way_in_is_not_hashed_again(packed: bool) -> None:
    """A member that came through a pipe has been hashed; its digest must still be the right one."""

    class Hashed(StreamFile):
        def known_digest(self, offset: int, size: int) -> str | None:
            return "0" * 64

    data = gzip.compress(LOWER) if packed else LOWER
    content = Content((Extent(Hashed(io.BytesIO(data)), 0, len(data)),))
    diff_id = Digest.of(LOWER) if packed else Digest("0" * 64)
    config = parse_config(b'{"rootfs":{}}')
    for digest in (None, Digest("0" * 64)):
        blob = Blob(content, "", digest, "gzip" if packed else "")
        ((found, _),) = scanned(Image(config, (Layer(diff_id, blob),)), 1)
        assert found.layer.blob.digest == Digest("0" * 64)
    wrong = Blob(content, "", Digest.of(data), "gzip" if packed else "")
    with pytest.raises(DigestMismatchError, match="blob: expected"):
        scanned(Image(config, (Layer(diff_id, wrong),)), 1)
