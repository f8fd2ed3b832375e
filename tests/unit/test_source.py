"""squasher.archive.source and archive.members: the members of an archive, and what a stream is."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import selectors
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from squasher.archive.members import FolderStore, TarStore, document, names
from squasher.archive.source import Chunks, _Growing, _pieces, open_store
from squasher.blobs.content import Content
from squasher.errors import ArchiveError, OutputError, UnsupportedImageError
from squasher.run import Job
from squasher.tasks import Cancelled
from tests.builders import Char, Dir, File, Hardlink, Symlink, layer, outer_tar


def store(*parts: object) -> TarStore:
    return TarStore(Content((layer(*parts),)))  # type: ignore[arg-type]


def test_members_are_found_however_they_are_spelled() -> None:
    found = store(Dir(b"d"), File(b"./d/f", b"1"), File(b"/g", b"2"), File(b"\xff", b"3"))
    for name, data in (("d/f", b"1"), ("./d//f", b"1"), ("d/../g", b"2"), ("/g", b"2")):
        assert name in found
        assert document(found, name) == data
    assert document(found, "\udcff") == b"3"
    assert "d" not in found
    assert sorted(names(found)) == ["d/f", "g", "\udcff"]


def test_links_lead_on() -> None:
    found = store(
        File(b"a/f", b"1"),
        Symlink(b"b/s", b"../a/f"),
        Symlink(b"t", b"/b/s"),
        Hardlink(b"h", b"t"),
    )
    for name in ("b/s", "t", "h"):
        assert document(found, name) == b"1"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none", "'none': is not in the archive"),
        ("dangling", "'dangling': is not in the archive"),
        ("device", "'device': is not a regular file"),
        ("loop", "'loop': is not a regular file"),
        ("\udcff\n", r"'\\xff\\n': is not in the archive"),
    ],
)
def test_what_is_no_file(name: str, says: str) -> None:
    found = store(Symlink(b"dangling", b"x"), Char(b"device"), Symlink(b"loop", b"loop"))
    with pytest.raises(ArchiveError, match=says):
        found.content(name)


def test_what_is_no_archive_of_members() -> None:
    with pytest.raises(ArchiveError, match=r"'\./a': the member occurs twice"):
        store(File(b"a"), File(b"./a"))
    with pytest.raises(ArchiveError, match=r"'\.\./a': the name leads out of the root"):
        store(File(b"../a"))


def test_a_document_is_not_too_long() -> None:
    found = TarStore(Content((layer(File(b"a", bytes((20 << 20) + 1))),)))
    says = "a: the document has 20971521 bytes, more than 16 MiB; engines"
    with pytest.raises(UnsupportedImageError, match=says):
        document(found, "a")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    job = Job()
    found = FolderStore(str(tmp_path), job)
    assert "f" in found
    assert "g" not in found
    assert document(found, "f") == b"1"
    assert found.content("f") is found.content("f")  # a file is opened once
    with pytest.raises(ArchiveError, match="g: cannot be read: No such file"):
        found.content("g")
    assert list(names(found)) == []
    job.close()


def test_a_folder_with_other_documents(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(b"old")
    (tmp_path / "manifest.json").write_bytes(b"[]")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "b").write_bytes(b"1")
    with Job() as job:
        found = FolderStore(str(tmp_path), job, {"index.json": b"new"})
        assert document(found, "index.json") == b"new"
        assert "index.json" in found
        assert "manifest.json" not in found
        assert "blobs/b" in found
        assert "blobs/c" not in found
        assert document(found, "blobs/b") == b"1"


# ---------------------------------------------------------------- opening


TAR = layer(File(b"f", b"1" * 3000))


class Pipe(io.RawIOBase):
    """Cannot seek; gives what it has in small pieces."""

    def __init__(self, data: bytes, piece: int = 7000) -> None:
        super().__init__()
        self.data = io.BytesIO(data)
        self.piece = piece

    def readable(self) -> bool:
        """Say yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return less than was asked for."""
        return self.data.read(min(size, self.piece))


def opened(source: object) -> tuple[bytes, str, int]:
    """Return the member `f`, the name of the source, and the bytes that were heard of."""
    heard: list[int] = []
    with Job(progress=lambda phase, done, total: heard.append(done)) as job:
        found, name = open_store(source, job)  # type: ignore[arg-type]
        return document(found, "f"), name, sum(heard)


def test_paths_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(TAR)
    assert opened(path) == opened(str(path)) == (b"1" * 3000, str(path), 0)
    assert opened(io.BytesIO(TAR)) == (b"1" * 3000, "stdin", 0)
    with path.open("rb") as stream:
        stream.seek(5)
        assert opened(stream) == (b"1" * 3000, str(path), 0)
    folder = tmp_path / "layout"
    folder.mkdir()
    (folder / "f").write_bytes(b"1")
    assert opened(folder) == (b"1", str(folder), 0)


@pytest.mark.parametrize("piece", [1, 5, 7000])
def test_what_cannot_seek_is_copied(piece: int) -> None:
    assert opened(Pipe(TAR, piece)) == (b"1" * 3000, "stdin", len(TAR))
    packed = gzip.compress(TAR)
    assert opened(Pipe(packed, piece)) == (b"1" * 3000, "stdin", len(packed))


def test_what_is_piped_is_a_stream() -> None:
    pieces = _pieces(Pipe(TAR), lambda count: None)  # type: ignore[arg-type]
    assert io.BufferedReader(Chunks(pieces)).read() == TAR


def test_what_is_compressed_is_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(TAR)
    assert opened(io.BytesIO(packed)) == (b"1" * 3000, "stdin", len(packed))


def test_a_stream_that_only_says_that_it_seeks() -> None:
    class Broken(io.BytesIO):
        def seek(self, at: int, whence: int = 0) -> int:
            raise OSError(29, "Illegal seek")

    assert opened(Broken(TAR))[0] == b"1" * 3000


def test_a_read_that_fails() -> None:
    class Broken(Pipe):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(ArchiveError, match=r"^stdin: cannot be read: Input/output error"):
        opened(Broken(b""))


def test_a_pipe_of_the_system() -> None:
    reader, writer = os.pipe()
    os.write(writer, TAR)
    os.close(writer)
    with open(reader, "rb") as stream:
        assert opened(stream)[0] == b"1" * 3000


@pytest.mark.skipif(not hasattr(os, "splice"), reason="this system has no splice(2)")
@pytest.mark.parametrize("error", [None, errno.EINVAL, errno.ENOSPC])
def test_what_a_pipe_holds_is_moved(error: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filesystem that cannot do it gets the bytes in the old way, a full one is an error."""
    moves = []
    real = os.splice

    def splice(source: int, target: int, count: int) -> int:
        if error:
            raise OSError(error, "refused")
        moves.append(real(source, target, count))
        return moves[-1]

    monkeypatch.setattr(os, "splice", splice)
    data = layer(File(b"f", bytes(range(256)) * 12), File(b"g", b"2" * (3 << 20)))
    reader, writer = os.pipe()

    def feed() -> None:
        with open(writer, "wb") as stream, contextlib.suppress(BrokenPipeError):
            stream.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with open(reader, "rb", buffering=0) as stream, Job() as job:
            if error == errno.ENOSPC:
                with pytest.raises(OutputError, match="cannot write temporary data after"):
                    open_store(stream, job)
                return
            heard: list[int] = []
            with Job(progress=lambda phase, done, total: heard.append(done)) as job:
                store, _ = open_store(stream, job)
                found = store.content("g")
                assert found.known_digest == hashlib.sha256(b"2" * (3 << 20)).hexdigest()
                assert document(store, "f") == bytes(range(256)) * 12
            assert sum(heard) == len(data)
            assert bool(moves) == (error is None)
    finally:
        feeder.join()


