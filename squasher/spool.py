"""Temporary files: what a pipe brought, what had to be unpacked or compressed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

from squasher.content import Content, Extent, open_file
from squasher.errors import OutputError

_CHUNK = 1 << 20


class Spool:
    """Temporary files without a name, in `folder`; private, and gone when they are closed.

    `folder` None stands for $TMPDIR, else /var/tmp: /tmp is often memory.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = os.fspath(folder) if folder is not None else _default_folder()
        self._files: list[BinaryIO] = []

    def keep(self, stream: BinaryIO) -> None:
        """Close `stream` together with the temporary files."""
        self._files.append(stream)

    def create(self) -> BinaryIO:
        """Return a new file. Raises OutputError."""
        try:
            # Unbuffered: what cannot be written fails here and not when the file is closed.
            new = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._failed(error, 0) from None
        self.keep(new)
        return new

    def store(self, chunks: Iterable[bytes], size: int = 0) -> Content:
        """Return what `chunks` bring, `size` bytes where that is known, copied to a new file.

        Raises OutputError, and before anything is copied if so much does not fit.
        """
        new = self.create()
        if size and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(new.fileno(), 0, size)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise self._failed(error, 0, size) from None
        self.fill(new, chunks)
        return Content((Extent(open_file(new), 0, new.tell()),))

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
        try:
            while count := os.splice(pipe, new.fileno(), _CHUNK):
                written(count)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise self._failed(error, new.tell()) from None

    def _failed(self, error: OSError, written: int, size: int = 0) -> OutputError:
        got = f" after {written} bytes" if written else f" of {size} bytes" if size else ""
        return OutputError(
            f"cannot hold temporary data{got}: {error.strerror}",
            where=self.folder,
            hint="choose another folder with --tmp-dir",
        )

    def close(self) -> None:
        """Remove everything."""
        while self._files:
            self._files.pop().close()


def _default_folder() -> str:
    if os.environ.get("TMPDIR"):
        return os.environ["TMPDIR"]
    return "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()  # noqa: S108
