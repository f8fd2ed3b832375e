"""squasher.blobs.spool: temporary files without a name."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from squasher.blobs.spool import Spool
from squasher.errors import ArchiveError, OutputError


def test_what_is_stored_can_be_read_until_it_is_closed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    content = spool.store([b"one ", b"", b"two"])
    assert (content.size, content.read_at(2, 4)) == (7, b"e tw")
    assert os.listdir(tmp_path) == []
    with open(os.devnull, "rb") as other:
        spool.keep(other)
        spool.close()
        assert other.closed
    with pytest.raises(ArchiveError):
        content.read_at(0, 1)
    spool.close()


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert Spool().folder == str(tmp_path)
    assert Spool("given").folder == "given"
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/var/tmp")  # noqa: S108
    assert Spool().folder == "/var/tmp"  # noqa: S108
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "elsewhere")
    assert Spool().folder == "elsewhere"


def test_no_room_for_what_is_known_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [errno.ENOSPC, errno.EOPNOTSUPP]

    def refuse(*_: object) -> None:
        code = codes.pop(0)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    spool = Spool(tmp_path)
    with pytest.raises(OutputError, match="cannot write temporary data of 3 bytes: No space left"):
        spool.store([b"abc"], 3)
    assert spool.store([b"abc"], 3).read_at(0, 3) == b"abc"  # a filesystem that cannot tell
    spool.close()


def test_no_place_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="cannot write temporary data: No such file"):
        Spool(tmp_path / "none").store([b"x"])
    # The kernel's own full file, in place of a full disk.
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: full)
        with pytest.raises(OutputError, match="No space left on device; choose another folder"):
            Spool(tmp_path).store([b"x"])


def test_an_error_of_the_source_goes_through(tmp_path: Path) -> None:
    def source() -> object:
        yield b"x"
        raise ArchiveError("damaged")

    spool = Spool(tmp_path)
    with pytest.raises(ArchiveError, match="damaged"):
        spool.store(source())  # type: ignore[arg-type]
    spool.close()
    assert os.listdir(tmp_path) == []


def test_how_much_was_there_before_it_was_full(tmp_path: Path) -> None:
    class Small:
        """Takes three bytes, two at once."""

        def __init__(self) -> None:
            self.room = 3

        def write(self, data: memoryview) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            taken = min(2, self.room, len(data))
            self.room -= taken
            return taken

        def tell(self) -> int:
            return 3 - self.room

        def close(self) -> None:
            self.room = 0

    spool = Spool(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda **options: Small())
        with pytest.raises(OutputError, match="after 3 bytes: No space left"):
            spool.store([b"12345"])
    spool.close()


def test_temporary_files_are_private(tmp_path: Path) -> None:
    """Nobody else can read them, and on Linux they have no name."""
    spool = Spool(tmp_path)
    found = os.fstat(spool.create().fileno())
    assert found.st_mode & 0o077 == 0
    assert found.st_nlink == 0
    spool.close()