def test_streams_have_names(tmp_path: Path) -> None:
    def name(value: object) -> str:
        stream: BinaryIO = io.BytesIO(TAR)
        stream.name = value  # type: ignore[misc]
        return opened(stream)[1]

    assert [name(value) for value in ("a.tar", "<stdin>", 0)] == ["a.tar", "stdin", "stdin"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"x" * 100, "is not a tar archive"),
        (b"x" * 1000, "is not a tar archive"),
    ],
)
def test_what_is_no_archive(data: bytes, says: str) -> None:
    for stream in (io.BytesIO(data), Pipe(data)):
        with pytest.raises(ArchiveError, match=rf"^stdin: {says}"):
            opened(stream)


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="none: cannot be read: No such file"):
        opened(tmp_path / "none")


def test_members_are_hashed_while_they_come() -> None:
    """A pipe's members are hashed once, as they arrive; parts of them and other bytes are not."""
    data = outer_tar({"one": b"1" * 3000, "two": b"2" * 5000})
    with Job() as job:
        store, _ = open_store(Pipe(data), job)  # type: ignore[arg-type]
        for name, held in (("one", b"1" * 3000), ("two", b"2" * 5000)):
            content = store.content(name)
            assert content.known_digest == hashlib.sha256(held).hexdigest()
            assert Content(tuple(content.slice(1, 9))).known_digest is None
    with Job() as job:
        store, _ = open_store(io.BytesIO(data), job)
        assert store.content("one").known_digest is None


