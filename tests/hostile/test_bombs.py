"""Little that unpacks to much, in a process that may not have the memory for it."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import resource
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from squasher.errors import ArchiveError
from squasher.image import configs, documents
from squasher.layers.apply import apply
from squasher.layers.tree import Tree
from squasher.tar.walk import LayerWalk
from tests.builders import (
    Dir,
    File,
    Hardlink,
    Member,
    encode,
    header,
    image_config,
    layer,
)
from tests.faults.command import COMMAND, environment, error_line
from tests.hostile.case import GOOD, docker, dump, item
from tests.hostile.streams import greedy_xz, greedy_zstd, packed
from tests.zstd import zstd

#: Address space of the command, Python and its threads included; a bomb unpacks to more.
MEMORY = 700 << 20
SIZE = 800 << 20
#: So that a fault ends the test; nothing is measured.
SECONDS = 300


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def squash(path: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command on an archive, in little memory."""
    return subprocess.run(
        [*COMMAND, str(path), "-o", str(path.parent / "out.tar"), *options],
        env=environment(),
        capture_output=True,
        preexec_fn=limited,
        check=False,
        timeout=SECONDS,
    )


def bomb(pack: Callable[[bytes], bytes]) -> tuple[bytes, str]:
    """Return a layer with one file of zeros, packed piece by piece, and its diff_id."""
    piece = bytes(8 << 20)
    head, tail = header(name=b"zeros", type=b"0", size=SIZE), bytes(1024)
    pieces = [head, *[piece] * (SIZE // len(piece)), tail]
    digest = hashlib.sha256()
    for part in pieces:
        digest.update(part)
    packed_piece = pack(piece)
    blob = b"".join(packed_piece if part is piece else pack(part) for part in pieces)
    return blob, f"sha256:{digest.hexdigest()}"


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, zstd.compress, lzma.compress, bz2.compress],
    ids=["gz", "zst", "xz", "bz2"],
)
def test_a_bomb_goes_by_as_a_stream(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    blob, diff_id = bomb(pack)
    config = image_config([GOOD, GOOD, GOOD])
    config["rootfs"]["diff_ids"][0] = diff_id
    layers = ["blob", "layer.tar", "layer.tar"]
    path = tmp_path / "image.tar"
    path.write_bytes(docker(item(Layers=layers), dump(config), {"blob": blob}))
    done = squash(path, "--keep-layers", "1", "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out.tar").stat().st_size < 2 * path.stat().st_size
    done = squash(path, "--keep-layers", "0", "--max-size", "100000000")
    assert done.returncode == 3
    assert "the image unpacks to more than 100000000 bytes" in error_line(done.stderr)


@pytest.mark.parametrize("blob", [greedy_xz(), greedy_zstd()], ids=["xz", "zst"])
def test_a_stream_does_not_get_the_memory_it_asks_for(blob: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(packed(blob))
    done = squash(path)
    assert done.returncode == 5
    assert "data takes more than 512 MiB of memory" in error_line(done.stderr)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_a_million_empty_headers(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """One name again and again: a million entries, held at once, in less than 700 bytes each."""
    layer_ = header(name=b"x", type=b"0") * 1_000_000 + bytes(1024)
    config = dump(image_config([layer_, GOOD]))
    path = tmp_path / "image.tar"
    members: dict[str, bytes | None] = {"blob": pack(layer_)}
    path.write_bytes(docker(item(Layers=["blob", "layer.tar"]), config, members))
    done = squash(path, "--quiet")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "document",
    [
        b"[" + b",".join([b"[]"] * 15_000) + b"]",
        b"[" + b",".join([b"[" * 50 + b"]" * 50] * 500) + b"]",
        b"[" + b",".join([b"{}"] * 15_000) + b"]",
        b"[" + b",".join([b'{"":0}'] * 7_000) + b"]",
        b"{" + b",".join(b'"%x":0' % i for i in range(5_000)) + b"}",
        b"[" + b",".join(b'"%x"' % i for i in range(7_000)) + b"]",
        b"[" + b",".join(b"%d" % (i + 1000) for i in range(9_000)) + b"]",
        ("[" + ",".join(['"\u0394\u0394"'] * 5_000) + "]").encode(),
        ('["' + "a" * 60_000 + '\U0001f600"]').encode(),
        b'["' + b"a" * 60_000 + b'\\ud83d\\ude00"]',
    ],
    ids=range(10),
)
def test_what_a_document_weighs_at_most(document: bytes) -> None:
    """The limit on the memory for documents rests on this."""
    config = b'{"rootfs":{"diff_ids":[]},"history":[%b],"x":%b}'
    rows = document[1:-1] if document[1:2] == b"{" else b""
    for times, data, read in (
        (1, document, documents.load),
        (2, config % (rows, document), configs.parse_config),
    ):
        tracemalloc.start()
        try:
            found = read(data, "where")
            now, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most <= times * documents.weight(data)
        if isinstance(found, configs.ImageConfig):
            assert now <= configs.kept_weight(found)


def numbers(first: int, count: int) -> bytes:
    """Return offsets and lengths of 1, as short as a map can spell so many."""
    return b",".join(b"%d,1" % (2 * i) for i in range(first, first + count))


def sparse_map(n: int) -> Member:
    counts = ((b"GNU.sparse.size", b"1000000"), (b"GNU.sparse.numblocks", b"20000"))
    records = (*counts, (b"GNU.sparse.map", numbers(n, 20_000)))
    return File(b"f%d" % n, b"x" * 20_000, records=records)


def xattrs(n: int) -> dict[bytes, bytes]:
    return {b"%x" % (n + i): b"" for i in range(1000)}


def linked(n: int) -> Member:
    return Hardlink(b"h%d" % n, b"f%d" % n, xattrs=xattrs(n))


@pytest.mark.parametrize(
    "make",
    [
        sparse_map,
        lambda n: File(b"f%d" % n, xattrs=xattrs(n)),
        lambda n: Dir(b"f%d" % n, xattrs=xattrs(n)),
        lambda n: encode(File(b"f%d" % n)) + encode(linked(n)),
    ],
    ids=["sparse", "file", "directory", "link"],
)
def test_what_headers_spell_takes_no_more_than_twice_as_much(
    make: Callable[[int], Member | bytes],
) -> None:
    """As objects of Python it took 3 to 10 times as much."""
    spelt = layer(*map(make, range(8)))
    tracemalloc.start()
    try:
        walk, tree = LayerWalk(0), Tree()
        for at in range(0, len(spelt), 1 << 16):
            walk.feed(spelt[at : at + (1 << 16)])
        apply(tree, walk.finish())
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert tree.root.children
    assert held <= 2 * len(spelt)


def test_a_hard_link_to_a_name_without_end() -> None:
    """It is refused where it is read, before a thousand of them are held."""
    walk = LayerWalk(0)
    with pytest.raises(ArchiveError, match="the link target is longer than 4095 bytes"):
        walk.feed(layer(Hardlink(b"h", b"n/" * 500_000)))


def test_paths_that_nobody_spelled(tmp_path: Path) -> None:
    """A few hundred names of 2,000 folders each: they would take gigabytes."""
    names = [b"%d/" % i + b"d/" * 2000 + b"f" for i in range(300)]
    path = tmp_path / "image.tar"
    path.write_bytes(packed(gzip.compress(layer(*map(File, names))), layer(*map(File, names))))
    done = squash(path)
    assert done.returncode == 3
    assert "too many folders for a layer of that size" in error_line(done.stderr)
