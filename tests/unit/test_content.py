"""squasher.blobs.content: bytes that can be read again and again."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import io
import lzma
import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from squasher.blobs.content import (
    Content,
    ContentReader,
    DescriptorFile,
    Extent,
    Hole,
    Part,
    StreamFile,
    open_file,
)
from squasher.blobs.streams import widen_pipe
from squasher.errors import ArchiveError

DATA = bytes(range(256)) * 8


@pytest.fixture
def content() -> Content:
    file = open_file(io.BytesIO(DATA))
    return Content((b"head", Extent(file, 100, 50), Hole(0), Hole(7), b"", Extent(file, 0, 3)))


WHOLE = b"head" + DATA[100:150] + bytes(7) + DATA[:3]


def test_it_reads_like_one_piece(content: Content) -> None:
    assert content.size == len(WHOLE)
    for start in range(len(WHOLE) + 2):
        for size in range(len(WHOLE) + 2 - start):
            assert content.read_at(start, size) == WHOLE[start : start + size]


def test_a_slice_is_content_again(content: Content) -> None:
    for start in range(len(WHOLE)):
        for stop in range(start, len(WHOLE) + 1):
            part = Content(tuple(content.slice(start, stop)))
            assert part.read_at(0, part.size) == WHOLE[start:stop]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 20])
def test_windows_bring_all_bytes_in_order(content: Content, size: int) -> None:
    assert b"".join(content.windows(size)) == WHOLE


def test_windows_are_of_about_their_size() -> None:
    """Small parts come together, near ones are read at once, large ones are cut."""

    class Counted(StreamFile):
        reads = 0

        def read_at(self, offset: int, size: int) -> bytes:
            self.reads += 1
            return super().read_at(offset, size)

    data = os.urandom(400_000)
    file = Counted(io.BytesIO(data))
    small = [Extent(file, at, 500) for at in range(0, 200_000, 1000)]
    back = [Extent(file, 0, 10), Extent(file, 390_000, 10), Extent(file, 0, 10)]
    parts: list[Part] = [*small, *back, b"literal", Hole(300_000), Extent(file, 0, 400_000)]
    whole = b"".join(data[part.offset : part.offset + part.size] for part in small)
    whole += data[:10] + data[390_000:390_010] + data[:10] + b"literal" + bytes(300_000) + data
    windows = list(Content(parts).windows(70_000))
    assert b"".join(windows) == whole
    assert max(map(len, windows)) <= 70_000 + 64 * 1024
    assert len(windows) < 20
    assert file.reads < 15


def test_nothing() -> None:
    empty = Content(())
    assert (empty.size, empty.read_at(0, 10), list(empty.windows())) == (0, b"", [])
    assert list(empty.slice(0, 0)) == []


def test_a_hole_larger_than_any_window() -> None:
    hole = Content((Hole(3 << 20),))
    assert hole.read_at(0, 3 << 20) == bytes(3 << 20)
    assert sum(map(len, hole.windows())) == 3 << 20


def test_the_reader_is_a_stream(content: Content) -> None:
    heard: list[int] = []
    reader = ContentReader(content, heard.append)
    assert reader.readable()
    assert reader.read(3) == WHOLE[:3]
    assert reader.read() == WHOLE[3:]
    assert reader.read(5) == b""
    assert sum(heard) == len(WHOLE)
    assert io.BufferedReader(ContentReader(content)).read() == WHOLE


def test_files_of_the_system_are_read_without_moving_them(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as stream:
        file = open_file(stream)
        assert isinstance(file, DescriptorFile)
        assert file.descriptor == stream.fileno()
        stream.seek(5)
        assert file.read_at(10, 20) == DATA[10:30]
        assert file.read_at(len(DATA) - 3, 20) == DATA[-3:]
        assert file.read_at(len(DATA), 20) == b""
        assert stream.tell() == 5


def test_a_read_that_the_system_cuts_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, min(size, 100), at))
    with path.open("rb") as stream:
        assert open_file(stream).read_at(3, 1000) == DATA[3:1003]
        assert open_file(stream).read_at(3, 9000) == DATA[3:]


def test_other_streams_are_read_under_a_lock() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 10))

    file = open_file(Trickle(DATA))
    assert isinstance(file, StreamFile)
    assert file.descriptor is None
    got: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda n=n: got.update({n: file.read_at(n, 500)}))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: DATA[n : n + 500] for n in range(20)}
    assert file.read_at(len(DATA) - 2, 10) == DATA[-2:]


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_a_stream_over_a_compressed_file_is_not_that_file(tmp_path: Path, module: object) -> None:
    path = tmp_path / "file"
    opened = module.open  # type: ignore[attr-defined]
    with opened(path, "wb") as stream:
        stream.write(DATA)
    with opened(path, "rb") as stream:
        assert open_file(stream).read_at(5, 100) == DATA[5:105]


def test_streams_without_a_descriptor() -> None:
    class Bare:
        def seek(self, at: int) -> int:
            self.at = at
            return at

        def read(self, size: int) -> bytes:
            data = DATA[self.at : self.at + size]
            self.at += len(data)
            return data

    bare: BinaryIO = Bare()  # type: ignore[assignment]
    assert open_file(bare).read_at(1, 4) == DATA[1:5]


def test_a_file_that_became_shorter_is_an_error() -> None:
    content = Content((Extent(open_file(io.BytesIO(b"short")), 0, 10),))
    with pytest.raises(ArchiveError, match="shorter"):
        content.read_at(0, 10)
    with pytest.raises(ArchiveError, match="shorter"):
        list(content.windows())


def test_a_file_that_was_written_to_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    os.utime(path, (1, 1))
    with path.open("rb") as stream:
        content = Content((b"x", Extent(open_file(stream), 0, 5), Hole(3)))
        os.link(path, tmp_path / "other")
        path.chmod(0o600)
        content.check()
        os.utime(path, (1, 2))
        with pytest.raises(ArchiveError, match="changed while it was read"):
            content.check()
        os.utime(path, (1, 1))
        content.check()
        os.truncate(path, 100)
        os.utime(path, (1, 1))
        with pytest.raises(ArchiveError, match="changed while it was read"):
            content.check()
    Content((Extent(open_file(io.BytesIO(DATA)), 0, 5),)).check()


def test_a_read_that_fails_is_an_error() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    content = Content((Extent(open_file(Broken()), 0, 10),))
    with pytest.raises(ArchiveError, match="cannot be read: Input/output error"):
        content.read_at(0, 10)


# ---------------------------------------------------------------- pipes


def pipe_size(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)


def test_a_pipe_is_widened_where_the_system_can(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb") as writer:
        before = pipe_size(read)
        with monkeypatch.context() as patch:
            patch.delattr(fcntl, "F_SETPIPE_SZ")
            widen_pipe(reader)
        assert pipe_size(read) == before
        widen_pipe(writer)
        assert pipe_size(read) > before


def test_what_is_no_pipe_is_left_alone(tmp_path: Path) -> None:
    widen_pipe(io.BytesIO())
    with (tmp_path / "file").open("wb") as stream:
        widen_pipe(stream)
