"""What all commands share of a terminal: streams, signals, widths, colours, the progress bar.

Text is styled where it is made and loses its colours here, unless a terminal shows it and nobody
asked for none. What comes from an image goes through `text` first: nothing in it can control the
terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import click

from squasher.errors import ArchiveError, OutputError, UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

    from squasher.job import Progress
    from squasher.location import Location

#: How every command shows its help.
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@dataclass(frozen=True, slots=True)
class _Phase:
    """What is done in a phase, in a line and in a word, and how long it takes.

    That is compared with reading the input once, of an image of 1.5 GB that loses half of it.
    """

    line: str
    doing: str
    share: float


_PHASES = {
    "spool": _Phase("copying the input to a temporary file", "copying", 0.7),
    "read": _Phase("reading and checking the layers", "reading", 1.0),
    "hash": _Phase("hashing the new layer", "hashing", 0.4),
    "write": _Phase("writing the archive", "writing", 0.4),
    "compare": _Phase("comparing the files of both images", "comparing", 1.5),
}
#: Seconds between two looks of the line of progress.
_INTERVAL = 0.1
#: That line, as long as nobody knows how much there is, and then.
_FORMAT_SPOOL = "{doing} {bytes}, {speed} [{elapsed}]"
_FORMAT = "{doing} {percentage:3.0f}%|{bar}| {bytes}, {speed} [{elapsed}<{remaining}]"


# ---------------------------------------------------------------- text


def size(count: int) -> str:
    """Return a number of bytes as people read it, in powers of 1000 as docker has them."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def text(value: str) -> str:
    """Return text from an image for one line of a terminal: nothing in it can control it."""
    return visible(" ".join(value.split()))


def visible(value: str) -> str:
    """Return `value` with escapes for all that is not printable, such as what turns the text."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "replace").decode("ascii")
        for char in value
    )


#: What builders put around the words of a Dockerfile: build arguments, the shell, who made it.
#: Source: moby, builder/dockerfile; buildkit, frontend/dockerfile/dockerfile2llb.
_SHELL = re.compile(r"(?:RUN )?(?:\|\d+ .*?)?/bin/sh -c (#\(nop\) *)?")
_BUILDKIT = " # buildkit"


def step(created_by: str) -> str:
    """Return what a history row says, as its Dockerfile had it, on one line."""
    line = text(created_by).removesuffix(_BUILDKIT)
    shell = _SHELL.match(line)
    if shell is None:
        return line
    return line[shell.end() :] if shell[1] else f"RUN {line[shell.end() :]}"


def columns(value: str) -> int:
    """Return how many columns a terminal takes for `value`, which has no styles."""
    if value.isascii():
        return len(value)
    return sum(_columns(char) for char in value)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(value: str, width: int) -> str:
    """Return `value`, which has no styles, in at most `width` columns."""
    if columns(value) <= width:
        return value
    room = width - 1
    for i, char in enumerate(value):
        room -= _columns(char)
        if room < 0:
            return value[:i] + "…"
    raise AssertionError("it was too wide")  # pragma: no cover


def labelled(label: str, value: str, colour: str | None = None) -> str:
    """Return a styled line: a digest behind its label fills 80 columns."""
    return f"{click.style(f'{label:<8}', bold=True, fg=colour)} {value}"


#: What stays on one line: words, and commands between backticks, so that they can be copied.
_UNIT = re.compile(r"(?:`[^`]*`|\S)+")


def fold(line: str, width: int) -> str:
    """Return `line` on several lines of `width` columns, the further ones below its second word.

    Only its first word may be styled; a command is not split.
    """
    plain = click.unstyle(line)
    first = re.match(r"\S+\s+", plain)
    if columns(plain) <= width or first is None or not line.endswith(plain[first.end() :]):
        return line
    start, rest = line[: -len(plain[first.end() :])], plain[first.end() :]
    lines = [""]
    for unit in _UNIT.findall(rest):
        longer = f"{lines[-1]} {unit}".strip()
        if lines[-1] and columns(longer) > width - first.end():
            lines.append(unit)
        else:
            lines[-1] = longer
    indents = (min(first.end(), max(0, width - columns(each))) for each in lines[1:])
    below = (" " * indent + each for indent, each in zip(indents, lines[1:], strict=True))
    return start + "\n".join((lines[0], *below))


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


# ---------------------------------------------------------------- streams


def say(message: str) -> None:
    """Print one line of the command's own to stderr: an error, a warning, a step."""
    tell(f"{click.style('squash:', bold=True)} {text(message)}")


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
    try:
        click.echo(message, file=stream, color=False if plain else None)
    except OSError:
        discard(stream)
        raise


