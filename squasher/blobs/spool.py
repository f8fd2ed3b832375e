"""Temporary files: what a pipe brought, what had to be unpacked or compressed."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from squasher.blobs.content import Content, DescriptorFile, Extent, File, open_file
from squasher.blobs.streams import wait_for
from squasher.errors import OutputError

_CHUNK = 1 << 20
#: Bytes of one part that is moved: progress is told behind each.
_MOVED = 8 << 20


class _Closed(Protocol):
    def close(self) -> None: ...


class OwnFile(DescriptorFile):
    """A temporary file: nobody else writes to it."""

    def changed(self) -> bool:
        """Return False."""
        return False


class Spool:
    """Temporary files without a name, in `folder`; private, and gone when they are closed.

    What is stored goes behind what has been stored before: there are as many files as things were
    ever stored at once, for any number of things. `folder` None stands for $TMPDIR, else /var/tmp:
    /tmp is often memory.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = os.fspath(folder) if folder is not None else _default_folder()
        self._files: list[_Closed] = []
        self._idle: list[BinaryIO] = []

    def keep(self, stream: _Closed) -> None:
        """Close `stream` together with the temporary files."""
        self._files.append(stream)

    def create(self) -> BinaryIO:
        """Return a new file. Raises OutputError."""
        import tempfile  # few need it, and it takes as long as a tenth of a small image

        try:
            # Unbuffered: what cannot be written fails here and not when the file is closed.
            new = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error, 0) from None
        self.keep(new)
        return new

    def store(self, chunks: Iterable[bytes], size: int = 0) -> Content:
        """Return what `chunks` bring, `size` bytes where that is known, copied to a file.

        Raises OutputError, and before anything is copied if so much does not fit.
        """
        with self._borrowed() as stream:
            start = stream.tell()
            if size and hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(stream.fileno(), start, size)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise self._failed(error, 0, size) from None
            self.fill(stream, chunks)
            # Another object for each: who reads two of them does not jump to and fro in one file.
            return Content((Extent(_file(stream), start, stream.tell() - start),))

    @contextmanager
    def _borrowed(self) -> Iterator[BinaryIO]:
        """Give a file to write at its end, one that nobody else writes to meanwhile."""
        stream = self._idle.pop() if self._idle else self.create()
        yield stream
        if isinstance(stream, io.FileIO) and hasattr(os, "pread"):  # else readers move its position
            self._idle.append(stream)

    def fill(
        self, new: BinaryIO, chunks: Iterable[bytes], written: Callable[[int], None] | None = None
    ) -> None:
        """Write `chunks` to a file. Raises OutputError.

        `written` is told after each chunk how many bytes that was.
        """
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                try:
                    rest = rest[new.write(rest) :]
                except OSError as error:
                    raise self._failed(error, new.tell()) from None
            if written is not None:
                written(len(chunk))

    def move(self, new: BinaryIO, pipe: int, written: Callable[[int], None]) -> None:
        """Do the same with what comes out of a pipe, given as a descriptor, as far as that goes.

        The bytes never come up here: a third less time. A filesystem that cannot do that leaves
        all of them in the pipe. Raises OutputError.
        """
        while True:
            try:
                count = os.splice(pipe, new.fileno(), _CHUNK)
            except BlockingIOError:
                wait_for(pipe)
                continue
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return
                raise self._failed(error, new.tell()) from None
            if not count:
                return
            written(count)

    def _failed(self, error: OSError, written: int, size: int = 0) -> OutputError:
        got = f" after {written} bytes" if written else f" of {size} bytes" if size else ""
        return OutputError(
            f"cannot write temporary data{got}: {error.strerror}",
            where=self.folder,
            hint="choose another folder with --tmp-dir",
        )

    def close(self) -> None:
        """Remove everything."""
        while self._files:
            self._files.pop().close()


def movable(content: Content) -> Iterator[bytes | Extent]:
    """Yield `content` in order: large parts of temporary files as such, all the rest read.

    Nobody else writes to a temporary file. So what a pipe has got of one, without a copy, stays.
    """
    for piece in content.pieces():
        if isinstance(piece, Extent) and isinstance(piece.file, OwnFile):
            for at in range(0, piece.size, _MOVED):
                take = min(_MOVED, piece.size - at)
                yield Extent(piece.file, piece.offset + at, take)
        else:
            yield from Content((piece,)).windows()


def _file(stream: BinaryIO) -> File:
    plain = isinstance(stream, io.FileIO) and hasattr(os, "pread")
    return OwnFile(stream) if plain else open_file(stream)


def _default_folder() -> str:
    if os.environ.get("TMPDIR"):
        return os.environ["TMPDIR"]
    if os.path.isdir("/var/tmp"):  # noqa: S108
        return "/var/tmp"  # noqa: S108
    import tempfile

    return tempfile.gettempdir()
