"""Small archives that make others work for long: twice the trap is twice the work, and no more.

Work is counted in calls, in bytes that are read and written, and in memory; nothing is timed.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import squasher
from squasher.errors import SquasherError
from tests.builders import (
    Dir,
    File,
    Hardlink,
    Opaque,
    Sparse,
    Symlink,
    Whiteout,
    archive,
    image_config,
    layer,
    long_name,
    pax,
    sha256,
)
from tests.counting import CountedStream, counted_calls
from tests.hostile.case import GOOD, descriptor, docker, dump, item, oci

#: What may come of twice the trap; a quadratic step would make it 4.
GROWTH = 2.2
#: What is there whatever the size: buffers, modules.
CALLS, BYTES, MEMORY = 2_000, 100_000, 3 << 20

Make = Callable[[int], bytes]
TRAPS: dict[str, Make] = {}


def trap(make: Make) -> Make:
    TRAPS[make.__name__] = make
    return make


def image(*layers: bytes) -> bytes:
    return archive([*layers, GOOD, GOOD], form="podman")


@trap
def one_name_again_and_again(n: int) -> bytes:
    return image(layer(*(File(b"x", b"%d" % i) for i in range(n))))


@trap
def one_symlink_again_and_again(n: int) -> bytes:
    return image(layer(*(Symlink(b"s", b"%d" % i) for i in range(n))))


@trap
def one_folder_again_and_again(n: int) -> bytes:
    return image(layer(*(Dir(b"d") if i % 2 else File(b"d") for i in range(n))))


@trap
def whiteouts_over_whiteouts(n: int) -> bytes:
    return image(*(layer(File(b"f") if i % 2 else Whiteout(b"f")) for i in range(n // 4)))


@trap
def whiteouts_of_one_name(n: int) -> bytes:
    return image(layer(File(b"f")), layer(*(Whiteout(b"f") for _ in range(n))))


@trap
def opaque_whiteouts_of_one_folder(n: int) -> bytes:
    return image(layer(File(b"d/f")), layer(Dir(b"d"), *(Opaque(b"d") for _ in range(n))))


@trap
def opaque_whiteouts_in_each_other(n: int) -> bytes:
    folders = [b"/".join([b"d"] * depth) for depth in range(1, n)]
    opaque = [part for path in folders for part in (Dir(path), Opaque(path))]
    return image(layer(*(File(path + b"/f") for path in folders)), layer(*opaque))


@trap
def whiteouts_in_deep_folders(n: int) -> bytes:
    files = [b"d/" * 500 + b"%d/f" % i for i in range(n // 4)]
    return image(layer(*map(File, files)), layer(*map(Whiteout, files)))


@trap
def an_opaque_whiteout_above_paths_never_spelled(n: int) -> bytes:
    files = [File(b"d/%d/" % i + b"e/" * 30 + b"f") for i in range(n)]
    return image(layer(*files), layer(Opaque(b"d"), *files))


@trap
def paths_never_spelled(n: int) -> bytes:
    return image(layer(*(File(b"%d/" % i + b"d/" * 40 + b"f") for i in range(n))))


@trap
def deep_paths_behind_symlinks(n: int) -> bytes:
    deep = b"/".join([b"d"] * 40)
    links = [Symlink(b"s%d" % i, b"d") for i in range(n)]
    return image(layer(Dir(deep), *links, *(File(b"s%d/" % i + deep) for i in range(n))))


@trap
def a_chain_of_hard_links(n: int) -> bytes:
    links = [Hardlink(b"l%d" % i, b"l%d" % (i - 1)) for i in range(1, n)]
    return image(layer(File(b"l0", b"x"), *links))


@trap
def hard_links_that_each_bring_an_attribute(n: int) -> bytes:
    links = [Hardlink(b"l%d" % i, b"f", xattrs={b"user.%d" % (i % 9): b"v"}) for i in range(n)]
    return image(layer(File(b"f", b"x"), *links))


@trap
def hard_links_through_many_symlinks(n: int) -> bytes:
    chain = [Symlink(b"s%d" % i, b"s%d" % (i + 1)) for i in range(30)]
    links = [Hardlink(b"l%d" % i, b"s0/f") for i in range(n)]
    return image(layer(Dir(b"s30"), File(b"s30/f"), *chain, *links))


@trap
def files_through_many_symlinks_that_change(n: int) -> bytes:
    chain = [Symlink(b"s%d" % i, b"s%d" % (i + 1)) for i in range(30)]
    turns = [part for i in range(n) for part in (Symlink(b"t", b"s0"), File(b"s0/f%d" % i))]
    return image(layer(Dir(b"s30"), *chain, *turns))


@trap
def a_chain_of_symlinks(n: int) -> bytes:
    return image(layer(*(Symlink(b"s%d" % i, b"s%d" % (i + 1)) for i in range(n)), File(b"s0/f")))


@trap
def global_headers(n: int) -> bytes:
    return image(layer(pax([(b"comment", b"c")], b"g") * n, File(b"f")))


@trap
def extended_headers_for_one_entry(n: int) -> bytes:
    return image(layer(pax([(b"comment", b"c")]) * n, File(b"f")))


@trap
def long_names_for_one_entry(n: int) -> bytes:
    return image(layer(long_name(b"L", b"n" * 150) * n, File(b"f")))


@trap
def records_in_one_header(n: int) -> bytes:
    return image(layer(pax([(b"a%d" % i, b"v") for i in range(n)]), File(b"f")))


@trap
def chunks_of_one_sparse_file(n: int) -> bytes:
    chunks = [(2 * i, b"x") for i in range(n)]
    part = Sparse(b"s", 2 * n, chunks, "1.0")
    return image(layer(part), layer(part))


@trap
def one_layer_again_and_again(n: int) -> bytes:
    files = layer(*(File(b"%d" % i) for i in range(20)))
    return image(*[files] * (n // 8))


@trap
def one_compressed_layer_again_and_again(n: int) -> bytes:
    files = layer(File(b"f", bytes(200_000)))
    count = n // 8
    config = dump(image_config([files] * count))
    return docker(item(Layers=["blob"] * count), config, {"blob": gzip.compress(files, mtime=0)})


@trap
def one_image_again_and_again(n: int) -> bytes:
    items = [{**item()[0], "RepoTags": [f"a:{i}"]} for i in range(n)]
    return docker(items)


@trap
def one_config_again_and_again(n: int) -> bytes:
    config = dump({**image_config([GOOD]), "x": "x" * 100 * n})
    items = [{**item()[0], "Layers": ["./" * i + "layer.tar"]} for i in range(20)]
    return docker(items, config)


@trap
def names_of_one_image(n: int) -> bytes:
    return docker(item(RepoTags=[f"a:{i}" for i in range(n)]))


@trap
def rows_of_history(n: int) -> bytes:
    rows = [{"empty_layer": True, "created_by": f"{i}"} for i in range(n)]
    return docker(item(), image_config([GOOD], history=[*rows, {}]))


@trap
def members_of_the_archive(n: int) -> bytes:
    members: dict[str, bytes | None] = {f"m{i}": b"" for i in range(n)}
    return docker(item(), members=members)


@trap
def extended_headers_of_the_archive(n: int) -> bytes:
    return pax([(b"comment", b"c")]) * n + docker(item())


@trap
def folders_in_folders_of_the_archive(n: int) -> bytes:
    return layer(*(File(b"d/" * 30 + b"%d" % i) for i in range(n)), trailer=b"") + docker(item())


@trap
def one_manifest_again_and_again(n: int) -> bytes:
    config = dump(image_config([GOOD]))
    manifest = dump({"config": descriptor(config, "config.v1+json"), "layers": [descriptor(GOOD)]})
    pointer = descriptor(manifest, "manifest.v1+json")
    return oci(manifest, index=dump({"manifests": [pointer] * n}))


@trap
def one_config_in_many_manifests(n: int) -> bytes:
    """manifest.json lists the one, the index the other: each is looked for among all."""
    config = dump(image_config([GOOD]))
    layers = [gzip.compress(GOOD, mtime=i) for i in range(n)]
    manifests = [
        dump({"config": descriptor(config, "config.v1+json"), "layers": [descriptor(x)]})
        for x in layers
    ]
    index = dump({"manifests": [descriptor(x, "manifest.v1+json") for x in manifests]})
    name = f"blobs/sha256/{sha256(config)}"
    items = [
        item(Config=name, Layers=[f"blobs/sha256/{sha256(x)}"], RepoTags=[f"a:{i}"])[0]
        for i, x in enumerate(layers)
    ]
    return oci(config, *layers, *manifests, index=index, members={"manifest.json": dump(items)})


@trap
def sparse_maps_in_streams_of_a_byte(n: int) -> bytes:
    fragments = [(2 * i, b"x") for i in range(n // 4)]
    data = layer(Sparse(b"s", n, fragments, "1.0"))
    blob = b"".join(gzip.compress(data[i : i + 1], 1, mtime=0) for i in range(len(data)))
    config = dump(image_config([data]))
    return docker(item(Layers=["blob"]), config, {"blob": blob})


@trap
def a_layer_again_and_again_where_documents_disagree(n: int) -> bytes:
    big = layer(File(b"f", bytes(n << 10)))
    config = dump(image_config([big] * (n // 8)))
    names = ["blob"] * (n // 8)
    other = dump(image_config([GOOD]))
    manifest = dump({"config": descriptor(other, "config.v1+json"), "layers": [descriptor(GOOD)]})
    index = dump({"manifests": [descriptor(manifest, "manifest.v1+json")]})
    files = {f"blobs/sha256/{sha256(x)}": x for x in (other, manifest, GOOD)}
    return docker(item(Layers=names), config, {"blob": big, "index.json": index, **files})


@trap
def empty_streams(n: int) -> bytes:
    config = dump(image_config([GOOD]))
    blob = gzip.compress(b"", mtime=0) * n + gzip.compress(GOOD, mtime=0)
    return docker(item(Layers=["blob"]), config, {"blob": blob})


@trap
def brackets(n: int) -> bytes:
    return docker(b"[" + b"[]," * (100 * n) + b"[]]")


@dataclass(frozen=True)
class Work:
    """What an archive costs, and whether it was refused."""

    calls: int
    read: int
    written: int
    memory: int


def squashed(source: io.BytesIO, destination: io.BytesIO, keep: int) -> None:
    with contextlib.suppress(SquasherError):
        squasher.squash_archive(source, destination, keep_layers=keep)


def work(data: bytes, keep: int) -> Work:
    """Return what squashing costs, in all threads, or refusing to."""
    source, destination = CountedStream(data), io.BytesIO()
    with counted_calls() as calls:
        squashed(source, destination, keep)
    tracemalloc.start()
    try:
        squashed(io.BytesIO(data), io.BytesIO(), keep)
        _, memory = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Work(calls.count, source.count, len(destination.getvalue()), memory)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("make", TRAPS.values(), ids=TRAPS)
def test_twice_the_trap_is_twice_the_work(make: Make, keep: int) -> None:
    small, large = make(250), make(500)
    # A chain of folders spells out every path: its archive itself grows faster than its depth.
    growth = GROWTH * max(1.0, len(large) / len(small) / 2)
    one, two = work(small, keep), work(large, keep)
    assert two.calls <= growth * (one.calls + CALLS)
    assert two.read <= growth * (one.read + BYTES)
    assert two.written <= growth * (one.written + BYTES)
    assert two.memory <= growth * (one.memory + MEMORY)
