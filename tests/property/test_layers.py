"""Properties of layers: of the walk, the headers, the names and the merge."""

from __future__ import annotations

import io
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

import squasher
from squasher.errors import ArchiveError
from squasher.tar.entry import BLK, CHR, DIR, FIFO, LINK, REG, SYM, Changeset
from squasher.tar.paths import classify, clean
from squasher.tar.walk import LayerWalk
from squasher.tar.writer import header
from tests import model
from tests.builders import archive, layer
from tests.conformance.check import comparable, layers_of
from tests.generator import random_image

seeds = st.integers(0, 10**6)


def walked(data: bytes, sizes: Sequence[int]) -> list[object]:
    """Return all that the walk says of a layer, fed in windows of these sizes."""
    walk = LayerWalk(0)
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        walk.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return said(walk.finish())


def said(changes: Changeset) -> list[object]:
    entries = [[getattr(e, name) for name in type(e).__slots__] for e in changes.entries]
    return [
        changes.size,
        list(changes.paths),
        entries,
        changes.whiteouts,
        changes.opaques,
        changes.warnings,
    ]


@settings(max_examples=60)
@given(seeds, st.lists(st.integers(1, 1500), min_size=1, max_size=5))
def test_the_walk_says_the_same_whatever_the_windows(seed: int, sizes: list[int]) -> None:
    """The same bytes are the same layer, however they arrive."""
    for data in random_image(seed)[:2]:
        assert walked(data, sizes) == walked(data, [len(data) or 1])


@settings(max_examples=60)
@given(
    seeds, st.integers(0, 10**6), st.integers(0, 255), st.lists(st.integers(1, 1500), min_size=1)
)
def test_a_damaged_layer_is_read_alike_whatever_the_windows(
    seed: int, at: int, byte: int, sizes: list[int]
) -> None:
    """Promise 9: any bytes at all end in a layer or in an error of ours."""
    data = bytearray(random_image(seed)[0])
    if data:
        data[at % len(data)] = byte

    def outcome(windows: Sequence[int]) -> object:
        try:
            return walked(bytes(data), windows)
        except ArchiveError as error:
            return str(error)

    one, other = outcome(sizes), outcome([len(data) or 1])
    assert type(one) is type(other)
    assert isinstance(one, str) or one == other


components = st.binary(min_size=1, max_size=120).filter(
    lambda text: not set(text) & {0, 0x2F} and text not in (b".", b"..") and text[:4] != b".wh."
)
clean_paths = st.lists(components, min_size=1, max_size=5).map(b"/".join)
targets = st.binary(min_size=1, max_size=300).filter(lambda text: 0 not in text)
owners = st.tuples(st.integers(0, 0o7777), st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))
keys = st.binary(min_size=1, max_size=20).filter(lambda text: not set(text) & {0, 0x3D})
xattrs = st.dictionaries(keys, st.binary(max_size=200), max_size=3)
times = st.one_of(
    st.integers(-(10**19), 10**19), st.integers(0, 2**31).map(lambda seconds: seconds * 10**9)
)


@given(
    clean_paths,
    st.sampled_from([REG, DIR, SYM, LINK, CHR, BLK, FIFO]),
    owners,
    st.one_of(st.integers(0, 3000), st.integers(0, 2**62)),
    times,
    targets,
    st.tuples(st.integers(0, 2**12 - 1), st.integers(0, 2**20 - 1)),
    xattrs,
)
def test_a_header_that_is_written_reads_back(
    path: bytes,
    kind: int,
    owner: tuple[int, int, int],
    size: int,
    mtime: int,
    target: bytes,
    device: tuple[int, int],
    attributes: dict[bytes, bytes],
) -> None:
    """M7: ustar, and PAX for what ustar cannot say: every field comes back as it was."""
    pairs = tuple(sorted(attributes.items()))
    block = header(
        path,
        kind,
        owner,
        size=size if kind == REG else 0,
        mtime=mtime,
        link=target if kind in (SYM, LINK) else b"",
        device=device if kind in (CHR, BLK) else (0, 0),
        xattrs=pairs,
    )
    assert len(block) % 512 == 0
    walk = LayerWalk(3)
    walk.feed(block)
    changes = said_of(walk)
    (entry,) = changes.entries
    assert list(changes.paths) == [path]
    assert (entry.kind, entry.owner, entry.mtime, entry.xattrs) == (kind, owner, mtime, pairs)
    assert entry.size == (size if kind == REG else 0)
    assert (entry.data, entry.headers_size, entry.flags) == (len(block), len(block), 0)
    if kind in (SYM, LINK):
        assert entry.target == target
    elif kind in (CHR, BLK):
        assert entry.target == device
    else:
        assert entry.target is None


