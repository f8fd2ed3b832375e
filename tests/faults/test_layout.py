"""The folder of a layout, which other runs add to and where damage may lie already."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import squasher
from squasher.archive import layout_folder, output_file
from squasher.archive.location import Location, parse_location
from squasher.errors import OutputError, PolicyError
from squasher.image.manifests import REF_NAME
from tests.builders import sha256


def names(folder: Path) -> list[str]:
    """Return the names in a layout, all of whose images must be whole."""
    index = json.loads((folder / "index.json").read_bytes())
    for pointer in index["manifests"]:
        manifest = json.loads(blob(folder, pointer["digest"]))
        for part in (manifest["config"], *manifest["layers"]):
            assert len(blob(folder, part["digest"])) == part["size"]
    return [pointer["annotations"][REF_NAME] for pointer in index["manifests"]]


def blob(folder: Path, digest: str) -> bytes:
    data = (folder / "blobs" / digest.replace(":", "/")).read_bytes()
    assert f"sha256:{sha256(data)}" == digest
    return data


def to(folder: Path, name: str) -> Location:
    return parse_location(f"oci:{folder}:{name}")


# ---------------------------------------------------------------- two runs


class FailedError(Exception):
    """What ends a run."""


def two_runs(
    image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> list[BaseException | None]:
    """Let a second run begin while the first one writes; return how they end."""
    waiting = threading.Event()
    flock, ours = fcntl.flock, threading.get_ident()

    def seen(descriptor: int, operation: int) -> None:
        if threading.get_ident() != ours:
            waiting.set()
        flock(descriptor, operation)

    def run(name: str, progress: squasher.Progress) -> None:
        squasher.squash_archive(image, to(folder, name), keep_layers=1, progress=progress)

    def hold(phase: str, done: int, total: int) -> None:
        if phase == "write" and not second:
            second.append(pool.submit(run, "two", lambda *told: None))
            assert waiting.wait(30)
            if fails:
                raise FailedError

    second: list[object] = []
    monkeypatch.setattr(fcntl, "flock", seen)
    with ThreadPoolExecutor(1) as pool:
        first = None
        try:
            run("one", hold)
        except FailedError as error:
            first = error
        return [first, second[0].exception(30)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("there", [False, True])
def test_both_images_are_there_after_two_runs(
    there: bool, image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = folder / "layout"
    if there:
        squasher.squash_archive(image, to(layout, "zero"))
    assert two_runs(image, layout, monkeypatch, fails=False) == [None, None]
    assert names(layout) == [*(["zero"] if there else []), "one", "two"]
    assert sorted(os.listdir(layout)) == ["blobs", "index.json", "oci-layout"]


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_fails_takes_nothing_from_another(
    there: bool, image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first removes its blobs, and the folder if it has made it, before the second begins."""
    layout = folder / "layout"
    if there:
        squasher.squash_archive(image, to(layout, "zero"))
    first, second = two_runs(image, layout, monkeypatch, fails=True)
    assert isinstance(first, FailedError)
    assert second is None
    assert names(layout) == [*(["zero"] if there else []), "two"]


def test_a_filesystem_without_locks(
    image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    squasher.squash_archive(image, to(folder, "one"))
    assert names(folder) == ["one"]


def test_a_signal_that_comes_when_the_index_is_there(
    image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index must never lead to blobs that have been taken back."""
    layout = folder / "layout"

    def interrupted(path: str) -> None:
        if (layout / "index.json").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(output_file, "sync_folder", interrupted)
    with pytest.raises(KeyboardInterrupt):
        squasher.squash_archive(image, to(layout, "one"))
    assert names(layout) == ["one"]


# ---------------------------------------------------------------- damage


def blobs(folder: Path) -> list[Path]:
    return sorted((folder / "blobs" / "sha256").iterdir())


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))


@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_blob_is_replaced(verify: bool, image: Path, folder: Path) -> None:
    squasher.squash_archive(image, to(folder, "one"), keep_layers=1)
    whole = {path: path.read_bytes() for path in blobs(folder)}
    for path in whole:
        damage(path)
    squasher.squash_archive(image, to(folder, "one"), keep_layers=1, verify=verify)
    assert {path: path.read_bytes() for path in blobs(folder)} == whole


def test_a_damaged_blob_that_is_replaced_stays_so_after_a_failure(
    image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squasher.squash_archive(image, to(folder, "one"))
    whole = {path: path.read_bytes() for path in blobs(folder)}
    for path in whole:
        damage(path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layout_folder, "_merged_index", full)
    with pytest.raises(OSError, match="No space left"):
        squasher.squash_archive(image, to(folder, "one"))
    assert {path: path.read_bytes() for path in blobs(folder)} == whole


def test_verify_reads_what_lies_in_the_folder(
    image: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squasher.squash_archive(image, to(folder, "one"), keep_layers=1)
    index = (folder / "index.json").read_bytes()
    damage(max(blobs(folder), key=lambda path: path.stat().st_size))
    monkeypatch.setattr(layout_folder, "_is_whole", lambda *arguments: True)
    with pytest.raises(PolicyError, match=r"^not verified: .*expected sha256:"):
        squasher.squash_archive(image, to(folder, "two"), keep_layers=1, verify=True)
    assert (folder / "index.json").read_bytes() == index
    (folder / "manifest.json").write_bytes(b"[]")  # what else lies there does not matter
    monkeypatch.undo()
    squasher.squash_archive(image, to(folder, "two"), keep_layers=1, verify=True)
    assert names(folder) == ["one", "two"]


def test_verify_needs_no_room_for_a_copy(image: Path, folder: Path) -> None:
    squasher.squash_archive(image, to(folder, "one"), verify=True, tmp_dir=folder / "none")
    assert names(folder) == ["one"]


def test_an_index_that_cannot_be_read(image: Path, folder: Path) -> None:
    """Nothing is added to such a layout."""
    (folder / "index.json").write_bytes(b"")
    with pytest.raises(OutputError, match="not valid JSON"):
        squasher.squash_archive(image, to(folder, "one"))
    assert os.listdir(folder) == ["index.json"]


def test_a_folder_in_the_place_of_a_blob(image: Path, folder: Path) -> None:
    squasher.squash_archive(image, to(folder, "one"))
    (first, *_) = blobs(folder)
    first.unlink()
    first.mkdir()
    (first / "kept").touch()
    with pytest.raises(OutputError, match=r"Is a directory|Directory not empty|File exists"):
        squasher.squash_archive(image, to(folder, "one"))
    assert (first / "kept").exists()
