"""What all commands share of a terminal: streams, signals, widths, colours, the progress bar.

Text is styled where it is made and loses its colours here, unless a terminal shows it and nobody
asked for none. What comes from an image goes through `text` first: nothing in it can control the
terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import IO

import click

from squasher.blobs.streams import write_all
from squasher.cli.texts import fold, text
from squasher.errors import OutputError, SquasherError

_SQUASH = "squash: "


def labelled(label: str, value: str, colour: str | None = None) -> str:
    """Return a styled line: a digest behind its label fills 80 columns."""
    return f"{click.style(f'{label:<8}', bold=True, fg=colour)} {value}"


def width(stream: IO[str] | None = None) -> int:
    """Return the columns that a line on `stream`, stderr if None, may take; no terminal has 80."""
    chosen = os.environ.get("COLUMNS", "")
    if re.fullmatch("[0-9]{1,5}", chosen) and int(chosen):
        return max(60, int(chosen))
    try:
        found = os.get_terminal_size((stream or sys.stderr).fileno()).columns
    except (AttributeError, OSError, ValueError):
        found = 0
    return max(60, found or 80)


def say(message: str) -> None:
    """Print one line of the command's own to stderr: an error, a warning, a step."""
    tell(f"{click.style(_SQUASH.rstrip(), bold=True)} {text(message)}")


def fail(error: SquasherError) -> None:
    """Print an error to stderr: one line; if a terminal is too narrow, its hint on further ones."""
    message = str(error)
    narrow = sys.stderr is not None and sys.stderr.isatty() and len(_SQUASH + message) > width()
    if not narrow or not error.hint:
        say(message)
        return
    say(message.removesuffix(f"; {error.hint}"))
    tell(f"{'hint:'.ljust(len(_SQUASH))}{text(error.hint)}")


def tell(message: str) -> None:
    """Print to stderr, on a terminal folded; that nobody reads it is no failure."""
    if sys.stderr is not None and sys.stderr.isatty():
        most = width()
        message = "\n".join(fold(line, most) for line in message.split("\n"))
    with contextlib.suppress(OSError):
        _print(message, sys.stderr)


def give(result: str) -> None:
    """Print what was asked for to stdout. That a pager was left early is no failure.

    Raises OutputError if it cannot be written.
    """
    if sys.stdout is None:
        raise OutputError("is closed", where="stdout")
    try:
        _print(result, sys.stdout)
    except BrokenPipeError:
        return
    except OSError as error:
        raise unwritten(error) from None


def unwritten(error: OSError) -> OutputError:
    """Return what to say of `error` on stdout."""
    return OutputError(f"cannot be written: {error.strerror}", where="stdout")


def _print(message: str, stream: IO[str] | None) -> None:
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    message = message.encode(encoding, "backslashreplace").decode(encoding)
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    raw = _raw(stream)
    try:
        if raw is None:
            click.echo(message, file=stream, color=False if plain else None)
        else:
            stream.flush()
            if plain or not stream.isatty():
                message = click.unstyle(message)
            write_all(raw, f"{message}\n".encode(encoding))
    except OSError:
        discard(stream)
        raise


def _raw(stream: IO[str]) -> io.RawIOBase | None:
    """Return what a stream of the process writes to, None where something stands in for one.

    Python's own text streams lose text without an error where a pipe does not wait (whoever
    started us may have set that) or a disk is full, if PYTHONUNBUFFERED is set.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw if isinstance(raw, io.RawIOBase) and os.name != "nt" else None


def discard(stream: IO[str]) -> None:
    """Forget what a stream that cannot be written still holds: Python would end with 120."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
