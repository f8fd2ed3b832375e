"""An archive as a stream of bytes, into a file or into a pipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from squasher.archive.lay_out import Written, member_header
from squasher.archive.output_file import (
    WINDOW,
    Destination,
    Progress,
    StagedFile,
    put_all,
    put_through,
    staged_file,
)
from squasher.blobs.compression import Compression, compress, default
from squasher.blobs.content import Content
from squasher.errors import placed
from squasher.run import Job
from squasher.tar.entry import BLOCK


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
    data = chunks(written.members, progress)
    if isinstance(destination, str | os.PathLike):
        name = os.fspath(destination)
        put_through(name, _compressed(name, data, job))
    else:
        put_all(destination, data, "output")


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
    for member, content in members:
        yield member_header(member, content.size)
        yield from counted(content, member, progress)
        yield bytes(-content.size % BLOCK)
    yield bytes(2 * BLOCK)  # the documents came last: without them there is no image


def counted(content: Content, place: str, progress: Progress) -> Iterator[bytes]:
    """Yield what is written at `place`; say how much. Raises ArchiveError if it has changed."""
    with placed(place):
        for window in content.windows(WINDOW):
            yield window
            progress(len(window))
        content.check()
