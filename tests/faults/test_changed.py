"""An input that is overwritten while it is read: an error, never other bytes under old digests."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import squasher
from squasher.archive import reader
from squasher.archive.documents import Lend
from squasher.archive.location import parse_location
from squasher.archive.members import FolderStore, TarStore
from squasher.errors import ArchiveError, PolicyError, SquasherError
from squasher.image.model import Archive
from squasher.run import Progress
from tests.builders import File, archive, layer
from tests.faults.conftest import LOWER

GOOD, EVIL = b"good" * 1000, b"evil" * 1000
GONE = layer(File(b"gone", b"x"))
IMAGE = archive([layer(File(b"f", GOOD)), LOWER, GONE, layer(File(b"gone", b"y"))])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the path of an image that was not written just now: clocks are coarse."""
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE)
    os.utime(path, (1, 1))
    return path


def overwrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(path.read_bytes().replace(GOOD, EVIL))


def append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(bytes(512))


def at(phase: str, act: Callable[[], object]) -> Progress:
    """Return a callback that acts when the phase begins."""
    pending = [act]

    def progress(now: str, done: int, total: int) -> None:
        if now == phase and pending:
            pending.pop()()

    return progress


PHASES = ["read", "hash", "write"]


@pytest.mark.parametrize("change", [overwrite, append])
@pytest.mark.parametrize("phase", [*PHASES, "compare"])
@pytest.mark.parametrize("to", ["{}/out.tar", "{}/out.tar.gz", "oci:{}/layout"])
def test_a_file(
    to: str, phase: str, change: Callable[[Path], None], image: Path, folder: Path
) -> None:
    destination = parse_location(to.format(folder))
    progress = at(phase, lambda: change(image))
    with pytest.raises((ArchiveError, PolicyError), match="the input changed while it was read"):
        squasher.squash_archive(
            image,
            destination.path if destination.kind == "path" else destination,
            keep_layers=1,
            verify=phase == "compare",
            progress=progress,
        )
    assert os.listdir(folder) == []


@pytest.mark.parametrize("phase", PHASES)
def test_a_pipe_gets_no_documents(phase: str, image: Path) -> None:
    pipe = io.BytesIO()
    with pytest.raises(ArchiveError) as raised:
        squasher.squash_archive(
            image, pipe, keep_layers=1, progress=at(phase, lambda: overwrite(image))
        )
    assert str(raised.value) == f"{image}: the input changed while it was read"
    assert b"manifest.json" not in pipe.getvalue()
    assert b"index.json" not in pipe.getvalue()


@pytest.mark.parametrize("at_layer", range(4))
def test_a_blob_of_a_layout_also_one_of_which_nothing_is_written(
    at_layer: int, image: Path, folder: Path, tmp_path: Path
) -> None:
    layout = parse_location(f"oci:{tmp_path}/layout")
    squasher.squash_archive(image, layout, keep_layers=4)
    with squasher.open_archive(layout) as found:
        digest = found.images[0].layers[at_layer].diff_id
    blob = Path(layout.path, "blobs", "sha256", digest.hex)
    os.utime(blob, (1, 1))
    with pytest.raises(ArchiveError, match="the input changed while it was read"):
        squasher.squash_archive(
            layout,
            folder / "out.tar",
            keep_layers=1,
            progress=at("hash", lambda: os.utime(blob)),
        )
    assert os.listdir(folder) == []


def test_the_base_archive(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(archive([layer(File(b"f", GOOD)), LOWER]))
    os.utime(base, (1, 1))
    read = reader.read

    def changing(found: TarStore | FolderStore, name: str, lend: Lend) -> Archive:
        if name == str(base):
            os.utime(base)
        return read(found, name, lend)

    monkeypatch.setattr(reader, "read", changing)
    with pytest.raises(ArchiveError) as raised:
        squasher.squash_archive(image, None, base=str(base))
    assert str(raised.value) == f"-f: {base}: the input changed while it was read"


def test_what_was_read_by_somebody_else(image: Path, folder: Path) -> None:
    with squasher.open_archive(image) as found:
        done = squasher.squash(found.images[0])
        overwrite(image)
        with pytest.raises(ArchiveError, match=r"blobs/sha256/\w+: the input changed"):
            squasher.write([done.image], folder / "out.tar")
        with pytest.raises(ArchiveError, match=r"^the input changed while it was read"):
            squasher.squash(found.images[0])
    assert os.listdir(folder) == []


def test_what_is_only_looked_at(image: Path) -> None:
    for look in (squasher.inspect, lambda one, **options: squasher.compare(one, one, **options)):
        with (
            squasher.open_archive(image) as found,
            pytest.raises(ArchiveError, match="the input changed while it was read"),
        ):
            look(found.images[0], progress=at("read", lambda: os.utime(image)))
        os.utime(image, (1, 1))


@pytest.mark.parametrize("harmless", ["rename", "link", "unlink", "chmod"])
def test_a_file_that_has_another_name(harmless: str, image: Path, folder: Path) -> None:
    """Only its bytes count; what replaces a file in one step leaves those that are read."""
    acts = {
        "rename": lambda: image.rename(image.with_name("other")),
        "link": lambda: os.link(image, image.with_name("other")),
        "unlink": image.unlink,
        "chmod": lambda: image.chmod(0o400),
    }
    squasher.squash_archive(image, folder / "out.tar", progress=at("read", acts[harmless]))
    assert os.listdir(folder) == ["out.tar"]


def test_damage_is_told_as_damage(image: Path) -> None:
    image.write_bytes(IMAGE.replace(GOOD, EVIL))
    with pytest.raises(SquasherError, match="expected sha256:"):
        squasher.squash_archive(image, None)
