"""Rules for the image, whoever built it."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

import squasher


def name(entry: tarfile.TarInfo) -> str:
    """Return the path of an entry, as a container has it."""
    return str(PurePosixPath("/") / entry.name)


def test_it_has_no_private_keys(root: tarfile.TarFile) -> None:
    assert not [entry.name for entry in root if entry.name.endswith((".key", ".pem", "id_rsa"))]


def test_only_root_can_write_to_programs(root: tarfile.TarFile) -> None:
    programs = [entry for entry in root if name(entry).startswith(("/bin/", "/usr/bin/"))]
    assert programs
    assert not [x.name for x in programs if not x.issym() and (x.mode & 0o022 or x.uid)]


def test_it_starts_what_it_should(root: tarfile.TarFile) -> None:
    (program,) = [entry for entry in root if name(entry) == "/usr/bin/greet"]
    assert program.mode & 0o111


def test_squashing_would_not_save_much(
    image_report: tuple[squasher.SquashReport, Path],
) -> None:
    (image,) = image_report[0].images
    assert image.size_after > 0.5 * image.size_before
