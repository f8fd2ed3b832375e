"""New layers are written into OUT while they are made: the bytes are those that a pipe gets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from squasher.archive import growing
from squasher.archive.growing import GrowingArchive
from squasher.archive.lay_out import member_header
from squasher.archive.output_file import StagedFile
from squasher.blobs.content import Content
from tests.builders import File, archive, layer
from tests.forms import result
from tests.forms.command import done, failed, squash
from tests.forms.samples import GZIPPED, IMAGE, PLATFORMS, SAME_HEADER, TWO

SIZES = (b"a" * 700, b"b" * 5_000, b"", b"c" * 70_000)
LAYERS = [layer(File(b"base"))] + [layer(File(b"f%d" % i, x)) for i, x in enumerate(SIZES)]
PREVIOUS = archive([layer(File(b"old", b"1")), layer(File(b"f0", b"other"))])
#: A large enough layer to be written in several pieces.
LARGE = archive([layer(File(b"base")), layer(File(b"x", bytes(3 << 20))), layer(File(b"y"))])

ONE_IMAGE = [
    (IMAGE, "--keep-layers 1"),
    (GZIPPED, "--keep-layers 1"),
    (LARGE, "--keep-layers 1"),
    (LARGE, ""),
    (archive(LAYERS), "--keep-layers 1"),
    (archive(LAYERS), "--keep-layers 1 --format oci"),
    (archive(LAYERS), "--keep-layers 1 --compress gzip"),
    (archive(LAYERS), "--keep-layers 1 --compress zstd --format oci"),
    (archive(LAYERS), "--keep-layers 1 --max-layer-size 6000"),
    (archive(LAYERS), "--keep-layers 1 --max-layer-size 6000 --compress gzip"),
    (archive(LAYERS), "--keep-layers 1 --compress-kept"),
    (archive(LAYERS), "--keep-layers 1 --partial"),
    (archive(LAYERS), "--onto PREVIOUS"),
    (archive(LAYERS), "--onto PREVIOUS --partial --clamp-mtime=1 --max-layer-size 6000"),
]
OTHERS = [
    (TWO, "--keep-layers 1"),
    (PLATFORMS, "--keep-layers 1 --format oci"),
    (IMAGE, "--keep-layers 4"),
]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch) -> list[GrowingArchive]:
    """Give the files that were completed, as that happens."""
    found: list[GrowingArchive] = []
    real = GrowingArchive.completed

    def noted(self: GrowingArchive, *arguments: object) -> StagedFile:
        found.append(self)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(GrowingArchive, "completed", noted)
    return found


@pytest.mark.parametrize(("image", "words"), [*ONE_IMAGE, *OTHERS])
def test_a_file_has_the_bytes_that_a_pipe_gets(
    image: bytes, words: str, out: Path, tmp_path: Path, completed: list[GrowingArchive]
) -> None:
    (tmp_path / "previous.tar").write_bytes(PREVIOUS)
    given = words.replace("PREVIOUS", str(tmp_path / "previous.tar")).split()
    file = out / "x.tar"
    done(squash(*given, "--verify", "-o", file, stdin=image))
    assert len(completed) == ((image, words) in ONE_IMAGE)
    assert os.listdir(out) == ["x.tar"]
    assert file.read_bytes() == done(squash(*given, stdin=image)).out
    if "--partial" not in words:
        result.read(file.read_bytes())


def test_a_header_that_turns_out_larger_moves_the_layer(
    out: Path, monkeypatch: pytest.MonkeyPatch, completed: list[GrowingArchive]
) -> None:
    """A compressed layer of 8 GiB needs an extended header, which nobody knows before."""
    real = member_header
    monkeypatch.setattr(
        growing, "member_header", lambda name, size: real(name, size) * (2 - (not size))
    )
    words = ("--keep-layers", "1", "--compress", "gzip")
    done(squash(*words, "-o", out / "x.tar", stdin=IMAGE))
    assert completed == []
    assert os.listdir(out) == ["x.tar"]
    assert (out / "x.tar").read_bytes() == done(squash(*words, stdin=IMAGE)).out


def test_layers_that_are_the_same_come_once(
    out: Path, monkeypatch: pytest.MonkeyPatch, completed: list[GrowingArchive]
) -> None:
    """Then the second one has no place of its own."""
    real, first = GrowingArchive.store, []

    def the_first(self: GrowingArchive, made: Iterable[bytes], size: int = 0) -> Content:
        first.append(real(self, made, size))
        return Content((b"".join(first[0].windows()),))

    monkeypatch.setattr(GrowingArchive, "store", the_first)
    done(squash("--keep-layers", "1", "-o", out / "x.tar", stdin=IMAGE))
    assert completed == []
    assert os.listdir(out) == ["x.tar"]
    assert (out / "x.tar").read_bytes() == done(squash("--keep-layers", "1", stdin=IMAGE)).out


def test_what_is_there_stays_until_all_is_sound(out: Path) -> None:
    """The layer has been written when the damage is found."""
    file = out / "x.tar"
    file.write_bytes(b"old")
    file.chmod(0o640)
    damaged = SAME_HEADER.replace(b"hello again", b"hello aga1n")
    assert "expected sha256:" in failed(squash("--keep-layers", "1", "-o", file, stdin=damaged), 3)
    assert os.listdir(out) == ["x.tar"]
    assert file.read_bytes() == b"old"
    done(squash("--keep-layers", "1", "-o", file, stdin=SAME_HEADER))
    assert file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(out) == ["x.tar"]


def test_it_is_not_written_for_a_policy(out: Path) -> None:
    image = archive([layer(File(b"a", b"1"), File(b"a", b"2")), layer(File(b"b"))])
    failed(squash("--strict", "-o", out / "x.tar", stdin=image), 1)
    assert os.listdir(out) == []
