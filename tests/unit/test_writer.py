"""squasher.archive, the way out: archives that every loader takes; complete or not at all."""

from __future__ import annotations

import errno
import io
import os
import tarfile
import threading
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO

import pytest

from squasher.archive import layout_folder, output_file
from squasher.archive.lay_out import Written
from squasher.archive.stream import chunks, staged_archive, write_stream
from squasher.blobs.content import Content, Extent, Hole, open_file
from squasher.digest import Digest
from squasher.errors import ArchiveError, OutputError
from squasher.run import Job


def written(*parts: object) -> Written:
    content = Content(parts)  # type: ignore[arg-type]
    return Written({Digest.of(b"x"): content}, (), {"index.json": b"{}"}, {"manifests": []}, ())


SMALL = written(b"data")


def write(
    archive: Written, destination: output_file.Destination, progress: output_file.Progress
) -> None:
    if not output_file.replaces(destination):
        write_stream(archive, destination, progress, Job())
        return
    with staged_archive(archive, destination, progress, Job()) as staged:
        staged.commit()


def test_a_name_that_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match=r"cannot be renamed: .* mounted there"):
        write(SMALL, tmp_path / "x.tar", lambda count: None)
    assert os.listdir(tmp_path) == []


def test_a_descriptor_that_is_closed() -> None:
    output_file.require_open("/dev/stdout.tar")
    output_file.require_open(io.BytesIO())
    output_file.require_open("/dev/fd/1")
    with pytest.raises(OutputError, match="Bad file descriptor"):
        output_file.require_open("/proc/self/fd/999999")


def silent(count: int) -> None:
    """Report nothing."""


def bytes_of(archive: Written) -> bytes:
    stream = io.BytesIO()
    write(archive, stream, silent)
    return stream.getvalue()


def test_members_are_sorted_and_without_times_and_owners() -> None:
    data = bytes_of(SMALL)
    assert len(data) == SMALL.size
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = tar.getmembers()
    assert [member.name for member in found] == [
        "blobs",
        "blobs/sha256",
        f"blobs/sha256/{Digest.of(b'x').hex}",
        "index.json",
    ]
    for member in found:
        assert member.isdir() == (member in found[:2])
        assert member.isreg() != member.isdir()
        mode = 0o755 if member.isdir() else 0o644
        assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, mode)


def test_the_size_of_a_member_that_needs_a_pax_header() -> None:
    class Counting(io.RawIOBase):
        count = 0

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.count += len(data)  # type: ignore[arg-type]
            return len(data)  # type: ignore[arg-type]

    large, stream = written(Hole(8**11)), Counting()
    # The third after those of the folders.
    heads = [
        [chunk for chunk in islice(chunks(archive.members, silent), 5) if chunk][2]
        for archive in (SMALL, large)
    ]
    assert large.size - SMALL.size == 8**11 - 512 + len(heads[1]) - len(heads[0])
    assert len(heads[1]) == 3 * 512
    write(SMALL, stream, silent)  # type: ignore[arg-type]
    assert stream.count == SMALL.size


