"""The command, run in this process: its exit code, what it wrote, what it said."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from squasher.cli import main


@dataclass(frozen=True)
class Done:
    """How the command ended."""

    code: int
    out: bytes
    err: str


def squash(*arguments: str | Path, stdin: bytes = b"", docker: bool = False) -> Done:
    """Run the command to its end; `stdin` can seek, as `squash < file` can.

    `docker` is for the arguments that the docker client gives to its plugin.
    """
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin))
    with (
        mock.patch.object(sys, "stdin", given),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main.run([str(word) for word in arguments], docker=docker)
    out.flush()
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return Done(code, buffer.getvalue(), err.getvalue())


def done(result: Done) -> Done:
    """Require that the command succeeded."""
    assert result.code == 0, result.err
    return result


def failed(result: Done, code: int) -> str:
    """Require that the command failed so, with nothing on stdout; return its line."""
    assert result.code == code, (result.code, result.err)
    assert result.out == b""
    line, *table = result.err.splitlines()
    assert line.startswith("squash: "), result.err
    assert not table or code == 4, result.err
    return line[len("squash: ") :]
