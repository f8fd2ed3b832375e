"""An archive as a stream of bytes, into a file or into a pipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from squasher.archive.lay_out import Written, member_header
from squasher.archive.output_file import (
    Destination,
    Progress,
    StagedFile,
    put_all,
    put_through,
    staged_file,
)
from squasher.blobs.compression import Compression, compress, default
from squasher.blobs.content import Content, Extent, part_size
from squasher.blobs.spool import movable
from squasher.errors import placed
from squasher.run import Job
from squasher.tar.entry import BLOCK

_Piece = TypeVar("_Piece", bytes, bytes | Extent)


@contextlib.contextmanager
def staged_archive(
    written: Written, destination: Destination, progress: Progress, job: Job
) -> Iterator[StagedFile]:
    """Write the archive beside a path that it `replaces`; it takes its name when it is committed.

    A name that ends in .tar.gz, .tgz or .tar.zst compresses it. Raises as `staged_file` does, and
    ArchiveError if the input has changed meanwhile.
    """
    name = os.fspath(destination)  # type: ignore[arg-type]
    data = _compressed(name, chunks(written.members, progress), job)
    with staged_file(name, data, 0 if outer_compression(name).name else written.size) as staged:
        yield staged


def write_stream(written: Written, destination: Destination, progress: Progress, job: Job) -> None:
    """Write the archive to a binary file object, or to a path that is written like one.

    Raises OutputError, and ArchiveError if the input has changed meanwhile.
    """
    data = pieces(written.members, progress)
    if not isinstance(destination, str | os.PathLike):
        put_all(destination, data, "output")
        return
    name = os.fspath(destination)
    if outer_compression(name).name:
        data = _compressed(name, chunks(written.members, progress), job)
    put_through(name, data)


def _compressed(name: str, data: Iterator[bytes], job: Job) -> Iterator[bytes]:
    """Return `data` as an archive of that name has it, and time what compresses it."""
    how = outer_compression(name)
    return job.timed_each(how.name, compress(how, data)) if how.name else data


def outer_compression(name: str) -> Compression:
    """Return how an archive of that name is to be compressed as a whole."""
    if name.endswith((".tar.gz", ".tgz")):
        return default("gzip")
    return default("zstd" if name.endswith(".tar.zst") else "")


def chunks(members: Iterable[tuple[str, Content]], progress: Progress) -> Iterator[bytes]:
    """Yield the bytes of an archive, or of its end, from `members`."""
    return _archive(members, progress, Content.windows)


def pieces(members: Iterable[tuple[str, Content]], progress: Progress) -> Iterator[bytes | Extent]:
    """Yield the same, but what lies in temporary files as such: a pipe takes it without a copy."""
    return _archive(members, progress, movable)


def _archive(
    members: Iterable[tuple[str, Content]],
    progress: Progress,
    how: Callable[[Content], Iterator[_Piece]],
) -> Iterator[_Piece | bytes]:
    for member, content in members:
        yield member_header(member, content.size)
        yield from _counted(content, member, progress, how)
        yield bytes(-content.size % BLOCK)
    yield bytes(2 * BLOCK)  # the documents came last: without them there is no image


def counted(content: Content, place: str, progress: Progress) -> Iterator[bytes]:
    """Yield what is written at `place`; say how much. Raises ArchiveError if it has changed."""
    return _counted(content, place, progress, Content.windows)


def _counted(
    content: Content, place: str, progress: Progress, how: Callable[[Content], Iterator[_Piece]]
) -> Iterator[_Piece]:
    with placed(place):
        for piece in how(content):
            yield piece
            progress(part_size(piece))
        content.check()
