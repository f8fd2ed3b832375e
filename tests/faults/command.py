"""The command as its users have it: a process with pipes, exit codes and signals."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import pytest

import squasher

COMMAND = (sys.executable, "-m", "squasher")
_ROOT = Path(squasher.__file__).resolve().parent.parent


def environment(**more: str) -> dict[str, str]:
    """Return the environment of the command; `more` adds to it."""
    return {**os.environ, "PYTHONPATH": str(_ROOT), **more}


def squash(
    *arguments: str | Path,
    stdin: bytes | BinaryIO = b"",
    env: dict[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; bytes for `stdin` come through a pipe."""
    options["input" if isinstance(stdin, bytes) else "stdin"] = stdin
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=env or environment(),
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options},
    )


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment(),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def error_line(stderr: bytes) -> str:
    """Return the message on stderr, which must be that one line."""
    text = stderr.decode()
    assert text.startswith("squash: "), text
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    return text[len("squash: ") : -1]


def failed(result: subprocess.CompletedProcess[bytes], code: int) -> str:
    """Require that the command failed with `code` and no output; return its one line."""
    assert result.returncode == code, result.stderr
    assert not result.stdout
    return error_line(result.stderr)


def waits(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; fail after ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


def pending(descriptor: int) -> int:
    """Return how many bytes lie in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
    return int(count)


def lacking(reason: str) -> NoReturn:
    """Skip the test; where the whole check runs, nothing may be lacking."""
    if os.environ.get("SQUASHER_ENGINES") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