def test_hashing_what_comes_ends_with_what_came() -> None:
    """The thread that follows a pipe must not wait for what never comes."""
    for data in (TAR[:700], TAR[: 512 + 3000], b"x" * 5000, TAR[:512] + b"x" * 5000):
        with Job() as job:
            with contextlib.suppress(ArchiveError):
                open_store(Pipe(data), job)  # type: ignore[arg-type]
            job.settle()


def test_hashing_what_comes_ends_with_the_job() -> None:
    """Also where a signal came before anybody could say that no more will come."""
    with Job() as job:
        growing = _Growing(job.spool.create(), job)
        task = growing._hashes
    with pytest.raises(Cancelled):
        task.result()


class Feeder:
    """A pipe that does not block, into which a piece is put each time that somebody waits."""

    def __init__(self, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.target = os.pipe()
        os.set_blocking(self.source, False)
        self.pieces = [data[at : at + 3000] for at in range(0, len(data), 3000)]
        self.waited = 0
        monkeypatch.setattr(selectors.DefaultSelector, "select", self.select)

    def select(self, *_: object) -> None:
        """Wait."""
        self.waited += 1
        if self.pieces:
            os.write(self.target, self.pieces.pop(0))
        else:
            os.close(self.target)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("buffering", [0, -1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_pipe_that_does_not_block(
    pack: Callable[[bytes], bytes],
    buffering: int,
    hashed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever started us may have set that; with nothing there yet it seemed to have ended."""
    data = layer(File(b"f", os.urandom(20_000)))
    feeder = Feeder(pack(data), monkeypatch)
    pieces = len(feeder.pieces)
    with open(feeder.source, "rb", buffering=buffering) as stream, Job() as job:
        store, _ = open_store(stream, job, hashed=hashed)
        assert document(store, "f") == data[512:20_512]
    assert feeder.waited == pieces + 1


def test_reads_that_are_interrupted_or_would_block() -> None:
    class Interrupted(Pipe):
        """Raises what a stream can that does not try again by itself."""

        def read(self, size: int = -1) -> bytes:
            if raises:
                raise raises.pop()
            return super().read(size)

        def fileno(self) -> int:
            return source

    raises: list[OSError] = [InterruptedError(), BlockingIOError(), InterruptedError()]
    source, target = os.pipe()
    os.close(target)
    assert opened(Interrupted(TAR))[0] == b"1" * 3000
    os.close(source)
