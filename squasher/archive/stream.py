"""An archive as a stream of bytes, into a file or into a pipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

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
from squasher.errors import ArchiveError
from squasher.tar.entry import BLOCK


@contextlib.contextmanager
def staged_archive(
    written: Written, destination: Destination, progress: Progress
) -> Iterator[StagedFile]:
    """Write the archive beside a path that it `replaces`; it takes its name when it is committed.

    A name that ends in .tar.gz, .tgz or .tar.zst compresses it. Raises as `staged_file` does, and
    ArchiveError if the input has changed meanwhile.
    """
    name = os.fspath(destination)  # type: ignore[arg-type]
    how = outer_compression(name)
    data = compress(how, chunks(written, progress))
    with staged_file(name, data, 0 if how.name else written.size) as staged:
        yield staged


def write_stream(written: Written, destination: Destination, progress: Progress) -> None:
    """Write the archive to a binary file object, or to a path that is written like one.

    Raises OutputError, and ArchiveError if the input has changed meanwhile.
    """
    data = chunks(written, progress)
    if isinstance(destination, str | os.PathLike):
        name = os.fspath(destination)
        put_through(name, compress(outer_compression(name), data))
    else:
        put_all(destination, data, "output")


def outer_compression(name: str) -> Compression:
    """Return how an archive of that name is to be compressed as a whole."""
    if name.endswith((".tar.gz", ".tgz")):
        return default("gzip")
    return default("zstd" if name.endswith(".tar.zst") else "")


def chunks(written: Written, progress: Progress) -> Iterator[bytes]:
    """Yield the bytes of the archive."""
    for member, content in written.members:
        yield member_header(member, content)
        try:
            for window in content.windows(WINDOW):
                yield window
                progress(len(window))
            content.check()  # the documents come last: without them there is no image
        except ArchiveError as error:
            raise error.within(member) from None
        yield bytes(-content.size % BLOCK)
    yield bytes(2 * BLOCK)