def discard(stream: IO[str]) -> None:
    """Forget what a stream that cannot be written still holds: Python would end with 120."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def exclude(*options: tuple[str, object]) -> None:
    """Raise UsageError if more than one of the options, given with their values, is used."""
    used = [name for name, value in options if value]
    if len(used) > 1:
        raise UsageError(f"{' and '.join(used)} exclude each other")


_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%", re.ASCII)
_SHARE = re.compile(r"\d*\.?\d+", re.ASCII)


def share(option: str, typed: str) -> float:
    """Return the share that an option is given, as 0.3 or 30%: 0 to 1. Raises UsageError."""
    percent = _PERCENT.fullmatch(typed)
    if percent or _SHARE.fullmatch(typed):
        value = float(percent[1]) / 100 if percent else float(typed)
        if value <= 1:
            return value
    raise UsageError(f"{typed!r} is no share", where=option, hint="give 0 to 1, or 0% to 100%")


_STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def require(*options: tuple[str, str | None]) -> None:
    """Raise UsageError for an option that is given an empty text: an unset variable, mostly."""
    for option, value in options:
        if value == "":
            raise UsageError("the name is empty", where=option)


def check_place(
    option: str,
    path: str,
    *,
    inputs: Iterable[object],
    output: object = None,
    stdout_takes: str = "",
) -> None:
    """Require that what `option` writes can go to `path`, before there is anything to write.

    `inputs` and `output` are paths, streams and Locations: none may be overwritten. Raises
    UsageError, OutputError (there is no such folder).
    """
    require((option, path))
    where = f"{option} {path}"
    if path in _STDOUT or (sys.stdout is not None and _same(path, sys.stdout)):
        if stdout_takes:
            raise UsageError(f"stdout takes {stdout_takes} already", where=where)
        if sys.stdout is None:
            raise OutputError("is closed", where="stdout")
        return
    for place in inputs:
        if _same(path, place):
            raise UsageError("the image is read from there", where=where)
    if _same(path, output):
        raise UsageError("the archive goes there", where=where)
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder) or os.path.isdir(path):
        what = "is a folder" if os.path.isdir(path) else "no such folder"
        raise OutputError(what, where=where)


def _same(path: str, place: object) -> bool:
    """Tell whether a path leads to the file or stream, or into the layout, `place`."""
    name = getattr(place, "path", place)
    try:
        if isinstance(name, str):
            if os.path.isdir(name) and "blobs" in os.listdir(name):  # an OCI layout
                inside = os.path.relpath(os.path.realpath(path), os.path.realpath(name))
                return inside.split(os.sep)[0] in ("blobs", "index.json", "oci-layout")
            if os.path.realpath(path) == os.path.realpath(name):
                return True
            other = os.stat(name)
        else:
            other = os.fstat(place.fileno())  # type: ignore[attr-defined]
        found = os.stat(path)
    except (OSError, ValueError, AttributeError):
        return False
    return os.path.samestat(found, other) and not stat.S_ISCHR(found.st_mode)


def source(name: str | None) -> str | BinaryIO | Location:
    """Return what the argument `name` stands for: a path, stdin (also for None), a transport.

    Raises ArchiveError, UsageError.
    """
    from squasher.location import parse_location
    from squasher.spec import normalise_tag

    require(("IMAGE", name))
    location = parse_location(name if name is not None else "-")
    if location.kind == "path":
        if not os.path.exists(location.path) and normalise_tag(location.path):
            raise ArchiveError(
                "no such file",
                where=location.path,
                hint=f"for an image of the docker daemon: docker-daemon:{location.path}",
            )
        return location.path
    if location.kind != "stream":
        return location
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"stdin is {what}", where="IMAGE", hint="name an archive, or pipe one")
    return getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)


def write_file(path: str, content: str) -> None:
    """Write a report to the file `path`, or to stdout for "-"; complete or not at all, as archives.

    Raises OutputError.
    """
    from squasher import writer

    if path == "-":
        give(content.removesuffix("\n"))
    else:
        writer.put(path, (content.encode(),))


# ---------------------------------------------------------------- signals


class Interrupted(BaseException):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def take_signals() -> Callable[[], None]:
    """Turn signals that end a process into Interrupted, so that nothing is left behind.

    Returns what gives them back.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in taken:  # a second signal must not break the cleaning up
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    taken = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {
        each: signal.signal(each, interrupt)
        for each in taken
        if signal.getsignal(each) is not signal.SIG_IGN  # nohup
    }
    taken = list(before)

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    return restore


# ---------------------------------------------------------------- progress


