"""Where the members of an image lie: an outer tar, or the folder of an OCI layout.

A seekable tar is read where it lies. What cannot seek, or is compressed as a whole, is copied
once to a temporary file, and its members are hashed while they come.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import BinaryIO

from squasher.archive.members import FolderStore, Store, TarStore, names
from squasher.blobs.compression import HEAD, decompress, sniff
from squasher.blobs.content import Content, ContentReader, Extent, open_file
from squasher.blobs.spool import OwnFile
from squasher.blobs.streams import read_some, widen_pipe
from squasher.errors import ArchiveError, placed
from squasher.run import Job
from squasher.tar.entry import REG
from squasher.tar.members import is_header, members
from squasher.tasks import Task

#: Seconds after which whoever waits for more looks whether the job has ended.
_PATIENCE = 0.2
_CHUNK = 1 << 20
_WINDOW = 4 << 20

Source = str | os.PathLike[str] | BinaryIO


def open_store(source: Source, job: Job, *, hashed: bool = True) -> tuple[Store, str]:
    """Return the members of `source`, and its name for messages.

    What cannot seek is copied to a temporary file of `job`; not `hashed` tells that nobody will
    ask for the digests of its members. O(members). Raises ArchiveError,
    OutputError (no room for the copy).
    """
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if os.path.isdir(name):
            return FolderStore(name, job), name
        try:
            stream: BinaryIO = open(source, "rb")  # noqa: SIM115
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}", where=name) from None
        job.spool.keep(stream)
    else:
        stream = source
        name = _stream_name(source)
    with placed(name):
        content = _content(stream, job, hashed)
        if not content.size:
            raise ArchiveError("is empty", hint="did the command before the pipe fail?")
        head = content.read_at(0, 512)
        if not is_header(head) and any(head):  # all zeros is an archive without members
            raise _no_tar(head)
        return TarStore(content), name


#: What people give in place of an archive: its first bytes, what it is, what to do.
_OTHERS = (
    (b"PK\x03\x04", "is a zip file", "unzip it first: CI systems zip their artifacts"),
    (b"\xff\xfe", "is text in UTF-16, as PowerShell's > writes it", "use `docker save -o FILE`"),
    (b"<!doctype html", "is a web page (HTML)", "does the download need a login?"),
    (b"<html", "is a web page (HTML)", "does the download need a login?"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file", "run `git lfs pull` first"),
)
_SIF = slice(32, 41)  # Source: sylabs/sif, the global header: a line for the shell, then the magic


def _no_tar(head: bytes) -> ArchiveError:
    """Return what to say of an archive, unpacked once, that begins with `head` and is no tar."""
    if twice := sniff(head):
        what = f"is compressed twice, the second time with {twice}"
        return ArchiveError(what, hint="decompress it once first")
    if head[_SIF] == b"SIF_MAGIC":
        return ArchiveError(
            "is an image of Singularity or Apptainer (SIF)",
            hint="give the image that it was made from",
        )
    start = head.lstrip().lower()
    for magic, what, hint in _OTHERS:
        if start.startswith(magic.lower()):
            return ArchiveError(what, hint=hint)
    return ArchiveError("is not a tar archive", hint="give what `docker save` writes")


def _stream_name(stream: BinaryIO) -> str:
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) and not name.startswith("<") else "stdin"


def _content(stream: BinaryIO, job: Job, hashed: bool) -> Content:
    """Return the archive in `stream`, uncompressed and with random access."""

    def progress(count: int) -> None:
        job.progress("spool", count)

    size = _size(stream)
    if size is not None:
        content = Content((Extent(open_file(stream), 0, size),))
        compression = sniff(content.read_at(0, HEAD))
        if not compression:
            return content
        raw: BinaryIO = ContentReader(content, progress)  # type: ignore[assignment]
        with job.timed("spool"):
            return _copied(decompress(compression, raw), job, hashed)
    widen_pipe(stream)
    chunks, head = _pieces(stream, progress), b""
    with job.timed("spool"):
        while len(head) < HEAD and (more := next(chunks, b"")):
            head += more
        whole = chain((head,), chunks)
        compression = sniff(head[:HEAD])
        if compression:
            return _copied(decompress(compression, Chunks(whole)), job, hashed)  # type: ignore[arg-type]
        return _copied(whole, job, hashed, stream.fileno() if _is_pipe(stream) else None)


def _is_pipe(stream: BinaryIO) -> bool:
    """Tell whether `stream` is a pipe of the system with nothing between it and us."""
    return (
        hasattr(os, "splice")
        and isinstance(stream, io.FileIO)
        and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    )


def _copied(chunks: Iterator[bytes], job: Job, hashed: bool, pipe: int | None = None) -> Content:
    """Return what `chunks` bring, in a temporary file whose members are hashed as it grows.

    Not `hashed` leaves that out. If they come from a pipe, given as a descriptor, all but the
    first are moved and not read.
    """
    if not hashed or not hasattr(os, "pread"):  # Windows
        return job.spool.store(chunks)
    growing = _Growing(job.spool.create(), job)
    file = growing.stream

    def moved(count: int) -> None:
        growing.grow(count)
        job.progress("spool", count)

    try:
        if pipe is not None:
            job.spool.fill(file, islice(chunks, 1), growing.grow)
            job.spool.move(file, pipe, moved)
        job.spool.fill(file, chunks, growing.grow)
    finally:
        growing.end()
    return Content((Extent(growing, 0, file.tell()),))


class _Growing(OwnFile):
    """A temporary file that is read while it is written: another thread hashes its members."""

    def __init__(self, stream: BinaryIO, job: Job) -> None:
        super().__init__(stream)
        self.stream = stream
        self._job = job
        self._written = 0
        self._complete = False
        self._changed = threading.Condition()
        self._hashes: Task[dict[tuple[int, int], str]] = job.start(self._follow)

    def grow(self, count: int) -> None:
        """Take note that there are so many bytes more."""
        with self._changed:
            self._written += count
            self._changed.notify()

    def end(self) -> None:
        """Take note that no more will come."""
        with self._changed:
            self._complete = True
            self._changed.notify()

    def known_digest(self, offset: int, size: int) -> str | None:
        """Return the SHA-256 of what lies there as hex; None if that is no member."""
        return self._hashes.result().get((offset, size))

    def _follow(self) -> dict[tuple[int, int], str]:
        """Return the SHA-256 of each member by its offset and size."""
        found: dict[tuple[int, int], str] = {}
        try:
            for member in members(self._wait_and_read, sys.maxsize):
                if member.kind == REG:
                    sha256 = hashlib.sha256()
                    for at in range(0, member.size, _WINDOW):
                        take = min(_WINDOW, member.size - at)
                        data = self._wait_and_read(member.offset + at, take)
                        with self._job.timed("hash"):
                            sha256.update(data)
                    found[member.offset, member.size] = sha256.hexdigest()
        except (ArchiveError, OSError):  # whoever opens the archive will say it better
            pass
        return found

    def _wait_and_read(self, offset: int, size: int) -> bytes:
        with self._changed:
            while not self._complete and self._written < offset + size:
                # A signal can end the job before, or while, anybody says that it is complete.
                self._changed.wait(_PATIENCE)
                self._job.check()
        self._job.check()
        return self.read_at(offset, size)


def _size(stream: BinaryIO) -> int | None:
    """Return the size of a stream that can seek, None for another."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            return None
    except (OSError, AttributeError):
        pass
    try:
        return stream.seek(0, os.SEEK_END) if stream.seekable() else None
    except (OSError, ValueError):  # gzip.GzipFile says that it can
        return None


class Chunks(io.RawIOBase):
    """Chunks as they come, as a stream that cannot seek; `name` is for messages."""

    def __init__(self, chunks: Iterable[bytes], name: str = "") -> None:
        super().__init__()
        self.name = name
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Put the next bytes into `buffer`, those of one chunk at most."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        data = self._rest[: len(buffer)]
        self._rest = self._rest[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def _pieces(stream: BinaryIO, progress: Callable[[int], None]) -> Iterator[bytes]:
    """Yield what a stream that cannot seek brings, in pieces as they come; say how much."""
    while True:
        try:
            data = read_some(stream, _CHUNK)
        except OSError as error:
            raise ArchiveError(f"cannot be read: {error.strerror}") from None
        if not data:
            return
        progress(len(data))
        yield data


def folder_below(store: Store) -> str:
    """Return the first folder at the top that has an image's documents, "" if none has."""
    for place in names(store) if isinstance(store, TarStore) else store.below():
        folder, _, name = place.partition("/")
        if name in ("manifest.json", "index.json"):
            return folder
    return ""
