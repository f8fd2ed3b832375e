"""Files that appear under their name complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from squasher.blobs.content import Content, Extent, part_size
from squasher.blobs.streams import wait_for, widen_pipe, write_all
from squasher.errors import OutputError

Destination = str | os.PathLike[str] | BinaryIO
Progress = Callable[[int], None]

WINDOW = 1 << 20
_FLUSH = 8 << 20
_DESCRIPTOR = re.compile(r"(?:/dev|/proc/self)/fd/([0-9]{1,9})|/dev/(stdin|stdout|stderr)")


def put(name: str, data: Iterable[bytes]) -> None:
    """Write `data` to a path: a file appears under its name complete or not at all.

    Raises OutputError, and what `data` raises.
    """
    if replaces(name):
        with staged_file(name, data) as staged:
            staged.commit()
    else:
        put_through(name, data)


def put_through(name: str, data: Iterable[bytes | Extent]) -> None:
    """Write `data` to what a path stands for: a descriptor of this process, a FIFO, a device."""
    with output_errors(name):
        descriptor = _descriptor(name)
        if descriptor is not None:
            stream: BinaryIO = os.fdopen(os.dup(descriptor), "wb", buffering=0)
        elif os.path.isdir(name):
            raise OutputError("is a folder", where=name)
        else:
            stream = open(name, "wb", buffering=0)  # noqa: SIM115  (closed below)
        with stream:
            put_all(stream, data, name)


def replaces(destination: Destination) -> bool:
    """Tell whether what is written there takes its name at the end, and can be checked before."""
    if not isinstance(destination, str | os.PathLike):
        return False
    if _descriptor(os.fspath(destination)) is not None:
        return False
    return os.path.isfile(destination) or not os.path.exists(destination)


def require_open(destination: Destination) -> None:
    """Raise OutputError for a descriptor of this process that is closed.

    To be asked before anything is opened: the next file would get its number.
    """
    if isinstance(destination, str | os.PathLike):
        name = os.fspath(destination)
        descriptor = _descriptor(name)
        if descriptor is not None:
            with output_errors(name):
                os.fstat(descriptor)


def _descriptor(name: str) -> int | None:
    """Return the descriptor of this process that a path stands for.

    It may lead to a regular file, but others write there too: what is there must not be replaced.
    """
    found = _DESCRIPTOR.fullmatch(name)
    if found is None:
        return None
    return int(found[1]) if found[1] else ("stdin", "stdout", "stderr").index(found[2])


@contextlib.contextmanager
def output_errors(name: str) -> Iterator[None]:
    """Turn what the system refuses into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", where=name) from None


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A complete file at `path`, which takes the name `target` when it is committed.

    name   of the target, for messages
    """

    path: str
    target: str
    name: str

    def commit(self) -> None:
        """Give the file its name. Raises OutputError."""
        with output_errors(self.name):
            try:
                os.replace(self.path, self.target)
            except OSError as error:
                what = f"the finished file cannot be renamed: {error.strerror}"
                if error.errno == errno.EBUSY:
                    what += " (a file that is mounted there cannot be replaced)"
                raise OutputError(what, where=self.name) from None
            sync_folder(os.path.dirname(self.target))


@contextlib.contextmanager
def staged_file(name: str, data: Iterable[bytes], size: int = 0) -> Iterator[StagedFile]:
    """Write `data`, of `size` bytes where that is known, beside the path; give the complete file.

    A symlink is followed; the mode is that of the old file, or follows the umask. What is not
    committed is removed at the end. Raises OutputError, and what `data` raises.
    """
    mode = old_mode(name)
    with staged_beside(os.path.realpath(name), mode, name, data, size) as staged:
        yield staged


def old_mode(name: str) -> int | None:
    """Return the mode of the file that is to be replaced, None if there is none.

    Raises OutputError.
    """
    with output_errors(name):
        try:
            return os.stat(name).st_mode
        except FileNotFoundError:
            if name.endswith(os.sep):
                raise OutputError("no such folder", where=name) from None
            return None


@contextlib.contextmanager
def staged_beside(
    target: str, mode: int | None, name: str, data: Iterable[bytes], size: int
) -> Iterator[StagedFile]:
    """Write a file that is to take the place of `target`, which is not followed."""
    with opened_beside(target, mode, name) as (stream, staged):
        with output_errors(name), stream:
            reserve(stream, size)
            put_all(stream, data, name)
            complete(stream, mode)
        yield staged


@contextlib.contextmanager
def opened_beside(
    target: str, mode: int | None, name: str
) -> Iterator[tuple[io.FileIO, StagedFile]]:
    """Open a new file that is to take the place of `target`; it is removed unless it does.

    `mode` is that of `target`, None if there is no such file. Raises OutputError.
    """
    temporary = os.path.join(os.path.dirname(target), f".squash-{os.urandom(8).hex()}.tmp")
    created = True  # a signal can come as soon as it is
    try:
        with output_errors(name):
            # The mode follows the umask; a file of that name, or a symlink, is never taken over.
            # What was private stays so while it is written.
            first = 0o666 if mode is None else 0o600
            try:
                descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, first)
            except OSError:
                created = False
                raise
        with os.fdopen(descriptor, "r+b", buffering=0) as stream:
            yield stream, StagedFile(temporary, target, name)
    finally:
        if created:
            with contextlib.suppress(FileNotFoundError):  # it has taken its name
                os.unlink(temporary)


def complete(stream: BinaryIO, mode: int | None) -> None:
    """Give a file that has all its bytes the mode it is to have, and make them last."""
    if mode is not None:
        os.fchmod(stream.fileno(), stat.S_IMODE(mode))
    os.fsync(stream.fileno())


def sync_folder(folder: str) -> None:
    """Make a rename last, where the system lets a folder be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:  # some network filesystems cannot
        pass
    finally:
        os.close(descriptor)


