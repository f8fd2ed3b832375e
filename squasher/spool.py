"""Temporary files: what a pipe brought, what had to be unpacked or compressed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

from squasher.content import Content, Extent, open_file
from squasher.errors import OutputError


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

    def store(self, chunks: Iterable[bytes]) -> Content:
        """Return what `chunks` bring, copied to a new file. Raises OutputError."""
        new = self.create()
        return Content((Extent(open_file(new), 0, self.fill(new, chunks)),))

    def fill(
        self, new: BinaryIO, chunks: Iterable[bytes], progress: Callable[[int], None] | None = None
    ) -> int:
        """Write `chunks` to a new file; return how many bytes they were. Raises OutputError.

        `progress` is told after each chunk how many there are now.
        """
        written = 0
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                try:
                    count = new.write(rest)
                except OSError as error:
                    raise self._failed(error, written) from None
                rest = rest[count:]
                written += count
            if progress is not None:
                progress(written)
        return written

    def _failed(self, error: OSError, written: int) -> OutputError:
        got = f" after {written} bytes" if written else ""
        return OutputError(
            f"cannot hold temporary data{got}: {error.strerror}",
            where=self.folder,
            hint="choose another folder with --tmp-dir, or give a plain file instead of a pipe",
        )

    def close(self) -> None:
        """Remove everything."""
        while self._files:
            self._files.pop().close()


def _default_folder() -> str:
    if os.environ.get("TMPDIR"):
        return os.environ["TMPDIR"]
    return "/var/tmp" if os.path.isdir("/var/tmp") else tempfile.gettempdir()  # noqa: S108
