"""Reading and writing streams that may give or take less at once than they are asked to."""

from __future__ import annotations

import contextlib
import io
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # pragma: no cover  (Windows)
    fcntl = None  # type: ignore[assignment]

#: What a pipe is asked to hold, in bytes.
_PIPE = 1 << 20


def read_some(stream: BinaryIO, size: int) -> bytes:
    """Return up to `size` bytes of `stream`, b"" only at its end; wait until there are some.

    A descriptor that does not block (whoever started us may have set that on a pipe) says that
    there is nothing yet by None or by an error, depending on the kind of stream. Raises OSError.
    """
    while True:
        try:
            data = stream.read(size)
        except InterruptedError:
            continue
        except BlockingIOError:
            data = None
        if data is not None:
            return data
        wait_for(stream.fileno())


def write_all(stream: io.RawIOBase, data: bytes) -> None:
    """Write all of `data` to a raw stream, which may take less at once, or nothing as yet.

    Raises OSError.
    """
    rest = memoryview(data)
    while rest:
        count = stream.write(rest)
        if count is None:  # it would have to wait, but is told not to
            wait_for(stream.fileno(), write=True)
        rest = rest[count or 0 :]


def wait_for(descriptor: int, *, write: bool = False) -> None:
    """Return when something can be read from `descriptor`, or its end is there; or written."""
    import selectors  # few need it

    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_WRITE if write else selectors.EVENT_READ)
        selector.select()


def widen_pipe(stream: BinaryIO) -> None:
    """Ask the system for a larger buffer, if `stream` is a pipe and the system has such.

    A pipe holds 64 KiB, and each system call moves no more.
    """
    set_size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if set_size is not None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            fcntl.fcntl(stream.fileno(), set_size, _PIPE)
