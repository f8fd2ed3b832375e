"""What the tests of faults share: an image in a file, and folders that must stay clean."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from squasher.cli.main import run
from tests.builders import Dir, File, Whiteout, archive, layer

LOWER = layer(Dir(b"etc"), File(b"etc/motd", b"hello\n"), File(b"etc/issue", b"old"))
MIDDLE = layer(Dir(b"etc"), File(b"etc/motd", b"hello again\n"))
UPPER = layer(Dir(b"etc"), Whiteout(b"etc/issue"), File(b"new", b"n" * 700))
IMAGE = archive([LOWER, MIDDLE, UPPER])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return the path of an image of three layers."""
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder for output, in which nothing must be left behind."""
    path = tmp_path / "out"
    path.mkdir()
    return path


class Here(Protocol):
    """Runs the command inside this process, which takes a tenth of the time."""

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Return what came of it."""
        ...


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Here:
    """Return the command inside this process."""

    def call(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return call
