"""What others than docker have packed: every engine shows the same files before and after."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import squasher
from tests.builders import archive
from tests.engines.engines import EngineError, Loader
from tests.engines.tree import differences
from tests.forms.shapes import plain_files
from tests.readers.test_writers import (
    ROOMY,
    WITH_ACLS,
    WRITERS,
    above,
    give_acls,
    hard,
    packed,
    plain,
    program,
)

TAG = "example.com/foreign:1"
#: An outer archive of each of these is loaded, in turn: all engines together see them all.
OUTER = ("gnu-posix", "bsdtar-pax", "ruby", "node-tar-stream", "busybox", "tarfile-gnu", "perl")


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Give two layers of each writer, with its files in a folder of its own."""
    return list(_layers(tmp_path_factory.mktemp("layers")))


def _layers(place: Path) -> Iterator[bytes]:
    for name, write in WRITERS.items():
        for n, fill in enumerate((hard if name in ROOMY else plain, above)):

            def inside(folder: Path, fill=fill, own: str = name) -> None:  # type: ignore[no-untyped-def]
                folder.mkdir()
                fill(folder / own)
                if own == "gnu-posix":
                    os.setxattr(folder / own / "etc", "user.note", b"\0\xff=\n")
                if own in WITH_ACLS and (folder / own / "etc/same").is_file():
                    give_acls(folder / own)

            yield packed(WITH_ACLS.get(name, write), inside, place / f"{name}-{n}")


def _packed_again(image: bytes, name: str, place: Path) -> bytes:
    """Return an archive whose members another tar has packed."""
    folder = place / "archive"
    folder.mkdir(parents=True)
    for member, data in plain_files(image).items():
        assert data is not None, "flat, as podman writes it"
        (folder / member).write_bytes(data)
    WRITERS[name](folder, place / "again.tar")
    return (place / "again.tar").read_bytes()


def test_what_others_have_packed(loader: Loader, layers: list[bytes], tmp_path: Path) -> None:
    outer = OUTER[sum(map(ord, loader.name)) % len(OUTER)]
    image = archive(layers, form="podman", tags=(TAG,), shared=False)
    before, after = tmp_path / "before.tar", tmp_path / "after.tar"
    before.write_bytes(_packed_again(image, outer, tmp_path))
    squasher.squash_archive(before, after, keep_layers=1, verify=True)
    since = time.time_ns()
    (name,) = loader.load(before)
    tree = loader.tree(name)
    loader.prune()
    (name,) = loader.load(after)
    assert differences(tree, loader.tree(name), stamped_since=since) == []
    assert len(tree) > 10 * len(WRITERS)


def test_no_engine_takes_the_old_form_of_sparse_files(loader: Loader, tmp_path: Path) -> None:
    """So squash refuses it: R2."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        with (folder / "sparse").open("wb") as file:
            file.seek(1 << 20)
            file.write(b"data")
            file.truncate(4 << 20)

    old = packed(program("tar", "--format=gnu", "--sparse", "-cf"), fill, tmp_path / "old")
    (tmp_path / "old.tar").write_bytes(archive([old], form="podman", tags=(TAG,)))
    with pytest.raises(EngineError, match=r"unhandled tar header type 83|unknown typeflag '\\x53'"):
        loader.tree(loader.load(tmp_path / "old.tar")[0])