@contextlib.contextmanager
def watching(
    *phases: str, quiet: bool = False, verbose: bool = False, bar: bool = True
) -> Iterator[Progress]:
    """Give a callback that shows how far a job of these phases is, in the order of its phases.

    A bar, if stderr is a terminal, `bar` and not `quiet`; a line for each phase if `verbose`. The
    bar is gone at the end of the block.
    """
    seen = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    shown = _Bar(phases) if seen and bar and not quiet else None
    said: set[str] = set()
    lock = threading.Lock()

    def progress(phase: str, done: int, total: int) -> None:
        with lock:
            # A small layer is read beside, and may be counted after what is made of it.
            for each in ("read", phase) if phase not in ("read", "spool") else (phase,):
                if verbose and each not in said:
                    said.add(each)
                    if shown:
                        shown.clear()
                    say(_PHASES[each].line)
            if shown:
                shown.update(phase, done, total)

    try:
        yield progress
    finally:
        if shown:
            shown.close()


class Course:
    """How far a job of some phases is, from 0 to 1; never goes back.

    Each phase has its share by what it takes as a rule: only when one begins is it known how much
    it has to do. No phase is further than reading, and a phase that has done all and goes on does
    so for another image.
    """

    def __init__(self, phases: Sequence[str]) -> None:
        self._shares = {phase: _PHASES[phase].share for phase in phases}
        self._reached = dict.fromkeys(phases, 0.0)
        self._counts: dict[str, tuple[int, int]] = {}
        self.phase = ""

    def go(self, phase: str, done: int, total: int) -> None:
        """Count `done` more bytes of `phase`, which takes `total` in all, 0 where nobody knows."""
        count, whole = self._counts.get(phase, (0, 0))
        if count >= whole:
            whole += total
        count += done
        self._counts[phase] = count, whole
        if phase not in self._shares:
            self._shares[phase], self._reached[phase] = _PHASES[phase].share, 0.0
        limit = 1.0 if phase in ("read", "spool") else self._reached.get("read", 1.0)
        reached = min(limit, count / whole) if whole else 0.0
        self._reached[phase] = max(self._reached[phase], reached)
        if whole and "spool" in self._reached:
            self._reached["spool"] = 1.0
        self.phase = [each for each in _PHASES if each in self._counts][-1]

    @property
    def position(self) -> float | None:
        """How far it is; None as long as nobody knows how much there is."""
        if not any(whole for _, whole in self._counts.values()):
            return None
        parts = (share * self._reached[phase] for phase, share in self._shares.items())
        return sum(parts) / sum(self._shares.values())

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes that the phase has done, and those that it has to do."""
        return self._counts.get(self.phase, (0, 0))


class _Bar:
    """A tqdm bar over a whole job: phase, its bytes and their rate; share and time left of all."""

    def __init__(self, phases: Sequence[str]) -> None:
        self._course = Course(phases)
        self._bar: tqdm[Any] | None = None
        self._phase, self._began, self._before = "", 0.0, 0

    def update(self, phase: str, done: int, total: int) -> None:
        """Count `done` more bytes of `phase`."""
        if self._bar is None:
            self._bar = self._new()
        self._course.go(phase, done, total)
        if self._course.phase != self._phase:
            self._phase, self._began = self._course.phase, time.monotonic()
            self._before = self._course.bytes[0]
        position = self._course.position
        if position is not None and self._bar.total is None:
            self._bar.total = 1
            self._bar.bar_format = _FORMAT
        self._bar.update((position or 0.0) - self._bar.n)

    def _new(self) -> tqdm[Any]:
        from tqdm import tqdm

        words = self._words

        class Bar(tqdm):  # type: ignore[type-arg]
            """A bar with words that are only worked out when it is shown."""

            @property
            def format_dict(self) -> dict[str, Any]:
                return {**super().format_dict, **words()}

        return Bar(
            leave=False,
            file=sys.stderr,
            dynamic_ncols=True,
            miniters=0,
            mininterval=_INTERVAL,
            smoothing=0,
            bar_format=_FORMAT_SPOOL,
        )

    def _words(self) -> dict[str, str]:
        count, whole = self._course.bytes
        spent = time.monotonic() - self._began
        rate = (count - self._before) / spent if spent and self._phase else 0.0
        return {
            "doing": _PHASES[self._phase or "read"].doing,
            "bytes": f"{size(count)} of {size(whole)}" if whole else size(count),
            "speed": f"{size(int(rate))}/s",
        }

    def clear(self) -> None:
        """Make room for a line; the bar comes again below it."""
        if self._bar is not None:
            self._bar.clear()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