def said_of(walk: LayerWalk) -> Changeset:
    """Return what the walk has seen, although the data of its last entry is not there."""
    walk._data_end = 0
    return walk.finish()


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5000)), max_size=8),
    st.integers(0, 10**6),
    clean_paths,
)
def test_a_sparse_header_that_is_written_reads_back(
    gaps: list[tuple[int, int]], rest: int, path: bytes
) -> None:
    """M7: a sparse file keeps its map, in the format 1.0 of GNU tar."""
    fragments, end = [], 0
    for gap, length in gaps:
        fragments.append((end + gap, length))
        end += gap + length
    size = end + rest
    block = header(path, REG, size=size, sparse=tuple(fragments))
    walk = LayerWalk(0)
    walk.feed(block + bytes(sum(length for _, length in fragments)))
    changes = walk.finish()
    (entry,) = changes.entries
    assert list(changes.paths) == [path]
    assert entry.sparse is not None
    assert (list(entry.sparse), entry.size) == (fragments, size)
    assert (entry.data, entry.headers_size) == (len(block), len(block))


names = st.lists(
    st.one_of(st.sampled_from([b"", b".", b"..", b"...", b".wh.", b".wh.a", b"a"]), st.binary()),
    max_size=8,
).map(b"/".join)


@given(names)
def test_clean_is_idempotent_and_never_leaves_the_root(name: bytes) -> None:
    """A layer path is normalised once: no empty, `.` or `..` component, however it was spelled."""
    try:
        path = clean(name)
    except ArchiveError:
        return
    assert clean(path) == path
    assert not {b"", b".", b".."} & set(path.split(b"/")) or path == b""
    assert clean(b"/./" + name + b"//.") == path


@given(names)
def test_classify_knows_every_clean_path(name: bytes) -> None:
    """A whiteout is told by its own name alone, and says a path that is clean."""
    try:
        _, about = classify(clean(name))
    except ArchiveError:
        return
    assert clean(about) == about


def squashed(layers: Sequence[bytes], keep: int) -> list[bytes]:
    """Return the layers after squashing all but the `keep` lowest."""
    destination = io.BytesIO()
    squasher.squash_archive(io.BytesIO(archive(layers)), destination, keep_layers=keep)
    return layers_of(destination.getvalue())


@settings(max_examples=40)
@given(seeds, st.integers(0, 3))
def test_squashing_twice_changes_nothing(seed: int, keep: int) -> None:
    """A squashed image has one layer above its base: there is nothing to merge."""
    layers = random_image(seed)
    once = squashed(layers, min(keep, len(layers)))
    assert squashed(once, min(keep, len(layers))) == once


@settings(max_examples=40)
@given(seeds, st.integers(0, 2))
def test_a_merged_layer_merged_with_nothing_is_itself(seed: int, keep: int) -> None:
    """Nothing is said twice, and nothing needlessly: an empty layer on top changes no byte."""
    layers = random_image(seed)
    keep = min(keep, len(layers) - 2)
    once = squashed(layers, keep)
    again = squashed([*once, layer()], keep)
    if any(warning.kind == "default-acl" for warning in model.apply(layers).warnings):
        # A hard link loses where its file inherited an ACL; with that, the order may change.
        assert sorted(map(len, again)) == sorted(map(len, once))
    else:
        assert again == once


@settings(max_examples=40)
@given(seeds, st.integers(0, 2), st.integers(1, 5))
def test_merging_in_two_steps_is_merging_in_one(seed: int, keep: int, between: int) -> None:
    """apply(base + squash(upper)) = apply(base + upper), whichever part is squashed first."""
    layers = random_image(seed)
    between = min(keep + between, len(layers))
    first = [*squashed(layers[:between], keep), *layers[between:]]
    one, two = squashed(layers, keep), squashed(first, keep)
    left, right = model.apply(one), model.apply(two)
    assert undated(left) == undated(right)


def undated(tree: model.Tree) -> dict[bytes, model.Record]:
    """Return the listing without the times of directories that no layer has an entry for."""
    return comparable(tree, tree, 1)