def reserve(stream: BinaryIO, size: int) -> None:
    """Ask for the room that a file takes: a full disk is an error before anything is written.

    Also what makes writing fast: one allocation (measured: a third less time).
    """
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                what = f"{size} bytes do not fit: {error.strerror}"
                raise OSError(error.errno, what) from None


def put_all(stream: BinaryIO, chunks: Iterable[bytes | Extent], name: str) -> None:
    """Write all chunks to a stream, which messages call `name`. Raises OutputError.

    A part of a file is moved, if the stream is a pipe and the system can do that.
    """
    widen_pipe(stream)
    flush = _early_flush(stream)
    for chunk in chunks:
        if isinstance(chunk, Extent):
            for window in Content((_unmoved(stream, chunk, name),)).windows():
                _put(stream, window, name)
        else:
            _put(stream, chunk, name)
        flush(part_size(chunk))
    with output_errors(name):
        stream.flush()


def _early_flush(stream: BinaryIO) -> Progress:
    """Return a callback that has the system write out what a regular file has got so far.

    Without it, all of that is left to fsync(2) at the end (measured: twice the time in all). The
    advice starts writing dirty pages and leaves them in memory.
    """
    try:
        descriptor = stream.fileno()
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        start = stream.tell() if regular else 0
    except (OSError, AttributeError):
        regular = False
    if not regular or not hasattr(os, "posix_fadvise"):
        return lambda count: None
    pending = 0

    def flush(count: int) -> None:
        nonlocal pending, start
        pending += count
        if pending >= _FLUSH:
            os.posix_fadvise(descriptor, start, pending, os.POSIX_FADV_DONTNEED)
            start, pending = start + pending, 0

    return flush


def _unmoved(stream: BinaryIO, part: Extent, name: str) -> Extent:
    """Move a part of a file into `stream`, if that is a pipe; return the rest of it.

    The bytes never come up here (measured: a quarter less time).
    """
    rest, offset, source = part.size, part.offset, part.file.descriptor
    if hasattr(os, "splice") and isinstance(stream, io.RawIOBase) and source is not None:
        with output_errors(name):
            while rest:
                try:
                    count = os.splice(source, stream.fileno(), rest, offset_src=offset)
                except BlockingIOError:
                    wait_for(stream.fileno(), write=True)
                    continue
                except OSError as error:
                    if error.errno == errno.EINVAL:  # no pipe, or a filesystem that cannot
                        break
                    raise
                if not count:
                    break
                rest, offset = rest - count, offset + count
    return Extent(part.file, offset, rest)


def _put(stream: BinaryIO, data: bytes, name: str) -> None:
    """Write all of `data`; a raw stream may take less at once."""
    with output_errors(name):
        if isinstance(stream, io.RawIOBase):
            write_all(stream, data)
        else:
            stream.write(data)
