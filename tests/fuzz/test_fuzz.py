"""The fuzzers without a fuzzer: seeds and what was found pass, and faults are noticed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

import pytest

from squasher.blobs import gzipped
from squasher.image import configs
from squasher.layers import assemble
from squasher.tar import fields, writer
from tests.builders import Dir, File, layer
from tests.conformance.corpus import CASES
from tests.fuzz import command, documents, inflate, seeds, walk
from tests.fuzz.wire import Dice, expand, mended, shorten
from tests.generator import random_image

ONE: dict[str, Callable[[bytes], None]] = {
    "command": command.one,
    "documents": documents.one,
    "inflate": inflate.one,
    "walk": walk.one,
}


@pytest.mark.parametrize("name", seeds.HARNESSES)
def test_the_seeds_pass(name: str) -> None:
    each(ONE[name], islice(seeds.HARNESSES[name](), 0, None, 5))


def test_seeds_that_are_cut_or_spoilt_pass() -> None:
    """What mutation makes of seeds is no error of the harness."""
    random = Random(1)
    for name, make in seeds.HARNESSES.items():
        for seed in islice(make(), 3, None, 50):
            spoilt = bytearray(seed)
            spoilt[random.randrange(len(spoilt))] = random.randrange(256)
            ONE[name](bytes(spoilt))
            ONE[name](seed[: random.randrange(len(seed))])


# ---------------------------------------------------------------- what an input stands for


def test_what_is_shortened_expands_again() -> None:
    random = Random(2)
    tars = [tar for case in CASES for tar in case.layers]
    tars += [bytes(random.choices((0, 1, 254, 255), (9, 1, 1, 1), k=1500)) for _ in range(100)]
    for tar in tars:
        assert expand(shorten(tar)) == tar
    assert sum(map(len, map(shorten, tars))) < sum(map(len, tars)) / 4


def test_what_is_expanded_has_a_limit() -> None:
    assert len(expand(b"\0\xfe" * 100, 1000)) == 1000


def test_mending_puts_right_what_mutation_broke() -> None:
    (tar,) = random_image(4, tame=True)[:1]
    spoilt = bytearray(tar)
    spoilt[0:1] = b"z"  # the name
    assert isinstance(walk.walked(bytes(spoilt), (1 << 20,)), Exception)
    assert not isinstance(walk.walked(mended(bytes(spoilt)), (1 << 20,)), Exception)


def test_dice_end_at_the_plainest() -> None:
    dice = Dice(b"\1\5")
    assert [dice("ab"), dice("abc"), dice("abc")] == ["b", "c", "a"]
    assert dice.rest() == b""


def test_parts_make_the_image_that_they_came_from() -> None:
    """Also where the archive had other names for its blobs."""
    for image in seeds.archives():
        again = command.assembled(command.disassembled(image), 0)
        expected = [layers for _, layers in command.images(image)]
        assert [layers for _, layers in command.images(again)] == expected


# ---------------------------------------------------------------- the harnesses can fail


def each(one: Callable[[bytes], None], inputs: Iterable[bytes]) -> None:
    for data in inputs:
        one(data)


def test_a_fault_in_the_walk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "owner", lambda mode, uid, gid: (mode & 0o777, uid, gid))
    with pytest.raises(AssertionError):
        each(walk.one, seeds.walk())


def test_a_fault_in_editing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "BUILDKIT_CACHE", "architecture")
    with pytest.raises(AssertionError):
        each(documents.one, seeds.documents())


@pytest.mark.parametrize("how", [0, 1])
def test_a_fault_in_merging_is_noticed(monkeypatch: pytest.MonkeyPatch, how: int) -> None:
    def forgetful(path: bytes, *arguments: object, **more: object) -> bytes:
        return header(path, *arguments, **{**more, "mtime": 1})  # type: ignore[arg-type]

    header = writer.header
    monkeypatch.setattr(assemble, "header", forgetful)
    with pytest.raises(AssertionError):
        each(command.one, (seed for seed in seeds.command() if seed[0] == how))


@pytest.mark.parametrize("what", ["content", "damage"])
def test_a_fault_in_inflating_is_noticed(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    class Library:
        """zlib, but for one thing."""

        error = zlib.error

        @staticmethod
        def decompressobj(bits: int) -> Any:
            """Return a decompressor that is zlib's, but for its content or its errors."""
            return Careless() if what == "damage" else Wrong()

    class Wrong:
        """Makes other bytes."""

        def __init__(self) -> None:
            self._own = zlib.decompressobj(31)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._own, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            """Return content without its capitals."""
            return self._own.decompress(data, most).lower()

    class Careless(Wrong):
        """Calls every damage by one name."""

        def decompress(self, data: bytes, most: int) -> bytes:
            """Return what zlib does."""
            try:
                return self._own.decompress(data, most)
            except zlib.error:
                raise zlib.error("damaged") from None

    monkeypatch.setattr(gzipped, "_zlib_ng", lambda: Library)
    with pytest.raises(AssertionError):
        each(inflate.one, [*seeds.inflate(), bytes((0, 0, 2)) + b"Capitals"])


# ---------------------------------------------------------------- what was found

PLAIN = bytes(4)  # no choices: short, no mending
FINDINGS = {
    "a header of another ustar version": (
        "walk",
        PLAIN + shorten(layer(File(b"n", b"x", patches=((263, b"  "), (345, b"sub"))))),
    ),
    "a time of more than 64 bits, so that a prefix stands there": (
        "walk",
        PLAIN
        + shorten(
            layer(File(b"n", patches=((257, b"ustar  \0"), (345, b"14\0"), (357, b"\x83" * 12))))
        ),
    ),
    "a sparse map without a count": (
        "walk",
        PLAIN
        + shorten(
            layer(
                File(b"s", b"1", records=((b"GNU.sparse.map", b"0,1"), (b"GNU.sparse.size", b"9")))
            )
        ),
    ),
    "a whiteout of a type that engines refuse": (
        "walk",
        PLAIN + shorten(layer(replace(File(b".wh.x"), type=b"S"))),
    ),
    "a directory without a name": (
        "walk",
        PLAIN + shorten(layer(replace(Dir(b"x"), path=b""))),
    ),
    "a number of 4,301 digits": (
        "walk",
        PLAIN + shorten(layer(File(b"n", records=((b"uid", b"1" * 4301),)))),
    ),
    "a name that cannot be shortened": ("documents", b"\4\0\0\0docker.io/er.io/libia2"),
    "a name below library that cannot be shortened": (
        "documents",
        b"\4\0\0\0docker.io/library/a/b:1",
    ),
    "a digest of another kind": (
        "documents",
        b'\0\0\0\0{"rootfs":{"type":"layers","diff_ids":["sha258:2d975cba9857b"]}}',
    ),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_what_was_found_passes(name: str) -> None:
    harness, data = FINDINGS[name]
    ONE[harness](data)