class Raw(io.RawIOBase):
    """Takes a few bytes at once, and now and then none, as a stream that must not wait does."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.got = b""
        self.turn = 0
        self.descriptor = descriptor

    def fileno(self) -> int:
        """Return something that can be waited for."""
        return self.descriptor

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: object) -> int | None:
        """Take up to 100 bytes, every other time."""
        self.turn += 1
        if self.turn % 2:
            return None
        piece = bytes(data)[:100]  # type: ignore[call-overload]
        self.got += piece
        return len(piece)


def test_a_raw_stream_that_takes_less() -> None:
    reader, other = os.pipe()
    raw = Raw(other)
    write(SMALL, raw, silent)  # type: ignore[arg-type]
    assert raw.got == bytes_of(SMALL)
    os.close(reader)
    os.close(other)


def test_a_pipe_that_must_not_wait() -> None:
    big = written(os.urandom(300_000))
    reader, other = os.pipe()
    os.set_blocking(other, False)
    got: list[bytes] = []

    def read() -> None:
        with open(reader, "rb") as stream:
            got.append(stream.read())

    thread = threading.Thread(target=read)
    thread.start()
    with open(other, "wb", buffering=0) as stream:
        write(big, stream, silent)
    thread.join()
    assert got == [bytes_of(big)]


def test_a_stream_that_takes_no_more() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        stream: BinaryIO = full
        with pytest.raises(OutputError, match=r"^output: cannot be written: No space left"):
            write(SMALL, stream, silent)


def test_what_is_written_is_flushed_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_file, "_FLUSH", 1000)
    advised: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, at, size, how: advised.append((at, size)))
    write(written(b"x" * 5000), tmp_path / "out", silent)
    assert advised
    assert advised[0][0] == 0
    assert all(one[0] + one[1] == two[0] for one, two in pairwise(advised))


@pytest.mark.parametrize("name", ["posix_fadvise", "posix_fallocate"])
def test_systems_that_have_less(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, name)
    write(SMALL, tmp_path / "out", silent)
    assert (tmp_path / "out").read_bytes() == bytes_of(SMALL)


@pytest.mark.parametrize(
    ("number", "says"), [(errno.ENOSPC, "bytes do not fit"), (errno.EOPNOTSUPP, "")]
)
def test_room_is_asked_for_before_anything_is_written(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(descriptor: int, at: int, size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refused)
    if not says:
        write(SMALL, tmp_path / "out", silent)
        return
    with pytest.raises(OutputError, match=says):
        write(SMALL, tmp_path / "out", silent)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_folder_that_cannot_be_synchronised(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, call)
    folders: list[int] = []

    def refused(first: object, *more: object) -> object:
        is_folder = (
            first == str(tmp_path) if call == "open" else os.path.isdir(f"/proc/self/fd/{first}")
        )
        if is_folder:
            folders.append(1)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(first, *more)

    monkeypatch.setattr(os, call, refused)
    write(SMALL, tmp_path / "out", silent)
    monkeypatch.undo()
    assert folders
    assert os.listdir(tmp_path) == ["out"]


def test_an_input_that_became_shorter_leaves_nothing(tmp_path: Path) -> None:
    short = written(Extent(open_file(io.BytesIO(b"short")), 0, 100_000))
    with pytest.raises(ArchiveError, match=r"^blobs/sha256/.*: the input became shorter"):
        write(short, tmp_path / "out", silent)
    layout = layout_folder.staged_layout(short, str(tmp_path / "layout"), silent)
    with pytest.raises(ArchiveError, match=r"^sha256:.*: the input became shorter"), layout:
        pass
    assert os.listdir(tmp_path) == []


def test_what_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    def refuse(path: str) -> None:
        assert Path(path).read_bytes() == bytes_of(SMALL)
        raise ArchiveError("not the same")

    with (
        pytest.raises(ArchiveError, match="not the same"),
        staged_archive(SMALL, tmp_path / "out", silent, Job()) as staged,
    ):
        refuse(staged.path)
    with staged_archive(SMALL, tmp_path / "out", silent, Job()):
        pass
    with layout_folder.staged_layout(SMALL, str(tmp_path / "layout"), silent):
        assert os.listdir(tmp_path / "layout" / "blobs" / "sha256")
    assert os.listdir(tmp_path) == []


def test_what_was_private_is_private_while_it_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.touch(0o600)
    modes: list[int] = []

    def progress(count: int) -> None:
        modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())

    write(SMALL, out, progress)
    assert set(modes) == {0o600}


def test_a_blob_that_cannot_be_read_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    assert not layout_folder._is_whole(str(path), Digest.of(b"x"), 1, silent)
    path.write_bytes(b"x")
    assert layout_folder._is_whole(str(path), Digest.of(b"x"), 1, silent)
    assert not layout_folder._is_whole(str(path), Digest.of(b"x"), 2, silent)
    assert not layout_folder._is_whole(str(path), Digest.of(b"y"), 1, silent)


def test_a_descriptor_of_ours_is_written_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as stream:
        name = f"/dev/fd/{stream.fileno()}"
        assert not output_file.replaces(name)
        stream.write(b"before")
        write(SMALL, name, silent)
        stream.write(b"after")
    assert path.read_bytes() == b"before" + bytes_of(SMALL) + b"after"
    assert os.listdir(tmp_path) == ["log"]


@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.parametrize("blocks", [True, False])
def test_temporary_files_go_into_a_pipe_as_they_are(
    moves: bool, blocks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spliced: list[int] = []

    def splice(source: int, target: int, count: int, *, offset_src: int) -> int:
        if not moves and spliced:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        done = real(source, target, min(count, 70_000), offset_src=offset_src)
        spliced.append(done)
        return done

    real = os.splice
    monkeypatch.setattr(os, "splice", splice)
    data = os.urandom(3 << 20)
    (tmp_path / "other").write_bytes(data)
    with Job() as job, open(tmp_path / "other", "rb", buffering=0) as other:
        theirs = open_file(other)
        stored = job.spool.store((data,))
        parts = (b"head", *stored.slice(5, 2 << 20), Hole(100_000), Extent(theirs, 7, 200_000))
        archive = written(*parts, *stored.slice(9, 19))
        reader, writer = os.pipe()
        os.set_blocking(writer, blocks)
        with open(reader, "rb") as source, open(writer, "wb", buffering=0) as stream:
            task = job.start(source.read)
            write_stream(archive, stream, silent, job)
            stream.close()
            assert job.result(task) == bytes_of(archive)
    assert 0 < sum(spliced) <= (2 << 20) - 5
    assert moves == (sum(spliced) == (2 << 20) - 5)


def test_parts_of_temporary_files_in_a_file(tmp_path: Path) -> None:
    with Job() as job:
        archive = written(*job.spool.store((os.urandom(300_000),)).parts)
        with open(tmp_path / "x", "wb", buffering=0) as stream:
            write_stream(archive, stream, silent, job)
        assert (tmp_path / "x").read_bytes() == bytes_of(archive)
