"""The proof: --verify, whatever the way out."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import squasher
from squasher.archive import growing, lay_out, layout_folder, output_file, stream
from squasher.blobs.content import Content, Part
from squasher.blobs.spool import Spool
from squasher.image.model import Blob
from squasher.layers import squash as squash_module
from tests.builders import File, archive, layer
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import (
    SAME_HEADER,
)
from tests.forms.shapes import (
    ARM,
    SHAPES,
)


@pytest.mark.parametrize("name", SHAPES)
def test_verify_proves_what_is_right(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]()
    outcome = squash("--verify", "--keep-layers", "1", "--format", "oci", stdin=shape.archive)
    assert done(outcome).out
    done(squash("--verify", "-o", tmp_path / "x", "--format", "oci", stdin=shape.archive))


@pytest.mark.parametrize("destination", ["{}/x.tar", "{}/x.tar.gz", "oci:{}/layout", "-"])
def test_verify_of_every_way_out(destination: str, image: Path, out: Path) -> None:
    done(squash("--verify", "-v", image, "-o", destination.format(out)))


Plant = Callable[[pytest.MonkeyPatch], None]


def plant_byte(patch: pytest.MonkeyPatch) -> None:
    """Write a wrong byte into the archive or the blob."""

    def wrong(real: Callable[..., Iterator[bytes]], *arguments: Any) -> Iterator[bytes]:
        for chunk in real(*arguments):
            yield chunk.replace(b"hello again", b"hello ag\0in")

    for module, name in ((stream, "chunks"), (layout_folder, "counted")):
        patch.setattr(module, name, partial(wrong, getattr(module, name)))
    put = output_file.put_all
    patch.setattr(
        growing, "put_all", lambda file, *rest: put(file, wrong(lambda x: x, rest[0]), rest[1])
    )


def plant_merge(patch: pytest.MonkeyPatch) -> None:
    """Take files for the same that are not: the new one is left out."""
    patch.setattr(squash_module, "same_content", lambda pairs, uppers, lowers: set(pairs))


def plant_kept(patch: pytest.MonkeyPatch) -> None:
    """Write the kept layer otherwise: the same files, but another blob."""
    real = lay_out.lay_out

    def wrong(found: squasher.Archive, *arguments: Any, **options: Any) -> Any:
        (first, *rest), image = found.images[0].layers, found.images[0]
        data = gzip.compress(first.blob.content.read_at(0, first.blob.size))
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        blob = Blob(Content((data,)), media_type, squasher.Digest.of(data), "gzip")
        other = replace(image, layers=(replace(first, blob=blob, descriptor={}), *rest))
        return real(replace(found, images=(other,)), *arguments, **options)

    patch.setattr(lay_out, "lay_out", wrong)


def plant_image(patch: pytest.MonkeyPatch) -> None:
    """Write another image."""
    real = lay_out.lay_out

    def wrong(found: squasher.Archive, *arguments: Any, **options: Any) -> Any:
        other = replace(found.images[0], config=replace(found.images[0].config, raw=ARM))
        return real(replace(found, images=(other,)), *arguments, **options)

    patch.setattr(lay_out, "lay_out", wrong)


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (plant_byte, "expected sha256:"),
        (plant_merge, "'f' differs: content"),
        (plant_kept, "kept layer 1 is not the same"),
        (plant_image, ""),
    ],
)
@pytest.mark.parametrize("destination", ["{}/x.tar", "{}/x.tar.gz", "oci:{}/layout", "-"])
def test_verify_catches_what_is_wrong(
    plant: Plant, says: str, destination: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    words = ("--keep-layers", "1", "-o", destination.format(out))
    line = failed(squash("--verify", *words, stdin=SAME_HEADER), 1)
    assert line.startswith("not verified: ")
    assert says in line
    assert os.listdir(out) == []


def test_no_room_for_what_verify_unpacks_says_nothing_about_the_result(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Spool, chunks: Iterable[bytes]) -> tuple[Part, ...]:
        raise squasher.OutputError("no room")

    image = archive([layer(File(b"a")), layer(File(b"b")), layer(File(b"c"))], gzip_layers=(0,))
    monkeypatch.setattr(Spool, "store", full)
    words = ("--keep-layers", "1", "-o", out / "x.tar")
    done(squash(*words, stdin=image))  # a kept layer is unpacked for the proof alone
    line = failed(squash("--verify", *words, stdin=image), 6)
    assert line == "layer 1 of 3: no room"


def test_verify_comes_before_a_fifo_gets_anything(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be taken back is first written to --tmp-dir (contract of --verify)."""
    fifo = out / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done(squash("--verify", "--keep-layers", "1", "-o", fifo, stdin=SAME_HEADER))
        good = os.read(reader, 1 << 20)
        assert result.read(good).one
        plant_image(monkeypatch)
        line = failed(squash("--verify", "--keep-layers", "1", "-o", fifo, stdin=SAME_HEADER), 1)
        assert line.startswith("not verified: ")
        assert os.read(reader, 1 << 20) == b""
    finally:
        os.close(reader)
